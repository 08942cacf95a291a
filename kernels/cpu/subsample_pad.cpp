// Subsampling with channels of zeros on the CPU: a thread owns rows of the result.
#include "kernels/subsample_pad.h"

#include "kernels/cpu/parallel.h"

namespace glassnet::kernels {
namespace {

template <class T>
void forward(const T* x, T* y, const SubsamplePadShape& o) {
  const int64_t out_h = o.out_h(), out_w = o.out_w(), out_c = o.out_c();
  const int64_t rows = o.n * out_h;
  parallel_tasks(rows, rows * out_w * out_c > 2 * kSmall, [&](int64_t row) {
    const int64_t n = row / out_h, p = row % out_h;
    for (int64_t q = 0; q < out_w; ++q) {
      const T* from = x + ((n * o.h + p * o.stride_h) * o.w + q * o.stride_w) * o.c;
      T* to = y + (row * out_w + q) * out_c;
      to = std::fill_n(to, o.before, T{});
      to = std::copy_n(from, o.c, to);
      std::fill_n(to, o.after, T{});
    }
  });
}

template <class T>
void backward(const T* dy, T* dx, const SubsamplePadShape& o) {
  const int64_t out_h = o.out_h(), out_w = o.out_w(), out_c = o.out_c();
  const int64_t rows = o.n * o.h;
  parallel_tasks(rows, rows * o.w * o.c > 2 * kSmall, [&](int64_t row) {
    const int64_t n = row / o.h, h = row % o.h;
    T* to = dx + row * o.w * o.c;
    std::fill_n(to, o.w * o.c, T{});
    if (h % o.stride_h != 0) return;
    const T* from = dy + (n * out_h + h / o.stride_h) * out_w * out_c + o.before;
    for (int64_t q = 0; q < out_w; ++q) {
      std::copy_n(from + q * out_c, o.c, to + q * o.stride_w * o.c);
    }
  });
}

}  // namespace

#define GLASSNET_DEFINE(T)                                                           \
  void subsample_pad_forward(Cpu, const T* x, T* y, const SubsamplePadShape& o) {    \
    forward(x, y, o);                                                                \
  }                                                                                  \
  void subsample_pad_backward(Cpu, const T* dy, T* dx, const SubsamplePadShape& o) { \
    backward(dy, dx, o);                                                             \
  }
GLASSNET_DEFINE(float)
GLASSNET_DEFINE(bfloat16)
#undef GLASSNET_DEFINE

}  // namespace glassnet::kernels
