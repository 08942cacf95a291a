// Pooling on the CPU. Both directions gather: a thread owns rows of the result and looks up every
// window that meets them, so that nothing is added by two threads and results never vary. Work
// goes along blocks of channels that stay in registers or in the first-level cache, in
// float32 or wider.
#include "kernels/pool.h"

#include "kernels/convert.h"
#include "kernels/cpu/parallel.h"

namespace glassnet::kernels {
namespace {

constexpr int64_t kBlock = 64;  // channels

struct Range {
  int64_t begin, end;
};

// The taps of window `p` that do not fall on padding.
Range taps_of(int64_t p, int64_t stride, int64_t pad, int64_t window, int64_t in) {
  const int64_t start = p * stride - pad;
  return {std::max<int64_t>(0, -start), std::min(window, in - start)};
}

// The windows that cover input position `i`.
Range windows_over(int64_t i, int64_t stride, int64_t pad, int64_t window, int64_t out) {
  const int64_t at = i + pad;
  const int64_t first = at < window ? 0 : (at - window) / stride + 1;
  return {first, std::min(out, at / stride + 1)};
}

// Calls f(n, row) for all rows of all images.
template <class F>
void for_each_image_row(int64_t n, int64_t rows, int64_t work, F&& f) {
  parallel_tasks(n * rows, work > 2 * kSmall, [&](int64_t i) { f(i / rows, i % rows); });
}

template <class T>
void max_forward(const T* x, T* y, uint8_t* index, const Pool2dShape& o) {
  const int64_t out_h = o.out_h(), out_w = o.out_w();
  for_each_image_row(o.n, out_h, o.n * o.h * o.w * o.c, [&](int64_t n, int64_t p) {
    const Range rows = taps_of(p, o.stride_h, o.pad_h, o.r, o.h);
    for (int64_t q = 0; q < out_w; ++q) {
      const Range columns = taps_of(q, o.stride_w, o.pad_w, o.s, o.w);
      const int64_t out = ((n * out_h + p) * out_w + q) * o.c;
      for (int64_t c0 = 0; c0 < o.c; c0 += kBlock) {
        const int64_t channels = std::min(kBlock, o.c - c0);
        float best[kBlock];
        int32_t chosen[kBlock];
        bool first = true;
        for (int64_t r = rows.begin; r < rows.end; ++r) {
          const int64_t ih = p * o.stride_h - o.pad_h + r;
          for (int64_t s = columns.begin; s < columns.end; ++s) {
            const int64_t iw = q * o.stride_w - o.pad_w + s;
            const T* pixel = x + ((n * o.h + ih) * o.w + iw) * o.c + c0;
            const auto tap = static_cast<int32_t>(r * o.s + s);
            if (first) {
              for (int64_t c = 0; c < channels; ++c) best[c] = widen(pixel[c]);
              std::fill(chosen, chosen + channels, tap);
              first = false;
              continue;
            }
#pragma omp simd
            for (int64_t c = 0; c < channels; ++c) {
              const float value = widen(pixel[c]);
              const bool wins = (value > best[c]) | (value != value);
              best[c] = wins ? value : best[c];
              chosen[c] = wins ? tap : chosen[c];
            }
          }
        }
        for (int64_t c = 0; c < channels; ++c) {
          y[out + c0 + c] = convert<T>(best[c]);
          index[out + c0 + c] = static_cast<uint8_t>(chosen[c]);
        }
      }
    }
  });
}

// dx = for each element the sum of f(i, tap) over the windows that cover it: i is the window's
// element of y, and tap the element's place in the window, row-major.
template <class T, class F>
void gather(T* dx, const Pool2dShape& o, F&& f) {
  const int64_t out_h = o.out_h(), out_w = o.out_w();
  for_each_image_row(o.n, o.h, o.n * o.h * o.w * o.c, [&](int64_t n, int64_t h) {
    const Range rows = windows_over(h, o.stride_h, o.pad_h, o.r, out_h);
    for (int64_t w = 0; w < o.w; ++w) {
      const Range columns = windows_over(w, o.stride_w, o.pad_w, o.s, out_w);
      T* pixel = dx + ((n * o.h + h) * o.w + w) * o.c;
      for (int64_t c0 = 0; c0 < o.c; c0 += kBlock) {
        const int64_t channels = std::min(kBlock, o.c - c0);
        float sums[kBlock] = {};
        for (int64_t p = rows.begin; p < rows.end; ++p) {
          const int64_t r = h + o.pad_h - p * o.stride_h;
          for (int64_t q = columns.begin; q < columns.end; ++q) {
            const int64_t s = w + o.pad_w - q * o.stride_w;
            const auto tap = static_cast<uint8_t>(r * o.s + s);
            const int64_t out = ((n * out_h + p) * out_w + q) * o.c + c0;
#pragma omp simd
            for (int64_t c = 0; c < channels; ++c) sums[c] += f(out + c, tap);
          }
        }
        for (int64_t c = 0; c < channels; ++c) pixel[c0 + c] = convert<T>(sums[c]);
      }
    }
  });
}

template <class T>
void max_backward(const T* dy, const uint8_t* index, T* dx, const Pool2dShape& o) {
  gather(dx, o, [=](int64_t i, uint8_t tap) {
    const float value = widen(dy[i]);  // read anyway, so that the loop has no branch
    return index[i] == tap ? value : 0.0f;
  });
}

template <class T>
void average_forward(const T* x, T* y, const Pool2dShape& o) {
  const int64_t out_h = o.out_h(), out_w = o.out_w();
  const double scale = 1.0 / static_cast<double>(o.r * o.s);
  for_each_image_row(o.n, out_h, o.n * o.h * o.w * o.c, [&](int64_t n, int64_t p) {
    const Range rows = taps_of(p, o.stride_h, o.pad_h, o.r, o.h);
    for (int64_t q = 0; q < out_w; ++q) {
      const Range columns = taps_of(q, o.stride_w, o.pad_w, o.s, o.w);
      T* out = y + ((n * out_h + p) * out_w + q) * o.c;
      for (int64_t c0 = 0; c0 < o.c; c0 += kBlock) {
        const int64_t channels = std::min(kBlock, o.c - c0);
        double sums[kBlock] = {};
        for (int64_t r = rows.begin; r < rows.end; ++r) {
          const int64_t ih = p * o.stride_h - o.pad_h + r;
          for (int64_t s = columns.begin; s < columns.end; ++s) {
            const int64_t iw = q * o.stride_w - o.pad_w + s;
            const T* pixel = x + ((n * o.h + ih) * o.w + iw) * o.c + c0;
#pragma omp simd
            for (int64_t c = 0; c < channels; ++c) sums[c] += static_cast<double>(widen(pixel[c]));
          }
        }
        for (int64_t c = 0; c < channels; ++c) out[c0 + c] = convert<T>(sums[c] * scale);
      }
    }
  });
}

template <class T>
void average_backward(const T* dy, T* dx, const Pool2dShape& o) {
  const float scale = 1.0f / static_cast<float>(o.r * o.s);
  gather(dx, o, [=](int64_t i, uint8_t) { return scale * widen(dy[i]); });
}

}  // namespace

#define GLASSNET_DEFINE(T)                                                                        \
  void max_pool2d_forward(Cpu, const T* x, T* y, uint8_t* index, const Pool2dShape& o) {          \
    max_forward(x, y, index, o);                                                                  \
  }                                                                                               \
  void max_pool2d_backward(Cpu, const T* dy, const uint8_t* index, T* dx, const Pool2dShape& o) { \
    max_backward(dy, index, dx, o);                                                               \
  }                                                                                               \
  void avg_pool2d_forward(Cpu, const T* x, T* y, const Pool2dShape& o) {                          \
    average_forward(x, y, o);                                                                     \
  }                                                                                               \
  void avg_pool2d_backward(Cpu, const T* dy, T* dx, const Pool2dShape& o) {                       \
    average_backward(dy, dx, o);                                                                  \
  }
GLASSNET_DEFINE(float)
GLASSNET_DEFINE(bfloat16)
#undef GLASSNET_DEFINE

}  // namespace glassnet::kernels
