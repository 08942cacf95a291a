// The gradient of a convolution's weights on the CPU, by our own tiles (kernels/cpu/conv_tiles.h).
//
//   dw[k][r,s,c] = sum over pixels p of dy[p][k] * x[the input that tap (r, s) of p sees][c]
//
// A block of pixels at a time, each tile of dw is a product over these pixels of a few filters of
// dy (the tile's rows), where they are, and a block of the channels that a tap sees (its columns),
// which are copied together. Sums are taken in one order, whatever the number of threads.
#pragma once

#include "kernels/conv2d.h"

namespace glassnet::kernels::weight_gradient {

// Not for grouped filters, less than 16 channels or filters, of which a tile would be mostly empty,
// or a processor without AVX2.
bool is_possible(const Conv2dShape& shape);
// Whether a library that is quick otherwise leaves a shape to us: strides and, with AVX-512, 1x1
// filters that are no fewer than channels, and larger ones on small images.
bool is_quicker(const Conv2dShape& shape);
const char* name();

void run(const float* dy, const float* x, float* dw, const Conv2dShape& shape);

}  // namespace glassnet::kernels::weight_gradient
