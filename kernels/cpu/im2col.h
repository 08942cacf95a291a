// Convolution as a matrix product over unfolded patches ("im2col"), in pieces that stay in cache.
//
// Row (p, q) of the column matrix holds the patch (R, S, C) that output pixel (p, q) looks at; the
// weights (K, R, S, C) are already the other factor, and a 1x1 filter needs no unfolding at all.
// Works for any shape.
#pragma once

#include "kernels/conv2d.h"

namespace glassnet::kernels::im2col {

// A 1x1 filter that looks at every pixel: x itself is the column matrix.
inline bool is_product(const Conv2dShape& o) {
  return o.r == 1 && o.s == 1 && o.stride_h == 1 && o.stride_w == 1 && o.pad_h == 0 &&
         o.pad_w == 0 && o.groups == 1;
}

void forward(const float* x, const float* w, const float* bias, float* y, const Conv2dShape& shape);
void backward_data(const float* dy, const float* w, float* dx, const Conv2dShape& shape);
void backward_weight(const float* dy, const float* x, float* dw, const Conv2dShape& shape);

}  // namespace glassnet::kernels::im2col
