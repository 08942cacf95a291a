#include "training/optimizer.h"

#include <cstring>
#include <map>

#include <fmt/format.h>

#include "kernels/error.h"
#include "tensor/math.h"

namespace glassnet {
namespace {

void check_parameters(const std::vector<NamedVariable>& parameters) {
  for (const NamedVariable& parameter : parameters) {
    const Tensor& value = parameter.variable.value();
    require(value.dtype() == DType::kFloat32 &&
                value.device() == parameters.front().variable.value().device(),
            [&] {
              return fmt::format("[optimizer] expected parameter {} to be float32 on {}",
                                 parameter.name,
                                 parameters.front().variable.value().device().str());
            });
  }
}

void check_rate_factors(const std::vector<double>& factors, size_t parameters) {
  require(factors.empty() || factors.size() == parameters, [&] {
    return fmt::format(
        "[optimizer] expected no rate factors or one for each of {} parameters, got {}", parameters,
        factors.size());
  });
}

float rate_factor(const std::vector<double>& factors, size_t parameter) {
  return factors.empty() ? 1.0F : static_cast<float>(factors[parameter]);
}

Device device_of(const std::vector<NamedVariable>& parameters) {
  return parameters.empty() ? Device{} : parameters.front().variable.value().device();
}

// The gradients alone, of parameters that have one.
std::vector<kernels::ParameterUpdate> gradients_of(const std::vector<NamedVariable>& parameters) {
  std::vector<kernels::ParameterUpdate> updates;
  for (const NamedVariable& parameter : parameters) {
    const Tensor gradient = parameter.variable.grad();
    if (!gradient.defined()) continue;
    updates.push_back({.g = gradient.data<float>(), .count = gradient.numel()});
  }
  return updates;
}

kernels::StepControl* words_of(const Tensor& control) {
  Tensor words = control;  // shares its elements
  return static_cast<kernels::StepControl*>(words.raw());
}

float decay_of(const NamedVariable& parameter, Decay decay, double weight_decay) {
  const bool decays = decay == Decay::kAll || parameter.variable.value().rank() >= 2;
  return decays ? static_cast<float>(weight_decay) : 0.0F;
}

Tensor zeros_like(const Tensor& x) {
  return Tensor::zeros(x.shape(), x.dtype(), x.device());
}

// Slots of one kind, one for each parameter, undefined until first used: "momentum.conv1.weight".
void append_slots(StateDict& state, const char* kind, const std::vector<NamedVariable>& parameters,
                  const std::vector<Tensor>& slots) {
  for (size_t i = 0; i < slots.size(); ++i) {
    if (!slots[i].defined()) continue;
    state.push_back({fmt::format("{}.{}", kind, parameters[i].name), slots[i]});
  }
}

// Takes the tensors of a state dict out by name, and complains about those left over.
class StateReader {
 public:
  StateReader(const StateDict& state, Device device) : device_(device) {
    for (const NamedTensor& entry : state) left_[entry.name] = entry.tensor;
  }

  // A copy of the tensor called `name`, or an undefined one where there is none.
  Tensor take(const std::string& name, const Shape& shape, DType type) {
    const auto found = left_.find(name);
    if (found == left_.end()) return {};
    const Tensor tensor = found->second;
    left_.erase(found);
    require(tensor.shape() == shape && tensor.dtype() == type, [&] {
      return fmt::format("[optimizer] expected state {} of shape {}, got {} or another type", name,
                         shape.str(), tensor.shape().str());
    });
    return tensor.device() == device_ ? tensor.clone() : tensor.to(device_);
  }
  std::vector<Tensor> take_slots(const char* kind, const std::vector<NamedVariable>& parameters) {
    std::vector<Tensor> slots;
    slots.reserve(parameters.size());
    for (const NamedVariable& parameter : parameters) {
      slots.push_back(take(fmt::format("{}.{}", kind, parameter.name), parameter.variable.shape(),
                           DType::kFloat32));
    }
    return slots;
  }
  void finish() const {
    require(left_.empty(), [&] {
      return fmt::format(
          "[optimizer] the state holds {}, which this optimizer or model does not know",
          left_.begin()->first);
    });
  }

 private:
  Device device_;
  std::map<std::string, Tensor> left_;
};

class Sgd : public Optimizer {
 public:
  Sgd(std::vector<NamedVariable> parameters, const SgdOptions& options)
      : Optimizer(std::move(parameters)), options_(options), momentum_(parameters_.size()) {
    require(!options_.nesterov || options_.momentum > 0, [] {
      return std::string("[sgd] Nesterov's look-ahead needs a momentum greater than 0");
    });
  }

  using Optimizer::step;
  void step(const Tensor& control) override {
    const OpScope op("sgd");
    std::vector<kernels::ParameterUpdate> updates;
    for (size_t i = 0; i < parameters_.size(); ++i) {
      const Tensor gradient = parameters_[i].variable.grad();
      if (!gradient.defined()) continue;
      Tensor& value = parameters_[i].variable.mutable_value();
      // Zeros for a start, which make the first step PyTorch's.
      if (options_.momentum > 0 && !momentum_[i].defined()) momentum_[i] = zeros_like(value);
      updates.push_back({.w = value.data<float>(),
                         .g = gradient.data<float>(),
                         .v = options_.momentum > 0 ? momentum_[i].data<float>() : nullptr,
                         .count = value.numel(),
                         .decay = decay_of(parameters_[i], options_.decay, options_.weight_decay),
                         .rate_factor = rate_factor(options_.rate_factors, i)});
    }
    on(control.device(), [&](auto device) {
      kernels::sgd_step(device, updates,
                        {.momentum = options_.momentum, .nesterov = options_.nesterov},
                        words_of(control));
    });
  }

  StateDict state() const override {
    StateDict state;
    append_slots(state, "momentum", parameters_, momentum_);
    return state;
  }

  void load_state(const StateDict& state) override {
    StateReader reader(state, device_of(parameters_));
    std::vector<Tensor> momentum = reader.take_slots("momentum", parameters_);
    reader.finish();
    momentum_ = std::move(momentum);
  }

 private:
  SgdOptions options_;
  std::vector<Tensor> momentum_;
};

class Adam : public Optimizer {
 public:
  Adam(std::vector<NamedVariable> parameters, const AdamOptions& options)
      : Optimizer(std::move(parameters)),
        options_(options),
        mean_(parameters_.size()),
        square_(parameters_.size()),
        steps_(Tensor::zeros({static_cast<int64_t>(parameters_.size())}, DType::kInt64,
                             device_of(parameters_))) {}

  using Optimizer::step;
  void step(const Tensor& control) override {
    const OpScope op("adam");
    std::vector<kernels::ParameterUpdate> updates;
    for (size_t i = 0; i < parameters_.size(); ++i) {
      const Tensor gradient = parameters_[i].variable.grad();
      if (!gradient.defined()) continue;
      Tensor& value = parameters_[i].variable.mutable_value();
      if (!mean_[i].defined()) {
        mean_[i] = zeros_like(value);
        square_[i] = zeros_like(value);
      }
      updates.push_back({.w = value.data<float>(),
                         .g = gradient.data<float>(),
                         .m = mean_[i].data<float>(),
                         .v = square_[i].data<float>(),
                         .steps = steps_.data<int64_t>() + i,
                         .count = value.numel(),
                         .decay = decay_of(parameters_[i], options_.decay, options_.weight_decay),
                         .rate_factor = rate_factor(options_.rate_factors, i)});
    }
    on(control.device(), [&](auto device) {
      kernels::adam_step(device, updates,
                         {.beta1 = options_.beta1,
                          .beta2 = options_.beta2,
                          .eps = options_.eps,
                          .decoupled = options_.decoupled},
                         words_of(control));
    });
  }

  StateDict state() const override {
    StateDict state = {{"steps", steps_}};
    append_slots(state, "mean", parameters_, mean_);
    append_slots(state, "square", parameters_, square_);
    return state;
  }

  void load_state(const StateDict& state) override {
    StateReader reader(state, device_of(parameters_));
    const Tensor steps = reader.take("steps", steps_.shape(), DType::kInt64);
    std::vector<Tensor> mean = reader.take_slots("mean", parameters_);
    std::vector<Tensor> square = reader.take_slots("square", parameters_);
    reader.finish();
    require(steps.defined(), [] {
      return std::string("[optimizer] the state has no tensor 'steps', as Adam's must");
    });
    for (size_t i = 0; i < mean.size(); ++i) {
      require(mean[i].defined() == square[i].defined(), [&] {
        return fmt::format("[optimizer] the state holds half of what Adam keeps for {}",
                           parameters_[i].name);
      });
    }
    steps_ = steps;
    mean_ = std::move(mean);
    square_ = std::move(square);
  }

 private:
  AdamOptions options_;
  std::vector<Tensor> mean_, square_;
  Tensor steps_;  // taken by each parameter
};

}  // namespace

void Optimizer::step(double learning_rate) {
  step(
      control_tensor({.learning_rate = static_cast<float>(learning_rate)}, device_of(parameters_)));
}

Tensor control_tensor(const kernels::StepControl& control, Device device) {
  constexpr int64_t kWords = sizeof(control) / sizeof(float);
  Tensor words = Tensor::empty({kWords});
  std::memcpy(words.raw(), &control, sizeof(control));
  return words.to(device);
}

std::unique_ptr<Optimizer> make_sgd(std::vector<NamedVariable> parameters,
                                    const SgdOptions& options) {
  check_parameters(parameters);
  check_rate_factors(options.rate_factors, parameters.size());
  return std::make_unique<Sgd>(std::move(parameters), options);
}

std::unique_ptr<Optimizer> make_adam(std::vector<NamedVariable> parameters,
                                     const AdamOptions& options) {
  check_parameters(parameters);
  check_rate_factors(options.rate_factors, parameters.size());
  return std::make_unique<Adam>(std::move(parameters), options);
}

void gradient_control(const std::vector<NamedVariable>& parameters, const Tensor& control) {
  const OpScope op("gradient_norm");
  const std::vector<kernels::ParameterUpdate> gradients = gradients_of(parameters);
  on(control.device(),
     [&](auto device) { kernels::gradient_control(device, gradients, words_of(control)); });
}

}  // namespace glassnet
