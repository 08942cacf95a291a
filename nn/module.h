// Module: a differentiable function with named parameters, buffers and children.
//
// Declaring a member registers it:
//
//   struct Net : Module {
//     Conv2d& conv = child<Conv2d>("conv", Conv2dLayer{.in = 3, .out = 8, .kernel = 3});
//     Linear& fc = child<Linear>("fc", LinearLayer{.in = 8, .out = 2});
//     Variable forward(const Variable& x) override { return fc(global_avg_pool(relu(conv(x)))); }
//   };
//
// and its parameters are called "conv.weight", "fc.weight", "fc.bias". A fresh module's weights are
// zero; `initialise(module, seed)` draws them.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "autograd/hook.h"
#include "autograd/ops.h"
#include "autograd/variable.h"
#include "tensor/shared_images.h"

namespace glassnet {

// Sees a module's output. What it returns goes on in its place: the output itself to observe, a
// fresh leaf to cut the graph there, anything else of the same shape to intervene. The number of
// images alone may differ: what follows then works on as many variants of what came in.
using ForwardHook = std::function<Variable(const Variable& output)>;

struct NamedVariable {
  std::string name;
  Variable variable;
};
struct NamedTensor {
  std::string name;
  Tensor tensor;
};
// In the order of declaration: a module's own parameters, its buffers, then its children's.
using StateDict = std::vector<NamedTensor>;

struct NamedShape {
  std::string name;
  Shape shape;
};
// Why tensors of these names and shapes are not those that are expected, or nothing: at most ten
// names that are mis-shaped, unexpected (with the nearest that is missing) or missing.
std::string misfit(const std::vector<NamedShape>& expected, const std::vector<NamedShape>& given);

// CONVENTION: children are owned and never move, so that references to them stay valid; a Module
// is neither copied nor moved.
class Module {
 public:
  Module() = default;
  virtual ~Module() = default;
  Module(const Module&) = delete;
  Module& operator=(const Module&) = delete;

  // Runs `forward`, then the hooks on this module.
  Variable operator()(const Variable& x);
  // The same for an x that the caller has no more use for: what is computed may lie in its place,
  // where nothing is recorded and nobody else holds it.
  Variable operator()(Variable&& x);
  // `forward` of images that share pixels, which records nothing and runs no hooks. Layers that
  // look at windows of pixels have it, and what is made of them; others throw an Error.
  SharedImages operator()(const SharedImages& x) { return forward_shared(x); }

  std::vector<NamedVariable> named_parameters() const;
  std::vector<NamedTensor> named_buffers() const;
  // (path, module) of this module (path "") and all below, parents before children.
  std::vector<std::pair<std::string, Module*>> named_modules();
  // Throws UsageError with the nearest names when there is no such path.
  Module& find(const std::string& path);

  // Training mode makes batch norm use and update batch statistics. Modules start in it.
  void train(bool training = true);
  void eval() { train(false); }
  bool training() const { return training_; }
  // Whether a hook waits for this module's own output.
  bool hooked() const { return !hooks_.empty(); }
  // The same for this module and all below.
  bool hooked_within() const;

  HookHandle on_forward(ForwardHook hook) { return hooks_.add(std::move(hook)); }
  HookHandle on_forward(const std::string& path, ForwardHook hook) {
    return find(path).on_forward(std::move(hook));
  }

  // Parameters and buffers, sharing their elements with the module.
  StateDict state_dict() const;
  // Copies values in, converting types. Every name and shape must match, or nothing is changed and
  // an Error says what `misfit` does.
  void load_state_dict(const StateDict& state);

  void set_requires_grad(bool wanted);
  void clear_grads();
  // Converts floating-point parameters and buffers to float32 or float64; integer buffers stay. A
  // network computes in a 16-bit type when its input is of that type: its weights stay float32, the
  // masters that training updates, and each layer rounds its own on the way.
  void to(DType type);
  // Moves parameters and floating-point buffers; integer buffers are the host's.
  void to(Device device);
  // Where the parameters are; the CPU for a module without any.
  Device device() const;
  int64_t parameter_count() const;

  // The kind of module, for summaries: "Conv2d".
  virtual const char* kind() const { return "Module"; }
  // Draws this module's own parameters. `stream` numbers the tensors drawn so far and is advanced
  // by one for each. The default does nothing.
  virtual void draw_parameters(uint64_t seed, uint64_t& stream);

 protected:
  virtual Variable forward(const Variable& x) = 0;
  virtual Variable consume(Variable x) { return forward(x); }
  virtual SharedImages forward_shared(const SharedImages& x);

  template <class M, class... Args>
  M& child(const std::string& name, Args&&... args) {
    auto owned = std::make_unique<M>(std::forward<Args>(args)...);
    M& reference = *owned;
    add_child(name, std::move(owned));
    return reference;
  }
  // Zero-filled float32.
  Variable parameter(const std::string& name, const Shape& shape);
  // The buffer's element is held by the module: read it through the returned reference, which
  // stays valid as long as the module.
  Tensor& buffer(const std::string& name, Tensor value);

 private:
  Variable through_hooks(Variable y);
  void add_child(const std::string& name, std::unique_ptr<Module> module);

  struct Buffer {
    std::string name;
    std::unique_ptr<Tensor> tensor;
  };
  std::vector<NamedVariable> parameters_;
  std::vector<Buffer> buffers_;
  std::vector<std::pair<std::string, std::unique_ptr<Module>>> children_;
  HookList<ForwardHook> hooks_;
  bool training_ = true;
};

// Evaluation mode for as long as it lives; then every module is back in the mode it was in, however
// the scope is left.
class Evaluating {
 public:
  explicit Evaluating(Module& model);
  ~Evaluating();
  Evaluating(const Evaluating&) = delete;
  Evaluating& operator=(const Evaluating&) = delete;

 private:
  // CONVENTION: parents stand before children, so that a child's own mode has the last word.
  std::vector<std::pair<Module*, bool>> before_;
};

// While one lives, parameters that this thread makes hold whatever their memory held, instead of
// zeros: for a network that is filled in at once.
class LeaveUnfilled {
 public:
  LeaveUnfilled();
  ~LeaveUnfilled();
  LeaveUnfilled(const LeaveUnfilled&) = delete;
  LeaveUnfilled& operator=(const LeaveUnfilled&) = delete;

 private:
  bool before_;
};

// Draws every parameter below `module` from (seed, position in the tree).
void initialise(Module& module, uint64_t seed);

// The known names most like `name` by edit distance, at most `count`, for messages.
std::vector<std::string> nearest_names(const std::string& name,
                                       const std::vector<std::string>& known, size_t count = 3);

}  // namespace glassnet
