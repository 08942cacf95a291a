// A run's folder as a trainer writes it, without a trainer.
#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "tests/data_support.h"
#include "training/options.h"
#include "training/prediction_log.h"
#include "training/run_folder.h"

namespace glassnet::test {

inline std::string contents(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

inline PredictionLogHeader written_header() {
  return {.classes = {"forest", "sea"},
          .split = "test",
          .images = {{"forest/1.png", 0}, {"sea/2.png", 1}, {"sea/<b>.png", 1}}};
}

class WrittenRun {
 public:
  WrittenRun(const std::filesystem::path& folder, int64_t planned,
             const std::filesystem::path& data = "nowhere",
             const PredictionLogHeader& header = written_header())
      : folder_(made(folder)), log_(PredictionLog::create(folder, header)) {
    RunConfig config;
    config.options.data = data;
    config.options.epochs = planned;
    config.options.learning_rate = 0.1;
    config.options.weight_decay = 0;
    config.options.mean = config.options.std = {0.5F, 0.5F, 0.5F};
    config.classes = header.classes;
    save_config(folder_.config(), config);
  }

  // As if epoch `kind` had come; equal kinds are equal to the bit.
  void append(int64_t kind) {
    append_predictions(kind);
    append_metrics(log_.epochs());
  }
  void append_predictions(int64_t kind) {
    std::vector<int64_t> predicted;
    std::vector<float> probability, true_probability;
    for (const LoggedImage& image : log_.header().images) {
      const bool right = (kind + static_cast<int64_t>(predicted.size())) % 3 != 0;
      predicted.push_back(right ? image.true_class : 1 - image.true_class);
      probability.push_back(1 - 1 / static_cast<float>(kind + 2));
      true_probability.push_back(right ? probability.back() : 1 - probability.back());
    }
    log_.append(predicted, probability, true_probability);
  }
  void append_metrics(int64_t epoch, const std::string& stopped = "") {
    const auto e = static_cast<double>(epoch);
    folder_.append_metrics({.epoch = epoch,
                            .train_loss = 1 / e,
                            .train_accuracy = 1 - 1 / (1 + e),
                            .test_loss = 2 / e,
                            .test_accuracy = 0.5,
                            .seconds = 1.5,
                            .stopped = stopped});
  }
  // What a resume does whose checkpoint is of that epoch.
  void cut(int64_t epochs) {
    folder_.cut_metrics(epochs);
    log_ = PredictionLog::resume(folder_.path(), epochs);
  }

 private:
  static RunFolder made(const std::filesystem::path& folder) {
    std::filesystem::create_directories(folder);
    return RunFolder(folder);
  }

  RunFolder folder_;
  PredictionLog log_;
};

}  // namespace glassnet::test
