// Explanations by gradients and by covering, against their definitions.
#include "xai/gradients.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "tensor/math.h"
#include "tests/op_harness.h"
#include "tests/xai_support.h"

namespace glassnet {
namespace {

// y_t = sum_c W[t, c] mean over pixels of x_c^2 + b_t, whose gradient is linear in x.
class SquareNet : public LinearNet {
 protected:
  Variable forward(const Variable& x) override { return fc(pool(square(x))); }
};

std::vector<double> largest_and_least(const Tensor& x) {
  const std::vector<double> values = x.to_vector<double>();
  return {*std::max_element(values.begin(), values.end()),
          *std::min_element(values.begin(), values.end())};
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

TEST(ImageGradients, AreThoseOfEachImageByItself) {
  TinyNet net;
  net.to(DType::kFloat64);
  net.eval();
  const Tensor images = random_normal({2, 5, 4, 3}, 1, 3, 8, DType::kFloat64);
  const Tensor together = image_gradients(net, images, {1, 2});
  for (int64_t n = 0; n < 2; ++n) {
    const auto gradient = together.slice(n, n + 1).to_vector<double>();
    for (int64_t i = 0; i < 60; ++i) {
      Tensor up = images.slice(n, n + 1).clone(), down = up.clone();
      up.data<double>()[i] += 1e-6;
      down.data<double>()[i] -= 1e-6;
      const double slope = (scores(net, up, {1, 2})[0] - scores(net, down, {1, 2})[0]) / 2e-6;
      EXPECT_NEAR(gradient[i], slope, 1e-8);
    }
  }
}

TEST(Score, OfOneClassAgainstAnotherIsTheDifference) {
  LinearNet net;
  const Tensor images = random_normal({3, 4, 4, 3}, 1, 3, 9);
  const std::vector<double> a = scores(net, images, 0), b = scores(net, images, 2);
  const std::vector<double> difference = scores(net, images, {0, 2});
  ASSERT_EQ(difference.size(), 3U);
  for (size_t i = 0; i < 3; ++i) EXPECT_NEAR(difference[i], a[i] - b[i], 1e-6);
  EXPECT_THROW(scores(net, images, {1, 1}), UsageError);
  EXPECT_THROW(scores(net, images, {1, 3}), UsageError);
  EXPECT_THROW(scores(net, images, -1), UsageError);
}

TEST(InputXGradient, AddsUpToAScoreWithoutBiases) {
  LinearNet net;
  net.fc.bias.mutable_value().fill(0);
  const Tensor image = picture(6, 7);
  EXPECT_NEAR(sum(input_x_gradient(net, image, 1)).item(), scores(net, image, 1)[0], 1e-6);
}

TEST(Reductions, OfChannels) {
  const Tensor x = Tensor::from<float>({1, -3, 2, -0.5, 0.25, 0}, {1, 1, 2, 3});
  EXPECT_EQ(largest_magnitude(x).to_vector<float>(), (std::vector<float>{3, 0.5}));
  EXPECT_EQ(sum_of_channels(x).to_vector<float>(), (std::vector<float>{0, -0.25}));
  EXPECT_EQ(sum_of_channels(x).shape(), (Shape{1, 2}));
}

// --- noise ---------------------------------------------------------------------------------------

TEST(SmoothGrad, RepeatsWithASeedWhateverTheBatch) {
  TinyNet net;
  net.to(DType::kFloat64);
  const Tensor image = picture(8, 6, DType::kFloat64);
  const auto with = [&](uint64_t seed, int64_t batch) {
    return smooth_grad(net, image, 0, {.samples = 7, .seed = seed, .batch = batch});
  };
  EXPECT_TRUE(same_elements(with(1, 3), with(1, 3)));
  EXPECT_TRUE(near_normwise(with(1, 3), with(1, 7), 1e-12));
  EXPECT_FALSE(near_normwise(with(1, 3), with(2, 3), 1e-3));
}

TEST(SmoothGrad, WithoutNoiseIsTheGradientAndDoesNotVary) {
  TinyNet net;
  net.to(DType::kFloat64);
  const Tensor image = picture(8, 6, DType::kFloat64);
  const NoiseOptions silent{.samples = 3, .level = 0, .batch = 2};
  EXPECT_TRUE(
      near_normwise(smooth_grad(net, image, 1, silent), image_gradients(net, image, 1), 1e-12));
  EXPECT_LT(norm(var_grad(net, image, 1, silent).to_vector<double>()), 1e-20);
}

TEST(VarGrad, ShowsNoiseOfTheStatedStrength) {
  // The gradient of W x^2 / pixels is 2 W x / pixels: its variance is the noise's times a constant.
  SquareNet net;
  net.to(DType::kFloat64);
  const Tensor image = picture(16, 16, DType::kFloat64);
  const std::vector<double> ends = largest_and_least(image);
  const int64_t samples = 40;
  const Tensor variance = var_grad(net, image, 1, {.samples = samples, .level = 0.2, .seed = 5});
  const auto w = net.fc.weight.value().slice(1, 2).to_vector<double>();
  const std::vector<double> values = variance.to_vector<double>();
  double noise = 0;  // mean variance, of a sample of `samples`
  for (size_t i = 0; i < values.size(); ++i) {
    const double slope = 2 * w[i % 3] / 256;
    noise += values[i] / (slope * slope) / static_cast<double>(values.size());
  }
  const double expected = std::pow(0.2 * (ends[0] - ends[1]), 2) * (samples - 1) / samples;
  EXPECT_NEAR(noise, expected, 0.05 * expected);
}

TEST(VarGrad, IsTheMeanSquareLessTheSquareOfTheMean) {
  TinyNet net;
  net.to(DType::kFloat64);
  const Tensor image = picture(6, 6, DType::kFloat64);
  const Tensor noise = random_normal({5, 6, 6, 3}, 1, 3, 1, DType::kFloat64);
  const Tensor g = image_gradients(net, add(image, noise), 2);
  const Tensor average = mean(g, {0}, /*keep_dims=*/true);
  const NoiseOptions injected{.noise = noise, .batch = 2};
  EXPECT_TRUE(near_normwise(smooth_grad(net, image, 2, injected), average, 1e-12));
  EXPECT_TRUE(near_normwise(var_grad(net, image, 2, injected),
                            sub(mean(mul(g, g), {0}, true), mul(average, average)), 1e-10));
}

// --- integration ---------------------------------------------------------------------------------

TEST(GaussLegendre, IsExactForPolynomialsOfADegreeBelowTwiceTheNodes) {
  for (const int64_t count : {1, 2, 3, 5, 20, 50, 101}) {
    const Quadrature rule = gauss_legendre(count);
    ASSERT_EQ(rule.nodes.size(), static_cast<size_t>(count));
    EXPECT_TRUE(std::is_sorted(rule.nodes.begin(), rule.nodes.end()));
    for (int64_t degree = 0; degree < 2 * count; ++degree) {
      double integral = 0;
      for (size_t i = 0; i < rule.nodes.size(); ++i) {
        integral += rule.weights[i] * std::pow(rule.nodes[i], degree);
      }
      EXPECT_NEAR(integral, 1 / (static_cast<double>(degree) + 1), 1e-14) << count << " nodes";
    }
  }
  const Quadrature two = gauss_legendre(2);
  EXPECT_NEAR(two.nodes[0], 0.5 - std::sqrt(1.0 / 12), 1e-15);
  EXPECT_NEAR(two.weights[0], 0.5, 1e-15);
  EXPECT_THROW(gauss_legendre(0), UsageError);
}

TEST(IntegratedGradients, AreCompleteWhereTheQuadratureIsExact) {
  SquareNet net;
  net.to(DType::kFloat64);
  const Tensor image = picture(5, 6, DType::kFloat64);
  const Tensor baseline = random_normal(image.shape(), 1, 8, 2, DType::kFloat64);
  const Integrated result =
      integrated_gradients(net, image, {0, 1}, {.nodes = 3, .baseline = baseline, .batch = 2});
  EXPECT_NEAR(result.completeness_delta, 0, 1e-13);
  EXPECT_NEAR(sum(result.attribution).item(),
              scores(net, image, {0, 1})[0] - scores(net, baseline, {0, 1})[0], 1e-13);
  // W (x^2 - b^2) / pixels, pixel by pixel.
  const auto w = net.fc.weight.value().to_vector<double>();
  for (int64_t i = 0; i < image.numel(); ++i) {
    const double x = image.data<double>()[i], b = baseline.data<double>()[i];
    EXPECT_NEAR(result.attribution.data<double>()[i],
                (w[i % 3] - w[3 + i % 3]) * (x * x - b * b) / 30, 1e-14);
  }
}

TEST(IntegratedGradients, ApproachCompletenessAcrossKinks) {
  TinyNet net;
  net.to(DType::kFloat64);
  const Tensor image = picture(8, 8, DType::kFloat64);
  const Tensor baseline = random_normal(image.shape(), 1, 8, 2, DType::kFloat64);
  const double change = scores(net, image, 1)[0] - scores(net, baseline, 1)[0];
  for (const int64_t nodes : {2, 400}) {
    const Integrated result =
        integrated_gradients(net, image, 1, {.nodes = nodes, .baseline = baseline, .batch = 50});
    EXPECT_NEAR(result.completeness_delta, sum(result.attribution).item() - change, 1e-12);
    EXPECT_EQ(std::abs(result.completeness_delta) < 1e-3 * std::abs(change), nodes == 400);
  }
}

// --- guided backpropagation ----------------------------------------------------------------------

TEST(GuidedBackprop, DropsNegativeGradients) {
  // What reaches the one ReLU of this network is W[t] / pixels, channel by channel.
  TinyNet net;
  const Tensor image = picture(9, 9);
  const Tensor plain = image_gradients(net, image, 2);
  const Tensor guided = guided_backprop(net, image, 2);
  EXPECT_FALSE(near_normwise(guided, plain, 1e-2));
  EXPECT_TRUE(same_elements(image_gradients(net, image, 2), plain)) << "the hooks have stayed";
  net.fc.weight.mutable_value() = relu(net.fc.weight.value());
  EXPECT_TRUE(near_normwise(guided, image_gradients(net, image, 2), 1e-6));
}

TEST(GuidedBackprop, RefusesANetworkWithoutReLUs) {
  LinearNet net;
  EXPECT_THROW(guided_backprop(net, picture(4, 4), 0), UsageError);
}

TEST(GuidedGradCam, IsBlankWhereGradCamIs) {
  TinyNet net;
  const Tensor image = picture(8, 8);
  net.fc.weight.mutable_value().fill(-1);
  const Tensor product = guided_grad_cam(net, image, 0, "features");
  EXPECT_EQ(product.shape(), image.shape());
  EXPECT_EQ(norm(product.to_vector<double>()), 0);
}

// --- occlusion -----------------------------------------------------------------------------------

TEST(Occlusion, AveragesTheFallsOfTheWindowsOverAPixel) {
  LinearNet net;
  net.to(DType::kFloat64);
  const Tensor image = picture(7, 5, DType::kFloat64);
  const auto w = net.fc.weight.value().slice(2, 3).to_vector<double>();
  // Windows begin in rows 0, 2, 4 (the last reaches the border), and in columns 0, 2, of which the
  // second covers columns 2 to 4.
  const Tensor map = occlusion(net, image, 2, {.window = 3, .stride = 2, .batch = 4});
  const auto fall_of = [&](int64_t top, int64_t left) {
    double fall = 0;
    for (int64_t y = top; y < std::min<int64_t>(top + 3, 7); ++y) {
      for (int64_t x = left; x < std::min<int64_t>(left + 3, 5); ++x) {
        for (int64_t c = 0; c < 3; ++c) {
          fall += w[c] * image.data<double>()[(y * 5 + x) * 3 + c] / 35;
        }
      }
    }
    return fall;
  };
  ASSERT_EQ(map.shape(), (Shape{7, 5}));
  const double* value = map.data<double>();
  EXPECT_NEAR(value[0], fall_of(0, 0), 1e-12);
  EXPECT_NEAR(value[2 * 5 + 1], (fall_of(0, 0) + fall_of(2, 0)) / 2, 1e-12);
  EXPECT_NEAR(value[2 * 5 + 2], (fall_of(0, 0) + fall_of(0, 2) + fall_of(2, 0) + fall_of(2, 2)) / 4,
              1e-12);
  EXPECT_NEAR(value[6 * 5 + 4], fall_of(4, 2), 1e-12);
}

TEST(Occlusion, CutsWindowsAtTheBorderAndTellsHowFarItIs) {
  LinearNet net;
  net.to(DType::kFloat64);
  const Tensor image = picture(4, 4, DType::kFloat64);
  std::vector<int64_t> told;
  const Tensor map = occlusion(
      net, image, 0, {.window = 3, .stride = 3, .batch = 3, .progress = [&](int64_t done, int64_t) {
                        told.push_back(done);
                      }});
  EXPECT_EQ(told, (std::vector<int64_t>{3, 4}));
  // The window over the last pixel covers that pixel alone.
  const auto w = net.fc.weight.value().to_vector<double>();
  double fall = 0;
  for (int64_t c = 0; c < 3; ++c) fall += w[c] * image.data<double>()[45 + c] / 16;
  EXPECT_NEAR(map.data<double>()[15], fall, 1e-12);
}

// Covered images that share what the network makes of them, and with a hook, which keeps them
// apart; more windows than are taken together.
TEST(Occlusion, OfWhatImagesShareIsTheSameAsOfEach) {
  ResNet net({.blocks = {1, 1}, .classes = 3});
  initialise(net, 4);
  const Tensor image = picture(32, 40);
  const OcclusionOptions options{.window = 8, .stride = 2};
  const Tensor map = occlusion(net, image, 1, options);
  const HookHandle hook = net.on_forward([](const Variable& y) { return y; });
  const Tensor expected = occlusion(net, image, 1, options);
  const std::vector<double> a = map.to_vector<double>(), b = expected.to_vector<double>();
  const double most = norm(b);
  EXPECT_GT(most, 0);
  for (size_t i = 0; i < a.size(); ++i) EXPECT_NEAR(a[i], b[i], 1e-5 * most) << i;
}

TEST(Occlusion, WindowsFollowTheImageUnlessGiven) {
  LinearNet net;
  int64_t windows = 0;
  occlusion(net, picture(32, 16), 0, {.progress = [&](int64_t, int64_t all) { windows = all; }});
  EXPECT_EQ(windows, 15 * 15);  // of 4x2 pixels, 2x1 apart
}

// --- what holds for all --------------------------------------------------------------------------

TEST(Attributions, OfOneClassAgainstAnotherTurnAroundWithThem) {
  TinyNet net;
  const Tensor image = picture(8, 6);
  const std::vector<std::function<Tensor(const Target&)>> methods = {
      [&](const Target& t) { return input_x_gradient(net, image, t); },
      [&](const Target& t) { return smooth_grad(net, image, t); },
      [&](const Target& t) { return integrated_gradients(net, image, t).attribution; },
      [&](const Target& t) { return occlusion(net, image, t); }};
  for (const auto& method : methods) {
    EXPECT_TRUE(near_normwise(scale(method({1, 0}), -1), method({0, 1}), 1e-5));
    EXPECT_TRUE(near_normwise(sub(method(0), method(1)), method({0, 1}), 1e-5));
  }
}

TEST(Attributions, RefuseWhatMakesNoSense) {
  TinyNet net;
  const Tensor image = picture(8, 6);
  EXPECT_THROW(smooth_grad(net, image, 0, {.samples = 0}), UsageError);
  EXPECT_THROW(smooth_grad(net, image, 0, {.batch = 0}), UsageError);
  EXPECT_THROW(smooth_grad(net, image, 0, {.noise = picture(6, 8)}), Error);
  EXPECT_THROW(integrated_gradients(net, image, 0, {.nodes = 0}), UsageError);
  EXPECT_THROW(integrated_gradients(net, image, 0, {.baseline = picture(6, 8)}), Error);
  EXPECT_THROW(occlusion(net, image, 0, {.window = 7}), UsageError);
  EXPECT_THROW(occlusion(net, image, 0, {.window = 2, .stride = 3}), UsageError);
  EXPECT_THROW(occlusion(net, image, 0, {.window = -1}), UsageError);
  EXPECT_THROW(saliency(net, random_normal({2, 8, 6, 3}, 1, 1, 1), 0), Error);
}

}  // namespace
}  // namespace glassnet
