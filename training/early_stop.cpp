#include "training/early_stop.h"

#include <array>
#include <cmath>
#include <optional>
#include <utility>

#include <fmt/format.h>

#include "kernels/error.h"
#include "training/run_folder.h"

namespace glassnet {
namespace {

constexpr std::array<std::pair<StopBy, const char*>, 3> kNames = {{
    {StopBy::kAccuracy, "accuracy"},
    {StopBy::kLoss, "loss"},
    {StopBy::kFlux, "flux"},
}};

std::optional<double> quantity_of(const EpochMetrics& metrics, StopBy by) {
  switch (by) {
    case StopBy::kAccuracy:
      return metrics.validation_accuracy;
    case StopBy::kLoss:
      return metrics.validation_loss;
    case StopBy::kFlux:
      return metrics.validation_flux;
  }
  return std::nullopt;
}

}  // namespace

StopBy parse_stop_by(const std::string& name) {
  for (const auto& [quantity, known] : kNames) {
    if (name == known) return quantity;
  }
  throw UsageError(fmt::format("--stop-by must be one of accuracy, loss, flux, got '{}'", name));
}

const char* name_of(StopBy quantity) {
  for (const auto& [known, name] : kNames) {
    if (quantity == known) return name;
  }
  return "";
}

std::string reason_to_stop(const std::vector<EpochMetrics>& epochs, int64_t patience, StopBy by) {
  if (patience <= 0) return "";
  const bool higher = by == StopBy::kAccuracy;
  std::optional<double> best;
  int64_t best_epoch = 0, waited = 0;
  for (const EpochMetrics& metrics : epochs) {
    const std::optional<double> now = quantity_of(metrics, by);
    const bool known = now && !std::isnan(*now);
    if (known && (!best || (higher ? *now > *best : *now < *best))) {
      best = now;
      best_epoch = metrics.epoch;
      waited = 0;
    } else if (best) {
      ++waited;
    }
  }
  if (!best || waited < patience) return "";
  return fmt::format("the validation {} has not been {} than {:.4g} of epoch {} for {} epoch{}",
                     name_of(by), higher ? "higher" : "lower", *best, best_epoch, waited,
                     waited == 1 ? "" : "s");
}

}  // namespace glassnet
