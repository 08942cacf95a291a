// A convolution with the batch norm behind it folded in, for a network in evaluation mode.
#pragma once

#include <memory>

#include "autograd/conv2d_shape.h"

namespace glassnet {

class Conv2d;
class BatchNorm2d;

// w' = w gamma / sqrt(var + eps) and b' = beta - mean gamma / sqrt(var + eps), so that
// conv(x, w') + b' is the batch norm of conv(x, w) by its running statistics.
//
// What folding makes is kept until a tensor that went into it is written again. On the CPU float32
// filters are kept only as the kernels read them, and turned for the gradient of x from the first
// time that one is asked for. A graph that is recorded on a GPU folds anew in every replay, since
// weights may change in between, unless WatchesWeights says who would notice.
//
// CONVENTION: threads may share it.
class FoldedConv {
 public:
  FoldedConv();

  // relu(bn(conv(x)) + z), or without the ReLU; z may be undefined, and the result may lie in its
  // place where nothing is recorded and nobody else holds it. `options` are the layer's own, or
  // others for windows that were taken before. Recorded as one op, `conv_bn_relu`, that keeps
  // its result for the ReLU alone, and x where the layers' parameters want gradients. With d the
  // upstream gradient where the result is positive:
  //   dz = d,  dx = conv's gradient of x with filters w',  and of w' and b', called G and g:
  //   dw = G gamma / sqrt(var + eps),  dgamma = (sum G w - g mean) / sqrt(var + eps),  dbeta = g
  Variable operator()(const Conv2d& conv, const BatchNorm2d& bn, const Conv2dOptions& options,
                      const Variable& x, Variable z, bool rectified);

  // Whether the op may be recorded for x: of float32 or float64. Elsewhere it records nothing.
  static bool differentiates(const Variable& x);

 private:
  class Kept;
  std::shared_ptr<Kept> kept_;  // with recorded ops, which may outlive the layers
};

// While one lives, graphs that this thread records read the filters that are kept: whoever replays
// them records anew when a weight has changed (Tensor::version).
class WatchesWeights {
 public:
  WatchesWeights();
  ~WatchesWeights();
  WatchesWeights(const WatchesWeights&) = delete;
  WatchesWeights& operator=(const WatchesWeights&) = delete;

 private:
  bool before_;
};

}  // namespace glassnet
