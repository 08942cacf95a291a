#include "training/evolution_files.h"

#include <cmath>
#include <string>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "tensor/file.h"
#include "training/csv.h"

namespace glassnet {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

// JSON has no word for what is absent or no number but null.
template <class T>
Json or_null(const std::optional<T>& value) {
  return value ? Json(*value) : Json();
}
Json epoch_or_null(int64_t epoch) {
  return epoch > 0 ? Json(epoch) : Json();
}

Json as_json(const std::string& name, const ClassEvolution& of) {
  const auto mean = [&](double value) { return of.images > 0 ? Json(value) : Json(); };
  return {{"class", name},
          {"images", of.images},
          {"frequency", mean(of.frequency)},
          {"variability", mean(of.variability)},
          {"relative_variability", mean(of.relative_variability)},
          {"misclassification_rate", mean(of.misclassification_rate)}};
}

Json as_json(const History& history, const EpochEvolution& of) {
  Json json = {
      {"epoch", of.epoch},        {"name", history.epoch_names[static_cast<size_t>(of.epoch - 1)]},
      {"correct", of.correct},    {"accuracy", of.accuracy},
      {"loss", or_null(of.loss)}, {"changed", or_null(of.changed)},
      {"flux", or_null(of.flux)}};
  for (const ClassMetrics& metrics : class_metrics_at(history, of.epoch).classes) {
    json["predicted"].push_back(metrics.predicted);
    json["precision"].push_back(metrics.precision);
    json["recall"].push_back(metrics.recall);
    json["f1"].push_back(metrics.f1);
  }
  for (const ConfusionCell& cell : confusion_cells_at(history, of.epoch)) {
    json["confusion"].push_back({cell.true_class, cell.predicted, cell.count});
  }
  return json;
}

Json as_json(const HistoryImage& image, int32_t last, const ImageEvolution& of) {
  return {{"id", image.id},
          {"true_class", image.true_class},
          {"last_predicted", last},
          {"changes", of.changes},
          {"frequency", of.frequency},
          {"variability", of.variability},
          {"relative_variability", of.relative_variability},
          {"wrong", of.wrong},
          {"misclassification_rate", of.misclassification_rate},
          {"first_learnt", epoch_or_null(of.first_learnt)},
          {"learnt_for_good", epoch_or_null(of.learnt_for_good)},
          {"forgetting_events", of.forgetting_events},
          {"confidence", or_null(of.confidence)},
          {"confidence_variance", or_null(of.confidence_variance)}};
}

}  // namespace

void write_evolution_json(const History& history, const Evolution& evolution,
                          const std::function<void(std::string_view)>& write) {
  const auto dump = [](const Json& json) {
    return json.dump(-1, ' ', false, Json::error_handler_t::replace);
  };
  const auto write_list = [&](const char* key, size_t count, auto&& item) {
    write(fmt::format(",\n\"{}\": [", key));
    for (size_t i = 0; i < count; ++i) {
      write(i == 0 ? "\n" : ",\n");
      write(dump(item(i)));
    }
    write("]");
  };
  write(fmt::format("{{\"window\": {{\"first\": {}, \"last\": {}}},\n\"classes\": {}",
                    evolution.window.first, evolution.window.last, dump(history.classes)));
  write_list("class_means", evolution.classes.size(),
             [&](size_t c) { return as_json(history.classes[c], evolution.classes[c]); });
  write_list("epochs", evolution.epochs.size(),
             [&](size_t t) { return as_json(history, evolution.epochs[t]); });
  const int32_t* last = history.row(evolution.window.last);
  write_list("images", evolution.images.size(),
             [&](size_t i) { return as_json(history.images[i], last[i], evolution.images[i]); });
  write("}\n");
}

void save_evolution_json(const fs::path& path, const History& history, const Evolution& evolution) {
  AtomicFile file(path);
  write_evolution_json(history, evolution,
                       [&](std::string_view text) { file.write(text.data(), text.size()); });
  file.commit();
}

void save_evolution_csv(const fs::path& path, const History& history, const Evolution& evolution) {
  AtomicFile file(path);
  const auto write = [&](const std::string& text) { file.write(text.data(), text.size()); };
  const auto number = [](const std::optional<double>& value) {
    return value && !std::isnan(*value) ? fmt::format("{}", *value) : std::string();
  };
  const auto epoch = [](int64_t e) { return e > 0 ? fmt::format("{}", e) : std::string(); };
  write(
      "image,true_class,last_predicted,changes,frequency,variability,relative_variability,wrong,"
      "misclassification_rate,first_learnt,learnt_for_good,forgetting_events,confidence,"
      "confidence_variance\n");
  const int32_t* last = history.row(evolution.window.last);
  for (size_t i = 0; i < evolution.images.size(); ++i) {
    const ImageEvolution& of = evolution.images[i];
    const HistoryImage& image = history.images[i];
    const auto name = [&](int32_t c) { return csv_cell(history.classes[static_cast<size_t>(c)]); };
    write(fmt::format("{},{},{},{},{},{},{},{},{},{},{},{},{},{}\n", csv_cell(image.id),
                      name(image.true_class), name(last[i]), of.changes, of.frequency,
                      of.variability, of.relative_variability, of.wrong, of.misclassification_rate,
                      epoch(of.first_learnt), epoch(of.learnt_for_good), of.forgetting_events,
                      number(of.confidence), number(of.confidence_variance)));
  }
  file.commit();
}

}  // namespace glassnet
