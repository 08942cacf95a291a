// Where a run can go on from.
//
// A checkpoint is a pair: `last.safetensors`, a weight file that `predict` and `explain` need
// nothing else beside, and `last.state-<epochs done>-<steps done>.safetensors`, the optimizer's
// tensors and the progress. The state is written first and the weight file names it, so the rename
// of the weight file is the moment at which both change: a kill at any instant leaves a pair that
// belongs together. Older states are removed after it.
#pragma once

#include <cstdint>
#include <vector>

#include "models/weights.h"
#include "training/optimizer.h"
#include "training/run_folder.h"
#include "training/train_step.h"

namespace glassnet {

// How far a run has come. Sums are over the images of the epoch that is under way.
struct RunProgress {
  LossScale loss_scale;  // of the next step
  int64_t epochs_done = 0;
  int64_t steps_done = 0;  // of the epoch after them
  double loss_sum = 0;
  int64_t correct = 0;
  int64_t images = 0;
  double seconds = 0;
  int64_t best_epoch = 0;  // from 1; 0: none yet
  double best_accuracy = 0;
  double best_loss = 0;
  // Of the last whole epoch, for the flux of the next; empty without a validation split.
  std::vector<int64_t> validation_predicted;
};

void save_checkpoint(const RunFolder& folder, const Module& model, const ModelCard& card,
                     const Optimizer& optimizer, const RunProgress& progress);

// Fills model and optimizer from the last one; leaves them as they are where there is no checkpoint
// yet (the result is then a RunProgress of zeros). Throws Error, naming the file, for one that
// cannot be read or does not fit.
RunProgress load_checkpoint(const RunFolder& folder, Module& model, Optimizer& optimizer);

// The epoch that a weight file of a run was written after; 0 where it does not say.
int64_t epoch_of(const LoadedModel& model);

// The weights of the best epoch so far, as a weight file.
void save_best(const RunFolder& folder, const Module& model, const ModelCard& card,
               const RunProgress& progress);

// The weights after an epoch, likewise, under the epoch's own name.
void save_kept(const RunFolder& folder, const Module& model, const ModelCard& card, int64_t epoch);

}  // namespace glassnet
