// Class activation maps against their definitions, on networks small enough to do by hand.
#include "xai/cam.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "tensor/math.h"
#include "tests/op_harness.h"
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

// A stage before and a stage after the layer that is looked at, "first".
class DeeperNet : public Module {
 public:
  Conv2d& first = child<Conv2d>("first", Conv2dLayer{.in = 3, .out = 6, .stride = 2, .padding = 1});
  Conv2d& second = child<Conv2d>("second", Conv2dLayer{.in = 6, .out = 4, .padding = 1});
  Linear& fc = child<Linear>("fc", LinearLayer{.in = 4, .out = 3});

  DeeperNet() { initialise(*this, 5); }

 protected:
  Variable forward(const Variable& x) override {
    return fc(global_avg_pool(relu(second(first(x)))));
  }
};

TEST(GradCam, FollowsTheGradientThroughLaterLayers) {
  // The weights by finite differences, each moving one channel as a whole.
  DeeperNet net;
  net.to(DType::kFloat64);
  const Tensor image = picture(11, 8, DType::kFloat64);
  const Tensor a = activation_of(net, "first", image);
  const auto score_with = [&](int64_t channel, double shift) {
    const HookHandle hook = net.on_forward("first", [&](const Variable& y) {
      Tensor moved = y.value().clone();
      for (int64_t i = channel; i < moved.numel(); i += moved.dim(3)) {
        moved.data<double>()[i] += shift;
      }
      return Variable(moved);
    });
    return scores(net, image, 2)[0];
  };
  const int64_t channels = a.dim(3);
  const auto pixels = static_cast<double>(a.dim(1) * a.dim(2));
  std::vector<double> weights;
  for (int64_t c = 0; c < channels; ++c) {
    const double eps = 1e-7;
    weights.push_back((score_with(c, eps) - score_with(c, -eps)) / (2 * eps) / pixels);
  }
  EXPECT_TRUE(near_normwise(at_layer(net, image, 2, CamMethod::kGradCam, "first"),
                            sum(mul(Tensor::from(weights, {1, 1, 1, channels}), a), {0, 3}), 1e-6));
}

TEST(GradCam, IsHiResCamAndXGradCamBeforePoolingAndALinearLayer) {
  const std::unique_ptr<Module> model = small_resnet();
  const Tensor image = picture(96, 64);
  const Tensor map = at_layer(*model, image, 1, CamMethod::kGradCam, "layer4");
  ASSERT_EQ(map.shape(), (Shape{3, 2}));
  for (const CamMethod other : {CamMethod::kHiResCam, CamMethod::kXGradCam}) {
    EXPECT_TRUE(near_normwise(at_layer(*model, image, 1, other, "layer4"), map, 1e-5));
    EXPECT_FALSE(near_normwise(at_layer(*model, image, 1, other, "layer3"),
                               at_layer(*model, image, 1, CamMethod::kGradCam, "layer3"), 1e-2));
  }
}

TEST(AblationCam, WeighsByWhatEachChannelAddsToTheScore) {
  // y = sum_c W[t, c] mean A_c + b_t, so without channel c it is less by W[t, c] mean A_c.
  TinyNet net;
  net.to(DType::kFloat64);
  const Tensor image = picture(9, 12, DType::kFloat64);
  const Tensor a = activation_of(net, "features", image);
  const auto means = mean(a, {1, 2}).to_vector<double>();
  bool negative_score = false;
  for (int64_t target = 0; target < 3; ++target) {
    const auto w = net.fc.weight.value().slice(target, target + 1).to_vector<double>();
    double y = net.fc.bias.value().data<double>()[target];
    for (size_t c = 0; c < 5; ++c) y += w[c] * means[c];
    negative_score |= y < 0;
    std::vector<double> weights(5);
    for (size_t c = 0; c < 5; ++c) weights[c] = w[c] * means[c] / std::abs(y);
    const Tensor expected = sum(mul(Tensor::from(weights, {1, 1, 1, 5}), a), {0, 3});
    EXPECT_TRUE(near_normwise(at_layer(net, image, target, CamMethod::kAblationCam, "features"),
                              expected, 1e-10));
  }
  EXPECT_TRUE(negative_score) << "nothing was tried that dividing by y would turn around";
}

TEST(ScoreAndAblationCam, DoNotDependOnTheBatchAndTellHowFarTheyAre) {
  TinyNet net;
  net.to(DType::kFloat64);
  const Tensor image = picture(9, 12, DType::kFloat64);
  using Steps = std::vector<std::pair<int64_t, int64_t>>;
  for (const CamMethod method : {CamMethod::kScoreCam, CamMethod::kAblationCam}) {
    const auto with_batch = [&](int64_t batch, const std::vector<std::string>& layers,
                                Steps& told) {
      return cam(net, image, 2, method,
                 {.layers = layers, .batch = batch, .progress = [&](int64_t done, int64_t all) {
                    told.emplace_back(done, all);
                  }});
    };
    Steps one, two, many;
    const Tensor expected = with_batch(1, {"features"}, one).at_layers[0];
    EXPECT_EQ(one.size(), 5U);
    EXPECT_TRUE(near_normwise(with_batch(2, {"features"}, two).at_layers[0], expected, 1e-12));
    EXPECT_EQ(two, (Steps{{2, 5}, {4, 5}, {5, 5}}));
    EXPECT_TRUE(near_normwise(with_batch(32, {"features.0", "features"}, many).at_layers[1],
                              expected, 1e-12));
    EXPECT_EQ(many, (Steps{{5, 10}, {10, 10}}));
  }
}

TEST(EigenCam, FindsTheOneDirectionThereIsAndTurnsItTowardsTheMean) {
  TinyNet net;
  net.to(DType::kFloat64);
  const Tensor image = picture(4, 4, DType::kFloat64);
  const std::vector<double> place = {1, -3, 4, -2};  // sums to zero
  for (const double sign : {1.0, -1.0}) {
    // Channels 10 + place * direction, with a direction whose mean has the given sign.
    const std::vector<double> direction = {2 * sign, -1 * sign, 0, 2 * sign, 4 * sign};
    std::vector<double> values;
    for (const double p : place) {
      for (const double d : direction) values.push_back(10 + p * d);
    }
    const HookHandle hook = net.on_forward("features", [&](const Variable&) {
      return Variable(Tensor::from(values, {1, 2, 2, 5}));
    });
    const auto map = at_layer(net, image, 0, CamMethod::kEigenCam, "features").to_vector<double>();
    for (size_t i = 0; i < 4; ++i) EXPECT_NEAR(map[i], sign * place[i] * 5, 1e-10);
  }
}

TEST(Cam, IsBlankWhereNothingSpeaksForTheClass) {
  TinyNet net;
  net.fc.weight.mutable_value().fill(-1);
  const Cam result = cam(net, picture(8, 8), 0, CamMethod::kGradCam, {.layers = {"features"}});
  const auto map = result.at_layers[0].to_vector<float>();
  EXPECT_LT(*std::min_element(map.begin(), map.end()), 0);
  EXPECT_LE(*std::max_element(map.begin(), map.end()), 0);
  EXPECT_EQ(result.map.to_vector<float>(), std::vector<float>(64, 0));
}

TEST(Cam, OfALayerThatServesSeveralTimesIsOfTheLast) {
  const std::unique_ptr<Module> model = small_resnet(DType::kFloat64);
  const Tensor image = picture(16, 16, DType::kFloat64);
  for (const CamMethod method :
       {CamMethod::kGradCam, CamMethod::kAblationCam, CamMethod::kEigenCam}) {
    EXPECT_TRUE(near_normwise(at_layer(*model, image, 1, method, "layer1.0.relu"),
                              at_layer(*model, image, 1, method, "layer1"), 1e-12));
  }
}

TEST(Cam, OfSeveralLayersHasTheMapOfEach) {
  const std::unique_ptr<Module> model = small_resnet(DType::kFloat64);
  const Tensor image = picture(32, 32, DType::kFloat64);
  for (const bool trainable : {true, false}) {
    model->set_requires_grad(trainable);
    const Cam both = cam(*model, image, 3, CamMethod::kLayerCam, {.layers = {"layer3", "layer2"}});
    for (size_t i = 0; i < 2; ++i) {
      const std::string layer = i == 0 ? "layer3" : "layer2";
      EXPECT_TRUE(near_normwise(both.at_layers[i],
                                at_layer(*model, image, 3, CamMethod::kLayerCam, layer), 1e-12));
    }
  }
}

TEST(Cam, LooksAtAResNetsLastStageUnlessToldOtherwise) {
  const std::unique_ptr<Module> model = small_resnet();
  const Tensor image = picture(64, 64);
  EXPECT_TRUE(same_elements(cam(*model, image, 0, CamMethod::kGradCam).at_layers[0],
                            at_layer(*model, image, 0, CamMethod::kGradCam, "layer4")));
}

TEST(Cam, OfOneClassAgainstAnotherTurnsAroundWithThem) {
  TinyNet net;
  const Tensor image = picture(8, 10);
  for (const CamMethod method :
       {CamMethod::kGradCam, CamMethod::kHiResCam, CamMethod::kXGradCam, CamMethod::kAblationCam}) {
    const Tensor there = at_layer(net, image, {2, 0}, method, "features");
    EXPECT_TRUE(
        near_normwise(scale(at_layer(net, image, {0, 2}, method, "features"), -1), there, 1e-5));
    EXPECT_FALSE(near_normwise(at_layer(net, image, 2, method, "features"), there, 1e-2));
  }
}

}  // namespace
}  // namespace glassnet
