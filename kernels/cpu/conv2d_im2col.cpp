// Convolution on the CPU in a build without oneDNN: every pass is a product of unfolded patches
// (kernels/cpu/im2col.h), which Eigen multiplies (gemm_eigen.cpp).
#include <algorithm>

#include "kernels/conv2d.h"
#include "kernels/cpu/bf16_units.h"
#include "kernels/cpu/im2col.h"
#include "kernels/reduce.h"

namespace glassnet::kernels {

void conv2d_forward(Cpu, const float* x, const float* w, const float* bias, float* y,
                    const Conv2dShape& o) {
  if (o.n * o.out_h() * o.out_w() * o.k == 0) return;
  im2col::forward(x, w, bias, y, o);
}

void conv2d_backward_data(Cpu, const float* dy, const float* w, float* dx, const Conv2dShape& o) {
  if (o.n * o.h * o.w * o.c == 0) return;
  im2col::backward_data(dy, w, dx, o);
}

void conv2d_backward_weight(Cpu, const float* dy, const float* x, float* dw, float* dbias,
                            const Conv2dShape& o) {
  const int64_t pixels = o.n * o.out_h() * o.out_w();
  if (pixels * o.k == 0) {
    std::fill(dw, dw + o.k * o.r * o.s * o.c / o.groups, 0.0f);
    if (dbias != nullptr) std::fill(dbias, dbias + o.k, 0.0f);
    return;
  }
  im2col::backward_weight(dy, x, dw, o);
  if (dbias != nullptr) sum(Cpu{}, dy, dbias, 1, {{pixels, o.k}, {true, false}});
}

const char* conv2d_implementation(Cpu, Conv2dPass, const Conv2dShape& o) {
  return im2col::is_product(o) ? "gemm" : "im2col+gemm";
}

bool bf16_units::present() {
  return false;
}
bool bf16_units::forward(const bfloat16*, const bfloat16*, const float*, bfloat16*,
                         const Conv2dShape&) {
  return false;
}
bool bf16_units::backward_data(const bfloat16*, const bfloat16*, bfloat16*, const Conv2dShape&) {
  return false;
}
bool bf16_units::backward_weight(const bfloat16*, const bfloat16*, bfloat16*, const Conv2dShape&) {
  return false;
}

}  // namespace glassnet::kernels
