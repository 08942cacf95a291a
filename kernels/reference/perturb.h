// The definition of pictures with hidden superpixels: contract in kernels/perturb.h.
#pragma once

#include "kernels/host_device.h"
#include "kernels/perturb.h"

namespace glassnet::kernels::reference {

inline void perturb(const PerturbedSample* samples, int64_t n, int64_t pixels, float* y,
                    const ImageScale& scale) {
#pragma omp parallel for
  for (int64_t i = 0; i < n; ++i) {
    const PerturbedSample& sample = samples[i];
    for (int64_t p = 0; p < pixels; ++p) {
      const auto label = static_cast<uint32_t>(sample.labels[p]);
      const bool shown = (sample.shown[label / 32] >> (label % 32) & 1) != 0;
      const uint8_t* const from = (shown ? sample.picture : sample.hidden) + 3 * p;
      for (int c = 0; c < 3; ++c) {
        y[3 * (i * pixels + p) + c] =
            rounded_product(scale.scale[c], static_cast<float>(from[c])) + scale.shift[c];
      }
    }
  }
}

}  // namespace glassnet::kernels::reference
