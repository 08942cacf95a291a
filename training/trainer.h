// Training from a folder of images to a run on disk: batches, loss, gradients, updates, evaluation
// after each epoch, checkpoints that a kill at any instant cannot tear, and a resume that goes on
// bit for bit.
//
// An epoch sees every training image once, in a new order; one that would be alone in the last
// batch is left out, since batch norm cannot learn from a single image.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "training/options.h"
#include "training/run_folder.h"

namespace glassnet {

// What `train` decided before its first step.
struct TrainPlan {
  TrainOptions options;  // with nothing left open: image_size, learning_rate, … are set
  std::vector<std::string> classes;
  int64_t train_images = 0, validation_images = 0, test_images = 0;
  std::string image_size_reason;      // "as asked for", "all images are 150 x 150", …
  std::vector<std::string> warnings;  // sentences about the data and the weights
  std::string device;                 // "cpu"
  int64_t parameters = 0;
  std::string rates;         // "60 of 62 tensors frozen …"; empty when all parameters learn alike
  int64_t kept_epochs = 0;   // whose weights are kept, all of the run's
  int64_t weight_bytes = 0;  // that each of them takes, all but exactly
  int64_t steps_per_epoch = 0;
  int64_t epochs_done = 0;  // more than 0, or a step, in a resumed run
  int64_t steps_done = 0;   // of the epoch after them
  std::string selected_by;  // "validation" or "test": the images that choose the best epoch
};

struct StepInfo {
  int64_t epoch = 0;  // from 1
  int64_t step = 0;   // of the epoch, from 1
  int64_t steps_per_epoch = 0;
  double loss = 0;        // of this batch, label smoothing included
  double epoch_loss = 0;  // mean over the epoch's images so far
  double epoch_accuracy = 0;
  double learning_rate = 0;
  double gradient_norm = 0;      // before clipping; 0 when nothing asks for it
  double images_per_second = 0;  // over the epoch so far
};

// Called from the training thread; any may be empty.
struct TrainObserver {
  // Before a new run begins, while each of its pictures is decoded once; false ends it there.
  std::function<bool(int64_t done, int64_t total)> checking;
  std::function<void(const TrainPlan&)> begin;
  std::function<void(const StepInfo&)> step;
  // While images are evaluated: how many of how many are done.
  std::function<void(const std::string& split, int64_t done, int64_t total)> evaluating;
  std::function<void(const EpochMetrics&)> epoch;  // after it is on disk
  std::function<void(const std::string&)> warn;    // a sentence about how the run goes on
  // Asked after every step; true saves a checkpoint and ends the run, to be resumed.
  std::function<bool()> stop_requested;
};

struct TrainResult {
  bool finished = false;  // false: stopped on request
  bool begun = true;      // false: before anything was written
  int64_t epochs_done = 0, epochs_planned = 0;
  int64_t best_epoch = 0;  // from 1; 0 before any epoch is done
  double best_accuracy = 0, best_loss = 0;
  std::string selected_by;  // "validation" or "test"
  std::string stopped;      // why the run ended before its last epoch (early_stop.h); else empty
  std::vector<EpochMetrics> epochs;  // all of the run's, those before a resume included
};

// Runs to the end or to a stop request. Throws UsageError for options that make no sense and for a
// folder that already holds a run's checkpoint, Error for what goes wrong on the way (a loss that
// is not finite among it); the last checkpoint stays good.
TrainResult train(const TrainOptions& options, const TrainObserver& observer = {});

}  // namespace glassnet
