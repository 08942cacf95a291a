// One element of one type as another, for CPU and GPU alike: to 16-bit floats rounded once, to
// nearest even; into integers truncated towards zero and saturated, a NaN becoming 0.
#pragma once

#include <cstdint>
#include <limits>
#include <type_traits>

#include "kernels/half.h"

namespace glassnet::kernels {

namespace convert_detail {

// Rounding twice (double to float to 16 bits) can end on the wrong side of a tie. Rounding to odd
// first keeps "was inexact" in the last bit, so that the second rounding is the only one.
GLASSNET_HOST_DEVICE inline float to_float_odd(double value) {
  const auto nearest = static_cast<float>(value);
  if (static_cast<double>(nearest) == value || value != value) return nearest;
  uint32_t bits = half_detail::bits_of(nearest);
  const double magnitude = value < 0 ? -value : value;
  const auto rounded = static_cast<double>(half_detail::float_of(bits & 0x7fffffff));
  if (rounded > magnitude) --bits;
  return half_detail::float_of(bits | 1);
}
GLASSNET_HOST_DEVICE inline double to_double_odd(int64_t value) {
  constexpr int64_t kExact = int64_t{1} << 53, kLow = 0x7ff;
  if (value > -kExact && value < kExact) return static_cast<double>(value);
  const int64_t cut = value & ~kLow;
  return static_cast<double>(value == cut ? cut : cut | (kLow + 1));
}
GLASSNET_HOST_DEVICE inline float to_float_odd(float value) {
  return value;
}
GLASSNET_HOST_DEVICE inline float to_float_odd(uint8_t value) {
  return value;
}
GLASSNET_HOST_DEVICE inline float to_float_odd(int64_t value) {
  return to_float_odd(to_double_odd(value));
}

}  // namespace convert_detail

// Both 16-bit floats widen to float exactly; every other type stays what it is.
GLASSNET_HOST_DEVICE inline float widen(bfloat16 x) {
  return to_float(x);
}
GLASSNET_HOST_DEVICE inline float widen(float16 x) {
  return to_float(x);
}
template <class T>
GLASSNET_HOST_DEVICE inline T widen(T x) {
  return x;
}

template <class To, class From>
GLASSNET_HOST_DEVICE inline To convert(From x) {
  const auto value = widen(x);
  using Value = std::remove_cv_t<decltype(value)>;
  if constexpr (std::is_same_v<To, bfloat16> || std::is_same_v<To, float16>) {
    return from_float<To>(convert_detail::to_float_odd(value));
  } else if constexpr (std::is_integral_v<To> && std::is_floating_point_v<Value>) {
    // The bounds are powers of two, exact in every type; the upper one is the first that is out.
    constexpr bool kByte = std::is_same_v<To, uint8_t>;
    constexpr double kLow = kByte ? 0.0 : -0x1p63, kEnd = kByte ? 256.0 : 0x1p63;
    constexpr To kLowest = kByte ? To{0} : static_cast<To>(INT64_MIN);
    constexpr To kHighest = kByte ? To{255} : static_cast<To>(INT64_MAX);
    const auto wide = static_cast<double>(value);
    if (wide != wide) return 0;
    if (wide <= kLow) return kLowest;
    if (wide >= kEnd) return kHighest;
    return static_cast<To>(wide);
  } else if constexpr (std::is_same_v<To, uint8_t>) {
    const auto whole = static_cast<int64_t>(value);
    return static_cast<uint8_t>(whole < 0 ? 0 : whole > 255 ? 255 : whole);
  } else {
    return static_cast<To>(value);
  }
}

// Calls f with a zero of the element type.
template <class F>
void with_type(DType type, F&& f) {
  switch (type) {
    case DType::kFloat32:
      return f(float{});
    case DType::kBFloat16:
      return f(bfloat16{});
    case DType::kFloat16:
      return f(float16{});
    case DType::kFloat64:
      return f(double{});
    case DType::kUInt8:
      return f(uint8_t{});
    case DType::kInt64:
      return f(int64_t{});
  }
}

}  // namespace glassnet::kernels
