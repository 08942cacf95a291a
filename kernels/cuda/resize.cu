// Bilinear resize on a GPU. Both directions gather: a thread owns a few channels of one pixel of
// the result, a block one row of it. Where an output looks is a fraction of whole numbers,
//
//   max(0, (i + 0.5) * in / out - 0.5) = max(0, (2 i + 1) * in - out) / (2 * out),
//
// so that its neighbours, and the outputs that read an input, are found without rounding.
#include "kernels/cuda/image_rows.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/vec.h"
#include "kernels/resize.h"

namespace glassnet::kernels {
namespace {

// Along one axis, output i reads (1 - weight) * x[low] + weight * x[high].
struct Tap {
  int64_t low, high;
  float weight;
};
__device__ inline Tap tap_of(int64_t i, int64_t in, int64_t out) {
  const int64_t ahead = (2 * i + 1) * in - out, place = ahead > 0 ? ahead : 0;
  const int64_t low = place / (2 * out);
  return {low, low + 1 < in ? low + 1 : in - 1,
          static_cast<float>(place % (2 * out)) / static_cast<float>(2 * out)};
}
// The weight with which it reads input `at`.
__device__ inline float weight_of(const Tap& tap, int64_t at) {
  return (tap.low == at ? 1 - tap.weight : 0) + (tap.high == at ? tap.weight : 0);
}

// The outputs that may read input `at`: those that look past at - 1 and short of at + 1.
struct Range {
  int64_t begin, end;
};
__device__ inline int64_t first_at_or_after(int64_t at, int64_t in, int64_t out) {
  const int64_t bound = (2 * at + 1) * out - in;  // the least i with 2 * i * in >= bound
  const int64_t i = bound > 0 ? (bound + 2 * in - 1) / (2 * in) : 0;
  return i < out ? i : out;
}
__device__ inline Range readers_of(int64_t at, int64_t in, int64_t out) {
  return {first_at_or_after(at - 1, in, out), first_at_or_after(at + 1, in, out)};
}

struct Sizes {
  int h, w, c, out_h, out_w;

  explicit Sizes(const ResizeShape& o)
      : h(static_cast<int>(o.h)),
        w(static_cast<int>(o.w)),
        c(static_cast<int>(o.c)),
        out_h(static_cast<int>(o.out_h)),
        out_w(static_cast<int>(o.out_w)) {}
};

template <class T, int W>
__global__ void resize_bilinear_forward_kernel(const T* __restrict__ x, T* __restrict__ y,
                                               Sizes o) {
  for_each_pixel<W>(o.out_h, o.out_w, o.c, [&](int64_t n, int p, int q, int c) {
    const Tap row = tap_of(p, o.h, o.out_h), column = tap_of(q, o.w, o.out_w);
    const T* low = x + (n * o.h + row.low) * o.w * o.c + c;
    const T* high = x + (n * o.h + row.high) * o.w * o.c + c;
    float low_left[W], low_right[W], high_left[W], high_right[W];
    load_floats(low + column.low * o.c, low_left);
    load_floats(low + column.high * o.c, low_right);
    load_floats(high + column.low * o.c, high_left);
    load_floats(high + column.high * o.c, high_right);
    float result[W];
    for (int i = 0; i < W; ++i) {
      const float top = low_left[i] * (1 - column.weight) + low_right[i] * column.weight;
      const float bottom = high_left[i] * (1 - column.weight) + high_right[i] * column.weight;
      result[i] = top * (1 - row.weight) + bottom * row.weight;
    }
    store_floats(y + ((n * o.out_h + p) * o.out_w + q) * o.c + c, result);
  });
}

template <class T, int W>
__global__ void resize_bilinear_backward_kernel(const T* __restrict__ dy, T* __restrict__ dx,
                                                Sizes o) {
  for_each_pixel<W>(o.h, o.w, o.c, [&](int64_t n, int h, int w, int c) {
    const Range rows = readers_of(h, o.h, o.out_h), columns = readers_of(w, o.w, o.out_w);
    float sums[W] = {};
    for (int64_t p = rows.begin; p < rows.end; ++p) {
      const float row_weight = weight_of(tap_of(p, o.h, o.out_h), h);
      for (int64_t q = columns.begin; q < columns.end; ++q) {
        const float weight = row_weight * weight_of(tap_of(q, o.w, o.out_w), w);
        float gradient[W];
        load_floats(dy + ((n * o.out_h + p) * o.out_w + q) * o.c + c, gradient);
        for (int i = 0; i < W; ++i) sums[i] += weight * gradient[i];
      }
    }
    store_floats(dx + ((n * o.h + h) * o.w + w) * o.c + c, sums);
  });
}

}  // namespace

template <class T>
void resize_bilinear_forward(Cuda device, const T* x, T* y, const ResizeShape& o) {
  const auto run = [&]<int W>() {
    launch<resize_bilinear_forward_kernel<T, W>>(device, row_blocks(o.n, o.out_h, o.out_w, o.c, W),
                                                 x, y, Sizes(o));
  };
  by_width<T>(o.c, run, x, y);
}

template <class T>
void resize_bilinear_backward(Cuda device, const T* dy, T* dx, const ResizeShape& o) {
  const auto run = [&]<int W>() {
    launch<resize_bilinear_backward_kernel<T, W>>(device, row_blocks(o.n, o.h, o.w, o.c, W), dy, dx,
                                                  Sizes(o));
  };
  by_width<T>(o.c, run, dy, dx);
}

#define GLASSNET_RESIZE(T)                                                       \
  template void resize_bilinear_forward(Cuda, const T*, T*, const ResizeShape&); \
  template void resize_bilinear_backward(Cuda, const T*, T*, const ResizeShape&);
GLASSNET_RESIZE(float)
GLASSNET_RESIZE(bfloat16)
GLASSNET_RESIZE(float16)
#undef GLASSNET_RESIZE

}  // namespace glassnet::kernels
