// Maps in colour, laid over the picture that they explain.
//
//   y[p] = round((1 - t) picture[p] + t table[round(255 v[p])])   for each of R, G, B
//
// for values v in [0, 1], where t is `alpha`, or alpha times how much v says (Fade). Halves are
// rounded away from zero, the same on every device.
#pragma once

#include <cstdint>

#include "kernels/device.h"

namespace glassnet::kernels {

// Where the picture shines through.
enum class Fade {
  kNowhere,        // t = alpha
  kTowardsZero,    // t = alpha v
  kTowardsMiddle,  // t = alpha |2 v - 1|: for maps whose 0.5 is "nothing"
};

struct BlendOptions {
  float alpha = 1;  // in [0, 1]
  Fade fade = Fade::kNowhere;
};

// values (n), table (256, 3), picture (n, 3); y (n, 3) is overwritten and may be the picture.
void colorize(Cpu, const float* values, int64_t n, const uint8_t* table, const uint8_t* picture,
              uint8_t* y, const BlendOptions& options);
void colorize(Cuda, const float* values, int64_t n, const uint8_t* table, const uint8_t* picture,
              uint8_t* y, const BlendOptions& options);

}  // namespace glassnet::kernels
