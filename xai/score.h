// What is explained: one number that a network gives to an image.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "nn/module.h"

namespace glassnet {

// y_of, the logit of a class; or y_of - y_against, which asks why the one class and not the other.
struct Target {
  int64_t of;
  std::optional<int64_t> against = {};
  Target(int64_t class_index)  // NOLINT(google-explicit-constructor)
      : of(class_index) {}
  Target(int64_t class_index, std::optional<int64_t> other) : of(class_index), against(other) {}
};

// logits (N, classes) -> (N). Throws UsageError for a class that does not exist, and for one
// against itself.
Variable score(const Variable& logits, const Target& target);
// The same with a target for each of the N images.
Variable score_each(const Variable& logits, const std::vector<Target>& targets);
// The scores of images (N, H, W, 3) in evaluation, without recording.
std::vector<double> scores(Module& model, const Tensor& images, const Target& target);

// Throws Error unless the shape is (1, H, W, 3).
void require_image(const Tensor& image);

}  // namespace glassnet
