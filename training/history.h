// What a network said about every image after every epoch, wherever that was recorded: in a run's
// prediction log, in InstanceFlow's JSON (training/instanceflow.h) or in a table of comma-separated
// values (training/prediction_table.h).
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace glassnet {

struct HistoryImage {
  std::string id;          // any bytes
  int32_t true_class = 0;  // index into the classes
  std::string picture;     // where it lies, as the log says; of a run, below its split's folder
  bool operator==(const HistoryImage&) const = default;
};

// Epochs count from 1, whatever a log calls them. Lists over epochs and images are
// (epochs, images), row by row.
struct History {
  std::vector<std::string> classes;
  std::vector<HistoryImage> images;
  std::vector<std::string> epoch_names;  // as the log calls them: of a run "1", "2", …
  std::vector<int32_t> predicted;        // (epochs, images) indices into the classes
  std::vector<float> probability;        // (epochs, images) of the predicted class; empty: unknown
  std::vector<float> true_probability;   // (epochs, images) of the true class; empty: unknown
  std::vector<double> loss;              // (epochs) NaN where there is no number; empty: unknown

  int64_t epochs() const { return static_cast<int64_t>(epoch_names.size()); }
  // The predictions of an epoch, (images).
  const int32_t* row(int64_t epoch) const {
    return predicted.data() + static_cast<size_t>(epoch - 1) * images.size();
  }
};

inline constexpr int64_t kMostClasses = 1 << 16;

// Throws Error, a sentence that begins with `name`, unless the lists fit together, there are at
// least an image and an epoch and at most kMostClasses classes, and every class is one of them.
void validate(const History& history, const std::string& name);

// Epochs first to last, both of them included; last 0 stands for the history's last.
struct EpochRange {
  int64_t first = 1, last = 0;
  int64_t count() const { return last - first + 1; }
  bool operator==(const EpochRange&) const = default;
};
// With `last` filled in. Throws UsageError where these are no epochs of the history.
EpochRange resolve(const EpochRange& range, const History& history);

// Of a run's folder, also while the run is written to: the epochs that are whole. The loss is the
// test images'.
History read_run_history(const std::filesystem::path& folder);

// A run's folder, or a file that ends in .json (InstanceFlow's) or .csv. Throws UsageError for
// another file, Error, a sentence that names the file, for one that cannot be read.
History read_history(const std::filesystem::path& path);

}  // namespace glassnet
