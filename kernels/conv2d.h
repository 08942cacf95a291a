// 2-D convolution (cross-correlation, as in every deep learning library), NHWC.
//
//   y[n,p,q,k] = bias[k] + sum_{r,s,c} x[n, p*stride_h - pad_h + r*dil_h, q*stride_w - pad_w +
//   s*dil_w,
//                                       g*C/G + c] * w[k,r,s,c]          with g = k / (K/G)
//
// x (N, H, W, C), w (K, R, S, C/G), bias (K), y (N, P, Q, K). Outside of x counts as zero.
// Outputs are overwritten; no output may alias an input.
#pragma once

#include <cstdint>

#include "kernels/device.h"
#include "kernels/dtype.h"

namespace glassnet::kernels {

struct Conv2dShape {
  int64_t n, h, w, c;  // input
  int64_t k, r, s;     // filters, filter height, filter width
  int64_t stride_h = 1, stride_w = 1;
  int64_t pad_h = 0, pad_w = 0;
  int64_t dilation_h = 1, dilation_w = 1;
  int64_t groups = 1;

  int64_t out_h() const { return (h + 2 * pad_h - dilation_h * (r - 1) - 1) / stride_h + 1; }  // P
  int64_t out_w() const { return (w + 2 * pad_w - dilation_w * (s - 1) - 1) / stride_w + 1; }  // Q
  // Elements of x, y and w.
  int64_t input_size() const { return n * h * w * c; }
  int64_t output_size() const { return n * out_h() * out_w() * k; }
  int64_t weights_size() const { return k * r * s * c / groups; }
  bool operator==(const Conv2dShape&) const = default;
};

// y = conv(x, w) + bias; bias may be null.
void conv2d_forward(Cpu, const float* x, const float* w, const float* bias, float* y,
                    const Conv2dShape& shape);
void conv2d_forward(Cpu, const double* x, const double* w, const double* bias, double* y,
                    const Conv2dShape& shape);
void conv2d_forward(Cpu, const bfloat16* x, const bfloat16* w, const bfloat16* bias, bfloat16* y,
                    const Conv2dShape& shape);

// dx = gradient with respect to x, given dy (N, P, Q, K).
void conv2d_backward_data(Cpu, const float* dy, const float* w, float* dx,
                          const Conv2dShape& shape);
void conv2d_backward_data(Cpu, const double* dy, const double* w, double* dx,
                          const Conv2dShape& shape);
void conv2d_backward_data(Cpu, const bfloat16* dy, const bfloat16* w, bfloat16* dx,
                          const Conv2dShape& shape);

// dx = z + the gradient with respect to x, where that takes one pass and pays; dx may be z.
bool conv2d_adds_backward_data(Cpu, DType type, const Conv2dShape& shape);
void conv2d_add_backward_data(Cpu, const float* dy, const float* w, const float* z, float* dx,
                              const Conv2dShape& shape);

// dw = gradient with respect to w, dbias (K) with respect to bias; dbias may be null.
void conv2d_backward_weight(Cpu, const float* dy, const float* x, float* dw, float* dbias,
                            const Conv2dShape& shape);
void conv2d_backward_weight(Cpu, const double* dy, const double* x, double* dw, double* dbias,
                            const Conv2dShape& shape);
void conv2d_backward_weight(Cpu, const bfloat16* dy, const bfloat16* x, bfloat16* dw,
                            bfloat16* dbias, const Conv2dShape& shape);

enum class Conv2dPass { kForward, kBackwardData, kBackwardWeight };

// The name of the implementation that the float32 CPU overload chooses for a shape, for example
// "brgconv:avx512_core" or "im2col+gemm". A name that contains "ref" means a plain loop.
const char* conv2d_implementation(Cpu, Conv2dPass pass, const Conv2dShape& shape);

// On a GPU: T = float, bfloat16 or float16, sums in float32; float is true float32 unless
// set_allow_tf32 says otherwise (kernels/policy.h).
template <class T>
void conv2d_forward(Cuda, const T* x, const T* w, const T* bias, T* y, const Conv2dShape& shape);
template <class T>
void conv2d_backward_data(Cuda, const T* dy, const T* w, T* dx, const Conv2dShape& shape);
inline bool conv2d_adds_backward_data(Cuda, DType, const Conv2dShape&) {
  return true;
}
template <class T>
void conv2d_add_backward_data(Cuda, const T* dy, const T* w, const T* z, T* dx,
                              const Conv2dShape& shape);
template <class T>
void conv2d_backward_weight(Cuda, const T* dy, const T* x, T* dw, T* dbias,
                            const Conv2dShape& shape);

// The name of what the GPU overload does a shape of T with: "cudnn:engine 38", or "direct" and why
// cuDNN refused. In the host executor, always "direct".
template <class T>
const char* conv2d_implementation(Cuda, Conv2dPass pass, const Conv2dShape& shape);

// Inference in one pass: y = act(conv(x, w) + bias + z) with act the ReLU or nothing. bias (K) in
// the type of statistics, which may be rounded to T on a GPU; z (N, P, Q, K) may be null.
void conv2d_bias_add_relu(Cpu, const float* x, const float* w, const float* bias, const float* z,
                          float* y, bool relu, const Conv2dShape& shape);
void conv2d_bias_add_relu(Cpu, const double* x, const double* w, const double* bias,
                          const double* z, double* y, bool relu, const Conv2dShape& shape);
void conv2d_bias_add_relu(Cpu, const bfloat16* x, const bfloat16* w, const float* bias,
                          const bfloat16* z, bfloat16* y, bool relu, const Conv2dShape& shape);
template <class T>
void conv2d_bias_add_relu(Cuda, const T* x, const T* w, const float* bias, const T* z, T* y,
                          bool relu, const Conv2dShape& shape);

// The same from filters packed once, for a CPU that convolves with them many times. The size in
// floats depends on the shape, but for the number of images, and on allow_winograd()
// (kernels/policy.h): filters serve every shape of the same size. 0: this shape is not computed
// from packed filters. z may be y.
int64_t conv2d_packed_size(Cpu, const Conv2dShape& shape);
void conv2d_pack(Cpu, const float* w, float* packed, const Conv2dShape& shape);
void conv2d_packed_bias_add_relu(Cpu, const float* x, const float* packed, const float* bias,
                                 const float* z, float* y, bool relu, const Conv2dShape& shape);

// Likewise for the gradient with respect to x; here stride and padding have to be the same too. z
// may be null, and dx; with a stride it has to be null.
int64_t conv2d_gradient_packed_size(Cpu, const Conv2dShape& shape);
void conv2d_gradient_pack(Cpu, const float* w, float* packed, const Conv2dShape& shape);
void conv2d_packed_backward_data(Cpu, const float* dy, const float* packed, const float* z,
                                 float* dx, const Conv2dShape& shape);

}  // namespace glassnet::kernels
