// Running rows of the table of op cases, and comparing what comes out.
#pragma once

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tests/op_cases.h"

namespace glassnet {

// Shown by GoogleTest instead of a row's bytes.
inline void PrintTo(const OpCase& row, std::ostream* out) {
  *out << row.name;
}

struct Outcome {
  Tensor y;
  std::vector<Tensor> gradients;  // one for each input, undefined where there is none
};

// Runs a row forward and, with an upstream gradient, back to every input that `wanted` names.
inline Outcome run_row(const OpCase& row, const std::vector<Tensor>& inputs, const Tensor& upstream,
                       const std::vector<bool>& wanted) {
  std::vector<Variable> variables, differentiable;
  for (size_t i = 0; i < inputs.size(); ++i) {
    variables.emplace_back(inputs[i], wanted[i]);
    if (wanted[i]) differentiable.push_back(variables.back());
  }
  const Variable y = row.f(variables);
  Outcome outcome{y.value(), std::vector<Tensor>(inputs.size())};
  if (differentiable.empty()) return outcome;
  const std::vector<Tensor> found = grad(y, differentiable, {.gradient = upstream});
  for (size_t i = 0, next = 0; i < inputs.size(); ++i) {
    if (wanted[i]) outcome.gradients[i] = found[next++];
  }
  return outcome;
}

inline std::vector<bool> differentiable_inputs(const OpCase& row) {
  std::vector<bool> wanted;
  for (const OpInput& input : row.inputs) wanted.push_back(input.differentiable);
  return wanted;
}

inline std::vector<Tensor> converted(const std::vector<Tensor>& tensors, DType type) {
  std::vector<Tensor> result;
  for (const Tensor& tensor : tensors) result.push_back(tensor.to(type));
  return result;
}

inline double norm(const std::vector<double>& values) {
  double sum = 0;
  for (const double value : values) sum += value * value;
  return std::sqrt(sum);
}

// |actual - expected| / |expected|, over all elements together.
inline testing::AssertionResult near_normwise(const Tensor& actual, const Tensor& expected,
                                              double tolerance) {
  if (!actual.defined() || actual.shape() != expected.shape()) {
    return testing::AssertionFailure() << "expected shape " << expected.shape().str() << ", got "
                                       << (actual.defined() ? actual.shape().str() : "none");
  }
  const std::vector<double> a = actual.to_vector<double>(), e = expected.to_vector<double>();
  std::vector<double> difference(a.size());
  size_t worst = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    difference[i] = a[i] - e[i];
    // Written so that a NaN counts as the worst.
    if (!(std::abs(difference[i]) <= std::abs(difference[worst]))) worst = i;
  }
  const double scale = std::max(norm(e), std::numeric_limits<double>::min());
  const double error = norm(difference) / scale;
  if (error <= tolerance) return testing::AssertionSuccess();
  return testing::AssertionFailure() << fmt::format(
             "relative error {:.3g} exceeds {:.3g}; worst at element {} of {}: got {}, expected {}",
             error, tolerance, worst, expected.shape().str(), a[worst], e[worst]);
}

inline testing::AssertionResult same_elements(const Tensor& a, const Tensor& b) {
  if (a.shape() == b.shape() && a.to_vector<double>() == b.to_vector<double>()) {
    return testing::AssertionSuccess();
  }
  return testing::AssertionFailure() << "elements differ";
}

// What rounding to the type costs, and a little for sums: relative to the norm.
inline double tolerance_of(DType type) {
  if (type == DType::kFloat32) return 1e-5;
  return type == DType::kFloat16 ? 2e-3 : 1e-2;
}

// A row on `device` in a 16-bit type, or in a GPU's float32, against the float64 definitions on the
// CPU: its result and all gradients.
inline void expect_definition(const OpCase& row, DType type, Device device) {
  if (type != DType::kFloat32 && row.float32_tolerance > 0) {
    return;  // numbers in the thousands, whose differences 16 bits do not hold
  }
  const double tolerance = std::max(
      tolerance_of(type), type == DType::kFloat32 ? row.float32_tolerance : row.narrow_tolerance);
  // Both sides start from the same rounded numbers.
  std::vector<Tensor> narrow, wide, there;
  for (const Tensor& input : make_inputs(row)) {
    const bool statistic = row.inputs[narrow.size()].statistic;
    narrow.push_back(input.to(statistic ? DType::kFloat32 : type));
    wide.push_back(narrow.back().to(DType::kFloat64));
    there.push_back(narrow.back().clone().to(device));
  }

  const std::vector<bool> wanted = differentiable_inputs(row), none(wanted.size());
  const Tensor y = run_row(row, there, {}, none).y;
  EXPECT_EQ(y.device(), device);
  const Tensor upstream = make_upstream(row, y.shape()).to(y.dtype());
  const Outcome expected = run_row(row, wide, upstream.to(DType::kFloat64), wanted);
  const Outcome actual = run_row(row, there, upstream.to(device), wanted);
  EXPECT_TRUE(near_normwise(actual.y, expected.y, tolerance));
  for (size_t i = 0; i < wanted.size(); ++i) {
    if (!wanted[i]) continue;
    EXPECT_EQ(actual.gradients[i].dtype(), there[i].dtype());
    EXPECT_TRUE(near_normwise(actual.gradients[i], expected.gradients[i], tolerance))
        << "gradient of input " << i;
  }
  for (size_t i = 0; i < wanted.size(); ++i) {
    EXPECT_TRUE(same_elements(there[i], narrow[i])) << "input " << i << " was written to";
  }
}

inline std::string test_name(const testing::TestParamInfo<OpCase>& info) {
  std::string name = info.param.name;
  for (char& c : name) {
    if (c == '/') c = '_';
  }
  return name;
}

}  // namespace glassnet
