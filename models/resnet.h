// Residual networks in torchvision's topology (He et al., "Deep residual learning for image
// recognition", CVPR 2016; v1.5: a bottleneck strides in its 3x3 convolution). Parameter names
// equal torchvision's: "layer3.0.conv2.weight".
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "nn/layers.h"

namespace glassnet {

struct ResNetOptions {
  bool bottleneck = true;                      // three convolutions a block, or two
  std::vector<int64_t> blocks = {3, 4, 6, 3};  // of layer1 … layer4
  int64_t classes = 1000;
  // Start every block as the identity (Goyal et al. 2017): its last gamma is zero.
  bool zero_init_residual = false;
};

// x (N, H, W, 3), normalised -> logits (N, classes). Weights are zero until `initialise` or
// `load_state_dict`.
class ResNet : public Module {
 public:
  explicit ResNet(const ResNetOptions& options);
  const char* kind() const override { return "ResNet"; }

 protected:
  Variable forward(const Variable& x) override;

 private:
  Sequential& stage(const std::string& name, const ResNetOptions& options, int index);

  int64_t channels_ = 64;  // that enter the next block to be made
  Conv2d& conv1;
  BatchNorm2d& bn1;
  ReLU& relu;
  MaxPool2d& maxpool;
  Sequential &layer1, &layer2, &layer3, &layer4;
  GlobalAvgPool& avgpool;
  Linear& fc;
};

struct ModelOptions {
  int64_t classes = 1000;
  bool zero_init_residual = false;
};

// "resnet18", "resnet34", "resnet50", "resnet101", "resnet152".
const std::vector<std::string>& model_names();
// Throws UsageError with the nearest names when there is no such model.
std::unique_ptr<Module> make_model(const std::string& name, const ModelOptions& options = {});

}  // namespace glassnet
