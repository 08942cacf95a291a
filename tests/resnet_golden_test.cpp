// Whole networks against torchvision: logits, every parameter's gradient, running statistics and
// ten steps of SGD, on small ResNets of every kind whose weights both sides draw from Philox.
// The numbers come from scripts/make-golden-resnet, computed in float64.
#include <cmath>
#include <map>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "models/resnet.h"
#include "models/safetensors.h"
#include "tensor/math.h"
#include "tests/drawn_network.h"
#include "training/optimizer.h"

namespace glassnet {
namespace {

constexpr double kRate = 0.01, kMomentum = 0.9, kDecay = 5e-4, kSmoothing = 0.05;
constexpr int kSteps = 10;

struct Kind {
  const char* name;  // of the golden file
  ResNetOptions options;
  DType type;
  double tolerance;       // of values and gradients, relative to their root mean square
  double loss_tolerance;  // of a loss after steps that errors grow in
};
std::string name_of(const Kind& kind) {
  return fmt::format("{}_{}", kind.name, kind.type == DType::kFloat64 ? "float64" : "float32");
}
void PrintTo(const Kind& kind, std::ostream* out) {
  *out << name_of(kind);
}

std::vector<Kind> kinds() {
  const std::vector<std::pair<const char*, ResNetOptions>> networks = {
      {"basic", {.bottleneck = false, .blocks = {1, 1, 1, 1}, .classes = 3}},
      {"bottleneck", {.blocks = {1, 1, 1, 1}, .classes = 3}},
      {"grouped", {.blocks = {1, 1, 1, 1}, .groups = 8, .width_per_group = 4, .classes = 3}},
      {"wide", {.blocks = {1, 1, 1, 1}, .width_per_group = 80, .classes = 3}},
      {"cifar", {.bottleneck = false, .blocks = {2, 1, 1}, .cifar = true, .classes = 3}}};
  std::vector<Kind> all;
  for (const auto& [name, options] : networks) {
    all.push_back({name, options, DType::kFloat64, 1e-10, 1e-9});
    all.push_back({name, options, DType::kFloat32, 1e-4, 1e-4});
  }
  return all;
}

class ResNetGolden : public testing::TestWithParam<Kind> {
 protected:
  ResNetGolden() : model_(GetParam().options) {
    const SafeTensors file = load_safetensors(
        fmt::format("{}/resnet_{}.safetensors", GLASSNET_GOLDEN_DIR, GetParam().name));
    for (const NamedTensor& entry : file.tensors) golden_[entry.name] = entry.tensor;

    model_.to(GetParam().type);
    draw_weights(model_);
    images_ = Variable(draw("images", {3, 40, 40, 3}, -1, 1).to(GetParam().type));
  }

  Variable loss(const Variable& logits) const {
    return cross_entropy(logits, Tensor::from<int64_t>({0, 2, 1}, {3}),
                         {.label_smoothing = kSmoothing});
  }

  void expect_near(const Tensor& actual, const std::string& name, double tolerance) const {
    const std::vector<double> a = actual.to_vector<double>();
    const std::vector<double> e = golden_.at(name).to_vector<double>();
    ASSERT_EQ(a.size(), e.size()) << name;
    double square = 0;
    for (const double value : e) square += value * value;
    const double scale = std::sqrt(square / static_cast<double>(e.size()));
    for (size_t i = 0; i < e.size(); ++i) {
      EXPECT_NEAR(a[i], e[i], tolerance * scale) << name << ", element " << i;
    }
  }

  // The root mean square, the mean, and six elements from the first to the last.
  void expect_digest(const Tensor& actual, const std::string& name) const {
    const std::vector<double> a = actual.to_vector<double>();
    const std::vector<double> e = golden_.at(name).to_vector<double>();
    double square = 0, sum = 0;
    for (const double value : a) {
      square += value * value;
      sum += value;
    }
    const auto count = static_cast<double>(a.size());
    std::vector<double> digest = {std::sqrt(square / count), sum / count};
    for (size_t i = 0; i < 6; ++i) digest.push_back(a[i * (a.size() - 1) / 5]);
    ASSERT_EQ(e.size(), digest.size()) << name;
    for (size_t i = 0; i < digest.size(); ++i) {
      EXPECT_NEAR(digest[i], e[i], GetParam().tolerance * e[0]) << name << ", digest " << i;
    }
  }

  size_t count(const std::string& prefix) const {
    size_t found = 0;
    for (const auto& [name, tensor] : golden_) found += name.starts_with(prefix);
    return found;
  }

  ResNet model_;
  Variable images_;
  std::map<std::string, Tensor> golden_;
};

TEST_P(ResNetGolden, InferenceLogits) {
  model_.eval();
  expect_near(model_(images_).value(), "inference_logits", GetParam().tolerance);
}

TEST_P(ResNetGolden, ATrainingStepsLossGradientsAndRunningStatistics) {
  const Variable logits = model_(images_);
  expect_near(logits.value(), "logits", GetParam().tolerance);
  const Variable value = loss(logits);
  expect_near(value.value(), "loss", GetParam().tolerance);
  backward(value);

  const std::vector<NamedVariable> parameters = model_.named_parameters();
  EXPECT_EQ(parameters.size(), count("gradient/"));
  for (const NamedVariable& parameter : parameters) {
    ASSERT_EQ(parameter.variable.grad().shape(), parameter.variable.shape()) << parameter.name;
    expect_digest(parameter.variable.grad(), "gradient/" + parameter.name);
  }
  size_t statistics = 0;
  for (const NamedTensor& buffer : model_.named_buffers()) {
    if (buffer.tensor.rank() == 0) {
      EXPECT_EQ(buffer.tensor.item(), 1) << buffer.name;
    } else {
      expect_digest(buffer.tensor, "buffer/" + buffer.name);
      ++statistics;
    }
  }
  EXPECT_EQ(statistics, count("buffer/"));
}

// PyTorch's SGD with Nesterov's look-ahead, written out in the network's own type.
struct PlainSgd {
  std::vector<NamedVariable> parameters;
  std::vector<Tensor> velocities = std::vector<Tensor>(parameters.size());

  void step() {
    for (size_t i = 0; i < parameters.size(); ++i) {
      Tensor& weight = parameters[i].variable.mutable_value();
      const Tensor gradient = add(parameters[i].variable.grad(), scale(weight, kDecay));
      Tensor& velocity = velocities[i];
      velocity = velocity.defined() ? add(scale(velocity, kMomentum), gradient) : gradient;
      add_in_place(weight, scale(add(gradient, scale(velocity, kMomentum)), -kRate));
    }
  }
};

TEST_P(ResNetGolden, TenStepsOfSgd) {
  const std::vector<NamedVariable> parameters = model_.named_parameters();
  PlainSgd plain{parameters};
  std::unique_ptr<Optimizer> sgd;  // what networks are trained with works in float32
  if (GetParam().type == DType::kFloat32) {
    sgd = make_sgd(parameters, {.momentum = kMomentum, .nesterov = true, .weight_decay = kDecay});
  }
  std::vector<double> losses;
  for (int step = 0; step < kSteps; ++step) {
    model_.clear_grads();
    const Variable value = loss(model_(images_));
    backward(value);
    losses.push_back(value.value().item());
    if (sgd) {
      sgd->step(kRate);
    } else {
      plain.step();
    }
  }
  expect_near(Tensor::from(losses, {kSteps}), "losses", GetParam().loss_tolerance);
  EXPECT_LT(losses.back(), 0.5 * losses.front());
  model_.eval();
  // Ten steps of batch statistics over three images magnify what float32 rounds, differently with
  // every order of summation: the logits agree to a percent where the losses do to a ten
  // thousandth.
  expect_near(model_(images_).value(), "trained_logits", 100 * GetParam().loss_tolerance);
}

INSTANTIATE_TEST_SUITE_P(Kinds, ResNetGolden, testing::ValuesIn(kinds()),
                         [](const auto& kind) { return name_of(kind.param); });

}  // namespace
}  // namespace glassnet
