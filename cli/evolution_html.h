// The Confusion Evolution page of logs, as a file: `evolve --out page.html` and `report`.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "report/evolution_page.h"
#include "training/history.h"

namespace glassnet::cli {

struct EvolutionHtml {
  std::vector<std::filesystem::path> logs;  // the first is the one that the page opens with
  EpochRange window;                        // of each
  std::filesystem::path data;  // the first one's photographs; empty: where its config.json says
  // What thumbnails inside of the page may take, in bytes; where that is not enough they lie in
  // files beside it. 0: there are none. Only a run whose data set lies where it was has any.
  size_t thumbnail_bytes = size_t{24} << 20;
};

// Where a run's test images lie, by what its log calls them; none where the data set has gone.
// `data` as above.
std::map<std::string, std::filesystem::path> pictures_of(const std::filesystem::path& run,
                                                         const std::filesystem::path& data,
                                                         const std::vector<std::string>& classes);

// A page that is being made.
struct EvolutionDocument {
  EvolutionPageData page;            // without thumbnails
  std::vector<std::string> missing;  // sentences on what is not in it
  // Of each run the JPEG of each image, 64 pixels a side; empty where there are none.
  std::vector<std::vector<std::string>> thumbnails;
  size_t thumbnail_bytes = 0;  // what those in the page may take
};
EvolutionDocument read_evolution(const EvolutionHtml& options);

// Writes the page, and in "NAME_files/thumbnails" beside it the thumbnails that are too large for
// it. Returns what takes how much: "3.4 MiB, of which thumbnails of 300 images 0.6 MiB".
std::string save_evolution_html(const std::filesystem::path& path, EvolutionDocument document);

}  // namespace glassnet::cli
