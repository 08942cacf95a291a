#include "cli/evolution_html.h"

#include <algorithm>
#include <optional>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "cli/output.h"
#include "data/folder.h"
#include "data/image.h"
#include "kernels/cpu/parallel.h"
#include "kernels/error.h"
#include "report/evolution_page.h"
#include "tensor/file.h"
#include "training/options.h"
#include "training/run_folder.h"

namespace glassnet::cli {
namespace {

namespace fs = std::filesystem;

constexpr int kThumbnailQuality = 80;

// (epochs, images) -> the window's epochs.
template <class To, class From>
std::vector<To> in_window(const std::vector<From>& values, size_t images,
                          const EpochRange& window) {
  if (values.empty()) return {};
  const auto row = [&](int64_t epoch) {
    return values.begin() + static_cast<int64_t>(images) * epoch;
  };
  return {row(window.first - 1), row(window.last)};
}

// Of each image, or none at all where they would not fit.
std::vector<std::string> thumbnails_of(const EvolutionRun& run,
                                       const std::map<std::string, fs::path>& pictures,
                                       size_t most_bytes) {
  for (const int side : {64, 48, 32}) {
    std::vector<std::string> thumbnails(run.images.size());
    kernels::parallel_tasks(std::ssize(run.images), /*worthwhile=*/true, [&](int64_t i) {
      const auto at = static_cast<size_t>(i);
      const auto found = pictures.find(run.images[at].id);
      if (found == pictures.end()) return;
      try {
        const Image picture = fit_image(read_image(found->second), side, Fit::kCrop);
        thumbnails[at] = encode_jpeg(picture, kThumbnailQuality, run.images[at].id);
      } catch (const Error&) {
        // A picture that cannot be read any more is a row without one.
      }
    });
    size_t bytes = 0;
    for (const std::string& thumbnail : thumbnails) bytes += thumbnail.size();
    if (bytes <= most_bytes) return thumbnails;
  }
  return {};
}

// The training's curves, which only a run's own log has.
void add_curves(EvolutionRun& run, const fs::path& log, const EpochRange& window) {
  const std::vector<EpochMetrics> metrics = RunFolder(log).read_metrics();
  if (std::ssize(metrics) < window.last) return;
  for (int64_t epoch = window.first; epoch <= window.last; ++epoch) {
    const EpochMetrics& of = metrics[static_cast<size_t>(epoch - 1)];
    run.train_loss.push_back(of.train_loss);
    run.train_accuracy.push_back(of.train_accuracy);
  }
}

EvolutionRun run_of(const fs::path& log, const EpochRange& asked) {
  const History history = read_history(log);
  const EpochRange window = resolve(asked, history);
  const size_t images = history.images.size();
  EvolutionRun run{.name = fs::absolute(log).lexically_normal().filename().string(),
                   .classes = history.classes,
                   .first_epoch = window.first,
                   .epochs = window.count(),
                   .predicted = in_window<int64_t>(history.predicted, images, window),
                   .probability = in_window<float>(history.probability, images, window),
                   .true_probability = in_window<float>(history.true_probability, images, window),
                   .test_loss = in_window<double>(history.loss, 1, window)};
  for (const HistoryImage& image : history.images) {
    run.images.push_back({image.id, image.true_class});
  }
  return run;
}

}  // namespace

std::map<std::string, fs::path> pictures_of(const fs::path& run) {
  std::map<std::string, fs::path> pictures;
  try {
    const RunConfig config = load_config(RunFolder(run).config());
    for (const Sample& sample : read_data_set(config.options.data).test) {
      // The log is JSON, in which a name that is not UTF-8 was repaired.
      pictures.emplace(nlohmann::json::parse(to_text(nlohmann::json(sample.id))), sample.path);
    }
  } catch (const Error&) {
    return {};
  }
  return pictures;
}

std::vector<std::string> save_evolution_html(const fs::path& path, const EvolutionHtml& options) {
  std::vector<std::string> missing;
  EvolutionPageData page;
  size_t budget = options.thumbnail_bytes;
  for (const fs::path& log : options.logs) {
    EvolutionRun run = run_of(log, options.window);
    std::error_code ignored;
    if (fs::is_directory(log, ignored)) {
      add_curves(run, log,
                 options.window.last > 0
                     ? options.window
                     : EpochRange{run.first_epoch, run.first_epoch + run.epochs - 1});
      const auto pictures = pictures_of(log);
      if (!pictures.empty()) run.thumbnails = thumbnails_of(run, pictures, budget);
      if (run.thumbnails.empty()) {
        missing.push_back(
            pictures.empty()
                ? fmt::format("{}: its data set is not where it was, so the page has no thumbnails",
                              log.string())
                : fmt::format("{}: thumbnails of {} images would take more than {} bytes and are "
                              "left out; see --thumbnails",
                              log.string(), run.images.size(), budget));
      }
      for (const std::string& thumbnail : run.thumbnails) budget -= thumbnail.size();
    }
    page.runs.push_back(std::move(run));
  }
  page.title = fmt::format("Confusion Evolution: {}", page.runs[0].name);
  write_file_atomically(path, evolution_page(page));
  return missing;
}

}  // namespace glassnet::cli
