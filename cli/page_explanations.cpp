#include "cli/page_explanations.h"

#include <algorithm>
#include <charconv>

#include <fmt/format.h>

#include "kernels/error.h"
#include "report/terminal.h"
#include "training/telling_images.h"

namespace glassnet::cli {
namespace {

constexpr int kSideOfKept = 96;  // pixels; they stand small and in a row

}  // namespace

int64_t parse_explain(const std::string& text) {
  if (text == "all") return kEveryImage;
  int64_t count = -1;
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), count);
  if (failure != std::errc{} || end != text.data() + text.size() || count < 0) {
    throw UsageError(fmt::format("--explain {} is neither a number of images nor all", text));
  }
  return count;
}

std::vector<ShownExplanation> explain_telling(RunExplanations& run, int64_t count,
                                              std::vector<std::string>& notes) {
  if (count == 0) return {};
  std::vector<TellingImage> chosen;
  int64_t gone = 0;
  for (const TellingImage& one : telling_images(run.history(), run.best_epoch(), kEveryImage)) {
    if (std::ssize(chosen) == count) break;
    if (run.has_photograph(one.image)) {
      chosen.push_back(one);
    } else {
      ++gone;
    }
  }
  if (gone > 0) {
    notes.push_back(
        fmt::format("{} test image{} not in {}, or cannot be read, and not explained", gone,
                    gone == 1 ? " that would be telling is" : "s that would be telling are",
                    run.data().string()));
  }
  std::vector<int64_t> images;
  for (const TellingImage& one : chosen) images.push_back(one.image);
  std::vector<ShownExplanation> explanations;
  Progress progress("explaining", std::ssize(images));
  run.explain(images, kBestWeights, [&](RunExplanation explanation) {
    explanation.shown.why = name_of(chosen[explanations.size()].why);
    explanations.push_back(std::move(explanation.shown));
    progress.update(std::ssize(explanations));
  });
  progress.finish();
  const auto epochs = std::ssize(run.kept_epochs());
  if (epochs > 0) {
    Progress over_time("explaining the kept epochs", epochs * std::ssize(images));
    int64_t done = 0;
    run.explain_kept(explanations, kSideOfKept, [&] { over_time.update(++done); });
    over_time.finish();
  }
  return explanations;
}

}  // namespace glassnet::cli
