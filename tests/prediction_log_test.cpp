// The prediction log and the run folder: what is in the files, and that a kill at any byte leaves
// whole epochs behind.
#include "training/prediction_log.h"

#include <unistd.h>

#include <fstream>
#include <limits>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "tensor/file.h"
#include "tensor/npy.h"
#include "tests/data_support.h"
#include "training/run_folder.h"

namespace glassnet {
namespace {

using test::error_of;
using test::TempFolder;

const PredictionLogHeader kHeader = {
    .classes = {"forest", "sea"},
    .split = "test",
    .images = {{"forest/1.jpg", 0}, {"sea/2.jpg", 1}, {"sea/ä \"3\".jpg", 1}}};

void append(PredictionLog& log, int64_t epoch) {
  const auto e = static_cast<float>(epoch);
  log.append({epoch % 2, 1, 0}, {0.5F + e / 100, 0.75F, 1.0F}, {0.25F, e / 8, 0.0F});
}

void append_bytes(const std::filesystem::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary | std::ios::app) << bytes;
}

TEST(PredictionLog, WritesArraysThatReadAsTheyWereAppended) {
  const TempFolder folder;
  PredictionLog log = PredictionLog::create(folder.path(), kHeader);
  // Eleven epochs, so that the count in the header gains a digit.
  for (int64_t epoch = 0; epoch < 11; ++epoch) append(log, epoch);
  EXPECT_EQ(log.epochs(), 11);

  const Tensor predicted = load_npy(folder / "predictions.npy");
  ASSERT_EQ(predicted.shape(), (Shape{11, 3}));
  EXPECT_EQ(predicted.dtype(), DType::kInt64);
  const Tensor probabilities = load_npy(folder / "probabilities.npy");
  ASSERT_EQ(probabilities.shape(), (Shape{11, 3}));
  EXPECT_EQ(probabilities.dtype(), DType::kFloat32);
  EXPECT_EQ(probabilities.to_vector<float>()[30], 0.6F);
  EXPECT_EQ(load_npy(folder / "true_probabilities.npy").to_vector<float>()[31], 1.25F);

  const PredictionHistory history = read_prediction_log(folder.path());
  EXPECT_EQ(history.header, kHeader);
  EXPECT_EQ(history.epochs, 11);
  EXPECT_EQ(history.predicted, predicted.to_vector<int64_t>());
  EXPECT_EQ(history.probability, probabilities.to_vector<float>());
}

TEST(PredictionLog, NamesTheImages) {
  const TempFolder folder;
  PredictionLog::create(folder.path(), kHeader);
  const auto json = nlohmann::json::parse(read_file(folder / "test_images.json"));
  EXPECT_EQ(json["classes"], nlohmann::json({"forest", "sea"}));
  EXPECT_EQ(json["split"], "test");
  EXPECT_EQ(json["images"][2], nlohmann::json({{"id", "sea/ä \"3\".jpg"}, {"true_class", 1}}));
  const PredictionHistory history = read_prediction_log(folder.path());
  EXPECT_EQ(history.epochs, 0);
  EXPECT_TRUE(history.predicted.empty());
}

// What lies on disk when a process dies while it appends: any number of the bytes of the new rows,
// in any of the files, and any of the headers rewritten.
TEST(PredictionLog, AKillWhileAppendingLeavesWholeEpochs) {
  const TempFolder folder;
  PredictionLog log = PredictionLog::create(folder.path(), kHeader);
  append(log, 0);
  append(log, 1);
  const PredictionHistory before = read_prediction_log(folder.path());
  std::vector<std::pair<std::string, std::string>> old_files, new_files;
  const auto read_all = [&](auto& files) {
    for (const char* name : {"predictions.npy", "probabilities.npy", "true_probabilities.npy"}) {
      files.emplace_back(name, read_file(folder / name));
    }
  };
  read_all(old_files);
  append(log, 2);
  const PredictionHistory after = read_prediction_log(folder.path());
  read_all(new_files);

  const auto expect_whole = [&](int64_t epochs) {
    const PredictionHistory history = read_prediction_log(folder.path());
    EXPECT_EQ(history.epochs, epochs);
    const PredictionHistory& expected = epochs == 3 ? after : before;
    EXPECT_EQ(history.predicted, expected.predicted);
    EXPECT_EQ(history.true_probability, expected.true_probability);
  };
  // Rows come first, file after file.
  for (size_t torn = 0; torn < 3; ++torn) {
    const size_t old_size = old_files[torn].second.size();
    for (size_t size = old_size; size <= new_files[torn].second.size(); ++size) {
      for (size_t i = 0; i < 3; ++i) {
        const size_t rows = i < torn   ? new_files[i].second.size()
                            : i > torn ? old_files[i].second.size()
                                       : size;
        folder.write(old_files[i].first, old_files[i].second.substr(0, 128) +
                                             new_files[i].second.substr(128, rows - 128));
      }
      expect_whole(2);
    }
  }
  // Then headers.
  for (size_t counted = 0; counted <= 3; ++counted) {
    for (size_t i = 0; i < 3; ++i) {
      folder.write(old_files[i].first,
                   (i < counted ? new_files : old_files)[i].second.substr(0, 128) +
                       new_files[i].second.substr(128));
    }
    expect_whole(counted == 3 ? 3 : 2);
  }
}

TEST(PredictionLog, AResumeCutsEveryFileBack) {
  const TempFolder folder;
  {
    PredictionLog log = PredictionLog::create(folder.path(), kHeader);
    for (int64_t epoch = 0; epoch < 4; ++epoch) append(log, epoch);
    append_bytes(folder / "probabilities.npy", "torn");
  }
  PredictionLog log = PredictionLog::resume(folder.path(), 2);
  EXPECT_EQ(log.header(), kHeader);
  EXPECT_EQ(load_npy(folder / "probabilities.npy").shape(), (Shape{2, 3}));
  append(log, 2);
  PredictionHistory history = read_prediction_log(folder.path());
  ASSERT_EQ(history.epochs, 3);
  EXPECT_EQ(history.probability[6], 0.52F);
  EXPECT_EQ(history.probability[3], 0.51F);
  // As if it had never been interrupted.
  const TempFolder other;
  PredictionLog whole = PredictionLog::create(other.path(), kHeader);
  for (int64_t epoch = 0; epoch < 3; ++epoch) append(whole, epoch);
  for (const char* name : {"predictions.npy", "probabilities.npy", "true_probabilities.npy"}) {
    EXPECT_EQ(read_file(folder / name), read_file(other / name)) << name;
  }
}

TEST(PredictionLog, RefusesWhatDoesNotFit) {
  const TempFolder folder;
  PredictionLog log = PredictionLog::create(folder.path(), kHeader);
  append(log, 0);
  EXPECT_THROW(log.append({0, 1}, {1, 1, 1}, {1, 1, 1}), Error);
  EXPECT_EQ(read_prediction_log(folder.path()).epochs, 1) << "a refused append changed the log";
  EXPECT_NE(error_of([&] { PredictionLog::resume(folder.path(), 2); }).find("holds 1 epochs"),
            std::string::npos);
  EXPECT_THROW(PredictionLog::create(folder.path(), {}), Error);

  const std::string array = read_file(folder / "probabilities.npy");
  // A count that the bytes do not bear out, another number of images, no header at all.
  std::string lying = array;
  lying.replace(lying.find("(1, 3)"), 6, "(9, 3)");
  std::string wider = array;
  wider.replace(wider.find("(1, 3)"), 6, "(1, 4)");
  for (const std::string& bytes : {lying, wider, array.substr(0, 60), std::string()}) {
    folder.write("probabilities.npy", bytes);
    const std::string error = error_of([&] { read_prediction_log(folder.path()); });
    EXPECT_NE(error.find("probabilities.npy"), std::string::npos) << error;
    EXPECT_NE(error_of([&] { PredictionLog::resume(folder.path(), 1); }), "");
  }
  folder.write("probabilities.npy", array);
  folder.write("test_images.json", R"({"classes": ["a"], "split": "test", "images": [{"id": 1}]})");
  EXPECT_THROW(read_prediction_log(folder.path()), Error);
  folder.write("test_images.json",
               R"({"classes": ["a"], "split": "test", "images": [{"id": "x", "true_class": 1}]})");
  EXPECT_THROW(read_prediction_log(folder.path()), Error);
}

TEST(RunFolder, MetricsRoundTripExactly) {
  const EpochMetrics metrics{.epoch = 3,
                             .train_loss = 1.0 / 3,
                             .train_accuracy = 0.1,
                             .test_loss = std::numeric_limits<double>::quiet_NaN(),
                             .test_accuracy = 2.0 / 3,
                             .validation_loss = 1e-17,
                             .validation_accuracy = 0.3,
                             .flux = 1.0 / 7,
                             .validation_flux = 0.0,
                             .test_precision = {1.0 / 3, 0},
                             .test_recall = {1, 0.7},
                             .test_f1 = {0.1, 0.2},
                             .learning_rate = 0.05 / 7,
                             .images_per_second = 123.456789,
                             .seconds = 9,
                             .best = true,
                             .stopped = "a \"reason\""};
  const EpochMetrics read = parse_epoch_metrics(to_json(metrics));
  EXPECT_EQ(read.epoch, 3);
  EXPECT_EQ(read.train_loss, metrics.train_loss);
  EXPECT_TRUE(std::isnan(read.test_loss));
  EXPECT_EQ(read.test_accuracy, metrics.test_accuracy);
  EXPECT_EQ(read.validation_loss, metrics.validation_loss);
  EXPECT_EQ(read.validation_accuracy, metrics.validation_accuracy);
  EXPECT_EQ(read.learning_rate, metrics.learning_rate);
  EXPECT_EQ(read.flux, metrics.flux);
  EXPECT_EQ(read.validation_flux, metrics.validation_flux);
  EXPECT_EQ(read.test_precision, metrics.test_precision);
  EXPECT_EQ(read.test_recall, metrics.test_recall);
  EXPECT_EQ(read.test_f1, metrics.test_f1);
  EXPECT_TRUE(read.best);
  EXPECT_EQ(read.stopped, metrics.stopped);
  for (const char* absent : {"validation", "flux", "precision", "stopped"}) {
    EXPECT_EQ(to_json({.epoch = 1}).find(absent), std::string::npos);
  }
  EXPECT_THROW(parse_epoch_metrics("{\"epoch\": 1"), Error);
  EXPECT_THROW(parse_epoch_metrics("{}"), Error);
}

TEST(RunFolder, AppendsReadsAndCutsMetrics) {
  const TempFolder folder;
  const RunFolder run(folder.path());
  EXPECT_FALSE(run.holds_run());
  EXPECT_TRUE(run.read_metrics().empty());
  for (int64_t epoch = 1; epoch <= 3; ++epoch) run.append_metrics({.epoch = epoch});
  EXPECT_TRUE(run.holds_run());
  EXPECT_EQ(run.read_metrics().size(), 3U);
  append_bytes(run.metrics(), "{\"epoch\": 4, \"train_l");
  EXPECT_EQ(run.read_metrics().size(), 3U) << "a torn line was read";
  run.cut_metrics(2);
  EXPECT_EQ(read_file(run.metrics()), to_json({.epoch = 1}) + "\n" + to_json({.epoch = 2}) + "\n");
  EXPECT_THROW(run.create(), UsageError);
}

TEST(RunFolder, IsLockedForOthers) {
  const TempFolder folder;
  {
    const FolderLock lock(folder.path());
    EXPECT_NE(error_of([&] { const FolderLock other(folder.path()); }).find("another process"),
              std::string::npos);
  }
  EXPECT_NO_THROW({ const FolderLock again(folder.path()); });
}

TEST(RunFolder, ClearsWhatAKilledProcessLeft) {
  const TempFolder folder;
  folder.write(".glassnet-12-0.tmp", "half");
  folder.write("notes.tmp", "mine");
  RunFolder(folder.path()).remove_temporary_files();
  EXPECT_FALSE(std::filesystem::exists(folder / ".glassnet-12-0.tmp"));
  EXPECT_TRUE(std::filesystem::exists(folder / "notes.tmp"));
}

}  // namespace
}  // namespace glassnet
