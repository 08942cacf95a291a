// What --freeze and --lr-scale make of a network, and what a frozen part costs a step.
#include "training/parameter_rates.h"

#include <functional>
#include <map>
#include <set>
#include <unordered_set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "models/resnet.h"
#include "nn/layers.h"
#include "tensor/math.h"
#include "tensor/random.h"
#include "tests/data_support.h"
#include "tests/op_harness.h"
#include "training/train_step.h"

namespace glassnet {
namespace {

using test::error_of;
using testing::StartsWith;

const Module& resnet18() {
  static const std::unique_ptr<Module> model = make_model("resnet18", {.classes = 3});
  return *model;
}

// --- patterns ------------------------------------------------------------------------------------

// A pattern freezes exactly the parameters whose names `expected` is true of.
void expect_frozen(const std::string& pattern,
                   const std::function<bool(const std::string&)>& expected) {
  const auto parameters = resnet18().named_parameters();
  const std::vector<double> factors = rate_factors(resnet18(), {pattern}, {});
  ASSERT_EQ(factors.size(), parameters.size());
  for (size_t i = 0; i < factors.size(); ++i) {
    EXPECT_EQ(factors[i], expected(parameters[i].name) ? 0 : 1)
        << pattern << " and " << parameters[i].name;
  }
}

TEST(ParameterRates, APatternIsAGlobOverNamesAndModulePaths) {
  const auto below = [](const std::string& path) {
    return [=](const std::string& name) { return name.starts_with(path + "."); };
  };
  const auto is = [](const std::string& other) {
    return [=](const std::string& name) { return name == other; };
  };
  expect_frozen("layer1", below("layer1"));
  expect_frozen("layer1.*", below("layer1"));
  expect_frozen("layer1.0", below("layer1.0"));
  expect_frozen("layer[12]", [&](const std::string& name) {
    return below("layer1")(name) || below("layer2")(name);
  });
  expect_frozen("layer?", [](const std::string& name) { return name.starts_with("layer"); });
  expect_frozen("[!f]*", [](const std::string& name) { return !name.starts_with("fc."); });
  expect_frozen("conv1.weight", is("conv1.weight"));
  expect_frozen("bn1", below("bn1"));
  expect_frozen("*.bias", [](const std::string& name) { return name.ends_with(".bias"); });
  expect_frozen("*.bn*",
                [](const std::string& name) { return name.find(".bn") != std::string::npos; });
  expect_frozen("*.downsample.?.weight", [](const std::string& name) {
    return name.find(".downsample.") != std::string::npos && name.ends_with(".weight");
  });
}

TEST(ParameterRates, TheLastScaleThatFitsCountsAndFrozenStaysFrozen) {
  const auto parameters = resnet18().named_parameters();
  const std::vector<double> factors = rate_factors(
      resnet18(), {"layer2"}, {"*=0.5", "layer1=0.1", "layer1.1=3", "layer2=7", "fc.bias=1"});
  for (size_t i = 0; i < factors.size(); ++i) {
    const std::string& name = parameters[i].name;
    const double expected = name.starts_with("layer2.")     ? 0
                            : name.starts_with("layer1.1.") ? 3
                            : name.starts_with("layer1.")   ? 0.1
                            : name == "fc.bias"             ? 1
                                                            : 0.5;
    EXPECT_EQ(factors[i], expected) << name;
  }
}

TEST(ParameterRates, RefusesPatternsThatFitNothing) {
  const auto freezing = [](const std::string& pattern) {
    return error_of([&] { rate_factors(resnet18(), {"conv1", pattern}, {}); });
  };
  EXPECT_EQ(freezing("layr1"),
            "--freeze 'layr1' fits no parameter; the nearest names are layer1, layer2, layer3");
  // Too short, too long, a module without parameters, another case, a name that needs its dot.
  for (const std::string pattern : {"layer", "fc.weights", "relu", "Layer1", "", "layer1."}) {
    EXPECT_THAT(freezing(pattern), StartsWith("--freeze '" + pattern + "' fits no parameter"));
  }
  EXPECT_THAT(error_of([] {
                rate_factors(resnet18(), {}, {"fc=2", "cf=2"});
              }),
              StartsWith("--lr-scale 'cf' fits no parameter"));
}

TEST(ParameterRates, RefusesToFreezeEverything) {
  const std::vector<std::string> all = {"conv1", "bn1", "layer?", "fc"};
  EXPECT_THAT(error_of([&] { rate_factors(resnet18(), all, {}); }),
              StartsWith("--freeze leaves nothing to learn"));
  EXPECT_NO_THROW(rate_factors(resnet18(), {"conv1", "bn1", "layer?", "fc.weight"}, {}));
}

TEST(ParameterRates, ReadsScales) {
  EXPECT_EQ(parse_lr_scale("layer4=0.1").pattern, "layer4");
  EXPECT_EQ(parse_lr_scale("layer4=0.1").factor, 0.1);
  EXPECT_EQ(parse_lr_scale("a=b=2e3").pattern, "a=b");
  EXPECT_EQ(parse_lr_scale("a=b=2e3").factor, 2000);
  for (const char* text :
       {"", "fc", "fc=", "fc=-1", "fc=inf", "fc=nan", "fc=1x", "fc=1e7", "fc= 1"}) {
    EXPECT_THROW(parse_lr_scale(text), UsageError) << text;
    EXPECT_THAT(error_of([&] { parse_lr_scale(text); }),
                StartsWith("--lr-scale must be PATTERN=X with a finite number"));
  }
  EXPECT_EQ(error_of([] { parse_lr_scale("fc=0"); }),
            "--lr-scale fc=0 would leave parameters as they are, which --freeze 'fc' is for");
  EXPECT_THROW(parse_lr_scale("fc=-0.0"), UsageError);
}

// --- what a frozen part does ---------------------------------------------------------------------

TEST(Freeze, TakesGradientsAndStatisticsFromWhatIsFrozenAlone) {
  const auto model = make_model("resnet18", {.classes = 3});
  const std::vector<double> factors =
      rate_factors(*model, {"conv1", "layer1.0", "layer2.*.weight", "layer3.0.bn1.weight"}, {});
  freeze(*model, factors);
  const auto parameters = model->named_parameters();
  for (size_t i = 0; i < factors.size(); ++i) {
    EXPECT_EQ(parameters[i].variable.requires_grad(), factors[i] != 0) << parameters[i].name;
  }
  // Those of layer2, and one of layer3, still have a beta that learns.
  for (const auto& [path, module] : model->named_modules()) {
    if (std::string(module->kind()) != "BatchNorm2d") continue;
    EXPECT_EQ(module->training(), !path.starts_with("layer1.0.")) << path;
  }
  EXPECT_EQ(describe_rates(*model, factors),
            "18 of 62 tensors frozen (608576 of 11178051 parameters), 2 of 20 batch norms keep "
            "their statistics");
}

TEST(Freeze, TellsWhatIsScaled) {
  const auto model = make_model("resnet18", {.classes = 3});
  EXPECT_EQ(describe_rates(*model, rate_factors(*model, {}, {"*=1"})), "");
  EXPECT_EQ(describe_rates(*model, rate_factors(*model, {}, {"fc=10"})),
            "2 of 62 tensors learn at a rate of their own (1539 parameters)");
}

// Two stages and a classifier.
struct TwoStages : Module {
  Conv2d& conv1 = child<Conv2d>("conv1", Conv2dLayer{.in = 3, .out = 4, .padding = 1});
  BatchNorm2d& bn1 = child<BatchNorm2d>("bn1", BatchNorm2dLayer{.channels = 4});
  Conv2d& conv2 = child<Conv2d>("conv2", Conv2dLayer{.in = 4, .out = 4, .padding = 1});
  BatchNorm2d& bn2 = child<BatchNorm2d>("bn2", BatchNorm2dLayer{.channels = 4});
  Linear& fc = child<Linear>("fc", LinearLayer{.in = 4, .out = 3});

 protected:
  Variable forward(const Variable& x) override {
    return fc(global_avg_pool(relu(bn2(conv2(relu(bn1(conv1(x))))))));
  }
};

// The ops that a backward pass from `y` would visit.
std::multiset<std::string> recorded_ops(const Variable& y) {
  std::multiset<std::string> ops;
  std::unordered_set<const Node*> seen;
  std::vector<const Node*> left = {y.node().get()};
  while (!left.empty()) {
    const Node* node = left.back();
    left.pop_back();
    if (node == nullptr || !seen.insert(node).second) continue;
    if (!node->leaf) ops.insert(node->name);
    for (const auto& input : node->inputs) left.push_back(input.get());
  }
  return ops;
}

TEST(Freeze, TheBackwardPassEndsWhereNothingLearns) {
  const auto ops_with = [](const std::vector<std::string>& patterns) {
    TwoStages net;
    initialise(net, 1);
    freeze(net, rate_factors(net, patterns, {}));
    return recorded_ops(net(Variable(random_normal({2, 6, 6, 3}, 1, 2, 0))));
  };
  using Ops = std::multiset<std::string>;
  const Ops all = {"conv2d",     "batch_norm", "relu", "conv2d",
                   "batch_norm", "relu",       "mean", "linear"};
  EXPECT_EQ(ops_with({}), all);
  EXPECT_EQ(ops_with({"conv1", "bn1"}), (Ops{"conv2d", "batch_norm", "relu", "mean", "linear"}));
  EXPECT_EQ(ops_with({"conv?", "bn?"}), Ops{"linear"});
  // A part that learns needs the gradient to come through what is frozen after it.
  EXPECT_EQ(ops_with({"conv2", "bn2", "fc"}), all);
}

TEST(Freeze, AStepLeavesWhatIsFrozenAloneToTheLastBit) {
  for (const bool adam : {false, true}) {
    TwoStages net;
    initialise(net, 1);
    const std::vector<double> factors = rate_factors(net, {"conv1", "bn1", "bn2"}, {"fc=0.5"});
    freeze(net, factors);
    const auto optimizer =
        adam ? make_adam(net.named_parameters(),
                         {.weight_decay = 0.1, .decoupled = true, .rate_factors = factors})
             : make_sgd(net.named_parameters(), {.weight_decay = 0.1, .rate_factors = factors});
    std::map<std::string, Tensor> before;
    for (const NamedTensor& entry : net.state_dict()) before[entry.name] = entry.tensor.clone();
    TrainStep step(net, *optimizer, {});
    for (uint64_t i = 0; i < 3; ++i) {
      step.start({.images = random_normal({2, 6, 6, 3}, 1, 2, i),
                  .labels = Tensor::from(std::vector<int64_t>{0, 2}, {2})},
                 0.1);
      EXPECT_GT(step.finish().gradient_norm, 0);
    }
    for (const NamedTensor& entry : net.state_dict()) {
      const bool frozen = entry.name.starts_with("conv1.") || entry.name.starts_with("bn");
      EXPECT_EQ(same_elements(entry.tensor, before.at(entry.name)), frozen) << entry.name;
    }
    for (const NamedTensor& entry : optimizer->state()) {
      EXPECT_TRUE(entry.name == "steps" || entry.name.find(".conv2.") != std::string::npos ||
                  entry.name.find(".fc.") != std::string::npos)
          << entry.name << " is kept for a parameter that never changes";
    }
  }
}

}  // namespace
}  // namespace glassnet
