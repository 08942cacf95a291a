// The passes of a float32 convolution as the library behind the engine computes them: oneDNN
// (conv2d_onednn.cpp), or Eigen's products of unfolded patches (conv2d_im2col.cpp) in a build
// without it. For non-empty outputs; semantics are those of kernels/conv2d.h.
#pragma once

#include "kernels/conv2d.h"

namespace glassnet::kernels::library {

#if defined(GLASSNET_ONEDNN)
inline constexpr bool kIsQuick = true;
#else
inline constexpr bool kIsQuick = false;
#endif

void conv2d_forward(const float* x, const float* w, const float* bias, float* y,
                    const Conv2dShape& shape);
void conv2d_backward_data(const float* dy, const float* w, float* dx, const Conv2dShape& shape);
void conv2d_backward_weight(const float* dy, const float* x, float* dw, const Conv2dShape& shape);

const char* conv2d_implementation(Conv2dPass pass, const Conv2dShape& shape);

}  // namespace glassnet::kernels::library
