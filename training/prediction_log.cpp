#include "training/prediction_log.h"

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <optional>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "kernels/error.h"
#include "tensor/file.h"
#include "tensor/npy.h"
#include "training/durable_file.h"

static_assert(std::endian::native == std::endian::little, "elements are written as they lie");

namespace glassnet {
namespace {

namespace fs = std::filesystem;

// One of the three arrays.
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

// Room for the two largest numbers there are, and a multiple of 64, as the format asks for.
constexpr size_t kHeaderBytes = 128;
constexpr std::string_view kShapeKey = "'shape': (";

// Version 1.0 of the .npy format: magic, length of the text, a Python dictionary padded by blanks.
std::string npy_header(const Column& column, int64_t epochs, int64_t images) {
  std::string header("\x93NUMPY\x01\x00", 8);
  const size_t text = kHeaderBytes - header.size() - 2;
  header += {static_cast<char>(text), '\0'};
  header += fmt::format("{{'descr': '{}', 'fortran_order': False, {}{}, {}), }}", column.descr,
                        kShapeKey, epochs, images);
  header.resize(kHeaderBytes - 1, ' ');
  return header + '\n';
}

// How many epochs a header counts; nothing when it is not one of `npy_header`'s.
std::optional<int64_t> epochs_of(std::string_view header, const Column& column, int64_t images) {
  const size_t key = header.find(kShapeKey);
  if (key == std::string_view::npos) return std::nullopt;
  const std::string_view number = header.substr(key + kShapeKey.size());
  int64_t epochs = -1;
  const auto [end, failure] = std::from_chars(number.data(), number.data() + number.size(), epochs);
  if (failure != std::errc{} || epochs < 0 || header != npy_header(column, epochs, images)) {
    return std::nullopt;
  }
  return epochs;
}

int64_t row_bytes(const Column& column, int64_t images) {
  return images * static_cast<int64_t>(column.element);
}

int64_t require_epochs(const fs::path& path, std::string_view header, const Column& column,
                       int64_t images, int64_t size) {
  const auto epochs = epochs_of(header, column, images);
  // By division, since a damaged count may be too large to be multiplied.
  const int64_t held = (size - static_cast<int64_t>(kHeaderBytes)) / row_bytes(column, images);
  require(epochs && *epochs <= held, [&] {
    return fmt::format("{}: expected a prediction log's array of {} images a row", path.string(),
                       images);
  });
  return *epochs;
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
    write_file_atomically(folder / column.name, npy_header(column, 0, count(header)));
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
    DurableFile file(path, DurableFile::Mode::kExisting);
    const int64_t held =
        require_epochs(path, file.read_at(0, kHeaderBytes), column, images, file.size());
    require(held >= epochs, [&] {
      return fmt::format("{}: holds {} epochs, but the checkpoint was made after {}", path.string(),
                         held, epochs);
    });
  }
  for (const Column& column : kColumns) {
    DurableFile file(folder / column.name, DurableFile::Mode::kExisting);
    const std::string header = npy_header(column, epochs, images);
    file.write_at(0, header.data(), header.size());
    file.truncate(static_cast<int64_t>(header.size()) + epochs * row_bytes(column, images));
    file.sync();
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
  each([&](const Column& column, const void* values, size_t size) {
    DurableFile file(folder_ / column.name, DurableFile::Mode::kExisting);
    file.write_at(static_cast<int64_t>(kHeaderBytes) + epochs_ * row_bytes(column, images), values,
                  size * column.element);
    file.sync();
  });
  ++epochs_;
  for (const Column& column : kColumns) {
    DurableFile file(folder_ / column.name, DurableFile::Mode::kExisting);
    const std::string header = npy_header(column, epochs_, images);
    file.write_at(0, header.data(), header.size());
    file.sync();
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
    const int64_t held = require_epochs(path, std::string_view(bytes[i]).substr(0, kHeaderBytes),
                                        kColumns[i], images, static_cast<int64_t>(bytes[i].size()));
    history.epochs = i == 0 ? held : std::min(history.epochs, held);
  }
  const auto rows = [&](size_t i) {
    // A header that counts what all files hold, and no row beyond.
    const int64_t size = history.epochs * row_bytes(kColumns[i], images);
    const std::string array = npy_header(kColumns[i], history.epochs, images) +
                              bytes[i].substr(kHeaderBytes, static_cast<size_t>(size));
    return parse_npy(array, (folder / kColumns[i].name).string());
  };
  history.predicted = rows(0).to_vector<int64_t>();
  history.probability = rows(1).to_vector<float>();
  history.true_probability = rows(2).to_vector<float>();
  return history;
}

}  // namespace glassnet
