// What tests of kernels share: numbers to start from, in each element type, and how far a result is
// from the float64 definition's.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <type_traits>
#include <vector>

#include "kernels/half.h"

namespace glassnet {

using ElementTypes = testing::Types<float, bfloat16, float16>;

// What rounding a result to the type costs, and a little for sums: relative to the largest element.
template <class T>
inline constexpr double kTolerance = 1e-5;
template <>
inline constexpr double kTolerance<bfloat16> = 1e-2;
template <>
inline constexpr double kTolerance<float16> = 2e-3;

// Space for `count` numbers, full of one that no kernel may leave behind.
template <class T>
std::vector<T> unwritten(int64_t count) {
  if constexpr (std::is_same_v<T, double> || std::is_integral_v<T>) {
    return std::vector<T>(static_cast<size_t>(count), static_cast<T>(77));
  } else {
    return std::vector<T>(static_cast<size_t>(count), from_float<T>(77));
  }
}

// `count` numbers around `mean`, rounded to T, the same on every machine.
template <class T>
std::vector<T> random_numbers(int64_t count, uint32_t seed, float mean = 0, float spread = 1) {
  std::mt19937 bits(seed);
  std::vector<T> values(static_cast<size_t>(count));
  for (T& value : values) {
    const float uniform = static_cast<float>(bits() >> 8) * 0x1p-23F - 1;
    value = from_float<T>(mean + spread * uniform * 1.7320508F);
  }
  return values;
}

template <class T>
std::vector<double> widened(const std::vector<T>& values) {
  std::vector<double> wide;
  for (const T value : values) wide.push_back(static_cast<double>(to_float(value)));
  return wide;
}

inline double largest(const std::vector<double>& values) {
  double most = 0;
  for (const double value : values) most = std::max(most, std::abs(value));
  return most;
}

// Largest difference over the largest true magnitude, or over `scale` if that is more. A NaN on one
// side only is an infinite error.
template <class T>
double error_of(const std::vector<T>& actual, const std::vector<double>& truth, double scale = 0) {
  EXPECT_EQ(actual.size(), truth.size());
  double difference = 0, magnitude = std::max(scale, 1e-30);
  for (size_t i = 0; i < std::min(actual.size(), truth.size()); ++i) {
    const auto value = static_cast<double>(to_float(actual[i]));
    if (std::isfinite(truth[i])) magnitude = std::max(magnitude, std::abs(truth[i]));
    if (value == truth[i] || (std::isnan(value) && std::isnan(truth[i]))) continue;
    const double d = std::abs(value - truth[i]);
    difference = std::isnan(d) ? std::numeric_limits<double>::infinity() : std::max(difference, d);
  }
  return difference / magnitude;
}

template <class T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() &&
         (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}

}  // namespace glassnet
