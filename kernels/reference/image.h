// The definition of what a network reads of 8-bit pictures: contract in kernels/image.h.
#pragma once

#include <vector>

#include "kernels/image.h"
#include "kernels/philox.h"

namespace glassnet::kernels::reference {

// One picture (size, size, 3), varied: floats 0 … 255 that are whole.
inline std::vector<float> vary(const uint8_t* picture, int size, const VariationDraw& draw,
                               bool jitters) {
  std::vector<float> values;
  for (int y = 0; y < size; ++y) {
    for (int x = 0; x < size; ++x) {
      const uint8_t* from = picture + int64_t{3} * source_pixel(draw, y, x, size);
      values.insert(values.end(), from, from + 3);
    }
  }
  if (!jitters) return values;
  for (float& value : values) value /= 255;
  for (const int step : draw.jitter.steps) {
    double sum = 0;
    for (size_t i = 0; i < values.size(); i += 3) sum += luma(&values[i]);
    const auto mean = static_cast<float>(sum / (static_cast<double>(values.size()) / 3));
    for (size_t i = 0; i < values.size(); i += 3) jitter_step(&values[i], step, draw.jitter, mean);
  }
  for (float& value : values) value = to_level(value);
  return values;
}

inline void prepare_images(const ImageBatch& batch, float* y, const ImageVariation& variation,
                           const ImageScale& scale) {
  const int64_t values = int64_t{3} * batch.size * batch.size;
#pragma omp parallel for
  for (int64_t i = 0; i < batch.n; ++i) {
    VariationDraw draw = {};
    if (variation.draws()) {
      const ImageDraw& from = *batch.draw;
      PhiloxStream random(from.seed, philox_item_stream(from.stream, from.epoch,
                                                        static_cast<uint64_t>(batch.indices[i])));
      draw = draw_variation(variation, random);
    }
    const int64_t row = batch.rows != nullptr ? batch.rows[i] : i;
    const std::vector<float> varied =
        vary(batch.pictures + row * values, batch.size, draw, variation.jitters);
    for (int64_t k = 0; k < values; ++k) {
      y[i * values + k] = rounded_product(scale.scale[k % 3], varied[k]) + scale.shift[k % 3];
    }
  }
}

}  // namespace glassnet::kernels::reference
