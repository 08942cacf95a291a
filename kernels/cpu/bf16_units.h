// Convolutions of bfloat16 by oneDNN, which has the processor's own instructions multiply them
// (AVX-512 BF16, AMX), or on other processors with AVX-512 imitates those, slowly.
#pragma once

#include "kernels/conv2d.h"

namespace glassnet::kernels::bf16_units {

// Whether this processor has such instructions, and oneDNN uses them. Without oneDNN there are
// none.
bool present();

// As the overloads in kernels/conv2d.h, for shapes with elements. False, and nothing is written,
// where oneDNN has no more than a plain loop.
bool forward(const bfloat16* x, const bfloat16* w, const float* bias, bfloat16* y,
             const Conv2dShape& shape);
bool backward_data(const bfloat16* dy, const bfloat16* w, bfloat16* dx, const Conv2dShape& shape);
bool backward_weight(const bfloat16* dy, const bfloat16* x, bfloat16* dw, const Conv2dShape& shape);

}  // namespace glassnet::kernels::bf16_units
