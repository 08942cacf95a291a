// How well predicted classes meet the true ones.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace glassnet {

// CONVENTION: counts()[t * classes() + p] is the number of images of class t predicted as p.
class ConfusionMatrix {
 public:
  explicit ConfusionMatrix(int64_t classes);
  // Of whole lists; same length. Throws Error when a label is outside [0, classes).
  ConfusionMatrix(int64_t classes, const std::vector<int64_t>& true_classes,
                  const std::vector<int64_t>& predicted);

  void add(int64_t true_class, int64_t predicted);

  int64_t classes() const { return classes_; }
  int64_t count(int64_t true_class, int64_t predicted) const {
    return counts_[static_cast<size_t>(true_class * classes_ + predicted)];
  }
  const std::vector<int64_t>& counts() const { return counts_; }
  int64_t total() const { return total_; }
  int64_t correct() const;

 private:
  int64_t classes_;
  int64_t total_ = 0;
  std::vector<int64_t> counts_;
};

struct ClassMetrics {
  int64_t images = 0;     // whose true class this is
  int64_t predicted = 0;  // images predicted as this class
  double precision = 0;   // correct / predicted; 0 where nothing was predicted
  double recall = 0;      // correct / images; 0 where there are none
  double f1 = 0;          // harmonic mean of the two; 0 where both are
};

struct ClassificationMetrics {
  double accuracy = 0;
  std::vector<ClassMetrics> classes;
  // Means over the classes that have images.
  double macro_precision = 0, macro_recall = 0, macro_f1 = 0;
};
ClassificationMetrics classification_metrics(const ConfusionMatrix& confusion);

// All that the metrics are made from: of a class, how many images, predictions and those that meet.
struct ClassCounts {
  int64_t images = 0, predicted = 0, correct = 0;
};
ClassificationMetrics classification_metrics(const std::vector<ClassCounts>& counts);  // (classes)

}  // namespace glassnet
