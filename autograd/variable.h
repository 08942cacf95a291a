// Reverse-mode automatic differentiation on a recorded graph.
//
// A Variable is a Tensor that knows how it came about: the Node that made it. Each differentiable
// op records one Node with a pure vector-Jacobian product beside its forward. One iterative pass
// in reverse order of recording adds up the gradients that reach a node, runs its hooks (which may
// replace the gradient), then its VJP, and lets go of what the VJP had saved.
//
// Not here: higher-order gradients (VJPs work on Tensors) and differentiable in-place ops.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "autograd/hook.h"
#include "tensor/tensor.h"

namespace glassnet {

// Which inputs of an op need a gradient, and what its VJP may add it to.
class Needs {
 public:
  // `sums` has for each input what it received from other ops so far, or null.
  Needs(std::vector<bool> inputs, std::vector<Tensor*> sums)
      : inputs_(std::move(inputs)), sums_(std::move(sums)) {}

  bool operator[](size_t input) const { return inputs_[input]; }
  const std::vector<bool>& inputs() const { return inputs_; }
  // What an input received so far; undefined when that is nothing or was taken before. What is
  // taken has to be part of what the VJP returns for the input: for ops that add for free.
  Tensor take_sum(size_t input) const;

 private:
  std::vector<bool> inputs_;
  std::vector<Tensor*> sums_;
};

// (gradient of the output, which inputs need one) -> a gradient for each input, shaped as it; what
// is not needed may stay undefined. Pure: it writes to nothing but its result, which may lie
// in_place_of(dy).
using Vjp = std::function<std::vector<Tensor>(const Tensor& dy, const Needs& needs)>;

// A tensor like dy to be written, for a VJP whose kernel reads each element before it writes the
// one at its place: dy itself where nobody else holds it, which spares memory the second tensor. On
// a GPU always another one: kernels there are promised that their pointers differ.
Tensor in_place_of(const Tensor& dy);

// Sees the gradient that reached a variable, before it goes on to the variable's inputs. What it
// returns takes the gradient's place; an undefined Tensor leaves it as it is.
using GradHook = std::function<Tensor(const Tensor& gradient)>;

// One recorded op, or a leaf (no inputs, no VJP).
// CONVENTION: `sequence` grows with every node made, so a node's inputs have smaller numbers, and
// descending order is a reverse topological order.
struct Node {
  Node(const char* name_, const Tensor& output);
  ~Node();  // iterative, so that a deep graph does not overflow the stack
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;

  const char* name;
  uint64_t sequence;
  Shape shape;  // of the output, and so of its gradient
  DType dtype;
  std::vector<std::shared_ptr<Node>> inputs;  // null where no gradient is wanted
  Vjp vjp;                                    // empty for a leaf, and once it was freed
  bool leaf = false;
  bool retain_grad = false;  // keep the gradient in `grad`, as leaves do
  Tensor grad;
  HookList<GradHook> hooks;
};

// CONVENTION: copies of a Variable are the same variable. An undefined Variable stands for "none",
// for example a convolution without bias.
class Variable {
 public:
  Variable() = default;
  explicit Variable(Tensor value, bool requires_grad = false);

  bool defined() const { return state_ != nullptr; }
  const Tensor& value() const;
  Tensor& mutable_value();       // for optimizers and weight loading; recorded graphs see it
  void set_value(Tensor value);  // a leaf's value, possibly of another type or device
  const Shape& shape() const { return value().shape(); }
  // True when neither another Variable nor another Tensor shares the elements.
  bool unique() const { return state_.use_count() == 1 && state_->value.unique(); }

  bool requires_grad() const;
  // Leaves only: whether gradients are wanted (a frozen parameter wants none).
  void set_requires_grad(bool wanted);
  // The gradient gathered by backward(); undefined before, and for variables that keep none.
  Tensor grad() const;
  void clear_grad();
  // Makes a variable that is not a leaf keep its gradient in backward().
  void retain_grad();
  // Runs in every pass that reaches this variable, before its VJP. Throws when the variable does
  // not require a gradient.
  HookHandle on_grad(GradHook hook) const;

  const std::shared_ptr<Node>& node() const;

 private:
  struct State {
    Tensor value;
    std::shared_ptr<Node> node;
  };
  std::shared_ptr<State> state_;

  friend Variable record(const char*, Tensor, const std::vector<Variable>&, Vjp);
};

// A new leaf that requires a gradient; it shares the elements of `value` and none of its history.
Variable leaf(const Tensor& value);

// The result of an op: `value`, with a node when recording is on and an input requires a gradient.
// `inputs` and what `vjp` returns are in the same order; undefined inputs are allowed.
Variable record(const char* name, Tensor value, const std::vector<Variable>& inputs, Vjp vjp);
// Whether `record` would make a node, to spare an op the work of saving what a VJP needs.
bool will_record(const std::vector<Variable>& inputs);

// While one lives on this thread, nothing is recorded.
class NoGrad {
 public:
  NoGrad();
  ~NoGrad();
  static bool active();  // on this thread
  NoGrad(const NoGrad&) = delete;
  NoGrad& operator=(const NoGrad&) = delete;

 private:
  bool before_;
};

struct BackwardOptions {
  Tensor gradient = {};     // d(something)/dy, shaped as y; ones when y has a single element
  bool keep_graph = false;  // keep saved tensors, for a second pass over the same graph
};

// Adds d y / d leaf to .grad of every leaf that y depends on.
void backward(const Variable& y, const BackwardOptions& options = {});

// d y / d input for each input, which may be leaves or results in between. Visits only the paths
// that lead to them, and never touches .grad. Throws when y does not depend on an input.
std::vector<Tensor> grad(const Variable& y, const std::vector<Variable>& inputs,
                         const BackwardOptions& options = {});

}  // namespace glassnet
