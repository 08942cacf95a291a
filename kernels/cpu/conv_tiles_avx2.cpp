#include "kernels/cpu/conv_tiles_body.h"

namespace glassnet::kernels {
const ConvTiles kAvx2Tiles = {"avx2",         kLanes,           kRows,
                              kColumns,       product,          strip_product,
                              winograd_input, winograd_filters, winograd_output};
}  // namespace glassnet::kernels
