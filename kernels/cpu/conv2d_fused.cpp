// The convolution of inference on the CPU: conv2d_forward, and one pass over its output.
#include "kernels/conv2d.h"
#include "kernels/cpu/parallel.h"
#include "kernels/elementwise.h"

namespace glassnet::kernels {
namespace {

template <bool Residual, bool WithRelu>
void finish(const float* z, float* y, int64_t count) {
  parallel_ranges(count, kSmall, [=](int64_t begin, int64_t end) {
#pragma omp simd
    for (int64_t i = begin; i < end; ++i) {
      const float sum = Residual ? y[i] + z[i] : y[i];
      y[i] = WithRelu ? Relu{}.value(sum) : sum;
    }
  });
}

}  // namespace

void conv2d_bias_add_relu(Cpu, const float* x, const float* w, const float* bias, const float* z,
                          float* y, bool relu, const Conv2dShape& o) {
  conv2d_forward(Cpu{}, x, w, bias, y, o);
  const int64_t count = o.n * o.out_h() * o.out_w() * o.k;
  if (z != nullptr) {
    relu ? finish<true, true>(z, y, count) : finish<true, false>(z, y, count);
  } else if (relu) {
    finish<false, true>(z, y, count);
  }
}

}  // namespace glassnet::kernels
