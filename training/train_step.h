// One step of training: forward, loss, backward, update. On a GPU nothing in it waits for the
// device, and from the third batch of a size on it is replayed from a recorded graph.
//
// Gradients that are not finite change no weight; with a scaled loss (float16; Micikevicius et al.,
// "Mixed precision training", ICLR 2018) they also halve its scale, which doubles again after 2,000
// good steps.
#pragma once

#include <cstdint>
#include <map>
#include <memory>

#include "data/loader.h"
#include "kernels/optimizer.h"
#include "nn/module.h"
#include "tensor/graph.h"
#include "training/optimizer.h"

namespace glassnet {

struct TrainStepOptions {
  double label_smoothing = 0;
  double clip_norm = 0;             // limit of the gradients' norm; 0: none
  DType compute = DType::kFloat32;  // what activations are in: the batches' images are of this type
  bool graph = true;                // record and replay where the device can
};

struct StepOutcome {
  double loss = 0;           // label smoothing included
  int64_t correct = 0;       // images whose largest logit is their label's
  double gradient_norm = 0;  // before clipping
  bool skipped = false;      // no weight was changed
};

// How the scale of a float16 loss goes on, for checkpoints.
struct LossScale {
  double scale = 1;
  int64_t good_steps = 0;
};

// CONVENTION: `start` and `finish` alternate. Between them the host is free, on a GPU while the
// device computes. Weights may change in place between steps; the model stays on its device, and
// the optimizer's state is loaded before the first step or not at all.
class TrainStep {
 public:
  TrainStep(Module& model, Optimizer& optimizer, const TrainStepOptions& options);
  ~TrainStep();
  TrainStep(const TrainStep&) = delete;
  TrainStep& operator=(const TrainStep&) = delete;

  // Images and labels lie on the model's device. The batch may go once this returns.
  void start(const Batch& batch, double learning_rate);
  // Waits for the step.
  StepOutcome finish();

  LossScale loss_scale() const;
  void set_loss_scale(const LossScale& scale);
  // Steps that were replayed from a graph so far, and why recording was given up, if it was.
  int64_t replayed() const { return replayed_; }
  const std::string& why_not_graphed() const { return why_not_graphed_; }

 private:
  struct OnDevice {
    Tensor loss, correct;  // float32 scalars
  };
  // The recorded step for batches of one size, with the tensors that it reads and writes.
  struct Recorded {
    Tensor images, labels;
    OnDevice outcome;
    Graph graph;
    int64_t steps = 0;
  };
  struct HostSide;

  OnDevice run(const Tensor& images, const Tensor& labels);
  bool record(Recorded& recorded, const Batch& batch);

  Module& model_;
  Optimizer& optimizer_;
  const TrainStepOptions options_;
  const Device device_;
  StateDict state_;    // the model's
  Tensor control_;     // a StepControl, as float32 (8), on the device
  Tensor loss_scale_;  // its loss_scale, a scalar
  std::unique_ptr<HostSide> host_;
  std::map<int64_t, Recorded> recorded_;  // by batch size
  bool graph_;
  int64_t replayed_ = 0;
  std::string why_not_graphed_;
};

}  // namespace glassnet
