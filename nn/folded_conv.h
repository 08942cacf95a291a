// Inference's convolution, with the batch norm behind it folded in.
#pragma once

#include <array>
#include <map>
#include <mutex>
#include <utility>

#include "autograd/conv2d_shape.h"

namespace glassnet {

class Conv2d;
class BatchNorm2d;

// w' = w gamma / sqrt(var + eps) and b' = beta - mean gamma / sqrt(var + eps), so that
// conv(x, w') + b' is the batch norm of conv(x, w) by its running statistics.
//
// On the CPU what folding makes is kept until a tensor that went into it is written again; float32
// filters are kept only as the kernels read them. On a GPU it is made anew in every call: a
// recorded graph must follow weights that change between its replays.
//
// CONVENTION: threads may share it.
class FoldedConv {
 public:
  // relu(bn(conv(x)) + z), or without the ReLU; z may be undefined. Records nothing. `options` are
  // the layer's own, or others for windows that were taken before.
  Variable operator()(const Conv2d& conv, const BatchNorm2d& bn, const Conv2dOptions& options,
                      const Variable& x, const Variable& z, bool rectified);

 private:
  struct Folded {
    Tensor weight;  // in the type of the input, or packed
    Tensor bias;    // in the type of statistics
  };
  static Folded fold(const Conv2d& conv, const BatchNorm2d& bn, DType type);
  Folded kept(const Conv2d& conv, const BatchNorm2d& bn, DType type,
              const kernels::Conv2dShape& shape, int64_t packed_size);

  struct Source {
    const void* data;
    uint64_t version;
    bool operator==(const Source&) const = default;
  };
  std::mutex mutex_;
  std::array<Source, 5> sources_ = {};  // of those below
  // By type and packed size (0: not packed), since they depend on the input.
  std::map<std::pair<DType, int64_t>, Folded> kept_;
};

}  // namespace glassnet
