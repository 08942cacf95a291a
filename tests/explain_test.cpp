// Grad-CAM and saliency against their definitions, on networks small enough to do by hand.
#include "xai/explain.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "models/resnet.h"
#include "tensor/math.h"
#include "tensor/random.h"

namespace glassnet {
namespace {

// conv - bn - relu ("features"), then pooling and a linear classifier ("fc").
class TinyNet : public Module {
 public:
  Sequential& features = child<Sequential>("features");
  GlobalAvgPool& pool = child<GlobalAvgPool>("pool");
  Linear& fc = child<Linear>("fc", LinearLayer{.in = 5, .out = 3});

  TinyNet() {
    features.add<Conv2d>(Conv2dLayer{.in = 3, .out = 5, .kernel = 3, .stride = 2, .padding = 1});
    features.add<BatchNorm2d>(BatchNorm2dLayer{.channels = 5});
    features.add<ReLU>();
    initialise(*this, 7);
  }

 protected:
  Variable forward(const Variable& x) override { return fc(pool(features(x))); }
};

Tensor picture(int64_t h, int64_t w, DType type = DType::kFloat32) {
  return random_normal({1, h, w, 3}, 1, 11, 5, type);
}

Tensor activation_of(Module& model, const std::string& layer, const Tensor& image) {
  model.eval();
  Tensor seen;
  const HookHandle hook = model.on_forward(layer, [&](const Variable& y) {
    seen = y.value();
    return y;
  });
  const NoGrad guard;
  model(Variable(image));
  return seen;
}

TEST(GradCam, EqualsClassifierWeightsOverPooledFeatures) {
  // With global average pooling before a linear layer, dy_t/dA_c = W[t, c] / (h w) everywhere.
  TinyNet net;
  const Tensor image = picture(9, 12);
  const Tensor a = activation_of(net, "features", image);
  ASSERT_EQ(a.shape(), (Shape{1, 5, 6, 5}));
  for (int64_t target = 0; target < 3; ++target) {
    const Tensor map = grad_cam_at_layer(net, image, target, "features", /*rectified=*/false);
    ASSERT_EQ(map.shape(), (Shape{5, 6}));
    for (int64_t i = 0; i < 30; ++i) {
      double expected = 0;
      for (int64_t c = 0; c < 5; ++c) {
        expected +=
            net.fc.weight.value().data<float>()[target * 5 + c] / 30.0 * a.data<float>()[i * 5 + c];
      }
      EXPECT_NEAR(map.data<float>()[i], expected, 1e-6);
      const Tensor rectified = grad_cam_at_layer(net, image, target, "features");
      EXPECT_NEAR(rectified.data<float>()[i], std::max(expected, 0.0), 1e-6);
    }
  }
}

TEST(GradCam, IsEnlargedToTheInput) {
  TinyNet net;
  const Tensor image = picture(9, 12);
  const Tensor small = grad_cam_at_layer(net, image, 1, "features");
  const Tensor map = grad_cam(net, image, 1, "features");
  ASSERT_EQ(map.shape(), (Shape{9, 12}));
  const Tensor expected = resize_bilinear(small.reshape({1, 5, 6, 1}), 9, 12);
  EXPECT_EQ(map.to_vector<float>(), expected.to_vector<float>());
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
  const Tensor map = grad_cam_at_layer(*model, image, 2, layer, /*rectified=*/false);

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

TEST(Saliency, IsTheLargestAbsoluteGradientOverChannels) {
  TinyNet net;
  net.to(DType::kFloat64);
  net.eval();
  const Tensor image = picture(6, 5, DType::kFloat64);
  const Tensor map = saliency(net, image, 2);
  ASSERT_EQ(map.shape(), (Shape{6, 5}));
  const auto score = [&](const Tensor& x) {
    const NoGrad guard;
    return net(Variable(x)).value().data<double>()[2];
  };
  for (int64_t pixel = 0; pixel < 30; ++pixel) {
    double largest = 0;
    for (int64_t c = 0; c < 3; ++c) {
      Tensor up = image.clone(), down = image.clone();
      up.data<double>()[pixel * 3 + c] += 1e-6;
      down.data<double>()[pixel * 3 + c] -= 1e-6;
      largest = std::max(largest, std::abs(score(up) - score(down)) / 2e-6);
    }
    EXPECT_NEAR(map.data<double>()[pixel], largest, 1e-6);
  }
}

TEST(Explain, LeavesModeGradientsAndStatisticsAsTheyWere) {
  TinyNet net;
  net.train();
  const Tensor image = picture(8, 8);
  const auto before = net.features.state_dict()[2].tensor.to_vector<float>();
  for (const std::string& method : explanation_methods()) {
    explain(net, image, method, {.target = 0, .layer = "features"});
  }
  EXPECT_TRUE(net.training());
  EXPECT_TRUE(net.features.training());
  EXPECT_FALSE(net.fc.weight.grad().defined());
  EXPECT_EQ(net.features.state_dict()[2].tensor.to_vector<float>(), before);
}

TEST(Explain, KeepsPartsThatWereFrozenInAMode) {
  TinyNet net;
  net.train();
  net.features.eval();
  explain(net, picture(8, 8), "saliency", {.target = 0});
  EXPECT_TRUE(net.training());
  EXPECT_FALSE(net.features.training());
  EXPECT_TRUE(net.fc.training());
}

TEST(Explain, WorksOnAFrozenNetworkWithTheSameNumbers) {
  TinyNet net;
  const Tensor image = picture(8, 8);
  for (const std::string& method : explanation_methods()) {
    const ExplainOptions options{.target = 1, .layer = "features"};
    net.set_requires_grad(true);
    const auto trainable = explain(net, image, method, options).to_vector<float>();
    net.set_requires_grad(false);
    EXPECT_EQ(explain(net, image, method, options).to_vector<float>(), trainable) << method;
  }
}

TEST(Explain, RefusesWhatMakesNoSense) {
  TinyNet net;
  const Tensor image = picture(8, 8);
  const auto message = [&](auto&& call) -> std::string {
    try {
      call();
    } catch (const UsageError& error) {
      return error.what();
    }
    return "nothing thrown";
  };
  EXPECT_THAT(message([&] { grad_cam(net, image, 0, "feature"); }),
              testing::HasSubstr("nearest names are features"));
  EXPECT_THAT(message([&] { grad_cam(net, image, 0, "fc"); }),
              testing::HasSubstr("height and width"));
  EXPECT_THAT(message([&] { saliency(net, image, 3); }), testing::HasSubstr("knows 3 classes"));
  EXPECT_THAT(message([&] { explain(net, image, "lime", {}); }),
              testing::HasSubstr("there are gradcam, saliency"));
}

}  // namespace
}  // namespace glassnet
