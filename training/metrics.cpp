#include "training/metrics.h"

#include <fmt/format.h>

#include "kernels/error.h"

namespace glassnet {
namespace {

double share(int64_t part, int64_t whole) {
  return whole > 0 ? static_cast<double>(part) / static_cast<double>(whole) : 0.0;
}

}  // namespace

ConfusionMatrix::ConfusionMatrix(int64_t classes) : classes_(classes) {
  require(classes > 0, [&] {
    return fmt::format("[confusion matrix] expected at least one class, got {}", classes);
  });
  counts_.resize(static_cast<size_t>(classes * classes));
}

ConfusionMatrix::ConfusionMatrix(int64_t classes, const std::vector<int64_t>& true_classes,
                                 const std::vector<int64_t>& predicted)
    : ConfusionMatrix(classes) {
  require(true_classes.size() == predicted.size(), [&] {
    return fmt::format(
        "[confusion matrix] expected as many predictions as true classes, {}, got {}",
        true_classes.size(), predicted.size());
  });
  for (size_t i = 0; i < predicted.size(); ++i) add(true_classes[i], predicted[i]);
}

void ConfusionMatrix::add(int64_t true_class, int64_t predicted) {
  for (const int64_t label : {true_class, predicted}) {
    require(label >= 0 && label < classes_, [&] {
      return fmt::format("[confusion matrix] expected a class from 0 to {}, got {}", classes_ - 1,
                         label);
    });
  }
  ++counts_[static_cast<size_t>(true_class * classes_ + predicted)];
  ++total_;
}

int64_t ConfusionMatrix::correct() const {
  int64_t sum = 0;
  for (int64_t c = 0; c < classes_; ++c) sum += count(c, c);
  return sum;
}

ClassificationMetrics classification_metrics(const ConfusionMatrix& confusion) {
  const int64_t classes = confusion.classes();
  std::vector<ClassCounts> counts(static_cast<size_t>(classes));
  for (int64_t c = 0; c < classes; ++c) {
    ClassCounts& of = counts[static_cast<size_t>(c)];
    for (int64_t other = 0; other < classes; ++other) {
      of.images += confusion.count(c, other);
      of.predicted += confusion.count(other, c);
    }
    of.correct = confusion.count(c, c);
  }
  return classification_metrics(counts);
}

ClassificationMetrics classification_metrics(const std::vector<ClassCounts>& counts) {
  ClassificationMetrics result;
  int64_t present = 0, images = 0, correct = 0;
  for (const ClassCounts& of : counts) {
    const ClassMetrics metrics{.images = of.images,
                               .predicted = of.predicted,
                               .precision = share(of.correct, of.predicted),
                               .recall = share(of.correct, of.images),
                               .f1 = share(2 * of.correct, of.predicted + of.images)};
    result.classes.push_back(metrics);
    images += of.images;
    correct += of.correct;
    if (metrics.images == 0) continue;
    ++present;
    result.macro_precision += metrics.precision;
    result.macro_recall += metrics.recall;
    result.macro_f1 += metrics.f1;
  }
  result.accuracy = share(correct, images);
  if (present > 0) {
    result.macro_precision /= static_cast<double>(present);
    result.macro_recall /= static_cast<double>(present);
    result.macro_f1 /= static_cast<double>(present);
  }
  return result;
}

}  // namespace glassnet
