// The definition of maps in colour: contract in kernels/colorize.h.
#pragma once

#include <cmath>

#include "kernels/colorize.h"
#include "kernels/host_device.h"

namespace glassnet::kernels::reference {

// Channel `c` of a pixel whose value is `v` and which showed `level` before.
GLASSNET_HOST_DEVICE inline uint8_t blended(float v, uint8_t level, const uint8_t* table, int c,
                                            const BlendOptions& options) {
  float t = options.alpha;
  if (options.fade == Fade::kTowardsZero) t *= v;
  if (options.fade == Fade::kTowardsMiddle) t *= fabsf(2 * v - 1);
  const int paint = table[3 * static_cast<int>(roundf(255 * v)) + c];
  const float change = rounded_product(t, static_cast<float>(paint - level));
  return static_cast<uint8_t>(roundf(static_cast<float>(level) + change));
}

inline void colorize(const float* values, int64_t n, const uint8_t* table, const uint8_t* picture,
                     uint8_t* y, const BlendOptions& options) {
  for (int64_t p = 0; p < n; ++p) {
    for (int c = 0; c < 3; ++c) {
      y[3 * p + c] = blended(values[p], picture[3 * p + c], table, c, options);
    }
  }
}

}  // namespace glassnet::kernels::reference
