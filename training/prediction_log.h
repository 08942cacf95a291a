// What the network said about every test image after every epoch, in files that NumPy opens:
//
//   predictions.npy         int64   (epochs, images)  the predicted class
//   probabilities.npy       float32 (epochs, images)  its probability
//   true_probabilities.npy  float32 (epochs, images)  the true class's probability
//   test_images.json        {"classes": [names], "split": "test",
//                            "images": [{"id": relative path, "true_class": index}]}
//
// An epoch is appended as rows, fsync, and only then counted in the header, which has a fixed size;
// so a kill at any moment leaves valid files of whole epochs.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace glassnet {

struct LoggedImage {
  std::string id;  // path relative to the split's folder: "forest/20.jpg"
  int64_t true_class = 0;
  bool operator==(const LoggedImage&) const = default;
};

// What the log is about.
struct PredictionLogHeader {
  std::vector<std::string> classes;
  std::string split = "test";
  std::vector<LoggedImage> images;
  bool operator==(const PredictionLogHeader&) const = default;
};

class PredictionLog {
 public:
  // Starts an empty log in an existing folder, over an earlier one.
  static PredictionLog create(const std::filesystem::path& folder,
                              const PredictionLogHeader& header);
  // Opens a log to go on after its first `epochs` epochs; later ones are cut off. Throws Error when
  // there are fewer, a file is missing or the files do not fit together.
  static PredictionLog resume(const std::filesystem::path& folder, int64_t epochs);

  // One epoch, each list in the order of the header's images. On return it is on disk.
  void append(const std::vector<int64_t>& predicted, const std::vector<float>& probability,
              const std::vector<float>& true_probability);

  int64_t epochs() const { return epochs_; }
  const PredictionLogHeader& header() const { return header_; }

 private:
  PredictionLog() = default;

  std::filesystem::path folder_;
  PredictionLogHeader header_;
  int64_t epochs_ = 0;
};

// A whole log in memory; lists are (epochs, images), row by row.
struct PredictionHistory {
  PredictionLogHeader header;
  int64_t epochs = 0;
  std::vector<int64_t> predicted;
  std::vector<float> probability;
  std::vector<float> true_probability;
};
// Reads the epochs that all three files hold. Also while a run is writing.
PredictionHistory read_prediction_log(const std::filesystem::path& folder);

}  // namespace glassnet
