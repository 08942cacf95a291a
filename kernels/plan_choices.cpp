#include "kernels/plan_choices.h"

#include <algorithm>
#include <mutex>

namespace glassnet::kernels {
namespace {
std::mutex mutex;
std::shared_ptr<PlanChoices> current;
}  // namespace

void set_plan_choices(std::shared_ptr<PlanChoices> choices) {
  const std::lock_guard lock(mutex);
  current.swap(choices);
}
std::shared_ptr<PlanChoices> plan_choices() {
  const std::lock_guard lock(mutex);
  return current;
}

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>((values.size() - 1) / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

}  // namespace glassnet::kernels
