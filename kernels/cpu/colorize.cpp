// Maps in colour on the CPU run on the definition: to compress the picture that comes out takes a
// hundred times as long.
#include "kernels/reference/colorize.h"

namespace glassnet::kernels {

void colorize(Cpu, const float* values, int64_t n, const uint8_t* table, const uint8_t* picture,
              uint8_t* y, const BlendOptions& options) {
  reference::colorize(values, n, table, picture, y, options);
}

}  // namespace glassnet::kernels
