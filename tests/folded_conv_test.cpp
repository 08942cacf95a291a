// The convolution that evaluation makes of a convolution and its batch norm, its gradients, and
// when it is made anew.
#include <gtest/gtest.h>

#include <omp.h>

#include <functional>
#include <memory>
#include <ostream>
#include <string>
#include <utility>
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

// Filters that are kept for the input's gradient must serve inputs of any size: with a stride some
// kinds of pixels are missing in small ones.
TEST(FoldedConv, KeepsGradientFiltersForInputsOfAnySize) {
  Conv2d conv({.in = 16, .out = 32, .stride = 2, .padding = 1, .bias = false});
  BatchNorm2d bn({.channels = 32});
  conv.weight.mutable_value().copy_from(normal(conv.weight.shape(), 1));
  bn.weight.mutable_value().fill(1);
  bn.eval();
  conv.set_requires_grad(false);
  bn.set_requires_grad(false);
  for (const auto& size : {std::pair{1, 2}, {2, 1}, {1, 1}, {5, 4}, {2, 1}, {1, 2}}) {
    const int64_t h = size.first, w = size.second;
    const auto gradient = [&](auto&& forward) {
      const Variable x = leaf(normal({2, h, w, 16}, 5));
      const Variable y = forward(x);
      return grad(y, {x}, {.gradient = normal(y.shape(), 8)})[0];
    };
    EXPECT_LT(apart(gradient([&](const Variable& x) { return conv_bn_relu(conv, bn, nullptr, x); }),
                    gradient([&](const Variable& x) { return bn(conv(x)); })),
              2e-6)
        << h << " x " << w;
  }
}

// ---- Its gradients ------------------------------------------------------------------------------

struct GradientCase {
  const char* name;
  Conv2dLayer conv;
  bool residual = true, rectified = true;
};
std::ostream& operator<<(std::ostream& out, const GradientCase& c) {
  return out << c.name;
}

// Of a weighted sum of the results, with respect to x, z, the weight, gamma and beta.
struct Differentiated {
  std::string op;
  Tensor y;
  std::vector<Tensor> gradients;
};

class ConvBnReluTest : public ::testing::TestWithParam<GradientCase> {
 protected:
  ConvBnReluTest() : conv_(GetParam().conv), bn_({.channels = GetParam().conv.out}) {
    const Shape one_each = {GetParam().conv.out};
    conv_.weight.mutable_value().copy_from(normal(conv_.weight.shape(), 1));
    bn_.weight.mutable_value().copy_from(normal(one_each, 2));
    bn_.bias.mutable_value().copy_from(normal(one_each, 3));
    bn_.running_mean.copy_from(normal(one_each, 4));
    const Tensor deviation = normal(one_each, 5);
    bn_.running_var.copy_from(scale(mul(deviation, deviation), 1, 0.5));
    bn_.eval();
  }

  Variable forward(const Variable& x, const Variable& z) {
    return conv_bn_relu(conv_, bn_, GetParam().rectified ? &relu_ : nullptr, x, z);
  }
  Differentiated differentiated(DType type) {
    conv_.to(type);
    bn_.to(type);
    const Variable x = leaf(normal({2, 9, 11, GetParam().conv.in}, 6).to(type));
    Variable z;
    if (GetParam().residual) {
      const NoGrad no_grad;
      z = Variable(normal(forward(x, {}).shape(), 7).to(type), true);
    }
    const Variable y = forward(x, z);
    std::vector<Variable> inputs = {x, conv_.weight, bn_.weight, bn_.bias};
    if (z.defined()) inputs.push_back(z);
    return {y.node()->name, y.value(),
            grad(y, inputs, {.gradient = normal(y.shape(), 8).to(type)})};
  }

  Conv2d conv_;
  BatchNorm2d bn_;
  ReLU relu_;
};

TEST_P(ConvBnReluTest, HasTheGradientsOfItsParts) {
  const Differentiated single = differentiated(DType::kFloat32);
  const Differentiated whole = differentiated(DType::kFloat64);
  EXPECT_EQ(single.op, "conv_bn_relu");
  EXPECT_EQ(whole.op, "conv_bn_relu");
  const HookHandle watched = conv_.on_forward([](const Variable& y) { return y; });
  const Differentiated parts = differentiated(DType::kFloat64);
  EXPECT_NE(parts.op, "conv_bn_relu");
  EXPECT_LT(apart(single.y, parts.y), 2e-6);
  EXPECT_LT(apart(whole.y, parts.y), 1e-14);
  ASSERT_EQ(single.gradients.size(), parts.gradients.size());
  for (size_t i = 0; i < parts.gradients.size(); ++i) {
    EXPECT_LT(apart(single.gradients[i], parts.gradients[i]), 5e-6) << "input " << i;
    EXPECT_LT(apart(whole.gradients[i], parts.gradients[i]), 1e-13) << "input " << i;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Layers, ConvBnReluTest,
    ::testing::Values(
        GradientCase{"usual", {.in = 16, .out = 32, .padding = 1, .bias = false}},
        GradientCase{"strided", {.in = 32, .out = 16, .stride = 2, .padding = 1, .bias = false}},
        GradientCase{"pointwise", {.in = 64, .out = 80, .kernel = 1, .bias = false}},
        GradientCase{"projection",
                     {.in = 16, .out = 64, .kernel = 1, .stride = 2, .bias = false},
                     false,
                     false},
        GradientCase{"stem",
                     {.in = 3, .out = 64, .kernel = 7, .stride = 2, .padding = 3, .bias = false},
                     false},
        GradientCase{"groups", {.in = 32, .out = 32, .padding = 1, .groups = 4, .bias = false}},
        GradientCase{"few_filters", {.in = 16, .out = 8, .padding = 1, .bias = false}},
        GradientCase{
            "without_relu", {.in = 16, .out = 32, .padding = 1, .bias = false}, true, false}),
    [](const auto& row) { return std::string(row.param.name); });

TEST(ConvBnRelu, HasTheGradientOfFiniteDifferences) {
  Layers layers;
  layers.conv.to(DType::kFloat64);
  layers.bn.to(DType::kFloat64);
  const Tensor x = normal({1, 5, 4, 16}, 5).to(DType::kFloat64);
  const Tensor weights = normal({1, 5, 4, 64}, 6).to(DType::kFloat64);
  const auto value = [&](const Variable& at) {
    return sum(mul(conv_bn_relu(layers.conv, layers.bn, &layers.relu, at), Variable(weights)));
  };
  for (Variable* input : {&layers.conv.weight, &layers.bn.weight, &layers.bn.bias}) {
    const Tensor exact = grad(value(Variable(x)), {*input})[0];
    for (const int64_t i : {int64_t{0}, exact.numel() / 3, exact.numel() - 1}) {
      const auto moved = [&](double by) {
        input->mutable_value().data<double>()[i] += by;
        const double there = value(Variable(x)).value().item();
        input->mutable_value().data<double>()[i] -= by;
        return there;
      };
      EXPECT_NEAR(std::as_const(exact).data<double>()[i], (moved(1e-6) - moved(-1e-6)) / 2e-6,
                  1e-5);
    }
  }
  const Variable at = leaf(x);
  const Tensor exact = grad(value(at), {at})[0];
  for (int64_t i = 0; i < exact.numel(); i += 37) {
    const auto moved = [&](double by) {
      Tensor there = x.clone();
      there.data<double>()[i] += by;
      return value(Variable(there)).value().item();
    };
    EXPECT_NEAR(std::as_const(exact).data<double>()[i], (moved(1e-6) - moved(-1e-6)) / 2e-6, 1e-5);
  }
}

TEST(ConvBnRelu, IsItsPartsWhereAHookWaitsForOne) {
  Layers layers;
  const Variable x = leaf(normal({1, 5, 5, 16}, 5));
  const auto op = [&] {
    return std::string(conv_bn_relu(layers.conv, layers.bn, &layers.relu, x).node()->name);
  };
  EXPECT_EQ(op(), "conv_bn_relu");
  for (Module* part : std::initializer_list<Module*>{&layers.conv, &layers.bn, &layers.relu}) {
    const HookHandle hook = part->on_forward([](const Variable& y) { return y; });
    EXPECT_EQ(op(), "relu");
  }
  // The result itself can be waited for.
  const Variable y = conv_bn_relu(layers.conv, layers.bn, &layers.relu, x);
  const HookHandle nothing = y.on_grad([](const Tensor& dy) { return Tensor::zeros(dy.shape()); });
  for (const float value : grad(sum(y), {x})[0].to_vector<float>()) EXPECT_EQ(value, 0);
}

TEST(ConvBnRelu, OutlivesItsLayers) {
  auto layers = std::make_unique<Layers>();
  const Variable x = leaf(normal({2, 6, 6, 16}, 5));
  const auto record = [&] { return conv_bn_relu(layers->conv, layers->bn, &layers->relu, x); };
  const Tensor expected = grad(sum(record()), {x})[0];
  const Variable y = record();
  layers.reset();
  EXPECT_EQ(grad(sum(y), {x})[0].to_vector<float>(), expected.to_vector<float>());
}

TEST(ConvBnRelu, FollowsItsParametersBackwardToo) {
  Layers layers;
  const Variable x = leaf(normal({1, 6, 6, 16}, 5));
  const auto gradient = [&] {
    return grad(sum(conv_bn_relu(layers.conv, layers.bn, nullptr, x)), {x})[0];
  };
  const Tensor before = gradient();
  Tensor& gamma = layers.bn.weight.mutable_value();
  gamma.copy_from(scale(gamma, 2));
  EXPECT_LT(apart(gradient(), scale(before, 2)), 2e-6);
}

// In double precision: a ReLU whose input is zero but for rounding may go either way.
TEST(ConvBnRelu, WritesOverAResidualThatNobodyElseHolds) {
  Layers layers;
  const Tensor x = normal({2, 9, 9, 16}, 5), z = normal({2, 9, 9, 64}, 6);
  const auto with = [&](Variable residual) {
    return conv_bn_relu(layers.conv, layers.bn, &layers.relu, Variable(x), std::move(residual));
  };
  const Tensor truth = with(Variable(z)).value();
  const NoGrad no_grad;
  Variable last(z.clone());
  const void* place = std::as_const(last).value().raw();
  const Tensor y = with(std::move(last)).value();
  EXPECT_EQ(y.to_vector<float>(), truth.to_vector<float>());
  EXPECT_EQ(std::as_const(y).raw(), place);

  Variable first(z.clone());
  const Variable second = first;  // the same
  with(std::move(first));
  with(Variable(z));
  with(Variable(z.slice(0, 2)));
  EXPECT_EQ(z.to_vector<float>(), normal({2, 9, 9, 64}, 6).to_vector<float>());
  EXPECT_EQ(second.value().to_vector<float>(), z.to_vector<float>());
}

TEST(ConvBnRelu, WritesOverNothingThatIsRecorded) {
  Layers layers;
  const Variable x(normal({2, 9, 9, 16}, 5));
  Variable z = leaf(normal({2, 9, 9, 64}, 6));
  const void* place = std::as_const(z).value().raw();
  const Variable y = conv_bn_relu(layers.conv, layers.bn, &layers.relu, x, std::move(z));
  EXPECT_NE(std::as_const(y.value()).raw(), place);
}

TEST(ResNetInference, KeepsWhatItIsGivenUnlessItIsGivenAway) {
  for (const bool bottleneck : {false, true}) {
    ResNet model({.bottleneck = bottleneck, .blocks = {2}, .classes = 5});
    initialise(model, 3);
    model.eval();
    Module& block = model.find("layer1.1");
    const Tensor images = normal({2, 9, 9, bottleneck ? 256 : 64}, 4), kept = images.clone();
    const NoGrad no_grad;
    const Tensor y = block(Variable(images)).value();
    EXPECT_EQ(images.to_vector<float>(), kept.to_vector<float>());
    Variable x(images.clone());
    const void* place = std::as_const(x).value().raw();
    const Tensor again = block(std::move(x)).value();
    EXPECT_EQ(again.to_vector<float>(), y.to_vector<float>());
    EXPECT_EQ(std::as_const(again).raw(), place);
    const Tensor before = normal({2, 9, 9, 64}, 5), same = before.clone();
    model.find("layer1")(Variable(before));
    EXPECT_EQ(before.to_vector<float>(), same.to_vector<float>());
  }
}

TEST(ResNetGradients, AreThoseOfTheParts) {
  const std::vector<ResNetOptions> networks = {
      {.bottleneck = false, .blocks = {1, 1}, .classes = 5},
      {.blocks = {1, 1}, .groups = 2, .width_per_group = 16, .classes = 5},
      {.blocks = {1, 1}, .cifar = true, .classes = 5},
  };
  for (const ResNetOptions& options : networks) {
    ResNet model(options);
    initialise(model, 3);
    model.to(DType::kFloat64);
    model.eval();
    const Variable images = leaf(normal({1, 9, 9, 3}, 4).to(DType::kFloat64));
    std::vector<Variable> inputs = {images};
    for (const NamedVariable& parameter : model.named_parameters()) {
      inputs.push_back(parameter.variable);
    }
    const auto gradients = [&] { return grad(sum(square(model(images))), inputs); };
    const std::vector<Tensor> fused = gradients();
    std::vector<HookHandle> hooks;
    for (const auto& [path, module] : model.named_modules()) {
      if (dynamic_cast<Conv2d*>(module) == nullptr) continue;
      hooks.push_back(module->on_forward([](const Variable& y) { return y; }));
    }
    const std::vector<Tensor> parts = gradients();
    for (size_t i = 0; i < parts.size(); ++i) {
      EXPECT_LT(apart(fused[i], parts[i]), 1e-11) << "input " << i;
    }
  }
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
