// The learning rate as a pure function of the step, so that a resumed run continues exactly.
//
//   constant   peak
//   step       peak * gamma^floor((t - warmup) / step_every)
//   cosine     from peak down to final by half a cosine (Loshchilov and Hutter, ICLR 2017)
//   one-cycle  up from peak / start_divisor by half a cosine over the first `rise` of the run, then
//              down to peak / start_divisor / final_divisor by another
//              (Smith and Topin, "Super-convergence", 2018; PyTorch's OneCycleLR)
//
// All but one-cycle, which has its own, begin with a linear warm-up: step t of the first `warmup`
// has (t + 1) / warmup of the peak.
#pragma once

#include <cstdint>
#include <string>

namespace glassnet {

enum class ScheduleKind { kConstant, kStep, kCosine, kOneCycle };
// "constant", "step", "cosine", "one-cycle"; throws UsageError with the known names.
ScheduleKind parse_schedule(const std::string& name);
const char* name_of(ScheduleKind kind);
// Whether the rate at a step depends on how many there are in all.
bool depends_on_total(ScheduleKind kind);

struct Schedule {
  ScheduleKind kind = ScheduleKind::kOneCycle;
  double peak = 0.05;
  int64_t warmup = 0;          // steps
  int64_t step_every = 1;      // steps; for kStep
  double gamma = 0.1;          // for kStep
  double final_fraction = 0;   // of the peak, at the end; for kCosine
  double rise = 0.3;           // share of the run; for kOneCycle
  double start_divisor = 25;   // for kOneCycle
  double final_divisor = 1e4;  // for kOneCycle
};

// For step 0 … total - 1; later steps keep the last rate.
double learning_rate(const Schedule& schedule, int64_t step, int64_t total);

}  // namespace glassnet
