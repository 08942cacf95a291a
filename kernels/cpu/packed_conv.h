// Convolution on the CPU by our own tiles (kernels/cpu/conv_tiles.h), from filters packed for them.
//
// Filters are packed into blocks of ConvTiles::columns: (blocks, taps, inner, columns), the last
// block filled up with zeros; for Winograd (36, blocks, channels, columns). Packing costs a pass
// over the filters, so those that serve more than once are worth keeping packed. Sums are taken in
// one order, whatever the number of threads or images; taps that lie in the padding may be left out
// of them.
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

int64_t packed_size(const Conv2dShape& shape, Form form);  // floats
void pack(const float* w, float* packed, const Conv2dShape& shape, Form form);

// y = act(conv(x, packed) + bias + z); bias and z may be null, and z may be y.
void run(const float* x, const float* packed, const float* bias, const float* z, float* y,
         bool relu, const Conv2dShape& shape, Form form);

// The same for the gradient of x, a convolution of dy with turned filters: of stride 1, or with a
// stride one for each kind of pixels by their place between two multiples of it. kNone for less
// than 16 channels, of which a tile would be mostly empty, less than 16 filters, and strides of
// dilated filters. z, which may be dx, may be added without a stride; otherwise it is null.
Form gradient_form_of(const Conv2dShape& shape);
Form gradient_form_for_once(const Conv2dShape& shape);
int64_t gradient_packed_size(const Conv2dShape& shape, Form form);  // floats
void pack_gradient(const float* w, float* packed, const Conv2dShape& shape, Form form);
void run_gradient(const float* dy, const float* packed, const float* z, float* dx,
                  const Conv2dShape& shape, Form form);

}  // namespace glassnet::kernels::packed
