// The Confusion Evolution page of logs: `evolve --out page.html`.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "training/history.h"

namespace glassnet::cli {

struct EvolutionHtml {
  std::vector<std::filesystem::path> logs;  // the first is the one that the page opens with
  EpochRange window;                        // of each
  // What all thumbnails may take, in bytes; they become smaller to fit, and are left out where that
  // is not enough. Only a run whose data set lies where it was has any.
  size_t thumbnail_bytes = size_t{8} << 20;
};

// Where a run's test images lie, by what its log calls them; none where the data set has gone.
std::map<std::string, std::filesystem::path> pictures_of(const std::filesystem::path& run);

// Writes one file that works offline. Returns sentences on what is not in it.
std::vector<std::string> save_evolution_html(const std::filesystem::path& path,
                                             const EvolutionHtml& options);

}  // namespace glassnet::cli
