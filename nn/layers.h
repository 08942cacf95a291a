// The layers a residual network is made of.
#pragma once

#include "nn/folded_conv.h"
#include "nn/module.h"

namespace glassnet {

struct Conv2dLayer {
  int64_t in, out;
  Pair kernel = 3;
  Pair stride = 1;
  Pair padding = 0;
  Pair dilation = 1;
  int64_t groups = 1;
  bool bias = true;

  Conv2dOptions options() const {
    return {.stride = stride, .padding = padding, .dilation = dilation, .groups = groups};
  }
};

// weight (out, kernel.h, kernel.w, in / groups), bias (out). Drawn by He et al. 2015 with fan-out:
// normal, variance 2 / (out * kernel.h * kernel.w / groups), as torchvision's ResNets; bias zero.
class Conv2d : public Module {
 public:
  explicit Conv2d(const Conv2dLayer& layer);
  const char* kind() const override { return "Conv2d"; }
  void draw_parameters(uint64_t seed, uint64_t& stream) override;

  const Conv2dLayer layer;
  Variable weight, bias;
  FoldedConv folded;  // of this layer and the batch norm behind it

 protected:
  Variable forward(const Variable& x) override;
};

struct LinearLayer {
  int64_t in, out;
  bool bias = true;
};

// weight (out, in), bias (out), both drawn uniformly from ±1/sqrt(in), as PyTorch.
class Linear : public Module {
 public:
  explicit Linear(const LinearLayer& layer);
  const char* kind() const override { return "Linear"; }
  void draw_parameters(uint64_t seed, uint64_t& stream) override;

  const LinearLayer layer;
  Variable weight, bias;

 protected:
  Variable forward(const Variable& x) override;
};

struct BatchNorm2dLayer {
  int64_t channels;
  double momentum = 0.1;
  double eps = 1e-5;
  bool zero_gamma = false;  // start as a branch that adds nothing
};

// weight = gamma (C), one or zero at the start; bias = beta (C), zero. Buffers running_mean,
// running_var (C) and num_batches_tracked (int64 scalar), named as in PyTorch.
class BatchNorm2d : public Module {
 public:
  explicit BatchNorm2d(const BatchNorm2dLayer& layer);
  const char* kind() const override { return "BatchNorm2d"; }
  void draw_parameters(uint64_t seed, uint64_t& stream) override;

  const BatchNorm2dLayer layer;
  Variable weight, bias;
  Tensor& running_mean;
  Tensor& running_var;
  Tensor& num_batches_tracked;

  // relu(forward(x) + z) as one op; z may be undefined.
  Variable add_relu(const Variable& x, const Variable& z);

 protected:
  Variable forward(const Variable& x) override;

 private:
  BatchNormOptions options() const;
};

// Counts `batches` more in every BatchNorm2d below `module` that is in training mode: for training
// steps that ran without `forward`, from a recorded graph.
void count_batch(Module& module, int64_t batches = 1);

class ReLU : public Module {
 public:
  const char* kind() const override { return "ReLU"; }

 protected:
  Variable forward(const Variable& x) override { return relu(x); }
};

class MaxPool2d : public Module {
 public:
  explicit MaxPool2d(const PoolOptions& options) : options_(options) {}
  const char* kind() const override { return "MaxPool2d"; }

 protected:
  Variable forward(const Variable& x) override { return max_pool2d(x, options_); }
  SharedImages forward_shared(const SharedImages& x) override;

 private:
  PoolOptions options_;
};

// relu(bn(conv(x)) + z), the step that residual networks repeat; z may be undefined, and relu null
// for none. In as few passes over memory as can be, with the numbers of its parts up to rounding:
//   training    the convolution, then batch_norm_add_relu
//   inference   one convolution with the batch norm folded into it, which is recorded as one op on
//               the CPU in float32 and float64
// Where something else would be recorded, and with a hook on one of the parts, the parts one after
// the other.
// Inference on the CPU writes over a z that nobody else holds.
Variable conv_bn_relu(Conv2d& conv, BatchNorm2d& bn, ReLU* relu, const Variable& x,
                      Variable z = {});
// The inference of images that share pixels. Throws Error in training, and for a bias.
SharedImages conv_bn_relu(Conv2d& conv, BatchNorm2d& bn, ReLU* relu, const SharedImages& x,
                          const SharedImages& z = {});

// The shortcut without parameters: pixels at multiples of the stride, channels of zeros around
// them.
class SubsamplePad : public Module {
 public:
  explicit SubsamplePad(const SubsamplePadOptions& options) : options_(options) {}
  const char* kind() const override { return "SubsamplePad"; }

 protected:
  Variable forward(const Variable& x) override { return subsample_pad(x, options_); }
  SharedImages forward_shared(const SharedImages& x) override;

 private:
  SubsamplePadOptions options_;
};

// (N, H, W, C) -> (N, C)
class GlobalAvgPool : public Module {
 public:
  const char* kind() const override { return "GlobalAvgPool"; }

 protected:
  Variable forward(const Variable& x) override { return global_avg_pool(x); }
};

// Its children one after the other, named "0", "1", … unless a name is given.
class Sequential : public Module {
 public:
  template <class M, class... Args>
  M& add(Args&&... args) {
    return add_named<M>(std::to_string(layers_.size()), std::forward<Args>(args)...);
  }
  template <class M, class... Args>
  M& add_named(const std::string& name, Args&&... args) {
    M& module = child<M>(name, std::forward<Args>(args)...);
    layers_.push_back(&module);
    return module;
  }
  const char* kind() const override { return "Sequential"; }
  const std::vector<Module*>& layers() const { return layers_; }

 protected:
  Variable forward(const Variable& x) override { return consume(x); }
  Variable consume(Variable x) override {
    for (Module* layer : layers_) x = (*layer)(std::move(x));
    return x;
  }

 private:
  std::vector<Module*> layers_;
};

}  // namespace glassnet
