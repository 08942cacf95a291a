// Weight files: a network's tensors in PyTorch's shapes (convolutions (K, C, R, S)), and in the
// metadata what is needed to use it again: the model's name, its classes, and how pictures are
// prepared for it.
#pragma once

#include <array>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

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
};

// `extra` metadata (training state, for example) is written beside the card's own keys.
void save_weights(const std::filesystem::path& path, const Module& model, const ModelCard& card,
                  const std::map<std::string, std::string>& extra = {});

struct LoadedModel {
  std::unique_ptr<Module> model;  // in evaluation mode
  ModelCard card;
  std::map<std::string, std::string> extra;
};

// What a file without a card needs to be told; an empty field is taken from the card. Given fields
// win over the card, except that a model or number of classes that contradicts the tensors is an
// Error that says both.
struct WeightHints {
  std::string model;
  std::vector<std::string> classes;
  int image_size = 0;
};

// MODEL as the command line means it: a run folder (its best weights), or a weight file.
LoadedModel load_model(const std::filesystem::path& path, const WeightHints& hints = {});

// Copies a weight file's tensors into an existing model of the same architecture, for example to
// resume; throws Error naming the file and what does not fit.
void load_weights(const std::filesystem::path& path, Module& model);

}  // namespace glassnet
