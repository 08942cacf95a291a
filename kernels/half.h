// The two 16-bit floats as numbers: widened to float32, in which kernels compute, and rounded back.
//
//   bfloat16  sign, 8 bits of exponent, 7 of fraction: the upper half of a float32
//   float16   sign, 5 bits of exponent, 10 of fraction (IEEE 754 binary16)
//
// Rounding is to nearest, ties to even; too large becomes infinity; a NaN stays one.
#pragma once

#include <bit>
#include <cstdint>

#include "kernels/dtype.h"
#include "kernels/host_device.h"

namespace glassnet {

namespace half_detail {

GLASSNET_HOST_DEVICE inline uint32_t bits_of(float x) {
#if defined(__CUDA_ARCH__)
  return __float_as_uint(x);
#else
  return std::bit_cast<uint32_t>(x);
#endif
}
GLASSNET_HOST_DEVICE inline float float_of(uint32_t bits) {
#if defined(__CUDA_ARCH__)
  return __uint_as_float(bits);
#else
  return std::bit_cast<float>(bits);
#endif
}

// Where the hardware converts, its one instruction; the C++ twin below it says what that does.
GLASSNET_HOST_DEVICE inline uint16_t bfloat16_bits(float x) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  uint16_t bits;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(x));
  return bits;
#else
  const uint32_t bits = bits_of(x);
  if (x != x) return static_cast<uint16_t>(bits >> 16 | 0x40);  // quiet, so that it stays a NaN
  return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
#endif
}

GLASSNET_HOST_DEVICE inline uint16_t float16_bits(float x) {
#if defined(__CUDA_ARCH__)
  uint16_t bits;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(x));
  return bits;
#else
  const uint32_t all = bits_of(x), sign = all >> 16 & 0x8000, magnitude = all & 0x7fffffff;
  if (magnitude > 0x7f800000)
    return static_cast<uint16_t>(sign | 0x7e00 | (magnitude >> 13 & 0x3ff));
  if (magnitude >= 0x477ff000) return static_cast<uint16_t>(sign | 0x7c00);  // from 65520 on
  if (magnitude < 0x38800000) {  // below 2^-14: a multiple of 2^-24
    // Adding 0.5 leaves the multiple of 2^-24 in the last bits, rounded by the addition.
    const float shifted = float_of(magnitude) + 0.5F;
    return static_cast<uint16_t>(sign | (bits_of(shifted) - bits_of(0.5F)));
  }
  const uint32_t rounded = magnitude + 0xfff + (magnitude >> 13 & 1) - (uint32_t{112} << 23);
  return static_cast<uint16_t>(sign | rounded >> 13);
#endif
}

GLASSNET_HOST_DEVICE inline float float_from_float16(uint16_t x) {
#if defined(__CUDA_ARCH__)
  float value;
  asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(x));
  return value;
#else
  const uint32_t sign = uint32_t{x} >> 15 << 31, magnitude = x & 0x7fff;
  if (magnitude >= 0x7c00) return float_of(sign | 0x7f800000 | (magnitude & 0x3ff) << 13);
  if (magnitude < 0x400) {
    const float value = static_cast<float>(magnitude) * 0x1p-24F;
    return float_of(sign | bits_of(value));
  }
  return float_of(sign | ((magnitude << 13) + (uint32_t{112} << 23)));
#endif
}

}  // namespace half_detail

GLASSNET_HOST_DEVICE inline float to_float(float x) {
  return x;
}
GLASSNET_HOST_DEVICE inline float to_float(bfloat16 x) {
  return half_detail::float_of(uint32_t{x.bits} << 16);
}
GLASSNET_HOST_DEVICE inline float to_float(float16 x) {
  return half_detail::float_from_float16(x.bits);
}

// float32 rounded to the element type.
template <class T>
GLASSNET_HOST_DEVICE T from_float(float x);
template <>
GLASSNET_HOST_DEVICE inline float from_float<float>(float x) {
  return x;
}
template <>
GLASSNET_HOST_DEVICE inline bfloat16 from_float<bfloat16>(float x) {
  return {half_detail::bfloat16_bits(x)};
}
template <>
GLASSNET_HOST_DEVICE inline float16 from_float<float16>(float x) {
  return {half_detail::float16_bits(x)};
}

}  // namespace glassnet
