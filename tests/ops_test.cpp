// Every row of the table of op cases: the float32 and bfloat16 kernels against the float64
// definitions, vector-Jacobian products against finite differences, and the definitions against
// PyTorch. Then what a table cannot say: ties, NaN, and what ops refuse.
#include <cmath>
#include <limits>
#include <map>
#include <set>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "models/safetensors.h"
#include "tensor/file.h"
#include "tensor/random.h"
#include "tests/op_harness.h"

namespace glassnet {

namespace {

class OpFloat32 : public testing::TestWithParam<OpCase> {};
class OpBFloat16 : public testing::TestWithParam<OpCase> {};
class OpFiniteDifferences : public testing::TestWithParam<OpCase> {};
class OpGolden : public testing::TestWithParam<OpCase> {};

// --- float32 against the float64 definition ------------------------------------------------------

// A few units in the last place of float32 (6e-8), times the square root of the longest sums.
constexpr double kFloat32Tolerance = 1e-6;

TEST_P(OpFloat32, AgreesWithTheDefinition) {
  const OpCase& row = GetParam();
  const double tolerance = row.float32_tolerance > 0 ? row.float32_tolerance : kFloat32Tolerance;
  // Both start from the same float32 numbers, so that only computing differs.
  const std::vector<Tensor> inputs = converted(make_inputs(row), DType::kFloat32);
  const std::vector<Tensor> wide = converted(inputs, DType::kFloat64);
  const std::vector<bool> wanted = differentiable_inputs(row);
  const Shape shape = run_row(row, wide, {}, std::vector<bool>(wide.size())).y.shape();
  const Tensor upstream = make_upstream(row, shape).to(DType::kFloat32);

  const Outcome expected = run_row(row, wide, upstream.to(DType::kFloat64), wanted);
  const Outcome actual = run_row(row, inputs, upstream, wanted);
  EXPECT_EQ(actual.y.dtype(), DType::kFloat32);
  EXPECT_TRUE(near_normwise(actual.y, expected.y, tolerance));
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (!wanted[i]) continue;
    EXPECT_TRUE(near_normwise(actual.gradients[i], expected.gradients[i], tolerance))
        << "gradient of input " << i;
  }
  // Neither the op nor its VJP wrote to what it was given.
  for (size_t i = 0; i < inputs.size(); ++i) {
    EXPECT_TRUE(same_elements(inputs[i].to(DType::kFloat64), wide[i])) << "input " << i;
  }
}

TEST_P(OpBFloat16, AgreesWithTheDefinition) {
  expect_definition(GetParam(), DType::kBFloat16, Device{});
}

// A VJP computes what is asked of it alone, and the same numbers as when asked for all.
TEST_P(OpFloat32, GradientOfOneInputDoesNotDependOnTheOthersBeingWanted) {
  const OpCase& row = GetParam();
  const std::vector<Tensor> inputs = converted(make_inputs(row), DType::kFloat32);
  const std::vector<bool> none(inputs.size()), all = differentiable_inputs(row);
  const Shape shape = run_row(row, inputs, {}, none).y.shape();
  const Tensor upstream = make_upstream(row, shape).to(DType::kFloat32);
  const Outcome together = run_row(row, inputs, upstream, all);
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (!all[i]) continue;
    std::vector<bool> wanted = none;
    wanted[i] = true;
    const Outcome alone = run_row(row, inputs, upstream, wanted);
    EXPECT_TRUE(near_normwise(alone.gradients[i], together.gradients[i], 1e-7)) << "input " << i;
  }
}

// --- finite differences --------------------------------------------------------------------------

constexpr double kStep = 1e-6, kAbsolute = 1e-5, kRelative = 1e-3;
// Larger inputs are probed along random directions instead of element by element.
constexpr int64_t kMostElements = 256, kDirections = 4;

// sum(upstream * f(inputs)), without recording.
double projection(const OpCase& row, const std::vector<Tensor>& inputs,
                  const std::vector<double>& upstream) {
  const NoGrad no_grad;
  std::vector<Variable> variables;
  for (const Tensor& input : inputs) variables.emplace_back(input);
  const std::vector<double> y = row.f(variables).value().to_vector<double>();
  double sum = 0;
  for (size_t i = 0; i < y.size(); ++i) sum += upstream[i] * y[i];
  return sum;
}

TEST_P(OpFiniteDifferences, AgreeWithTheGradient) {
  const OpCase& row = GetParam();
  const std::vector<Tensor> inputs = make_inputs(row);
  const std::vector<bool> wanted = differentiable_inputs(row);
  if (wanted == std::vector<bool>(wanted.size())) return;  // a row about values alone
  const Shape shape = run_row(row, inputs, {}, std::vector<bool>(inputs.size())).y.shape();
  const Tensor upstream = make_upstream(row, shape);
  const std::vector<double> weights = upstream.to_vector<double>();
  const Outcome outcome = run_row(row, inputs, upstream, wanted);

  for (size_t i = 0; i < inputs.size(); ++i) {
    if (!wanted[i]) continue;
    ASSERT_EQ(outcome.gradients[i].shape(), inputs[i].shape()) << "gradient of input " << i;
    const std::vector<double> gradient = outcome.gradients[i].to_vector<double>();
    const int64_t count = inputs[i].numel();
    const bool by_element = count <= kMostElements;
    for (int64_t probe = 0; probe < (by_element ? count : kDirections); ++probe) {
      Tensor direction = Tensor::zeros(inputs[i].shape(), DType::kFloat64);
      if (by_element) {
        direction.data<double>()[probe] = 1;
      } else {
        const double length = std::sqrt(static_cast<double>(count));
        direction = random_normal(inputs[i].shape(), 1 / length, 99, probe, DType::kFloat64);
      }
      const std::vector<double> along = direction.to_vector<double>();
      std::array<double, 2> values{};
      for (const int side : {0, 1}) {
        std::vector<Tensor> moved = inputs;
        moved[i] = inputs[i].clone();
        for (int64_t j = 0; j < count; ++j) {
          moved[i].data<double>()[j] += (side == 0 ? -kStep : kStep) * along[j];
        }
        values[side] = projection(row, moved, weights);
      }
      const double numeric = (values[1] - values[0]) / (2 * kStep);
      double analytic = 0;
      for (int64_t j = 0; j < count; ++j) analytic += gradient[j] * along[j];
      ASSERT_NEAR(analytic, numeric, kAbsolute + kRelative * std::abs(numeric))
          << (by_element ? "element " : "direction ") << probe << " of input " << i << " "
          << inputs[i].shape().str();
    }
  }
}

// --- golden values -------------------------------------------------------------------------------

// Both sides compute in float64, in different orders.
constexpr double kGoldenTolerance = 1e-12;

const SafeTensors& golden_file() {
  static const SafeTensors file = load_safetensors(GLASSNET_GOLDEN_DIR "/ops.safetensors");
  return file;
}

const std::map<std::string, Tensor>& golden_values() {
  static const std::map<std::string, Tensor> values = [] {
    std::map<std::string, Tensor> result;
    for (const NamedTensor& entry : golden_file().tensors) result[entry.name] = entry.tensor;
    return result;
  }();
  return values;
}

TEST_P(OpGolden, AgreesWithPyTorch) {
  const OpCase& row = GetParam();
  const auto call = golden_file().metadata.find(row.name);
  ASSERT_TRUE(call != golden_file().metadata.end() && call->second == row.torch)
      << "the golden values are older than this row; run scripts/make-golden-ops";
  const std::vector<bool> wanted = differentiable_inputs(row);
  const Tensor expected = golden_values().at(row.name + "/y");
  const Outcome outcome =
      run_row(row, make_inputs(row), make_upstream(row, expected.shape()), wanted);
  EXPECT_TRUE(near_normwise(outcome.y, expected, kGoldenTolerance));
  for (size_t i = 0; i < wanted.size(); ++i) {
    if (!wanted[i]) continue;
    EXPECT_TRUE(near_normwise(outcome.gradients[i],
                              golden_values().at(fmt::format("{}/d{}", row.name, i)),
                              kGoldenTolerance))
        << "gradient of input " << i;
  }
}

std::vector<OpCase> rows_with_golden_values() {
  std::vector<OpCase> rows = op_cases();
  std::erase_if(rows, [](const OpCase& row) { return row.torch.empty(); });
  return rows;
}

INSTANTIATE_TEST_SUITE_P(Rows, OpFloat32, testing::ValuesIn(op_cases()), test_name);
INSTANTIATE_TEST_SUITE_P(Rows, OpBFloat16, testing::ValuesIn(op_cases()), test_name);
INSTANTIATE_TEST_SUITE_P(Rows, OpFiniteDifferences, testing::ValuesIn(op_cases()), test_name);
INSTANTIATE_TEST_SUITE_P(Rows, OpGolden, testing::ValuesIn(rows_with_golden_values()), test_name);

// --- the table itself ----------------------------------------------------------------------------

// The names of the functions that autograd/ops.h declares.
std::set<std::string> declared_ops() {
  const std::string header = read_file(GLASSNET_SOURCE_DIR "/autograd/ops.h");
  const std::string start = "\nVariable ";
  std::set<std::string> names;
  for (size_t at = header.find(start); at != std::string::npos; at = header.find(start, at + 1)) {
    const size_t begin = at + start.size();
    names.insert(header.substr(begin, header.find('(', begin) - begin));
  }
  return names;
}

TEST(OpTable, HasSeveralRowsWithGoldenValuesForEveryOp) {
  std::map<std::string, int> golden;
  for (const OpCase& row : rows_with_golden_values()) ++golden[row.op()];
  EXPECT_THAT(declared_ops(), testing::IsSupersetOf({"conv2d", "cross_entropy", "tanh"}));
  for (const std::string& op : declared_ops()) {
    EXPECT_GE(golden[op], 3) << op << " has too few rows in tests/op_cases.cpp";
  }
}

TEST(OpTable, NamesEveryRowOnceAndNoOpThatDoesNotExist) {
  std::set<std::string> names;
  const std::set<std::string> ops = declared_ops();
  for (const OpCase& row : op_cases()) {
    EXPECT_TRUE(names.insert(row.name).second) << row.name;
    EXPECT_TRUE(ops.contains(row.op())) << row.name;
  }
}

TEST(OpTable, GoldenFileHoldsNothingBesides) {
  const size_t expected = rows_with_golden_values().size() + 2;  // torch, made_by
  EXPECT_EQ(golden_file().metadata.size(), expected) << "run scripts/make-golden-ops";
}

// The harness can tell numbers apart: what it calls near is near, and NaN never is.
TEST(OpTable, ComparisonNoticesSmallErrorsAndNaN) {
  const Tensor expected = Tensor::from<double>({3, 4}, {2});
  EXPECT_TRUE(near_normwise(Tensor::from<double>({3, 4.000004}, {2}), expected, 1e-6));
  EXPECT_FALSE(near_normwise(Tensor::from<double>({3, 4.00001}, {2}), expected, 1e-6));
  EXPECT_FALSE(near_normwise(Tensor::from<double>({3, NAN}, {2}), expected, 1e-6));
  EXPECT_FALSE(near_normwise(Tensor::from<double>({3, 4}, {2, 1}), expected, 1e-6));
  EXPECT_FALSE(near_normwise({}, expected, 1e-6));
}

// --- what a table cannot say ---------------------------------------------------------------------

template <class T>
class OpCorners : public testing::Test {
 public:
  static Variable input(const std::vector<double>& values, const Shape& shape) {
    return leaf(Tensor::from(values, shape).to(dtype_of<T>));
  }
  static std::vector<double> gradient(const Variable& y, const Variable& x) {
    return grad(sum(y), {x})[0].template to_vector<double>();
  }
};
using BothTypes = testing::Types<float, double>;
struct TypeName {
  template <class T>
  static std::string GetName(int) {
    return name_of(dtype_of<T>);
  }
};
TYPED_TEST_SUITE(OpCorners, BothTypes, TypeName);

TYPED_TEST(OpCorners, KinksHaveTheDerivativeZero) {
  const Variable x = this->input({-1, 0, 2}, {3});
  EXPECT_THAT(this->gradient(relu(x), x), testing::ElementsAre(0, 0, 1));
  EXPECT_THAT(this->gradient(abs(x), x), testing::ElementsAre(-1, 0, 1));
}

TYPED_TEST(OpCorners, TheFirstOfEqualMaximaTakesTheGradient) {
  const Variable x = this->input({1, 5, 5, 5}, {1, 2, 2, 1});
  const Variable y = max_pool2d(x, {});
  EXPECT_EQ(y.value().item(), 5);
  EXPECT_THAT(this->gradient(y, x), testing::ElementsAre(0, 1, 0, 0));
}

TYPED_TEST(OpCorners, PaddingIsNeverTheMaximum) {
  const Variable x = this->input({-3, -4, -5, -6}, {1, 2, 2, 1});
  const Variable y = max_pool2d(x, {.window = 3, .stride = 2, .padding = 1});
  EXPECT_EQ(y.value().item(), -3);
}

// A NaN must be seen, not swallowed by a comparison.
TYPED_TEST(OpCorners, NaNPassesThroughReluAndMaxPool) {
  const Variable x = this->input({1, NAN, 3, 4}, {1, 2, 2, 1});
  EXPECT_TRUE(std::isnan(relu(x).value().template to_vector<double>()[1]));
  EXPECT_TRUE(std::isnan(max_pool2d(x, {}).value().item()));
}

TYPED_TEST(OpCorners, CrossEntropyOfNoLabelsIsNaN) {
  const Variable x = this->input({1, 2, 3, 4}, {2, 2});
  const Tensor ignored = Tensor::from<int64_t>({-100, -100}, {2});
  EXPECT_TRUE(std::isnan(cross_entropy(x, ignored).value().item()));
}

TYPED_TEST(OpCorners, SoftmaxOfHugeLogitsStaysFinite) {
  const Variable x = this->input({1e4, -1e4, 0}, {1, 3});
  EXPECT_THAT(softmax(x).value().template to_vector<double>(), testing::ElementsAre(1, 0, 0));
  EXPECT_THAT(log_softmax(x).value().template to_vector<double>(),
              testing::ElementsAre(0, -2e4, -1e4));
}

TYPED_TEST(OpCorners, SigmoidAndTanhSaturate) {
  const Variable x = this->input({-1000, 0, 1000}, {3});
  EXPECT_THAT(sigmoid(x).value().template to_vector<double>(), testing::ElementsAre(0, 0.5, 1));
  EXPECT_THAT(this->gradient(sigmoid(x), x), testing::ElementsAre(0, 0.25, 0));
  EXPECT_THAT(tanh(x).value().template to_vector<double>(), testing::ElementsAre(-1, 0, 1));
  EXPECT_THAT(this->gradient(tanh(x), x), testing::ElementsAre(0, 1, 0));
}

TYPED_TEST(OpCorners, BatchNormUpdatesRunningStatisticsInTrainingOnly) {
  const Variable x = this->input({1, 2, 3, 6}, {4, 1}), one = this->input({1}, {1});
  const Tensor mean = Tensor::zeros({1}, dtype_of<TypeParam>);
  const Tensor var = Tensor::full({1}, 1, dtype_of<TypeParam>);
  batch_norm(x, one, one, mean, var, {.training = false});
  EXPECT_EQ(mean.item(), 0);
  batch_norm(x, one, one, mean, var, {.momentum = 0.5});
  EXPECT_DOUBLE_EQ(mean.item(), 1.5);                   // half of the batch's mean, 3
  EXPECT_NEAR(var.item(), 0.5 + 0.5 * 14.0 / 3, 1e-6);  // unbiased: divided by 3, not by 4
}

struct Refusal {
  const char* name;
  std::function<void()> call;
  const char* message;  // a part of it
};
void PrintTo(const Refusal& refusal, std::ostream* out) {
  *out << refusal.name;
}

Variable zeros(const Shape& shape, DType type = DType::kFloat32) {
  return Variable(Tensor::zeros(shape, type));
}

class OpRefuses : public testing::TestWithParam<Refusal> {};

TEST_P(OpRefuses, WithAMessageThatSaysWhatWasExpected) {
  const Refusal& refusal = GetParam();
  EXPECT_THAT(refusal.call, testing::ThrowsMessage<Error>(testing::HasSubstr(refusal.message)));
}

INSTANTIATE_TEST_SUITE_P(
    Calls, OpRefuses,
    testing::Values(Refusal{"conv2d_channels",
                            [] {
                              conv2d(zeros({1, 4, 4, 3}), zeros({8, 3, 3, 4}));
                            },
                            "[conv2d] expected weight (8, 3, 3, 3), got (8, 3, 3, 4)"},
                    Refusal{"conv2d_groups",
                            [] {
                              conv2d(zeros({1, 4, 4, 3}), zeros({8, 3, 3, 1}), {}, {.groups = 2});
                            },
                            "[conv2d] expected channels divisible by 2 groups"},
                    Refusal{"conv2d_filter_too_large",
                            [] {
                              conv2d(zeros({1, 2, 2, 3}), zeros({8, 3, 3, 3}));
                            },
                            "does not fit"},
                    Refusal{"conv2d_types",
                            [] {
                              conv2d(zeros({1, 4, 4, 3}), zeros({8, 3, 3, 3}, DType::kFloat64));
                            },
                            "float32"},
                    Refusal{"conv2d_stride_zero",
                            [] {
                              conv2d(zeros({1, 4, 4, 3}), zeros({8, 3, 3, 3}), {}, {.stride = 0});
                            },
                            "[conv2d] expected stride"},
                    Refusal{"matmul_shapes",
                            [] {
                              matmul(zeros({2, 3}), zeros({4, 5}));
                            },
                            "[matmul]"},
                    Refusal{"linear_bias",
                            [] {
                              linear(zeros({2, 3}), zeros({4, 3}), zeros({3}));
                            },
                            "[linear] expected bias (4,), got (3,)"},
                    Refusal{"batch_norm_single_value",
                            [] {
                              const Tensor c = Tensor::zeros({3});
                              batch_norm(zeros({1, 1, 1, 3}), zeros({3}), zeros({3}), c, c);
                            },
                            "[batch_norm] training needs more than one value per channel"},
                    Refusal{"max_pool2d_padding",
                            [] {
                              max_pool2d(zeros({1, 4, 4, 1}), {.window = 2, .padding = 2});
                            },
                            "[max_pool2d]"},
                    Refusal{"subsample_pad_channels",
                            [] {
                              subsample_pad(zeros({1, 4, 4, 1}), {.before = -1});
                            },
                            "[subsample_pad] expected a stride of at least 1"},
                    Refusal{"cross_entropy_label",
                            [] {
                              cross_entropy(zeros({1, 3}), Tensor::from<int64_t>({3}, {1}));
                            },
                            "[cross_entropy] expected labels below 3, got 3"},
                    Refusal{"select_index",
                            [] {
                              select(zeros({2, 3}), {0, 3});
                            },
                            "[select] expected indices below 3, got 3"},
                    Refusal{"add_shapes",
                            [] {
                              add(zeros({2, 3}), zeros({2}));
                            },
                            "(2, 3)"},
                    Refusal{"add_types", [] { add(zeros({2}), zeros({2}, DType::kFloat64)); },
                            "[add] expected operands of one type"},
                    Refusal{"reshape_count",
                            [] {
                              reshape(zeros({2, 3}), {4});
                            },
                            "[reshape] expected 6 elements, got shape (4,)"},
                    Refusal{"sum_axis",
                            [] {
                              sum(zeros({2, 3}), {2});
                            },
                            "2"},
                    Refusal{"relu_integers", [] { relu(zeros({2}, DType::kInt64)); }, "int64"}),
    [](const auto& refusal) { return std::string(refusal.param.name); });

}  // namespace
}  // namespace glassnet
