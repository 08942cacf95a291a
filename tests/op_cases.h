// The one table of op cases. A row is data: a name, what goes in, the call, and the same call in
// PyTorch. The table drives the float32 kernels against the float64 definitions, finite
// differences, and golden values; a new op is tested by adding rows.
#pragma once

#include <functional>
#include <initializer_list>
#include <string>
#include <vector>

#include "autograd/ops.h"

namespace glassnet {

// How an input's elements are drawn.
enum class Values {
  kNormal,    // mean 0, variance 1
  kPositive,  // uniform in [0.5, 2)
  kDistinct,  // a shuffled ladder within ±8: no ties, and none within a finite difference's step
  kOffZero,   // normal, pushed 0.1 away from 0, where relu and abs have their kink
};

struct OpInput {
  OpInput(std::initializer_list<int64_t> dims) : shape(dims) {}  // NOLINT(google-explicit-*)
  OpInput(const Shape& shape_, Values values_, bool differentiable_ = true)
      : shape(shape_), values(values_), differentiable(differentiable_) {}

  Shape shape;
  Values values = Values::kNormal;
  bool differentiable = true;
  bool statistic = false;  // in float32 where the others are in a 16-bit type
};

struct OpCase {
  std::string name;  // "conv2d/3x3_stride2": the op as in autograd/ops.h, and the variant
  std::vector<OpInput> inputs;  // of f, in order
  // Does not change its inputs' elements.
  std::function<Variable(const std::vector<Variable>&)> f;
  // The same in Python over the inputs a, b, c, …, in the words of scripts/make-golden-ops. Empty
  // for rows whose shapes are too large to keep golden values of.
  std::string torch;
  // The float32 run's error against the float64 one, normwise; 0 leaves it to the harness.
  double float32_tolerance = 0;
  // The same for 16-bit types.
  double narrow_tolerance = 0;

  std::string op() const { return name.substr(0, name.find('/')); }
};

const std::vector<OpCase>& op_cases();

// A row's inputs in float64, a function of the row's name and their shapes alone.
std::vector<Tensor> make_inputs(const OpCase& row);
// The gradient that is sent back through the row's result.
Tensor make_upstream(const OpCase& row, const Shape& shape);

}  // namespace glassnet
