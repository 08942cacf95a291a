// Explanations of a run's test images, by its best weights or those of an epoch that it kept: what
// the Confusion Evolution page shows of single images.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "cli/explain_stream.h"
#include "cli/explanation.h"
#include "report/shown_explanation.h"
#include "training/history.h"
#include "training/run_folder.h"

namespace glassnet::cli {

inline constexpr int64_t kBestWeights = 0;  // in place of an epoch

struct RunExplanationOptions {
  std::filesystem::path data;  // the photographs; empty: where the run's config.json says
  std::vector<std::string> methods = {"gradcam", "saliency", "lime"};
  MethodOptions method = {.trust = Trust::kNone};
  Device device;
  int side = 224;  // of the pictures, in pixels
};

// An explanation, and what its pictures were drawn from.
struct RunExplanation {
  ShownExplanation shown;
  std::vector<MethodResult> results;  // in the order of the methods
};

// CONVENTION: images are numbered as in the run's log. One network is in memory at a time, the last
// that was asked for; best weights that a run has written anew are read anew. For one thread.
class RunExplanations {
 public:
  // Reads the log and finds the photographs; reads no weights yet. Throws UsageError for methods
  // that there are not, Error where the folder holds no run, or the photographs are not there.
  RunExplanations(const std::filesystem::path& run, RunExplanationOptions options);

  const std::vector<std::string>& classes() const { return history_.classes; }
  const std::vector<HistoryImage>& images() const { return history_.images; }
  const History& history() const { return history_; }
  const std::filesystem::path& data() const { return data_; }
  const std::vector<std::string>& methods() const { return options_.methods; }
  // The epochs whose weights were kept, in order.
  std::vector<int64_t> kept_epochs() const { return folder_.kept_epochs(); }
  // The epoch of the best weights, from 1; the last one where they do not say.
  int64_t best_epoch();
  // Frozen, in evaluation mode, on the device.
  LoadedModel& network(int64_t epoch = kBestWeights);

  // What the maps explain is the predicted class. Throws Error, a sentence, for an image that the
  // log does not have, weights that there are not, and a photograph that is gone or cannot be read.
  // Where the network says another class of the photograph than it did in the log, `warning` says
  // so.
  RunExplanation explain(int64_t image, int64_t epoch = kBestWeights);
  // The same of several, in their order: `done` gets one after the other. LIME's samples share
  // batches.
  void explain(const std::vector<int64_t>& images, int64_t epoch,
               const std::function<void(RunExplanation)>& done);

  // Fills in `kept` of explanations of best weights: of each epoch that was kept the maps, `side`
  // pixels a side, and how far they drifted. `step` is told of each image and epoch.
  void explain_kept(std::vector<ShownExplanation>& explanations, int side,
                    const std::function<void()>& step);

  // It is there and can be read.
  bool has_photograph(int64_t image) const;
  // The photograph's file. Throws Error where it is gone.
  const std::filesystem::path& photograph(int64_t image) const;

 private:
  struct How {
    int side;
    MethodOptions method;  // with nothing left open
  };
  // By the network that is loaded.
  void stream(const std::vector<int64_t>& images, const How& how,
              const std::function<void(RunExplanation)>& done);
  RunExplanation shown(int64_t image, const ExplainedPicture& explained, const How& how) const;
  std::string warning_of(int64_t image, int64_t predicted, double probability) const;

  RunFolder folder_;
  RunExplanationOptions options_;
  History history_;
  std::filesystem::path data_;
  std::map<std::string, std::filesystem::path> photographs_;  // by their names in the log

  struct Loaded {
    std::filesystem::path path;
    std::filesystem::file_time_type written;
    LoadedModel network;
    MethodOptions method;  // with nothing left open
    int64_t epoch;
  };
  std::optional<Loaded> loaded_;
};

// How alike two maps of one method are: Spearman's rank correlation of their values, sign included;
// NaN where either is blank.
double drift_between(const MethodResult& before, const MethodResult& now);

}  // namespace glassnet::cli
