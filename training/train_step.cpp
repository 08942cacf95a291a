#include "training/train_step.h"

#include <cstddef>
#include <cstring>
#include <optional>

#include "nn/graphed.h"
#include "nn/layers.h"
#include "tensor/math.h"

#if defined(GLASSNET_CUDA)
#include "kernels/cuda/allocator.h"
#include "kernels/cuda/runtime.h"
#endif

namespace glassnet {
namespace {

using kernels::StepControl;

constexpr double kFirstScale = 65536;
constexpr int32_t kGrowthInterval = 2000;
constexpr int64_t kWarmUps = 2;  // steps in which plans are made and optimizer state is set up

constexpr int64_t kScaleWord = offsetof(StepControl, loss_scale) / sizeof(float);

}  // namespace

// What travels between host and device at each step, in memory that the device copies by itself.
struct TrainStep::HostSide {
  struct Values {
    StepControl control;
    float loss;
    float correct;
  };

  HostSide(Device device, [[maybe_unused]] bool graph) : on_gpu(device.type == DeviceType::kCuda) {
#if defined(GLASSNET_CUDA)
    if (on_gpu && graph) pool = std::make_unique<kernels::MemoryPool>(device.index);
    if (on_gpu) values = new (kernels::pinned_allocate(sizeof(Values))) Values();
#endif
    if (values == nullptr) values = new Values();
  }
  ~HostSide() {
#if defined(GLASSNET_CUDA)
    if (on_gpu) {
      kernels::pinned_free(values);
      return;
    }
#endif
    delete values;
  }
  HostSide(const HostSide&) = delete;
  HostSide& operator=(const HostSide&) = delete;

  // Queued on a GPU, done at once on the CPU.
  void copy(Device device, void* to, const void* from, size_t bytes) const {
#if defined(GLASSNET_CUDA)
    if (on_gpu) {
      kernels::cuda_copy_async(cuda_tag(device), to, from, bytes);
      return;
    }
#endif
    (void)device;
    std::memcpy(to, from, bytes);
  }

  bool on_gpu;
  Values* values = nullptr;
#if defined(GLASSNET_CUDA)
  // What steps of every size work in, recorded or not: they come one after the other, so that one
  // may use what the one before has left, and recording takes nothing more. Null without graphs.
  std::unique_ptr<kernels::MemoryPool> pool;
#endif
};

TrainStep::TrainStep(Module& model, Optimizer& optimizer, const TrainStepOptions& options)
    : model_(model),
      optimizer_(optimizer),
      options_(options),
      device_(model.device()),
      state_(model.state_dict()),
      control_(control_tensor({}, device_)),
      loss_scale_(control_.slice(kScaleWord, kScaleWord + 1).reshape({})),
      host_(std::make_unique<HostSide>(device_, options.graph)),
      graph_(options.graph && device_.type == DeviceType::kCuda) {
  StepControl& control = host_->values->control;
  control = {};
  control.clip_norm = static_cast<float>(options_.clip_norm);
  if (options_.compute == DType::kFloat16) {
    control.loss_scale = kFirstScale;
    control.growth_interval = kGrowthInterval;
  }
}

TrainStep::~TrainStep() {
#if defined(GLASSNET_CUDA)
  // The device may still be writing to the host's side of a step that nobody waited for.
  try {
    if (device_.type == DeviceType::kCuda) kernels::synchronize(cuda_tag(device_));
  } catch (const Error&) {  // it was told, or will be, where it matters
  }
#endif
}

LossScale TrainStep::loss_scale() const {
  const StepControl& control = host_->values->control;
  return {control.loss_scale, control.good_steps};
}

void TrainStep::set_loss_scale(const LossScale& scale) {
  host_->values->control.loss_scale = static_cast<float>(scale.scale);
  host_->values->control.good_steps = static_cast<int32_t>(scale.good_steps);
}

// Everything between a batch on the device and its outcome there.
TrainStep::OnDevice TrainStep::run(const Tensor& images, const Tensor& labels) {
#if defined(GLASSNET_CUDA)
  // What a hook keeps must not be written over by a replay: then memory is everybody's.
  std::optional<kernels::PoolScope> scope;
  if (host_->pool != nullptr && !model_.hooked_within()) scope.emplace(*host_->pool);
#endif
  OnDevice outcome;
  {
    const Variable logits = cast(model_(Variable(images)), DType::kFloat32);
    Variable loss;
    {
      const PhaseScope phase("loss");
      loss = cross_entropy(logits, labels, {.label_smoothing = options_.label_smoothing});
      outcome = {loss.value(), count_equal(argmax_last(logits.value()), labels)};
    }
    backward(loss, {.gradient = loss_scale_});
  }  // and with it the graph of gradients
  const PhaseScope phase("update");
  gradient_control(optimizer_.parameters(), control_);
  optimizer_.step(control_);
  model_.clear_grads();
  return outcome;
}

// False, and no further attempts, when the device cannot.
bool TrainStep::record(Recorded& recorded, const Batch& batch) {
  // The recorded step reads its batch from where it was recorded.
  recorded.images = batch.images.clone();
  recorded.labels = batch.labels.clone();
  try {
    recorded.graph.record(device_,
                          [&] { recorded.outcome = run(recorded.images, recorded.labels); });
    return true;
  } catch (const Error& error) {
    graph_ = false;
    why_not_graphed_ = error.what();
    recorded = {};
    model_.clear_grads();
    count_batch(model_, -1);  // `forward` counted a batch that was never computed
    return false;
  }
}

void TrainStep::start(const Batch& batch, double learning_rate) {
  HostSide::Values& values = *host_->values;
  values.control.learning_rate = static_cast<float>(learning_rate);
  host_->copy(device_, control_.raw(), &values.control, sizeof(StepControl));

#if defined(GLASSNET_CUDA)
  // Should memory run out, the message says which batch would have fit.
  std::optional<kernels::BatchHint> hint;
  if (host_->on_gpu) hint.emplace(device_.index, batch.images.dim(0));
#endif
  OnDevice outcome;
  Recorded& recorded = recorded_[batch.images.dim(0)];
  const bool hooked = model_.hooked_within();
  // Batches of another size that could not be recorded do not keep this one from its graph, which
  // holds its memory either way.
  bool replays = recorded.graph.recorded() && !hooked;
  if (replays) {
    recorded.images.copy_from(batch.images);
    recorded.labels.copy_from(batch.labels);
    count_batch(model_);
  } else if (graph_ && recorded.steps++ >= kWarmUps && !hooked) {
    replays = record(recorded, batch);
  }
  if (replays) {
    recorded.graph.replay();
    // It has written to them; who keeps what was made of the weights has to see that.
    for (NamedTensor& entry : state_) entry.tensor.raw();
    outcome = recorded.outcome;
    ++replayed_;
  } else {
    outcome = run(batch.images, batch.labels);
  }

  host_->copy(device_, &values.control, control_.raw(), sizeof(StepControl));
  host_->copy(device_, &values.loss, outcome.loss.raw(), sizeof(float));
  host_->copy(device_, &values.correct, outcome.correct.raw(), sizeof(float));
}

StepOutcome TrainStep::finish() {
#if defined(GLASSNET_CUDA)
  if (device_.type == DeviceType::kCuda) kernels::synchronize(cuda_tag(device_));
#endif
  const HostSide::Values& values = *host_->values;
  return {.loss = values.loss,
          .correct = static_cast<int64_t>(values.correct),
          .gradient_norm = values.control.gradient_norm,
          .skipped = values.control.skip != 0};
}

}  // namespace glassnet
