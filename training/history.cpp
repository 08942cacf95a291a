#include "training/history.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <system_error>

#include <fmt/format.h>

#include "kernels/error.h"
#include "training/instanceflow.h"
#include "training/prediction_log.h"
#include "training/prediction_table.h"
#include "training/run_folder.h"

namespace glassnet {

namespace fs = std::filesystem;

void validate(const History& history, const std::string& name) {
  const auto classes = static_cast<int64_t>(history.classes.size());
  const size_t images = history.images.size(), epochs = history.epoch_names.size();
  const auto fits = [&](bool holds, const auto& sentence) {
    require(holds, [&] { return fmt::format("{}: {}", name, sentence()); });
  };
  fits(classes > 0 && classes <= kMostClasses,
       [&] { return fmt::format("expected from 1 to {} classes, got {}", kMostClasses, classes); });
  fits(images > 0, [] { return std::string("holds no image"); });
  fits(epochs > 0, [] { return std::string("holds no epoch yet"); });
  fits(history.predicted.size() == epochs * images, [&] {
    return fmt::format("expected {} predictions ({} epochs of {} images), got {}", epochs * images,
                       epochs, images, history.predicted.size());
  });
  for (const auto* list : {&history.probability, &history.true_probability}) {
    fits(list->empty() || list->size() == epochs * images, [&] {
      return fmt::format("expected {} probabilities or none, got {}", epochs * images,
                         list->size());
    });
  }
  fits(history.loss.empty() || history.loss.size() == epochs, [&] {
    return fmt::format("expected {} losses or none, got {}", epochs, history.loss.size());
  });
  for (size_t i = 0; i < images; ++i) {
    const int32_t label = history.images[i].true_class;
    fits(label >= 0 && label < classes, [&] {
      return fmt::format("image {} has class {}, expected one from 0 to {}", i + 1, label,
                         classes - 1);
    });
  }
  for (size_t i = 0; i < history.predicted.size(); ++i) {
    const int32_t label = history.predicted[i];
    fits(label >= 0 && label < classes, [&] {
      return fmt::format("image {} is predicted as class {} in epoch {}, expected one from 0 to {}",
                         i % images + 1, label, i / images + 1, classes - 1);
    });
  }
}

EpochRange resolve(const EpochRange& range, const History& history) {
  const EpochRange chosen{range.first, range.last == 0 ? history.epochs() : range.last};
  if (chosen.first < 1 || chosen.first > chosen.last || chosen.last > history.epochs()) {
    throw UsageError(range.last == 0
                         ? fmt::format("epoch {} is none of the log's, which are 1 to {}",
                                       chosen.first, history.epochs())
                         : fmt::format("epochs {} to {} are none of the log's, which are 1 to {}",
                                       chosen.first, chosen.last, history.epochs()));
  }
  return chosen;
}

History read_run_history(const fs::path& folder) {
  PredictionHistory log = read_prediction_log(folder);
  History history{.classes = std::move(log.header.classes),
                  .probability = std::move(log.probability),
                  .true_probability = std::move(log.true_probability)};
  for (LoggedImage& image : log.header.images) {
    history.images.push_back({image.id, static_cast<int32_t>(image.true_class), image.id});
  }
  for (int64_t epoch = 1; epoch <= log.epochs; ++epoch) {
    history.epoch_names.push_back(fmt::format("{}", epoch));
  }
  // What no int32_t holds is no class either, and stays recognisable.
  constexpr int64_t kNoClass = -1;
  history.predicted.reserve(log.predicted.size());
  for (const int64_t label : log.predicted) {
    const bool fits = label >= 0 && label < kMostClasses;
    history.predicted.push_back(static_cast<int32_t>(fits ? label : kNoClass));
  }
  history.loss.assign(history.epoch_names.size(), std::numeric_limits<double>::quiet_NaN());
  for (const EpochMetrics& metrics : RunFolder(folder).read_metrics()) {
    if (metrics.epoch >= 1 && metrics.epoch <= log.epochs) {
      history.loss[static_cast<size_t>(metrics.epoch - 1)] = metrics.test_loss;
    }
  }
  validate(history, folder.string());
  return history;
}

History read_history(const fs::path& path) {
  std::error_code ignored;
  if (fs::is_directory(path, ignored)) return read_run_history(path);
  std::string ending = path.extension().string();
  std::transform(ending.begin(), ending.end(), ending.begin(),
                 [](unsigned char letter) { return std::tolower(letter); });
  if (ending == ".json") return read_instanceflow(path);
  if (ending == ".csv") return read_prediction_table(path);
  require(fs::exists(path, ignored),
          [&] { return fmt::format("{}: there is no such run or log", path.string()); });
  throw UsageError(fmt::format(
      "{}: expected a run's folder, or a log that ends in .json (InstanceFlow's) or .csv",
      path.string()));
}

}  // namespace glassnet
