// Batches of pictures on the CPU run on the definition: the loader's threads make pictures one by
// one while they decode (data/augment.h, data/input.h), and this is what those are compared with.
#include <algorithm>

#include "kernels/reference/image.h"

namespace glassnet::kernels {

void scale_pixels(Cpu, const uint8_t* rgb, int64_t values, const ImageScale& scale, float* y) {
  // Factors for sixteen pixels at a time: the least number that fills vectors of any width.
  constexpr int kBlock = 48;
  float factor[kBlock], shift[kBlock];
  for (int i = 0; i < kBlock; ++i) {
    factor[i] = scale.scale[i % 3];
    shift[i] = scale.shift[i % 3];
  }
  for (int64_t begin = 0; begin < values; begin += kBlock) {
    const int64_t count = std::min<int64_t>(kBlock, values - begin);
    const auto scale_block = [&](int64_t n) {
#pragma omp simd
      for (int64_t i = 0; i < n; ++i) {
        y[begin + i] = static_cast<float>(rgb[begin + i]) * factor[i] + shift[i];
      }
    };
    count == kBlock ? scale_block(kBlock) : scale_block(count);
  }
}

void prepare_images(Cpu, const ImageBatch& batch, float* y, const ImageVariation& variation,
                    const ImageScale& scale) {
  reference::prepare_images(batch, y, variation, scale);
}

}  // namespace glassnet::kernels
