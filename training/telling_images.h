// Which test images tell most about a run: those whose explanations a page shows unasked.
//
// Four lists, each of what is most so first:
//
//   confidently wrong  wrong in the epoch, by the probability of the prediction
//   wavering           by the number of changes of the prediction, then of the classes predicted
//   forgotten          wrong in the epoch, by the share of epochs in which it was right
//   confidently right  right in the epoch, by the probability of the prediction
//
// In each the first of every true class comes before the second of any, so that no class is alone
// in it. The lists take turns, and an image that one has taken is left out of the others.
#pragma once

#include <cstdint>
#include <vector>

#include "training/history.h"

namespace glassnet {

enum class Telling { kConfidentlyWrong, kWavering, kForgotten, kConfidentlyRight };
const char* name_of(Telling why);  // "confidently wrong", …

struct TellingImage {
  int64_t image = 0;
  Telling why = Telling::kConfidentlyWrong;
  bool operator==(const TellingImage&) const = default;
};

// Up to `count`, in the order in which they were taken; fewer where there are fewer images. `epoch`
// is whose predictions are looked at, from 1. Where the log has no probabilities, the share of
// epochs with the prediction of `epoch` stands for them. Throws UsageError for an epoch that is
// none of the history's.
std::vector<TellingImage> telling_images(const History& history, int64_t epoch, int64_t count);

}  // namespace glassnet
