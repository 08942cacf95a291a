// Predictions as comma-separated values, one image a line:
//
//   image,true class,1,2,3
//   forest/20.jpg,forest,sea,forest,forest
//
// Classes are names, or indices where every one of them in the file is a number; they are then
// called by it, from "0" on. Named classes are those that occur, in the order of their bytes. A
// cell may stand in quotes ("a, b", with "" for a quote), and then hold anything. The header may be
// left out; it is known by its second cell: "true class", "class", "label" or "actual". Its cells
// from the third on name the epochs, which are else called 1, 2, ….
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "training/history.h"

namespace glassnet {

// Throws Error, a sentence that names the file and the line, for what is no such table.
History read_prediction_table(const std::filesystem::path& path);
// The same from memory; `name` stands in messages.
History parse_prediction_table(std::string_view bytes, const std::string& name);

}  // namespace glassnet
