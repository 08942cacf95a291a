// Subsampling with channels of zeros on a GPU. Both directions gather: a thread owns a few channels
// of one pixel of the result, all of which were taken or none.
#include "kernels/subsample_pad.h"

#include <numeric>

#include "kernels/cuda/image_rows.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/vec.h"

namespace glassnet::kernels {
namespace {

// The shape in 32 bits, in which a GPU divides several times faster. Offsets into tensors need 64.
struct Sizes {
  int h, w, c, stride_h, stride_w, before, out_h, out_w, out_c;

  explicit Sizes(const SubsamplePadShape& o)
      : h(static_cast<int>(o.h)),
        w(static_cast<int>(o.w)),
        c(static_cast<int>(o.c)),
        stride_h(static_cast<int>(o.stride_h)),
        stride_w(static_cast<int>(o.stride_w)),
        before(static_cast<int>(o.before)),
        out_h(static_cast<int>(o.out_h())),
        out_w(static_cast<int>(o.out_w())),
        out_c(static_cast<int>(o.out_c())) {}
  __device__ int64_t in_offset(int64_t n, int row, int column, int channel) const {
    return ((n * h + row) * w + column) * c + channel;
  }
  __device__ int64_t out_offset(int64_t n, int row, int column, int channel) const {
    return ((n * out_h + row) * out_w + column) * out_c + channel;
  }
};

template <class T, int W>
__global__ void subsample_pad_forward_kernel(const T* __restrict__ x, T* __restrict__ y, Sizes o) {
  for_each_pixel<W>(o.out_h, o.out_w, o.out_c, [&](int64_t n, int p, int q, int k) {
    const int c = k - o.before;
    Vec<T, W> value = {};
    if (c >= 0 && c < o.c) {
      value = load_vec<W>(x + o.in_offset(n, p * o.stride_h, q * o.stride_w, c));
    }
    store_vec(y + o.out_offset(n, p, q, k), value);
  });
}

template <class T, int W>
__global__ void subsample_pad_backward_kernel(const T* __restrict__ dy, T* __restrict__ dx,
                                              Sizes o) {
  for_each_pixel<W>(o.h, o.w, o.c, [&](int64_t n, int h, int w, int c) {
    Vec<T, W> value = {};
    if (h % o.stride_h == 0 && w % o.stride_w == 0) {
      value = load_vec<W>(dy + o.out_offset(n, h / o.stride_h, w / o.stride_w, o.before + c));
    }
    store_vec(dx + o.in_offset(n, h, w, c), value);
  });
}

// Groups of as many channels as divide this lie on one side of each border.
int64_t common_divisor(const SubsamplePadShape& o) {
  return std::gcd(o.c, std::gcd(o.before, o.after));
}

}  // namespace

template <class T>
void subsample_pad_forward(Cuda device, const T* x, T* y, const SubsamplePadShape& o) {
  const auto run = [&]<int W>() {
    launch<subsample_pad_forward_kernel<T, W>>(
        device, row_blocks(o.n, o.out_h(), o.out_w(), o.out_c(), W), x, y, Sizes(o));
  };
  by_width<T>(common_divisor(o), run, x, y);
}

template <class T>
void subsample_pad_backward(Cuda device, const T* dy, T* dx, const SubsamplePadShape& o) {
  const auto run = [&]<int W>() {
    launch<subsample_pad_backward_kernel<T, W>>(device, row_blocks(o.n, o.h, o.w, o.c, W), dy, dx,
                                                Sizes(o));
  };
  by_width<T>(common_divisor(o), run, dy, dx);
}

#define GLASSNET_SUBSAMPLE_PAD(T)                                                    \
  template void subsample_pad_forward(Cuda, const T*, T*, const SubsamplePadShape&); \
  template void subsample_pad_backward(Cuda, const T*, T*, const SubsamplePadShape&);
GLASSNET_SUBSAMPLE_PAD(float)
GLASSNET_SUBSAMPLE_PAD(bfloat16)
GLASSNET_SUBSAMPLE_PAD(float16)
#undef GLASSNET_SUBSAMPLE_PAD

}  // namespace glassnet::kernels
