#include "models/weights.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <set>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include "models/resnet.h"
#include "models/safetensors.h"

namespace glassnet {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

constexpr const char* kFormat = "format";  // PyTorch's own key, with the value "pt"
constexpr const char* kModel = "glassnet.model";
constexpr const char* kClasses = "glassnet.classes";
constexpr const char* kImageSize = "glassnet.image_size";
constexpr const char* kFit = "glassnet.fit";
constexpr const char* kMean = "glassnet.mean";
constexpr const char* kStd = "glassnet.std";

constexpr const char* kLogits = "fc.weight";  // (classes, features) in every model there is
constexpr int kLargestImage = 65535;
// More than any data set has; a file cannot make us allocate a classifier of any size.
constexpr int64_t kMostClasses = 1 << 17;

// --- the card ------------------------------------------------------------------------------------

std::map<std::string, std::string> metadata_of(const ModelCard& card) {
  return {{kFormat, "pt"},
          {kModel, card.model},
          {kClasses, json(card.classes).dump()},
          {kImageSize, std::to_string(card.image_size)},
          {kFit, card.fit},
          {kMean, fmt::format("[{}]", fmt::join(card.mean, ", "))},
          {kStd, fmt::format("[{}]", fmt::join(card.std, ", "))}};
}

// Why no network can be used with this card, or nothing.
std::optional<std::string> fault_of(const ModelCard& card) {
  if (card.image_size < 1 || card.image_size > kLargestImage) {
    return fmt::format("an image size of 1 to {} pixels, got {}", kLargestImage, card.image_size);
  }
  if (card.fit != "crop" && card.fit != "squash") {
    return fmt::format("fit to be crop or squash, got '{}'", card.fit);
  }
  for (size_t channel = 0; channel < 3; ++channel) {
    if (!std::isfinite(card.mean[channel]) || !std::isfinite(card.std[channel]) ||
        card.std[channel] <= 0) {
      return fmt::format("finite means and positive standard deviations, got {} and {}",
                         card.mean[channel], card.std[channel]);
    }
  }
  return std::nullopt;
}

// Takes the card's own keys out of `metadata`. An absent key leaves its default.
ModelCard take_card(const fs::path& path, std::map<std::string, std::string>& metadata) {
  ModelCard card;
  const auto take = [&](const char* key, auto&& use) {
    const auto node = metadata.extract(key);
    if (node.empty()) return;
    try {
      use(node.mapped());
    } catch (const json::exception&) {
      throw Error(fmt::format("{}: its metadata {} cannot be understood", path.string(), key));
    }
  };
  take(kFormat, [](const std::string&) {});
  take(kModel, [&](const std::string& text) { card.model = text; });
  take(kClasses, [&](const std::string& text) {
    card.classes = json::parse(text).get<std::vector<std::string>>();
  });
  take(kImageSize, [&](const std::string& text) {
    // As a double, every number that is no image size is out of range, not wrapped around.
    const double size = json::parse(text).get<double>();
    card.image_size = size >= 1 && size <= kLargestImage ? static_cast<int>(size) : 0;
  });
  take(kFit, [&](const std::string& text) { card.fit = text; });
  take(kMean,
       [&](const std::string& text) { card.mean = json::parse(text).get<std::array<float, 3>>(); });
  take(kStd,
       [&](const std::string& text) { card.std = json::parse(text).get<std::array<float, 3>>(); });
  if (const auto fault = fault_of(card)) {
    throw Error(fmt::format("{}: its metadata is wrong: expected {}", path.string(), *fault));
  }
  return card;
}

// --- tensors -------------------------------------------------------------------------------------

bool is_floating(DType type) {
  return type != DType::kInt64 && type != DType::kUInt8;
}

// The file's tensors in this engine's layout, made to fit `model` and copied into it.
void copy_into(const std::string& subject, const StateDict& from_file, Module& model) {
  StateDict state;
  std::set<std::string> given;
  for (const NamedTensor& entry : from_file) {
    state.push_back({entry.name, nchw_to_nhwc(entry.tensor)});
    given.insert(entry.name);
  }
  // Batch norm only began to count its batches in PyTorch 0.4.1; the count changes no result.
  std::set<std::string> floating;
  for (const NamedTensor& own : model.state_dict()) {
    if (is_floating(own.tensor.dtype())) floating.insert(own.name);
    if (own.name.ends_with("num_batches_tracked") && !given.contains(own.name)) {
      state.push_back({own.name, Tensor::zeros(own.tensor.shape(), own.tensor.dtype())});
    }
  }
  for (const NamedTensor& entry : state) {
    require(!floating.contains(entry.name) || is_floating(entry.tensor.dtype()), [&] {
      return fmt::format("{}: tensor {} holds {}, expected floating-point numbers", subject,
                         entry.name, name_of(entry.tensor.dtype()));
    });
  }
  try {
    model.load_state_dict(state);
  } catch (const Error& error) {
    throw Error(fmt::format("{}: {}", subject, error.what()));
  }
}

// How many classes the tensors distinguish.
int64_t class_count(const fs::path& path, const StateDict& tensors) {
  for (const NamedTensor& entry : tensors) {
    if (entry.name != kLogits) continue;
    const Shape& shape = entry.tensor.shape();
    require(shape.rank() == 2 && shape[0] > 0 && shape[0] <= kMostClasses, [&] {
      return fmt::format(
          "{}: expected {} of shape (classes, features) with at most {} classes, "
          "got {}",
          path.string(), kLogits, kMostClasses, shape.str());
    });
    return shape[0];
  }
  throw Error(
      fmt::format("{}: no weights of a network known here: there is no tensor {} among its "
                  "{}",
                  path.string(), kLogits, tensors.size()));
}

fs::path weight_file(const fs::path& path) {
  std::error_code ignored;
  if (!fs::is_directory(path, ignored)) return path;
  for (const char* name : {"best.safetensors", "last.safetensors"}) {
    if (fs::exists(path / name, ignored)) return path / name;
  }
  throw Error(
      fmt::format("{}: this folder holds no trained network: expected best.safetensors or "
                  "last.safetensors in it",
                  path.string()));
}

void check_model_name(const fs::path& path, const std::string& given, const std::string& carded) {
  if (given.empty() && carded.empty()) {
    throw UsageError(
        fmt::format("{}: the file does not say which model its weights are of; add "
                    "--model NAME, one of {}",
                    path.string(), fmt::join(model_names(), ", ")));
  }
  const auto& names = model_names();
  if (!given.empty() || std::find(names.begin(), names.end(), carded) != names.end()) return;
  throw Error(fmt::format("{}: its weights are of a model called '{}', expected one of {}",
                          path.string(), carded, fmt::join(names, ", ")));
}

std::vector<std::string> class_names(const fs::path& path, const std::vector<std::string>& given,
                                     const std::vector<std::string>& carded, int64_t count) {
  const auto fits = [&](const auto& names) { return static_cast<int64_t>(names.size()) == count; };
  if (!given.empty()) {
    if (fits(given)) return given;
    throw UsageError(
        fmt::format("{}: {} class names were given, but its weights tell {} classes "
                    "apart",
                    path.string(), given.size(), count));
  }
  if (!carded.empty()) {
    require(fits(carded), [&] {
      return fmt::format("{}: its metadata names {} classes, but its weights tell {} apart",
                         path.string(), carded.size(), count);
    });
    return carded;
  }
  std::vector<std::string> numbers;
  for (int64_t i = 0; i < count; ++i) numbers.push_back(std::to_string(i));
  return numbers;
}

}  // namespace

void save_weights(const fs::path& path, const Module& model, const ModelCard& card,
                  const std::map<std::string, std::string>& extra) {
  if (const auto fault = fault_of(card)) {
    throw Error(fmt::format("{}: cannot be written: expected {}", path.string(), *fault));
  }
  SafeTensors content;
  try {
    content.metadata = metadata_of(card);
  } catch (const json::exception&) {
    throw Error(
        fmt::format("{}: cannot be written: the name of a class is not UTF-8", path.string()));
  }
  for (const auto& [key, value] : extra) {
    require(content.metadata.emplace(key, value).second, [&, key = key] {
      return fmt::format("{}: cannot be written: the metadata key {} is the card's own",
                         path.string(), key);
    });
  }
  for (const NamedTensor& entry : model.state_dict()) {
    content.tensors.push_back({entry.name, nhwc_to_nchw(entry.tensor)});
  }
  save_safetensors(path, content);
}

LoadedModel load_model(const fs::path& path, const WeightHints& hints) {
  const fs::path file = weight_file(path);
  SafeTensors content = load_safetensors(file);
  LoadedModel loaded;
  loaded.card = take_card(file, content.metadata);
  loaded.extra = std::move(content.metadata);

  const std::string carded = loaded.card.model;
  check_model_name(file, hints.model, carded);
  const int64_t classes = class_count(file, content.tensors);
  loaded.card.classes = class_names(file, hints.classes, loaded.card.classes, classes);
  if (!hints.model.empty()) loaded.card.model = hints.model;
  if (hints.image_size != 0) loaded.card.image_size = hints.image_size;
  if (const auto fault = fault_of(loaded.card)) {
    throw UsageError(fmt::format("{}: expected {}", file.string(), *fault));
  }

  loaded.model = make_model(loaded.card.model, {.classes = classes});
  const bool contradicted = !carded.empty() && carded != loaded.card.model;
  copy_into(
      fmt::format("{}, {}read as {}", file.string(),
                  contradicted ? fmt::format("saved as {} and ", carded) : "", loaded.card.model),
      content.tensors, *loaded.model);
  loaded.model->eval();
  return loaded;
}

void load_weights(const fs::path& path, Module& model) {
  const fs::path file = weight_file(path);
  copy_into(file.string(), load_safetensors(file).tensors, model);
}

}  // namespace glassnet
