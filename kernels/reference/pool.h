// The definition of max and average pooling as plain loops, image by image: contract in
// kernels/pool.h.
#pragma once

#include <algorithm>
#include <vector>

#include "kernels/pool.h"

namespace glassnet::kernels::reference {

// Calls f(output element, tap, input element) for every tap of every window of image `n` that
// does not fall on padding, taps in row-major order.
template <class F>
void for_each_tap(int64_t n, const Pool2dShape& o, F&& f) {
  const int64_t out_h = o.out_h(), out_w = o.out_w();
  for (int64_t p = 0; p < out_h; ++p) {
    for (int64_t q = 0; q < out_w; ++q) {
      for (int64_t r = 0; r < o.r; ++r) {
        const int64_t ih = p * o.stride_h - o.pad_h + r;
        if (ih < 0 || ih >= o.h) continue;
        for (int64_t s = 0; s < o.s; ++s) {
          const int64_t iw = q * o.stride_w - o.pad_w + s;
          if (iw < 0 || iw >= o.w) continue;
          for (int64_t c = 0; c < o.c; ++c) {
            f(((n * out_h + p) * out_w + q) * o.c + c, r * o.s + s,
              ((n * o.h + ih) * o.w + iw) * o.c + c);
          }
        }
      }
    }
  }
}

//   y = max over the window
template <class T>
void max_pool2d_forward(const T* x, T* y, uint8_t* index, const Pool2dShape& o) {
  const int64_t image = o.out_h() * o.out_w() * o.c;
#pragma omp parallel for
  for (int64_t n = 0; n < o.n; ++n) {
    std::vector<bool> seen(static_cast<size_t>(image), false);
    for_each_tap(n, o, [&](int64_t out, int64_t tap, int64_t in) {
      const bool is_nan = x[in] != x[in];
      if (!seen[out - n * image] || x[in] > y[out] || is_nan) {
        y[out] = x[in];
        index[out] = static_cast<uint8_t>(tap);
        seen[out - n * image] = true;
      }
    });
  }
}

//   dx = sum of dy over the windows that chose the pixel
template <class T>
void max_pool2d_backward(const T* dy, const uint8_t* index, T* dx, const Pool2dShape& o) {
  const int64_t image = o.h * o.w * o.c;
#pragma omp parallel for
  for (int64_t n = 0; n < o.n; ++n) {
    std::fill(dx + n * image, dx + (n + 1) * image, T(0));
    for_each_tap(n, o, [&](int64_t out, int64_t tap, int64_t in) {
      if (index[out] == tap) dx[in] += dy[out];
    });
  }
}

//   y = sum over the window / (r * s)
template <class T>
void avg_pool2d_forward(const T* x, T* y, const Pool2dShape& o) {
  const int64_t image = o.out_h() * o.out_w() * o.c;
  const T scale = T(1) / static_cast<T>(o.r * o.s);
#pragma omp parallel for
  for (int64_t n = 0; n < o.n; ++n) {
    std::fill(y + n * image, y + (n + 1) * image, T(0));
    for_each_tap(n, o, [&](int64_t out, int64_t, int64_t in) { y[out] += x[in] * scale; });
  }
}

//   dx = sum of dy / (r * s) over the windows that cover the pixel
template <class T>
void avg_pool2d_backward(const T* dy, T* dx, const Pool2dShape& o) {
  const int64_t image = o.h * o.w * o.c;
  const T scale = T(1) / static_cast<T>(o.r * o.s);
#pragma omp parallel for
  for (int64_t n = 0; n < o.n; ++n) {
    std::fill(dx + n * image, dx + (n + 1) * image, T(0));
    for_each_tap(n, o, [&](int64_t out, int64_t, int64_t in) { dx[in] += dy[out] * scale; });
  }
}

}  // namespace glassnet::kernels::reference
