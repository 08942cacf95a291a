// Which of a run's test images a page explains, and their explanations: `--explain` of `evolve` and
// `report`.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cli/run_explanations.h"

namespace glassnet::cli {

// LIME's samples there, unless others are asked for: half of `explain`'s, for twice the images in
// the same time. The superpixels that they do not resolve are hatched.
inline constexpr const char* kPageSamples = "500";

inline constexpr int64_t kEveryImage = INT64_MAX;
// "24" or "all". Throws UsageError for anything else.
int64_t parse_explain(const std::string& text);

// Of the `count` most telling images (training/telling_images.h) whose photographs are there: by
// the best weights, and by those of each epoch that the run kept. Shows how far it is. Notes, a
// sentence each, say what was left out.
std::vector<ShownExplanation> explain_telling(RunExplanations& run, int64_t count,
                                              std::vector<std::string>& notes);

}  // namespace glassnet::cli
