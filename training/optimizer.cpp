#include "training/optimizer.h"

#include <cmath>
#include <map>

#include <fmt/format.h>

#include "kernels/error.h"

namespace glassnet {
namespace {

// One part of a sum or update: large enough to be worth a thread's while, and of fixed size, so
// that sums do not depend on the number of threads.
constexpr int64_t kChunk = 1 << 14;

void check_cpu_float(const NamedVariable& parameter) {
  const Tensor& value = parameter.variable.value();
  require(value.dtype() == DType::kFloat32 && value.device().type == DeviceType::kCpu, [&] {
    return fmt::format("[optimizer] expected parameter {} to be float32 on the CPU",
                       parameter.name);
  });
}

bool decays(const NamedVariable& parameter, Decay decay) {
  return decay == Decay::kAll || parameter.variable.value().rank() >= 2;
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
  explicit StateReader(const StateDict& state) {
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
    return tensor.clone();
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

  void step(double learning_rate) override {
    for (size_t i = 0; i < parameters_.size(); ++i) {
      const Tensor gradient = parameters_[i].variable.grad();
      if (gradient.defined()) update(i, gradient, static_cast<float>(learning_rate));
    }
  }

  StateDict state() const override {
    StateDict state;
    append_slots(state, "momentum", parameters_, momentum_);
    return state;
  }

  void load_state(const StateDict& state) override {
    StateReader reader(state);
    std::vector<Tensor> momentum = reader.take_slots("momentum", parameters_);
    reader.finish();
    momentum_ = std::move(momentum);
  }

 private:
  void update(size_t index, const Tensor& gradient, float rate) {
    NamedVariable& parameter = parameters_[index];
    Tensor& value = parameter.variable.mutable_value();
    const auto momentum = static_cast<float>(options_.momentum);
    const float decay =
        decays(parameter, options_.decay) ? static_cast<float>(options_.weight_decay) : 0.0F;
    const bool nesterov = options_.nesterov;
    // A buffer of zeros gives momentum * 0 + g = g, PyTorch's first step.
    if (momentum > 0 && !momentum_[index].defined()) {
      momentum_[index] = Tensor::zeros(value.shape());
    }

    float* const w = value.data<float>();
    const float* const g = gradient.data<float>();
    float* const v = momentum > 0 ? momentum_[index].data<float>() : nullptr;
    const int64_t n = value.numel();
#pragma omp parallel for schedule(static) if (n > kChunk)
    for (int64_t i = 0; i < n; ++i) {
      float d = g[i] + decay * w[i];
      if (v != nullptr) {
        v[i] = momentum * v[i] + d;
        d = nesterov ? d + momentum * v[i] : v[i];
      }
      w[i] -= rate * d;
    }
  }

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
        steps_(Tensor::zeros({static_cast<int64_t>(parameters_.size())}, DType::kInt64)) {}

  void step(double learning_rate) override {
    for (size_t i = 0; i < parameters_.size(); ++i) {
      const Tensor gradient = parameters_[i].variable.grad();
      if (gradient.defined()) update(i, gradient, learning_rate);
    }
  }

  StateDict state() const override {
    StateDict state = {{"steps", steps_}};
    append_slots(state, "mean", parameters_, mean_);
    append_slots(state, "square", parameters_, square_);
    return state;
  }

  void load_state(const StateDict& state) override {
    StateReader reader(state);
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
  void update(size_t index, const Tensor& gradient, double learning_rate) {
    NamedVariable& parameter = parameters_[index];
    Tensor& value = parameter.variable.mutable_value();
    if (!mean_[index].defined()) {
      mean_[index] = Tensor::zeros(value.shape());
      square_[index] = Tensor::zeros(value.shape());
    }
    const auto t = static_cast<double>(++steps_.data<int64_t>()[index]);
    const double decay = decays(parameter, options_.decay) ? options_.weight_decay : 0.0;
    const auto into_gradient = static_cast<float>(options_.decoupled ? 0.0 : decay);
    const auto keep = static_cast<float>(options_.decoupled ? 1.0 - learning_rate * decay : 1.0);
    const auto b1 = static_cast<float>(options_.beta1), b2 = static_cast<float>(options_.beta2);
    const auto c1 = static_cast<float>(1 - options_.beta1);
    const auto c2 = static_cast<float>(1 - options_.beta2);
    const auto rate = static_cast<float>(learning_rate / (1 - std::pow(options_.beta1, t)));
    const auto root = static_cast<float>(std::sqrt(1 - std::pow(options_.beta2, t)));
    const auto eps = static_cast<float>(options_.eps);

    float* const w = value.data<float>();
    const float* const g = gradient.data<float>();
    float* const m = mean_[index].data<float>();
    float* const v = square_[index].data<float>();
    const int64_t n = value.numel();
#pragma omp parallel for schedule(static) if (n > kChunk)
    for (int64_t i = 0; i < n; ++i) {
      const float d = g[i] + into_gradient * w[i];
      m[i] = b1 * m[i] + c1 * d;
      v[i] = b2 * v[i] + c2 * d * d;
      w[i] = keep * w[i] - rate * m[i] / (std::sqrt(v[i]) / root + eps);
    }
  }

  AdamOptions options_;
  std::vector<Tensor> mean_, square_;
  Tensor steps_;  // taken by each parameter
};

}  // namespace

std::unique_ptr<Optimizer> make_sgd(std::vector<NamedVariable> parameters,
                                    const SgdOptions& options) {
  for (const NamedVariable& parameter : parameters) check_cpu_float(parameter);
  return std::make_unique<Sgd>(std::move(parameters), options);
}

std::unique_ptr<Optimizer> make_adam(std::vector<NamedVariable> parameters,
                                     const AdamOptions& options) {
  for (const NamedVariable& parameter : parameters) check_cpu_float(parameter);
  return std::make_unique<Adam>(std::move(parameters), options);
}

double gradient_norm(const std::vector<NamedVariable>& parameters) {
  double total = 0;
  std::vector<double> sums;
  for (const NamedVariable& parameter : parameters) {
    const Tensor gradient = parameter.variable.grad();
    if (!gradient.defined()) continue;
    const float* const g = gradient.data<float>();
    const int64_t n = gradient.numel(), chunks = (n + kChunk - 1) / kChunk;
    sums.assign(static_cast<size_t>(chunks), 0.0);
#pragma omp parallel for schedule(static) if (chunks > 1)
    for (int64_t chunk = 0; chunk < chunks; ++chunk) {
      double sum = 0;
      for (int64_t i = chunk * kChunk; i < std::min(n, (chunk + 1) * kChunk); ++i) {
        sum += static_cast<double>(g[i]) * g[i];
      }
      sums[static_cast<size_t>(chunk)] = sum;
    }
    for (const double sum : sums) total += sum;
  }
  return std::sqrt(total);
}

double clip_gradients(const std::vector<NamedVariable>& parameters, double limit) {
  const double norm = gradient_norm(parameters);
  // A norm that is not finite cannot be scaled away: the loss will say so.
  if (!(norm > limit) || !std::isfinite(norm)) return norm;
  const auto factor = static_cast<float>(limit / norm);
  for (const NamedVariable& parameter : parameters) {
    Tensor gradient = parameter.variable.grad();  // shares its elements with the variable's
    if (!gradient.defined()) continue;
    float* const g = gradient.data<float>();
    const int64_t n = gradient.numel();
#pragma omp parallel for schedule(static) if (n > kChunk)
    for (int64_t i = 0; i < n; ++i) g[i] *= factor;
  }
  return norm;
}

}  // namespace glassnet
