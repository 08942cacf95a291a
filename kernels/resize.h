// Bilinear resize of an NHWC tensor with half-pixel centres (align_corners false, no antialiasing):
// output pixel i looks at input coordinate max(0, (i + 0.5) * in / out - 0.5), as PyTorch's
// interpolate and OpenCV's resize do. x (N, H, W, C), y (N, P, Q, C); outputs are overwritten.
#pragma once

#include <cstdint>

#include "kernels/device.h"
#include "kernels/dtype.h"

namespace glassnet::kernels {

struct ResizeShape {
  int64_t n, h, w, c;
  int64_t out_h, out_w;
};

void resize_bilinear_forward(Cpu, const float* x, float* y, const ResizeShape& shape);
void resize_bilinear_forward(Cpu, const double* x, double* y, const ResizeShape& shape);
void resize_bilinear_forward(Cpu, const bfloat16* x, bfloat16* y, const ResizeShape& shape);
void resize_bilinear_backward(Cpu, const float* dy, float* dx, const ResizeShape& shape);
void resize_bilinear_backward(Cpu, const double* dy, double* dx, const ResizeShape& shape);
void resize_bilinear_backward(Cpu, const bfloat16* dy, bfloat16* dx, const ResizeShape& shape);

// On a GPU elements are T = float, bfloat16 or float16, and sums are kept in float32.
template <class T>
void resize_bilinear_forward(Cuda, const T* x, T* y, const ResizeShape& shape);
template <class T>
void resize_bilinear_backward(Cuda, const T* dy, T* dx, const ResizeShape& shape);

}  // namespace glassnet::kernels
