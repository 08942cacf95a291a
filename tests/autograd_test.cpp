// The engine that differentiates, apart from the ops it differentiates: which VJPs run, in what
// order, with which gradients, and what is kept or let go of. Integer-valued float64 elements make
// every sum exact, so that gradients are compared bit for bit.
#include "autograd/variable.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "autograd/ops.h"
#include "tensor/math.h"
#include "tensor/random.h"
#include "tests/device_support.h"

namespace glassnet {
namespace {

using Values = std::vector<double>;

Tensor tensor(const Values& values) {
  return Tensor::from(values, {static_cast<int64_t>(values.size())});
}
Variable leaf_of(const Values& values) {
  return leaf(tensor(values));
}
Values values_of(const Tensor& x) {
  EXPECT_TRUE(x.defined());
  return x.defined() ? x.to_vector<double>() : Values{};
}
// The gradient to send back so that y's elements simply add up.
BackwardOptions ones_for(const Variable& y) {
  return {.gradient = Tensor::full(y.shape(), 1, y.value().dtype())};
}

// factor * x, counting how often its VJP runs.
Variable counted(const Variable& x, double factor, int& calls) {
  return record("counted", scale(x.value(), factor), {x},
                [factor, &calls](const Tensor& dy, const Needs&) {
                  ++calls;
                  return std::vector{scale(dy, factor)};
                });
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

// --- sums over paths -----------------------------------------------------------------------------

TEST(Autograd, AddsUpTheBranchesOfADiamond) {
  const Variable x = leaf_of({1, 2, 3});
  int below = 0;
  const Variable stem = counted(x, 2, below);
  const Variable y = add(scale(stem, 3), mul(stem, stem));  // 6x + 4x^2
  backward(y, ones_for(y));
  EXPECT_EQ(values_of(x.grad()), (Values{14, 22, 30}));  // 6 + 8x
  EXPECT_EQ(below, 1) << "the stem's VJP runs once, with the whole gradient";
}

TEST(Autograd, CountsAnInputTwiceWhenItIsUsedTwice) {
  const Variable x = leaf_of({1, -2});
  const Variable twice = add(x, x);
  const Variable square = mul(twice, twice);  // 4x^2
  backward(square, ones_for(square));
  EXPECT_EQ(values_of(x.grad()), (Values{8, -16}));
}

TEST(Autograd, AnOpMayAddToWhatItsInputHasReceived) {
  const Variable x = leaf_of({1, 2}), other = leaf_of({3, 4});
  const Variable stem = scale(x, 2);
  Values taken;
  const Variable early = record("adds", add(stem.value(), other.value()), {stem, other},
                                [&](const Tensor& dy, const Needs& needs) {
                                  const Tensor sum = needs.take_sum(0);
                                  taken = values_of(sum);
                                  EXPECT_TRUE(sum.unique());
                                  EXPECT_FALSE(needs.take_sum(0).defined()) << "it is taken once";
                                  EXPECT_FALSE(needs.take_sum(1).defined())
                                      << "nothing else gave to this input";
                                  return std::vector{add(dy, sum), dy};
                                });
  const Variable late = scale(stem, 5);  // recorded after, and so the first to give
  std::vector<Values> seen;
  const HookHandle hook = stem.on_grad([&](const Tensor& gradient) {
    seen.push_back(values_of(gradient));
    return Tensor{};
  });
  backward(sum(add(early, late)));
  EXPECT_EQ(taken, (Values{5, 5}));
  EXPECT_EQ(seen, (std::vector<Values>{{6, 6}}));
  EXPECT_EQ(values_of(x.grad()), (Values{12, 12}));
  EXPECT_EQ(values_of(other.grad()), (Values{1, 1}));
}

// What a VJP may write over, it alone holds: not what a hook has kept, or two branches share.
TEST(Autograd, AGradientIsWrittenOverOnlyWhereNobodyElseHoldsIt) {
  const Variable x = leaf_of({-1, 2});
  const Variable stem = scale(x, 3), y = relu(stem);
  std::vector<bool> in_place;
  const auto watched = [&](const Variable& of) {
    return record("watched", of.value(), {of}, [&](const Tensor& dy, const Needs&) {
      Tensor dx = in_place_of(dy);
      in_place.push_back(std::as_const(dx).data<double>() == dy.data<double>());
      std::copy_n(dy.data<double>(), dy.numel(), dx.data<double>());
      return std::vector{dx};
    });
  };
  const Variable alone = watched(y);
  backward(sum(scale(alone, 4)), {.keep_graph = true});
  EXPECT_EQ(values_of(x.grad()), (Values{0, 12}));

  Tensor kept;
  const HookHandle hook = alone.on_grad([&](const Tensor& gradient) {
    kept = gradient;
    return Tensor{};
  });
  backward(sum(scale(alone, 5)));
  EXPECT_EQ(values_of(kept), (Values{5, 5}));
  EXPECT_EQ(values_of(x.grad()), (Values{0, 27}));

  const Variable left = watched(x), right = watched(x);
  backward(sum(scale(add(left, right), 7)));
  EXPECT_EQ(values_of(x.grad()), (Values{14, 41}));
  EXPECT_EQ(in_place, (std::vector<bool>{true, false, false, true}));
}

// The gradient of x in three ways back to it, computed in `type` on `device`, and in float64 on the
// CPU. Of the one that y gives, two share the memory.
void expect_gradient_of_residuals(DType type, Device device, double gate) {
  const auto gradient_of = [&](DType computed, Device on) {
    const auto normal = [&](const Shape& shape, uint64_t stream) {
      return random_normal(shape, 1, 5, stream).to(type).to(computed).to(on);
    };
    const Variable x = leaf(normal({6, 12, 9, 32}, 1));
    const Variable stem = scale(x, 2);
    const Conv2dOptions padded = {.padding = 1};
    const Variable block = conv2d(stem, Variable(normal({32, 3, 3, 32}, 2)), {}, padded);
    const Variable strided = conv2d(stem, Variable(normal({16, 1, 1, 32}, 3)), {}, {.stride = 2});
    const Variable y = add(add(block, stem), stem);
    const Tensor gradient = grad(add(sum(mul(y, y)), sum(mul(strided, strided))), {x})[0];
    return values_of(gradient.to(Device{}).to(DType::kFloat64));
  };
  const Values actual = gradient_of(type, device), expected = gradient_of(DType::kFloat64, {});
  double largest = 0;
  for (const double value : expected) largest = std::max(largest, std::abs(value));
  for (size_t i = 0; i < expected.size(); ++i) {
    ASSERT_NEAR(actual[i], expected[i], gate * largest) << i;
  }
}

// Convolutions add the gradient of a residual while they make their own: on the CPU in float32, on
// a GPU in every type.
TEST(Autograd, AConvolutionAddsTheGradientsOfResiduals) {
  expect_gradient_of_residuals(DType::kFloat32, {}, 1e-5);
}

using DeviceAutograd = DeviceTest;
TEST_F(DeviceAutograd, AConvolutionAddsTheGradientsOfResiduals) {
  expect_gradient_of_residuals(DType::kFloat32, device_, 1e-5);
  expect_gradient_of_residuals(DType::kFloat16, device_, 2e-3);
  if (supports_bfloat16(device_)) expect_gradient_of_residuals(DType::kBFloat16, device_, 2e-2);
}

// What a convolution adds to may be held by others: here it is the gradient of its own result.
TEST(Autograd, AConvolutionDoesNotWriteToAGradientThatIsShared) {
  const auto normal = [](const Shape& shape, uint64_t stream) {
    return random_normal(shape, 1, 5, stream);
  };
  const Variable x = leaf(normal({6, 12, 9, 32}, 1));
  const Variable stem = scale(x, 2);
  const Variable block = conv2d(stem, Variable(normal({32, 3, 3, 32}, 2)), {}, {.padding = 1});
  const Variable y = add(block, stem);
  const Tensor seed = normal(y.shape(), 4);
  const BackwardOptions again = {.gradient = seed, .keep_graph = true};
  const std::vector<Tensor> first = grad(y, {x, stem, block}, again);
  EXPECT_EQ(values_of(first[2]), values_of(seed));
  const Values of_block = values_of(grad(block, {x}, again)[0]);
  const Values of_x = values_of(first[0]), of_stem = values_of(first[1]);
  for (size_t i = 0; i < of_x.size(); ++i) {
    ASSERT_EQ(of_x[i], 2 * of_stem[i]);
    ASSERT_NEAR(of_x[i], of_block[i] + 2 * seed.data<float>()[i], 1e-3) << i;
  }
  const std::vector<Tensor> second = grad(y, {x, stem, block}, again);
  for (size_t i = 0; i < first.size(); ++i) {
    EXPECT_EQ(values_of(second[i]), values_of(first[i])) << "the graph was kept";
  }
}

TEST(Autograd, DoublesDiamondsWithoutVisitingEveryPath) {
  const Variable x = leaf_of({1});
  Variable y = x;
  for (int i = 0; i < 50; ++i) y = add(y, y);  // 2^50 paths
  backward(y);
  EXPECT_EQ(values_of(x.grad()), (Values{0x1p50}));
}

TEST(Autograd, GathersOverCallsUntilCleared) {
  Variable x = leaf_of({1, 2});
  for (int pass = 1; pass <= 3; ++pass) {
    const Variable y = scale(x, 5);
    backward(y, ones_for(y));
    EXPECT_EQ(values_of(x.grad()), (Values{5.0 * pass, 5.0 * pass}));
  }
  x.clear_grad();
  EXPECT_FALSE(x.grad().defined());
}

TEST(Autograd, AGradientTakenEarlierIsNotChangedByALaterPass) {
  const Variable x = leaf_of({1});
  backward(scale(x, 2));
  const Tensor first = x.grad();
  backward(scale(x, 2));
  EXPECT_EQ(values_of(first), (Values{2}));
  EXPECT_EQ(values_of(x.grad()), (Values{4}));
}

TEST(Autograd, ANonScalarNeedsAGradientOfItsShape) {
  const Variable y = scale(leaf_of({1, 2}), 1);
  expect_contains(message_of([&] { backward(y); }), "(2,)");
  expect_contains(message_of([&] { backward(y, {.gradient = tensor({1, 2, 3})}); }), "(3,)");
  expect_contains(
      message_of([&] { backward(y, {.gradient = Tensor::full({2}, 1, DType::kFloat32)}); }),
      "float32");
}

// --- aliasing ------------------------------------------------------------------------------------

TEST(Autograd, LeavesDoNotShareTheirGradients) {
  const Variable a = leaf_of({1, 2}), b = leaf_of({3, 4});
  const Variable y = add(a, b);  // both gradients are the upstream one
  const BackwardOptions options = ones_for(y);
  backward(y, options);
  Tensor da = a.grad();
  da.fill(7);
  EXPECT_EQ(values_of(b.grad()), (Values{1, 1}));
  EXPECT_EQ(values_of(options.gradient), (Values{1, 1}));
}

TEST(Autograd, AccumulationLeavesTheCallersGradientAlone) {
  const Variable x = leaf_of({1, 2});
  const Variable y = add(add(x, x), x);
  const BackwardOptions options{.gradient = tensor({1, 10}), .keep_graph = true};
  backward(y, options);
  backward(y, options);
  EXPECT_EQ(values_of(options.gradient), (Values{1, 10}));
  EXPECT_EQ(values_of(x.grad()), (Values{6, 60}));
}

TEST(Autograd, AccumulationLeavesWhatAHookKeptAlone) {
  const Variable x = leaf_of({1, 2});
  const Variable a = scale(x, 1), b = add(a, x);
  std::vector<Tensor> kept;
  const HookHandle on_b = b.on_grad([&](const Tensor& dy) {
    kept.push_back(dy);
    return Tensor{};
  });
  const HookHandle on_a = a.on_grad([&](const Tensor& dy) {
    kept.push_back(dy);
    return Tensor{};
  });
  backward(b, ones_for(b));
  ASSERT_EQ(kept.size(), 2u);
  EXPECT_EQ(values_of(kept[0]), (Values{1, 1}));
  EXPECT_EQ(values_of(kept[1]), (Values{1, 1}));
  EXPECT_EQ(values_of(x.grad()), (Values{2, 2}));
}

TEST(Autograd, AccumulationLeavesWhatAVjpSavedAlone) {
  const Variable x = leaf_of({1, 2});
  const Tensor constant = tensor({3, 4});
  // Hands out the very tensor that it keeps, once as it is and once reshaped.
  const auto linear = [&](const Variable& input, bool reshaped) {
    return record("linear", input.value(), {input},
                  [constant, reshaped](const Tensor&, const Needs&) {
                    return std::vector{reshaped ? constant.reshape({1, 2}).reshape({2}) : constant};
                  });
  };
  const Variable y = add(add(linear(x, false), linear(x, true)), x);
  BackwardOptions options = ones_for(y);
  options.keep_graph = true;
  backward(y, options);
  backward(y, options);
  EXPECT_EQ(values_of(constant), (Values{3, 4}));
  EXPECT_EQ(values_of(x.grad()), (Values{14, 18}));
}

// One node of a random graph of linear ops whose gradients are also worked out by hand.
struct Step {
  Variable variable;
  std::vector<std::pair<size_t, double>> inputs;  // (step, d this / d that)
};

std::vector<Step> random_graph(Random& random, size_t leaves, size_t size) {
  std::vector<Step> steps;
  for (size_t i = 0; i < leaves; ++i) {
    steps.push_back({leaf_of({1.0 + static_cast<double>(i), 2, 3, 4}), {}});
  }
  while (steps.size() < size) {
    const auto pick = [&] {
      return static_cast<size_t>(random.below(static_cast<int64_t>(steps.size())));
    };
    const size_t a = pick(), b = random.below(4) == 0 ? a : pick();
    const Variable &x = steps[a].variable, &y = steps[b].variable;
    switch (random.below(4)) {
      case 0:
        steps.push_back({add(x, y), {{a, 1}, {b, 1}}});
        break;
      case 1:
        steps.push_back({sub(x, y), {{a, 1}, {b, -1}}});
        break;
      case 2:
        steps.push_back({scale(x, 2), {{a, 2}}});
        break;
      default:
        steps.push_back({reshape(reshape(x, {2, 2}), {4}), {{a, 1}}});
        break;
    }
  }
  return steps;
}

// d last / d step for every step, in plain numbers. Every op is the same for all elements.
Values gradients_by_hand(const std::vector<Step>& steps) {
  Values gradients(steps.size(), 0);
  gradients.back() = 1;
  for (size_t i = steps.size(); i-- > 0;) {
    for (const auto& [input, slope] : steps[i].inputs) gradients[input] += slope * gradients[i];
  }
  return gradients;
}

// Whether the last step depends on each step.
std::vector<bool> ancestors_of_last(const std::vector<Step>& steps) {
  std::vector<bool> reached(steps.size(), false);
  reached.back() = true;
  for (size_t i = steps.size(); i-- > 0;) {
    for (const auto& input : steps[i].inputs) {
      if (reached[i]) reached[input.first] = true;
    }
  }
  return reached;
}

Values four_times(double value) {
  return Values(4, value);
}

TEST(Autograd, RandomGraphsAgreeWithSumsByHand) {
  Random random(1, Stream::kUser);
  for (int graph = 0; graph < 200; ++graph) {
    SCOPED_TRACE(graph);
    std::vector<Step> steps = random_graph(random, 3, 40);
    const Values expected = gradients_by_hand(steps);
    const std::vector<bool> reached = ancestors_of_last(steps);

    // Some steps keep their gradients, some have hooks that hold on to them: both share storage
    // with gradients that are still being summed up.
    std::vector<Tensor> seen(steps.size());
    std::vector<HookHandle> hooks;
    for (size_t i = 0; i < steps.size(); ++i) {
      if (random.below(2) == 0) steps[i].variable.retain_grad();
      if (random.below(2) == 0) {
        hooks.push_back(steps[i].variable.on_grad([&seen, i](const Tensor& dy) {
          seen[i] = dy;
          return Tensor{};
        }));
      }
    }
    const Variable& y = steps.back().variable;
    BackwardOptions options = ones_for(y);
    options.keep_graph = true;
    for (int pass = 1; pass <= 2; ++pass) {
      backward(y, options);
      for (size_t i = 0; i < steps.size(); ++i) {
        const Tensor kept = steps[i].variable.grad();
        if (kept.defined()) {
          EXPECT_EQ(values_of(kept), four_times(pass * expected[i])) << "step " << i;
        } else if (reached[i]) {
          EXPECT_FALSE(steps[i].inputs.empty()) << "leaf " << i << " was not reached";
        }
        if (seen[i].defined()) {
          EXPECT_EQ(values_of(seen[i]), four_times(expected[i])) << "step " << i;
        }
      }
    }

    std::vector<Variable> wanted;
    Values wanted_by_hand;
    for (size_t i = 0; i < steps.size(); ++i) {
      if (!reached[i] || random.below(3) != 0) continue;
      wanted.push_back(steps[i].variable);
      wanted_by_hand.push_back(expected[i]);
    }
    const std::vector<Tensor> found = grad(y, wanted, options);
    ASSERT_EQ(found.size(), wanted.size());
    for (size_t i = 0; i < found.size(); ++i) {
      EXPECT_EQ(values_of(found[i]), four_times(wanted_by_hand[i]));
    }
    EXPECT_EQ(values_of(options.gradient), four_times(1));
  }
}

// --- grad ----------------------------------------------------------------------------------------

TEST(Grad, NeverTouchesWhatBackwardGathers) {
  const Variable a = leaf_of({1, 2}), b = leaf_of({3, 4});
  Variable product = mul(a, b);
  product.retain_grad();
  const Variable y = sum(product);
  EXPECT_EQ(values_of(grad(y, {a}, {.keep_graph = true})[0]), (Values{3, 4}));
  EXPECT_FALSE(a.grad().defined());
  EXPECT_FALSE(b.grad().defined());
  EXPECT_FALSE(product.grad().defined());
  backward(y, {.keep_graph = true});
  grad(y, {a, product, b});
  EXPECT_EQ(values_of(a.grad()), (Values{3, 4}));
  EXPECT_EQ(values_of(b.grad()), (Values{1, 2}));
  EXPECT_EQ(values_of(product.grad()), (Values{1, 1}));
}

TEST(Grad, VisitsOnlyThePathsThatLeadToItsInputs) {
  const Variable a = leaf_of({1}), b = leaf_of({2});
  int above = 0, on_a = 0, on_b = 0, below = 0;
  const Variable stem = counted(a, 2, below);
  const Variable left = counted(stem, 3, on_a), right = counted(b, 5, on_b);
  std::vector<bool> asked;
  const Variable joined =
      record("joined", add(left.value(), right.value()), {left, right},
             [&](const Tensor& dy, const Needs& needs) {
               asked = needs.inputs();
               return std::vector{needs[0] ? dy : Tensor{}, needs[1] ? dy : Tensor{}};
             });
  const Variable y = counted(joined, 7, above);
  int hooks_on_b = 0;
  const HookHandle hook = right.on_grad([&](const Tensor&) {
    ++hooks_on_b;
    return Tensor{};
  });

  EXPECT_EQ(values_of(grad(y, {stem}, {.keep_graph = true})[0]), (Values{21}));
  EXPECT_EQ(asked, (std::vector<bool>{true, false}));
  EXPECT_EQ(std::vector<int>({above, on_a, on_b, below, hooks_on_b}),
            std::vector<int>({1, 1, 0, 0, 0}))
      << "neither the other branch nor what lies below the input is visited";
  // A branch that was not visited is still whole.
  EXPECT_EQ(values_of(grad(y, {b})[0]), (Values{35}));
  EXPECT_EQ(std::vector<int>({above, on_a, on_b, below, hooks_on_b}),
            std::vector<int>({2, 1, 1, 0, 1}));
}

TEST(Grad, TakesResultsInBetweenAndTheOutputItself) {
  const Variable x = leaf_of({3});
  const Variable h = mul(x, x);
  const Variable y = scale(h, 2);
  const std::vector<Tensor> found = grad(y, {y, x, h, x});
  EXPECT_EQ(values_of(found[0]), (Values{1}));
  EXPECT_EQ(values_of(found[1]), (Values{12}));
  EXPECT_EQ(values_of(found[2]), (Values{2}));
  EXPECT_EQ(values_of(found[3]), (Values{12}));
}

TEST(Grad, SaysWhichInputNothingDependsOn) {
  const Variable a = leaf_of({1}), b = leaf_of({2});
  const Variable y = scale(a, 2);
  expect_contains(message_of([&] { grad(y, {a, b}, {.keep_graph = true}); }), "input 1");
  expect_contains(message_of([&] { grad(y, {Variable(tensor({1}))}, {.keep_graph = true}); }),
                  "does not require a gradient");
  expect_contains(message_of([&] { grad(Variable(tensor({1})), {a}); }),
                  "nothing to differentiate");
}

// --- hooks ---------------------------------------------------------------------------------------

TEST(GradHooks, RunBeforeTheVjpAndChangeWhatFlowsOn) {
  const Variable x = leaf_of({1, 2, 3});
  std::vector<std::string> order;
  Tensor upstream;
  const Variable h = record("op", scale(x.value(), 1), {x}, [&](const Tensor& dy, const Needs&) {
    order.emplace_back("vjp");
    upstream = dy;
    return std::vector{scale(dy, 10)};
  });
  const HookHandle hook = h.on_grad([&](const Tensor& dy) {
    order.emplace_back("hook");
    return relu(dy);
  });
  const Variable y = mul(h, Variable(tensor({-1, 0, 1})));
  backward(y, ones_for(y));
  EXPECT_EQ(order, (std::vector<std::string>{"hook", "vjp"}));
  EXPECT_EQ(values_of(upstream), (Values{0, 0, 1}));
  EXPECT_EQ(values_of(x.grad()), (Values{0, 0, 10}));
}

TEST(GradHooks, SeeTheWholeGradientOnce) {
  const Variable x = leaf_of({1});
  const Variable h = scale(x, 1);
  std::vector<double> seen;
  const HookHandle hook = h.on_grad([&](const Tensor& dy) {
    seen.push_back(dy.item());
    return Tensor{};
  });
  backward(add(scale(h, 2), add(h, scale(h, 4))));
  EXPECT_EQ(seen, (std::vector<double>{7}));
}

TEST(GradHooks, RunInTheOrderInWhichTheyWereAddedEachOnWhatTheLastReturned) {
  const Variable x = leaf_of({1});
  const Variable y = scale(x, 1);
  const HookHandle plus = y.on_grad([](const Tensor& dy) { return scale(dy, 1, 3); });
  const HookHandle watch = y.on_grad([](const Tensor&) { return Tensor{}; });
  const HookHandle times = y.on_grad([](const Tensor& dy) { return scale(dy, 10); });
  backward(y);
  EXPECT_EQ(values_of(x.grad()), (Values{40}));
}

TEST(GradHooks, ChangeWhatLeavesGatherAndWhatGradReturns) {
  const Variable x = leaf_of({1});
  const HookHandle hook = x.on_grad([](const Tensor& dy) { return scale(dy, -1); });
  const Variable y = scale(x, 3);
  EXPECT_EQ(values_of(grad(y, {x}, {.keep_graph = true})[0]), (Values{-3}));
  backward(y);
  EXPECT_EQ(values_of(x.grad()), (Values{-3}));
}

TEST(GradHooks, EndWithTheirHandles) {
  const Variable x = leaf_of({1});
  int first = 0, second = 0, kept = 0;
  const auto count = [](int& counter) {
    return [&counter](const Tensor&) {
      ++counter;
      return Tensor{};
    };
  };
  HookHandle moved;
  {
    const HookHandle scoped = x.on_grad(count(first));
    HookHandle movable = x.on_grad(count(second));
    moved = std::move(movable);
    x.on_grad(count(kept)).keep();
    backward(scale(x, 1));
  }
  backward(scale(x, 1));
  moved.reset();
  backward(scale(x, 1));
  EXPECT_EQ(first, 1);
  EXPECT_EQ(second, 2);
  EXPECT_EQ(kept, 3);
}

TEST(GradHooks, MayOutliveTheirVariable) {
  HookHandle handle;
  {
    const Variable x = leaf_of({1});
    handle = x.on_grad([](const Tensor&) { return Tensor{}; });
  }
  handle.reset();
}

TEST(GradHooks, MayRemoveThemselvesAndAddOthersWhileTheyRun) {
  const Variable x = leaf_of({1});
  int once = 0, later = 0;
  HookHandle self, added;
  self = x.on_grad([&](const Tensor&) {
    ++once;
    self.reset();
    added = x.on_grad([&](const Tensor&) {
      ++later;
      return Tensor{};
    });
    return Tensor{};
  });
  backward(scale(x, 1));
  EXPECT_EQ(later, 0) << "a pass goes over the hooks that were there when it began";
  backward(scale(x, 1));
  EXPECT_EQ(once, 1);
  EXPECT_EQ(later, 1);
}

TEST(GradHooks, RefuseAGradientOfAnotherShapeOrType) {
  const Variable x = leaf_of({1, 2});
  const Variable y = sum(x);
  {
    const HookHandle hook = x.on_grad([](const Tensor&) { return tensor({1}); });
    const std::string message = message_of([&] { backward(y, {.keep_graph = true}); });
    expect_contains(message, "[on_grad]");
    expect_contains(message, "(2,)");
    expect_contains(message, "(1,)");
  }
  const HookHandle hook = x.on_grad([](const Tensor& dy) { return dy.to(DType::kFloat32); });
  expect_contains(message_of([&] { backward(y); }), "float32");
}

TEST(GradHooks, NeedAVariableThatAGradientReaches) {
  expect_contains(message_of([] { (void)Variable(tensor({1})).on_grad({}); }), "[on_grad]");
  const Variable x = leaf_of({1});
  const NoGrad off;
  expect_contains(message_of([&] { (void)scale(x, 2).on_grad({}); }), "[on_grad]");
}

// --- what is recorded ----------------------------------------------------------------------------

TEST(Recording, StopsUnderNoGradAndResumes) {
  const Variable x = leaf_of({1});
  {
    const NoGrad outer;
    { const NoGrad inner; }
    const Variable y = scale(x, 2);
    EXPECT_FALSE(y.requires_grad()) << "an inner scope does not end an outer one";
    EXPECT_FALSE(will_record({x}));
    expect_contains(message_of([&] { backward(y); }), "nothing to differentiate");
  }
  EXPECT_TRUE(scale(x, 2).requires_grad());
}

TEST(Recording, FollowsOnlyInputsThatRequireAGradient) {
  const Variable frozen(tensor({5})), x = leaf_of({2});
  EXPECT_FALSE(scale(frozen, 2).requires_grad());
  std::vector<bool> asked;
  const Variable y = record("op", mul(x.value(), frozen.value()), {frozen, x, Variable()},
                            [&](const Tensor& dy, const Needs& needs) {
                              asked = needs.inputs();
                              return std::vector{Tensor{}, scale(dy, 5), Tensor{}};
                            });
  backward(y);
  EXPECT_EQ(asked, (std::vector<bool>{false, true, false}));
  EXPECT_EQ(values_of(x.grad()), (Values{5}));
  EXPECT_FALSE(frozen.grad().defined());
}

TEST(Recording, ALeafCutsTheGraph) {
  const Variable x = leaf_of({3});
  int below = 0;
  const Variable a = leaf(counted(x, 2, below).value());
  const Variable y = mul(a, a);
  EXPECT_EQ(values_of(grad(y, {a}, {.keep_graph = true})[0]), (Values{12}));
  backward(y);
  EXPECT_EQ(below, 0);
  EXPECT_FALSE(x.grad().defined());
}

TEST(Recording, ALeafMayBeFrozenAndThawed) {
  Variable x = leaf_of({1});
  backward(scale(x, 2));
  x.set_requires_grad(false);
  EXPECT_FALSE(scale(x, 2).requires_grad());
  EXPECT_FALSE(x.grad().defined());
  x.set_requires_grad(true);
  backward(scale(x, 3));
  EXPECT_EQ(values_of(x.grad()), (Values{3}));
  Variable y = scale(x, 2);
  expect_contains(message_of([&] { y.set_requires_grad(false); }), "only a leaf");
  expect_contains(message_of([&] { y.set_value(tensor({1})); }), "only a leaf");
}

TEST(Recording, RefusesToDifferentiateWholeNumbers) {
  expect_contains(message_of([] { leaf(Tensor::zeros({2}, DType::kInt64)); }), "int64");
}

TEST(Recording, CopiesAreTheSameVariable) {
  const Variable x = leaf_of({1});
  const Variable copy = x;
  backward(scale(copy, 2));
  EXPECT_EQ(values_of(x.grad()), (Values{2}));
}

TEST(Recording, KeepsTheGradientOfAResultThatAsksForIt) {
  const Variable x = leaf_of({1});
  Variable kept = scale(x, 2);
  const Variable passed = scale(kept, 3);
  kept.retain_grad();
  backward(scale(passed, 5));
  EXPECT_EQ(values_of(kept.grad()), (Values{15}));
  EXPECT_FALSE(passed.grad().defined());
  EXPECT_EQ(values_of(x.grad()), (Values{30}));
  Variable constant(tensor({1}));
  EXPECT_THROW(constant.retain_grad(), Error);
}

TEST(Recording, AVjpThatReturnsAnotherShapeIsNamed) {
  const Variable x = leaf_of({1, 2});
  const Variable y = record("crooked", tensor({1}), {x},
                            [](const Tensor& dy, const auto&) { return std::vector{dy}; });
  const std::string message = message_of([&] { backward(y); });
  expect_contains(message, "[crooked]");
  expect_contains(message, "(2,)");
}

// --- what is let go of ---------------------------------------------------------------------------

// An op whose VJP holds on to `saved` for as long as the graph does.
Variable saving(const Variable& x, std::shared_ptr<int> saved, std::function<void()> look) {
  return record("saving", scale(x.value(), 1), {x},
                [saved = std::move(saved), look = std::move(look)](const Tensor& dy, const Needs&) {
                  look();
                  return std::vector{dy};
                });
}

TEST(Freeing, SavedTensorsGoAsThePassGoes) {
  for (const bool keep_graph : {false, true}) {
    SCOPED_TRACE(keep_graph);
    auto early = std::make_shared<int>(1), late = std::make_shared<int>(2);
    const std::weak_ptr<int> early_seen = early, late_seen = late;
    std::optional<bool> late_lived, early_lived;
    const Variable x = leaf_of({1});
    const Variable h = saving(x, std::move(early), [&] { late_lived = !late_seen.expired(); });
    const Variable y = saving(h, std::move(late), [&] { early_lived = !early_seen.expired(); });
    backward(y, {.keep_graph = keep_graph});
    EXPECT_EQ(early_lived, true) << "not before its turn";
    EXPECT_EQ(late_lived, keep_graph);
    EXPECT_EQ(!early_seen.expired(), keep_graph);
  }
}

TEST(Freeing, APassDoesNotHoldTheWholeGraphAtItsPeak) {
  constexpr int kOps = 16;
  constexpr size_t kBytes = size_t{1} << 20;
  const size_t before = memory_stats().active_bytes;
  {
    const Variable x = leaf(Tensor::full({kBytes / 8}, 0.1, DType::kFloat64));
    Variable y = x;
    for (int i = 0; i < kOps; ++i) y = tanh(y);
    EXPECT_GE(memory_stats().active_bytes - before, kOps * kBytes) << "every result is saved";
    const Tensor seed = Tensor::full(y.shape(), 1, DType::kFloat64);
    const size_t recorded = memory_stats().active_bytes;
    reset_peak_memory();
    backward(y, {.gradient = seed});
    // A gradient in and one out; every earlier one, and what it came with, is gone.
    EXPECT_LE(memory_stats().peak_bytes, recorded + 3 * kBytes);
    EXPECT_LE(memory_stats().active_bytes, before + 5 * kBytes) << "x, y, seed and x's gradient";
  }
  EXPECT_EQ(memory_stats().active_bytes, before);
}

TEST(Freeing, ASecondPassOverAFreedGraphSaysSo) {
  const Variable x = leaf_of({2});
  const Variable y = mul(x, x);
  backward(y, {.keep_graph = true});
  backward(y);
  EXPECT_EQ(values_of(x.grad()), (Values{8}));
  const std::string message = message_of([&] { backward(y); });
  expect_contains(message, "mul");
  expect_contains(message, "keep_graph");
  expect_contains(message_of([&] { grad(y, {x}); }), "keep_graph");
  EXPECT_EQ(values_of(x.grad()), (Values{8}));
}

TEST(Freeing, DeepGraphsDoNotOverflowTheStack) {
  constexpr int kDepth = 200'000;
  const Variable x = leaf_of({1});
  const auto chain = [&] {
    Variable y = x;
    for (int i = 0; i < kDepth; ++i) {
      y = record("step", y.value(), {y},
                 [](const Tensor& dy, const Needs&) { return std::vector{dy}; });
    }
    return y;
  };
  { const Variable dropped = chain(); }
  const Variable y = chain();
  EXPECT_EQ(values_of(grad(y, {x}, {.keep_graph = true})[0]), (Values{1}));
  backward(y);
  EXPECT_EQ(values_of(x.grad()), (Values{1}));

  Variable braid = x;  // every node holds its input twice
  for (int i = 0; i < kDepth; ++i) {
    braid = record("braid", x.value(), {braid, braid}, [](const Tensor& dy, const Needs&) {
      return std::vector{scale(dy, 0.5), scale(dy, 0.5)};
    });
  }
  EXPECT_EQ(values_of(grad(braid, {x})[0]), (Values{1}));
}

TEST(Freeing, AThrowInTheMiddleLeavesTheEngineUsable) {
  const Variable x = leaf_of({1});
  const Variable bad = record("bad", x.value(), {x}, [](const Tensor&, const auto&) {
    throw Error("a VJP that fails");
    return std::vector<Tensor>{};
  });
  EXPECT_THROW(backward(bad), Error);
  EXPECT_FALSE(x.grad().defined());
  backward(scale(x, 2));
  EXPECT_EQ(values_of(x.grad()), (Values{2}));
}

TEST(Grad, HandsOutTensorsThatShareNothing) {
  const Variable a = leaf(Tensor::full({2}, 1)), b = leaf(Tensor::full({2}, 2));
  std::vector<Tensor> gradients = grad(sum(add(a, b)), {a, b});
  gradients[0].fill(7);
  EXPECT_EQ(gradients[1].to_vector<float>(), (std::vector<float>{1, 1}));
}

}  // namespace
}  // namespace glassnet
