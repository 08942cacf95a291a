#include "training/schedule.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>
#include <utility>

#include <fmt/format.h>

#include "kernels/error.h"

namespace glassnet {
namespace {

constexpr std::array<std::pair<ScheduleKind, const char*>, 4> kNames = {{
    {ScheduleKind::kConstant, "constant"},
    {ScheduleKind::kStep, "step"},
    {ScheduleKind::kCosine, "cosine"},
    {ScheduleKind::kOneCycle, "one-cycle"},
}};

// From `first` to `last` by half a cosine; `share` in [0, 1].
double half_cosine(double first, double last, double share) {
  return last + (first - last) * 0.5 * (1 + std::cos(std::numbers::pi * share));
}

// `t` of `span` as a share; a span of nothing is over at once.
double share_of(double t, double span) {
  return span > 0 ? std::clamp(t / span, 0.0, 1.0) : 1.0;
}

double one_cycle(const Schedule& schedule, double t, double last) {
  const double start = schedule.peak / schedule.start_divisor;
  const double end = start / schedule.final_divisor;
  const double top = std::max(schedule.rise * (last + 1) - 1, 0.0);
  if (t <= top && top > 0) return half_cosine(start, schedule.peak, share_of(t, top));
  return half_cosine(schedule.peak, end, share_of(t - top, last - top));
}

}  // namespace

ScheduleKind parse_schedule(const std::string& name) {
  for (const auto& [kind, known] : kNames) {
    if (name == known) return kind;
  }
  throw UsageError(
      fmt::format("there is no schedule '{}'; choose constant, step, cosine or one-cycle", name));
}

const char* name_of(ScheduleKind kind) {
  for (const auto& [known, name] : kNames) {
    if (known == kind) return name;
  }
  return "?";
}

bool depends_on_total(ScheduleKind kind) {
  return kind == ScheduleKind::kCosine || kind == ScheduleKind::kOneCycle;
}

double learning_rate(const Schedule& schedule, int64_t step, int64_t total) {
  require(step >= 0 && total >= 1, [&] {
    return fmt::format("[learning_rate] expected a step from 0 on of at least one, got {} of {}",
                       step, total);
  });
  const int64_t last = total - 1;
  if (schedule.kind == ScheduleKind::kOneCycle) {
    return one_cycle(schedule, static_cast<double>(std::min(step, last)),
                     static_cast<double>(last));
  }
  if (step < schedule.warmup) {
    return schedule.peak * static_cast<double>(step + 1) / static_cast<double>(schedule.warmup);
  }
  const int64_t after = step - schedule.warmup;
  switch (schedule.kind) {
    case ScheduleKind::kStep:
      return schedule.peak *
             std::pow(schedule.gamma,
                      static_cast<double>(after / std::max<int64_t>(schedule.step_every, 1)));
    case ScheduleKind::kCosine: {
      // Steps 0 … span - 1 divide the way from the peak; the rate after the last one is `final`.
      const auto span = static_cast<double>(total - schedule.warmup);
      return half_cosine(schedule.peak, schedule.peak * schedule.final_fraction,
                         share_of(static_cast<double>(after), span));
    }
    default:
      return schedule.peak;
  }
}

}  // namespace glassnet
