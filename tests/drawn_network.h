// Weights and pictures that scripts draw as well (scripts/drawn.py), so that golden files hold
// results alone: Philox numbers of one seed, each tensor in a stream of its name.
#pragma once

#include <cmath>
#include <string>

#include "nn/module.h"
#include "tensor/hash.h"
#include "tensor/random.h"

namespace glassnet {

inline constexpr uint64_t kDrawnSeed = 2024;

// A tensor is drawn from the stream that its name hashes to (64-bit FNV-1a).
inline Tensor draw(const std::string& name, const Shape& shape, double low, double high) {
  Fnv1a stream;
  stream.add(name);
  return random_uniform(shape, low, high, kDrawnSeed, stream.value(), DType::kFloat64);
}

inline Tensor draw_state(const std::string& name, const Tensor& value) {
  if (value.rank() >= 2) {
    const double bound = std::sqrt(6.0 / static_cast<double>(value.numel() / value.dim(0)));
    return draw(name, value.shape(), -bound, bound);
  }
  if (value.rank() == 0) return Tensor::zeros({}, DType::kInt64);  // num_batches_tracked
  const bool scales = name.ends_with("running_var") || name.ends_with("weight");
  return scales ? draw(name, value.shape(), 0.5, 1.5) : draw(name, value.shape(), -0.5, 0.5);
}

// Every weight and statistic of a network, converted to the type that it is in.
inline void draw_weights(Module& model) {
  StateDict state = model.state_dict();
  for (NamedTensor& entry : state) entry.tensor = draw_state(entry.name, entry.tensor);
  model.load_state_dict(state);
}

}  // namespace glassnet
