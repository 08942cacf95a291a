// A network's layers as `summary --json` prints them and a report's page shows them.
#pragma once

#include <nlohmann/json.hpp>

#include "models/summary.h"

namespace glassnet::cli {

// An array with an object a layer: {"path", "kind", "output", "parameters", "flops"}.
nlohmann::ordered_json layers_json(const ModelSummary& summary);

}  // namespace glassnet::cli
