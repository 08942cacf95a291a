#include "report/evolution_page.h"

#include <algorithm>
#include <cmath>
#include <string_view>
#include <utility>

#include <fmt/format.h>

#include "kernels/error.h"
#include "report/base64.h"
#include "report/page_json.h"
#include "report/svg_canvas.h"
#include "tensor/utf8.h"

// Of report/web.S.in.
extern "C" {
extern const char glassnet_web_page_begin[], glassnet_web_page_end[];
extern const char glassnet_web_style_begin[], glassnet_web_style_end[];
extern const char glassnet_web_script_begin[], glassnet_web_script_end[];
extern const char glassnet_web_waiting_page_begin[], glassnet_web_waiting_page_end[];
extern const char glassnet_web_waiting_script_begin[], glassnet_web_waiting_script_end[];
}

namespace glassnet {
namespace {

// A quantised probability that is not known; those that are end at kProbabilitySteps.
constexpr uint8_t kUnknown = 255;
constexpr float kProbabilitySteps = 254;

// Whole numbers of `bytes` bytes each, little endian.
class Bytes {
 public:
  explicit Bytes(int width) : width_(width) {}
  void add(int64_t value) {
    for (int i = 0; i < width_; ++i) bytes_ += static_cast<char>(value >> (8 * i) & 255);
  }
  std::string json() const {
    return fmt::format(R"({{"bytes":{},"data":"{}"}})", width_, base64(bytes_));
  }

 private:
  int width_;
  std::string bytes_;
};

// (epochs, images) as (images, epochs), the order in which the page reads: a row of the heatmap
// after the other.
template <class T, class Code>
std::string by_image(const std::vector<T>& values, size_t images, int width, Code&& code) {
  Bytes bytes(width);
  for (size_t image = 0; image < images; ++image) {
    for (size_t i = image; i < values.size(); i += images) bytes.add(code(values[i]));
  }
  return bytes.json();
}

uint8_t quantised(float probability) {
  if (!std::isfinite(probability)) return kUnknown;
  return static_cast<uint8_t>(std::lround(std::clamp(probability, 0.0F, 1.0F) * kProbabilitySteps));
}

void check(const EvolutionRun& run) {
  const auto classes = static_cast<int64_t>(run.classes.size());
  const size_t cells = run.images.size() * static_cast<size_t>(std::max<int64_t>(run.epochs, 0));
  const auto expect = [&](bool holds, const char* expectation) {
    require(holds, [&] {
      return fmt::format(
          "[evolution_page] expected {} in run '{}', which has {} images, {} epochs "
          "and {} classes",
          expectation, printable(fit_columns(run.name, 100)), run.images.size(), run.epochs,
          classes);
    });
  };
  const auto is_class = [&](int64_t index) { return index >= 0 && index < classes; };
  const auto fits = [](const auto& values, size_t size) {
    return values.empty() || values.size() == size;
  };
  expect(cells > 0, "at least an image and an epoch");
  expect(classes <= 65536, "at most 65536 classes");
  expect(run.predicted.size() == cells, "a prediction for each image and epoch");
  expect(std::ranges::all_of(run.predicted, is_class), "predictions that are classes");
  expect(std::ranges::all_of(run.images,
                             [&](const LoggedImage& image) { return is_class(image.true_class); }),
         "true classes that are classes");
  expect(fits(run.probability, cells) && fits(run.true_probability, cells),
         "a probability for each prediction");
  const auto epochs = static_cast<size_t>(run.epochs);
  expect(fits(run.test_loss, epochs) && fits(run.train_loss, epochs) &&
             fits(run.train_accuracy, epochs),
         "a loss and an accuracy for each epoch");
  expect(fits(run.thumbnails, run.images.size()) && fits(run.thumbnail_files, run.images.size()),
         "a thumbnail for each image");
  expect(std::ranges::all_of(run.explanations,
                             [&](const ShownExplanation& of) {
                               return of.image >= 0 && of.image < std::ssize(run.images) &&
                                      is_class(of.true_class) && is_class(of.predicted) &&
                                      std::ranges::all_of(of.kept, [&](const ShownEpoch& epoch) {
                                        return is_class(epoch.predicted) &&
                                               epoch.maps.size() == of.maps.size();
                                      });
                             }),
         "explanations of images and classes that there are");
}

// `,"predicted":…` and the probabilities that are known.
void add_predictions(std::string& json, const EvolutionRun& run) {
  const size_t images = run.images.size();
  const int width = run.classes.size() > 256 ? 2 : 1;
  const auto same = [](int64_t index) { return index; };
  json += fmt::format(R"(,"predicted":{})", by_image(run.predicted, images, width, same));
  const auto add = [&](const char* key, const std::vector<float>& values) {
    if (values.empty()) return;
    json += fmt::format(R"(,"{}":{})", key, by_image(values, images, 1, quantised));
  };
  add("probability", run.probability);
  add("trueProbability", run.true_probability);
}

std::string run_json(const EvolutionRun& run) {
  check(run);
  Bytes truth(run.classes.size() > 256 ? 2 : 1);
  for (const LoggedImage& image : run.images) truth.add(image.true_class);

  std::string json = fmt::format(
      R"({{"name":{},"split":{},"classes":{},"ids":{},"firstEpoch":{},"epochs":{},"truth":{})",
      json_string(run.name), json_string(run.split), json_list(run.classes, json_string),
      json_list(run.images, [](const LoggedImage& image) { return json_string(image.id); }),
      run.first_epoch, run.epochs, truth.json());
  add_predictions(json, run);
  const auto add = [&](const char* key, bool known, auto&& value) {
    if (known) json += fmt::format(",\"{}\":{}", key, value());
  };
  add("testLoss", !run.test_loss.empty(), [&] { return json_numbers(run.test_loss); });
  add("trainLoss", !run.train_loss.empty(), [&] { return json_numbers(run.train_loss); });
  add("trainAccuracy", !run.train_accuracy.empty(),
      [&] { return json_numbers(run.train_accuracy); });
  add("thumbnails", !run.thumbnails.empty(),
      [&] { return json_list(run.thumbnails, json_picture); });
  add("thumbnails", !run.thumbnail_files.empty(),
      [&] { return json_list(run.thumbnail_files, json_string); });
  add("explanations", !run.explanations.empty(),
      [&] { return json_list(run.explanations, explanation_json); });
  json += '}';
  return json;
}

std::string_view script() {
  return {glassnet_web_script_begin, glassnet_web_script_end};
}
std::string_view style() {
  return {glassnet_web_style_begin, glassnet_web_style_end};
}

// The template with each mark replaced, in the order in which they stand there.
std::string filled(std::string_view page,
                   const std::vector<std::pair<std::string_view, std::string>>& marks) {
  std::string result;
  for (const auto& [mark, content] : marks) {
    const size_t at = page.find(mark);
    result += page.substr(0, at);
    result += content;
    page.remove_prefix(at + mark.size());
  }
  return result.append(page);
}

// Of a page that is opened from a disk or any server, with files beside it or without.
std::string policy_of(const EvolutionPageData& data) {
  const bool files = std::ranges::any_of(
      data.runs, [](const EvolutionRun& run) { return !run.thumbnail_files.empty(); });
  return fmt::format(
      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; "
      "script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src {}; base-uri 'none'; "
      "form-action 'none'\">",
      files ? "data: file: 'self'" : "data:");
}

}  // namespace

bool has_evolution_page() noexcept {
  return !script().empty();
}

void require_evolution_page() {
  require(has_evolution_page(), [] {
    return "[evolution_page] this Glassnet was built without esbuild and D3; install Debian's "
           "packages esbuild and node-d3, then configure and build again";
  });
}

std::string evolution_page(const EvolutionPageData& data) {
  require_evolution_page();
  require(!data.runs.empty(), [] { return "[evolution_page] expected at least one run"; });
  return filled(
      {glassnet_web_page_begin, glassnet_web_page_end},
      {{"@policy@", policy_of(data)},
       {"@title@", xml_escaped(data.title)},
       {"@style@", fmt::format("<style>\n{}\n</style>", style())},
       {"@data@", fmt::format(R"({{"title":{},"runs":{},"report":{}}})", json_string(data.title),
                              json_list(data.runs, run_json),
                              data.report.empty() ? "null" : json_for_script(data.report))},
       {"@script@", fmt::format("<script>\n{}\n</script>", script())}});
}

std::string live_page(const LivePageData& data) {
  require_evolution_page();
  // Without an icon of its own, browsers would ask for one.
  const std::string style =
      R"(<link rel="icon" href="data:,"><link rel="stylesheet" href="/page.css">)";
  const std::string title = json_string(data.title), live = json_for_script(data.live);
  if (data.run == nullptr) {
    return filled({glassnet_web_waiting_page_begin, glassnet_web_waiting_page_end},
                  {{"@title@", xml_escaped(data.title)},
                   {"@style@", style},
                   {"@data@", fmt::format(R"({{"title":{},"live":{}}})", title, live)},
                   {"@script@", R"(<script src="/waiting.js"></script>)"}});
  }
  return filled({glassnet_web_page_begin, glassnet_web_page_end},
                {{"@policy@", ""},
                 {"@title@", xml_escaped(data.title)},
                 {"@style@", style},
                 {"@data@", fmt::format(R"({{"title":{},"runs":[{}],"live":{}}})", title,
                                        run_json(*data.run), live)},
                 {"@script@", R"(<script src="/page.js"></script>)"}});
}

LiveAsset live_asset(std::string_view path) {
  constexpr std::string_view kScript = "text/javascript; charset=utf-8";
  if (path == "/page.js") return {kScript, script()};
  if (path == "/waiting.js") {
    return {kScript, {glassnet_web_waiting_script_begin, glassnet_web_waiting_script_end}};
  }
  if (path == "/page.css") return {"text/css; charset=utf-8", style()};
  return {};
}

std::string epoch_json(const EvolutionRun& run) {
  require(run.epochs == 1, [&] {
    return fmt::format("[epoch_json] expected a run of one epoch, got {}", run.epochs);
  });
  check(run);
  std::string json = fmt::format(R"({{"epoch":{})", run.first_epoch);
  add_predictions(json, run);
  const auto add = [&](const char* key, const std::vector<double>& values) {
    if (!values.empty() && std::isfinite(values[0])) {
      json += fmt::format(R"(,"{}":{:.6g})", key, values[0]);
    }
  };
  add("testLoss", run.test_loss);
  add("trainLoss", run.train_loss);
  add("trainAccuracy", run.train_accuracy);
  return json + '}';
}

}  // namespace glassnet
