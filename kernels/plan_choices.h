// Which of the plans that a library proposes for a piece of work is the quickest on a device: found
// by running each a few times, and kept for the next process by whoever can keep things.
//
// A `ways` of choosing among plans of type Plan has
//   named(identity)       the proposal with that identity as a unique_ptr<const Plan>, or null
//   first(count)          up to `count` proposals, the most promising first; at least one
//   milliseconds(plan)    the time of one run; throws Error when the plan cannot run
// and a Plan has an identity(), which tells it from the other proposals in every process.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "kernels/error.h"

namespace glassnet::kernels {

// What was chosen on a device, by what it was chosen for.
// CONVENTION: all three are lines of printable ASCII, and a key holds no " = ". Any thread may ask.
class PlanChoices {
 public:
  virtual ~PlanChoices() = default;
  // Empty when nothing was kept.
  virtual std::string find(const std::string& device, const std::string& key) = 0;
  virtual void keep(const std::string& device, const std::string& key,
                    const std::string& identity) = 0;
};

// Has plans timed from now on, and the quickest kept there; null, as at first, has them taken
// untimed, the first that is proposed.
void set_plan_choices(std::shared_ptr<PlanChoices> choices);
std::shared_ptr<PlanChoices> plan_choices();

inline constexpr size_t kTimedPlans = 8;
inline constexpr int kTimedRounds = 5;

// The middle one, the lower of two; `values` has any.
double median(std::vector<double> values);

// The place of the plan with the smallest median, the first of equals. Each plan runs once
// beforehand, and then all in turn, so that what changes meanwhile, the clock for one, changes for
// all. Who throws Error takes no part; nothing when nobody does.
template <class Ways, class Plans>
std::optional<size_t> quickest(Ways& ways, const Plans& plans) {
  std::vector<std::vector<double>> times(plans.size());
  std::vector<bool> runs(plans.size(), true);
  for (int round = -1; round < kTimedRounds; ++round) {
    for (size_t i = 0; i < plans.size(); ++i) {
      if (!runs[i]) continue;
      try {
        const double milliseconds = ways.milliseconds(*plans[i]);
        if (round >= 0) times[i].push_back(milliseconds);
      } catch (const Error&) {
        runs[i] = false;
      }
    }
  }
  std::optional<size_t> best;
  double least = 0;
  for (size_t i = 0; i < plans.size(); ++i) {
    if (!runs[i]) continue;
    const double middle = median(std::move(times[i]));
    if (best && middle >= least) continue;
    best = i;
    least = middle;
  }
  return best;
}

// The plan that was kept for a key, or else the quickest, which is kept.
template <class Ways>
auto choose_plan(Ways& ways, PlanChoices& choices, const std::string& device,
                 const std::string& key) {
  if (const std::string kept = choices.find(device, key); !kept.empty()) {
    if (auto plan = ways.named(kept)) return plan;
  }
  auto plans = ways.first(kTimedPlans);
  if (plans.size() == 1) return std::move(plans.front());
  const std::optional<size_t> best = quickest(ways, plans);
  if (best) choices.keep(device, key, plans[*best]->identity());
  return std::move(plans[best.value_or(0)]);
}

}  // namespace glassnet::kernels
