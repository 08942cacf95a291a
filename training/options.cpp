#include "training/options.h"

#include <array>
#include <cmath>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include "data/jpeg_decoder.h"
#include "kernels/error.h"
#include "tensor/file.h"
#include "training/keep_epochs.h"
#include "training/parameter_rates.h"

namespace glassnet {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

// --- from values to JSON and back ----------------------------------------------------------------

Json to_value(const fs::path& path) {
  return path.string();
}
Json to_value(Fit fit) {
  return name_of(fit);
}
Json to_value(ScheduleKind kind) {
  return name_of(kind);
}
Json to_value(StopBy quantity) {
  return name_of(quantity);
}
Json to_value(Decay decay) {
  return decay == Decay::kAll ? "all" : "matrices";
}
template <class T>
Json to_value(const std::optional<T>& value) {
  return value ? Json(*value) : Json();
}
template <class T>
Json to_value(const T& value) {
  return value;
}

constexpr std::array<std::pair<Crop, const char*>, 3> kCrops = {{
    {Crop::kNone, "none"},
    {Crop::kShift, "shift"},
    {Crop::kRandomResized, "random-resized"},
}};

Json to_value(const AugmentOptions& augment) {
  Json value;
  for (const auto& [crop, name] : kCrops) {
    if (augment.crop == crop) value["crop"] = name;
  }
  value["shift"] = augment.shift;
  value["scale"] = {augment.scale_low, augment.scale_high};
  value["ratio"] = {augment.ratio_low, augment.ratio_high};
  value["flip"] = augment.flip;
  value["jitter"] = augment.jitter;
  value["colors"] = {{"brightness", augment.colors.brightness},
                     {"contrast", augment.colors.contrast},
                     {"saturation", augment.colors.saturation},
                     {"hue", augment.colors.hue}};
  value["erase"] = augment.erase;
  return value;
}

void from_value(const Json& value, fs::path& path) {
  path = value.get<std::string>();
}
void from_value(const Json& value, Fit& fit) {
  fit = parse_fit(value.get<std::string>());
}
void from_value(const Json& value, ScheduleKind& kind) {
  kind = parse_schedule(value.get<std::string>());
}
void from_value(const Json& value, StopBy& quantity) {
  quantity = parse_stop_by(value.get<std::string>());
}
void from_value(const Json& value, Decay& decay) {
  decay = value.get<std::string>() == "all" ? Decay::kAll : Decay::kMatrices;
}
void from_value(const Json& value, AugmentOptions& augment) {
  const auto name = value.at("crop").get<std::string>();
  for (const auto& [crop, known] : kCrops) {
    if (name == known) augment.crop = crop;
  }
  value.at("shift").get_to(augment.shift);
  value.at("scale").at(0).get_to(augment.scale_low);
  value.at("scale").at(1).get_to(augment.scale_high);
  value.at("ratio").at(0).get_to(augment.ratio_low);
  value.at("ratio").at(1).get_to(augment.ratio_high);
  value.at("flip").get_to(augment.flip);
  value.at("jitter").get_to(augment.jitter);
  value.at("colors").at("brightness").get_to(augment.colors.brightness);
  value.at("colors").at("contrast").get_to(augment.colors.contrast);
  value.at("colors").at("saturation").get_to(augment.colors.saturation);
  value.at("colors").at("hue").get_to(augment.colors.hue);
  value.at("erase").get_to(augment.erase);
}
template <class T>
void from_value(const Json& value, std::optional<T>& result) {
  if (!value.is_null()) result = value.get<T>();
}
template <class T>
void from_value(const Json& value, T& result) {
  value.get_to(result);
}

// --- the one list of what config.json keeps ------------------------------------------------------

// Calls f(key, member) for every option that decides the numbers of a run.
template <class F>
void for_each_fixed(F&& f) {
  f("model", &TrainOptions::model);
  f("pretrained", &TrainOptions::pretrained);
  f("zero_init_residual", &TrainOptions::zero_init_residual);
  f("epochs", &TrainOptions::epochs);
  f("batch_size", &TrainOptions::batch_size);
  f("image_size", &TrainOptions::image_size);
  f("fit", &TrainOptions::fit);
  f("decoder", &TrainOptions::decoder);
  f("mean", &TrainOptions::mean);
  f("std", &TrainOptions::std);
  f("validation_split", &TrainOptions::validation_split);
  f("patience", &TrainOptions::patience);
  f("stop_by", &TrainOptions::stop_by);
  f("optimizer", &TrainOptions::optimizer);
  f("learning_rate", &TrainOptions::learning_rate);
  f("weight_decay", &TrainOptions::weight_decay);
  f("decay", &TrainOptions::decay);
  f("momentum", &TrainOptions::momentum);
  f("nesterov", &TrainOptions::nesterov);
  f("freeze", &TrainOptions::freeze);
  f("lr_scale", &TrainOptions::lr_scale);
  f("clip_norm", &TrainOptions::clip_norm);
  f("label_smoothing", &TrainOptions::label_smoothing);
  f("schedule", &TrainOptions::schedule);
  f("warmup_epochs", &TrainOptions::warmup_epochs);
  f("step_epochs", &TrainOptions::step_epochs);
  f("augment", &TrainOptions::augment);
  f("seed", &TrainOptions::seed);
  f("device", &TrainOptions::device);
  f("precision", &TrainOptions::precision);
  f("tf32", &TrainOptions::tf32);
  f("winograd", &TrainOptions::winograd);
  f("deterministic", &TrainOptions::deterministic);
}
// And for every one that does not.
template <class F>
void for_each_free(F&& f) {
  f("keep_epochs", &TrainOptions::keep_epochs);
  f("graph", &TrainOptions::graph);
  f("threads", &TrainOptions::threads);
  f("loader_threads", &TrainOptions::loader_threads);
  f("cache_bytes", &TrainOptions::cache_bytes);
}

// Options that earlier versions had not: a run without them has their defaults, but for `decoder`.
bool came_later(const std::string& key) {
  return key == "decoder" || key == "freeze" || key == "lr_scale" || key == "patience" ||
         key == "stop_by" || key == "keep_epochs" || key == "winograd";
}

// --- messages ------------------------------------------------------------------------------------

// How the command line calls an option.
std::string flag(const std::string& key) {
  if (key == "learning_rate") return "--lr";
  std::string name = "--" + key;
  for (char& letter : name) {
    if (letter == '_') letter = '-';
  }
  return name;
}

std::string shown(const Json& value) {
  return value.is_string() ? value.get<std::string>() : value.dump();
}

template <class T>
void expect(bool holds, const char* key, const T& got, const char* expectation) {
  if (!holds) throw UsageError(fmt::format("{} must be {}, got {}", flag(key), expectation, got));
}

void expect_one_of(const char* key, const std::string& got, const std::vector<std::string>& known) {
  for (const std::string& name : known) {
    if (got == name) return;
  }
  throw UsageError(
      fmt::format("{} must be one of {}, got '{}'", flag(key), fmt::join(known, ", "), got));
}

bool within(double value, double low, double high) {
  return value >= low && value <= high;
}

}  // namespace

void validate(const TrainOptions& o) {
  constexpr int kLargestImage = 4096;
  constexpr double kLargest = 1e6;
  expect(o.epochs >= 1 && o.epochs <= 1'000'000, "epochs", o.epochs, "from 1 to a million");
  expect(o.batch_size >= 2, "batch_size", o.batch_size,
         "at least 2, since batch norm learns from differences between images");
  const int smallest = o.input().smallest_image;
  expect(o.image_size == 0 || (o.image_size >= smallest && o.image_size <= kLargestImage),
         "image_size", o.image_size,
         fmt::format("from {} to {} pixels, or 0 for the data's own", smallest, kLargestImage)
             .c_str());
  expect(within(o.validation_split, 0, 0.9), "validation_split", o.validation_split,
         "a share from 0 to 0.9");
  expect(o.patience >= 0, "patience", o.patience, "at least 1 epoch, or 0 to never stop early");
  const bool stops = o.patience > 0;
  if (stops && o.validation_split == 0 && !o.resume) {
    throw UsageError(
        "--patience needs images that --validation-split holds back: test images that decide when "
        "to stop would no longer test");
  }
  if (o.given.contains("stop_by") && !stops && !o.resume) {
    throw UsageError("--stop-by says what --patience waits for; give both");
  }
  parse_jpeg_decoder(o.decoder);
  for (const float mean : o.mean.value_or(Normalization{}.mean)) {
    expect(within(mean, 0, 1), "mean", mean, "three numbers from 0 to 1");
  }
  for (const float deviation : o.std.value_or(Normalization{}.stddev)) {
    expect(deviation > 0 && deviation <= 1, "std", deviation, "three numbers above 0, at most 1");
  }
  expect_one_of("optimizer", o.optimizer, {"sgd", "adam", "adamw"});
  if (o.learning_rate) {
    expect(*o.learning_rate > 0 && *o.learning_rate <= kLargest, "learning_rate", *o.learning_rate,
           "a number above 0, at most 1000000");
  }
  if (o.weight_decay) {
    expect(within(*o.weight_decay, 0, kLargest), "weight_decay", *o.weight_decay,
           "a number from 0 to 1000000");
  }
  expect(o.momentum >= 0 && o.momentum < 1, "momentum", o.momentum, "from 0 to below 1");
  for (const std::string& scale : o.lr_scale) parse_lr_scale(scale);
  expect(o.clip_norm >= 0 && std::isfinite(o.clip_norm), "clip_norm", o.clip_norm,
         "a finite number greater than 0, or 0 for no limit");
  expect(o.label_smoothing >= 0 && o.label_smoothing < 1, "label_smoothing", o.label_smoothing,
         "from 0 to below 1");
  expect(within(o.warmup_epochs, 0, static_cast<double>(o.epochs)), "warmup_epochs",
         o.warmup_epochs, "from 0 to the number of epochs");
  expect(o.step_epochs >= 1, "step_epochs", o.step_epochs, "at least 1");
  parse_keep_epochs(o.keep_epochs);
  expect_one_of("precision", o.precision, {"auto", "fp32", "bf16", "fp16"});
  expect(o.threads >= 0, "threads", o.threads, "at least 1, or 0 for all cores");
  expect(o.loader_threads >= 0 && o.loader_threads <= 256, "loader_threads", o.loader_threads,
         "from 1 to 256, or 0 to choose");
  expect(o.cache_bytes >= 0, "cache_bytes", o.cache_bytes, "at least 0");
}

void save_config(const fs::path& path, const RunConfig& config) {
  const TrainOptions& options = config.options;
  Json json;
  json["data"] = options.data.string();
  const auto write = [&](const char* key, auto member) { json[key] = to_value(options.*member); };
  for_each_fixed(write);
  for_each_free(write);
  json["classes"] = config.classes;
  json["train_images"] = config.train_images;
  json["validation_images"] = config.validation_images;
  json["test_images"] = config.test_images;
  json["image_list"] = fmt::format("{:016x}", config.image_list);
  json["parameters"] = config.parameters;
  json["program"] = {{"glassnet", GLASSNET_VERSION},
                     {"compiler", GLASSNET_COMPILER},
                     {"onednn", GLASSNET_ONEDNN_VERSION}};
  write_file_atomically(path, json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
}

RunConfig load_config(const fs::path& path) {
  const std::string text = read_file(path);
  try {
    const Json json = Json::parse(text);
    RunConfig config;
    TrainOptions& options = config.options;
    from_value(json.at("data"), options.data);
    options.decoder = "stb";  // the only one that earlier versions had
    const auto read = [&](const char* key, auto member) {
      if (came_later(key) && !json.contains(key)) return;
      from_value(json.at(key), options.*member);
    };
    for_each_fixed(read);
    for_each_free(read);
    config.normalization = {.mean = options.mean.value(), .stddev = options.std.value()};
    json.at("classes").get_to(config.classes);
    json.at("train_images").get_to(config.train_images);
    json.at("validation_images").get_to(config.validation_images);
    json.at("test_images").get_to(config.test_images);
    config.image_list = std::stoull(json.at("image_list").get<std::string>(), nullptr, 16);
    json.at("parameters").get_to(config.parameters);
    validate(options);
    return config;
  } catch (const std::exception& error) {
    throw Error(
        fmt::format("{}: is not the configuration of a run: {}", path.string(), error.what()));
  }
}

TrainOptions resumed_options(const TrainOptions& asked, const TrainOptions& run) {
  TrainOptions result = run;
  result.out = asked.out;
  result.resume = true;
  result.given = asked.given;
  result.factory = asked.factory;
  if (!asked.data.empty()) result.data = fs::absolute(asked.data).lexically_normal();
  if (asked.given.contains("keep_epochs") || !asked.keep_epochs.empty()) {
    result.keep_epochs = asked.keep_epochs;
  }
  result.graph = asked.graph;
  if (asked.threads != 0) result.threads = asked.threads;
  if (asked.loader_threads != 0) result.loader_threads = asked.loader_threads;

  const TrainOptions defaults;
  if (asked.given.contains("cache_bytes") || asked.cache_bytes != defaults.cache_bytes) {
    result.cache_bytes = asked.cache_bytes;
  }
  TrainOptions same_path = asked;  // the run's are absolute
  if (!asked.pretrained.empty()) {
    same_path.pretrained = fs::absolute(asked.pretrained).lexically_normal();
  }
  for_each_fixed([&](const std::string& key, auto member) {
    const Json wanted = to_value(same_path.*member), own = to_value(run.*member);
    const bool named = asked.given.contains(key) || wanted != to_value(defaults.*member);
    const bool open = wanted.is_null() || wanted == "auto" ||
                      (key == "image_size" && wanted == 0) ||
                      (key == "device" && wanted == "cuda" && own == "cuda:0");
    if (!named || open || wanted == own) return;
    const std::string what =
        fmt::format("{} {} differs from the run's {}", flag(key), shown(wanted), shown(own));
    if (key != "epochs") {
      throw UsageError(what + "; leave it out to continue the run, or choose another --out");
    }
    if (depends_on_total(run.schedule)) {
      throw UsageError(fmt::format(
          "{}, on whose number its {} schedule depends; leave it out to continue the run, or "
          "choose another --out",
          what, name_of(run.schedule)));
    }
    result.epochs = asked.epochs;
  });
  return result;
}

}  // namespace glassnet
