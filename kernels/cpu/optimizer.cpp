// Updates on the CPU, parameter by parameter.
#include "kernels/optimizer.h"

#include <algorithm>
#include <cmath>

#include "kernels/reference/optimizer.h"

namespace glassnet::kernels {
namespace {

// One part of a sum or update: large enough to be worth a thread's while, and of fixed size, so
// that sums do not depend on the number of threads.
constexpr int64_t kChunk = 1 << 14;

}  // namespace

void gradient_control(Cpu, const std::vector<ParameterUpdate>& parameters, StepControl* control) {
  double total = 0;
  std::vector<double> sums;
  for (const ParameterUpdate& parameter : parameters) {
    const float* const g = parameter.g;
    const int64_t n = parameter.count, chunks = (n + kChunk - 1) / kChunk;
    sums.assign(static_cast<size_t>(chunks), 0.0);
#pragma omp parallel for schedule(static) if (chunks > 1)
    for (int64_t chunk = 0; chunk < chunks; ++chunk) {
      double sum = 0;
#pragma omp simd reduction(+ : sum)
      for (int64_t i = chunk * kChunk; i < std::min(n, (chunk + 1) * kChunk); ++i) {
        sum += static_cast<double>(g[i]) * g[i];
      }
      sums[static_cast<size_t>(chunk)] = sum;
    }
    for (const double sum : sums) total += sum;
  }
  decide_step(std::sqrt(total), *control);
}

void sgd_step(Cpu, const std::vector<ParameterUpdate>& parameters, const SgdRule& rule,
              const StepControl* control) {
  if (control->skip != 0) return;
  for (const ParameterUpdate& parameter : parameters) {
    const SgdElement element{.rate = control->learning_rate * parameter.rate_factor,
                             .momentum = static_cast<float>(rule.momentum),
                             .decay = parameter.decay,
                             .gradient_scale = control->gradient_scale,
                             .nesterov = rule.nesterov};
    float* const w = parameter.w;
    float* const v = parameter.v;
    const float* const g = parameter.g;
    const int64_t n = parameter.count;
#pragma omp parallel for schedule(static) if (n > kChunk)
    for (int64_t i = 0; i < n; ++i) element.update(w[i], g[i], v != nullptr ? v + i : nullptr);
  }
}

void adam_step(Cpu, const std::vector<ParameterUpdate>& parameters, const AdamRule& rule,
               const StepControl* control) {
  if (control->skip != 0) return;
  for (const ParameterUpdate& parameter : parameters) {
    const auto t = static_cast<double>(++*parameter.steps);
    const AdamElement element =
        adam_element(rule, double{control->learning_rate} * parameter.rate_factor, parameter.decay,
                     control->gradient_scale, t);
    float* const w = parameter.w;
    float* const m = parameter.m;
    float* const v = parameter.v;
    const float* const g = parameter.g;
    const int64_t n = parameter.count;
#pragma omp parallel for schedule(static) if (n > kChunk)
    for (int64_t i = 0; i < n; ++i) element.update(w[i], g[i], m[i], v[i]);
  }
}

}  // namespace glassnet::kernels
