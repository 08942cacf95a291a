// Max and average pooling over windows of an NHWC tensor. x (N, H, W, C), y (N, P, Q, C).
// Outputs are overwritten; no output may alias an input.
#pragma once

#include <cstdint>

#include "kernels/device.h"
#include "kernels/dtype.h"

namespace glassnet::kernels {

struct Pool2dShape {
  int64_t n, h, w, c;
  int64_t r, s;  // window height and width, r * s <= 256 for max pooling
  int64_t stride_h = 1, stride_w = 1;
  int64_t pad_h = 0, pad_w = 0;  // at most half of the window, so that no window is all padding

  int64_t out_h() const { return (h + 2 * pad_h - r) / stride_h + 1; }  // P
  int64_t out_w() const { return (w + 2 * pad_w - s) / stride_w + 1; }  // Q
  bool operator==(const Pool2dShape&) const = default;
};

// y = maximum over the window, padding never chosen; index (N, P, Q, C) is its place in the
// window, row-major. The first of equal maxima wins and a NaN wins over all, as in PyTorch.
void max_pool2d_forward(Cpu, const float* x, float* y, uint8_t* index, const Pool2dShape& shape);
void max_pool2d_forward(Cpu, const double* x, double* y, uint8_t* index, const Pool2dShape& shape);
void max_pool2d_forward(Cpu, const bfloat16* x, bfloat16* y, uint8_t* index,
                        const Pool2dShape& shape);
void max_pool2d_backward(Cpu, const float* dy, const uint8_t* index, float* dx,
                         const Pool2dShape& shape);
void max_pool2d_backward(Cpu, const double* dy, const uint8_t* index, double* dx,
                         const Pool2dShape& shape);
void max_pool2d_backward(Cpu, const bfloat16* dy, const uint8_t* index, bfloat16* dx,
                         const Pool2dShape& shape);

// y = sum over the window / (r * s): padding counts as zeros, as PyTorch's count_include_pad.
void avg_pool2d_forward(Cpu, const float* x, float* y, const Pool2dShape& shape);
void avg_pool2d_forward(Cpu, const double* x, double* y, const Pool2dShape& shape);
void avg_pool2d_forward(Cpu, const bfloat16* x, bfloat16* y, const Pool2dShape& shape);
void avg_pool2d_backward(Cpu, const float* dy, float* dx, const Pool2dShape& shape);
void avg_pool2d_backward(Cpu, const double* dy, double* dx, const Pool2dShape& shape);
void avg_pool2d_backward(Cpu, const bfloat16* dy, bfloat16* dx, const Pool2dShape& shape);

// On a GPU elements are T = float, bfloat16 or float16, and sums are kept in float32.
template <class T>
void max_pool2d_forward(Cuda, const T* x, T* y, uint8_t* index, const Pool2dShape& shape);
template <class T>
void max_pool2d_backward(Cuda, const T* dy, const uint8_t* index, T* dx, const Pool2dShape& shape);
template <class T>
void avg_pool2d_forward(Cuda, const T* x, T* y, const Pool2dShape& shape);
template <class T>
void avg_pool2d_backward(Cuda, const T* dy, T* dx, const Pool2dShape& shape);

}  // namespace glassnet::kernels
