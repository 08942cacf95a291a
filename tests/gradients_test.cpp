// Explanations by gradients and by covering, against their definitions.
#include "xai/gradients.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "models/resnet.h"
#include "tensor/math.h"
#include "tests/xai_support.h"

namespace glassnet {
namespace {

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

}  // namespace
}  // namespace glassnet
