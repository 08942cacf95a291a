// Modules: names, parameters, hooks, state dicts and initialisation, on small networks and on the
// ResNets, whose names and shapes are compared with torchvision's own.
#include "nn/module.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "models/resnet.h"
#include "models/summary.h"
#include "nn/layers.h"
#include "tensor/math.h"
#include "tensor/random.h"

namespace glassnet {
namespace {

// A little of everything: convolution, batch norm, a nested stage, a classifier.
class SmallNet : public Module {
 public:
  const char* kind() const override { return "SmallNet"; }

  Conv2d& conv = child<Conv2d>("conv", Conv2dLayer{.in = 3, .out = 4, .padding = 1});
  BatchNorm2d& bn = child<BatchNorm2d>("bn", BatchNorm2dLayer{.channels = 4});
  Sequential& stage = child<Sequential>("stage");
  Conv2d& inner = stage.add<Conv2d>(Conv2dLayer{.in = 4, .out = 6, .kernel = 1, .bias = false});
  ReLU& relu_step = stage.add<ReLU>();
  Linear& fc = child<Linear>("fc", LinearLayer{.in = 6, .out = 2});

 protected:
  Variable forward(const Variable& x) override { return fc(global_avg_pool(stage(bn(conv(x))))); }
};

Tensor picture(DType type = DType::kFloat32) {
  return random_normal({2, 5, 5, 3}, 1, 3, static_cast<uint64_t>(Stream::kUser), type);
}

std::map<std::string, std::vector<double>> values_of(const StateDict& state) {
  std::map<std::string, std::vector<double>> values;
  for (const NamedTensor& entry : state) values[entry.name] = entry.tensor.to_vector<double>();
  return values;
}

StateDict clone_of(const StateDict& state) {
  StateDict copy;
  for (const NamedTensor& entry : state) copy.push_back({entry.name, entry.tensor.clone()});
  return copy;
}

template <class F>
std::string message_of(F&& f) {
  try {
    f();
  } catch (const Error& error) {
    return error.what();
  }
  return "nothing was thrown";
}

void expect_contains(const std::string& text, const std::string& part) {
  EXPECT_NE(text.find(part), std::string::npos) << "'" << part << "' is not in: " << text;
}

// --- ResNets against torchvision -----------------------------------------------------------------

// What scripts/make-golden-names wrote of one network.
struct GoldenNames {
  int64_t parameters = 0;
  std::vector<std::string> lines;  // "layer1.0.conv1.weight 64,64,1,1"
};

GoldenNames golden_names(const std::string& model) {
  const auto path =
      std::filesystem::path(GLASSNET_GOLDEN_DIR) / "torchvision_names" / (model + ".txt");
  std::ifstream file(path);
  EXPECT_TRUE(file) << path;
  GoldenNames golden;
  const std::string head = "# parameters ";
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with(head)) golden.parameters = std::stoll(line.substr(head.size()));
    if (!line.starts_with("#")) golden.lines.push_back(line);
  }
  return golden;
}

// A state dict in the same form, shapes in PyTorch's order of axes.
std::vector<std::string> lines_of(const StateDict& state) {
  std::vector<std::string> lines;
  for (const auto& [name, tensor] : state) {
    std::vector<int64_t> dims = tensor.shape().dims();
    if (dims.size() == 4) dims = {dims[0], dims[3], dims[1], dims[2]};
    std::ostringstream line;
    line << name;
    for (size_t i = 0; i < dims.size(); ++i) line << (i == 0 ? ' ' : ',') << dims[i];
    lines.push_back(line.str());
  }
  return lines;
}

TEST(ResNet, NamesShapesAndOrderAreTorchvisions) {
  const std::map<std::string, int64_t> parameters = {{"resnet18", 11'689'512},
                                                     {"resnet34", 21'797'672},
                                                     {"resnet50", 25'557'032},
                                                     {"resnet101", 44'549'160},
                                                     {"resnet152", 60'192'808},
                                                     {"resnext50_32x4d", 25'028'904},
                                                     {"resnext101_32x8d", 88'791'336},
                                                     {"resnext101_64x4d", 83'455'272},
                                                     {"wide_resnet50_2", 68'883'240},
                                                     {"wide_resnet101_2", 126'886'696},
                                                     {"resnet20", 269'722},
                                                     {"resnet32", 464'154},
                                                     {"resnet44", 658'586},
                                                     {"resnet56", 853'018},
                                                     {"resnet110", 1'727'962}};
  ASSERT_EQ(model_names().size(), parameters.size());
  for (const std::string& name : model_names()) {
    SCOPED_TRACE(name);
    const auto model = make_model(name);
    const GoldenNames golden = golden_names(name);
    EXPECT_EQ(lines_of(model->state_dict()), golden.lines);
    EXPECT_EQ(model->parameter_count(), golden.parameters);
    EXPECT_EQ(model->parameter_count(), parameters.at(name));
  }
}

// Of any number of classes, with either name for the classifier, and with tensors lacking.
TEST(ResNet, TensorsTellTheirModel) {
  for (const std::string& name : model_names()) {
    SCOPED_TRACE(name);
    std::vector<NamedShape> tensors;
    for (const auto& [tensor, value] : make_model(name, {.classes = 7})->state_dict()) {
      std::vector<int64_t> dims = value.shape().dims();
      if (dims.size() == 4) dims = {dims[0], dims[3], dims[1], dims[2]};
      if (tensor != "bn1.bias") tensors.push_back({tensor, Shape(dims)});
    }
    EXPECT_EQ(model_fitting(tensors), name);
    for (NamedShape& tensor : tensors) {
      if (tensor.name.starts_with("fc.")) tensor.name = "linear." + tensor.name.substr(3);
    }
    EXPECT_EQ(model_fitting(tensors), name);
    tensors.push_back({"layer1.99.conv2.weight", {64, 64, 3, 3}});  // not counted: 98 lack
    EXPECT_EQ(model_fitting(tensors), name);
    std::erase_if(tensors, [](const auto& tensor) { return tensor.name == "conv1.weight"; });
    EXPECT_EQ(model_fitting(tensors), std::nullopt);
  }
  EXPECT_EQ(model_fitting({}), std::nullopt);
  EXPECT_EQ(model_fitting({{"conv1.weight", {}}, {"fc.weight", {1}}}), std::nullopt);
}

TEST(ResNet, KnowsItsLastStageAndUsualInput) {
  EXPECT_EQ(last_stage(*make_model("resnet18")), "layer4");
  EXPECT_EQ(last_stage(*make_model("resnet20")), "layer3");
  EXPECT_THROW(last_stage(ReLU()), UsageError);
  EXPECT_EQ(usual_input("wide_resnet50_2").image_size, 224);
  EXPECT_EQ(usual_input("resnet56").image_size, 32);
  EXPECT_EQ(usual_input("resnet56").classes, 10);
}

TEST(ResNet, TheClassifierFollowsTheNumberOfClasses) {
  EXPECT_EQ(make_model("resnet50", {.classes = 6})->parameter_count(), 23'520'326);
  EXPECT_THROW(make_model("resnet50", {.classes = 0}), Error);
}

TEST(ResNet, AnUnknownModelIsAnsweredWithTheKnownOnes) {
  EXPECT_THROW(make_model("resnet51"), UsageError);
  const std::string message = message_of([] { make_model("resnet51"); });
  expect_contains(message, "resnet51");
  expect_contains(message, "resnet50");
}

TEST(ResNet, ZeroInitMakesEveryBlockStartAsItsShortcut) {
  for (const bool bottleneck : {false, true}) {
    SCOPED_TRACE(bottleneck);
    ResNet model({.bottleneck = bottleneck,
                  .blocks = {2, 1, 1, 1},
                  .classes = 2,
                  .zero_init_residual = true});
    initialise(model, 0);
    const std::string last = bottleneck ? "bn3.weight" : "bn2.weight";
    int zeros = 0;
    for (const auto& [name, variable] : model.named_parameters()) {
      if (variable.shape().rank() != 1 || !name.ends_with("weight")) continue;  // not a gamma
      const bool zero = name.starts_with("layer") && name.ends_with(last);
      zeros += zero ? 1 : 0;
      for (const double value : variable.value().to_vector<double>()) {
        ASSERT_EQ(value, zero ? 0 : 1) << name;
      }
    }
    EXPECT_EQ(zeros, 5);
  }
}

TEST(ResNet, RunsOnAnyImageSize) {
  const auto model = make_model("resnet18", {.classes = 3});
  model->eval();
  const NoGrad no_grad;
  Shape seen;
  const HookHandle hook = model->on_forward("layer4", [&](const Variable& output) {
    seen = output.shape();
    return output;
  });
  for (const auto& [size, expected] : {std::pair<int64_t, int64_t>{32, 1}, {65, 3}}) {
    const Variable logits = (*model)(Variable(Tensor::full({2, size, size, 3}, 0.5)));
    EXPECT_EQ(logits.shape(), (Shape{2, 3}));
    EXPECT_EQ(seen, (Shape{2, expected, expected, 512}));
  }
}

// --- the tree ------------------------------------------------------------------------------------

TEST(Module, DeclaringAMemberRegistersIt) {
  SmallNet net;
  std::vector<std::string> paths;
  for (const auto& [path, module] : net.named_modules()) paths.push_back(path);
  EXPECT_EQ(paths,
            (std::vector<std::string>{"", "conv", "bn", "stage", "stage.0", "stage.1", "fc"}));
  std::vector<std::string> parameters;
  for (const auto& [name, variable] : net.named_parameters()) {
    EXPECT_TRUE(variable.requires_grad()) << name;
    parameters.push_back(name);
  }
  EXPECT_EQ(parameters,
            (std::vector<std::string>{"conv.weight", "conv.bias", "bn.weight", "bn.bias",
                                      "stage.0.weight", "fc.weight", "fc.bias"}));
  std::vector<std::string> buffers;
  for (const auto& entry : net.named_buffers()) buffers.push_back(entry.name);
  EXPECT_EQ(buffers, (std::vector<std::string>{"bn.running_mean", "bn.running_var",
                                               "bn.num_batches_tracked"}));
  EXPECT_EQ(&net.find("stage.0"), &net.inner);
  EXPECT_EQ(&net.find(""), &net);
}

TEST(Module, AWrongPathIsAnsweredWithTheNearestNames) {
  SmallNet net;
  EXPECT_THROW(net.find("stage.2"), UsageError);
  const std::string message =
      message_of([&] { (void)net.on_forward("stage.2", [](const Variable& y) { return y; }); });
  expect_contains(message, "'stage.2'");
  expect_contains(message, "stage.0");
  expect_contains(message, "stage.1");
}

TEST(Module, NearestNamesAreOrderedByEditDistance) {
  EXPECT_EQ(nearest_names("layer5", {"fc", "conv1", "layer44", "layer4"}, 2),
            (std::vector<std::string>{"layer4", "layer44"}));
  EXPECT_TRUE(nearest_names("a", {}).empty());
}

TEST(Module, ModesReachEveryLayerAndBatchNormObeys) {
  SmallNet net;
  initialise(net, 1);
  EXPECT_TRUE(net.training());
  net(Variable(picture()));
  EXPECT_EQ(net.bn.num_batches_tracked.item(), 1);
  const auto trained = values_of(net.state_dict());
  EXPECT_NE(trained.at("bn.running_mean"), std::vector<double>(4, 0));

  net.eval();
  for (const auto& [path, module] : net.named_modules()) EXPECT_FALSE(module->training()) << path;
  net(Variable(picture()));
  EXPECT_EQ(values_of(net.state_dict()), trained) << "evaluation changes nothing";
  net.train();
  for (const auto& [path, module] : net.named_modules()) EXPECT_TRUE(module->training()) << path;
}

TEST(Module, FreezingStopsGradientsAndClearingForgetsThem) {
  SmallNet net;
  initialise(net, 1);
  backward(sum(net(Variable(picture()))));
  for (const auto& [name, variable] : net.named_parameters()) {
    EXPECT_TRUE(variable.grad().defined()) << name;
  }
  net.clear_grads();
  for (const auto& [name, variable] : net.named_parameters()) {
    EXPECT_FALSE(variable.grad().defined()) << name;
  }
  net.set_requires_grad(false);
  EXPECT_FALSE(net(Variable(picture())).requires_grad());
}

TEST(Module, ConvertsItsFloatingPointNumbers) {
  SmallNet net;
  initialise(net, 2);
  net.eval();
  net.fc.set_requires_grad(false);
  const auto before = values_of(net.state_dict());
  const std::vector<double> single = net(Variable(picture())).value().to_vector<double>();
  net.to(DType::kFloat64);
  EXPECT_EQ(values_of(net.state_dict()), before) << "float32 to float64 loses nothing";
  for (const auto& [name, tensor] : net.state_dict()) {
    EXPECT_EQ(tensor.dtype(), name.ends_with("tracked") ? DType::kInt64 : DType::kFloat64) << name;
  }
  EXPECT_TRUE(net.conv.weight.requires_grad());
  EXPECT_FALSE(net.fc.weight.requires_grad()) << "what was frozen stays so";
  const Variable y = net(Variable(picture().to(DType::kFloat64)));
  EXPECT_EQ(y.value().dtype(), DType::kFloat64);
  const std::vector<double> twice = y.value().to_vector<double>();
  for (size_t i = 0; i < twice.size(); ++i) EXPECT_NEAR(single[i], twice[i], 1e-5);
  EXPECT_EQ(grad(sum(y), {net.conv.weight})[0].dtype(), DType::kFloat64);
}

// --- hooks ---------------------------------------------------------------------------------------

TEST(ForwardHooks, RunInTheOrderOfExecutionAndEndWithTheirHandles) {
  SmallNet net;
  std::vector<std::string> order;
  const auto note = [&](const std::string& name) {
    return [&order, name](const Variable& y) {
      order.push_back(name);
      return y;
    };
  };
  {
    std::vector<HookHandle> hooks;
    for (const std::string path : {"", "fc", "stage", "stage.1", "stage.0", "conv"}) {
      hooks.push_back(net.on_forward(path, note(path)));
    }
    hooks.push_back(net.on_forward("conv", note("conv again")));
    net(Variable(picture()));
  }
  const std::vector<std::string> expected = {"conv",  "conv again", "stage.0", "stage.1",
                                             "stage", "fc",         ""};
  EXPECT_EQ(order, expected);
  net(Variable(picture()));
  EXPECT_EQ(order, expected) << "a hook that went out of scope ran";
}

TEST(ForwardHooks, ObserveWithoutChangingAnything) {
  SmallNet net;
  initialise(net, 4);
  net.eval();
  const auto plain = net(Variable(picture())).value().to_vector<double>();
  Variable seen;
  const HookHandle hook = net.on_forward("stage", [&](const Variable& y) { return seen = y; });
  const Variable y = net(Variable(picture()));
  EXPECT_EQ(y.value().to_vector<double>(), plain);
  EXPECT_EQ(seen.shape(), (Shape{2, 5, 5, 6}));
  EXPECT_EQ(grad(sum(y), {seen})[0].shape(), seen.shape());
}

TEST(ForwardHooks, ReplaceTheOutputOneAfterTheOther) {
  SmallNet net;
  initialise(net, 4);
  const HookHandle zero = net.on_forward("stage", [](const Variable& y) { return scale(y, 0); });
  const HookHandle shift =
      net.on_forward("stage", [](const Variable& y) { return scale(y, 1, 2); });
  const auto weight = net.fc.weight.value().to_vector<double>();
  const auto bias = net.fc.bias.value().to_vector<double>();
  const auto y = net(Variable(picture())).value().to_vector<double>();
  for (size_t row = 0; row < 2; ++row) {
    for (size_t k = 0; k < 2; ++k) {
      double expected = bias[k];
      for (size_t c = 0; c < 6; ++c) expected += 2 * weight[6 * k + c];
      EXPECT_NEAR(y[2 * row + k], expected, 1e-5);
    }
  }
}

TEST(ForwardHooks, CutTheGraphOfAFrozenNetworkWithAFreshLeaf) {
  SmallNet net;
  initialise(net, 4);
  net.eval();
  net.set_requires_grad(false);
  Variable activation;
  const HookHandle hook =
      net.on_forward("stage", [&](const Variable& y) { return activation = leaf(y.value()); });
  const Variable image = leaf(picture());
  const Variable score = sum(select(net(image), {1}));
  const std::vector<double> gradient =
      grad(score, {activation}, {.keep_graph = true})[0].to_vector<double>();
  // d score / d activation = fc.weight[1] / (5 * 5), the same at every pixel.
  const auto weight = net.fc.weight.value().to_vector<double>();
  ASSERT_EQ(gradient.size(), size_t{2 * 5 * 5 * 6});
  for (size_t i = 0; i < gradient.size(); ++i) {
    EXPECT_NEAR(gradient[i], weight[6 + i % 6] / 25, 1e-7);
  }
  EXPECT_THROW(grad(score, {image}), Error) << "nothing below the leaf is recorded";
}

TEST(ForwardHooks, MayGiveSeveralVariantsOfOneImagesOutput) {
  SmallNet net;
  initialise(net, 5);
  net.eval();
  const Variable image{picture().slice(0, 1)};
  const auto usual = net(image).value().to_vector<float>();
  const HookHandle hook = net.on_forward("conv", [](const Variable& y) {
    Tensor variants = Tensor::zeros({3, y.shape()[1], y.shape()[2], y.shape()[3]});
    variants.slice(1, 2).copy_from(y.value());
    return Variable(variants);
  });
  const Tensor logits = net(image).value();
  ASSERT_EQ(logits.dim(0), 3);
  const auto variants = logits.to_vector<float>();
  for (size_t c = 0; c < 2; ++c) {
    EXPECT_NEAR(variants[2 + c], usual[c], 1e-6);
    EXPECT_FLOAT_EQ(variants[c], variants[4 + c]);
    EXPECT_GT(std::abs(variants[c] - usual[c]), 1e-3);
  }
}

TEST(ForwardHooks, RefuseAnotherShapeAndNothing) {
  SmallNet net;
  {
    const HookHandle hook = net.on_forward("conv", [](const Variable& y) { return sum(y); });
    const std::string message = message_of([&] { net(Variable(picture())); });
    expect_contains(message, "Conv2d");
    expect_contains(message, "(2, 5, 5, 4)");
  }
  const HookHandle hook = net.on_forward("fc", [](const Variable&) { return Variable(); });
  expect_contains(message_of([&] { net(Variable(picture())); }), "none");
}

TEST(ForwardHooks, MayRemoveThemselvesWhileTheyRun) {
  SmallNet net;
  int runs = 0;
  HookHandle hook;
  hook = net.on_forward("conv", [&](const Variable& y) {
    ++runs;
    hook.reset();
    return y;
  });
  net(Variable(picture()));
  net(Variable(picture()));
  EXPECT_EQ(runs, 1);
}

// --- state dicts ---------------------------------------------------------------------------------

TEST(StateDicts, MoveEveryNumberFromOneModelToAnother) {
  SmallNet from, to;
  initialise(from, 5);
  from(Variable(picture()));  // moves the running statistics and the count
  initialise(to, 6);
  ASSERT_NE(values_of(from.state_dict()), values_of(to.state_dict()));
  to.load_state_dict(from.state_dict());
  EXPECT_EQ(values_of(to.state_dict()), values_of(from.state_dict()));
  EXPECT_EQ(to.bn.num_batches_tracked.item(), 1);

  // Copies, not shares: training one leaves the other alone.
  from.fc.weight.mutable_value().fill(9);
  EXPECT_NE(to.fc.weight.value().to_vector<double>()[0], 9);
}

TEST(StateDicts, LoadInAnyOrderAndType) {
  SmallNet from, to;
  initialise(from, 5);
  StateDict state;
  for (const NamedTensor& entry : from.state_dict()) {
    const bool whole = entry.tensor.dtype() == DType::kInt64;
    state.insert(state.begin(),
                 {entry.name, whole ? entry.tensor : entry.tensor.to(DType::kFloat64)});
  }
  to.load_state_dict(state);
  EXPECT_EQ(values_of(to.state_dict()), values_of(from.state_dict()));
  EXPECT_EQ(to.fc.weight.value().dtype(), DType::kFloat32);
}

TEST(StateDicts, ShareTheirElementsWithTheModule) {
  SmallNet net;
  for (NamedTensor& entry : net.state_dict()) entry.tensor.fill(3);
  EXPECT_EQ(net.fc.bias.value().to_vector<double>(), (std::vector<double>{3, 3}));
  EXPECT_EQ(net.bn.num_batches_tracked.item(), 3);
}

TEST(StateDicts, WhatDoesNotFitChangesNothingAndIsNamed) {
  SmallNet net;
  initialise(net, 7);
  const auto before = values_of(net.state_dict());
  SmallNet other;
  initialise(other, 8);
  StateDict state = clone_of(other.state_dict());
  std::erase_if(state, [](const NamedTensor& entry) { return entry.name == "fc.bias"; });
  state.push_back({"fc.scale", Tensor::zeros({2})});
  state.front().tensor = Tensor::zeros({4, 3, 3, 5});
  ASSERT_EQ(state.front().name, "conv.weight");
  const std::string message = message_of([&] { net.load_state_dict(state); });
  expect_contains(message, "1 missing (fc.bias)");
  expect_contains(message, "1 unexpected (fc.scale, nearest is fc.bias)");
  expect_contains(message, "conv.weight: expected (4, 3, 3, 3), got (4, 3, 3, 5)");
  EXPECT_EQ(values_of(net.state_dict()), before);
}

TEST(StateDicts, AComplaintListsAtMostTenNames) {
  const auto large = make_model("resnet18", {.classes = 2});
  const std::string message = message_of([&] { large->load_state_dict({}); });
  expect_contains(message, "122 missing (conv1.weight; bn1.weight");
  expect_contains(message, "; …)");
  EXPECT_LT(message.size(), 500u);
}

// --- initialisation ------------------------------------------------------------------------------

struct Moments {
  double mean = 0, variance = 0, smallest = 0, largest = 0;
};
Moments moments_of(const Tensor& x) {
  const std::vector<double> values = x.to_vector<double>();
  const auto count = static_cast<double>(values.size());
  Moments m{.smallest = values[0], .largest = values[0]};
  for (const double value : values) {
    m.mean += value / count;
    m.smallest = std::min(m.smallest, value);
    m.largest = std::max(m.largest, value);
  }
  for (const double value : values) m.variance += (value - m.mean) * (value - m.mean) / count;
  return m;
}

TEST(Initialisation, IsAFunctionOfTheSeed) {
  SmallNet a, b, c;
  initialise(a, 11);
  initialise(b, 11);
  initialise(c, 12);
  b(Variable(picture()));
  b.fc.weight.mutable_value().fill(0);
  initialise(b, 11);  // from whatever state, running statistics included
  EXPECT_EQ(values_of(a.state_dict()), values_of(b.state_dict()));
  EXPECT_NE(a.conv.weight.value().to_vector<double>(), c.conv.weight.value().to_vector<double>());
}

TEST(Initialisation, LayersOfOneShapeDrawDifferentNumbers) {
  Sequential net;
  for (int i = 0; i < 3; ++i) net.add<Conv2d>(Conv2dLayer{.in = 4, .out = 4});
  initialise(net, 0);
  const auto weights = values_of(net.state_dict());
  EXPECT_NE(weights.at("0.weight"), weights.at("1.weight"));
  EXPECT_NE(weights.at("1.weight"), weights.at("2.weight"));
}

TEST(Initialisation, ConvolutionsHaveTheVarianceOfHe) {
  struct Case {
    Conv2dLayer layer;
    double variance;
  };
  const std::vector<Case> cases = {
      {{.in = 32, .out = 64, .kernel = 3}, 2.0 / (64 * 9)},
      {{.in = 256, .out = 64, .kernel = 1}, 2.0 / 64},
      {{.in = 64, .out = 64, .kernel = Pair(5, 3), .groups = 4}, 2.0 / (16 * 15)},
  };
  for (const Case& row : cases) {
    Conv2d conv(row.layer);
    initialise(conv, 21);
    const Tensor& weight = conv.weight.value();
    SCOPED_TRACE(weight.shape().str());
    const auto count = static_cast<double>(weight.numel());
    const Moments m = moments_of(weight);
    // Five standard errors of a sample mean and of a sample variance.
    EXPECT_NEAR(m.mean, 0, 5 * std::sqrt(row.variance / count));
    EXPECT_NEAR(m.variance / row.variance, 1, 5 * std::sqrt(2 / count));
    EXPECT_GT(m.largest, 3 * std::sqrt(row.variance)) << "normal, not uniform";
    EXPECT_EQ(conv.bias.value().to_vector<double>(),
              std::vector<double>(static_cast<size_t>(row.layer.out), 0));
  }
}

TEST(Initialisation, LinearLayersAreUniformAsInPyTorch) {
  Linear fc(LinearLayer{.in = 256, .out = 100});
  initialise(fc, 22);
  const double bound = 1.0 / 16;
  const Moments m = moments_of(fc.weight.value());
  EXPECT_GE(m.smallest, -bound);
  EXPECT_LE(m.largest, bound);
  EXPECT_LT(m.smallest, -0.99 * bound);
  EXPECT_GT(m.largest, 0.99 * bound);
  EXPECT_NEAR(m.variance / (bound * bound / 3), 1, 0.03);
  const Moments bias = moments_of(fc.bias.value());
  EXPECT_GE(bias.smallest, -bound);
  EXPECT_LE(bias.largest, bound);
  EXPECT_GT(bias.variance, 0);
}

// --- summaries -----------------------------------------------------------------------------------

TEST(Summary, CountsTheWorkOfResNetsAsPublished) {
  struct Case {
    const char* model;
    int64_t parameters, multiply_adds;
  };
  for (const Case& row :
       {Case{"resnet18", 11'689'512, 1'814'073'344}, Case{"resnet50", 25'557'032, 4'089'184'256}}) {
    SCOPED_TRACE(row.model);
    const auto model = make_model(row.model);
    const ModelSummary summary = summarise(*model, 224);
    EXPECT_EQ(summary.parameters, row.parameters);
    EXPECT_EQ(summary.multiply_adds, row.multiply_adds);
    int64_t parameters = 0;
    for (const LayerSummary& layer : summary.layers) parameters += layer.parameters;
    EXPECT_EQ(parameters, row.parameters) << "every parameter belongs to one line";
  }
}

TEST(Summary, HasALineForEachLayerInTheOrderInWhichTheyRun) {
  const auto model = make_model("resnet18", {.classes = 10});
  const ModelSummary summary = summarise(*model, 64);
  // conv1 bn1 relu maxpool, 8 blocks of 5 and 3 downsamples of 2, avgpool fc.
  ASSERT_EQ(summary.layers.size(), size_t{4 + 8 * 5 + 3 * 2 + 2});
  const LayerSummary& first = summary.layers.front();
  EXPECT_EQ(first.path, "conv1");
  EXPECT_EQ(first.kind, "Conv2d");
  EXPECT_EQ(first.output, (Shape{1, 32, 32, 64}));
  EXPECT_EQ(first.parameters, 64 * 3 * 7 * 7);
  EXPECT_EQ(first.multiply_adds, 32 * 32 * 64 * 3 * 7 * 7);
  EXPECT_EQ(summary.layers[3].path, "maxpool");
  EXPECT_EQ(summary.layers[3].output, (Shape{1, 16, 16, 64}));
  const LayerSummary& last = summary.layers.back();
  EXPECT_EQ(last.path, "fc");
  EXPECT_EQ(last.kind, "Linear");
  EXPECT_EQ(last.output, (Shape{1, 10}));
  EXPECT_EQ(last.parameters, 5130);
  EXPECT_EQ(last.multiply_adds, 5120);
}

TEST(Summary, CountsALayerThatRunsTwiceInOneLineAndGroupsApart) {
  class Twice : public Module {
   public:
    Conv2d& conv = child<Conv2d>("conv", Conv2dLayer{.in = 3, .out = 3, .padding = 1, .groups = 3});

   protected:
    Variable forward(const Variable& x) override { return conv(conv(x)); }
  };
  Twice net;
  const ModelSummary summary = summarise(net, 8);
  ASSERT_EQ(summary.layers.size(), 1u);
  EXPECT_EQ(summary.layers[0].parameters, 3 * 9 + 3);
  EXPECT_EQ(summary.multiply_adds, 2 * 8 * 8 * 3 * 9);
}

TEST(Summary, LeavesTheModelAsItWas) {
  SmallNet net;
  initialise(net, 30);
  net.train();
  net.stage.eval();
  const auto before = values_of(net.state_dict());
  for (const DType type : {DType::kFloat32, DType::kFloat64}) {
    net.to(type);
    EXPECT_EQ(summarise(net, 6).layers.size(), 5u);
  }
  EXPECT_TRUE(net.training());
  EXPECT_TRUE(net.bn.training());
  EXPECT_FALSE(net.stage.training());
  EXPECT_FALSE(net.inner.training());
  EXPECT_EQ(values_of(net.state_dict()), before);
  EXPECT_THROW(summarise(net, 0), Error);
  EXPECT_TRUE(net.training());
}

}  // namespace
}  // namespace glassnet
