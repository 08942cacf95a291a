// The update of all parameters in one pass (formulas: training/optimizer.h), and the norm of all
// gradients together. Weights, gradients and state are float32.
//
// What changes from step to step stands in a StepControl beside the tensors, in the device's memory
// on a GPU, so that a recorded step needs nothing from the host: the norm, clipping and the scale
// of the loss are worked out there.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/device.h"

namespace glassnet::kernels {

// CONVENTION: the first part is written before a step, the second by gradient_control.
struct StepControl {
  float learning_rate = 0;
  float clip_norm = 0;          // limit of the gradients' norm; 0: none
  float loss_scale = 1;         // what the loss was multiplied with, and so the gradients
  int32_t growth_interval = 0;  // steps without overflow after which loss_scale doubles; 0: never
  int32_t good_steps = 0;       // since the last overflow or doubling

  float gradient_norm = 0;   // of the gradients divided by loss_scale
  float gradient_scale = 1;  // what the update multiplies gradients with
  int32_t skip = 0;          // 1: the gradients are not finite, and the update changes nothing
};

// One parameter: w, g (count) and the state, v (momentum) for SGD, m and v for Adam. Its own weight
// decay is `decay`, its own learning rate `rate_factor` times the step's. `steps` is Adam's number
// of updates so far, counted up by each.
struct ParameterUpdate {
  float* w = nullptr;
  const float* g = nullptr;
  float* m = nullptr;
  float* v = nullptr;
  int64_t* steps = nullptr;
  int64_t count = 0;
  float decay = 0;
  float rate_factor = 1;
};

struct SgdRule {
  double momentum = 0.9;
  bool nesterov = true;
};
struct AdamRule {
  double beta1 = 0.9, beta2 = 0.999, eps = 1e-8;
  bool decoupled = false;
};

// From the gradients: gradient_norm, gradient_scale (1 / loss_scale, times clip_norm / norm where
// the norm exceeds it) and skip. With a growth_interval, loss_scale halves on overflow and doubles
// after so many good steps, for the next step.
void gradient_control(Cpu, const std::vector<ParameterUpdate>& parameters, StepControl* control);
void gradient_control(Cuda, const std::vector<ParameterUpdate>& parameters, StepControl* control);

void sgd_step(Cpu, const std::vector<ParameterUpdate>& parameters, const SgdRule& rule,
              const StepControl* control);
void sgd_step(Cuda, const std::vector<ParameterUpdate>& parameters, const SgdRule& rule,
              const StepControl* control);
void adam_step(Cpu, const std::vector<ParameterUpdate>& parameters, const AdamRule& rule,
               const StepControl* control);
void adam_step(Cuda, const std::vector<ParameterUpdate>& parameters, const AdamRule& rule,
               const StepControl* control);

}  // namespace glassnet::kernels
