// Explanations by name: what holds for every method.
#include "xai/explain.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "tensor/math.h"
#include "tests/op_harness.h"
#include "tests/xai_support.h"

namespace glassnet {
namespace {

TEST(Explain, KnowsItsMethods) {
  EXPECT_THAT(
      explanation_methods(),
      testing::ElementsAre("gradcam", "gradcam++", "hirescam", "layercam", "xgradcam", "scorecam",
                           "ablationcam", "eigencam", "saliency", "inputxgradient", "smoothgrad",
                           "vargrad", "ig", "guided-backprop", "guided-gradcam", "occlusion"));
  for (const std::string& method : explanation_methods()) require_method(method);
  require_method("integrated-gradients");
  EXPECT_TRUE(looks_at_layer("guided-gradcam"));
  EXPECT_FALSE(looks_at_layer("guided-backprop"));
}

TEST(Explain, GivesMapsOfTheImagesSizeThatSayWhetherTheyAreSigned) {
  TinyNet net;
  const Tensor image = picture(8, 10);
  const std::set<std::string> with_signs = {"inputxgradient", "ig", "occlusion"};
  for (const std::string& method : explanation_methods()) {
    const Explanation result = explain(net, image, method, {.target = 1, .layers = {"features"}});
    EXPECT_EQ(result.map.shape(), (Shape{8, 10})) << method;
    EXPECT_EQ(result.is_signed, with_signs.contains(method)) << method;
    const auto values = result.map.to_vector<float>();
    EXPECT_GT(*std::max_element(values.begin(), values.end()), 0) << method;
    const float least = *std::min_element(values.begin(), values.end());
    EXPECT_EQ(least < 0, result.is_signed) << method;
  }
}

TEST(Explain, IsTheFunctionOfTheSameNameWithItsOptions) {
  TinyNet net;
  const Tensor image = picture(8, 10);
  const ExplainOptions options{.target = {1, 2},
                               .layers = {"features"},
                               .noise = {.samples = 3, .seed = 4},
                               .integration = {.nodes = 7},
                               .occlusion = {.window = 3}};
  const auto map = [&](const char* method) { return explain(net, image, method, options).map; };
  const Cam grad_cam = cam(net, image, {1, 2}, CamMethod::kGradCam, {.layers = {"features"}});
  EXPECT_TRUE(same_elements(map("gradcam"), enlarged(relu(grad_cam.at_layers[0]), 8, 10)));
  EXPECT_TRUE(near_normwise(scaled(map("gradcam")), grad_cam.map, 1e-4));
  const std::vector<std::string> layers = {"features", "features.0"};
  EXPECT_TRUE(
      same_elements(explain(net, image, "layercam", {.target = {1, 2}, .layers = layers}).map,
                    cam(net, image, {1, 2}, CamMethod::kLayerCam, {.layers = layers}).map));
  EXPECT_TRUE(
      same_elements(map("smoothgrad"),
                    largest_magnitude(smooth_grad(net, image, {1, 2}, {.samples = 3, .seed = 4}))));
  EXPECT_TRUE(same_elements(map("occlusion"), occlusion(net, image, {1, 2}, {.window = 3})));
  const Integrated integrated = integrated_gradients(net, image, {1, 2}, {.nodes = 7});
  const Explanation ig = explain(net, image, "ig", options);
  EXPECT_TRUE(same_elements(ig.map, sum_of_channels(integrated.attribution)));
  ASSERT_EQ(ig.figures.size(), 1U);
  EXPECT_EQ(ig.figures[0].first, "completeness delta");
  EXPECT_EQ(ig.figures[0].second, integrated.completeness_delta);
  EXPECT_TRUE(same_elements(map("integrated-gradients"), ig.map));
}

TEST(Explain, OfEachOfSeveralImagesIsAsOfOne) {
  TinyNet net;
  constexpr int64_t kImages = 3;
  Tensor images = Tensor::empty({kImages, 8, 10, 3});
  for (int64_t i = 0; i < kImages; ++i) {
    images.slice(i, i + 1).copy_from(scale(picture(8, 10), 1 - 0.3 * static_cast<double>(i)));
  }
  for (const std::vector<std::string>& layers :
       {std::vector<std::string>{"features"}, {"features", "features.0"}}) {
    const ExplainOptions options{.layers = layers, .integration = {.nodes = 2}};
    for (const std::vector<Target>& targets :
         {std::vector<Target>{{1, 2}, 0, {2, 0}}, {0, 1, 1}, {{0, 1}, {1, 0}, {2, 1}}}) {
      for (const char* method :
           {"gradcam", "gradcam++", "hirescam", "layercam", "xgradcam", "eigencam", "saliency",
            "inputxgradient", "ig", "guided-backprop"}) {
        const std::vector<Explanation> each = explain_each(net, images, method, targets, options);
        ASSERT_EQ(each.size(), 3U);
        for (int64_t i = 0; i < kImages; ++i) {
          ExplainOptions own = options;
          own.target = targets[static_cast<size_t>(i)];
          const Explanation alone = explain(net, images.slice(i, i + 1), method, own);
          const Explanation& one = each[static_cast<size_t>(i)];
          EXPECT_TRUE(near_normwise(one.map, alone.map, 1e-6)) << method << " of image " << i;
          EXPECT_EQ(one.is_signed, alone.is_signed) << method;
          EXPECT_EQ(one.figures.size(), alone.figures.size()) << method;
        }
      }
    }
  }
}

TEST(Explain, RepeatsInEitherTypeAndAgreesAcrossThem) {
  TinyNet net;
  const Tensor image = picture(8, 8);
  std::map<std::string, Tensor> single;
  const ExplainOptions options{.target = 2, .layers = {"features"}};
  for (const std::string& method : explanation_methods()) {
    single[method] = explain(net, image, method, options).map;
    EXPECT_TRUE(same_elements(explain(net, image, method, options).map, single[method])) << method;
  }
  net.to(DType::kFloat64);
  for (const std::string& method : explanation_methods()) {
    const Tensor map = explain(net, image.to(DType::kFloat64), method, options).map;
    EXPECT_EQ(map.dtype(), DType::kFloat64) << method;
    EXPECT_TRUE(near_normwise(single[method], map, 1e-3)) << method;
  }
}

TEST(Explain, KeepsNothingAlive) {
  TinyNet net;
  const Tensor image = picture(16, 16);
  for (const std::string& method : explanation_methods()) {
    const size_t before = memory_stats().active_bytes;
    const Explanation result = explain(net, image, method, {.target = 1, .layers = {"features"}});
    const size_t after = memory_stats().active_bytes;
    const Tensor of_the_same_size = Tensor::empty(result.map.shape());
    EXPECT_EQ(after - before, memory_stats().active_bytes - after) << method;
  }
}

TEST(Explain, LeavesModeGradientsAndStatisticsAsTheyWere) {
  TinyNet net;
  net.train();
  const Tensor image = picture(8, 8);
  const auto before = net.features.state_dict()[2].tensor.to_vector<float>();
  backward(sum(net.fc.weight));
  for (const std::string& method : explanation_methods()) {
    explain(net, image, method, {.target = 0, .layers = {"features"}});
  }
  EXPECT_TRUE(net.training());
  EXPECT_TRUE(net.features.training());
  EXPECT_EQ(net.fc.weight.grad().to_vector<float>(), std::vector<float>(15, 1));
  EXPECT_FALSE(net.fc.bias.grad().defined());
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
    const ExplainOptions options{.target = 1, .layers = {"features"}};
    net.set_requires_grad(true);
    const auto trainable = explain(net, image, method, options).map.to_vector<float>();
    net.set_requires_grad(false);
    EXPECT_EQ(explain(net, image, method, options).map.to_vector<float>(), trainable) << method;
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
  EXPECT_THAT(message([&] { explain(net, image, "gradcam", {.layers = {"feature"}}); }),
              testing::HasSubstr("nearest names are features"));
  EXPECT_THAT(message([&] { explain(net, image, "gradcam", {.layers = {"fc"}}); }),
              testing::HasSubstr("height and width"));
  EXPECT_THAT(message([&] {
                explain(net, image, "guided-gradcam", {.layers = {"features", "features.0"}});
              }),
              testing::HasSubstr("looks at one layer, and was given features, features.0"));
  EXPECT_THAT(message([&] { explain(net, image, "saliency", {.target = 3}); }),
              testing::HasSubstr("knows 3 classes"));
  EXPECT_THAT(message([&] { explain(net, image, "gradcam", {}); }),
              testing::HasSubstr("name the layer"));
  EXPECT_THAT(message([&] {
                explain(net, image, "scorecam", {.layers = {"features"}, .cam = {.batch = 0}});
              }),
              testing::HasSubstr("batch of at least one"));
  EXPECT_THAT(message([&] { explain(net, image, "lime", {}); }),
              testing::HasSubstr("there are gradcam, gradcam++, "));
}

}  // namespace
}  // namespace glassnet
