// What a network says about a whole set of images.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "nn/module.h"

namespace glassnet {

class Loader;

// Every list is in the order of the dataset; probabilities are softmax's.
struct Evaluation {
  double loss = 0;      // mean cross-entropy, without label smoothing
  double accuracy = 0;  // share of 1
  std::vector<int64_t> true_classes;
  std::vector<int64_t> predicted;       // the largest logit; the first of equal ones
  std::vector<float> probability;       // of the predicted class
  std::vector<float> true_probability;  // of the true class
  Tensor logits;                        // float32 (images, classes)
  double seconds = 0;
};

struct EvaluateOptions {
  // How many images of how many are done, after each batch.
  std::function<void(int64_t done, int64_t total)> progress;
};

// In evaluation mode and without recording; the model's mode is restored, also by an exception.
// `images` must go over every image, in any order, without variations.
Evaluation evaluate(Module& model, Loader& images, const EvaluateOptions& options = {});

// What logits say: fills everything in an Evaluation but `seconds`. logits float32
// (images, classes).
Evaluation evaluate_logits(const Tensor& logits, const std::vector<int64_t>& true_classes);

}  // namespace glassnet
