#include "cli/explanation.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <filesystem>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "cli/command.h"
#include "models/resnet.h"
#include "report/overlay.h"
#include "report/regions.h"
#include "report/terminal.h"
#include "tensor/npy.h"

namespace glassnet::cli {
namespace {

constexpr const char* kLime = "lime";
constexpr int kNamedSuperpixels = 3;  // in the line under an explanation
constexpr int kRandomMaps = 3;        // that a map's curves are compared with
// Below, a superpixel is not set against others but is the picture, or half of it.
constexpr int64_t kFewestSuperpixels = 3;

// How a method's map is shown.
struct Look {
  std::string title;
  OverlayOptions overlay;
  bool on_image;  // laid over the picture, or alone
  ColourBar bar;
};

Look look_of(const std::string& method, bool is_signed, const MethodOptions& options) {
  const std::string title = title_of(method);
  if (is_signed) {
    return {title,
            {.alpha = 1, .colormap = Colormap::kBlueRed, .scaling = Scaling::kSigned},
            false,
            {Colormap::kBlueRed, "against", "for"}};
  }
  if (looks_at_layer(method) && method != "guided-gradcam") {
    return {title,
            {.alpha = options.opacity, .colormap = Colormap::kViridis},
            true,
            {Colormap::kViridis, "no evidence", "strongest"}};
  }
  return {title,
          {.alpha = 1, .colormap = Colormap::kMagma, .scaling = Scaling::kMagnitude},
          false,
          {Colormap::kMagma, "no effect", "strongest"}};
}

template <class Number>
std::optional<Number> number_in(const std::string& text) {
  Number number{};
  const char* end = text.data() + text.size();
  const auto [stop, failure] = std::from_chars(text.data(), end, number);
  if (failure != std::errc{} || stop != end) return std::nullopt;
  return number;
}

std::array<uint8_t, 3> colour_in(const std::string& text) {
  std::array<uint8_t, 3> result{};
  std::string rest = text + ",";
  for (uint8_t& channel : result) {
    const size_t comma = rest.find(',');
    const auto number =
        comma == std::string::npos ? std::nullopt : number_in<uint8_t>(rest.substr(0, comma));
    if (!number) {
      throw UsageError(fmt::format(
          "--hide {} is neither mean nor a colour, three numbers from 0 to 255: 127,127,127",
          text));
    }
    channel = *number;
    rest.erase(0, comma + 1);
  }
  if (!rest.empty()) throw UsageError(fmt::format("--hide {} has more than three numbers", text));
  return result;
}

Superpixels read_labels(const std::string& path, const Image& picture) {
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored)) {
    throw UsageError(
        fmt::format("--superpixels {} is no method (quickshift, slic:50, felzenszwalb:100, grid:8) "
                    "and no file of labels",
                    path));
  }
  Tensor labels;
  if (path.ends_with(".npy")) {
    labels = load_npy(path);
  } else {
    // Each colour is a label.
    const Image image = read_image(path);
    std::vector<int64_t> colours;
    for (size_t i = 0; i < image.rgb.size(); i += 3) {
      colours.push_back(image.rgb[i] << 16 | image.rgb[i + 1] << 8 | image.rgb[i + 2]);
    }
    labels = Tensor::from(colours, {image.height, image.width});
  }
  require(labels.shape() == Shape{picture.height, picture.width}, [&] {
    return fmt::format(
        "{}: its labels are {}, expected one for each pixel of the network's input, "
        "({}, {})",
        path, labels.shape().str(), picture.height, picture.width);
  });
  return from_labels(labels);
}

// Each pixel with its superpixel's weight.
Tensor map_of(const LimeResult& lime, const Superpixels& superpixels) {
  const std::vector<double> weights = lime.weights.to_vector<double>();
  std::vector<float> values;
  for (const int64_t label : superpixels.labels.to_vector<int64_t>()) {
    values.push_back(static_cast<float>(weights[static_cast<size_t>(label)]));
  }
  return Tensor::from(values, superpixels.labels.shape());
}

// Whether the sign of a weight is known: it is farther from 0 than two standard errors.
bool is_resolved(double weight, double standard_error) {
  return std::abs(weight) > 2 * standard_error;
}

ExplainOptions explain_options(const MethodOptions& options) {
  ExplainOptions result{.layers = options.layers};
  result.noise.seed = options.seed;
  if (options.progress) {
    const auto tell = [&options](const char* what) {
      return [&options, what](int64_t done, int64_t total) {
        options.progress(fmt::format("{} of {} {}", done, total, what));
      };
    };
    result.cam.progress = tell("channels");
    result.occlusion.progress = tell("windows");
  }
  return result;
}
ExplainOptions explain_options(const PictureFacts& facts, const MethodOptions& options) {
  ExplainOptions result = explain_options(options);
  result.target = facts.target;
  return result;
}

MethodResult result_of(const std::string& method, Explanation explanation) {
  return {.method = method,
          .map = explanation.map.to(Device{}),
          .is_signed = explanation.is_signed,
          .figures = std::move(explanation.figures)};
}

}  // namespace

std::string title_of(const std::string& method) {
  static const std::vector<std::pair<std::string, const char*>> titles = {
      {"gradcam", "Grad-CAM"},
      {"gradcam++", "Grad-CAM++"},
      {"hirescam", "HiResCAM"},
      {"layercam", "LayerCAM"},
      {"xgradcam", "XGrad-CAM"},
      {"scorecam", "Score-CAM"},
      {"ablationcam", "Ablation-CAM"},
      {"eigencam", "Eigen-CAM"},
      {"saliency", "Saliency"},
      {"inputxgradient", "Input × gradient"},
      {"smoothgrad", "SmoothGrad"},
      {"vargrad", "VarGrad"},
      {"ig", "Integrated gradients"},
      {"integrated-gradients", "Integrated gradients"},
      {"guided-backprop", "Guided backpropagation"},
      {"guided-gradcam", "Guided Grad-CAM"},
      {"occlusion", "Occlusion"},
      {kLime, "LIME"},
  };
  for (const auto& [name, title] : titles) {
    if (name == method) return title;
  }
  return method;
}

std::vector<std::string> known_methods() {
  std::vector<std::string> methods = explanation_methods();
  methods.emplace_back(kLime);
  return methods;
}

void require_known_method(const std::string& method) {
  if (method == kLime) return;
  try {
    require_method(method);  // which also knows names in full
  } catch (const UsageError&) {
    throw UsageError(fmt::format("no method is called '{}'; there are {}", method,
                                 fmt::join(known_methods(), ", ")));
  }
}

Trust parse_trust(const std::string& name) {
  if (name == "none") return Trust::kNone;
  if (name == "curves") return Trust::kCurves;
  if (name == "all") return Trust::kAll;
  throw UsageError(fmt::format("--trust {} is none of: none, curves, all", name));
}

std::string name_of(Trust trust) {
  return trust == Trust::kNone ? "none" : trust == Trust::kCurves ? "curves" : "all";
}

MethodOptions checked(const MethodOptions& options, const std::vector<std::string>& methods,
                      const LoadedModel& network) {
  MethodOptions result = options;
  if (result.layers.empty()) result.layers = {last_stage(*network.model)};
  for (const std::string& layer : result.layers) network.model->find(layer);
  for (const std::string& method : methods) {
    require_known_method(method);
    if (method != kLime) require_layers(method, result.layers);
  }
  lime_options(result, network.card);  // refuses numbers that make no sense
  use_precision("--lime-precision", result.lime_precision, network.model->device());
  return result;
}

bool look_at_layers(const std::vector<std::string>& methods) {
  return std::ranges::any_of(
      methods, [](const std::string& method) { return method != kLime && looks_at_layer(method); });
}

LimeOptions lime_options(const MethodOptions& options, const ModelCard& card) {
  LimeOptions result{.seed = options.seed,
                     .normalization = {.mean = card.mean, .stddev = card.std},
                     .float32_samples = 64};
  if (options.samples == "auto") {
    result.sampling = LimeSampling::kAuto;
  } else if (options.samples == "exact") {
    result.sampling = LimeSampling::kExact;
  } else {
    const auto samples = number_in<int64_t>(options.samples);
    if (!samples || *samples < 3 || *samples > 10'000'000) {
      throw UsageError(fmt::format(
          "--samples {} is neither auto, exact nor a number from 3 to 10000000", options.samples));
    }
    result.samples = *samples;
  }
  if (options.hide != "mean") result.color = colour_in(options.hide);
  if (options.lime_precision == "bf16") result.precision = DType::kBFloat16;
  if (options.lime_precision == "fp16") result.precision = DType::kFloat16;
  return result;
}

Superpixels superpixels_of(const Image& picture, const MethodOptions& options, Device device) {
  const auto method = parse_superpixels(options.superpixels);
  if (!method) return read_labels(options.superpixels, picture);
  const Tensor pixels = Tensor::from(picture.rgb, {picture.height, picture.width, 3});
  return (*method)(pixels, device);
}

MethodResult of_lime(LimeResult lime, Superpixels superpixels, const MethodOptions& options) {
  MethodResult result{.method = kLime, .map = map_of(lime, superpixels), .is_signed = true};
  result.figures = {{"R2", lime.scores[0]},
                    {"local prediction", lime.local_predictions[0]},
                    {"superpixels", static_cast<double>(superpixels.count)},
                    {"samples", static_cast<double>(lime.samples)}};
  if (lime.deviation) {
    result.figures.emplace_back("deviation of " + options.lime_precision, *lime.deviation);
  }
  result.lime = std::move(lime);
  result.superpixels = std::move(superpixels);
  return result;
}

MethodResult explain_by(const std::string& method, LoadedModel& network, PictureFacts& facts,
                        const MethodOptions& options) {
  MethodResult result;
  if (method == kLime) {
    Superpixels superpixels = superpixels_of(facts.picture, options, network.model->device());
    LimeOptions how = lime_options(options, network.card);
    if (options.progress) {
      how.progress = [&](int64_t, int64_t samples) {
        options.progress(fmt::format("LIME's sample {}", samples));
      };
    }
    LimeResult of = lime(
        *network.model,
        {.picture = facts.picture, .superpixels = superpixels, .classes = {facts.target.of}}, how);
    result = of_lime(std::move(of), std::move(superpixels), options);
  } else {
    result = result_of(
        method, explain(*network.model, facts.input, method, explain_options(facts, options)));
  }
  measure_trust(result, network, facts, options);
  return result;
}

bool gain_from_company(const std::vector<std::string>& methods, const MethodOptions& options) {
  const ExplainOptions how = explain_options(options);
  return options.trust == Trust::kNone &&
         std::ranges::all_of(methods, [&](const std::string& method) {
           return method == kLime || takes_one_pass(method, how);
         });
}

std::vector<MethodResult> explain_together(const std::string& method, LoadedModel& network,
                                           const Tensor& inputs, std::vector<PictureFacts*>& facts,
                                           const MethodOptions& options) {
  std::vector<Target> targets;
  for (const PictureFacts* one : facts) targets.push_back(one->target);
  std::vector<MethodResult> results;
  for (Explanation& explanation :
       explain_each(*network.model, inputs, method, targets, explain_options(options))) {
    results.push_back(result_of(method, std::move(explanation)));
    measure_trust(results.back(), network, *facts[results.size() - 1], options);
  }
  return results;
}

void measure_trust(MethodResult& result, LoadedModel& network, PictureFacts& facts,
                   const MethodOptions& options) {
  if (options.trust == Trust::kNone) return;
  Module& model = *network.model;
  const ClassProbability probability = probability_of(model, facts.target.of);
  PixelOrderOptions order;
  const int64_t curves = 2 * (1 + (facts.random ? 0 : kRandomMaps));
  int64_t done = 0;
  if (options.progress) {
    order.progress = [&](int64_t images) {
      options.progress(fmt::format("trust in {}: {} of {} changed pictures",
                                   title_of(result.method), done += images,
                                   curves * (order.steps + 1)));
    };
  }
  // The same for all methods of a picture.
  if (!facts.random) {
    facts.random = random_maps(facts.input, probability, kRandomMaps, options.seed, order);
  }
  const double deleted = deletion(facts.input, result.map, probability, order).area;
  const double inserted = insertion(facts.input, result.map, probability, order).area;
  result.trust = {{"deletion", deleted},
                  {"deletion of random maps", facts.random->deletion},
                  {"insertion", inserted},
                  {"insertion of random maps", facts.random->insertion}};
  // A blank map's NaN is better than nothing.
  const auto mark = [&](const char* measure, double gain, double gain_over_best) {
    if (gain > kLeastGain && gain_over_best > 0) return;
    result.no_better_than_random.emplace_back(measure);
  };
  const RandomMaps& random = *facts.random;
  mark("deletion", random.deletion - deleted, random.best_deletion - deleted);
  mark("insertion", inserted - random.insertion, inserted - random.best_insertion);
  if (options.trust != Trust::kAll) return;
  result.trust.emplace_back(
      "infidelity", infidelity(facts.input, result.map, probability, {.seed = options.seed}));
  if (result.method == kLime) return;  // each of ten draws would be a LIME of its own
  const auto again = [&](const Tensor& image) {
    return explain(model, image, result.method, explain_options(facts, options)).map.to(Device{});
  };
  result.trust.emplace_back("max-sensitivity",
                            max_sensitivity(facts.input, again, 0.02, 10, options.seed));
}

Panel panel_of(const std::string& method, const Tensor& map, bool is_signed, const Image& picture,
               const MethodOptions& options) {
  const Look look = look_of(method, is_signed, options);
  const std::vector<float> values = map.to_vector<float>();
  const auto height = static_cast<int>(map.dim(0)), width = static_cast<int>(map.dim(1));
  return {look.title,
          look.on_image
              ? overlay(picture, values, height, width, look.overlay)
              : heatmap(values, height, width, look.overlay.colormap, look.overlay.scaling),
          look.bar};
}

Panel panel_of(const Tensor& labels, const std::vector<RegionWeight>& regions, const Image& picture,
               const MethodOptions& options) {
  return {title_of(kLime),
          draw_regions(picture, labels.to_vector<int64_t>(), regions,
                       {.alpha = std::min(1.0F, options.opacity + 0.05F)}),
          ColourBar{Colormap::kBlueRed, "against", "for"}};
}

Panel panel_of(const MethodResult& result, const Image& picture, const MethodOptions& options) {
  if (!result.lime) {
    return panel_of(result.method, result.map, result.is_signed, picture, options);
  }
  const std::vector<double> weights = result.lime->weights.to_vector<double>();
  const std::vector<double> errors = result.lime->standard_errors.to_vector<double>();
  std::vector<RegionWeight> regions;
  for (size_t i = 0; i < weights.size(); ++i) {
    regions.push_back({weights[i], weights[i] == 0 || is_resolved(weights[i], errors[i])});
  }
  return panel_of(result.superpixels->labels, regions, picture, options);
}

nlohmann::ordered_json json_of(const MethodResult& result) {
  const auto object = [](const Figures& figures) {
    nlohmann::ordered_json all = nlohmann::ordered_json::object();
    for (const auto& [name, value] : figures) all[name] = value;
    return all;
  };
  nlohmann::ordered_json json = {{"signed", result.is_signed},
                                 {"figures", object(result.figures)},
                                 {"trust", object(result.trust)}};
  if (!result.trust.empty()) json["no_better_than_random"] = result.no_better_than_random;
  if (!result.lime) return json;
  const LimeResult& lime = *result.lime;
  json["intercept"] = lime.intercepts[0];
  json["exact"] = lime.exact;
  json["settled"] = lime.settled[0];
  nlohmann::ordered_json rows = nlohmann::ordered_json::array();
  const std::vector<double> weights = lime.weights.to_vector<double>();
  const std::vector<double> errors = lime.standard_errors.to_vector<double>();
  for (const int64_t superpixel : lime.rankings[0]) {
    const auto at = static_cast<size_t>(superpixel);
    rows.push_back({{"superpixel", superpixel},
                    {"weight", weights[at]},
                    {"standard_error", errors[at]},
                    {"resolved", is_resolved(weights[at], errors[at])}});
  }
  json["weights"] = rows;
  return json;
}

std::string line_of(const MethodResult& result) {
  std::vector<std::string> parts;
  if (result.lime) {
    const LimeResult& lime = *result.lime;
    const std::vector<double> weights = lime.weights.to_vector<double>();
    const std::vector<double> errors = lime.standard_errors.to_vector<double>();
    std::vector<std::string> named;
    for (const int64_t superpixel : lime.rankings[0]) {
      if (named.size() == kNamedSuperpixels) break;
      const auto at = static_cast<size_t>(superpixel);
      named.push_back(fmt::format("{} {:+.3f} ± {:.3f}", superpixel, weights[at], errors[at]));
    }
    parts.push_back(fmt::format("R² {:.3f}", lime.scores[0]));
    parts.push_back(
        fmt::format("{} of {} superpixels", fmt::join(named, ", "), result.superpixels->count));
    if (result.superpixels->count < kFewestSuperpixels) {
      parts.emplace_back("TOO FEW TO TELL ANYTHING: use --superpixels grid:8");
    }
    parts.push_back(lime.exact ? fmt::format("every mask, {}", lime.samples)
                               : fmt::format("{} samples", lime.samples));
    for (const auto& [name, value] : result.figures) {
      if (name.starts_with("deviation")) parts.push_back(fmt::format("{} {:.2g}", name, value));
    }
  } else {
    for (const auto& [name, value] : result.figures) {
      parts.push_back(fmt::format("{} {:.3g}", name, value));
    }
  }
  const auto& trust = result.trust;
  const auto& unproven = result.no_better_than_random;
  for (size_t i = 0; i < trust.size(); ++i) {
    const std::string& name = trust[i].first;
    std::string part = std::isnan(trust[i].second)
                           ? fmt::format("{} -", name)
                           : fmt::format("{} {:.3f}", name, trust[i].second);
    if (i + 1 < trust.size() && trust[i + 1].first == name + " of random maps") {
      const bool marked = std::find(unproven.begin(), unproven.end(), name) != unproven.end();
      part += fmt::format(" (random {:.3f}{})", trust[++i].second, marked ? ", no better" : "");
    }
    parts.push_back(std::move(part));
  }
  if (unproven.size() == 2) parts.emplace_back("SAYS NO MORE THAN RANDOM MAPS");
  return fmt::format("{}", fmt::join(parts, "  "));
}

std::string note_of(const MethodResult& result, const MethodOptions& options) {
  if (result.lime) {
    const LimeResult& lime = *result.lime;
    const std::vector<double> weights = lime.weights.to_vector<double>();
    const std::vector<double> errors = lime.standard_errors.to_vector<double>();
    int64_t resolved = 0;
    for (size_t i = 0; i < weights.size(); ++i) resolved += is_resolved(weights[i], errors[i]);
    const bool few = result.superpixels->count < kFewestSuperpixels;
    return fmt::format("R² {:.2f}, {} of {} superpixels resolved{}", lime.scores[0], resolved,
                       weights.size(), few ? ": too few, use --superpixels grid:8" : "");
  }
  std::vector<std::string> parts;
  if (looks_at_layer(result.method)) {
    parts.push_back(fmt::format("at {}", fmt::join(options.layers, ", ")));
  }
  for (const auto& [name, value] : result.figures) {
    parts.push_back(fmt::format("{} {:.3g}", name, value));
  }
  return fmt::format("{}", fmt::join(parts, ", "));
}

std::string table_of(const MethodResult& result) {
  const std::vector<double> weights = result.lime->weights.to_vector<double>();
  const std::vector<double> errors = result.lime->standard_errors.to_vector<double>();
  std::vector<int64_t> pixels(weights.size(), 0);
  const std::vector<int64_t> labels = result.superpixels->labels.to_vector<int64_t>();
  for (const int64_t label : labels) ++pixels[static_cast<size_t>(label)];

  Table table({{"superpixel", Align::kRight},
               {"of the picture", Align::kRight},
               {"weight", Align::kRight},
               {"standard error", Align::kRight},
               {"speaks"}});
  for (const int64_t superpixel : result.lime->rankings[0]) {
    const auto at = static_cast<size_t>(superpixel);
    const double share = static_cast<double>(pixels[at]) / static_cast<double>(labels.size());
    table.add_row({fmt::format("{}", superpixel), percent(share),
                   fmt::format("{:+.4f}", weights[at]), fmt::format("{:.4f}", errors[at]),
                   !is_resolved(weights[at], errors[at]) ? "not resolved"
                   : weights[at] > 0                     ? "for"
                                                         : "against"});
  }
  return table.str();
}

}  // namespace glassnet::cli
