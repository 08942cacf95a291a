// Networks on the CUDA device against the same networks on the CPU: outputs, gradients, training
// step by step, recorded graphs, explanations.
#include <cmath>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "data/loader.h"
#include "kernels/policy.h"
#include "models/resnet.h"
#include "nn/graphed.h"
#include "tensor/math.h"
#include "tensor/random.h"
#include "tests/device_support.h"
#include "tests/op_harness.h"
#include "training/parameter_rates.h"
#include "training/train_step.h"
#include "xai/explain.h"

namespace glassnet {
namespace {

constexpr int64_t kClasses = 5;
constexpr uint64_t kSeed = 7;

// All that a ResNet is made of, small enough for the host executor.
struct TinyResNet : Module {
  Conv2d& conv1 = child<Conv2d>(
      "conv1", Conv2dLayer{.in = 3, .out = 8, .stride = 2, .padding = 1, .bias = false});
  BatchNorm2d& bn1 = child<BatchNorm2d>("bn1", BatchNorm2dLayer{.channels = 8});
  ReLU& rectifier = child<ReLU>("relu");
  MaxPool2d& maxpool =
      child<MaxPool2d>("maxpool", PoolOptions{.window = 3, .stride = 2, .padding = 1});
  Conv2d& conv2 =
      child<Conv2d>("conv2", Conv2dLayer{.in = 8, .out = 8, .padding = 1, .bias = false});
  BatchNorm2d& bn2 = child<BatchNorm2d>("bn2", BatchNorm2dLayer{.channels = 8});
  Linear& fc = child<Linear>("fc", LinearLayer{.in = 8, .out = kClasses});

 protected:
  Variable forward(const Variable& x) override {
    const Variable y = maxpool(conv_bn_relu(conv1, bn1, &rectifier, x));
    return fc(global_avg_pool(conv_bn_relu(conv2, bn2, &rectifier, y, y)));
  }
};

template <class Net = TinyResNet>
std::unique_ptr<Module> fresh(Device device) {
  auto net = std::make_unique<Net>();
  initialise(*net, kSeed);
  net->to(device);
  return net;
}

Batch random_batch(int64_t images, int64_t size, uint64_t number, Device device,
                   DType type = DType::kFloat32) {
  Batch batch;
  batch.images = random_normal({images, size, size, 3}, 1, kSeed, 100 + number).to(type).to(device);
  for (int64_t i = 0; i < images; ++i) {
    batch.host_labels.push_back((i + static_cast<int64_t>(number)) % kClasses);
    batch.indices.push_back(i);
  }
  batch.labels = Tensor::from(batch.host_labels, {images}).to(device);
  return batch;
}

struct Trained {
  std::vector<double> losses;
  StateDict state;
  int64_t replayed = 0;
  std::string why_not_graphed;
};

// Some steps on `device`; every third batch is smaller than the others.
Trained train_some(Device device, int steps, const TrainStepOptions& options, bool adam = false,
                   const std::vector<std::string>& frozen = {}) {
  const std::unique_ptr<Module> net = fresh(device);
  freeze(*net, rate_factors(*net, frozen, {}));
  const auto optimizer = adam ? make_adam(net->named_parameters(), {.weight_decay = 1e-3})
                              : make_sgd(net->named_parameters());
  TrainStep step(*net, *optimizer, options);
  Trained result;
  for (int i = 0; i < steps; ++i) {
    const Batch batch =
        random_batch(i % 3 == 2 ? 3 : 4, 12, static_cast<uint64_t>(i % 4), device, options.compute);
    step.start(batch, 0.02 / (1 + i));
    const StepOutcome outcome = step.finish();
    EXPECT_FALSE(outcome.skipped);
    EXPECT_GT(outcome.gradient_norm, 0);
    EXPECT_LE(outcome.correct, batch.images.dim(0));
    result.losses.push_back(outcome.loss);
  }
  result.state = net->state_dict();
  result.replayed = step.replayed();
  result.why_not_graphed = step.why_not_graphed();
  return result;
}

void expect_same_bits(const StateDict& a, const StateDict& b) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    EXPECT_TRUE(same_elements(a[i].tensor, b[i].tensor)) << a[i].name;
  }
}

class DeviceTraining : public DeviceTest {
 protected:
  void TearDown() override { kernels::set_deterministic(false); }
};

TEST_F(DeviceTraining, ForwardAndEveryGradientAgreeWithTheCpu) {
  for (const bool training : {true, false}) {
    std::vector<Tensor> outcomes[2];
    for (const Device device : {Device{}, device_}) {
      const std::unique_ptr<Module> net = fresh(device);
      net->train(training);
      const Batch batch = random_batch(4, 12, 0, device);
      const Variable x = leaf(batch.images);
      const Variable logits = (*net)(x);
      backward(cross_entropy(logits, batch.labels));
      auto& found = outcomes[device == device_];
      found = {logits.value(), x.grad()};
      for (const NamedVariable& parameter : net->named_parameters()) {
        found.push_back(parameter.variable.grad());
      }
    }
    for (size_t i = 0; i < outcomes[0].size(); ++i) {
      EXPECT_TRUE(near_normwise(outcomes[1][i], outcomes[0][i], 1e-4)) << "tensor " << i;
    }
  }
}

TEST_F(DeviceTraining, InferenceWithFoldedBatchNormAgreesWithItsParts) {
  const std::unique_ptr<Module> net = fresh(device_);
  const Batch batch = random_batch(3, 12, 1, device_);
  { const Variable moves_the_statistics = (*net)(Variable(batch.images)); }
  net->eval();
  const NoGrad no_grad;
  const Tensor folded = (*net)(Variable(batch.images)).value();
  const HookHandle hook = net->on_forward("bn1", [](const Variable& y) { return y; });
  const HookHandle other = net->on_forward("bn2", [](const Variable& y) { return y; });
  const Tensor parts = (*net)(Variable(batch.images)).value();
  EXPECT_TRUE(near_normwise(folded, parts, 1e-5));
}

TEST_F(DeviceTraining, TenStepsHaveTheLossesOfTheCpu) {
  for (const bool adam : {false, true}) {
    const Trained here = train_some({}, 10, {.label_smoothing = 0.05}, adam);
    const Trained there = train_some(device_, 10, {.label_smoothing = 0.05}, adam);
    for (size_t i = 0; i < here.losses.size(); ++i) {
      EXPECT_NEAR(there.losses[i], here.losses[i], 1e-3 * here.losses[i]) << "step " << i;
    }
    EXPECT_NE(here.losses.front(), here.losses.back());
  }
}

TEST_F(DeviceTraining, ClippingActsAsOnTheCpu) {
  const Trained here = train_some({}, 4, {.clip_norm = 0.1});
  const Trained there = train_some(device_, 4, {.clip_norm = 0.1});
  const Trained free = train_some(device_, 4, {});
  EXPECT_NEAR(there.losses.back(), here.losses.back(), 1e-3);
  EXPECT_GT(std::abs(there.losses.back() - free.losses.back()), 1e-3);
}

TEST_F(DeviceTraining, ReplayedStepsAreTheSameBitsAsEagerOnes) {
  kernels::set_deterministic(true);
  const Trained eager = train_some(device_, 12, {.graph = false});
  const Trained graphed = train_some(device_, 12, {.graph = true});
  EXPECT_EQ(eager.replayed, 0);
  EXPECT_EQ(graphed.why_not_graphed, "");
  EXPECT_EQ(graphed.replayed, 12 - 2 * 2);  // two sizes of batch, two steps each before recording
  EXPECT_EQ(graphed.losses, eager.losses);
  expect_same_bits(graphed.state, eager.state);
}

// A frozen beginning, where a convolution has its batch norm folded into it; a frozen batch norm
// that gradients come through; and a convolution without its batch norm.
const std::vector<std::vector<std::string>> kFrozenParts = {
    {"conv1", "bn1"}, {"bn1", "bn2"}, {"conv1", "bn2.weight"}};

TEST_F(DeviceTraining, WhatIsFrozenStaysAsItWasToTheLastBit) {
  kernels::set_deterministic(true);
  const StateDict before = fresh(device_)->state_dict();
  for (const std::vector<std::string>& frozen : kFrozenParts) {
    const auto stays = [&](const std::string& name) {
      return std::any_of(frozen.begin(), frozen.end(), [&](const std::string& path) {
        return name == path || name.starts_with(path + ".");
      });
    };
    const Trained eager = train_some(device_, 6, {.graph = false}, false, frozen);
    const Trained graphed = train_some(device_, 6, {.graph = true}, false, frozen);
    const Trained narrow = train_some(device_, 3, {.compute = DType::kFloat16}, true, frozen);
    EXPECT_EQ(graphed.replayed, 6 - 2 * 2);
    expect_same_bits(graphed.state, eager.state);
    for (const Trained* trained : {&eager, &graphed, &narrow}) {
      for (size_t i = 0; i < before.size(); ++i) {
        EXPECT_EQ(same_elements(trained->state[i].tensor, before[i].tensor), stays(before[i].name))
            << before[i].name;
      }
    }
  }
}

TEST_F(DeviceTraining, AFrozenPartHasTheLossesOfTheCpu) {
  const Trained all = train_some(device_, 6, {});
  for (const std::vector<std::string>& frozen : kFrozenParts) {
    const Trained here = train_some({}, 6, {}, false, frozen);
    const Trained there = train_some(device_, 6, {}, false, frozen);
    for (size_t i = 0; i < here.losses.size(); ++i) {
      EXPECT_NEAR(there.losses[i], here.losses[i], 1e-3 * here.losses[i]) << "step " << i;
    }
    EXPECT_NE(there.losses, all.losses);
  }
}

// Hooks see whether anything would be done on the way back.
TEST_F(DeviceTraining, NothingIsRecordedBeforeWhatLearns) {
  for (const bool frozen : {false, true}) {
    const std::unique_ptr<Module> net = fresh(device_);
    if (frozen) freeze(*net, rate_factors(*net, {"conv1", "bn1"}, {}));
    std::vector<bool> recorded;
    const auto look = [&](const Variable& y) {
      recorded.push_back(y.requires_grad());
      return y;
    };
    const HookHandle early = net->on_forward("maxpool", look),
                     late = net->on_forward("conv2", look);
    backward(cross_entropy((*net)(Variable(random_batch(4, 12, 0, device_).images)),
                           random_batch(4, 12, 0, device_).labels));
    EXPECT_EQ(recorded, (std::vector<bool>{!frozen, true}));
    for (const NamedVariable& parameter : net->named_parameters()) {
      const bool first = parameter.name.starts_with("conv1.") || parameter.name.starts_with("bn1.");
      EXPECT_EQ(parameter.variable.grad().defined(), !(frozen && first)) << parameter.name;
    }
  }
}

TEST_F(DeviceTraining, DeterministicRunsRepeatBitByBit) {
  kernels::set_deterministic(true);
  const Trained first = train_some(device_, 6, {});
  const Trained second = train_some(device_, 6, {});
  EXPECT_EQ(first.losses, second.losses);
  expect_same_bits(first.state, second.state);
}

TEST_F(DeviceTraining, NarrowTypesLearnNearlyTheSame) {
  const Trained wide = train_some(device_, 6, {});
  for (const DType type : {DType::kBFloat16, DType::kFloat16}) {
    if (type == DType::kBFloat16 && !supports_bfloat16(device_)) continue;
    const Trained narrow = train_some(device_, 6, {.compute = type});
    for (size_t i = 0; i < wide.losses.size(); ++i) {
      EXPECT_NEAR(narrow.losses[i], wide.losses[i], 0.05) << name_of(type) << ", step " << i;
    }
    for (const NamedTensor& entry : narrow.state) {
      EXPECT_THAT(entry.tensor.dtype(), testing::AnyOf(DType::kFloat32, DType::kInt64));
    }
  }
}

TEST_F(DeviceTraining, AnOverflowSkipsTheStepAndHalvesTheScale) {
  const std::unique_ptr<Module> net = fresh(device_);
  const auto optimizer = make_sgd(net->named_parameters());
  TrainStep step(*net, *optimizer, {.compute = DType::kFloat16});
  step.set_loss_scale({.scale = 0x1p100, .good_steps = 5});
  const Tensor before = net->named_parameters()[0].variable.value().clone();
  step.start(random_batch(4, 12, 0, device_, DType::kFloat16), 0.1);
  EXPECT_TRUE(step.finish().skipped);
  EXPECT_TRUE(same_elements(net->named_parameters()[0].variable.value(), before));
  EXPECT_EQ(step.loss_scale().scale, 0x1p99);
  EXPECT_EQ(step.loss_scale().good_steps, 0);

  step.set_loss_scale({.scale = 1024, .good_steps = 1999});
  step.start(random_batch(4, 12, 0, device_, DType::kFloat16), 0.1);
  EXPECT_FALSE(step.finish().skipped);
  EXPECT_FALSE(same_elements(net->named_parameters()[0].variable.value(), before));
  EXPECT_EQ(step.loss_scale().scale, 2048);
}

TEST_F(DeviceTraining, GradientsThatAreNoNumbersSpoilNoWeight) {
  const std::unique_ptr<Module> net = fresh(device_);
  const auto optimizer = make_sgd(net->named_parameters());
  TrainStep step(*net, *optimizer, {});
  Batch batch = random_batch(4, 12, 0, Device{});
  batch.images.data<float>()[5] = std::nanf("");
  batch.images = batch.images.to(device_);
  batch.labels = batch.labels.to(device_);
  const Tensor before = net->named_parameters()[0].variable.value().clone();
  step.start(batch, 0.1);
  const StepOutcome outcome = step.finish();
  EXPECT_TRUE(outcome.skipped);
  EXPECT_TRUE(std::isnan(outcome.loss));
  EXPECT_TRUE(same_elements(net->named_parameters()[0].variable.value(), before));
}

TEST_F(DeviceTraining, MemoryStaysTheSameFromStepToStep) {
  const std::unique_ptr<Module> net = fresh(device_);
  const auto optimizer = make_sgd(net->named_parameters());
  for (const bool graph : {false, true}) {
    TrainStep step(*net, *optimizer, {.graph = graph});
    const Batch batch = random_batch(4, 12, 0, device_);
    MemoryStats settled;
    const int steps = kSimulated ? 10 : 200;
    for (int i = 0; i < steps; ++i) {
      step.start(batch, 0.01);
      step.finish();
      if (i == 4) settled = memory_stats(device_);
    }
    const MemoryStats now = memory_stats(device_);
    EXPECT_EQ(now.system_allocations, settled.system_allocations);
    EXPECT_EQ(now.active_bytes, settled.active_bytes);
  }
}

TEST_F(DeviceTraining, ReplayedInferenceIsTheSameBits) {
  const std::unique_ptr<Module> net = fresh(device_);
  net->eval();
  GraphedForward forward(*net);
  const NoGrad no_grad;
  for (uint64_t i = 0; i < 4; ++i) {
    for (const int64_t images : {2, 3}) {
      const Tensor x = random_batch(images, 12, i, device_).images;
      EXPECT_TRUE(same_elements(forward(x), (*net)(Variable(x)).value())) << i;
    }
  }
  EXPECT_EQ(forward.replayed(), 6);
  // A hook sees every call.
  int seen = 0;
  const HookHandle hook = net->on_forward("conv1", [&](const Variable& y) {
    ++seen;
    return y;
  });
  forward(random_batch(2, 12, 0, device_).images);
  EXPECT_EQ(seen, 1);
}

// Weights that change, here and in steps that are replayed themselves, change the answers.
TEST_F(DeviceTraining, ReplayedInferenceFollowsTheWeights) {
  const std::unique_ptr<Module> net = fresh(device_);
  net->eval();
  GraphedForward forward(*net);
  const Tensor x = random_batch(2, 12, 0, device_).images;
  int64_t replayed = 0;
  // Four calls, of which the first runs op by op.
  const auto answer = [&] {
    const NoGrad no_grad;
    Tensor now;
    for (int i = 0; i < 4; ++i) {
      now = forward(x);
      EXPECT_TRUE(same_elements(now, (*net)(Variable(x)).value())) << "call " << i;
    }
    EXPECT_EQ(forward.replayed(), replayed += 3);
    return now;
  };
  const Tensor first = answer();
  Tensor weight = net->named_parameters()[0].variable.value();
  weight.copy_from(scale(weight, 0.5));
  const Tensor second = answer();
  EXPECT_FALSE(same_elements(second, first));

  const auto optimizer = make_sgd(net->named_parameters());
  TrainStep step(*net, *optimizer, {});
  const auto train = [&] {
    net->train();
    step.start(random_batch(4, 12, 0, device_), 0.1);
    step.finish();
    net->eval();
  };
  for (int i = 0; i < 4; ++i) train();
  const Tensor third = answer();
  EXPECT_FALSE(same_elements(third, second));
  // Only the device knows what this does to the weights.
  const int64_t before = step.replayed();
  train();
  EXPECT_EQ(step.replayed(), before + 1);
  EXPECT_FALSE(same_elements(answer(), third));
}

TEST_F(DeviceTraining, ExplanationsAgreeWithTheCpu) {
  const std::unique_ptr<Module> here = fresh({}), there = fresh(device_);
  const Tensor image = random_batch(1, 24, 3, {}).images;
  for (Module* net : {here.get(), there.get()}) net->set_requires_grad(false);
  const ExplainOptions options{.target = {3, 1},
                               .layers = {"maxpool"},
                               .noise = {.samples = 2},
                               .integration = {.nodes = 2},
                               .occlusion = {.window = 12, .stride = 12}};
  for (const std::string& method : explanation_methods()) {
    EXPECT_TRUE(near_normwise(explain(*there, image.to(device_), method, options).map,
                              explain(*here, image, method, options).map, 1e-4))
        << method;
  }
}

TEST_F(DeviceTraining, ExplanationsOfSeveralImagesAgreeWithTheCpu) {
  const std::unique_ptr<Module> here = fresh({}), there = fresh(device_);
  for (Module* net : {here.get(), there.get()}) net->set_requires_grad(false);
  const Tensor images = random_batch(3, 24, 3, {}).images;
  const std::vector<Target> targets = {{3, 1}, 0, 4};
  for (const char* method : {"gradcam", "layercam", "saliency", "inputxgradient"}) {
    const ExplainOptions options{.layers = {"maxpool"}};
    const std::vector<Explanation> maps =
        explain_each(*there, images.to(device_), method, targets, options);
    const std::vector<Explanation> expected = explain_each(*here, images, method, targets, options);
    for (size_t i = 0; i < targets.size(); ++i) {
      EXPECT_TRUE(near_normwise(maps[i].map, expected[i].map, 1e-4)) << method;
    }
  }
}

// A block whose shortcut leaves it before the layer that is looked at, "bn1".
struct ShortcutNet : Module {
  Conv2d& conv1 =
      child<Conv2d>("conv1", Conv2dLayer{.in = 3, .out = 3, .padding = 1, .bias = false});
  BatchNorm2d& bn1 = child<BatchNorm2d>("bn1", BatchNorm2dLayer{.channels = 3});
  Conv2d& conv2 =
      child<Conv2d>("conv2", Conv2dLayer{.in = 3, .out = 3, .padding = 1, .bias = false});
  BatchNorm2d& bn2 = child<BatchNorm2d>("bn2", BatchNorm2dLayer{.channels = 3});
  ReLU& rectifier = child<ReLU>("relu");
  Linear& fc = child<Linear>("fc", LinearLayer{.in = 3, .out = kClasses});

 protected:
  Variable forward(const Variable& x) override {
    return fc(global_avg_pool(conv_bn_relu(conv2, bn2, &rectifier, bn1(conv1(x)), x)));
  }
};

TEST_F(DeviceTraining, VariantsOfALayersOutputShareTheShortcut) {
  const std::unique_ptr<Module> here = fresh<ShortcutNet>({}), there = fresh<ShortcutNet>(device_);
  const Tensor image = random_batch(1, 8, 3, {}).images;
  const ExplainOptions options{.target = 2, .layers = {"bn1"}};
  EXPECT_TRUE(near_normwise(explain(*there, image.to(device_), "ablationcam", options).map,
                            explain(*here, image, "ablationcam", options).map, 1e-3));
}

// What only a GPU is quick enough for.
class GpuResNet50 : public DeviceTest {
 protected:
  void SetUp() override {
    DeviceTest::SetUp();
    if (kSimulated) GTEST_SKIP() << "the host executor is too slow for ResNet-50";
  }
};

TEST_F(GpuResNet50, ForwardAndBackwardAgreeWithTheCpu) {
  std::vector<Tensor> outcomes[2];
  std::vector<std::string> names;
  for (const Device device : {Device{}, device_}) {
    const std::unique_ptr<Module> net = make_model("resnet50", {.classes = kClasses});
    initialise(*net, kSeed);
    net->to(device);
    const Batch batch = random_batch(4, 96, 0, device);
    const Variable logits = (*net)(Variable(batch.images));
    backward(cross_entropy(logits, batch.labels));
    auto& found = outcomes[device == device_];
    found = {logits.value()};
    names = {"logits"};
    for (const NamedVariable& parameter : net->named_parameters()) {
      found.push_back(parameter.variable.grad());
      names.push_back(parameter.name);
    }
  }
  for (size_t i = 0; i < names.size(); ++i) {
    EXPECT_TRUE(near_normwise(outcomes[1][i], outcomes[0][i], 1e-3)) << names[i];
  }
}

TEST_F(GpuResNet50, TenTrainingStepsHaveTheLossesOfTheCpu) {
  std::vector<double> losses[2];
  for (const Device device : {Device{}, device_}) {
    const std::unique_ptr<Module> net = make_model("resnet50", {.classes = kClasses});
    initialise(*net, kSeed);
    net->to(device);
    const auto optimizer = make_sgd(net->named_parameters());
    TrainStep step(*net, *optimizer, {.label_smoothing = 0.05});
    for (uint64_t i = 0; i < 10; ++i) {
      step.start(random_batch(8, 64, i, device), 0.005);
      losses[device == device_].push_back(step.finish().loss);
    }
  }
  for (size_t i = 0; i < losses[0].size(); ++i) {
    EXPECT_NEAR(losses[1][i], losses[0][i], 0.02 * losses[0][i]) << "step " << i;
  }
}

}  // namespace
}  // namespace glassnet
