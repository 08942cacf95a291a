// Explaining pictures into files: what `explain` and `demo` share.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "cli/explanation.h"
#include "models/weights.h"

namespace glassnet::cli {

struct ExplainRequest {
  std::vector<std::filesystem::path> images;
  std::vector<std::string> methods = {"gradcam", "saliency"};
  std::string target = "predicted", against = "auto";  // as Question knows them
  MethodOptions method;                                // no layers: the last stage
  std::filesystem::path out;
  bool png = true, svg = false, npy = false, json = false;
  std::string title;  // of the sheet
};

struct ExplainedImage {
  std::filesystem::path image;
  int64_t predicted = -1, target = -1;
  int64_t true_class = -1;         // by the picture's folder; -1 where that is no class
  std::optional<int64_t> against;  // the class that `target` is contrasted with
  std::vector<float> probabilities;
  std::vector<std::pair<std::string, std::string>> lines;  // of each method, what was measured
  std::string table;                                       // of LIME
  std::vector<std::filesystem::path> files;
};

struct ExplainOutcome {
  std::vector<ExplainedImage> explained;
  std::vector<std::filesystem::path> sheets;  // rows of input, maps and verdict; a page each 40
  std::vector<std::string> failures;          // a sentence for each picture that could not be read
};

// For each picture STEM and each method: STEM.METHOD.png, an overlay; STEM.METHOD.npy, the raw
// float32 map over the network's input (H, W); STEM.METHOD.json, the same with what it explains and
// what was measured; of LIME also STEM.lime.labels.npy, each pixel's superpixel.
// Pictures of the same name get their folder's name in front, and a number where that is the same
// too. A picture that cannot be read is passed over, and said.
ExplainOutcome explain_images(LoadedModel& network, const ExplainRequest& request,
                              const std::function<void(int64_t done, int64_t total)>& progress);

// A name for each path's outputs, no two alike: the stem where it is unique.
std::vector<std::string> output_stems(const std::vector<std::filesystem::path>& images);

}  // namespace glassnet::cli
