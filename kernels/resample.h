// Separable resampling of 8-bit pictures, the same to the last bit on every machine:
//
//   row[x, c]  = sum_k down.weight[i, k] * picture[down.first[i] + k, x, c]      in float32
//   y[i, j, c] = floor(1/2 + sum_k across.weight[j, k] * row[across.first[j] + k, c])
//
// Sums are made from left to right, and every product is rounded before it is added. The weights of
// one result are not negative and sum to 1 within rounding.
#pragma once

#include <cstdint>

#include "kernels/device.h"

namespace glassnet::kernels {

// Which pixels of a row or column make each of `size` results, and with which weights.
struct ResampleAxis {
  int size = 0;
  const int* first = nullptr;     // (size)
  const int* count = nullptr;     // (size), from 1 to `stride`
  const float* weight = nullptr;  // (size, stride)
  int stride = 0;
};

// picture (any height, width, 3), of which the axes name pixels; y (down.size, across.size, 3) is
// overwritten and may not alias it. On the thread that calls.
void resample(Cpu, const uint8_t* picture, int width, const ResampleAxis& down,
              const ResampleAxis& across, uint8_t* y);

}  // namespace glassnet::kernels
