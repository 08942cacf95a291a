// Arithmetic of superpixels (kernels/superpixels.h) for host and GPU alike, the same on both to the
// last bit: products are rounded before they are added, and the exponential is our own.
#pragma once

#include <bit>
#include <cstdint>

#include "kernels/host_device.h"

namespace glassnet::kernels {

// The squared distance of two colours whose channels lie `plane` elements apart.
GLASSNET_HOST_DEVICE inline double color_distance(const double* a, const double* b, int64_t plane_a,
                                                  int64_t plane_b) {
  const double d0 = a[0] - b[0], d1 = a[plane_a] - b[plane_b], d2 = a[2 * plane_a] - b[2 * plane_b];
  return rounded_product(d0, d0) + rounded_product(d1, d1) + rounded_product(d2, d2);
}

GLASSNET_HOST_DEVICE inline int64_t bits_of(double x) {
#if defined(__CUDA_ARCH__)
  return __double_as_longlong(x);
#else
  return std::bit_cast<int64_t>(x);
#endif
}
GLASSNET_HOST_DEVICE inline double double_of(int64_t bits) {
#if defined(__CUDA_ARCH__)
  return __longlong_as_double(bits);
#else
  return std::bit_cast<double>(bits);
#endif
}

// exp(x) for x <= 0 with a relative error below 1e-15; 1e-304 for all x below -700.
//
//   exp(x) = 2^n * exp(r),   n = round(x / ln 2),   r = x - n ln 2,   |r| <= ln(2) / 2,
//
// and exp(r) is its Taylor polynomial of degree 12.
GLASSNET_HOST_DEVICE inline double exp_below_zero(double x) {
  constexpr double kPerLn2 = 0x1.71547652b82fep0;
  // ln 2 in two parts, the first short enough for n times it to be exact.
  constexpr double kLn2High = 0x1.62e42feep-1, kLn2Low = 0x1.a39ef35793c76p-33;
  // Numbers of this size have no fraction: adding it rounds, and leaves n in the lowest bits.
  constexpr double kRound = 0x1.8p52;
  constexpr double kInverseFactorial[] = {
      1.0 / 479001600, 1.0 / 39916800, 1.0 / 3628800, 1.0 / 362880, 1.0 / 40320, 1.0 / 5040,
      1.0 / 720,       1.0 / 120,      1.0 / 24,      1.0 / 6,      0.5,         1};
  x = x > -700 ? x : -700;
  const double shifted = rounded_product(x, kPerLn2) + kRound;
  const double n = shifted - kRound;
  const double r = x - rounded_product(n, kLn2High) - rounded_product(n, kLn2Low);
  double sum = kInverseFactorial[0];
  for (int k = 1; k < 12; ++k) sum = rounded_product(sum, r) + kInverseFactorial[k];
  sum = rounded_product(sum, r) + 1;
  return double_of(bits_of(sum) + (bits_of(shifted) << 52));  // its exponent + n
}

}  // namespace glassnet::kernels
