// What follows a convolution or a product that came without it.
#pragma once

#include <cstdint>

#include "kernels/device.h"

namespace glassnet::kernels {

// y = act(y + bias + z), act the ReLU or nothing; y and z (rows, channels), bias (channels) in
// float or T; bias and z may be null. Computed in float32.
template <class T, class Bias>
void add_bias(Cuda device, T* y, const Bias* bias, const T* z, bool relu, int64_t rows,
              int64_t channels);

}  // namespace glassnet::kernels
