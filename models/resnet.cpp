#include "models/resnet.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace glassnet {
namespace {

struct BlockOptions {
  int64_t in, width;  // channels that enter, channels of the 3x3 convolutions
  int64_t stride = 1;
  bool zero_gamma = false;
};

// The path around a block whose shapes change: a strided 1x1 convolution and batch norm, called
// "0" and "1" as in torchvision.
class Shortcut : public Module {
 public:
  Shortcut(int64_t in, int64_t out, int64_t stride)
      : conv(child<Conv2d>(
            "0", Conv2dLayer{.in = in, .out = out, .kernel = 1, .stride = stride, .bias = false})),
        bn(child<BatchNorm2d>("1", BatchNorm2dLayer{.channels = out})) {}
  const char* kind() const override { return "Sequential"; }

 protected:
  Variable forward(const Variable& x) override { return conv_bn_relu(conv, bn, nullptr, x); }

 private:
  Conv2d& conv;
  BatchNorm2d& bn;
};

Conv2dLayer conv3x3(int64_t in, int64_t out, int64_t stride = 1) {
  return {.in = in, .out = out, .kernel = 3, .stride = stride, .padding = 1, .bias = false};
}
Conv2dLayer conv1x1(int64_t in, int64_t out) {
  return {.in = in, .out = out, .kernel = 1, .bias = false};
}

// conv3x3 - bn - relu - conv3x3 - bn, plus the shortcut, relu.
class BasicBlock : public Module {
 public:
  static constexpr int64_t kExpansion = 1;

  explicit BasicBlock(const BlockOptions& o)
      : conv1(child<Conv2d>("conv1", conv3x3(o.in, o.width, o.stride))),
        bn1(child<BatchNorm2d>("bn1", BatchNorm2dLayer{.channels = o.width})),
        relu(child<ReLU>("relu")),
        conv2(child<Conv2d>("conv2", conv3x3(o.width, o.width))),
        bn2(child<BatchNorm2d>("bn2",
                               BatchNorm2dLayer{.channels = o.width, .zero_gamma = o.zero_gamma})),
        downsample(o.stride != 1 || o.in != o.width
                       ? &child<Shortcut>("downsample", o.in, o.width, o.stride)
                       : nullptr) {}
  const char* kind() const override { return "BasicBlock"; }

 protected:
  Variable forward(const Variable& x) override {
    const Variable shortcut = downsample ? (*downsample)(x) : x;
    return conv_bn_relu(conv2, bn2, &relu, conv_bn_relu(conv1, bn1, &relu, x), shortcut);
  }

 private:
  Conv2d& conv1;
  BatchNorm2d& bn1;
  ReLU& relu;
  Conv2d& conv2;
  BatchNorm2d& bn2;
  Shortcut* downsample;  // null: the identity
};

// conv1x1 - bn - relu - conv3x3 (strided) - bn - relu - conv1x1 - bn, plus the shortcut, relu.
class Bottleneck : public Module {
 public:
  static constexpr int64_t kExpansion = 4;

  explicit Bottleneck(const BlockOptions& o)
      : conv1(child<Conv2d>("conv1", conv1x1(o.in, o.width))),
        bn1(child<BatchNorm2d>("bn1", BatchNorm2dLayer{.channels = o.width})),
        conv2(child<Conv2d>("conv2", conv3x3(o.width, o.width, o.stride))),
        bn2(child<BatchNorm2d>("bn2", BatchNorm2dLayer{.channels = o.width})),
        conv3(child<Conv2d>("conv3", conv1x1(o.width, kExpansion * o.width))),
        bn3(child<BatchNorm2d>(
            "bn3", BatchNorm2dLayer{.channels = kExpansion * o.width, .zero_gamma = o.zero_gamma})),
        relu(child<ReLU>("relu")),
        downsample(o.stride != 1 || o.in != kExpansion * o.width
                       ? &child<Shortcut>("downsample", o.in, kExpansion * o.width, o.stride)
                       : nullptr) {}
  const char* kind() const override { return "Bottleneck"; }

 protected:
  Variable forward(const Variable& x) override {
    const Variable shortcut = downsample ? (*downsample)(x) : x;
    const Variable y = conv_bn_relu(conv2, bn2, &relu, conv_bn_relu(conv1, bn1, &relu, x));
    return conv_bn_relu(conv3, bn3, &relu, y, shortcut);
  }

 private:
  Conv2d& conv1;
  BatchNorm2d& bn1;
  Conv2d& conv2;
  BatchNorm2d& bn2;
  Conv2d& conv3;
  BatchNorm2d& bn3;
  ReLU& relu;
  Shortcut* downsample;  // null: the identity
};

template <class Block>
int64_t add_blocks(Sequential& stage, int64_t count, BlockOptions options) {
  for (int64_t i = 0; i < count; ++i) {
    stage.add<Block>(options);
    options.in = Block::kExpansion * options.width;
    options.stride = 1;
  }
  return options.in;
}

struct NamedResNet {
  const char* name;
  bool bottleneck;
  std::vector<int64_t> blocks;
};

const std::vector<NamedResNet>& named_resnets() {
  static const std::vector<NamedResNet> table = {
      {"resnet18", false, {2, 2, 2, 2}},  {"resnet34", false, {3, 4, 6, 3}},
      {"resnet50", true, {3, 4, 6, 3}},   {"resnet101", true, {3, 4, 23, 3}},
      {"resnet152", true, {3, 8, 36, 3}},
  };
  return table;
}

}  // namespace

ResNet::ResNet(const ResNetOptions& options)
    : conv1(child<Conv2d>(
          "conv1",
          Conv2dLayer{.in = 3, .out = 64, .kernel = 7, .stride = 2, .padding = 3, .bias = false})),
      bn1(child<BatchNorm2d>("bn1", BatchNorm2dLayer{.channels = 64})),
      relu(child<ReLU>("relu")),
      maxpool(child<MaxPool2d>("maxpool", PoolOptions{.window = 3, .stride = 2, .padding = 1})),
      layer1(stage("layer1", options, 0)),
      layer2(stage("layer2", options, 1)),
      layer3(stage("layer3", options, 2)),
      layer4(stage("layer4", options, 3)),
      avgpool(child<GlobalAvgPool>("avgpool")),
      fc(child<Linear>("fc", LinearLayer{.in = channels_, .out = options.classes})) {}

Sequential& ResNet::stage(const std::string& name, const ResNetOptions& options, int index) {
  Sequential& blocks = child<Sequential>(name);
  const BlockOptions first{.in = channels_,
                           .width = int64_t{64} << index,
                           .stride = index == 0 ? 1 : 2,
                           .zero_gamma = options.zero_init_residual};
  const int64_t count = options.blocks.at(static_cast<size_t>(index));
  channels_ = options.bottleneck ? add_blocks<Bottleneck>(blocks, count, first)
                                 : add_blocks<BasicBlock>(blocks, count, first);
  return blocks;
}

Variable ResNet::forward(const Variable& x) {
  Variable y = maxpool(conv_bn_relu(conv1, bn1, &relu, x));
  y = layer4(layer3(layer2(layer1(y))));
  return fc(avgpool(y));
}

const std::vector<std::string>& model_names() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> result;
    for (const NamedResNet& entry : named_resnets()) result.emplace_back(entry.name);
    return result;
  }();
  return names;
}

std::unique_ptr<Module> make_model(const std::string& name, const ModelOptions& options) {
  require(options.classes > 0, [&] {
    return fmt::format("[model] expected at least one class, got {}", options.classes);
  });
  for (const NamedResNet& entry : named_resnets()) {
    if (name != entry.name) continue;
    return std::make_unique<ResNet>(
        ResNetOptions{.bottleneck = entry.bottleneck,
                      .blocks = entry.blocks,
                      .classes = options.classes,
                      .zero_init_residual = options.zero_init_residual});
  }
  throw UsageError(
      fmt::format("no model is called '{}'; there are {}", name, fmt::join(model_names(), ", ")));
}

}  // namespace glassnet
