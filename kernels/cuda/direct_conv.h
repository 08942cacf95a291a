// Convolution by kernels that follow the definition: for the shapes and types that cuDNN refuses,
// and for the host executor. Right for every shape, the same bits each time, and in no hurry.
// Contract and shapes: kernels/conv2d.h. T = float, bfloat16 or float16, sums in float32.
#pragma once

#include "kernels/conv2d.h"
#include "kernels/device.h"

namespace glassnet::kernels::direct {

// y = conv(x, w); with `bias` (K), which may be null, y = conv(x, w) + bias.
template <class T>
void conv2d_forward(Cuda device, const T* x, const T* w, const T* bias, T* y,
                    const Conv2dShape& shape);
// dx = the gradient with respect to x, + z where that is not null; dx may be z.
template <class T>
void conv2d_backward_data(Cuda device, const T* dy, const T* w, const T* z, T* dx,
                          const Conv2dShape& shape);
// Of dbias the caller takes care: it is a sum over rows.
template <class T>
void conv2d_backward_weight(Cuda device, const T* dy, const T* x, T* dw, const Conv2dShape& shape);

}  // namespace glassnet::kernels::direct
