#include "report/evolution_page.h"

#include <algorithm>
#include <cmath>
#include <string_view>
#include <utility>

#include <fmt/format.h>

#include "kernels/error.h"
#include "report/base64.h"
#include "report/svg_canvas.h"
#include "report/utf8.h"

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

// A JSON string that may stand in a <script> element: the HTML parser, which looks for </script and
// <!-- and knows nothing of strings, finds no angle bracket.
std::string json_string(std::string_view text) {
  std::string json = "\"";
  while (!text.empty()) {
    const std::string_view before = text;
    const char32_t c = take_code_point(text);
    const std::string_view bytes = before.substr(0, before.size() - text.size());
    const bool plain = c >= 0x20 && c != '"' && c != '\\' && c != '<' && c != '>' && c != '&' &&
                       c != 0x7F && c != 0x2028 && c != 0x2029;
    if (!plain) {
      json += fmt::format("\\u{:04x}", static_cast<uint32_t>(c));
    } else if (c == kReplacement) {
      json += "\uFFFD";
    } else {
      json += bytes;
    }
  }
  json += '"';
  return json;
}

template <class Items, class Text>
std::string list(const Items& items, Text&& text) {
  std::string json = "[";
  for (const auto& item : items) {
    if (json.size() > 1) json += ',';
    json += text(item);
  }
  json += ']';
  return json;
}

std::string numbers(const std::vector<double>& values) {
  return list(values, [](double value) {
    return std::isfinite(value) ? fmt::format("{:.6g}", value) : std::string("null");
  });
}

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

std::string picture(const std::string& bytes) {
  if (bytes.empty()) return "\"\"";
  const bool jpeg = bytes.starts_with("\xff\xd8\xff");
  require(jpeg || bytes.starts_with("\x89PNG\r\n\x1a\n"),
          [] { return "[evolution_page] a thumbnail is neither JPEG nor PNG"; });
  return fmt::format("\"data:image/{};base64,{}\"", jpeg ? "jpeg" : "png", base64(bytes));
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
  expect(fits(run.thumbnails, run.images.size()), "a thumbnail for each image");
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
      json_string(run.name), json_string(run.split), list(run.classes, json_string),
      list(run.images, [](const LoggedImage& image) { return json_string(image.id); }),
      run.first_epoch, run.epochs, truth.json());
  add_predictions(json, run);
  const auto add = [&](const char* key, bool known, auto&& value) {
    if (known) json += fmt::format(",\"{}\":{}", key, value());
  };
  add("testLoss", !run.test_loss.empty(), [&] { return numbers(run.test_loss); });
  add("trainLoss", !run.train_loss.empty(), [&] { return numbers(run.train_loss); });
  add("trainAccuracy", !run.train_accuracy.empty(), [&] { return numbers(run.train_accuracy); });
  add("thumbnails", !run.thumbnails.empty(), [&] { return list(run.thumbnails, picture); });
  json += '}';
  return json;
}

std::string_view script() {
  return {glassnet_web_script_begin, glassnet_web_script_end};
}
std::string_view style() {
  return {glassnet_web_style_begin, glassnet_web_style_end};
}

void require_script() {
  require(!script().empty(), [] {
    return "[evolution_page] this Glassnet was built without esbuild and D3; install Debian's "
           "packages esbuild and node-d3, then configure and build again";
  });
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

// JSON from elsewhere as it may stand in a <script> element. Only its strings have such characters.
std::string without_tags(std::string_view json) {
  std::string result;
  for (const char c : json) {
    if (c == '<' || c == '>' || c == '&') {
      result += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
    } else {
      result += c;
    }
  }
  return result;
}

}  // namespace

std::string evolution_page(const EvolutionPageData& data) {
  require_script();
  require(!data.runs.empty(), [] { return "[evolution_page] expected at least one run"; });
  return filled(
      {glassnet_web_page_begin, glassnet_web_page_end},
      {{"@policy@",
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; "
        "script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
        "form-action 'none'\">"},
       {"@title@", xml_escaped(data.title)},
       {"@style@", fmt::format("<style>\n{}\n</style>", style())},
       {"@data@", fmt::format(R"({{"title":{},"runs":{}}})", json_string(data.title),
                              list(data.runs, run_json))},
       {"@script@", fmt::format("<script>\n{}\n</script>", script())}});
}

std::string live_page(const LivePageData& data) {
  require_script();
  // Without an icon of its own, browsers would ask for one.
  const std::string style =
      R"(<link rel="icon" href="data:,"><link rel="stylesheet" href="/page.css">)";
  const std::string title = json_string(data.title), live = without_tags(data.live);
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
