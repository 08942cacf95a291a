// Max and average pooling on a GPU. Both directions gather: a thread owns a few channels of one
// pixel of the result and looks up every window that meets it, so that nothing is added by two
// threads and results never vary.
#include "kernels/pool.h"

#include "kernels/cuda/image_rows.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/vec.h"

namespace glassnet::kernels {
namespace {

// The shape in 32 bits, in which a GPU divides several times faster. Offsets into tensors need 64.
struct Windows {
  int h, w, c, r, s, stride_h, stride_w, pad_h, pad_w, out_h, out_w;

  explicit Windows(const Pool2dShape& o)
      : h(static_cast<int>(o.h)),
        w(static_cast<int>(o.w)),
        c(static_cast<int>(o.c)),
        r(static_cast<int>(o.r)),
        s(static_cast<int>(o.s)),
        stride_h(static_cast<int>(o.stride_h)),
        stride_w(static_cast<int>(o.stride_w)),
        pad_h(static_cast<int>(o.pad_h)),
        pad_w(static_cast<int>(o.pad_w)),
        out_h(static_cast<int>(o.out_h())),
        out_w(static_cast<int>(o.out_w())) {}
  __device__ int64_t in_offset(int64_t n, int row, int column, int channel) const {
    return ((n * h + row) * w + column) * c + channel;
  }
  __device__ int64_t out_offset(int64_t n, int row, int column, int channel) const {
    return ((n * out_h + row) * out_w + column) * c + channel;
  }
};

struct Range {
  int begin, end;
};

// The taps of window `p` that do not fall on padding.
__device__ inline Range taps_of(int p, int stride, int pad, int window, int in) {
  const int start = p * stride - pad;
  return {start < 0 ? -start : 0, in - start < window ? in - start : window};
}

// The windows that cover input position `i`.
__device__ inline Range windows_over(int i, int stride, int pad, int window, int out) {
  const int at = i + pad, last = at / stride + 1;
  return {at < window ? 0 : (at - window) / stride + 1, last < out ? last : out};
}

template <class T, int W>
__global__ void max_pool2d_forward_kernel(const T* __restrict__ x, T* __restrict__ y,
                                          uint8_t* __restrict__ index, Windows o) {
  for_each_pixel<W>(o.out_h, o.out_w, o.c, [&](int64_t n, int p, int q, int c) {
    const Range rows = taps_of(p, o.stride_h, o.pad_h, o.r, o.h);
    const Range columns = taps_of(q, o.stride_w, o.pad_w, o.s, o.w);
    Vec<T, W> best = {};
    Vec<uint8_t, W> chosen = {};
    bool first = true;
    for (int r = rows.begin; r < rows.end; ++r) {
      const int h = p * o.stride_h - o.pad_h + r;
      for (int s = columns.begin; s < columns.end; ++s) {
        const int w = q * o.stride_w - o.pad_w + s;
        const Vec<T, W> pixel = load_vec<W>(x + o.in_offset(n, h, w, c));
        for (int i = 0; i < W; ++i) {
          const float value = to_float(pixel.v[i]);
          if (first || value > to_float(best.v[i]) || value != value) {
            best.v[i] = pixel.v[i];
            chosen.v[i] = static_cast<uint8_t>(r * o.s + s);
          }
        }
        first = false;
      }
    }
    const int64_t out = o.out_offset(n, p, q, c);
    store_vec(y + out, best);
    store_vec(index + out, chosen);
  });
}

template <class T, int W>
__global__ void max_pool2d_backward_kernel(const T* __restrict__ dy,
                                           const uint8_t* __restrict__ index, T* __restrict__ dx,
                                           Windows o) {
  for_each_pixel<W>(o.h, o.w, o.c, [&](int64_t n, int h, int w, int c) {
    const Range rows = windows_over(h, o.stride_h, o.pad_h, o.r, o.out_h);
    const Range columns = windows_over(w, o.stride_w, o.pad_w, o.s, o.out_w);
    float sums[W] = {};
    for (int p = rows.begin; p < rows.end; ++p) {
      const int r = h + o.pad_h - p * o.stride_h;
      for (int q = columns.begin; q < columns.end; ++q) {
        const int s = w + o.pad_w - q * o.stride_w;
        const auto tap = static_cast<uint8_t>(r * o.s + s);
        const int64_t out = o.out_offset(n, p, q, c);
        const Vec<uint8_t, W> chosen = load_vec<W>(index + out);
        const Vec<T, W> gradient = load_vec<W>(dy + out);
        for (int i = 0; i < W; ++i) {
          if (chosen.v[i] == tap) sums[i] += to_float(gradient.v[i]);
        }
      }
    }
    store_floats(dx + o.in_offset(n, h, w, c), sums);
  });
}

template <class T, int W>
__global__ void avg_pool2d_forward_kernel(const T* __restrict__ x, T* __restrict__ y, Windows o) {
  const float scale = 1 / static_cast<float>(o.r * o.s);
  for_each_pixel<W>(o.out_h, o.out_w, o.c, [&](int64_t n, int p, int q, int c) {
    const Range rows = taps_of(p, o.stride_h, o.pad_h, o.r, o.h);
    const Range columns = taps_of(q, o.stride_w, o.pad_w, o.s, o.w);
    float sums[W] = {};
    for (int r = rows.begin; r < rows.end; ++r) {
      const int h = p * o.stride_h - o.pad_h + r;
      for (int s = columns.begin; s < columns.end; ++s) {
        const int w = q * o.stride_w - o.pad_w + s;
        float pixel[W];
        load_floats(x + o.in_offset(n, h, w, c), pixel);
        for (int i = 0; i < W; ++i) sums[i] += pixel[i];
      }
    }
    for (int i = 0; i < W; ++i) sums[i] *= scale;
    store_floats(y + o.out_offset(n, p, q, c), sums);
  });
}

template <class T, int W>
__global__ void avg_pool2d_backward_kernel(const T* __restrict__ dy, T* __restrict__ dx,
                                           Windows o) {
  const float scale = 1 / static_cast<float>(o.r * o.s);
  for_each_pixel<W>(o.h, o.w, o.c, [&](int64_t n, int h, int w, int c) {
    const Range rows = windows_over(h, o.stride_h, o.pad_h, o.r, o.out_h);
    const Range columns = windows_over(w, o.stride_w, o.pad_w, o.s, o.out_w);
    float sums[W] = {};
    for (int p = rows.begin; p < rows.end; ++p) {
      for (int q = columns.begin; q < columns.end; ++q) {
        float gradient[W];
        load_floats(dy + o.out_offset(n, p, q, c), gradient);
        for (int i = 0; i < W; ++i) sums[i] += gradient[i];
      }
    }
    for (int i = 0; i < W; ++i) sums[i] *= scale;
    store_floats(dx + o.in_offset(n, h, w, c), sums);
  });
}

}  // namespace

template <class T>
void max_pool2d_forward(Cuda device, const T* x, T* y, uint8_t* index, const Pool2dShape& o) {
  const auto run = [&]<int W>() {
    launch<max_pool2d_forward_kernel<T, W>>(device, row_blocks(o.n, o.out_h(), o.out_w(), o.c, W),
                                            x, y, index, Windows(o));
  };
  by_width<T>(o.c, run, x, y, index);
}

template <class T>
void max_pool2d_backward(Cuda device, const T* dy, const uint8_t* index, T* dx,
                         const Pool2dShape& o) {
  const auto run = [&]<int W>() {
    launch<max_pool2d_backward_kernel<T, W>>(device, row_blocks(o.n, o.h, o.w, o.c, W), dy, index,
                                             dx, Windows(o));
  };
  by_width<T>(o.c, run, dy, index, dx);
}

template <class T>
void avg_pool2d_forward(Cuda device, const T* x, T* y, const Pool2dShape& o) {
  const auto run = [&]<int W>() {
    launch<avg_pool2d_forward_kernel<T, W>>(device, row_blocks(o.n, o.out_h(), o.out_w(), o.c, W),
                                            x, y, Windows(o));
  };
  by_width<T>(o.c, run, x, y);
}

template <class T>
void avg_pool2d_backward(Cuda device, const T* dy, T* dx, const Pool2dShape& o) {
  const auto run = [&]<int W>() {
    launch<avg_pool2d_backward_kernel<T, W>>(device, row_blocks(o.n, o.h, o.w, o.c, W), dy, dx,
                                             Windows(o));
  };
  by_width<T>(o.c, run, dy, dx);
}

#define GLASSNET_POOL(T)                                                                     \
  template void max_pool2d_forward(Cuda, const T*, T*, uint8_t*, const Pool2dShape&);        \
  template void max_pool2d_backward(Cuda, const T*, const uint8_t*, T*, const Pool2dShape&); \
  template void avg_pool2d_forward(Cuda, const T*, T*, const Pool2dShape&);                  \
  template void avg_pool2d_backward(Cuda, const T*, T*, const Pool2dShape&);
GLASSNET_POOL(float)
GLASSNET_POOL(bfloat16)
GLASSNET_POOL(float16)
#undef GLASSNET_POOL

}  // namespace glassnet::kernels
