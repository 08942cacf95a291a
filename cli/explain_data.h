// Explaining a split of a data set into arrays: `explain --data`.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "cli/explanation.h"
#include "models/weights.h"

namespace glassnet::cli {

struct DataRequest {
  std::filesystem::path weights, data;
  std::string split = "test";  // or "train", as read_evaluation_folder knows them
  std::string only = "all";    // or "right", "wrong": by what the network predicts
  int64_t limit = 0;           // so many of them, evenly spread over the data; 0: all
  std::vector<std::string> methods;
  std::string target = "predicted", against = "auto";  // as Question knows them
  MethodOptions method;
  std::filesystem::path out;
  bool grid = false;  // contact sheets as well
};

struct ExplainedCell {
  int64_t true_class = 0, predicted = 0, images = 0;
};

nlohmann::ordered_json as_json(const ExplainedCell& cell, const std::vector<std::string>& classes);

struct DataOutcome {
  int64_t images = 0;                 // of the split
  int64_t right = 0;                  // of them
  int64_t explained = 0, before = 0;  // and how many of those were there already
  std::vector<ExplainedCell> cells;   // of the explained ones, the wrong ones first, by number
  std::vector<std::filesystem::path> sheets;
};

// Evaluates the network, explains what was asked for into `out` (cli/explanation_folder.h), going
// on where a killed process stopped, and then takes the means over confusion cells. Shows its
// progress.
DataOutcome explain_data(LoadedModel& network, const DataRequest& request);

}  // namespace glassnet::cli
