// Inference of images that share pixels.
#pragma once

#include <cstddef>
#include <vector>

#include "nn/module.h"

namespace glassnet {

// A network that is a chain: steps that look at small windows, and what follows them. finish(0, x)
// is the network, and finish(i + 1, step(i, x)) is finish(i, x), up to rounding.
class Stepwise {
 public:
  virtual ~Stepwise() = default;
  virtual size_t steps() const = 0;
  virtual SharedImages step(size_t index, const SharedImages& x) = 0;
  // What is left of the network when step `index` is the next.
  virtual Variable finish(size_t index, const Variable& x) = 0;
};

// Of what images share, as much as is kept at a time. A pool of more than pool_bytes is for half of
// the images, unless these are few; one of four times as many in any case.
struct SharingLimits {
  size_t pool_bytes = size_t{1} << 27;
  int64_t few_images = 128;
};

// A network's answers to images that share pixels. It sees what they share once, as far as it can
// and as that saves work, and then each image by itself. Records nothing. The numbers are those of
// the model up to rounding; to the last bit in float32 by direct convolutions, since the order of
// sums is the same (kernels/cpu/packed_conv.h).
//
// Images are taken in their order, and in two halves of which one waits where what they share is
// much to keep: less is done twice the more neighbours are alike.
//
// CONVENTION: the model stays in evaluation mode, its weights do not change, and no hook is added.
class SharedForward {
 public:
  // Whether a model can share: it is Stepwise, on the CPU, and no hook waits in it.
  static bool shares(Module& model);
  SharedForward(Module& model, SharedImages images, const SharingLimits& limits = {});

  // The model's output for the next `count` images, of which there must be so many.
  Tensor next(int64_t count);

 private:
  struct Part {
    SharedImages images;  // as step `next` takes them
    size_t next;
    int64_t taken = 0;  // of the images
  };
  void advance();
  bool halves(const SharedImages& images) const;

  Module& model_;
  Stepwise* steps_;  // null: the model sees every image
  SharingLimits limits_;
  std::vector<Part> parts_;  // those to be taken first at the end
  int64_t left_;             // images
};

}  // namespace glassnet
