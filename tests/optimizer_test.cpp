// Optimizers against PyTorch's (scripts/make-golden-optimizers) and against closed forms.
#include "training/optimizer.h"

#include <omp.h>

#include <cmath>
#include <filesystem>
#include <functional>
#include <map>

#include <gtest/gtest.h>

#include "models/safetensors.h"
#include "tensor/math.h"
#include "tensor/random.h"

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

const std::vector<Variant>& variants() {
  static const std::vector<Variant> all = {
      {"sgd", sgd({.momentum = 0, .nesterov = false, .weight_decay = 0})},
      {"sgd_decay", sgd({.momentum = 0, .nesterov = false, .weight_decay = 0.1})},
      {"momentum", sgd({.momentum = 0.9, .nesterov = false, .weight_decay = 0.1})},
      {"nesterov", sgd({.momentum = 0.9, .nesterov = true, .weight_decay = 0.1})},
      {"adam", adam({})},
      {"adam_decay", adam({.beta1 = 0.8, .beta2 = 0.99, .weight_decay = 0.1})},
      {"adamw", adam({.weight_decay = 0.1, .decoupled = true})},
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
}

TEST(GradientNorm, ClipsAsPyTorch) {
  std::vector<NamedVariable> parameters = start();
  for (NamedVariable& parameter : parameters) {
    const Tensor gradient = golden().at("gradients/" + parameter.name).slice(0, 1);
    give_gradient(parameter.variable,
                  gradient.reshape(parameter.variable.shape()).to(DType::kFloat32));
  }
  const double norm = golden().at("clip/norm").item();
  EXPECT_NEAR(clip_gradients(parameters, norm + 1), norm, 1e-6);
  EXPECT_NEAR(clip_gradients(parameters, 1.5), norm, 1e-6) << "changed below the limit";
  EXPECT_NEAR(gradient_norm(parameters), 1.5, 1e-6);
  for (const NamedVariable& parameter : parameters) {
    const auto expected = golden().at("clip/" + parameter.name).to_vector<double>();
    const auto got = parameter.variable.grad().to_vector<double>();
    for (size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], expected[i], 1e-6);
  }
}

TEST(GradientNorm, IsTheSameAtAnyNumberOfThreads) {
  Variable large(Tensor::zeros({100'003}), true);
  give_gradient(large, random_normal({100'003}, 1, 3, 0));
  const std::vector<NamedVariable> parameters = {{"large", large}};
  const int before = omp_get_max_threads();
  omp_set_num_threads(1);
  const double expected = gradient_norm(parameters);
  for (const int threads : {2, 3, 7}) {
    omp_set_num_threads(threads);
    EXPECT_EQ(gradient_norm(parameters), expected) << threads;
  }
  omp_set_num_threads(before);
  EXPECT_NEAR(expected, std::sqrt(100'003.0), 2);
}

}  // namespace
}  // namespace glassnet
