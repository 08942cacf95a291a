// The arithmetic of an update, one element at a time, for CPU and GPU alike: contract in
// kernels/optimizer.h, formulas in training/optimizer.h.
#pragma once

#include <cmath>

#include "kernels/host_device.h"
#include "kernels/optimizer.h"

namespace glassnet::kernels {

struct SgdElement {
  float rate, momentum, decay, gradient_scale;
  bool nesterov;

  // A momentum of zeros gives momentum * 0 + g = g, PyTorch's first step. v may be null.
  GLASSNET_HOST_DEVICE void update(float& w, float g, float* v) const {
    float d = gradient_scale * g + decay * w;
    if (v != nullptr) {
      *v = momentum * *v + d;
      d = nesterov ? d + momentum * *v : *v;
    }
    w -= rate * d;
  }
};

struct AdamElement {
  float rate;           // learning rate / (1 - beta1^t)
  float root;           // sqrt(1 - beta2^t)
  float keep;           // of the weight: 1 - learning rate * decay when decoupled
  float into_gradient;  // decay when not decoupled
  float b1, b2, c1, c2, eps, gradient_scale;

  GLASSNET_HOST_DEVICE void update(float& w, float g, float& m, float& v) const {
    const float d = gradient_scale * g + into_gradient * w;
    m = b1 * m + c1 * d;
    v = b2 * v + c2 * d * d;
    w = keep * w - rate * m / (std::sqrt(v) / root + eps);
  }
};

// For the update that makes a parameter's count `t`.
GLASSNET_HOST_DEVICE inline AdamElement adam_element(const AdamRule& rule, double learning_rate,
                                                     double decay, double gradient_scale,
                                                     double t) {
  return {.rate = static_cast<float>(learning_rate / (1 - std::pow(rule.beta1, t))),
          .root = static_cast<float>(std::sqrt(1 - std::pow(rule.beta2, t))),
          .keep = static_cast<float>(rule.decoupled ? 1.0 - learning_rate * decay : 1.0),
          .into_gradient = static_cast<float>(rule.decoupled ? 0.0 : decay),
          .b1 = static_cast<float>(rule.beta1),
          .b2 = static_cast<float>(rule.beta2),
          .c1 = static_cast<float>(1 - rule.beta1),
          .c2 = static_cast<float>(1 - rule.beta2),
          .eps = static_cast<float>(rule.eps),
          .gradient_scale = static_cast<float>(gradient_scale)};
}

// What the norm of the gradients, as they come, says about the step.
GLASSNET_HOST_DEVICE inline void decide_step(double scaled_norm, StepControl& control) {
  const bool finite = scaled_norm - scaled_norm == 0;  // neither NaN nor infinite
  const double norm = scaled_norm / static_cast<double>(control.loss_scale);
  control.gradient_norm = static_cast<float>(norm);
  control.skip = finite ? 0 : 1;
  double scale = 1 / static_cast<double>(control.loss_scale);
  if (control.clip_norm > 0 && norm > static_cast<double>(control.clip_norm)) {
    scale *= static_cast<double>(control.clip_norm) / norm;
  }
  control.gradient_scale = static_cast<float>(scale);
  if (control.growth_interval == 0) return;
  // Gradients that are never finite, or always zero, must not drive the scale out of float32.
  constexpr float kLeast = 0x1p-100F, kMost = 0x1p+100F;
  if (!finite) {
    if (control.loss_scale > kLeast) control.loss_scale *= 0.5F;
    control.good_steps = 0;
  } else if (++control.good_steps >= control.growth_interval) {
    if (control.loss_scale < kMost) control.loss_scale *= 2;
    control.good_steps = 0;
  }
}

}  // namespace glassnet::kernels
