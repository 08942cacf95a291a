// Class activation maps against their definitions, on networks small enough to do by hand.
#include "xai/cam.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "models/resnet.h"
#include "tensor/math.h"
#include "tests/xai_support.h"

namespace glassnet {
namespace {

Tensor at_layer(Module& model, const Tensor& image, const Target& target, CamMethod method,
                const std::string& layer) {
  return cam(model, image, target, method, {.layers = {layer}}).at_layers.at(0);
}

TEST(GradCam, EqualsClassifierWeightsOverPooledFeatures) {
  // With global average pooling before a linear layer, dy_t/dA_c = W[t, c] / (h w) everywhere.
  TinyNet net;
  const Tensor image = picture(9, 12);
  const Tensor a = activation_of(net, "features", image);
  ASSERT_EQ(a.shape(), (Shape{1, 5, 6, 5}));
  for (int64_t target = 0; target < 3; ++target) {
    const Tensor map = at_layer(net, image, target, CamMethod::kGradCam, "features");
    ASSERT_EQ(map.shape(), (Shape{5, 6}));
    for (int64_t i = 0; i < 30; ++i) {
      double expected = 0;
      for (int64_t c = 0; c < 5; ++c) {
        expected +=
            net.fc.weight.value().data<float>()[target * 5 + c] / 30.0 * a.data<float>()[i * 5 + c];
      }
      EXPECT_NEAR(map.data<float>()[i], expected, 1e-6);
    }
  }
}

TEST(GradCam, FollowsTheGradientThroughLaterLayers) {
  // In a residual network the layer's gradient comes from further blocks: check the weights by
  // finite differences, moving one activation channel as a whole.
  auto model = make_model("resnet18", {.classes = 4});
  initialise(*model, 3);
  model->to(DType::kFloat64);
  model->eval();
  const Tensor image = picture(32, 32, DType::kFloat64);
  const std::string layer = "layer2";
  const Tensor a = activation_of(*model, layer, image);
  const Tensor map = at_layer(*model, image, 2, CamMethod::kGradCam, layer);

  const auto score_with = [&](int64_t channel, double shift) {
    const HookHandle hook = model->on_forward(layer, [&](const Variable& y) {
      Tensor moved = y.value().clone();
      for (int64_t i = channel; i < moved.numel(); i += moved.dim(3)) {
        moved.data<double>()[i] += shift;
      }
      return Variable(moved);
    });
    const NoGrad guard;
    return (*model)(Variable(image)).value().data<double>()[2];
  };
  const int64_t channels = a.dim(3), pixels = a.dim(1) * a.dim(2);
  std::vector<double> expected(static_cast<size_t>(pixels), 0);
  for (int64_t c = 0; c < channels; ++c) {
    const double eps = 1e-6;
    const double mean_gradient =
        (score_with(c, eps) - score_with(c, -eps)) / (2 * eps) / static_cast<double>(pixels);
    for (int64_t i = 0; i < pixels; ++i) {
      expected[i] += mean_gradient * a.data<double>()[i * channels + c];
    }
  }
  double scale = 0;
  for (const double value : expected) scale = std::max(scale, std::abs(value));
  ASSERT_GT(scale, 0);
  for (int64_t i = 0; i < pixels; ++i) {
    EXPECT_NEAR(map.data<double>()[i], expected[i], 1e-5 * scale);
  }
}

}  // namespace
}  // namespace glassnet
