#include "models/weights.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <set>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include "models/imagenet.h"
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
constexpr const char* kDecoder = "glassnet.decoder";

constexpr const char* kLogits = "fc.weight";  // (classes, features) in every model there is
constexpr int kLargestImage = 65535;
// More than any data set has; a file cannot make us allocate a classifier of any size.
constexpr int64_t kMostClasses = 1 << 17;

// --- the card ------------------------------------------------------------------------------------

std::map<std::string, std::string> metadata_of(const ModelCard& card) {
  std::map<std::string, std::string> metadata = {
      {kFormat, "pt"},
      {kModel, card.model},
      {kClasses, json(card.classes).dump()},
      {kImageSize, std::to_string(card.image_size)},
      {kFit, card.fit},
      {kMean, fmt::format("[{}]", fmt::join(card.mean, ", "))},
      {kStd, fmt::format("[{}]", fmt::join(card.std, ", "))}};
  if (!card.decoder.empty()) metadata[kDecoder] = card.decoder;
  return metadata;
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

constexpr int kUnknownSize = 0;  // of a card that does not say

// Takes the card's own keys out of `metadata`. An absent key leaves its default, and the image size
// unknown.
ModelCard take_card(const fs::path& path, std::map<std::string, std::string>& metadata) {
  ModelCard card;
  std::optional<int> image_size;
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
    image_size = size >= 1 && size <= kLargestImage ? static_cast<int>(size) : 0;
  });
  take(kFit, [&](const std::string& text) { card.fit = text; });
  take(kMean,
       [&](const std::string& text) { card.mean = json::parse(text).get<std::array<float, 3>>(); });
  take(kStd,
       [&](const std::string& text) { card.std = json::parse(text).get<std::array<float, 3>>(); });
  take(kDecoder, [&](const std::string& text) { card.decoder = text; });
  // Glassnet wrote this before there was a choice.
  if (!card.model.empty() && card.decoder.empty()) card.decoder = "stb";
  card.image_size = image_size.value_or(card.image_size);
  if (const auto fault = fault_of(card)) {
    throw Error(fmt::format("{}: its metadata is wrong: expected {}", path.string(), *fault));
  }
  card.image_size = image_size.value_or(kUnknownSize);
  return card;
}

// --- tensors -------------------------------------------------------------------------------------

bool is_floating(DType type) {
  return type != DType::kInt64 && type != DType::kUInt8;
}

std::vector<NamedShape> shapes_of(const TensorFile& content) {
  std::vector<NamedShape> shapes;
  for (const StoredTensor& entry : content.tensors) shapes.push_back({entry.name, entry.shape});
  return shapes;
}

// With the model's own names: weights published for CIFAR call the classifier "linear".
void rename_classifier(TensorFile& content) {
  const std::string ours = "fc.", theirs = "linear.";
  const auto starts_with = [](const std::string& prefix) {
    return [&](const StoredTensor& entry) { return entry.name.starts_with(prefix); };
  };
  auto& tensors = content.tensors;
  if (std::any_of(tensors.begin(), tensors.end(), starts_with(ours))) return;
  for (StoredTensor& entry : tensors) {
    if (entry.name.starts_with(theirs)) entry.name = ours + entry.name.substr(theirs.size());
  }
}

// Why the tensors are not those of `model`, or nothing. A batch norm's count of batches may be
// absent: PyTorch only began to keep it in 0.4.1, and it changes no result.
std::string complaint_about(const TensorFile& content, const Module& model) {
  std::vector<NamedShape> expected, given = shapes_of(content);
  std::set<std::string> present;
  for (const NamedShape& entry : given) present.insert(entry.name);
  std::set<std::string> floating;
  for (const NamedTensor& own : model.state_dict()) {
    if (own.name.ends_with("num_batches_tracked") && !present.contains(own.name)) continue;
    expected.push_back({own.name, file_shape(own.tensor.shape())});
    if (is_floating(own.tensor.dtype())) floating.insert(own.name);
  }
  std::string complaint = misfit(expected, given);
  if (!complaint.empty()) return "the weights do not fit this model: " + complaint;
  for (const StoredTensor& entry : content.tensors) {
    if (!floating.contains(entry.name) || is_floating(engine_type(entry.type))) continue;
    return fmt::format("tensor {} holds {}, expected floating-point numbers", entry.name,
                       name_of(entry.type));
  }
  return {};
}

void copy_into(const std::string& subject, const TensorFile& content, Module& model) {
  const std::string complaint = complaint_about(content, model);
  require(complaint.empty(), [&] { return fmt::format("{}: {}", subject, complaint); });
  std::map<std::string, Tensor> own;
  for (const NamedTensor& entry : model.state_dict()) own[entry.name] = entry.tensor;
  for (const StoredTensor& entry : content.tensors) {
    load_into(entry, own.at(entry.name));
    own.erase(entry.name);
  }
  for (auto& [name, tensor] : own) tensor.fill(0);  // counts of batches
}

// How many classes the tensors distinguish; throws where there is no classifier.
int64_t class_count(const fs::path& path, const TensorFile& content) {
  for (const StoredTensor& entry : content.tensors) {
    if (entry.name != kLogits) continue;
    const Shape& shape = entry.shape;
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
                  path.string(), kLogits, content.tensors.size()));
}

void require_known(const fs::path& path, const std::string& model) {
  const auto& names = model_names();
  require(std::find(names.begin(), names.end(), model) != names.end(), [&] {
    return fmt::format("{}: its weights are of a model called '{}', expected one of {}",
                       path.string(), model, fmt::join(names, ", "));
  });
}

// Which model to build: as asked for, as the card says, or as the tensors show.
std::string model_name(const fs::path& path, const std::string& given, const std::string& carded,
                       const TensorFile& content) {
  if (!given.empty()) return given;
  if (!carded.empty()) return carded;
  if (const auto fitting = model_fitting(shapes_of(content))) return *fitting;
  throw UsageError(
      fmt::format("{}: its tensors are not those of a model known here; add --model NAME, one of "
                  "{}, to see where they differ",
                  path.string(), fmt::join(model_names(), ", ")));
}

// The first name that comes again, or nothing: answers are told apart by them.
std::optional<std::string> named_twice(const std::vector<std::string>& names) {
  std::set<std::string> seen;
  for (const std::string& name : names) {
    if (!seen.insert(name).second) return name;
  }
  return std::nullopt;
}

std::vector<std::string> class_names(const fs::path& path, const std::vector<std::string>& given,
                                     const std::vector<std::string>& carded, int64_t count) {
  const auto fits = [&](const auto& names) { return static_cast<int64_t>(names.size()) == count; };
  if (!given.empty()) {
    if (const auto twice = named_twice(given)) {
      throw UsageError(fmt::format("{}: two of the class names that were given are '{}'",
                                   path.string(), *twice));
    }
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
    const auto twice = named_twice(carded);
    require(!twice, [&] {
      return fmt::format("{}: its metadata calls two classes '{}'; name them by --classes FILE",
                         path.string(), *twice);
    });
    return carded;
  }
  if (fits(imagenet_classes())) return imagenet_classes();
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

LoadedModel load_model(const fs::path& path, const WeightHints& hints) {
  const fs::path file = weight_file(path);
  TensorFile content = read_tensor_file(file);
  rename_classifier(content);
  LoadedModel loaded;
  loaded.card = take_card(file, content.metadata);
  loaded.extra = std::move(content.metadata);

  const std::string carded = loaded.card.model;
  if (hints.model.empty() && !carded.empty()) require_known(file, carded);
  const int64_t classes = class_count(file, content);
  loaded.card.model = model_name(file, hints.model, carded, content);
  loaded.card.classes = class_names(file, hints.classes, loaded.card.classes, classes);
  if (hints.image_size != 0) loaded.card.image_size = hints.image_size;
  if (loaded.card.image_size == kUnknownSize) {
    loaded.card.image_size = usual_input(loaded.card.model).image_size;
  }
  if (const auto fault = fault_of(loaded.card)) {
    throw UsageError(fmt::format("{}: expected {}", file.string(), *fault));
  }

  {
    const LeaveUnfilled about_to_be_filled;
    loaded.model = make_model(loaded.card.model, {.classes = classes});
  }
  const bool contradicted = !carded.empty() && carded != loaded.card.model;
  copy_into(
      fmt::format("{}, {}read as {}", file.string(),
                  contradicted ? fmt::format("saved as {} and ", carded) : "", loaded.card.model),
      content, *loaded.model);
  loaded.model->eval();
  return loaded;
}

namespace {

WeightFacts facts_of(const fs::path& file, TensorFile content) {
  WeightFacts facts{.content = std::move(content)};
  TensorFile renamed = facts.content;
  rename_classifier(renamed);
  facts.card = take_card(file, renamed.metadata);
  try {
    if (!facts.card.model.empty()) require_known(file, facts.card.model);
    const int64_t classes = class_count(file, renamed);
    facts.card.model = model_name(file, {}, facts.card.model, renamed);
    facts.card.classes = class_names(file, {}, facts.card.classes, classes);
    facts.complaint = complaint_about(renamed, *make_model(facts.card.model, {.classes = classes}));
    if (facts.card.image_size == kUnknownSize) {
      facts.card.image_size = usual_input(facts.card.model).image_size;
    }
  } catch (const Error& error) {
    facts.card.model.clear();
    facts.complaint = error.what();
  }
  return facts;
}

}  // namespace

WeightFacts inspect_weights(const fs::path& path) {
  const fs::path file = weight_file(path);
  return facts_of(file, read_tensor_file(file));
}

void name_classes(const fs::path& file, TensorFile& content,
                  const std::vector<std::string>& classes) {
  content.metadata.erase(kClasses);  // whatever is wrong with them
  WeightFacts facts = facts_of(file, content);
  if (!facts.complaint.empty()) {
    throw UsageError(facts.card.model.empty()
                         ? facts.complaint
                         : fmt::format("{}: {}", file.string(), facts.complaint));
  }
  facts.card.classes =
      class_names(file, classes, {}, static_cast<int64_t>(facts.card.classes.size()));
  for (const auto& [key, value] : metadata_of(facts.card)) content.metadata[key] = value;
}

void load_weights(const fs::path& path, Module& model) {
  const fs::path file = weight_file(path);
  TensorFile content = read_tensor_file(file);
  rename_classifier(content);
  copy_into(file.string(), content, model);
}

}  // namespace glassnet
