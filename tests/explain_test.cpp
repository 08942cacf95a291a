// Explanations by name: what holds for every method.
#include "xai/explain.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tensor/math.h"
#include "tests/xai_support.h"

namespace glassnet {
namespace {

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
  EXPECT_THAT(message([&] { explain(net, image, "gradcam", {.layer = "feature"}); }),
              testing::HasSubstr("nearest names are features"));
  EXPECT_THAT(message([&] { explain(net, image, "gradcam", {.layer = "fc"}); }),
              testing::HasSubstr("height and width"));
  EXPECT_THAT(message([&] { explain(net, image, "saliency", {.target = 3}); }),
              testing::HasSubstr("knows 3 classes"));
  EXPECT_THAT(message([&] { explain(net, image, "lime", {}); }),
              testing::HasSubstr("there are gradcam, gradcam++, "));
}

}  // namespace
}  // namespace glassnet
