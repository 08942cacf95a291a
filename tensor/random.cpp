#include "tensor/random.h"

#include <cmath>
#include <numbers>

namespace glassnet {
namespace {

// The multipliers and key increments of Philox 4x32.
constexpr uint32_t kMultiplierA = 0xD2511F53, kMultiplierB = 0xCD9E8D57;
constexpr uint32_t kWeylA = 0x9E3779B9, kWeylB = 0xBB67AE85;

double to_uniform(uint32_t high, uint32_t low) {
  const uint64_t bits = (uint64_t{high} << 32 | low) >> 11;
  return static_cast<double>(bits) * 0x1p-53;
}

// 1 - u lies in (0, 1], where the logarithm is finite.
double box_muller(double u, double v) {
  return std::sqrt(-2 * std::log(1 - u)) * std::cos(2 * std::numbers::pi * v);
}

template <class F>
Tensor generate(const Shape& shape, DType type, uint64_t seed, uint64_t stream, F&& f) {
  std::vector<double> values(static_cast<size_t>(shape.numel()));
  for (size_t i = 0; i < values.size(); ++i) {
    const auto b = philox(seed, stream, i);
    values[i] = f(to_uniform(b[0], b[1]), to_uniform(b[2], b[3]));
  }
  return Tensor::from(values, shape).to(type);
}

}  // namespace

std::array<uint32_t, 4> philox(uint64_t seed, uint64_t stream, uint64_t index) {
  std::array<uint32_t, 4> c = {static_cast<uint32_t>(index), static_cast<uint32_t>(index >> 32),
                               static_cast<uint32_t>(stream), static_cast<uint32_t>(stream >> 32)};
  auto ka = static_cast<uint32_t>(seed), kb = static_cast<uint32_t>(seed >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t a = uint64_t{kMultiplierA} * c[0], b = uint64_t{kMultiplierB} * c[2];
    c = {static_cast<uint32_t>(b >> 32) ^ c[1] ^ ka, static_cast<uint32_t>(b),
         static_cast<uint32_t>(a >> 32) ^ c[3] ^ kb, static_cast<uint32_t>(a)};
    ka += kWeylA;
    kb += kWeylB;
  }
  return c;
}

Random::Random(uint64_t seed, Stream stream, uint64_t a, uint64_t b) : seed_(seed) {
  const auto mixed = philox(a, static_cast<uint64_t>(stream), b);
  stream_ = uint64_t{mixed[0]} << 32 | mixed[1];
}

uint32_t Random::next() {
  if (used_ == 4) {
    block_ = philox(seed_, stream_, index_++);
    used_ = 0;
  }
  return block_[used_++];
}

double Random::uniform() {
  const uint32_t high = next();
  return to_uniform(high, next());
}

double Random::uniform(double low, double high) {
  return low + (high - low) * uniform();
}

int64_t Random::below(int64_t n) {
  // Values over the largest multiple of n would favour small results.
  const auto range = static_cast<uint64_t>(n);
  const uint64_t limit = UINT64_MAX - UINT64_MAX % range;
  for (;;) {
    const uint64_t high = next();
    const uint64_t value = high << 32 | next();
    if (value < limit) return static_cast<int64_t>(value % range);
  }
}

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
