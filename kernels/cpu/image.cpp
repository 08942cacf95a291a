// Pictures for a network on the CPU run on the definition: the loader's threads make them one by
// one while they decode (data/augment.h, data/input.h), and this is what those are compared with.
#include "kernels/reference/image.h"

namespace glassnet::kernels {

void prepare_images(Cpu, const ImageBatch& batch, float* y, const ImageVariation& variation,
                    const ImageScale& scale) {
  reference::prepare_images(batch, y, variation, scale);
}

}  // namespace glassnet::kernels
