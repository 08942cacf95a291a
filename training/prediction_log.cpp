#include "training/prediction_log.h"

#include <algorithm>
#include <array>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "kernels/error.h"
#include "tensor/file.h"
#include "tensor/npy.h"
#include "training/row_array.h"

namespace glassnet {
namespace {

namespace fs = std::filesystem;

// One of the three arrays: a row an epoch.
struct Column {
  const char* name;
  const char* descr;  // NumPy's name of the element type
  size_t element;     // bytes
};
constexpr Column kPredictions = {"predictions.npy", "<i8", 8};
constexpr Column kProbabilities = {"probabilities.npy", "<f4", 4};
constexpr Column kTrueProbabilities = {"true_probabilities.npy", "<f4", 4};
constexpr std::array<Column, 3> kColumns = {kPredictions, kProbabilities, kTrueProbabilities};
constexpr const char* kImages = "test_images.json";

RowForm form_of(const Column& column, int64_t images) {
  return {column.descr, column.element, {images}};
}

PredictionLogHeader read_header(const fs::path& folder) {
  const fs::path path = folder / kImages;
  PredictionLogHeader header;
  try {
    const auto json = nlohmann::json::parse(read_file(path));
    json.at("classes").get_to(header.classes);
    json.at("split").get_to(header.split);
    for (const auto& image : json.at("images")) {
      header.images.push_back(
          {image.at("id").get<std::string>(), image.at("true_class").get<int64_t>()});
    }
  } catch (const nlohmann::json::exception&) {
    throw Error(fmt::format("{}: does not list a run's test images", path.string()));
  }
  require(!header.images.empty(),
          [&] { return fmt::format("{}: lists no images", path.string()); });
  for (const LoggedImage& image : header.images) {
    require(image.true_class >= 0 && image.true_class < static_cast<int64_t>(header.classes.size()),
            [&] {
              return fmt::format("{}: image {} has class {}, expected one of {}", path.string(),
                                 image.id, image.true_class, header.classes.size());
            });
  }
  return header;
}

void write_header(const fs::path& folder, const PredictionLogHeader& header) {
  nlohmann::ordered_json json = {
      {"classes", header.classes}, {"split", header.split}, {"images", nlohmann::json::array()}};
  for (const LoggedImage& image : header.images) {
    json["images"].push_back({{"id", image.id}, {"true_class", image.true_class}});
  }
  // A file name need not be UTF-8, but JSON must.
  write_file_atomically(
      folder / kImages,
      json.dump(1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n");
}

int64_t count(const PredictionLogHeader& header) {
  return static_cast<int64_t>(header.images.size());
}

}  // namespace

PredictionLog PredictionLog::create(const fs::path& folder, const PredictionLogHeader& header) {
  require(!header.images.empty(), [&] {
    return fmt::format("{}: a prediction log needs at least one image", folder.string());
  });
  PredictionLog log;
  log.folder_ = folder;
  log.header_ = header;
  write_header(folder, header);
  for (const Column& column : kColumns) {
    RowArray::create(folder / column.name, form_of(column, count(header)));
  }
  return log;
}

PredictionLog PredictionLog::resume(const fs::path& folder, int64_t epochs) {
  PredictionLog log;
  log.folder_ = folder;
  log.header_ = read_header(folder);
  log.epochs_ = epochs;
  const int64_t images = count(log.header_);
  // All are checked before one is cut.
  for (const Column& column : kColumns) {
    const fs::path path = folder / column.name;
    const int64_t held = RowArray(path, form_of(column, images)).rows();
    require(held >= epochs, [&] {
      return fmt::format("{}: holds {} epochs, but the checkpoint was made after {}", path.string(),
                         held, epochs);
    });
  }
  for (const Column& column : kColumns) {
    RowArray(folder / column.name, form_of(column, images)).truncate(epochs);
  }
  return log;
}

void PredictionLog::append(const std::vector<int64_t>& predicted,
                           const std::vector<float>& probability,
                           const std::vector<float>& true_probability) {
  const int64_t images = count(header_);
  const auto each = [&](auto&& f) {
    f(kPredictions, predicted.data(), predicted.size());
    f(kProbabilities, probability.data(), probability.size());
    f(kTrueProbabilities, true_probability.data(), true_probability.size());
  };
  each([&](const Column& column, const void*, size_t size) {
    require(static_cast<int64_t>(size) == images, [&] {
      return fmt::format("[prediction log] expected {} values for {}, got {}", images, column.name,
                         size);
    });
  });
  each([&](const Column& column, const void* values, size_t) {
    RowArray array(folder_ / column.name, form_of(column, images));
    array.write(epochs_, values);
    array.sync();
  });
  ++epochs_;
  for (const Column& column : kColumns) {
    RowArray(folder_ / column.name, form_of(column, images)).count(epochs_);
  }
}

PredictionHistory read_prediction_log(const fs::path& folder) {
  PredictionHistory history;
  history.header = read_header(folder);
  const int64_t images = count(history.header);
  std::array<std::string, 3> bytes;
  for (size_t i = 0; i < kColumns.size(); ++i) {
    const fs::path path = folder / kColumns[i].name;
    bytes[i] = read_file(path);
    const int64_t held =
        rows_counted(path, std::string_view(bytes[i]).substr(0, kRowArrayHeader),
                     static_cast<int64_t>(bytes[i].size()), form_of(kColumns[i], images));
    history.epochs = i == 0 ? held : std::min(history.epochs, held);
  }
  const auto rows = [&](size_t i) {
    // A header that counts what all files hold, and no row beyond.
    const RowForm form = form_of(kColumns[i], images);
    const auto size = static_cast<size_t>(history.epochs * form.bytes());
    const std::string array =
        row_array_header(form, history.epochs) + bytes[i].substr(kRowArrayHeader, size);
    return parse_npy(array, (folder / kColumns[i].name).string());
  };
  history.predicted = rows(0).to_vector<int64_t>();
  history.probability = rows(1).to_vector<float>();
  history.true_probability = rows(2).to_vector<float>();
  return history;
}

}  // namespace glassnet
