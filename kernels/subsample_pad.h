// Every so-manyth pixel of an NHWC tensor, with channels of zeros around its own: the shortcut
// without parameters ("option A") of He et al., "Deep residual learning for image recognition",
// CVPR 2016, section 4.2.
//
//   y[n,p,q,before+c] = x[n, p*stride_h, q*stride_w, c], the other channels of y are 0
//
// x (N, H, W, C), y (N, ceil(H / stride_h), ceil(W / stride_w), before + C + after). Outputs are
// overwritten; no output may alias an input.
#pragma once

#include <cstdint>

#include "kernels/device.h"
#include "kernels/dtype.h"

namespace glassnet::kernels {

struct SubsamplePadShape {
  int64_t n, h, w, c;  // of x
  int64_t stride_h = 2, stride_w = 2;
  int64_t before = 0, after = 0;  // channels of zeros

  int64_t out_h() const { return (h + stride_h - 1) / stride_h; }  // P
  int64_t out_w() const { return (w + stride_w - 1) / stride_w; }  // Q
  int64_t out_c() const { return before + c + after; }
};

void subsample_pad_forward(Cpu, const float* x, float* y, const SubsamplePadShape& shape);
void subsample_pad_forward(Cpu, const double* x, double* y, const SubsamplePadShape& shape);
void subsample_pad_forward(Cpu, const bfloat16* x, bfloat16* y, const SubsamplePadShape& shape);
// dx is dy where a pixel was taken, and 0 elsewhere.
void subsample_pad_backward(Cpu, const float* dy, float* dx, const SubsamplePadShape& shape);
void subsample_pad_backward(Cpu, const double* dy, double* dx, const SubsamplePadShape& shape);
void subsample_pad_backward(Cpu, const bfloat16* dy, bfloat16* dx, const SubsamplePadShape& shape);

// On a GPU elements are T = float, bfloat16 or float16.
template <class T>
void subsample_pad_forward(Cuda, const T* x, T* y, const SubsamplePadShape& shape);
template <class T>
void subsample_pad_backward(Cuda, const T* dy, T* dx, const SubsamplePadShape& shape);

}  // namespace glassnet::kernels
