// Whole runs on a small data set of drawn images: that they learn, what they leave on disk, and
// that an interrupted run ends with the same bits as one that was not.
#include "training/trainer.h"

#include <cmath>
#include <limits>
#include <map>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "models/safetensors.h"
#include "models/tensor_file.h"
#include "models/weights.h"
#include "tensor/file.h"
#include "tensor/math.h"
#include "tests/data_support.h"
#include "tests/device_support.h"
#include "tests/op_harness.h"
#include "training/checkpoint.h"
#include "training/keep_epochs.h"
#include "training/prediction_log.h"

namespace glassnet {
namespace {

namespace fs = std::filesystem;
using test::error_of;
using test::TempFolder;

// --- something to train, and something to train on -----------------------------------------------

// Learns what a ResNet learns from these images, in a hundredth of the time.
struct SmallNet : Module {
  explicit SmallNet(int64_t classes_) : classes(classes_) {}
  const int64_t classes;
  Conv2d& conv = child<Conv2d>("conv1", Conv2dLayer{.in = 3, .out = 8, .stride = 4, .bias = false});
  BatchNorm2d& norm = child<BatchNorm2d>("bn1", BatchNorm2dLayer{.channels = 8});
  Linear& fc = child<Linear>("fc", LinearLayer{.in = 8, .out = classes});

 protected:
  Variable forward(const Variable& x) override { return fc(global_avg_pool(relu(norm(conv(x))))); }
};

// Gives NaN from its nth training step on.
struct SpoiltNet : SmallNet {
  SpoiltNet(int64_t classes_, int steps) : SmallNet(classes_), left(steps) {}
  int left;

 protected:
  Variable forward(const Variable& x) override {
    const Variable y = SmallNet::forward(x);
    if (!training() || left-- > 0) return y;
    return scale(y, std::numeric_limits<double>::quiet_NaN());
  }
};

// A class is a hue; brightness and noise vary.
void draw_class(const TempFolder& folder, const std::string& split, int label, int count,
                int size) {
  for (int i = 0; i < count; ++i) {
    Image image(size, size);
    Random random(static_cast<uint64_t>(label), Stream::kUser, split == "train" ? 0 : 1,
                  static_cast<uint64_t>(i));
    const double brightness = random.uniform(60, 160);
    for (size_t p = 0; p < image.rgb.size(); ++p) {
      const double mean = brightness + (static_cast<int>(p % 3) == label ? 40 : 0);
      image.rgb[p] = static_cast<uint8_t>(mean + random.uniform(-50, 50));
    }
    const auto path = folder / (split + "/" + std::string(1, static_cast<char>('a' + label)) + "/" +
                                std::to_string(i) + ".png");
    fs::create_directories(path.parent_path());
    write_png(path, image);
  }
}

class Trainer : public ::testing::Test {
 protected:
  void SetUp() override {
    for (int label = 0; label < 3; ++label) {
      draw_class(data_, "train", label, 11, 32);
      draw_class(data_, "test", label, 5, 32);
    }
  }

  // 33 images: four batches of 8, and one image that would be alone.
  TrainOptions options(const std::string& run) const {
    TrainOptions result;
    result.data = data_.path();
    result.out = runs_ / run;
    result.epochs = 3;
    result.batch_size = 8;
    result.precision = "fp32";  // auto depends on the processor
    result.threads = 1;
    result.loader_threads = 3;
    result.factory = [](const std::string&, const ModelOptions& model) {
      return std::make_unique<SmallNet>(*model.classes);
    };
    return result;
  }

  TempFolder data_, runs_;
};

std::vector<fs::path> files_of(const fs::path& folder) {
  std::vector<fs::path> names;
  for (const auto& entry : fs::directory_iterator(folder)) names.push_back(entry.path().filename());
  std::sort(names.begin(), names.end());
  return names;
}

// Everything but what clocks say.
void expect_same_run(const fs::path& a, const fs::path& b) {
  EXPECT_EQ(files_of(a), files_of(b));
  for (const fs::path& name : files_of(a)) {
    if (name == "metrics.jsonl") continue;
    if (!fs::exists(b / name)) continue;
    EXPECT_TRUE(read_file(a / name) == read_file(b / name)) << name << " differs";
  }
  const auto left = RunFolder(a).read_metrics(), right = RunFolder(b).read_metrics();
  ASSERT_EQ(left.size(), right.size());
  for (size_t i = 0; i < left.size(); ++i) {
    EpochMetrics other = right[i];
    other.seconds = left[i].seconds;
    other.images_per_second = left[i].images_per_second;
    EXPECT_EQ(to_json(left[i]), to_json(other));
  }
}

TrainOptions resumed(TrainOptions options) {
  options.resume = true;
  return options;
}

// --- learning ------------------------------------------------------------------------------------

TEST_F(Trainer, LearnsAndLeavesAWholeRun) {
  TrainOptions o = options("run");
  o.epochs = 8;
  int64_t steps = 0, epochs = 0, evaluated = 0;
  TrainPlan plan;
  TrainObserver observer;
  observer.begin = [&](const TrainPlan& p) { plan = p; };
  observer.step = [&](const StepInfo& info) {
    EXPECT_EQ(info.epoch, epochs + 1);
    EXPECT_EQ(info.step, steps++ % 4 + 1);
    EXPECT_EQ(info.steps_per_epoch, 4);
    EXPECT_GT(info.gradient_norm, 0);
  };
  observer.evaluating = [&](const std::string& split, int64_t done, int64_t total) {
    EXPECT_EQ(split, "test");
    EXPECT_EQ(total, 15);
    evaluated += done == total;
  };
  observer.epoch = [&](const EpochMetrics& metrics) { EXPECT_EQ(metrics.epoch, ++epochs); };
  const TrainResult result = train(o, observer);

  EXPECT_EQ(plan.classes, (std::vector<std::string>{"a", "b", "c"}));
  EXPECT_EQ(plan.train_images, 33);
  EXPECT_EQ(plan.test_images, 15);
  EXPECT_EQ(plan.options.image_size, 32);
  EXPECT_EQ(plan.image_size_reason, "all images are 32 x 32");
  EXPECT_EQ(plan.steps_per_epoch, 4) << "a batch of one image was not left out";
  EXPECT_EQ(steps, 32);
  EXPECT_EQ(evaluated, 8);

  EXPECT_TRUE(result.finished);
  ASSERT_EQ(result.epochs.size(), 8U);
  EXPECT_LT(result.epochs.back().train_loss, 0.7 * result.epochs.front().train_loss);
  EXPECT_GE(result.epochs.back().test_accuracy, 0.9);

  const RunFolder run(o.out);
  const auto config = nlohmann::json::parse(read_file(run.config()));
  EXPECT_EQ(config["batch_size"], 8);
  EXPECT_EQ(config["learning_rate"], 0.05);
  EXPECT_EQ(config["schedule"], "one-cycle");
  EXPECT_EQ(config["data"], fs::absolute(data_.path()).string());
  EXPECT_EQ(config["classes"].size(), 3U);
  EXPECT_FALSE(config["program"]["onednn"].get<std::string>().empty());

  const PredictionHistory history = read_prediction_log(o.out);
  ASSERT_EQ(history.epochs, 8);
  EXPECT_EQ(history.header.images[5].id, "b/0.png");
  int64_t correct = 0;
  for (size_t i = 0; i < 15; ++i) {
    const size_t at = 7 * 15 + i;
    correct += history.predicted[at] == history.header.images[i].true_class;
    EXPECT_GE(history.probability[at], history.true_probability[at]);
  }
  EXPECT_EQ(static_cast<double>(correct) / 15, result.epochs.back().test_accuracy);
}

TEST_F(Trainer, TheBestEpochIsTheMostAccurateAndThenTheSurest) {
  for (const double split : {0.0, 0.3}) {
    TrainOptions o = options(split > 0 ? "validated" : "tested");
    o.epochs = 6;
    o.validation_split = split;
    std::map<int64_t, std::string> weights;  // of each epoch
    TrainObserver observer;
    observer.epoch = [&](const EpochMetrics& metrics) {
      const auto conv = load_safetensors(RunFolder(o.out).last()).tensors.at(0).tensor;
      weights[metrics.epoch] = std::string(static_cast<const char*>(conv.raw()), conv.bytes());
    };
    const TrainResult result = train(o, observer);
    EXPECT_EQ(result.selected_by, split > 0 ? "validation" : "test");
    int64_t best = 0;
    double accuracy = -1, loss = 0;
    for (const EpochMetrics& m : result.epochs) {
      ASSERT_EQ(m.validation_loss.has_value(), split > 0);
      const double a = split > 0 ? *m.validation_accuracy : m.test_accuracy;
      const double l = split > 0 ? *m.validation_loss : m.test_loss;
      const bool better = a > accuracy || (a == accuracy && l < loss);
      EXPECT_EQ(m.best, better);
      if (better) std::tie(best, accuracy, loss) = std::tuple(m.epoch, a, l);
    }
    EXPECT_EQ(result.best_epoch, best);
    EXPECT_EQ(result.best_accuracy, accuracy);
    const SafeTensors saved = load_safetensors(RunFolder(o.out).best());
    EXPECT_EQ(saved.metadata.at("glassnet.epoch"), std::to_string(best));
    const Tensor conv = saved.tensors.at(0).tensor;
    EXPECT_TRUE(std::string(static_cast<const char*>(conv.raw()), conv.bytes()) == weights[best]);
  }
}

TEST_F(Trainer, CountsWhatChangedFromEpochToEpoch) {
  TrainOptions o = options("run");
  o.epochs = 5;
  o.validation_split = 0.3;
  const TrainResult result = train(o);
  const PredictionHistory log = read_prediction_log(o.out);
  ASSERT_EQ(log.epochs, 5);
  std::set<double> fluxes;
  for (size_t t = 0; t < 5; ++t) {
    const EpochMetrics& metrics = result.epochs[t];
    ASSERT_EQ(metrics.flux.has_value(), t > 0);
    ASSERT_EQ(metrics.validation_flux.has_value(), t > 0);
    int64_t changed = 0;
    std::vector<int64_t> right(3);
    for (size_t i = 0; i < 15; ++i) {
      const int64_t now = log.predicted[t * 15 + i];
      changed += t > 0 && now != log.predicted[(t - 1) * 15 + i];
      right[static_cast<size_t>(now)] += now == log.header.images[i].true_class;
    }
    if (t > 0) {
      EXPECT_EQ(*metrics.flux, static_cast<double>(changed) / 15);
      fluxes.insert(*metrics.flux);
    }
    ASSERT_EQ(metrics.test_recall.size(), 3U);
    for (size_t c = 0; c < 3; ++c) {
      EXPECT_EQ(metrics.test_recall[c], static_cast<double>(right[c]) / 5);
    }
  }
  EXPECT_GT(fluxes.size(), 1U) << "nothing ever changed";
}

// --- ending early --------------------------------------------------------------------------------

TEST(EarlyStop, WaitsForAsManyEpochsAsItIsTold) {
  const auto epochs = [](const std::vector<double>& losses) {
    std::vector<EpochMetrics> list;
    for (const double loss : losses) {
      list.push_back({.epoch = static_cast<int64_t>(list.size()) + 1, .validation_loss = loss});
    }
    return list;
  };
  const auto stops = [&](const std::vector<double>& losses, int64_t patience) {
    return !reason_to_stop(epochs(losses), patience, StopBy::kLoss).empty();
  };
  const double nan = std::nan("");
  EXPECT_FALSE(stops({}, 1));
  EXPECT_FALSE(stops({3, 2, 1}, 1));
  EXPECT_TRUE(stops({3, 2, 2}, 1)) << "as good as before is no better";
  EXPECT_FALSE(stops({3, 1, 2, 2}, 3));
  EXPECT_TRUE(stops({3, 1, 2, 2, 2}, 3));
  EXPECT_FALSE(stops({3, 1, 2, 2, 0.9}, 3));
  EXPECT_TRUE(stops({3, 1, nan, nan, nan}, 3));
  EXPECT_FALSE(stops({nan, nan, nan, 3}, 2)) << "nothing to compare with yet";
  EXPECT_FALSE(stops({3, 4, 5, 6}, 0));
  EXPECT_EQ(reason_to_stop(epochs({3, 0.51234, 2}), 1, StopBy::kLoss),
            "the validation loss has not been lower than 0.5123 of epoch 2 for 1 epoch");

  std::vector<EpochMetrics> list(4);
  for (size_t t = 0; t < 4; ++t) {
    list[t].epoch = static_cast<int64_t>(t) + 1;
    list[t].validation_accuracy = std::vector<double>{0.1, 0.5, 0.4, 0.5}[t];
    if (t > 0) list[t].validation_flux = std::vector<double>{0, 0.5, 0.4, 0.1}[t];
    list[t].flux = 0.5;
    list[t].test_accuracy = 0.5;
  }
  EXPECT_EQ(reason_to_stop(list, 2, StopBy::kAccuracy),
            "the validation accuracy has not been higher than 0.5 of epoch 2 for 2 epochs");
  EXPECT_EQ(reason_to_stop(list, 1, StopBy::kFlux), "");
  list[3].validation_flux = 0.45;
  EXPECT_EQ(reason_to_stop(list, 1, StopBy::kFlux),
            "the validation flux has not been lower than 0.4 of epoch 3 for 1 epoch");
}

TEST_F(Trainer, EndsEarlyAndStaysEnded) {
  TrainOptions o = options("early");
  o.epochs = 40;
  o.schedule = ScheduleKind::kConstant;
  o.validation_split = 0.3;
  o.patience = 2;
  for (const StopBy by : {StopBy::kAccuracy, StopBy::kLoss, StopBy::kFlux}) {
    o.stop_by = by;
    o.out = runs_ / name_of(by);
    const TrainResult result = train(o);
    EXPECT_TRUE(result.finished);
    ASSERT_LT(result.epochs_done, 40) << "never stopped by " << name_of(by);
    EXPECT_THAT(result.stopped, testing::HasSubstr(name_of(by)));
    // As soon as there was a reason, and for that reason.
    std::vector<EpochMetrics> epochs = result.epochs;
    ASSERT_EQ(std::ssize(epochs), result.epochs_done);
    EXPECT_EQ(epochs.back().stopped, result.stopped);
    EXPECT_EQ(reason_to_stop(epochs, 2, by), result.stopped);
    epochs.pop_back();
    EXPECT_EQ(reason_to_stop(epochs, 2, by), "");

    const TrainResult again = train(resumed(o));
    EXPECT_TRUE(again.finished);
    EXPECT_EQ(again.epochs_done, result.epochs_done);
    EXPECT_EQ(again.stopped, result.stopped);

    // Interrupted in every epoch, it comes to the same end.
    TrainOptions halting = o;
    halting.out = runs_ / (std::string("halting by ") + name_of(by));
    int64_t step = 0;
    TrainObserver observer;
    observer.step = [&](const StepInfo& info) { step = info.step; };
    observer.stop_requested = [&] { return step == 2; };
    EXPECT_FALSE(train(halting, observer).finished);
    while (!train(resumed(halting), observer).finished) step = 0;
    expect_same_run(o.out, halting.out);
  }
}

TEST_F(Trainer, WarnsOfAScheduleThatAnEarlyEndCutsShort) {
  TrainOptions o = options("run");
  o.epochs = 1;
  o.validation_split = 0.3;
  o.patience = 1;
  std::vector<std::string> warnings;
  TrainObserver observer;
  observer.begin = [&](const TrainPlan& plan) { warnings = plan.warnings; };
  const TrainResult result = train(o, observer);
  EXPECT_EQ(result.stopped, "") << "the last epoch ends a run anyway";
  ASSERT_EQ(warnings.size(), 1U);
  EXPECT_THAT(warnings[0], testing::HasSubstr("one-cycle schedule gains most in its last epochs"));
}

TEST_F(Trainer, KeepsNoMemoryFromStepToStep) {
  TrainOptions o = options("run");
  o.epochs = 5;
  std::vector<size_t> active;
  TrainObserver observer;
  observer.epoch = [&](const EpochMetrics&) { active.push_back(memory_stats().active_bytes); };
  train(o, observer);
  // The first epoch fills what lasts: momentum, and the loader's own.
  for (size_t i = 2; i < active.size(); ++i) EXPECT_EQ(active[i], active[1]);
}

TEST_F(Trainer, ClippedGradientsMoveWeightsNoFurther) {
  SmallNet fresh(3);
  initialise(fresh, 0);
  const StateDict before = fresh.state_dict();
  TrainOptions o = options("run");
  o.schedule = ScheduleKind::kConstant;
  o.learning_rate = 0.5;
  o.momentum = 0;
  o.weight_decay = 0;
  o.clip_norm = 0.01;
  double norm = 0;
  TrainObserver observer;
  observer.step = [&](const StepInfo& info) { norm = info.gradient_norm; };
  observer.stop_requested = [] { return true; };
  train(o, observer);
  EXPECT_GT(norm, 0.1) << "nothing to clip";
  SmallNet trained(3);
  load_weights(RunFolder(o.out).last(), trained);
  double squares = 0;
  for (const NamedVariable& parameter : trained.named_parameters()) {
    const auto after = parameter.variable.value().to_vector<double>();
    const auto start = std::find_if(before.begin(), before.end(), [&](const NamedTensor& entry) {
                         return entry.name == parameter.name;
                       })->tensor.to_vector<double>();
    for (size_t i = 0; i < after.size(); ++i) squares += std::pow(after[i] - start[i], 2);
  }
  EXPECT_NEAR(std::sqrt(squares), 0.5 * 0.01, 1e-5);
}

TEST_F(Trainer, LabelSmoothingCountsInTheTrainingLossAlone) {
  std::map<double, EpochMetrics> first;
  for (const double smoothing : {0.0, 0.5}) {
    TrainOptions o = options("smoothed by " + std::to_string(smoothing));
    o.label_smoothing = smoothing;
    o.learning_rate = 1e-12;
    o.epochs = 1;
    first[smoothing] = train(o).epochs.at(0);
  }
  EXPECT_GT(std::abs(first[0.0].train_loss - first[0.5].train_loss), 1e-4);
  EXPECT_NEAR(first[0.0].test_loss, first[0.5].test_loss, 1e-6);
}

// Float32 weights, statistics and losses around activations of 16 bits.
TEST_F(Trainer, LearnsInBFloat16WhatItLearnsInFloat32) {
  std::map<std::string, TrainResult> results;
  for (const std::string precision : {"fp32", "bf16"}) {
    TrainOptions o = options(precision);
    o.precision = precision;
    o.epochs = 8;
    results[precision] = train(o);
  }
  const std::vector<EpochMetrics>&wide = results["fp32"].epochs, &narrow = results["bf16"].epochs;
  ASSERT_EQ(narrow.size(), wide.size());
  for (size_t i = 0; i < wide.size(); ++i) {
    EXPECT_NEAR(narrow[i].train_loss, wide[i].train_loss, 0.02);
    EXPECT_NE(narrow[i].train_loss, wide[i].train_loss);
  }
  EXPECT_GE(results["bf16"].best_accuracy, results["fp32"].best_accuracy - 0.01);
  EXPECT_EQ(load_config(RunFolder(runs_ / "bf16").config()).options.precision, "bf16");
  for (const StoredTensor& entry : read_tensor_file(RunFolder(runs_ / "bf16").last()).tensors) {
    EXPECT_NE(entry.type, ElementType::kBFloat16) << entry.name;
  }
}

TEST_F(Trainer, ComputesInBFloat16ByItselfOnlyWhereThatIsQuick) {
  for (const std::string asked : {"auto", "bf16"}) {
    TrainOptions o = options(asked);
    o.precision = asked;
    o.epochs = 1;
    std::vector<std::string> warnings;
    TrainObserver observer;
    observer.begin = [&](const TrainPlan& plan) { warnings = plan.warnings; };
    train(o, observer);
    const bool quick = supports_bfloat16(Device{});
    EXPECT_EQ(load_config(RunFolder(runs_ / asked).config()).options.precision,
              asked == "bf16" || quick ? "bf16" : "fp32");
    const bool warned = std::ranges::any_of(warnings, [](const std::string& warning) {
      return warning.find("bf16") != std::string::npos;
    });
    EXPECT_EQ(warned, asked == "bf16" && !quick);
  }
}

// --- interruptions -------------------------------------------------------------------------------

TEST_F(Trainer, AResumedRunEndsWithTheSameBits) {
  for (const std::string optimizer : {"sgd", "adamw"}) {
    TrainOptions whole = options("whole-" + optimizer);
    whole.optimizer = optimizer;
    whole.precision = optimizer == "sgd" ? "bf16" : "fp32";
    whole.validation_split = 0.2;
    whole.clip_norm = 2;
    whole.keep_epochs = "1,3";
    ASSERT_TRUE(train(whole).finished);

    // Stopped after these steps of the whole run: in the middle of an epoch, at the last step of
    // one, and after the first step of the next.
    TrainOptions o = whole;
    o.out = runs_ / ("halting-" + optimizer);
    int64_t step = 0;
    const std::set<int64_t> stops = {2, 4, 5, 11};
    TrainObserver observer;
    observer.step = [&](const StepInfo& info) { step = (info.epoch - 1) * 4 + info.step; };
    observer.stop_requested = [&] { return stops.contains(step); };
    EXPECT_FALSE(train(o, observer).finished);
    EXPECT_EQ(step, 2);
    for (const int64_t stop : {4, 5, 11}) {
      o.loader_threads = static_cast<int>(stop % 3) + 1;
      step = 0;
      EXPECT_FALSE(train(resumed(o), observer).finished);
      EXPECT_EQ(step, stop);
    }
    o.loader_threads = whole.loader_threads;
    step = 0;
    EXPECT_TRUE(train(resumed(o), observer).finished);
    expect_same_run(whole.out, o.out);
    // Once more, with nothing left to do.
    EXPECT_TRUE(train(resumed(o)).finished);
    expect_same_run(whole.out, o.out);
  }
}

// What a run with a frozen first layer, and a classifier that learns slowly, must have kept.
void expect_frozen_start(const fs::path& run) {
  SmallNet fresh(3);
  initialise(fresh, 0);
  const StateDict before = fresh.state_dict();
  SmallNet trained(3);
  load_weights(RunFolder(run).last(), trained);
  const StateDict after = trained.state_dict();
  for (size_t i = 0; i < before.size(); ++i) {
    EXPECT_EQ(before[i].tensor.to_vector<float>() == after[i].tensor.to_vector<float>(),
              !before[i].name.starts_with("fc."))
        << before[i].name;
  }
}

TEST_F(Trainer, AFrozenStartStaysThroughEpochsAndResumes) {
  TrainOptions whole = options("whole");
  whole.freeze = {"conv1", "bn*"};
  whole.lr_scale = {"*=3", "fc.weight=0.25"};
  TrainPlan plan;
  TrainObserver observer;
  observer.begin = [&](const TrainPlan& p) { plan = p; };
  ASSERT_TRUE(train(whole, observer).finished);
  EXPECT_EQ(plan.rates,
            "3 of 5 tensors frozen (232 of 259 parameters), 1 of 1 batch norms keep their "
            "statistics, 2 of 5 tensors learn at a rate of their own (27 parameters)");
  EXPECT_EQ(plan.warnings.size(), 1U) << "nothing was said of frozen random weights";
  expect_frozen_start(whole.out);

  TrainOptions o = whole;
  o.out = runs_ / "halting";
  int64_t step = 0;
  observer.step = [&](const StepInfo& info) { step = (info.epoch - 1) * 4 + info.step; };
  observer.stop_requested = [&] { return step == 6; };
  EXPECT_FALSE(train(o, observer).finished);
  o.freeze = {};
  o.lr_scale = {};
  step = 0;
  EXPECT_TRUE(train(resumed(o), observer).finished);
  EXPECT_EQ(plan.options.freeze, whole.freeze);
  EXPECT_EQ(plan.options.lr_scale, whole.lr_scale);
  expect_same_run(whole.out, o.out);
}

TEST_F(Trainer, ALearningRateOfItsOwnMovesALayerFurther) {
  const auto moved = [&](const std::string& run, const std::vector<std::string>& lr_scale) {
    TrainOptions o = options(run);
    o.lr_scale = lr_scale;
    o.momentum = 0;
    o.weight_decay = 0;
    o.schedule = ScheduleKind::kConstant;
    TrainObserver observer;
    observer.stop_requested = [] { return true; };
    train(o, observer);
    SmallNet fresh(3), trained(3);
    initialise(fresh, 0);
    load_weights(RunFolder(o.out).last(), trained);
    return sub(trained.fc.weight.value(), fresh.fc.weight.value());
  };
  const Tensor plain = moved("plain", {}), tenfold = moved("tenfold", {"fc.weight=10"});
  EXPECT_TRUE(near_normwise(tenfold, scale(plain, 10), 1e-4));
  EXPECT_TRUE(same_elements(moved("other", {"conv1=10"}), plain));
}

TEST_F(Trainer, ReadsConfigurationsOfEarlierVersions) {
  TrainOptions o = options("run");
  o.freeze = {"conv1"};
  o.lr_scale = {"fc=2"};
  TrainObserver observer;
  observer.stop_requested = [] { return true; };
  train(o, observer);
  const fs::path path = RunFolder(o.out).config();
  EXPECT_EQ(load_config(path).options.freeze, o.freeze);
  EXPECT_EQ(load_config(path).options.lr_scale, o.lr_scale);
  auto config = nlohmann::json::parse(read_file(path));
  EXPECT_EQ(config["freeze"], o.freeze);
  EXPECT_EQ(config["lr_scale"], o.lr_scale);
  config.erase("freeze");
  config.erase("lr_scale");
  config.erase("patience");
  config.erase("stop_by");
  config.erase("decoder");
  config.erase("winograd");
  write_file_atomically(path, config.dump());
  EXPECT_TRUE(load_config(path).options.freeze.empty());
  EXPECT_TRUE(load_config(path).options.lr_scale.empty());
  EXPECT_EQ(load_config(path).options.patience, 0);
  EXPECT_FALSE(load_config(path).options.winograd);
  EXPECT_EQ(load_config(path).options.decoder, "stb") << "the only one there was";
  config.erase("momentum");
  write_file_atomically(path, config.dump());
  EXPECT_THROW(load_config(path), Error) << "a key that every version wrote";
}

// Whole runs on the CUDA device: the GPU, or the host executor.
class DeviceTrainer : public Trainer {
 protected:
  void SetUp() override {
    const std::string why = why_no_device();
    if (!why.empty()) GTEST_SKIP() << why;
    Trainer::SetUp();
  }
  TrainOptions device_options(const std::string& run, const std::string& precision) const {
    TrainOptions o = options(run);
    o.device = kSimulated ? "simt" : "cuda";
    o.precision = precision;
    o.deterministic = true;
    return o;
  }
};

TEST_F(DeviceTrainer, LearnsWhatTheCpuLearns) {
  const TrainResult here = train(options("cpu")), there = train(device_options("device", "fp32"));
  ASSERT_EQ(here.epochs.size(), there.epochs.size());
  for (size_t i = 0; i < here.epochs.size(); ++i) {
    EXPECT_NEAR(there.epochs[i].train_loss, here.epochs[i].train_loss, 1e-3);
    EXPECT_NEAR(there.epochs[i].test_loss, here.epochs[i].test_loss, 1e-2);
  }
  EXPECT_GT(there.best_accuracy, 0.5);
  const RunConfig config = load_config(RunFolder(runs_ / "device").config());
  EXPECT_EQ(config.options.device, kSimulated ? "simt" : "cuda:0");
  EXPECT_EQ(config.options.precision, "fp32");
}

TEST_F(DeviceTrainer, AResumedRunEndsWithTheSameBits) {
  for (const std::string precision : {"fp32", "fp16"}) {
    TrainOptions whole = device_options("whole-" + precision, precision);
    whole.optimizer = precision == "fp32" ? "sgd" : "adamw";
    ASSERT_TRUE(train(whole).finished);
    TrainOptions o = whole;
    o.out = runs_ / ("halting-" + precision);
    int64_t step = 0;
    TrainObserver observer;
    observer.step = [&](const StepInfo& info) { step = (info.epoch - 1) * 4 + info.step; };
    observer.stop_requested = [&] { return step == 6; };
    EXPECT_FALSE(train(o, observer).finished);
    step = 0;
    EXPECT_TRUE(train(resumed(o), observer).finished);
    expect_same_run(whole.out, o.out);
  }
}

TEST_F(DeviceTrainer, AFrozenStartStaysThroughEpochs) {
  for (const bool graph : {true, false}) {
    TrainOptions o = device_options(graph ? "graphed" : "eager", "fp32");
    o.graph = graph;
    o.freeze = {"conv1", "bn1"};
    o.lr_scale = {"fc.weight=0.25"};
    EXPECT_TRUE(train(o).finished);
    expect_frozen_start(o.out);
  }
}

TEST_F(DeviceTrainer, ALossThatIsNoNumberStopsTheRun) {
  TrainOptions o = device_options("spoilt", "fp32");
  o.graph = false;  // this network does something else in its seventh step
  o.factory = [](const std::string&, const ModelOptions& model) {
    return std::make_unique<SpoiltNet>(*model.classes, 6);
  };
  EXPECT_NE(error_of([&] { train(o); }).find("the loss is nan at step"), std::string::npos);
}

// An exception leaves on disk what a kill would: nothing is written on the way out.
TEST_F(Trainer, AKilledRunGoesOnFromItsCheckpoint) {
  struct Kill {};
  const TrainOptions whole = options("whole");
  train(whole);
  const std::vector<std::string> moments = {"begin",    "step 1 3", "test 1", "epoch 1",
                                            "step 2 4", "test 2",   "epoch 3"};
  for (const std::string& moment : moments) {
    TrainOptions o = options("killed at " + moment);
    const auto at = [&](const std::string& now) {
      if (now == moment) throw Kill{};
    };
    int64_t epoch = 0;
    TrainObserver observer;
    observer.begin = [&](const TrainPlan&) { at("begin"); };
    observer.step = [&](const StepInfo& info) {
      epoch = info.epoch;
      at("step " + std::to_string(info.epoch) + " " + std::to_string(info.step));
    };
    observer.evaluating = [&](const std::string& split, int64_t, int64_t) {
      at(split + " " + std::to_string(epoch));
    };
    observer.epoch = [&](const EpochMetrics& m) { at("epoch " + std::to_string(m.epoch)); };
    EXPECT_THROW(train(o, observer), Kill);
    EXPECT_TRUE(train(resumed(o)).finished);
    expect_same_run(whole.out, o.out);
  }
}

// What a kill leaves between any two of the files that the end of an epoch writes.
TEST_F(Trainer, AKillBetweenTwoFilesTearsNoCheckpoint) {
  TrainOptions whole = options("whole");
  whole.keep_epochs = "1,2";
  std::map<int64_t, fs::path> after;  // the folder after each epoch
  TrainObserver observer;
  observer.epoch = [&](const EpochMetrics& m) {
    after[m.epoch] = runs_ / ("after " + std::to_string(m.epoch));
    fs::copy(whole.out, after[m.epoch], fs::copy_options::recursive);
  };
  const TrainResult result = train(whole, observer);
  ASSERT_TRUE(result.epochs[1].best) << "the second epoch must write its best weights too";

  const std::vector<std::string> order = {
      "predictions.npy",  "probabilities.npy",          "true_probabilities.npy",
      "metrics.jsonl",    "last.state-2-0.safetensors", "last.safetensors",
      "best.safetensors", "epoch-2.safetensors"};
  for (size_t written = 0; written <= order.size(); ++written) {
    TrainOptions o = options("torn " + std::to_string(written));
    fs::copy(after[1], o.out, fs::copy_options::recursive);
    for (size_t i = 0; i < written; ++i) {
      fs::copy(after[2] / order[i], o.out / order[i], fs::copy_options::overwrite_existing);
    }
    std::ofstream(o.out / ".glassnet-1-2.tmp") << "half a file";
    int64_t epochs_done = -1;
    TrainObserver looking;
    looking.begin = [&](const TrainPlan& plan) { epochs_done = plan.epochs_done; };
    EXPECT_TRUE(train(resumed(o), looking).finished);
    EXPECT_EQ(epochs_done, written < 6 ? 1 : 2) << written << " files written";
    expect_same_run(whole.out, o.out);
  }
}

TEST_F(Trainer, KeepsTheWeightsOfTheEpochsAskedFor) {
  TrainOptions o = options("run");
  o.epochs = 4;
  o.keep_epochs = "1,every:3";
  TrainPlan plan;
  TrainObserver observer;
  observer.begin = [&](const TrainPlan& p) { plan = p; };
  train(o, observer);
  EXPECT_EQ(plan.kept_epochs, 2);
  const RunFolder run(o.out);
  EXPECT_EQ(run.kept_epochs(), (std::vector<int64_t>{1, 3}));
  const auto kept = static_cast<int64_t>(fs::file_size(run.kept(3)));
  EXPECT_GE(kept, plan.weight_bytes);
  EXPECT_LT(kept, plan.weight_bytes + 8192);
  SmallNet third(3), last(3);
  load_weights(run.kept(3), third);
  load_weights(run.last(), last);
  EXPECT_NE(third.state_dict()[0].tensor.to_vector<float>(),
            last.state_dict()[0].tensor.to_vector<float>());
  EXPECT_EQ(load_config(run.config()).options.keep_epochs, "1,every:3");

  // A run that goes on may keep others from then on.
  for (const char* name : {"epoch-07.safetensors", "epoch-.safetensors", "epoch-5.safetensors.x"}) {
    std::ofstream(o.out / name) << "none of the run's";
  }
  TrainOptions more = resumed(o);
  more.keep_epochs = "all";
  train(more);
  EXPECT_EQ(run.kept_epochs(), (std::vector<int64_t>{1, 3, 4}));
}

TEST(KeepEpochs, AreListsStepsAndAll) {
  EXPECT_EQ(parse_keep_epochs("").count(50), 0);
  EXPECT_EQ(parse_keep_epochs("all").count(50), 50);
  EXPECT_EQ(parse_keep_epochs("every:10").count(50), 5);
  const KeepEpochs keep = parse_keep_epochs("25,1,every:10");
  EXPECT_EQ(keep.count(50), 7);
  EXPECT_TRUE(keep.wants(1) && keep.wants(25) && keep.wants(30) && !keep.wants(24));
  for (const char* text : {"0", "-1", "1,", ",1", "every", "every:", "every:0", "1;2", "none",
                           "1.5", "99999999999999999999"}) {
    EXPECT_THAT(error_of([&] { parse_keep_epochs(text); }), testing::HasSubstr("every:10")) << text;
  }
}

// The order in which the files are really written: each in turn cannot be.
TEST_F(Trainer, AWriteThatFailsLeavesTheCheckpointBefore) {
  const TrainOptions whole = options("whole");
  train(whole);
  for (const std::string name :
       {"predictions.npy", "true_probabilities.npy", "metrics.jsonl", "last.state-2-0.safetensors",
        "last.safetensors", "best.safetensors"}) {
    TrainOptions o = options("without " + name);
    const fs::path blocked = o.out / name, kept = runs_ / ("kept " + name);
    TrainObserver observer;
    observer.epoch = [&](const EpochMetrics& m) {
      if (m.epoch != 1) return;
      if (fs::exists(blocked)) fs::rename(blocked, kept);
      fs::create_directory(blocked);
    };
    const std::string error = error_of([&] { train(o, observer); });
    EXPECT_NE(error.find(name), std::string::npos) << error;
    fs::remove(blocked);
    if (fs::exists(kept)) fs::rename(kept, blocked);

    int64_t epochs_done = -1;
    TrainObserver looking;
    looking.begin = [&](const TrainPlan& plan) { epochs_done = plan.epochs_done; };
    EXPECT_TRUE(train(resumed(o), looking).finished);
    EXPECT_EQ(epochs_done, name == "best.safetensors" ? 2 : 1) << name;
    expect_same_run(whole.out, o.out);
  }
}

TEST_F(Trainer, ALossThatIsNoNumberStopsTheRun) {
  TrainOptions o = options("run");
  o.factory = [](const std::string&, const ModelOptions& model) {
    return std::make_unique<SpoiltNet>(*model.classes, 6);
  };
  const std::string error = error_of([&] { train(o); });
  for (const char* part : {"loss is nan", "step 3 of epoch 2", "learning rate", "--lr"}) {
    EXPECT_NE(error.find(part), std::string::npos) << error;
  }
  SmallNet net(3);
  const auto optimizer = make_sgd(net.named_parameters());
  EXPECT_EQ(load_checkpoint(RunFolder(o.out), net, *optimizer).epochs_done, 1);
  for (const NamedTensor& entry : net.state_dict()) {
    for (const double value : entry.tensor.to_vector<double>()) EXPECT_TRUE(std::isfinite(value));
  }
}

TEST_F(Trainer, StoppedWhilePicturesAreCheckedNothingHasBegun) {
  const TrainOptions o = options("run");
  TrainObserver observer;
  int64_t checked = 0;
  observer.checking = [&](int64_t done, int64_t total) {
    checked = done;
    return done < total;
  };
  observer.begin = [](const TrainPlan&) { FAIL() << "begun"; };
  const TrainResult result = train(o, observer);
  EXPECT_FALSE(result.begun);
  EXPECT_FALSE(result.finished);
  EXPECT_EQ(checked, 3 * (11 + 5));
  EXPECT_FALSE(fs::exists(o.out));
  observer.checking = [](int64_t, int64_t) { return true; };
  observer.begin = {};
  EXPECT_TRUE(train(o, observer).begun);
}

// Nothing of it could be lost, or resumed with what it takes to go well.
TEST_F(Trainer, ARunWithoutACheckpointCanBeStartedAnew) {
  TrainOptions o = options("run");
  o.factory = [](const std::string&, const ModelOptions& model) {
    return std::make_unique<SpoiltNet>(*model.classes, 2);
  };
  EXPECT_THAT(error_of([&] { train(o); }),
              testing::AllOf(testing::HasSubstr("step 3 of epoch 1"),
                             testing::HasSubstr("no checkpoint was written yet"),
                             testing::Not(testing::HasSubstr("is good"))));
  o.factory = options("").factory;
  o.learning_rate = 0.01;
  TrainOptions whole = o;
  whole.out = runs_ / "whole";
  EXPECT_TRUE(train(o).finished);
  EXPECT_TRUE(train(whole).finished);
  expect_same_run(whole.out, o.out);
}

TEST_F(Trainer, LeavesAStrangersConfigurationAlone) {
  TrainOptions o = options("run");
  fs::create_directories(o.out);
  write_file_atomically(o.out / "config.json", "{}");
  EXPECT_THROW(train(o), UsageError);
  EXPECT_EQ(read_file(o.out / "config.json"), "{}");
}

// --- refusals ------------------------------------------------------------------------------------

TEST_F(Trainer, RefusesAFolderThatHoldsARun) {
  TrainOptions o = options("run");
  o.epochs = 1;
  train(o);
  const std::string before = read_file(RunFolder(o.out).last());
  EXPECT_THROW(train(o), UsageError);
  EXPECT_EQ(
      error_of([&] { train(o); }),
      o.out.string() + " already holds a run; add --resume to continue it or choose another --out");
  EXPECT_TRUE(read_file(RunFolder(o.out).last()) == before);
  o.out = runs_ / "none";
  EXPECT_THROW(train(resumed(o)), UsageError);
  EXPECT_FALSE(fs::exists(o.out));
}

TEST_F(Trainer, AResumeKeepsTheRunsOptions) {
  TrainOptions o = options("run");
  o.seed = 5;
  o.learning_rate = 0.02;
  TrainObserver observer;
  observer.stop_requested = [] { return true; };
  train(o, observer);

  TrainOptions plain;
  plain.data = o.data;
  plain.out = o.out;
  plain.resume = true;
  plain.factory = o.factory;
  TrainPlan plan;
  observer.begin = [&](const TrainPlan& p) { plan = p; };
  train(plain, observer);
  EXPECT_EQ(plan.options.seed, 5U);
  EXPECT_EQ(plan.options.learning_rate, 0.02);
  EXPECT_EQ(plan.options.batch_size, 8);

  const auto refusal = [&](auto&& change) {
    TrainOptions other = plain;
    change(other);
    return error_of([&] { train(other, observer); });
  };
  EXPECT_NE(refusal([](TrainOptions& t) {
              t.batch_size = 16;
            }).find("--batch-size 16 differs from the run's 8"),
            std::string::npos);
  EXPECT_NE(refusal([](TrainOptions& t) { t.learning_rate = 0.05; }).find("--lr"),
            std::string::npos);
  EXPECT_NE(refusal([](TrainOptions& t) { t.augment.flip = false; }).find("--augment"),
            std::string::npos);
  EXPECT_NE(refusal([](TrainOptions& t) { t.given = {"seed"}; }).find("--seed 0 differs"),
            std::string::npos)
      << "a default that was asked for by name";
  EXPECT_NE(refusal([](TrainOptions& t) { t.freeze = {"conv1"}; }).find("--freeze [\"conv1\"]"),
            std::string::npos);
  EXPECT_NE(refusal([](TrainOptions& t) { t.lr_scale = {"fc=2"}; }).find("--lr-scale"),
            std::string::npos);
  EXPECT_NE(refusal([](TrainOptions& t) { t.patience = 2; }).find("--patience 2 differs"),
            std::string::npos);
  EXPECT_NE(refusal([](TrainOptions& t) { t.epochs = 9; }).find("one-cycle schedule"),
            std::string::npos);

  draw_class(data_, "test", 1, 6, 32);
  EXPECT_NE(refusal([](TrainOptions&) {}).find("its images or classes are not those"),
            std::string::npos);
}

TEST_F(Trainer, MoreEpochsWhereTheScheduleAllows) {
  TrainOptions whole = options("whole");
  whole.schedule = ScheduleKind::kConstant;
  whole.warmup_epochs = 1;
  train(whole);
  TrainOptions o = whole;
  o.out = runs_ / "longer";
  o.epochs = 2;
  train(o);
  o.epochs = 3;
  o.data = data_.path().lexically_relative(fs::current_path());
  EXPECT_TRUE(train(resumed(o)).finished);
  expect_same_run(whole.out, o.out);
}

TEST_F(Trainer, RefusesOptionsThatMakeNoSense) {
  const double inf = std::numeric_limits<double>::infinity(), nan = std::nan("");
  const std::vector<std::pair<const char*, std::function<void(TrainOptions&)>>> cases = {
      {"--epochs", [](TrainOptions& t) { t.epochs = 0; }},
      {"--batch-size", [](TrainOptions& t) { t.batch_size = 0; }},
      {"--batch-size", [](TrainOptions& t) { t.batch_size = 1; }},
      {"--image-size", [](TrainOptions& t) { t.image_size = 31; }},
      {"--image-size", [](TrainOptions& t) { t.image_size = -1; }},
      {"--validation-split", [](TrainOptions& t) { t.validation_split = 0.95; }},
      {"--validation-split", [&](TrainOptions& t) { t.validation_split = nan; }},
      {"--validation-split", [&](TrainOptions& t) { t.validation_split = 0.01; }},
      {"--patience",
       [](TrainOptions& t) {
         t.patience = -1;
         t.validation_split = 0.3;
       }},
      {"--patience", [](TrainOptions& t) { t.patience = 2; }},
      {"--stop-by", [](TrainOptions& t) { t.given = {"stop_by"}; }},
      {"--optimizer", [](TrainOptions& t) { t.optimizer = "adagrad"; }},
      {"--lr", [](TrainOptions& t) { t.learning_rate = 0; }},
      {"--lr", [&](TrainOptions& t) { t.learning_rate = inf; }},
      {"--lr", [&](TrainOptions& t) { t.learning_rate = nan; }},
      {"--weight-decay", [](TrainOptions& t) { t.weight_decay = -1; }},
      {"--momentum", [](TrainOptions& t) { t.momentum = 1; }},
      {"--freeze",
       [](TrainOptions& t) {
         t.freeze = {"conv1", "layer1"};
       }},
      {"--freeze", [](TrainOptions& t) { t.freeze = {"*"}; }},
      {"--keep-epochs 1,4", [](TrainOptions& t) { t.keep_epochs = "1,4"; }},
      {"--keep-epochs sometimes", [](TrainOptions& t) { t.keep_epochs = "sometimes"; }},
      {"--lr-scale", [](TrainOptions& t) { t.lr_scale = {"layer1=2"}; }},
      {"--lr-scale", [](TrainOptions& t) { t.lr_scale = {"fc"}; }},
      {"--lr-scale", [](TrainOptions& t) { t.lr_scale = {"fc=0"}; }},
      {"--clip-norm", [](TrainOptions& t) { t.clip_norm = -1; }},
      {"--label-smoothing", [](TrainOptions& t) { t.label_smoothing = 1; }},
      {"--warmup-epochs", [](TrainOptions& t) { t.warmup_epochs = 4; }},
      {"--step-epochs", [](TrainOptions& t) { t.step_epochs = 0; }},
      {"--device", [](TrainOptions& t) { t.device = "tpu"; }},
      {"--precision", [](TrainOptions& t) { t.precision = "fp16"; }},
      {"--threads", [](TrainOptions& t) { t.threads = -1; }},
      {"--cache-bytes", [](TrainOptions& t) { t.cache_bytes = -1; }},
  };
  for (const auto& [name, change] : cases) {
    TrainOptions o = options("run");
    change(o);
    EXPECT_THROW(train(o), UsageError) << name;
    EXPECT_TRUE(error_of([&] { train(o); }).starts_with(name)) << error_of([&] { train(o); });
    EXPECT_FALSE(fs::exists(o.out)) << name;
  }
}

TEST_F(Trainer, ABrokenPictureStopsARunBeforeItBegins) {
  data_.write("train/b/broken.png", "\x89PNG\r\n\x1a\nnothing");
  const TrainOptions o = options("run");
  EXPECT_NE(error_of([&] { train(o); }).find("broken.png"), std::string::npos);
  EXPECT_FALSE(fs::exists(o.out));
}

// --- the real thing ------------------------------------------------------------------------------

TEST_F(Trainer, AResNetStartsFromWeightsOfOtherClasses) {
  const auto trained = make_model("resnet18", {.classes = 5});
  initialise(*trained, 77);
  const fs::path file = runs_ / "trained.safetensors";
  save_weights(
      file, *trained,
      {.model = "resnet18", .classes = {"v", "w", "x", "y", "z"}, .mean = {0.5F, 0.5F, 0.5F}});

  TrainOptions o = options("run");
  o.factory = nullptr;
  o.model = "resnet18";
  o.pretrained = file;
  o.learning_rate = 1e-12;
  o.momentum = 0;
  std::vector<std::string> said;
  TrainObserver observer;
  observer.stop_requested = [] { return true; };
  observer.begin = [&](const TrainPlan& plan) { said = plan.warnings; };
  train(o, observer);
  ASSERT_EQ(said.size(), 1U);
  EXPECT_THAT(said[0], testing::HasSubstr("tells 5 classes apart, this data set has 3"));

  const LoadedModel loaded = load_model(o.out);
  EXPECT_EQ(loaded.card.classes.size(), 3U);
  EXPECT_EQ(loaded.card.image_size, 32);
  EXPECT_EQ(loaded.card.mean[0], 0.5F);
  const StateDict from = trained->state_dict(), to = loaded.model->state_dict();
  for (size_t i = 0; i < from.size(); ++i) {
    ASSERT_EQ(from[i].name, to[i].name);
    if (from[i].name == "layer3.1.conv2.weight") {
      const auto a = from[i].tensor.to_vector<float>(), b = to[i].tensor.to_vector<float>();
      for (size_t j = 0; j < a.size(); ++j) ASSERT_NEAR(a[j], b[j], 1e-6);
    }
    if (from[i].name == "fc.weight") {
      EXPECT_EQ(to[i].tensor.shape(), (Shape{3, 512}));
    }
  }
}

TEST_F(Trainer, TheModelIsThatOfThePretrainedWeightsUnlessNamed) {
  const auto trained = make_model("resnet34", {.classes = 3});
  initialise(*trained, 78);
  const fs::path file = runs_ / "trained.safetensors";
  save_weights(file, *trained, {.model = "resnet34", .classes = {"a", "b", "c"}});
  TrainOptions o = options("run");
  o.factory = nullptr;
  o.model = TrainOptions{}.model;
  o.pretrained = file;
  TrainObserver observer;
  observer.stop_requested = [] { return true; };
  observer.begin = [&](const TrainPlan& plan) { EXPECT_TRUE(plan.warnings.empty()); };
  train(o, observer);
  EXPECT_EQ(load_model(o.out).card.model, "resnet34");

  o.out = runs_ / "named";
  o.given = {"model"};
  EXPECT_THAT(error_of([&] { train(o, observer); }), testing::HasSubstr("read as resnet18"));
}

}  // namespace
}  // namespace glassnet
