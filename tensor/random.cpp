#include "tensor/random.h"

#include <cmath>
#include <numbers>

namespace glassnet {
namespace {

// 1 - u lies in (0, 1], where the logarithm is finite.
double box_muller(double u, double v) {
  return std::sqrt(-2 * std::log(1 - u)) * std::cos(2 * std::numbers::pi * v);
}

template <class F>
Tensor generate(const Shape& shape, DType type, uint64_t seed, uint64_t stream, F&& f) {
  std::vector<double> values(static_cast<size_t>(shape.numel()));
  for (size_t i = 0; i < values.size(); ++i) {
    const auto [words] = kernels::philox(seed, stream, i);
    values[i] =
        f(kernels::philox_uniform(words[0], words[1]), kernels::philox_uniform(words[2], words[3]));
  }
  return Tensor::from(values, shape).to(type);
}

}  // namespace

std::array<uint32_t, 4> philox(uint64_t seed, uint64_t stream, uint64_t index) {
  const auto [words] = kernels::philox(seed, stream, index);
  return {words[0], words[1], words[2], words[3]};
}

Random::Random(uint64_t seed, Stream stream, uint64_t a, uint64_t b)
    : Random(seed, kernels::philox_item_stream(static_cast<uint64_t>(stream), a, b)) {}

double Random::normal() {
  const double u = uniform();
  return box_muller(u, uniform());
}

std::vector<int64_t> permutation(int64_t n, Random random) {
  std::vector<int64_t> order(static_cast<size_t>(n));
  for (int64_t i = 0; i < n; ++i) order[i] = i;
  for (int64_t i = n - 1; i > 0; --i) std::swap(order[i], order[random.below(i + 1)]);
  return order;
}

Tensor random_normal(const Shape& shape, double stddev, uint64_t seed, uint64_t stream,
                     DType type) {
  return generate(shape, type, seed, stream,
                  [=](double u, double v) { return stddev * box_muller(u, v); });
}

Tensor random_uniform(const Shape& shape, double low, double high, uint64_t seed, uint64_t stream,
                      DType type) {
  return generate(shape, type, seed, stream,
                  [=](double u, double) { return low + (high - low) * u; });
}

}  // namespace glassnet
