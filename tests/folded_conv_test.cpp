// The convolution that inference makes of a convolution and its batch norm, and when it is made
// anew.
#include <gtest/gtest.h>

#include <omp.h>

#include <functional>
#include <vector>

#include "kernels/policy.h"
#include "models/resnet.h"
#include "nn/layers.h"
#include "tensor/math.h"
#include "tensor/random.h"

namespace glassnet {
namespace {

Tensor normal(const Shape& shape, uint64_t seed) {
  return random_normal(shape, 1, seed, static_cast<uint64_t>(Stream::kUser));
}

struct Layers {
  explicit Layers(int64_t groups = 1)
      : conv({.in = 16, .out = 64, .padding = 1, .groups = groups, .bias = false}),
        bn({.channels = 64}) {
    conv.weight.mutable_value().copy_from(normal(conv.weight.shape(), 1));
    bn.weight.mutable_value().copy_from(normal({64}, 2));
    bn.bias.mutable_value().copy_from(normal({64}, 3));
    bn.running_mean.copy_from(normal({64}, 4));
    bn.eval();
  }
  Tensor inference(const Tensor& x) {
    const NoGrad no_grad;
    return conv_bn_relu(conv, bn, &relu, Variable(x)).value();
  }
  Tensor parts(const Tensor& x) {
    const NoGrad no_grad;
    return glassnet::relu(bn(conv(Variable(x)))).value();
  }

  Conv2d conv;
  BatchNorm2d bn;
  ReLU relu;
};

double apart(const Tensor& a, const Tensor& b) {
  const std::vector<double> left = a.to_vector<double>(), right = b.to_vector<double>();
  double difference = 0, magnitude = 1e-30;
  for (size_t i = 0; i < left.size(); ++i) {
    difference = std::max(difference, std::abs(left[i] - right[i]));
    magnitude = std::max(magnitude, std::abs(right[i]));
  }
  return difference / magnitude;
}

TEST(FoldedConv, IsItsPartsAfterEveryChangeOfATensorThatWentIn) {
  Layers layers;
  const Tensor x = normal({3, 9, 9, 16}, 5), two = normal({128, 3, 3, 16}, 8);
  const std::vector<std::function<void()>> changes = {
      [] {},
      [&] { layers.conv.weight.mutable_value().copy_from(normal(layers.conv.weight.shape(), 6)); },
      [&] { layers.conv.weight.mutable_value().data<float>()[0] += 10; },
      [&] { layers.bn.weight.mutable_value().fill(2); },
      [&] { layers.bn.bias.mutable_value().fill(0.5); },
      [&] { layers.bn.running_mean.fill(0.25); },
      [&] { layers.bn.running_var.fill(3); },
      [&] { layers.conv.weight.set_value(normal(layers.conv.weight.shape(), 7)); },
      [&] { layers.conv.weight.set_value(two.slice(0, 64)); },
      [&] { layers.conv.weight.set_value(two.slice(64, 128)); },
  };
  Tensor before;
  for (size_t i = 0; i < changes.size(); ++i) {
    changes[i]();
    const Tensor y = layers.inference(x);
    EXPECT_LT(apart(y, layers.parts(x)), 2e-6) << "after change " << i;
    EXPECT_LT(apart(layers.inference(x), layers.parts(x)), 2e-6) << "again after change " << i;
    if (before.defined()) {
      EXPECT_GT(apart(y, before), 1e-3) << "change " << i << " is not seen";
    }
    before = y;
  }
}

TEST(FoldedConv, KeepsWhatItNeedsForEachFormAndType) {
  Layers layers;
  const Tensor small = normal({1, 9, 9, 16}, 5), large = normal({8, 20, 20, 16}, 6);
  const Tensor truth_small = layers.parts(small), truth_large = layers.parts(large);
  const bool before = kernels::allow_winograd();
  for (const bool winograd : {true, false, true}) {
    kernels::set_allow_winograd(winograd);
    const double gate = winograd ? 2e-5 : 2e-6;
    EXPECT_LT(apart(layers.inference(small), truth_small), gate);
    EXPECT_LT(apart(layers.inference(large), truth_large), gate);
    EXPECT_LT(apart(layers.inference(small.to(DType::kBFloat16)), truth_small), 2e-2);
  }
  kernels::set_allow_winograd(before);
}

TEST(FoldedConv, GroupedConvolutionsToo) {
  Layers layers(4);
  const Tensor x = normal({2, 9, 9, 16}, 5);
  EXPECT_LT(apart(layers.inference(x), layers.parts(x)), 2e-6);
}

TEST(ResNetInference, AnswersForABatchAsForEachImage) {
  const auto model = make_model("resnet18", {.classes = 6});
  initialise(*model, 0);
  model->eval();
  const NoGrad no_grad;
  const Tensor images = normal({5, 32, 32, 3}, 8);
  const int threads = omp_get_max_threads();
  omp_set_num_threads(2);  // images at a time
  const Tensor together = (*model)(Variable(images)).value();
  for (int64_t i = 0; i < 5; ++i) {
    const Tensor alone = (*model)(Variable(images.slice(i, i + 1))).value();
    EXPECT_LT(apart(alone, together.slice(i, i + 1)), 1e-6) << "image " << i;
  }
  // A hook sees the whole batch.
  int64_t seen = 0;
  const HookHandle handle = model->on_forward("layer1", [&](const Variable& y) {
    seen = y.shape().dim(0);
    return y;
  });
  EXPECT_LT(apart((*model)(Variable(images)).value(), together), 1e-5);
  EXPECT_EQ(seen, 5);
  omp_set_num_threads(threads);
}

TEST(TensorVersion, ChangesWithEveryAccessThatMayWriteAndNoOther) {
  Tensor x = Tensor::zeros({4});
  const Tensor& constant = x;
  Tensor view = x.slice(1, 3);
  uint64_t last = x.version();
  EXPECT_EQ(constant.data<float>()[0], 0);
  EXPECT_EQ(x.to_vector<float>().size(), 4u);
  EXPECT_EQ(x.version(), last);
  x.fill(1);
  EXPECT_NE(x.version(), last);
  last = x.version();
  view.data<float>()[0] = 2;
  EXPECT_NE(x.version(), last);
  EXPECT_EQ(x.version(), view.version());
  EXPECT_NE(x.version(), x.clone().version());
  EXPECT_EQ(Tensor().version(), 0u);
}

}  // namespace
}  // namespace glassnet
