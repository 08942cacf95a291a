// Training from a folder of images to a run on disk: batches, loss, gradients, updates, evaluation
// after each epoch, checkpoints that a kill at any instant cannot tear, and a resume that goes on
// bit for bit.
//
// A checkpoint is a pair: `last.safetensors`, a weight file that `predict` and `explain` need
// nothing else beside, and `last.state-<step>.safetensors`, the optimizer's tensors and the
// progress. The state is written first; the weight file names it; so the rename of the weight file
// is the moment at which both change.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "data/image.h"
#include "models/resnet.h"
#include "training/optimizer.h"
#include "training/run_folder.h"
#include "training/schedule.h"

namespace glassnet {

struct TrainOptions {
  std::filesystem::path data;  // train/ and test/ (or val/ …), a folder a class
  std::filesystem::path out;   // the run's folder, made if need be
  bool resume = false;         // go on with the run in `out`

  std::string model = "resnet18";
  std::filesystem::path pretrained;  // weights to start from; its last layer only if it fits
  bool zero_init_residual = false;

  int64_t epochs = 50;
  int64_t batch_size = 64;
  // 0: the images' own size when all share one that is square and at most 224, else 224.
  int image_size = 0;
  Fit fit = Fit::kCrop;
  double validation_split = 0;  // share of the training images, by class, held back: 0 … 0.9

  std::string optimizer = "sgd";        // "sgd", "adam", "adamw"
  std::optional<double> learning_rate;  // unset: 0.05 with sgd, 0.001 with adam and adamw
  std::optional<double> weight_decay;   // unset: 5e-4 with sgd, 0 with adam, 0.01 with adamw
  Decay decay = Decay::kAll;
  double momentum = 0.9;
  bool nesterov = true;
  double clip_norm = 0;  // limit of the gradients' norm; 0: none
  double label_smoothing = 0.05;

  ScheduleKind schedule = ScheduleKind::kOneCycle;
  double warmup_epochs = 0;  // constant, step and cosine
  int64_t step_epochs = 20;  // epochs between drops by 10; step

  bool flip = true;      // mirror half of the training images
  double shift = 0.125;  // shift training crops by up to this share of the side; 0: never

  uint64_t seed = 0;
  std::string device = "auto";             // "auto", "cpu", "cuda"
  std::string precision = "auto";          // "auto", "fp32", "bf16", "fp16"
  int threads = 0;                         // that compute; 0: all cores
  int loader_threads = 0;                  // that decode; 0: the loader's choice
  int64_t cache_bytes = int64_t{1} << 30;  // of decoded images kept in memory

  // Options that the user named, by their key in config.json ("batch_size"). A resumed run keeps
  // the options it was started with: one that was given here, or is not the default, and differs
  // from the run's is a UsageError that names it. `epochs` may change where the schedule does not
  // depend on their number (constant, step); data, out, threads, loader_threads and cache_bytes
  // always may, since the numbers do not depend on them.
  std::set<std::string> given;

  // How the model is made; empty: make_model.
  std::function<std::unique_ptr<Module>(const std::string& name, const ModelOptions&)> factory;
};

// Throws UsageError, a sentence that names the option, for values that make no sense.
void validate(const TrainOptions& options);

// What `train` decided before its first step.
struct TrainPlan {
  TrainOptions options;  // with nothing left open: image_size, learning_rate, … are set
  std::vector<std::string> classes;
  int64_t train_images = 0, validation_images = 0, test_images = 0;
  std::string image_size_reason;  // "all images are 150 x 150", …
  std::string device;             // "cpu"
  int64_t parameters = 0;
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
  std::function<void(const TrainPlan&)> begin;
  std::function<void(const StepInfo&)> step;
  // While images are evaluated: how many of how many are done.
  std::function<void(const std::string& split, int64_t done, int64_t total)> evaluating;
  std::function<void(const EpochMetrics&)> epoch;  // after it is on disk
  // Asked after every step; true saves a checkpoint and ends the run, to be resumed.
  std::function<bool()> stop_requested;
};

struct TrainResult {
  bool finished = false;  // false: stopped on request
  int64_t epochs_done = 0;
  int64_t best_epoch = 0;  // from 1; 0 before any epoch is done
  double best_accuracy = 0, best_loss = 0;
  std::string selected_by;           // "validation" or "test"
  std::vector<EpochMetrics> epochs;  // all of the run's, those before a resume included
};

// Runs to the end or to a stop request. Throws UsageError for options that make no sense and for a
// folder that already holds a run, Error for what goes wrong on the way (a loss that is not finite
// among it); the last checkpoint stays good.
TrainResult train(const TrainOptions& options, const TrainObserver& observer = {});

}  // namespace glassnet
