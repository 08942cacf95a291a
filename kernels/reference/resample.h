// The definition of kernels/resample.h.
#pragma once

#include <vector>

#include "kernels/resample.h"

namespace glassnet::kernels::reference {

inline void resample(const uint8_t* picture, int width, const ResampleAxis& down,
                     const ResampleAxis& across, uint8_t* y) {
  const auto sum = [](float total, const ResampleAxis& axis, int i, auto&& value) {
    for (int k = 0; k < axis.count[i]; ++k) {
      const float product = axis.weight[i * axis.stride + k] * value(axis.first[i] + k);
      total += product;
    }
    return total;
  };
  std::vector<float> row(static_cast<size_t>(width) * 3);
  for (int i = 0; i < down.size; ++i) {
    for (int x = 0; x < width * 3; ++x) {
      row[x] = sum(0, down, i,
                   [&](int from) { return static_cast<float>(picture[from * width * 3 + x]); });
    }
    for (int j = 0; j < across.size; ++j) {
      for (int c = 0; c < 3; ++c) {
        *y++ = static_cast<uint8_t>(sum(0.5F, across, j, [&](int x) { return row[x * 3 + c]; }));
      }
    }
  }
}

}  // namespace glassnet::kernels::reference
