#include "models/resnet.h"

#include <algorithm>
#include <map>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "kernels/policy.h"

namespace glassnet {
namespace {

struct BlockOptions {
  int64_t in, width, out;  // channels that enter, of the 3x3 convolutions, that leave
  int64_t stride = 1;
  int64_t groups = 1;
  bool padded_shortcut = false;
  bool zero_gamma = false;
};

// A shortcut whose shapes change, projected: a strided 1x1 convolution and batch norm, called "0"
// and "1" as in torchvision.
class Projection : public Module {
 public:
  Projection(int64_t in, int64_t out, int64_t stride)
      : conv(child<Conv2d>(
            "0", Conv2dLayer{.in = in, .out = out, .kernel = 1, .stride = stride, .bias = false})),
        bn(child<BatchNorm2d>("1", BatchNorm2dLayer{.channels = out})) {}
  const char* kind() const override { return "Sequential"; }

 protected:
  Variable forward(const Variable& x) override { return conv_bn_relu(conv, bn, nullptr, x); }
  SharedImages forward_shared(const SharedImages& x) override {
    return conv_bn_relu(conv, bn, nullptr, x);
  }

 private:
  Conv2d& conv;
  BatchNorm2d& bn;
};

Conv2dLayer conv3x3(int64_t in, int64_t out, int64_t stride = 1, int64_t groups = 1) {
  return {.in = in,
          .out = out,
          .kernel = 3,
          .stride = stride,
          .padding = 1,
          .groups = groups,
          .bias = false};
}
Conv2dLayer conv1x1(int64_t in, int64_t out) {
  return {.in = in, .out = out, .kernel = 1, .bias = false};
}

class Block : public Module {
 protected:
  // The path around the block's layers; null for the identity. Made after them, for torchvision's
  // order of names.
  Module* shortcut(const BlockOptions& o) {
    if (o.stride == 1 && o.in == o.out) return nullptr;
    if (!o.padded_shortcut) return &child<Projection>("downsample", o.in, o.out, o.stride);
    const int64_t zeros = o.out - o.in;
    return &child<SubsamplePad>(
        "downsample",
        SubsamplePadOptions{.stride = o.stride, .before = zeros / 2, .after = zeros - zeros / 2});
  }
};

// conv3x3 - bn - relu - conv3x3 - bn, plus the shortcut, relu.
class BasicBlock : public Block {
 public:
  explicit BasicBlock(const BlockOptions& o)
      : conv1(child<Conv2d>("conv1", conv3x3(o.in, o.width, o.stride))),
        bn1(child<BatchNorm2d>("bn1", BatchNorm2dLayer{.channels = o.width})),
        relu(child<ReLU>("relu")),
        conv2(child<Conv2d>("conv2", conv3x3(o.width, o.out))),
        bn2(child<BatchNorm2d>("bn2",
                               BatchNorm2dLayer{.channels = o.out, .zero_gamma = o.zero_gamma})),
        downsample(shortcut(o)) {}
  const char* kind() const override { return "BasicBlock"; }

 protected:
  Variable forward(const Variable& x) override { return layers(x); }
  Variable consume(Variable x) override { return layers(std::move(x)); }
  SharedImages forward_shared(const SharedImages& x) override { return layers(x); }

 private:
  template <class X>
  X layers(X x) {
    const X y = conv_bn_relu(conv1, bn1, &relu, x);
    X around = downsample ? (*downsample)(x) : std::move(x);
    return conv_bn_relu(conv2, bn2, &relu, y, std::move(around));
  }

  Conv2d& conv1;
  BatchNorm2d& bn1;
  ReLU& relu;
  Conv2d& conv2;
  BatchNorm2d& bn2;
  Module* downsample;
};

// conv1x1 - bn - relu - conv3x3 (strided, in groups) - bn - relu - conv1x1 - bn, plus the shortcut,
// relu.
class Bottleneck : public Block {
 public:
  explicit Bottleneck(const BlockOptions& o)
      : conv1(child<Conv2d>("conv1", conv1x1(o.in, o.width))),
        bn1(child<BatchNorm2d>("bn1", BatchNorm2dLayer{.channels = o.width})),
        conv2(child<Conv2d>("conv2", conv3x3(o.width, o.width, o.stride, o.groups))),
        bn2(child<BatchNorm2d>("bn2", BatchNorm2dLayer{.channels = o.width})),
        conv3(child<Conv2d>("conv3", conv1x1(o.width, o.out))),
        bn3(child<BatchNorm2d>("bn3",
                               BatchNorm2dLayer{.channels = o.out, .zero_gamma = o.zero_gamma})),
        relu(child<ReLU>("relu")),
        downsample(shortcut(o)) {}
  const char* kind() const override { return "Bottleneck"; }

 protected:
  Variable forward(const Variable& x) override { return layers(x); }
  Variable consume(Variable x) override { return layers(std::move(x)); }
  SharedImages forward_shared(const SharedImages& x) override { return layers(x); }

 private:
  template <class X>
  X layers(X x) {
    const X y = conv_bn_relu(conv2, bn2, &relu, conv_bn_relu(conv1, bn1, &relu, x));
    X around = downsample ? (*downsample)(x) : std::move(x);
    return conv_bn_relu(conv3, bn3, &relu, y, std::move(around));
  }

  Conv2d& conv1;
  BatchNorm2d& bn1;
  Conv2d& conv2;
  BatchNorm2d& bn2;
  Conv2d& conv3;
  BatchNorm2d& bn3;
  ReLU& relu;
  Module* downsample;
};

// --- sizes that follow from the options ----------------------------------------------------------

// Channels after the stem, and what each stage doubles.
int64_t stem_channels(const ResNetOptions& o) {
  return o.cifar ? 16 : 64;
}
// Of the 3x3 convolutions of stage `index`, from 0.
int64_t width_of(const ResNetOptions& o, int64_t index) {
  const int64_t planes = stem_channels(o) << index;
  return o.bottleneck ? planes * o.width_per_group / 64 * o.groups : planes;
}
// Channels that leave it.
int64_t out_of(const ResNetOptions& o, int64_t index) {
  return (stem_channels(o) << index) * (o.bottleneck ? 4 : 1);
}

const ResNetOptions& checked(const ResNetOptions& o) {
  require(!o.blocks.empty() && o.blocks.size() <= 8 &&
              std::all_of(o.blocks.begin(), o.blocks.end(), [](int64_t n) { return n > 0; }),
          [&] {
            return fmt::format(
                "[resnet] expected one to eight stages of at least one block, got {}", o.blocks);
          });
  require(o.bottleneck || (o.groups == 1 && o.width_per_group == 64),
          [] { return std::string("[resnet] only bottlenecks have groups and another width"); });
  require(o.groups > 0 && o.width_per_group > 0 && width_of(o, 0) > 0, [&] {
    return fmt::format("[resnet] expected groups of at least one channel, got {} groups of {}",
                       o.groups, o.width_per_group);
  });
  return o;
}

// --- architectures that have a name --------------------------------------------------------------

// Section 4.2: three stages of n blocks make 6 n + 2 layers.
ResNetOptions cifar_resnet(int64_t n) {
  return {.bottleneck = false, .blocks = {n, n, n}, .cifar = true, .classes = 10};
}

using NamedResNet = std::pair<std::string, ResNetOptions>;

const std::vector<NamedResNet>& named_resnets() {
  static const std::vector<NamedResNet> table = {
      {"resnet18", {.bottleneck = false, .blocks = {2, 2, 2, 2}}},
      {"resnet34", {.bottleneck = false, .blocks = {3, 4, 6, 3}}},
      {"resnet50", {.blocks = {3, 4, 6, 3}}},
      {"resnet101", {.blocks = {3, 4, 23, 3}}},
      {"resnet152", {.blocks = {3, 8, 36, 3}}},
      {"resnext50_32x4d", {.blocks = {3, 4, 6, 3}, .groups = 32, .width_per_group = 4}},
      {"resnext101_32x8d", {.blocks = {3, 4, 23, 3}, .groups = 32, .width_per_group = 8}},
      {"resnext101_64x4d", {.blocks = {3, 4, 23, 3}, .groups = 64, .width_per_group = 4}},
      {"wide_resnet50_2", {.blocks = {3, 4, 6, 3}, .width_per_group = 128}},
      {"wide_resnet101_2", {.blocks = {3, 4, 23, 3}, .width_per_group = 128}},
      {"resnet20", cifar_resnet(3)},
      {"resnet32", cifar_resnet(5)},
      {"resnet44", cifar_resnet(7)},
      {"resnet56", cifar_resnet(9)},
      {"resnet110", cifar_resnet(18)},
  };
  return table;
}

const ResNetOptions& options_of(const std::string& name) {
  for (const auto& [known, options] : named_resnets()) {
    if (name == known) return options;
  }
  throw UsageError(
      fmt::format("no model is called '{}'; there are {}", name, fmt::join(model_names(), ", ")));
}

// What tensors say about the architecture they are of.
struct Signature {
  Shape stem;                   // of its weight, (K, C, R, S)
  std::vector<int64_t> blocks;  // of each stage
  std::vector<int64_t> widths;  // of the 3x3 convolutions in its first block
  int64_t groups = 0;
  int64_t features = 0;  // that the classifier sees
  bool bottleneck = false, projected = false;
  bool operator==(const Signature&) const = default;
};

Signature signature_of(const ResNetOptions& o) {
  const int64_t window = o.cifar ? 3 : 7, stages = static_cast<int64_t>(o.blocks.size());
  Signature s{.stem = {stem_channels(o), 3, window, window},
              .blocks = o.blocks,
              .groups = o.groups,
              .features = out_of(o, stages - 1),
              .bottleneck = o.bottleneck,
              .projected = !o.cifar};
  for (int64_t i = 0; i < stages; ++i) s.widths.push_back(width_of(o, i));
  return s;
}

Signature signature_of(const std::vector<NamedShape>& tensors) {
  std::map<std::string, Shape> shapes;
  for (const NamedShape& tensor : tensors) shapes[tensor.name] = tensor.shape;
  // Of a tensor with `rank` axes; where there is none, extents of 0, which fit nothing.
  const auto shape = [&](const std::string& name, int rank) {
    const auto found = shapes.find(name);
    return found != shapes.end() && found->second.rank() == rank ? found->second : Shape();
  };
  const auto conv = [&](size_t stage, int64_t block, int number) {
    return fmt::format("layer{}.{}.conv{}.weight", stage, block, number);
  };
  Signature s{.stem = shape("conv1.weight", 4),
              .features = shape("fc.weight", 2)[1] + shape("linear.weight", 2)[1],
              .bottleneck = shapes.contains(conv(1, 0, 3))};
  for (size_t stage = 1; shapes.contains(conv(stage, 0, 2)); ++stage) {
    int64_t blocks = 1;
    while (shapes.contains(conv(stage, blocks, 2))) ++blocks;
    s.blocks.push_back(blocks);
    s.widths.push_back(shape(conv(stage, 0, 2), 4)[0]);
  }
  const Shape first = shape(conv(1, 0, 2), 4);
  s.groups = first[1] > 0 ? first[0] / first[1] : 0;
  s.projected = std::any_of(tensors.begin(), tensors.end(), [](const auto& tensor) {
    return tensor.name.find(".downsample.") != std::string::npos;
  });
  return s;
}

constexpr size_t kEarlyStages = 2;

// f of `rows` images at a time, put together. Records nothing.
template <class F>
Variable in_slices(const Variable& x, int64_t rows, F&& f) {
  const int64_t count = x.shape().dim(0);
  if (count <= rows) return f(x);
  Tensor whole;
  for (int64_t begin = 0; begin < count; begin += rows) {
    const int64_t end = std::min(count, begin + rows);
    const Tensor part = f(Variable(x.value().slice(begin, end))).value();
    if (!whole.defined()) {
      whole = Tensor::empty({count, part.dim(1), part.dim(2), part.dim(3)}, part.dtype());
    }
    whole.slice(begin, end).copy_from(part);
  }
  return Variable(whole);
}

}  // namespace

ResNet::ResNet(const ResNetOptions& options)
    : channels_(stem_channels(checked(options))),
      conv1(child<Conv2d>("conv1", options.cifar ? conv3x3(3, channels_)
                                                 : Conv2dLayer{.in = 3,
                                                               .out = channels_,
                                                               .kernel = 7,
                                                               .stride = 2,
                                                               .padding = 3,
                                                               .bias = false})),
      bn1(child<BatchNorm2d>("bn1", BatchNorm2dLayer{.channels = channels_})),
      relu(child<ReLU>("relu")),
      maxpool(options.cifar ? nullptr
                            : &child<MaxPool2d>(
                                  "maxpool", PoolOptions{.window = 3, .stride = 2, .padding = 1})),
      stages_([&] {
        std::vector<Sequential*> stages;
        for (size_t i = 0; i < options.blocks.size(); ++i) {
          stages.push_back(&stage(options, static_cast<int64_t>(i)));
          blocks_.insert(blocks_.end(), stages[i]->layers().begin(), stages[i]->layers().end());
          if (i < kEarlyStages) early_steps_ = 1 + blocks_.size();
        }
        return stages;
      }()),
      avgpool(child<GlobalAvgPool>("avgpool")),
      fc(child<Linear>("fc", LinearLayer{.in = channels_, .out = options.classes})) {}

Sequential& ResNet::stage(const ResNetOptions& options, int64_t index) {
  Sequential& blocks = child<Sequential>(fmt::format("layer{}", index + 1));
  BlockOptions block{.in = channels_,
                     .width = width_of(options, index),
                     .out = out_of(options, index),
                     .stride = index == 0 ? 1 : 2,
                     .groups = options.groups,
                     .padded_shortcut = options.cifar,
                     .zero_gamma = options.zero_init_residual};
  for (int64_t i = 0; i < options.blocks[static_cast<size_t>(index)]; ++i) {
    if (options.bottleneck) {
      blocks.add<Bottleneck>(block);
    } else {
      blocks.add<BasicBlock>(block);
    }
    block.in = block.out;
    block.stride = 1;
  }
  channels_ = block.out;
  return blocks;
}

template <class X>
X ResNet::take_step(size_t index, const X& x) {
  if (index > 0) return (*blocks_[index - 1])(x);
  const X y = conv_bn_relu(conv1, bn1, &relu, x);
  return maxpool ? (*maxpool)(y) : y;
}

SharedImages ResNet::step(size_t index, const SharedImages& x) {
  return take_step(index, x);
}

Variable ResNet::finish(size_t index, const Variable& x) {
  const auto take_steps = [this](size_t begin, size_t end, Variable y) {
    for (size_t i = begin; i < end; ++i) {
      y = i == 0 ? take_step(i, y) : (*blocks_[i - 1])(std::move(y));
    }
    return y;
  };
  if (index >= early_steps_) return fc(avgpool(take_steps(index, steps(), x)));
  const Variable y = in_slices(x, kernels::cpu_threads(), [&](const Variable& some) {
    return take_steps(index, early_steps_, some);
  });
  return fc(avgpool(take_steps(early_steps_, steps(), y)));
}

Variable ResNet::forward(const Variable& x) {
  // In slices where nothing sees it: what a layer leaves then lies in a core's cache when the next
  // one reads it, and less memory is needed.
  const bool slices = x.value().device().type == DeviceType::kCpu && x.shape().rank() == 4 &&
                      !training() && NoGrad::active() && !hooked_within();
  if (slices) return finish(0, x);
  Variable y = take_step(0, x);
  for (Sequential* stage : stages_) y = (*stage)(std::move(y));
  return fc(avgpool(y));
}

std::string last_stage(const Module& model) {
  if (const auto* resnet = dynamic_cast<const ResNet*>(&model)) {
    return fmt::format("layer{}", resnet->stages());
  }
  throw UsageError("a network that is no ResNet has no last stage; name the layer to look at");
}

const std::vector<std::string>& model_names() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> result;
    for (const auto& [name, options] : named_resnets()) result.push_back(name);
    return result;
  }();
  return names;
}

std::unique_ptr<Module> make_model(const std::string& name, const ModelOptions& options) {
  ResNetOptions all = options_of(name);
  all.classes = options.classes.value_or(all.classes);
  all.zero_init_residual = options.zero_init_residual;
  require(all.classes > 0,
          [&] { return fmt::format("[model] expected at least one class, got {}", all.classes); });
  return std::make_unique<ResNet>(all);
}

UsualInput usual_input(const std::string& model) {
  const ResNetOptions& options = options_of(model);
  const UsualInput cifar{.image_size = 32, .smallest_image = 4};
  UsualInput input = options.cifar ? cifar : UsualInput{};
  input.classes = options.classes;
  return input;
}

std::optional<std::string> model_fitting(const std::vector<NamedShape>& tensors) {
  const Signature signature = signature_of(tensors);
  for (const auto& [name, options] : named_resnets()) {
    if (signature_of(options) == signature) return name;
  }
  return std::nullopt;
}

}  // namespace glassnet
