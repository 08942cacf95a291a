#include "models/shown.h"

#include <nlohmann/json.hpp>

namespace glassnet {

std::string shown(std::string_view text) {
  constexpr size_t kMost = 60;
  const std::string_view part = text.substr(0, kMost);
  const std::string line =
      nlohmann::json(part).dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
  return part.size() == text.size() ? line : line.substr(0, line.size() - 1) + "…\"";
}

}  // namespace glassnet
