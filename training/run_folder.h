// A run on disk:
//
//   config.json    everything needed to repeat it
//   metrics.jsonl  a line an epoch
//   predictions.npy, probabilities.npy, true_probabilities.npy, test_images.json
//                  (training/prediction_log.h)
//   last.safetensors, last.state-<step>.safetensors, best.safetensors   (training/trainer.h)
//   epoch-<n>.safetensors   the weights after epoch n, where they are kept
//
// Whoever watches a run may read any of them at any time.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace glassnet {

// A line of metrics.jsonl. Losses are mean cross-entropies; the training loss includes label
// smoothing and is taken while the weights move. Accuracies are shares of 1.
struct EpochMetrics {
  int64_t epoch = 0;  // from 1
  double train_loss = 0, train_accuracy = 0;
  double test_loss = 0, test_accuracy = 0;
  std::optional<double> validation_loss, validation_accuracy;  // where there is a split
  // Prediction flux: the share of test and of validation images whose prediction differs from the
  // epoch before. None in the first epoch, and in older runs.
  std::optional<double> flux, validation_flux;
  // Of the test images, (classes), as training/metrics.h defines them; empty in older runs.
  std::vector<double> test_precision, test_recall, test_f1;
  double learning_rate = 0;      // of the epoch's last step
  double images_per_second = 0;  // while training
  double seconds = 0;            // of the epoch, evaluation included
  bool best = false;             // the best so far, and so in best.safetensors
  std::string stopped;  // why the run ended with this epoch, before its last one; else empty
};

// A line without its end, as metrics.jsonl has it.
std::string to_json(const EpochMetrics& metrics);
// Throws Error for what is not such a line.
EpochMetrics parse_epoch_metrics(const std::string& line);

// While one lives, no other process of this program writes in the folder. A kill lets go of it.
class [[nodiscard]] FolderLock {
 public:
  // Throws Error when another process holds it.
  explicit FolderLock(const std::filesystem::path& folder);
  ~FolderLock();
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

  // Whether another process holds one now. Asking takes nothing from anybody.
  static bool held(const std::filesystem::path& folder);

 private:
  int descriptor_ = -1;
};

// CONVENTION: names the files of one run; it keeps none of them open.
class RunFolder {
 public:
  explicit RunFolder(std::filesystem::path path) : path_(std::move(path)) {}

  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path config() const { return path_ / "config.json"; }
  std::filesystem::path metrics() const { return path_ / "metrics.jsonl"; }
  std::filesystem::path test_images() const { return path_ / "test_images.json"; }
  std::filesystem::path last() const { return path_ / "last.safetensors"; }
  std::filesystem::path best() const { return path_ / "best.safetensors"; }
  // The weights of an epoch that the run was asked to keep.
  std::filesystem::path kept(int64_t epoch) const;
  // The epochs of which there are such weights, in order.
  std::vector<int64_t> kept_epochs() const;

  // Whether a run was started here.
  bool holds_run() const;
  // Whether a new run here would lose something. Of one that ended before its first checkpoint
  // there is nothing to lose.
  bool is_taken() const;
  // Throws UsageError when it is.
  void refuse_if_taken() const;
  // Makes the folder for a new run, when it is not taken.
  void create() const;

  // Appends a line and fsyncs.
  void append_metrics(const EpochMetrics& metrics) const;
  // Every whole line; a last line without its end, from a kill, is not one.
  std::vector<EpochMetrics> read_metrics() const;
  // Keeps the lines of the first `epochs` epochs.
  void cut_metrics(int64_t epochs) const;
  // Removes what a killed predecessor left half written.
  void remove_temporary_files() const;

 private:
  std::filesystem::path path_;
};

}  // namespace glassnet
