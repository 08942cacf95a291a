// Convolution as a matrix product over unfolded patches ("im2col"), in pieces that stay in cache.
//
// Row (p, q) of the column matrix holds the patch (R, S, C) that output pixel (p, q) looks at; the
// weights (K, R, S, C) are already the other factor. Any shape; the choice for the first layer of
// a network (three channels), for which oneDNN has nothing quick in NHWC.
#pragma once

#include "kernels/conv2d.h"

namespace glassnet::kernels::im2col {

void forward(const float* x, const float* w, const float* bias, float* y, const Conv2dShape& shape);
void backward_data(const float* dy, const float* w, float* dx, const Conv2dShape& shape);
void backward_weight(const float* dy, const float* x, float* dw, const Conv2dShape& shape);

}  // namespace glassnet::kernels::im2col
