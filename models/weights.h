// Weight files: a network's tensors under torchvision's names and in PyTorch's shapes (convolutions
// (K, C, R, S)). What this program writes is safetensors, with what is needed to use the network
// again in the metadata: the model's name, its classes, and how pictures are prepared for it. Read
// is also what PyTorch and others write, which says none of that: then the tensors tell the model.
#pragma once

#include <array>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "models/tensor_file.h"
#include "nn/module.h"

namespace glassnet {

// What a network expects and means.
struct ModelCard {
  std::string model;                                     // "resnet50"
  std::vector<std::string> classes;                      // in the order of the logits
  int image_size = 224;                                  // pixels, square
  std::string fit = "crop";                              // "crop" or "squash"
  std::array<float, 3> mean = {0.485F, 0.456F, 0.406F};  // per channel, of values in [0, 1]
  std::array<float, 3> std = {0.229F, 0.224F, 0.225F};
  std::string decoder;  // of JPEGs in training: "turbo" or "stb"; empty: unknown
};

// `extra` metadata (training state, for example) is written beside the card's own keys.
void save_weights(const std::filesystem::path& path, const Module& model, const ModelCard& card,
                  const std::map<std::string, std::string>& extra = {});

struct LoadedModel {
  std::unique_ptr<Module> model;  // in evaluation mode
  ModelCard card;
  std::map<std::string, std::string> extra;
};

// What a file without a card may be told; an empty field is taken from the card, else from the
// tensors: the one model that they fit, ImageNet's names for a thousand classes, numbers for
// others, the image size that is usual for the model. Given fields win over the card, except that a
// model or number of classes that contradicts the tensors is an Error that says both; so is a class
// named twice.
struct WeightHints {
  std::string model;
  std::vector<std::string> classes;
  int image_size = 0;
};

// MODEL as the command line means it: a run folder (its best weights), or a weight file.
LoadedModel load_model(const std::filesystem::path& path, const WeightHints& hints = {});

// The weight file that a path stands for: itself, or a run folder's best or last weights.
std::filesystem::path weight_file(const std::filesystem::path& path);

// What a file of tensors is, told without using it.
struct WeightFacts {
  TensorFile content;
  ModelCard card;         // of the file, filled up from the tensors; `model` empty: none fits
  std::string complaint;  // why the tensors are not those of `card.model`; empty: they are
};
WeightFacts inspect_weights(const std::filesystem::path& path);
// Adds a card with these class names to a file's metadata. Throws UsageError, naming `file`, when
// the tensors are no network's that is known here, or tell another number of classes apart.
void name_classes(const std::filesystem::path& file, TensorFile& content,
                  const std::vector<std::string>& classes);

// Copies a weight file's tensors into an existing model of the same architecture, for example to
// resume; throws Error naming the file and what does not fit.
void load_weights(const std::filesystem::path& path, Module& model);

}  // namespace glassnet
