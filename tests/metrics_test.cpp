// Confusion matrices and what is computed from them, by hand; and what logits say.
#include "training/metrics.h"

#include <cmath>

#include <gtest/gtest.h>

#include "kernels/error.h"
#include "training/evaluator.h"

namespace glassnet {
namespace {

TEST(Metrics, CountsByTrueAndPredictedClass) {
  const ConfusionMatrix confusion(3, {0, 0, 1, 2, 2, 2}, {0, 1, 1, 2, 0, 2});
  EXPECT_EQ(confusion.counts(), (std::vector<int64_t>{1, 1, 0, 0, 1, 0, 1, 0, 2}));
  EXPECT_EQ(confusion.count(2, 0), 1);
  EXPECT_EQ(confusion.total(), 6);
  EXPECT_EQ(confusion.correct(), 4);
}

TEST(Metrics, PrecisionRecallAndF1) {
  const ConfusionMatrix confusion(3, {0, 0, 1, 2, 2, 2}, {0, 1, 1, 2, 0, 2});
  const ClassificationMetrics metrics = classification_metrics(confusion);
  EXPECT_DOUBLE_EQ(metrics.accuracy, 4.0 / 6);
  EXPECT_EQ(metrics.classes[0].images, 2);
  EXPECT_EQ(metrics.classes[0].predicted, 2);
  EXPECT_DOUBLE_EQ(metrics.classes[0].precision, 0.5);
  EXPECT_DOUBLE_EQ(metrics.classes[1].precision, 0.5);
  EXPECT_DOUBLE_EQ(metrics.classes[1].recall, 1);
  EXPECT_DOUBLE_EQ(metrics.classes[1].f1, 2.0 / 3);
  EXPECT_DOUBLE_EQ(metrics.classes[2].precision, 1);
  EXPECT_DOUBLE_EQ(metrics.classes[2].recall, 2.0 / 3);
  EXPECT_DOUBLE_EQ(metrics.classes[2].f1, 0.8);
  EXPECT_DOUBLE_EQ(metrics.macro_precision, 2.0 / 3);
  EXPECT_DOUBLE_EQ(metrics.macro_recall, (0.5 + 1 + 2.0 / 3) / 3);
  EXPECT_DOUBLE_EQ(metrics.macro_f1, (0.5 + 2.0 / 3 + 0.8) / 3);
}

TEST(Metrics, ClassesWithoutImagesStayOutOfTheMeans) {
  // Class 1 has no images but was predicted once; class 2 has one and was never predicted.
  const ClassificationMetrics metrics =
      classification_metrics(ConfusionMatrix(3, {0, 0, 2}, {0, 1, 0}));
  EXPECT_EQ(metrics.classes[1].precision, 0);
  EXPECT_EQ(metrics.classes[1].recall, 0);
  EXPECT_EQ(metrics.classes[2].precision, 0);
  EXPECT_EQ(metrics.classes[2].f1, 0);
  EXPECT_DOUBLE_EQ(metrics.macro_recall, 0.25);
  EXPECT_EQ(classification_metrics(ConfusionMatrix(2)).accuracy, 0);
}

TEST(Metrics, RefusesLabelsOutOfRange) {
  EXPECT_THROW(ConfusionMatrix(0), Error);
  EXPECT_THROW(ConfusionMatrix(2, {0}, {2}), Error);
  EXPECT_THROW(ConfusionMatrix(2, {-1}, {0}), Error);
  EXPECT_THROW(ConfusionMatrix(2, {0, 1}, {0}), Error);
}

TEST(Evaluation, ReadsLogits) {
  const Tensor logits = Tensor::from(std::vector<float>{1, 3, 1, 200, -200, 0, 2, 2, 2}, {3, 3});
  const Evaluation evaluation = evaluate_logits(logits, {0, 1, 2});
  EXPECT_EQ(evaluation.predicted, (std::vector<int64_t>{1, 0, 0}));
  const double sum = 2 * std::exp(-2.0) + 1;
  EXPECT_NEAR(evaluation.probability[0], 1 / sum, 1e-6);
  EXPECT_NEAR(evaluation.true_probability[0], std::exp(-2.0) / sum, 1e-6);
  EXPECT_NEAR(evaluation.probability[2], 1.0 / 3, 1e-6);
  EXPECT_NEAR(evaluation.loss, (2 + std::log(sum) + 400 + std::log(3.0)) / 3, 1e-6);
  EXPECT_EQ(evaluation.accuracy, 0);
  EXPECT_THROW(evaluate_logits(logits, {0, 1, 3}), Error);
  EXPECT_THROW(evaluate_logits(logits, {0, 1}), Error);
}

}  // namespace
}  // namespace glassnet
