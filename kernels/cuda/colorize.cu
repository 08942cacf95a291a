// Maps in colour on a GPU: contract in kernels/colorize.h.
//
// A thread makes one byte, so that neighbours read and write neighbouring bytes; the three that
// share a value find it in the cache, as the table.
#include "kernels/colorize.h"

#include "kernels/cuda/launch.h"
#include "kernels/reference/colorize.h"

namespace glassnet::kernels {
namespace {

constexpr int kThreads = 256;

// The picture may be y, so that neither is __restrict__.
__global__ void colorize_kernel(const float* __restrict__ values, int64_t bytes,
                                const uint8_t* __restrict__ table, const uint8_t* picture,
                                uint8_t* y, BlendOptions options) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= bytes) return;
  const int64_t pixel = i / 3;
  const int channel = static_cast<int>(i - 3 * pixel);
  y[i] = reference::blended(values[pixel], picture[i], table, channel, options);
}

}  // namespace

void colorize(Cuda device, const float* values, int64_t n, const uint8_t* table,
              const uint8_t* picture, uint8_t* y, const BlendOptions& options) {
  launch<colorize_kernel>(device, {.grid = blocks_for(3 * n, kThreads), .block = kThreads}, values,
                          3 * n, table, picture, y, options);
}

}  // namespace glassnet::kernels
