// Hidden superpixels on the CPU run on the definition: the network that reads them takes a thousand
// times as long.
#include "kernels/reference/perturb.h"

namespace glassnet::kernels {

void perturb(Cpu, const PerturbedSample* samples, int64_t n, int64_t pixels, float* y,
             const ImageScale& scale) {
  reference::perturb(samples, n, pixels, y, scale);
}

}  // namespace glassnet::kernels
