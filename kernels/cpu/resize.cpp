// Bilinear resize on the CPU. The taps of both axes are tabled once; the gradient gathers through
// the transposed tables, so that threads never add to the same element.
#include "kernels/resize.h"

#include <vector>

#include "kernels/cpu/parallel.h"
#include "kernels/reference/resize.h"

namespace glassnet::kernels {
namespace {

using reference::ResizeTap;

std::vector<ResizeTap> taps(int64_t in, int64_t out) {
  std::vector<ResizeTap> result;
  for (int64_t i = 0; i < out; ++i) result.push_back(reference::resize_tap(i, in, out));
  return result;
}

// For every input position, the outputs that read it and with what weight, outputs ascending.
struct Reader {
  int64_t out;
  float weight;
};
std::vector<std::vector<Reader>> readers(int64_t in, int64_t out) {
  std::vector<std::vector<Reader>> result(static_cast<size_t>(in));
  for (int64_t i = 0; i < out; ++i) {
    const ResizeTap tap = reference::resize_tap(i, in, out);
    result[tap.low].push_back({i, static_cast<float>(1 - tap.weight)});
    result[tap.high].push_back({i, static_cast<float>(tap.weight)});
  }
  return result;
}

}  // namespace

void resize_bilinear_forward(Cpu, const float* x, float* y, const ResizeShape& o) {
  const std::vector<ResizeTap> rows = taps(o.h, o.out_h), columns = taps(o.w, o.out_w);
  parallel_tasks(o.n * o.out_h, o.n * o.out_h * o.out_w * o.c > kSmall / 2, [&](int64_t i) {
    const ResizeTap row = rows[i % o.out_h];
    const float* image = x + i / o.out_h * o.h * o.w * o.c;
    const float *low = image + row.low * o.w * o.c, *high = image + row.high * o.w * o.c;
    const auto wh = static_cast<float>(row.weight);
    float* out = y + i * o.out_w * o.c;
    for (int64_t q = 0; q < o.out_w; ++q, out += o.c) {
      const int64_t left = columns[q].low * o.c, right = columns[q].high * o.c;
      const auto ww = static_cast<float>(columns[q].weight);
#pragma omp simd
      for (int64_t c = 0; c < o.c; ++c) {
        const float top = low[left + c] * (1 - ww) + low[right + c] * ww;
        const float bottom = high[left + c] * (1 - ww) + high[right + c] * ww;
        out[c] = top * (1 - wh) + bottom * wh;
      }
    }
  });
}

void resize_bilinear_backward(Cpu, const float* dy, float* dx, const ResizeShape& o) {
  const auto rows = readers(o.h, o.out_h), columns = readers(o.w, o.out_w);
  parallel_tasks(o.n * o.h, o.n * o.out_h * o.out_w * o.c > kSmall / 2, [&](int64_t i) {
    const float* image = dy + i / o.h * o.out_h * o.out_w * o.c;
    float* pixel = dx + i * o.w * o.c;
    for (int64_t w = 0; w < o.w; ++w, pixel += o.c) {
      std::fill(pixel, pixel + o.c, 0.0f);
      for (const Reader& row : rows[i % o.h]) {
        for (const Reader& column : columns[w]) {
          const float weight = row.weight * column.weight;
          const float* gradient = image + (row.out * o.out_w + column.out) * o.c;
#pragma omp simd
          for (int64_t c = 0; c < o.c; ++c) pixel[c] += weight * gradient[c];
        }
      }
    }
  });
}

}  // namespace glassnet::kernels
