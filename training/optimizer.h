// What turns gradients into new weights: SGD with momentum, Adam and AdamW, by PyTorch's formulas.
// With gradient g, learning rate lr, weights w, weight decay d and step number t (from 1):
//
//   SGD    g += d w;  v = momentum v + g  (v = g the first time);  w -= lr (g + momentum v) with
//          Nesterov's look-ahead, w -= lr v without it
//          (Sutskever et al., "On the importance of initialization and momentum", ICML 2013)
//   Adam   g += d w;  m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g g;
//          w -= lr / (1 - b1^t) m / (sqrt(v / (1 - b2^t)) + eps)     (Kingma and Ba, ICLR 2015)
//   AdamW  w -= lr d w first, and no d w in the gradient            (Loshchilov and Hutter, 2019)
//
// A parameter's lr is that of the step times a factor of its own, 1 where none is given.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "kernels/optimizer.h"
#include "nn/module.h"

namespace glassnet {

// What an optimizer updates.
enum class Decay {
  kAll,       // weight decay on every parameter, as PyTorch's plain recipe
  kMatrices,  // on those with two axes or more: neither biases nor batch norm's gamma and beta
};

// CONVENTION: updates the parameters it was made with, in place and where they are: float32, all on
// one device. A parameter without a gradient is left alone, its state too, as in PyTorch.
class Optimizer {
 public:
  virtual ~Optimizer() = default;
  Optimizer(const Optimizer&) = delete;
  Optimizer& operator=(const Optimizer&) = delete;

  const std::vector<NamedVariable>& parameters() const { return parameters_; }

  // One update from the gradients in `.grad`, which stay as they are.
  void step(double learning_rate);
  // The same, directed by a kernels::StepControl on the parameters' device, as control_tensor makes
  // one: nothing waits for the device.
  virtual void step(const Tensor& control) = 0;
  // Everything `step` remembers, as "momentum.conv1.weight" and the like, sharing its elements.
  virtual StateDict state() const = 0;
  // Copies values in. Throws Error, naming the tensor, when a name or shape does not fit.
  virtual void load_state(const StateDict& state) = 0;

 protected:
  explicit Optimizer(std::vector<NamedVariable> parameters) : parameters_(std::move(parameters)) {}

  std::vector<NamedVariable> parameters_;
};

struct SgdOptions {
  double momentum = 0.9;
  bool nesterov = true;  // only with momentum
  double weight_decay = 5e-4;
  Decay decay = Decay::kAll;
  std::vector<double> rate_factors = {};  // one for each parameter, or none
};
std::unique_ptr<Optimizer> make_sgd(std::vector<NamedVariable> parameters,
                                    const SgdOptions& options = {});

struct AdamOptions {
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
  double weight_decay = 0;
  bool decoupled = false;  // AdamW
  Decay decay = Decay::kAll;
  std::vector<double> rate_factors = {};  // one for each parameter, or none
};
std::unique_ptr<Optimizer> make_adam(std::vector<NamedVariable> parameters,
                                     const AdamOptions& options = {});

// A kernels::StepControl as a tensor: its 32-bit words, as float32.
Tensor control_tensor(const kernels::StepControl& control, Device device);
// Works out, on the device, the norm of all gradients, what to multiply them with, and whether the
// step has to be skipped: kernels/optimizer.h.
void gradient_control(const std::vector<NamedVariable>& parameters, const Tensor& control);

}  // namespace glassnet
