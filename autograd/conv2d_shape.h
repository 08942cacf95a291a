// What a convolution is for the kernels.
#pragma once

#include "autograd/ops.h"
#include "kernels/conv2d.h"

namespace glassnet {

// For x (N, H, W, C) and weight (K, R, S, C / groups). Throws Error, naming `op`, when they or the
// options do not fit.
kernels::Conv2dShape conv2d_shape(const char* op, const Tensor& x, const Tensor& weight,
                                  const Conv2dOptions& options);

}  // namespace glassnet
