// Explanations against their definitions in PyTorch, on a small ResNet. The numbers come from
// scripts/make-golden-explanations, computed in float64.
#include <map>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "models/resnet.h"
#include "models/safetensors.h"
#include "tests/drawn_network.h"
#include "tests/op_harness.h"
#include "xai/cam.h"
#include "xai/gradients.h"

namespace glassnet {
namespace {

const Target kTarget = 2;
const Target kContrast = {2, 0};

const std::map<std::string, CamMethod>& cam_methods() {
  static const std::map<std::string, CamMethod> methods = {
      {"gradcam", CamMethod::kGradCam},   {"gradcam_plus_plus", CamMethod::kGradCamPlusPlus},
      {"hirescam", CamMethod::kHiResCam}, {"layercam", CamMethod::kLayerCam},
      {"xgradcam", CamMethod::kXGradCam}, {"scorecam", CamMethod::kScoreCam},
      {"eigencam", CamMethod::kEigenCam}, {"ablationcam", CamMethod::kAblationCam},
  };
  return methods;
}

class ExplanationGolden : public testing::TestWithParam<DType> {
 protected:
  ExplanationGolden() : model_({.bottleneck = false, .blocks = {1, 1, 1, 1}, .classes = 3}) {
    const std::string path = fmt::format("{}/explanations.safetensors", GLASSNET_GOLDEN_DIR);
    for (const NamedTensor& entry : load_safetensors(path).tensors) {
      golden_[entry.name] = entry.tensor;
    }
    model_.to(GetParam());
    draw_weights(model_);
    picture_ = drawn("picture", 1, -2, 2);
    baseline_ = drawn("baseline", 1, -1, 1);
  }

  static Tensor drawn(const std::string& name, int64_t count, double low, double high) {
    return draw(name, {count, 24, 20, 3}, low, high).to(GetParam());
  }

  void expect_near(const Tensor& actual, const std::string& name) {
    const double tolerance = GetParam() == DType::kFloat64 ? 1e-9 : 2e-4;
    ASSERT_TRUE(golden_.contains(name)) << name;
    EXPECT_EQ(actual.dtype(), GetParam()) << name;
    EXPECT_TRUE(near_normwise(actual, golden_[name], tolerance)) << name;
    ++compared_;
  }

  Cam map(CamMethod method, const std::vector<std::string>& layers, const Target& target) {
    return cam(model_, picture_, target, method, {.layers = layers});
  }

  ResNet model_;
  Tensor picture_, baseline_;
  std::map<std::string, Tensor> golden_;
  int compared_ = 0;
};

TEST_P(ExplanationGolden, ClassActivationMaps) {
  for (const auto& [name, method] : cam_methods()) {
    const Cam result = map(method, {"layer2"}, kTarget);
    expect_near(result.at_layers[0], name);
    if (golden_.contains(name + "_scaled")) expect_near(result.map, name + "_scaled");
    // Inside of a block, where activations have both signs.
    expect_near(map(method, {"layer2.0.bn1"}, kTarget).at_layers[0], name + "_before_relu");
  }
  EXPECT_EQ(compared_, 8 + 8 + 3);
}

TEST_P(ExplanationGolden, ClassActivationMapsOfOneClassAgainstAnother) {
  for (const auto& [name, method] : cam_methods()) {
    if (!golden_.contains(name + "_against")) continue;
    expect_near(map(method, {"layer2"}, kContrast).at_layers[0], name + "_against");
  }
  EXPECT_EQ(compared_, 5);
}

TEST_P(ExplanationGolden, LayersAreAveraged) {
  const Cam result = map(CamMethod::kGradCam, {"layer2", "layer3"}, kTarget);
  expect_near(result.at_layers[0], "gradcam");
  expect_near(result.map, "gradcam_two_layers_scaled");
}

TEST_P(ExplanationGolden, Gradients) {
  const NoiseOptions noise{.noise = drawn("noise", 5, -0.5, 0.5), .batch = 2};
  expect_near(saliency(model_, picture_, kTarget), "saliency");
  expect_near(saliency(model_, picture_, kContrast), "saliency_against");
  expect_near(input_x_gradient(model_, picture_, kTarget), "input_x_gradient");
  expect_near(smooth_grad(model_, picture_, kTarget, noise), "smooth_grad");
  expect_near(var_grad(model_, picture_, kTarget, noise), "var_grad");
  expect_near(guided_backprop(model_, picture_, kTarget), "guided_backprop");
  expect_near(guided_grad_cam(model_, picture_, kTarget, "layer2"), "guided_grad_cam");
}

TEST_P(ExplanationGolden, IntegratedGradients) {
  const Integrated result = integrated_gradients(model_, picture_, kTarget,
                                                 {.nodes = 8, .baseline = baseline_, .batch = 3});
  expect_near(result.attribution, "integrated_gradients");
  const double delta = golden_.at("integrated_gradients_delta").item();
  EXPECT_NEAR(result.completeness_delta, delta, GetParam() == DType::kFloat64 ? 1e-9 : 1e-4);
}

TEST_P(ExplanationGolden, Occlusion) {
  expect_near(occlusion(model_, picture_, kTarget,
                        {.window = {6, 5}, .stride = {4, 3}, .baseline = baseline_, .batch = 7}),
              "occlusion");
}

INSTANTIATE_TEST_SUITE_P(Types, ExplanationGolden,
                         testing::Values(DType::kFloat64, DType::kFloat32),
                         [](const auto& type) { return std::string(name_of(type.param)); });

}  // namespace
}  // namespace glassnet
