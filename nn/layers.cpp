#include "nn/layers.h"

#include <cmath>

#include "tensor/random.h"

namespace glassnet {
namespace {

// Parameters have streams of their own, away from those of data and augmentation.
uint64_t parameter_stream(uint64_t& stream) {
  return (static_cast<uint64_t>(Stream::kInit) << 32) + stream++;
}

// A float32 weight in the type that a 16-bit input asks for.
Variable for_input(const Variable& weight, const Variable& x) {
  const DType type = x.value().dtype();
  const bool narrow = type == DType::kBFloat16 || type == DType::kFloat16;
  return weight.defined() && narrow ? cast(weight, type) : weight;
}

}  // namespace

Conv2d::Conv2d(const Conv2dLayer& layer_)
    : layer(layer_),
      weight(parameter("weight",
                       {layer.out, layer.kernel.h, layer.kernel.w, layer.in / layer.groups})) {
  if (layer.bias) bias = parameter("bias", {layer.out});
}

void Conv2d::draw_parameters(uint64_t seed, uint64_t& stream) {
  const int64_t fan_out = layer.out / layer.groups * layer.kernel.h * layer.kernel.w;
  weight.mutable_value().copy_from(random_normal(weight.shape(),
                                                 std::sqrt(2.0 / static_cast<double>(fan_out)),
                                                 seed, parameter_stream(stream)));
  if (bias.defined()) bias.mutable_value().fill(0);
}

Variable Conv2d::forward(const Variable& x) {
  return conv2d(x, for_input(weight, x), for_input(bias, x), layer.options());
}

Linear::Linear(const LinearLayer& layer_)
    : layer(layer_), weight(parameter("weight", {layer.out, layer.in})) {
  if (layer.bias) bias = parameter("bias", {layer.out});
}

void Linear::draw_parameters(uint64_t seed, uint64_t& stream) {
  const double bound = 1 / std::sqrt(static_cast<double>(layer.in));
  weight.mutable_value().copy_from(
      random_uniform(weight.shape(), -bound, bound, seed, parameter_stream(stream)));
  if (bias.defined()) {
    bias.mutable_value().copy_from(
        random_uniform(bias.shape(), -bound, bound, seed, parameter_stream(stream)));
  }
}

Variable Linear::forward(const Variable& x) {
  return linear(x, for_input(weight, x), for_input(bias, x));
}

BatchNorm2d::BatchNorm2d(const BatchNorm2dLayer& layer_)
    : layer(layer_),
      weight(parameter("weight", {layer.channels})),
      bias(parameter("bias", {layer.channels})),
      running_mean(buffer("running_mean", Tensor::zeros({layer.channels}))),
      running_var(buffer("running_var", Tensor::full({layer.channels}, 1))),
      num_batches_tracked(buffer("num_batches_tracked", Tensor::zeros({}, DType::kInt64))) {}

void BatchNorm2d::draw_parameters(uint64_t, uint64_t&) {
  weight.mutable_value().fill(layer.zero_gamma ? 0 : 1);
  bias.mutable_value().fill(0);
  running_mean.fill(0);
  running_var.fill(1);
  num_batches_tracked.fill(0);
}

Variable BatchNorm2d::forward(const Variable& x) {
  if (training()) ++*num_batches_tracked.data<int64_t>();
  return batch_norm(x, weight, bias, running_mean, running_var, options());
}

Variable BatchNorm2d::add_relu(const Variable& x, const Variable& z) {
  if (training()) ++*num_batches_tracked.data<int64_t>();
  return batch_norm_add_relu(x, z, weight, bias, running_mean, running_var, options());
}

BatchNormOptions BatchNorm2d::options() const {
  return {.training = training(), .momentum = layer.momentum, .eps = layer.eps};
}

void count_batch(Module& module, int64_t batches) {
  for (const auto& [path, below] : module.named_modules()) {
    if (const auto* bn = dynamic_cast<BatchNorm2d*>(below); bn != nullptr && bn->training()) {
      *bn->num_batches_tracked.data<int64_t>() += batches;
    }
  }
}

Variable conv_bn_relu(Conv2d& conv, BatchNorm2d& bn, ReLU* relu, const Variable& x, Variable z) {
  const bool hooked = conv.hooked() || bn.hooked() || (relu != nullptr && relu->hooked());
  // A hook may have made variants of x that share one z (ForwardHook), which only `add` knows of.
  const bool shares_z = z.defined() && z.shape().dim(0) != x.shape().dim(0);
  if (!hooked && !shares_z && bn.training() && relu != nullptr) {
    const Variable y = conv(x);
    const SpanScope span([&](Profile& p) { p.open_layer(&bn); });
    return bn.add_relu(y, z);
  }
  const bool folds =
      !hooked && !shares_z && !bn.training() && !conv.bias.defined() &&
      (FoldedConv::differentiates(x) || !will_record({x, z, conv.weight, bn.weight, bn.bias}));
  if (folds) {
    const SpanScope span([&](Profile& p) { p.open_layer(&conv); });
    return conv.folded(conv, bn, conv.layer.options(), x, std::move(z), relu != nullptr);
  }
  Variable y = bn(conv(x));
  if (z.defined()) y = add(y, z);
  return relu != nullptr ? (*relu)(y) : y;
}

SharedImages conv_bn_relu(Conv2d& conv, BatchNorm2d& bn, ReLU* relu, const SharedImages& x,
                          const SharedImages& z) {
  require(!bn.training() && !conv.bias.defined(), [] {
    return std::string("[shared_images] expected a convolution without bias, in evaluation");
  });
  const Conv2dLayer& l = conv.layer;
  const Windows windows{.height = l.kernel.h,
                        .width = l.kernel.w,
                        .stride_h = l.stride.h,
                        .stride_w = l.stride.w,
                        .pad_h = l.padding.h,
                        .pad_w = l.padding.w,
                        .dilation_h = l.dilation.h,
                        .dilation_w = l.dilation.w};
  return x.map(windows, Outside::kZeros, z, [&](const Tensor& some, const Tensor& some_z) {
    const Variable around = some_z.defined() ? Variable(some_z) : Variable();
    return conv.folded(conv, bn, {.groups = l.groups}, Variable(some), around, relu != nullptr)
        .value();
  });
}

SharedImages MaxPool2d::forward_shared(const SharedImages& x) {
  const Windows windows{.height = options_.window.h,
                        .width = options_.window.w,
                        .stride_h = options_.stride.h,
                        .stride_w = options_.stride.w,
                        .pad_h = options_.padding.h,
                        .pad_w = options_.padding.w};
  return x.map(windows, Outside::kRepeats, {}, [&](const Tensor& some, const Tensor&) {
    return max_pool2d(Variable(some), {.window = options_.window}).value();
  });
}

SharedImages SubsamplePad::forward_shared(const SharedImages& x) {
  SubsamplePadOptions channels = options_;
  channels.stride = 1;
  const Windows windows{.stride_h = options_.stride.h, .stride_w = options_.stride.w};
  return x.map(windows, Outside::kZeros, {}, [&](const Tensor& some, const Tensor&) {
    return subsample_pad(Variable(some), channels).value();
  });
}

}  // namespace glassnet
