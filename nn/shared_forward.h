// Inference of images that share pixels.
#pragma once

#include <cstddef>
#include <vector>

#include "nn/module.h"

namespace glassnet {

// A network that is a chain: steps that look at small windows, and what follows them.
class Stepwise {
 public:
  virtual ~Stepwise() = default;
  virtual size_t steps() const = 0;
  virtual SharedImages step(size_t index, const SharedImages& x) = 0;
  // What is left of the network when step `index` is the next.
  virtual Variable finish(size_t index, const Variable& x) = 0;
};

// A network's answers to images that share pixels. It sees what they share once, as far as it can
// and as that saves work, and then each image by itself. Records nothing; the numbers are those of
// the model itself.
//
// Images are taken in their order, and in two halves of which one waits where what they share is
// much to keep: memory stays the same however many there are, and less is done twice the more
// neighbours are alike.
//
// CONVENTION: the model stays in evaluation mode; its weights do not change.
class SharedForward {
 public:
  // Whether a model can share: it is Stepwise, on the CPU, and no hook waits in it.
  static bool shares(Module& model);
  SharedForward(Module& model, SharedImages images);

  // The model's output for the next `count` images, of which there must be so many.
  Tensor next(int64_t count);

 private:
  struct Part {
    SharedImages images;  // as step `next` takes them
    size_t next;
    int64_t taken = 0;  // of the images
  };
  void advance();

  Module& model_;
  Stepwise* steps_;          // null: the model sees every image
  std::vector<Part> parts_;  // those to be taken first at the end
};

}  // namespace glassnet
