// Optimizers against PyTorch's (scripts/make-golden-optimizers) and against closed forms.
#include "training/optimizer.h"

#include <omp.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <functional>
#include <map>

#include <gtest/gtest.h>

#include "models/safetensors.h"
#include "tensor/math.h"
#include "tensor/random.h"
#include "tests/device_support.h"

namespace glassnet {
namespace {

constexpr int64_t kSteps = 10;
const std::vector<std::string> kNames = {"matrix", "vector"};

const std::map<std::string, Tensor>& golden() {
  static const std::map<std::string, Tensor> tensors = [] {
    std::map<std::string, Tensor> result;
    const auto file =
        load_safetensors(std::filesystem::path(GLASSNET_GOLDEN_DIR) / "optimizers.safetensors");
    for (const NamedTensor& entry : file.tensors) result[entry.name] = entry.tensor;
    return result;
  }();
  return tensors;
}

// What a gradient of `gradient` would have left behind.
void give_gradient(Variable variable, const Tensor& gradient) {
  variable.clear_grad();
  backward(sum(mul(variable, Variable(gradient))));
}

std::vector<NamedVariable> start() {
  std::vector<NamedVariable> parameters;
  for (const std::string& name : kNames) {
    const Tensor value = golden().at("start/" + name).to(DType::kFloat32).clone();
    parameters.push_back({name, Variable(value, true)});
  }
  return parameters;
}

void step(Optimizer& optimizer, std::vector<NamedVariable>& parameters, int64_t index) {
  for (NamedVariable& parameter : parameters) {
    const Tensor gradient = golden().at("gradients/" + parameter.name).slice(index, index + 1);
    give_gradient(parameter.variable,
                  gradient.reshape(parameter.variable.shape()).to(DType::kFloat32));
  }
  optimizer.step(golden().at("rates").to_vector<double>()[static_cast<size_t>(index)]);
}

using Make = std::function<std::unique_ptr<Optimizer>(std::vector<NamedVariable>)>;

struct Variant {
  const char* name;
  Make make;
};

Make sgd(const SgdOptions& options) {
  return [=](auto parameters) { return make_sgd(std::move(parameters), options); };
}
Make adam(const AdamOptions& options) {
  return [=](auto parameters) { return make_adam(std::move(parameters), options); };
}

// The factors of scripts/make-golden-optimizers, in turn.
template <class Options, class MakeWith>
Make scaled(MakeWith make, Options options) {
  return [=](std::vector<NamedVariable> parameters) mutable {
    options.rate_factors.clear();
    for (size_t i = 0; i < parameters.size(); ++i) {
      options.rate_factors.push_back(i % 2 == 0 ? 0.25 : 3);
    }
    return make(std::move(parameters), options);
  };
}

const std::vector<Variant>& variants() {
  static const std::vector<Variant> all = {
      {"sgd", sgd({.momentum = 0, .nesterov = false, .weight_decay = 0})},
      {"sgd_decay", sgd({.momentum = 0, .nesterov = false, .weight_decay = 0.1})},
      {"momentum", sgd({.momentum = 0.9, .nesterov = false, .weight_decay = 0.1})},
      {"nesterov", sgd({.momentum = 0.9, .nesterov = true, .weight_decay = 0.1})},
      {"adam", adam({})},
      {"adam_decay", adam({.beta1 = 0.8, .beta2 = 0.99, .weight_decay = 0.1})},
      {"adamw", adam({.weight_decay = 0.1, .decoupled = true})},
      {"sgd_scaled", scaled<SgdOptions>(make_sgd, {.weight_decay = 0.1})},
      {"adam_scaled", scaled<AdamOptions>(make_adam, {.weight_decay = 0.1})},
      {"adamw_scaled", scaled<AdamOptions>(make_adam, {.weight_decay = 0.1, .decoupled = true})},
  };
  return all;
}

class OptimizerVariants : public ::testing::TestWithParam<Variant> {};

TEST_P(OptimizerVariants, TakesPyTorchsSteps) {
  std::vector<NamedVariable> parameters = start();
  const auto optimizer = GetParam().make(parameters);
  for (int64_t i = 0; i < kSteps; ++i) {
    step(*optimizer, parameters, i);
    for (const NamedVariable& parameter : parameters) {
      const auto expected = golden()
                                .at(std::string(GetParam().name) + "/" + parameter.name)
                                .slice(i, i + 1)
                                .to_vector<double>();
      const auto got = parameter.variable.value().to_vector<double>();
      ASSERT_EQ(got.size(), expected.size());
      for (size_t j = 0; j < got.size(); ++j) {
        EXPECT_NEAR(got[j], expected[j], 2e-6)
            << "step " << i << ", " << parameter.name << "," << j;
      }
    }
  }
}

TEST_P(OptimizerVariants, GoesOnExactlyFromItsState) {
  std::vector<NamedVariable> whole = start();
  const auto optimizer = GetParam().make(whole);
  for (int64_t i = 0; i < 4; ++i) step(*optimizer, whole, i);

  std::vector<NamedVariable> halved;
  for (const NamedVariable& parameter : whole) {
    halved.push_back({parameter.name, Variable(parameter.variable.value().clone(), true)});
  }
  const auto resumed = GetParam().make(halved);
  resumed->load_state(optimizer->state());
  for (int64_t i = 4; i < kSteps; ++i) {
    step(*optimizer, whole, i);
    step(*resumed, halved, i);
  }
  for (size_t i = 0; i < whole.size(); ++i) {
    EXPECT_EQ(whole[i].variable.value().to_vector<float>(),
              halved[i].variable.value().to_vector<float>());
  }
}

INSTANTIATE_TEST_SUITE_P(PyTorch, OptimizerVariants, ::testing::ValuesIn(variants()),
                         [](const auto& entry) { return std::string(entry.param.name); });

TEST(Optimizer, LoadedStateIsACopy) {
  std::vector<NamedVariable> first = start(), second = start();
  const auto a = make_sgd(first), b = make_sgd(second);
  step(*a, first, 0);
  b->load_state(a->state());
  const auto before = a->state()[0].tensor.to_vector<float>();
  step(*b, second, 1);
  EXPECT_EQ(a->state()[0].tensor.to_vector<float>(), before);
}

TEST(Optimizer, SparesVectorsFromDecayWhenAsked) {
  for (const bool use_adam : {false, true}) {
    std::vector<NamedVariable> parameters = start();
    const auto vector = parameters[1].variable.value().to_vector<float>();
    const auto matrix = parameters[0].variable.value().to_vector<float>();
    std::unique_ptr<Optimizer> optimizer;
    if (use_adam) {
      optimizer = make_adam(parameters,
                            {.weight_decay = 0.5, .decoupled = true, .decay = Decay::kMatrices});
    } else {
      optimizer = make_sgd(parameters, {.weight_decay = 0.5, .decay = Decay::kMatrices});
    }
    for (NamedVariable& parameter : parameters) {
      give_gradient(parameter.variable, Tensor::zeros(parameter.variable.shape()));
    }
    optimizer->step(0.1);
    EXPECT_EQ(parameters[1].variable.value().to_vector<float>(), vector);
    EXPECT_NE(parameters[0].variable.value().to_vector<float>(), matrix);
  }
}

TEST(Optimizer, LeavesParametersWithoutAGradientAlone) {
  for (const Variant& variant : variants()) {
    std::vector<NamedVariable> parameters = start();
    const auto untouched = parameters[1].variable.value().to_vector<float>();
    const auto optimizer = variant.make(parameters);
    give_gradient(parameters[0].variable, Tensor::full(parameters[0].variable.shape(), 1));
    optimizer->step(0.1);
    EXPECT_EQ(parameters[1].variable.value().to_vector<float>(), untouched) << variant.name;
    for (const NamedTensor& entry : optimizer->state()) {
      EXPECT_FALSE(entry.name.ends_with(".vector")) << variant.name << ": " << entry.name;
    }
  }
}

TEST(Optimizer, RefusesAStateThatDoesNotFit) {
  std::vector<NamedVariable> parameters = start();
  const auto optimizer = make_sgd(parameters);
  EXPECT_THROW(optimizer->load_state({{"momentum.other", Tensor::zeros({3, 4})}}), Error);
  EXPECT_THROW(optimizer->load_state({{"momentum.matrix", Tensor::zeros({4, 3})}}), Error);
  EXPECT_THROW(make_adam(parameters)->load_state({{"mean.matrix", Tensor::zeros({3, 4})}}), Error);
  EXPECT_THROW(make_sgd(parameters, {.momentum = 0, .nesterov = true}), Error);
  EXPECT_THROW(make_sgd(parameters, {.rate_factors = {1}}), Error);
  EXPECT_THROW(make_adam(parameters, {.rate_factors = {1, 1, 1}}), Error);
}

kernels::StepControl read(const Tensor& control) {
  kernels::StepControl result;
  const Tensor host = control.to(Device{});
  std::memcpy(&result, host.raw(), sizeof(result));
  return result;
}

// What the gradients ask for of a step that limits their norm; 0: no limit.
kernels::StepControl control_of(const std::vector<NamedVariable>& parameters, double limit = 0) {
  const Tensor control = control_tensor({.clip_norm = static_cast<float>(limit)},
                                        parameters[0].variable.value().device());
  gradient_control(parameters, control);
  return read(control);
}

TEST(GradientNorm, ClipsAsPyTorch) {
  std::vector<NamedVariable> parameters = start();
  for (NamedVariable& parameter : parameters) {
    const Tensor gradient = golden().at("gradients/" + parameter.name).slice(0, 1);
    give_gradient(parameter.variable,
                  gradient.reshape(parameter.variable.shape()).to(DType::kFloat32));
  }
  const double norm = golden().at("clip/norm").item();
  EXPECT_EQ(control_of(parameters, norm + 1).gradient_scale, 1) << "changed below the limit";
  const kernels::StepControl control = control_of(parameters, 1.5);
  EXPECT_NEAR(control.gradient_norm, norm, 1e-6);
  for (const NamedVariable& parameter : parameters) {
    const auto expected = golden().at("clip/" + parameter.name).to_vector<double>();
    const auto got = parameter.variable.grad().to_vector<double>();
    for (size_t i = 0; i < got.size(); ++i) {
      EXPECT_NEAR(got[i] * control.gradient_scale, expected[i], 1e-6);
    }
  }
}

TEST(GradientNorm, IsTheSameAtAnyNumberOfThreads) {
  Variable large(Tensor::zeros({100'003}), true);
  give_gradient(large, random_normal({100'003}, 1, 3, 0));
  const std::vector<NamedVariable> parameters = {{"large", large}};
  const int before = omp_get_max_threads();
  omp_set_num_threads(1);
  const float expected = control_of(parameters).gradient_norm;
  for (const int threads : {2, 3, 7}) {
    omp_set_num_threads(threads);
    EXPECT_EQ(control_of(parameters).gradient_norm, expected) << threads;
  }
  omp_set_num_threads(before);
  EXPECT_NEAR(expected, std::sqrt(100'003.0), 2);
}

// ---- Steps that a StepControl directs -----------------------------------------------------------

// One parameter with the gradient (3, 4), as a loss that was multiplied with `loss_scale` has it.
std::vector<NamedVariable> three_and_four(Device device, float loss_scale) {
  Variable w(Tensor::from(std::vector<float>{1, 2}, {2}).to(device), true);
  give_gradient(w,
                Tensor::from(std::vector<float>{3 * loss_scale, 4 * loss_scale}, {2}).to(device));
  return {{"w", w}};
}

void expect_clipping_and_unscaling(Device device) {
  const std::vector<NamedVariable> parameters = three_and_four(device, 8);
  const auto optimizer =
      make_sgd(parameters, {.momentum = 0, .nesterov = false, .weight_decay = 0});
  const Tensor control =
      control_tensor({.learning_rate = 0.5F, .clip_norm = 2.5F, .loss_scale = 8}, device);
  gradient_control(parameters, control);
  EXPECT_EQ(read(control).gradient_norm, 5);
  EXPECT_EQ(read(control).gradient_scale, 0.5F / 8);
  EXPECT_EQ(read(control).skip, 0);
  EXPECT_EQ(read(control).loss_scale, 8) << "grown without an interval";
  EXPECT_EQ(read(control).learning_rate, 0.5F);
  optimizer->step(control);
  // w - 0.5 * (1.5, 2)
  EXPECT_EQ(parameters[0].variable.value().to_vector<float>(), (std::vector<float>{0.25F, 1}));
  // Below the limit nothing is clipped.
  const Tensor loose = control_tensor({.clip_norm = 5.5F, .loss_scale = 8}, device);
  gradient_control(parameters, loose);
  EXPECT_EQ(read(loose).gradient_scale, 1.0F / 8);
}

// The scale after each of the gradients, `true` for one that overflowed.
std::vector<float> scales_after(Device device, float first, const std::vector<bool>& overflows) {
  const std::vector<NamedVariable> good = three_and_four(device, 1);
  const std::vector<NamedVariable> bad = three_and_four(device, INFINITY);
  const Tensor control = control_tensor({.loss_scale = first, .growth_interval = 3}, device);
  std::vector<float> scales;
  for (const bool overflow : overflows) {
    gradient_control(overflow ? bad : good, control);
    EXPECT_EQ(read(control).skip, overflow ? 1 : 0);
    scales.push_back(read(control).loss_scale);
  }
  return scales;
}

void expect_scale_to_follow_overflows(Device device) {
  EXPECT_EQ(scales_after(device, 16, {false, false, false, false, false, false, false}),
            (std::vector<float>{16, 16, 32, 32, 32, 64, 64}));
  EXPECT_EQ(scales_after(device, 16, {true, true, false, false, true, false, false, false}),
            (std::vector<float>{8, 4, 4, 4, 2, 2, 2, 4}));
  // However long it goes on, the scale stays a number that can be divided by.
  EXPECT_GT(scales_after(device, 0x1p-99F, std::vector<bool>(60, true)).back(), 0x1p-102F);
  EXPECT_LT(scales_after(device, 0x1p+99F, std::vector<bool>(60, false)).back(), 0x1p+102F);
}

void expect_skips_to_change_nothing(Device device) {
  for (const Variant& variant : variants()) {
    std::vector<NamedVariable> parameters = start();
    for (NamedVariable& parameter : parameters) {
      parameter.variable = Variable(parameter.variable.value().to(device), true);
    }
    const auto optimizer = variant.make(parameters);
    const auto give = [&](float value) {
      for (NamedVariable& parameter : parameters) {
        const Shape& shape = parameter.variable.shape();
        give_gradient(parameter.variable, Tensor::full(shape, value).to(device));
      }
    };
    give(0.5F);
    optimizer->step(0.1);
    std::vector<std::vector<double>> before;
    const auto all = [&] {
      std::vector<std::vector<double>> values;
      for (const NamedVariable& p : parameters) {
        values.push_back(p.variable.value().to_vector<double>());
      }
      for (const NamedTensor& entry : optimizer->state()) {
        values.push_back(entry.tensor.to_vector<double>());
      }
      return values;
    };
    before = all();
    for (const float none : {NAN, INFINITY, -INFINITY}) {
      give(none);
      const Tensor control = control_tensor({.learning_rate = 0.1F, .clip_norm = 1}, device);
      gradient_control(parameters, control);
      EXPECT_EQ(read(control).skip, 1);
      optimizer->step(control);
      EXPECT_EQ(all(), before) << variant.name << ", " << none;
    }
    give(0.5F);
    const Tensor control = control_tensor({.learning_rate = 0.1F}, device);
    gradient_control(parameters, control);
    optimizer->step(control);
    EXPECT_NE(all(), before) << variant.name;
  }
}

TEST(StepControl, ClipsAndUnscales) {
  expect_clipping_and_unscaling(Device{});
}
TEST(StepControl, TheLossScaleFollowsOverflows) {
  expect_scale_to_follow_overflows(Device{});
}
TEST(StepControl, ASkippedStepChangesNothing) {
  expect_skips_to_change_nothing(Device{});
}

// ---- On a GPU -----------------------------------------------------------------------------------

class DeviceOptimizer : public DeviceTest {
 protected:
  // More than a table of the kernels holds; several chunks, odd counts and places, an empty one.
  static std::vector<NamedVariable> parameters_on(Device device) {
    std::vector<NamedVariable> parameters;
    const auto add = [&](const Shape& shape) {
      const uint64_t number = parameters.size();
      const Tensor value = random_normal(shape, 1, 11, number).to(device);
      parameters.push_back({"p" + std::to_string(number), Variable(value, true)});
    };
    add({130, 71});
    add({4096});
    for (int64_t i = 0; i < 70; ++i) add({1 + i % 5});
    add({0});
    // A slice, four bytes off the grid on which kernels move sixteen.
    const Tensor whole = random_normal({102}, 1, 11, 99).to(device);
    parameters.push_back({"slice", Variable(whole.slice(1, 102), true)});
    add({5, 3});
    return parameters;
  }
  static void give_gradients(std::vector<NamedVariable>& parameters, uint64_t step) {
    for (size_t i = 0; i < parameters.size(); ++i) {
      const Variable& variable = parameters[i].variable;
      const Tensor gradient = random_normal(variable.shape(), 0.5, 12, 1000 * step + i);
      give_gradient(variable, gradient.to(variable.value().device()));
    }
  }
  static void expect_near(const Tensor& actual, const Tensor& expected, const std::string& what) {
    const auto a = actual.to_vector<double>(), b = expected.to_vector<double>();
    ASSERT_EQ(a.size(), b.size()) << what;
    for (size_t i = 0; i < a.size(); ++i) {
      ASSERT_NEAR(a[i], b[i], 2e-6 * std::max(1.0, std::abs(b[i]))) << what << ", element " << i;
    }
  }
  static void expect_same(const std::vector<NamedVariable>& actual,
                          const std::vector<NamedVariable>& expected, const std::string& what) {
    for (size_t i = 0; i < actual.size(); ++i) {
      expect_near(actual[i].variable.value(), expected[i].variable.value(),
                  what + ", " + actual[i].name);
    }
  }
};

TEST_F(DeviceOptimizer, TakesTheStepsOfTheCpu) {
  for (const Variant& variant : variants()) {
    std::vector<NamedVariable> here = parameters_on(Device{}), there = parameters_on(device_);
    const auto on_cpu = variant.make(here), on_device = variant.make(there);
    for (uint64_t step = 0; step < 4; ++step) {
      give_gradients(here, step);
      give_gradients(there, step);
      on_cpu->step(0.05);
      on_device->step(0.05);
    }
    expect_same(there, here, variant.name);
    const StateDict expected = on_cpu->state(), actual = on_device->state();
    ASSERT_EQ(actual.size(), expected.size());
    for (size_t i = 0; i < actual.size(); ++i) {
      EXPECT_EQ(actual[i].name, expected[i].name);
      EXPECT_EQ(actual[i].tensor.device(), device_);
      expect_near(actual[i].tensor, expected[i].tensor, actual[i].name);
    }
  }
}

TEST_F(DeviceOptimizer, ItsStateMovesBothWays) {
  for (const Variant& variant : variants()) {
    std::vector<NamedVariable> there = parameters_on(device_);
    const auto first = variant.make(there);
    for (uint64_t step = 0; step < 3; ++step) {
      give_gradients(there, step);
      first->step(0.05);
    }
    const auto copy_to = [&](Device device) {
      std::vector<NamedVariable> copies;
      for (const NamedVariable& parameter : there) {
        const Tensor value = parameter.variable.value().clone().to(device);
        copies.push_back({parameter.name, Variable(value, true)});
      }
      return copies;
    };
    std::vector<NamedVariable> here = copy_to(Device{}), back = copy_to(device_);
    const auto second = variant.make(here), third = variant.make(back);
    second->load_state(first->state());
    third->load_state(second->state());
    give_gradients(there, 3);
    give_gradients(here, 3);
    give_gradients(back, 3);
    first->step(0.05);
    second->step(0.05);
    third->step(0.05);
    expect_same(here, there, std::string(variant.name) + " on the CPU");
    for (size_t i = 0; i < there.size(); ++i) {
      EXPECT_EQ(back[i].variable.value().to_vector<float>(),
                there[i].variable.value().to_vector<float>())
          << variant.name;
    }
  }
}

TEST_F(DeviceOptimizer, LeavesParametersWithoutAGradientAlone) {
  std::vector<NamedVariable> there = parameters_on(device_);
  const auto optimizer = make_adam(there);
  const auto untouched = there[0].variable.value().to_vector<float>();
  give_gradient(there[1].variable, Tensor::full(there[1].variable.shape(), 1).to(device_));
  optimizer->step(0.1);
  EXPECT_EQ(there[0].variable.value().to_vector<float>(), untouched);
  const auto steps = optimizer->state()[0].tensor.to_vector<int64_t>();
  EXPECT_EQ(steps[0], 0);
  EXPECT_EQ(steps[1], 1);
}

TEST_F(DeviceOptimizer, NormAndClippingAreTheCpus) {
  std::vector<NamedVariable> here = parameters_on(Device{}), there = parameters_on(device_);
  give_gradients(here, 0);
  give_gradients(there, 0);
  const kernels::StepControl of_here = control_of(here, 1.5), of_there = control_of(there, 1.5);
  EXPECT_NEAR(of_there.gradient_norm / of_here.gradient_norm, 1, 1e-6);
  EXPECT_NEAR(of_there.gradient_scale / of_here.gradient_scale, 1, 1e-6);
  EXPECT_EQ(control_of(there).gradient_norm, of_there.gradient_norm) << "another sum each time";
}

#if defined(GLASSNET_CUDA)
// Four bytes off the grid on which kernels move sixteen.
TEST_F(DeviceOptimizer, NormOfGradientsAnywhere) {
  const DeviceArray<float> g(std::vector<float>{1e30F, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 1e30F});
  const DeviceArray<kernels::StepControl> control(std::vector<kernels::StepControl>(1));
  kernels::gradient_control(kernels::current_cuda(0), {{.g = g.get() + 1, .count = 10}},
                            control.get());
  EXPECT_FLOAT_EQ(control.host()[0].gradient_norm, std::sqrt(385.0F));
}
#endif

TEST_F(DeviceOptimizer, ClipsAndUnscales) {
  expect_clipping_and_unscaling(device_);
}
TEST_F(DeviceOptimizer, TheLossScaleFollowsOverflows) {
  expect_scale_to_follow_overflows(device_);
}
TEST_F(DeviceOptimizer, ASkippedStepChangesNothing) {
  expect_skips_to_change_nothing(device_);
}

}  // namespace
}  // namespace glassnet
