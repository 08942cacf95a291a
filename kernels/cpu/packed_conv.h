// Convolution on the CPU by our own tiles (kernels/cpu/conv_tiles.h), from filters packed for them.
//
// Filters are packed into blocks of ConvTiles::columns: (blocks, taps, inner, columns), the last
// block filled up with zeros; for Winograd (36, blocks, channels, columns). Packing costs a pass
// over the filters, so those that serve more than once are worth keeping packed. Sums are taken in
// one order, whatever the number of threads or images.
#pragma once

#include "kernels/conv2d.h"

namespace glassnet::kernels::packed {

enum class Form {
  kNone,      // not for us: grouped filters, no channels, or a processor without AVX2
  kDirect,    // every product of the definition
  kWinograd,  // F(4x4, 3x3): a quarter of them, and a larger rounding error
};

// The form for a shape: a rule on it, but for the number of images, and on allow_winograd()
// (kernels/policy.h).
Form form_of(const Conv2dShape& shape);
// The form for filters that are packed for a single call: Winograd's takes more pixels to pay.
Form form_for_once(const Conv2dShape& shape);
const char* name_of(Form form);

// The convolution of dy with turned filters that is the gradient of x. Here and in pack_transposed
// the stride must be 1, and there must be at least 16 filters.
Conv2dShape transposed(const Conv2dShape& shape);

int64_t packed_size(const Conv2dShape& shape, Form form);  // floats
void pack(const float* w, float* packed, const Conv2dShape& shape, Form form);
// The filters of transposed(shape) from those of shape.
void pack_transposed(const float* w, float* packed, const Conv2dShape& shape, Form form);

// y = act(conv(x, packed) + bias + z); bias and z may be null.
void run(const float* x, const float* packed, const float* bias, const float* z, float* y,
         bool relu, const Conv2dShape& shape, Form form);

}  // namespace glassnet::kernels::packed
