// Inference of images that share pixels.
#pragma once

#include <cstddef>

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
// CONVENTION: the model stays in evaluation mode; its weights do not change.
class SharedForward {
 public:
  // Whether a model can: it is Stepwise, on the CPU, and no hook waits in it.
  static bool shares(Module& model);
  // As many images at a time as memory should hold; the more, the more they share.
  static int64_t most_images(int64_t height, int64_t width);
  SharedForward(Module& model, SharedImages images);

  // The model's output for images [begin, end).
  Tensor operator()(int64_t begin, int64_t end);

 private:
  Module& model_;
  Stepwise* steps_;  // null: the model sees every image
  SharedImages x_;   // as the next step takes them
  size_t next_ = 0;  // step
};

}  // namespace glassnet
