// Confusion evolution against definitions written down once more, naively, on made-up logs; and the
// sums that must agree whichever way they are taken.
#include "training/evolution.h"

#include <limits>
#include <set>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tensor/random.h"
#include "tests/data_support.h"
#include "training/prediction_log.h"
#include "training/run_folder.h"

namespace glassnet {
namespace {

using test::error_of;
using test::TempFolder;

// Of `images` images; a share of the classes occurs, and each image has a few favourites.
History random_history(int64_t classes, int64_t images, int64_t epochs, uint64_t seed,
                       bool probabilities) {
  Random random(seed, Stream::kUser);
  const auto below = [&](int64_t n) { return static_cast<int32_t>(random.below(n)); };
  History history;
  for (int64_t c = 0; c < classes; ++c) history.classes.push_back(fmt::format("class {}", c));
  const int64_t used = (classes + 1) / 2;
  for (int64_t i = 0; i < images; ++i) {
    history.images.push_back({fmt::format("{}.png", i), below(used), ""});
  }
  for (int64_t t = 0; t < epochs; ++t) {
    history.epoch_names.push_back(fmt::format("{}", t + 1));
    history.loss.push_back(random.uniform(0, 2));
    for (int64_t i = 0; i < images; ++i) {
      const int32_t truth = history.images[static_cast<size_t>(i)].true_class;
      const int32_t other = below(3) == 0 ? below(classes) : truth / 2;
      history.predicted.push_back(below(2) == 0 ? truth : other);
      if (!probabilities) continue;
      history.true_probability.push_back(static_cast<float>(random.uniform(0, 1)));
      history.probability.push_back(static_cast<float>(random.uniform(0, 1)));
    }
  }
  return history;
}

// The definitions of evolution.h, an image at a time.
ImageEvolution naive_image(const History& history, const EpochRange& window, size_t image) {
  std::vector<int32_t> predicted;
  std::vector<double> probabilities;
  for (int64_t epoch = window.first; epoch <= window.last; ++epoch) {
    const size_t at = static_cast<size_t>(epoch - 1) * history.images.size() + image;
    predicted.push_back(history.predicted[at]);
    if (!history.true_probability.empty()) probabilities.push_back(history.true_probability[at]);
  }
  const int32_t truth = history.images[image].true_class;
  const size_t epochs = predicted.size();
  ImageEvolution result;
  for (size_t t = 0; t + 1 < epochs; ++t) {
    result.changes += predicted[t] != predicted[t + 1];
    result.forgetting_events += predicted[t] == truth && predicted[t + 1] != truth;
  }
  if (epochs > 1) {
    result.frequency = static_cast<double>(result.changes) / static_cast<double>(epochs - 1);
  }
  result.variability =
      static_cast<int64_t>(std::set<int32_t>(predicted.begin(), predicted.end()).size());
  result.relative_variability =
      static_cast<double>(result.variability) / static_cast<double>(history.classes.size());
  result.wrong =
      static_cast<int64_t>(epochs) - std::count(predicted.begin(), predicted.end(), truth);
  result.misclassification_rate = static_cast<double>(result.wrong) / static_cast<double>(epochs);
  for (size_t t = epochs; t-- > 0;) {
    const int64_t epoch = window.first + static_cast<int64_t>(t);
    if (predicted[t] == truth) result.first_learnt = epoch;
    const bool stays = std::all_of(predicted.begin() + static_cast<int64_t>(t), predicted.end(),
                                   [&](int32_t label) { return label == truth; });
    if (stays) result.learnt_for_good = epoch;
  }
  if (probabilities.empty()) return result;
  double mean = 0, squares = 0;
  for (const double p : probabilities) mean += p / static_cast<double>(epochs);
  for (const double p : probabilities) squares += p * p / static_cast<double>(epochs);
  result.confidence = mean;
  result.confidence_variance = squares - mean * mean;
  return result;
}

void expect_equal(const ImageEvolution& got, const ImageEvolution& expected) {
  EXPECT_EQ(got.changes, expected.changes);
  EXPECT_EQ(got.frequency, expected.frequency);
  EXPECT_EQ(got.variability, expected.variability);
  EXPECT_EQ(got.relative_variability, expected.relative_variability);
  EXPECT_EQ(got.wrong, expected.wrong);
  EXPECT_EQ(got.misclassification_rate, expected.misclassification_rate);
  EXPECT_EQ(got.first_learnt, expected.first_learnt);
  EXPECT_EQ(got.learnt_for_good, expected.learnt_for_good);
  EXPECT_EQ(got.forgetting_events, expected.forgetting_events);
  ASSERT_EQ(got.confidence.has_value(), expected.confidence.has_value());
  if (!expected.confidence) return;
  EXPECT_NEAR(*got.confidence, *expected.confidence, 1e-12);
  EXPECT_NEAR(*got.confidence_variance, *expected.confidence_variance, 1e-12);
}

struct Case {
  int64_t classes, images, epochs;
  EpochRange window;
  bool probabilities;
};

const std::vector<Case>& cases() {
  static const std::vector<Case> list = {
      {6, 40, 12, {1, 0}, true},   {6, 40, 12, {4, 9}, true},  {6, 40, 12, {12, 12}, true},
      {1, 5, 3, {1, 0}, false},    {2, 1, 1, {1, 1}, false},   {65, 30, 20, {2, 20}, false},
      {1000, 70, 9, {1, 0}, true}, {3, 1025, 7, {1, 7}, true}, {128, 2500, 5, {2, 3}, false},
  };
  return list;
}

TEST(Evolution, IsWhatTheDefinitionsSay) {
  for (size_t n = 0; n < cases().size(); ++n) {
    SCOPED_TRACE(n);
    const Case& c = cases()[n];
    const History history = random_history(c.classes, c.images, c.epochs, n, c.probabilities);
    const Evolution evolution = evolve(history, c.window);
    const EpochRange window = resolve(c.window, history);
    EXPECT_EQ(evolution.window, window);
    ASSERT_EQ(evolution.images.size(), history.images.size());
    std::vector<ImageEvolution> naive;
    for (size_t i = 0; i < history.images.size(); ++i) {
      naive.push_back(naive_image(history, window, i));
      expect_equal(evolution.images[i], naive.back());
    }
    ASSERT_EQ(evolution.classes.size(), history.classes.size());
    for (size_t k = 0; k < history.classes.size(); ++k) {
      ClassEvolution of;
      for (size_t i = 0; i < naive.size(); ++i) {
        if (history.images[i].true_class != static_cast<int32_t>(k)) continue;
        ++of.images;
        of.frequency += naive[i].frequency;
        of.variability += static_cast<double>(naive[i].variability);
        of.misclassification_rate += naive[i].misclassification_rate;
      }
      const double images = std::max(1.0, static_cast<double>(of.images));
      EXPECT_EQ(evolution.classes[k].images, of.images);
      EXPECT_NEAR(evolution.classes[k].frequency, of.frequency / images, 1e-12);
      EXPECT_NEAR(evolution.classes[k].variability, of.variability / images, 1e-12);
      EXPECT_NEAR(evolution.classes[k].misclassification_rate, of.misclassification_rate / images,
                  1e-12);
    }
  }
}

TEST(Evolution, SumsAgreeOverImagesAndOverEpochs) {
  for (size_t n = 0; n < cases().size(); ++n) {
    SCOPED_TRACE(n);
    const Case& c = cases()[n];
    const History history = random_history(c.classes, c.images, c.epochs, 50 + n, false);
    const Evolution evolution = evolve(history, c.window);
    const EpochRange& window = evolution.window;
    int64_t wrong = 0, changes = 0;
    for (const ImageEvolution& of : evolution.images) {
      wrong += of.wrong;
      changes += of.changes;
    }
    int64_t wrong_in_epochs = 0, changed = 0;
    ASSERT_EQ(std::ssize(evolution.epochs), window.count());
    for (const EpochEvolution& of : evolution.epochs) {
      wrong_in_epochs += c.images - of.correct;
      if (of.epoch > window.first) changed += *of.changed;
      ASSERT_EQ(of.flux.has_value(), of.epoch > 1);
      if (of.flux) {
        EXPECT_EQ(*of.flux, static_cast<double>(*of.changed) / static_cast<double>(c.images));
      }
      EXPECT_EQ(of.accuracy, static_cast<double>(of.correct) / static_cast<double>(c.images));
      EXPECT_EQ(of.loss, history.loss[static_cast<size_t>(of.epoch - 1)]);

      const ConfusionMatrix confusion = confusion_at(history, of.epoch);
      EXPECT_EQ(confusion.correct(), of.correct);
      EXPECT_EQ(confusion.total(), c.images);
      int64_t in_cells = 0;
      for (const ConfusionCell& cell : confusion_cells_at(history, of.epoch)) {
        EXPECT_EQ(cell.count, confusion.count(cell.true_class, cell.predicted));
        EXPECT_GT(cell.count, 0);
        in_cells += cell.count;
      }
      EXPECT_EQ(in_cells, c.images);
      const ClassificationMetrics quick = class_metrics_at(history, of.epoch);
      const ClassificationMetrics whole = classification_metrics(confusion);
      EXPECT_EQ(quick.accuracy, of.accuracy);
      EXPECT_EQ(quick.macro_f1, whole.macro_f1);
      for (size_t k = 0; k < whole.classes.size(); ++k) {
        EXPECT_EQ(quick.classes[k].predicted, whole.classes[k].predicted);
        EXPECT_EQ(quick.classes[k].precision, whole.classes[k].precision);
        EXPECT_EQ(quick.classes[k].recall, whole.classes[k].recall);
        EXPECT_EQ(quick.classes[k].f1, whole.classes[k].f1);
      }
    }
    EXPECT_EQ(wrong, wrong_in_epochs);
    EXPECT_EQ(changes, changed);
  }
}

TEST(Evolution, OfFourEpochsByHand) {
  History history{.classes = {"a", "b", "c", "d", "e", "f"},
                  .images = {{"x", 2, ""}},
                  .epoch_names = {"1", "2", "3", "4"},
                  .predicted = {2, 2, 1, 2}};
  const ImageEvolution of = evolve(history).images[0];
  EXPECT_NEAR(of.frequency, 0.67, 0.005);
  EXPECT_EQ(of.variability, 2);
  EXPECT_NEAR(of.relative_variability, 0.33, 0.005);
  EXPECT_EQ(of.misclassification_rate, 0.25);
  EXPECT_EQ(of.first_learnt, 1);
  EXPECT_EQ(of.learnt_for_good, 4);
  EXPECT_EQ(of.forgetting_events, 1);
  EXPECT_FALSE(of.confidence.has_value());

  const ImageEvolution third = evolve(history, {3, 3}).images[0];
  EXPECT_EQ(third.frequency, 0) << "a single epoch has no changes";
  EXPECT_EQ(third.variability, 1);
  EXPECT_EQ(third.misclassification_rate, 1);
  EXPECT_EQ(third.first_learnt, 0);
  EXPECT_EQ(third.learnt_for_good, 0);
  EXPECT_EQ(evolve(history, {3, 3}).epochs[0].flux, 1.0) << "the epoch before is known";
  EXPECT_FALSE(evolve(history).epochs[0].loss.has_value());
}

TEST(Evolution, RefusesWhatDoesNotFit) {
  const History good = random_history(3, 4, 5, 1, true);
  EXPECT_EQ(error_of([&] {
              evolve(good, {2, 6});
            }),
            "epochs 2 to 6 are none of the log's, which are 1 to 5");
  for (const EpochRange range : {EpochRange{0, 2}, EpochRange{3, 2}, EpochRange{6, 0},
                                 EpochRange{-1, 0}, EpochRange{1, -1}}) {
    EXPECT_THROW(evolve(good, range), UsageError);
  }
  EXPECT_THROW(confusion_at(good, 0), UsageError);
  EXPECT_THROW(class_metrics_at(good, 6), UsageError);
  const auto refusal = [&](auto&& change) {
    History history = good;
    change(history);
    return error_of([&] { evolve(history); });
  };
  EXPECT_EQ(refusal([](History& h) { h.predicted[6] = 3; }),
            "[evolution]: image 3 is predicted as class 3 in epoch 2, expected one from 0 to 2");
  EXPECT_EQ(refusal([](History& h) { h.images[1].true_class = -1; }),
            "[evolution]: image 2 has class -1, expected one from 0 to 2");
  EXPECT_NE(refusal([](History& h) { h.predicted.pop_back(); }), "");
  EXPECT_NE(refusal([](History& h) { h.true_probability.pop_back(); }), "");
  EXPECT_NE(refusal([](History& h) { h.loss.pop_back(); }), "");
  EXPECT_NE(refusal([](History& h) { h.classes.clear(); }), "");
  EXPECT_NE(refusal([](History& h) { h = History{.classes = {"a"}}; }), "");
  EXPECT_EQ(refusal([](History& h) {
              h.epoch_names.clear();
              h.predicted.clear();
            }),
            "[evolution]: holds no epoch yet");
}

TEST(Evolution, FluxIsTheShareThatChanged) {
  EXPECT_EQ(prediction_flux({1, 2, 3, 4}, {1, 2, 4, 3}), 0.5);
  EXPECT_EQ(prediction_flux({}, {}), 0);
  EXPECT_THROW(prediction_flux({1}, {1, 2}), Error);
}

TEST(Evolution, ReadsARunWhileItIsWritten) {
  const TempFolder folder;
  PredictionLog log = PredictionLog::create(
      folder.path(),
      {.classes = {"sea", "<b>"}, .images = {{"sea/1.jpg", 0}, {"<b>/\xff.jpg", 1}}});
  EXPECT_NE(error_of([&] { read_history(folder.path()); }).find("holds no epoch yet"),
            std::string::npos);
  log.append({0, 0}, {0.9F, 0.6F}, {0.9F, 0.4F});
  log.append({1, 1}, {0.7F, 0.8F}, {0.3F, 0.8F});
  const RunFolder run(folder.path());
  run.append_metrics({.epoch = 1, .test_loss = 0.25});
  const History history = read_history(folder.path());
  EXPECT_EQ(history.classes, (std::vector<std::string>{"sea", "<b>"}));
  EXPECT_EQ(history.images[0], (HistoryImage{"sea/1.jpg", 0, "sea/1.jpg"}));
  EXPECT_EQ(history.predicted, (std::vector<int32_t>{0, 0, 1, 1}));
  EXPECT_EQ(history.true_probability, (std::vector<float>{0.9F, 0.4F, 0.3F, 0.8F}));
  EXPECT_EQ(history.loss[0], 0.25);
  EXPECT_TRUE(std::isnan(history.loss[1])) << "a line that is not there yet";
  EXPECT_NEAR(*evolve(history).images[0].confidence, 0.6, 1e-6);
  EXPECT_NEAR(*evolve(history).images[0].confidence_variance, 0.09, 1e-6);

  log.append({1 << 20, 0}, {1, 1}, {1, 1});
  EXPECT_NE(error_of([&] { read_history(folder.path()); }).find("in epoch 3"), std::string::npos);
}

}  // namespace
}  // namespace glassnet
