// The definition of bilinear resize and its gradient as plain loops: contract in kernels/resize.h.
#pragma once

#include <algorithm>

#include "kernels/resize.h"

namespace glassnet::kernels::reference {

// Along one axis, output i reads (1 - weight) * x[low] + weight * x[high].
struct ResizeTap {
  int64_t low, high;
  double weight;
};
inline ResizeTap resize_tap(int64_t i, int64_t in, int64_t out) {
  const double scale = static_cast<double>(in) / static_cast<double>(out);
  const double at = std::max(0.0, (static_cast<double>(i) + 0.5) * scale - 0.5);
  const int64_t low = std::min(static_cast<int64_t>(at), in - 1);
  return {low, std::min(low + 1, in - 1), at - static_cast<double>(low)};
}

// Calls f(output pixel, input pixel, weight) for the four neighbours of every output pixel of
// image `n`.
template <class F>
void for_each_neighbour(int64_t n, const ResizeShape& o, F&& f) {
  for (int64_t p = 0; p < o.out_h; ++p) {
    const ResizeTap row = resize_tap(p, o.h, o.out_h);
    for (int64_t q = 0; q < o.out_w; ++q) {
      const ResizeTap column = resize_tap(q, o.w, o.out_w);
      const int64_t out = (n * o.out_h + p) * o.out_w + q;
      const int64_t low = (n * o.h + row.low) * o.w, high = (n * o.h + row.high) * o.w;
      f(out, low + column.low, (1 - row.weight) * (1 - column.weight));
      f(out, low + column.high, (1 - row.weight) * column.weight);
      f(out, high + column.low, row.weight * (1 - column.weight));
      f(out, high + column.high, row.weight * column.weight);
    }
  }
}

//   y[out] = sum of weight * x[in]
template <class T>
void resize_bilinear_forward(const T* x, T* y, const ResizeShape& o) {
  std::fill(y, y + o.n * o.out_h * o.out_w * o.c, T(0));
#pragma omp parallel for
  for (int64_t n = 0; n < o.n; ++n) {
    for_each_neighbour(n, o, [&](int64_t out, int64_t in, double weight) {
      for (int64_t c = 0; c < o.c; ++c) {
        y[out * o.c + c] += static_cast<T>(weight * x[in * o.c + c]);
      }
    });
  }
}

//   dx[in] = sum of weight * dy[out]
template <class T>
void resize_bilinear_backward(const T* dy, T* dx, const ResizeShape& o) {
  std::fill(dx, dx + o.n * o.h * o.w * o.c, T(0));
#pragma omp parallel for
  for (int64_t n = 0; n < o.n; ++n) {
    for_each_neighbour(n, o, [&](int64_t out, int64_t in, double weight) {
      for (int64_t c = 0; c < o.c; ++c) {
        dx[in * o.c + c] += static_cast<T>(weight * dy[out * o.c + c]);
      }
    });
  }
}

}  // namespace glassnet::kernels::reference
