// Contact sheets of a data set's explanations: `explain --data --grid`.
#pragma once

#include <filesystem>
#include <vector>

#include "cli/explanation.h"
#include "cli/explanation_folder.h"

namespace glassnet::cli {

// For each method, as far as there are such images:
//   wrong.METHOD     the wrong predictions that the network is most certain of
//   right.METHOD     likewise the right ones
//   confused.METHOD  the classes that are most often taken for each other, both ways
//   cells.METHOD     the mean map of each confusion cell
// each as .png and .svg. `pictures` are the files of the folder's rows, all of which are on disk.
// Returns what it has written.
std::vector<std::filesystem::path> write_contact_sheets(
    ExplanationFolder& folder, const std::vector<std::filesystem::path>& pictures,
    const std::vector<std::string>& methods, const ModelCard& card, const MethodOptions& options);

}  // namespace glassnet::cli
