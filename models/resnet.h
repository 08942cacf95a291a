// Residual networks in torchvision's topology (He et al., "Deep residual learning for image
// recognition", CVPR 2016; v1.5: a bottleneck strides in its 3x3 convolution), with the grouped
// convolutions of ResNeXt (Xie et al., CVPR 2017), the wide bottlenecks of Zagoruyko and Komodakis
// (BMVC 2016), and the small networks for CIFAR of He et al., section 4.2. Parameter names equal
// torchvision's: "layer3.0.conv2.weight".
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "nn/layers.h"
#include "nn/shared_forward.h"

namespace glassnet {

struct ResNetOptions {
  bool bottleneck = true;                      // three convolutions a block, or two
  std::vector<int64_t> blocks = {3, 4, 6, 3};  // of layer1, layer2, …
  // Of a bottleneck's 3x3 convolution, which has channels in proportion to groups *
  // width_per_group: layer1 has exactly so many.
  int64_t groups = 1, width_per_group = 64;
  // For images of 32 pixels: 16 channels instead of 64 to begin with, from a 3x3 convolution
  // without pooling, and shortcuts without parameters (`subsample_pad`).
  bool cifar = false;
  int64_t classes = 1000;
  // Start every block as the identity (Goyal et al. 2017): its last gamma is zero.
  bool zero_init_residual = false;
};

// x (N, H, W, 3), normalised -> logits (N, classes). Weights are zero until `initialise` or
// `load_state_dict`.
class ResNet : public Module, public Stepwise {
 public:
  explicit ResNet(const ResNetOptions& options);
  const char* kind() const override { return "ResNet"; }
  size_t stages() const { return stages_.size(); }

  // The stem, then each block.
  size_t steps() const override { return 1 + blocks_.size(); }
  SharedImages step(size_t index, const SharedImages& x) override;
  Variable finish(size_t index, const Variable& x) override;

 protected:
  Variable forward(const Variable& x) override;

 private:
  Sequential& stage(const ResNetOptions& options, int64_t index);
  template <class X>
  X take_step(size_t index, const X& x);

  int64_t channels_;  // that enter the next block to be made
  Conv2d& conv1;
  BatchNorm2d& bn1;
  ReLU& relu;
  MaxPool2d* maxpool;            // null: none
  std::vector<Module*> blocks_;  // of all stages
  size_t early_steps_ = 1;       // those of which the outputs are larger than the weights
  std::vector<Sequential*> stages_;
  GlobalAvgPool& avgpool;
  Linear& fc;
};

// The path of a ResNet's last stage, where Grad-CAM looks unless told otherwise: "layer4" of four.
// Throws UsageError for another kind of network.
std::string last_stage(const Module& model);

struct ModelOptions {
  std::optional<int64_t> classes;  // unset: the architecture's usual number
  bool zero_init_residual = false;
};

// The architectures that have a name:
//   torchvision's  resnet18 … resnet152, resnext50_32x4d, resnext101_32x8d, resnext101_64x4d,
//                  wide_resnet50_2, wide_resnet101_2
//   for CIFAR      resnet20, resnet32, resnet44, resnet56, resnet110
const std::vector<std::string>& model_names();
// Throws UsageError with the known names when there is no such model, as do the two below.
std::unique_ptr<Module> make_model(const std::string& name, const ModelOptions& options = {});

// What an architecture was published for.
struct UsualInput {
  int image_size = 224;     // pixels, square
  int smallest_image = 32;  // leaves the last stage one pixel
  int64_t classes = 1000;
};
UsualInput usual_input(const std::string& model);

// The architecture that a weight file's tensors are of, by its blocks, the widths of its stages,
// its groups, stem, shortcuts and classifier ("fc" or "linear", of any number of classes); nothing
// when it is none of the above. Names, and shapes as PyTorch has them: convolutions (K, C, R, S).
std::optional<std::string> model_fitting(const std::vector<NamedShape>& tensors);

}  // namespace glassnet
