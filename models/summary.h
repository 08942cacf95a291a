// What a network is made of: a line for each layer with its output shape, parameters and work.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "nn/module.h"

namespace glassnet {

struct LayerSummary {
  std::string path;  // "layer1.0.conv1"
  std::string kind;  // "Conv2d"
  Shape output;      // of the last time it ran
  int64_t parameters = 0;
  int64_t multiply_adds = 0;  // convolutions and linear layers, for the given input
};

struct ModelSummary {
  std::vector<LayerSummary> layers;  // leaves, in the order in which they run
  int64_t parameters = 0;
  int64_t multiply_adds = 0;  // FLOPs are twice as many
};

// Runs the model once (evaluation mode, no recording) on zeros (1, image_size, image_size, 3).
ModelSummary summarise(Module& model, int image_size);

}  // namespace glassnet
