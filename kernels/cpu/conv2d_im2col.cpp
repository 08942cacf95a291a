// A build without oneDNN: every pass is a product of unfolded patches (kernels/cpu/im2col.h), which
// Eigen multiplies (gemm_eigen.cpp).
#include "kernels/cpu/bf16_units.h"
#include "kernels/cpu/conv2d_library.h"
#include "kernels/cpu/im2col.h"

namespace glassnet::kernels {
namespace library {

void conv2d_forward(const float* x, const float* w, const float* bias, float* y,
                    const Conv2dShape& o) {
  im2col::forward(x, w, bias, y, o);
}

void conv2d_backward_data(const float* dy, const float* w, float* dx, const Conv2dShape& o) {
  im2col::backward_data(dy, w, dx, o);
}

void conv2d_backward_weight(const float* dy, const float* x, float* dw, const Conv2dShape& o) {
  im2col::backward_weight(dy, x, dw, o);
}

const char* conv2d_implementation(Conv2dPass, const Conv2dShape& o) {
  return im2col::is_product(o) ? "gemm" : "im2col+gemm";
}

}  // namespace library

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
