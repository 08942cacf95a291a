// What ops that hold a convolution share: what it is for the kernels, and the gradient of its
// input.
#pragma once

#include "autograd/ops.h"
#include "kernels/conv2d.h"
#include "kernels/profile.h"

namespace glassnet {

// For x (N, H, W, C) and weight (K, R, S, C / groups). Throws Error, naming `op`, when they or the
// options do not fit.
kernels::Conv2dShape conv2d_shape(const char* op, const Tensor& x, const Tensor& weight,
                                  const Conv2dOptions& options);

// Tells a Profile that the op at work is this convolution, or one of its gradients.
void profile_conv2d(const kernels::Conv2dShape& shape);

// The gradient (N, H, W, C) of x, input 0 of a VJP, from that of the convolution's result
// (N, P, Q, K), with what x received already where the kernels add that for free.
Tensor conv2d_input_gradient(const Tensor& dy, const Tensor& weight,
                             const kernels::Conv2dShape& shape, const Needs& needs);

}  // namespace glassnet
