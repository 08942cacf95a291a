// Confusion evolution: how a network's predictions change while it learns.
//
// Of an image of class y that was predicted as p_1 … p_E in the epochs of a window, C classes:
//
//   frequency              #{t < E : p_t != p_{t+1}} / (E - 1); 0 for a single epoch
//   variability            #{p_1, …, p_E}, from 1; relative: divided by C
//   misclassification rate #{t : p_t != y} / E
//   first learnt           the first t with p_t = y
//   learnt for good        the first t from which on p_s = y for every s >= t
//   forgetting events      #{t < E : p_t = y, p_{t+1} != y}
//   confidence             mean of the true class's probabilities q_1 … q_E, and their variance
//
// The first three are InstanceFlow's (Pühringer, Hinterreiter, Streit 2020, arXiv:2007.11353).
// Forgetting events, and learning events, whose first is "first learnt", are from Toneva et al.
// 2018, "An Empirical Study of Example Forgetting during Deep Neural Network Learning",
// arXiv:1812.05159, there from one presentation of the example to the next, here from epoch to
// epoch; an image is unforgettable when both epochs exist and are the same. Confidence is from
// Swayamdipta et al. 2020, "Dataset Cartography", arXiv:2009.10795, whose "variability" is the root
// of the variance.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "training/history.h"
#include "training/metrics.h"

namespace glassnet {

// Over a window of epochs. Epochs are the history's, from 1; 0 stands for never.
struct ImageEvolution {
  int64_t changes = 0;  // of the prediction
  double frequency = 0;
  int64_t variability = 0;
  double relative_variability = 0;
  int64_t wrong = 0;  // epochs in which the prediction is not the true class
  double misclassification_rate = 0;
  int64_t first_learnt = 0, learnt_for_good = 0;
  int64_t forgetting_events = 0;
  std::optional<double> confidence, confidence_variance;  // where probabilities are known
};

// Of one epoch, over all images.
struct EpochEvolution {
  int64_t epoch = 0;
  int64_t correct = 0;
  double accuracy = 0;
  std::optional<double> loss;  // where it is known; may be NaN
  // Prediction flux: images whose prediction differs from the epoch before, and their share. None
  // in the history's first epoch; in a later window's first it compares with the epoch before it.
  std::optional<int64_t> changed;
  std::optional<double> flux;
};

// Means over the images whose true class it is; zeros where there are none.
struct ClassEvolution {
  int64_t images = 0;
  double frequency = 0, variability = 0, relative_variability = 0, misclassification_rate = 0;
};

struct Evolution {
  EpochRange window;
  std::vector<ImageEvolution> images;   // in the history's order
  std::vector<EpochEvolution> epochs;   // of the window
  std::vector<ClassEvolution> classes;  // in the history's order
};

// Everything over a window. Throws as `validate` and `resolve` do.
Evolution evolve(const History& history, const EpochRange& window = {});

// Precision, recall and F1 of each class in an epoch, without a matrix of classes by classes.
ClassificationMetrics class_metrics_at(const History& history, int64_t epoch);
// Memory for classes * classes counts. Throws UsageError for an epoch that is none of the
// history's.
ConfusionMatrix confusion_at(const History& history, int64_t epoch);
// The cells that are not zero, by true and then by predicted class: at most one for each image.
struct ConfusionCell {
  int32_t true_class = 0, predicted = 0;
  int64_t count = 0;
};
std::vector<ConfusionCell> confusion_cells_at(const History& history, int64_t epoch);

// The share of places where two lists of the same length differ; 0 for empty ones.
double prediction_flux(const std::vector<int64_t>& before, const std::vector<int64_t>& now);

}  // namespace glassnet
