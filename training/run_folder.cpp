#include "training/run_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <limits>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "kernels/error.h"
#include "tensor/file.h"
#include "training/durable_file.h"

namespace glassnet {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr std::string_view kKeptPrefix = "epoch-", kKeptSuffix = ".safetensors";

// JSON knows no NaN: a number that is not one is null.
double number(const Json& line, const char* key) {
  const Json& value = line.at(key);
  return value.is_null() ? std::numeric_limits<double>::quiet_NaN() : value.get<double>();
}

std::optional<double> optional_number(const Json& line, const char* key) {
  if (!line.contains(key)) return std::nullopt;
  return number(line, key);
}

}  // namespace

std::string to_json(const EpochMetrics& metrics) {
  Json line = {
      {"epoch", metrics.epoch},
      {"train_loss", metrics.train_loss},
      {"train_accuracy", metrics.train_accuracy},
      {"test_loss", metrics.test_loss},
      {"test_accuracy", metrics.test_accuracy},
  };
  if (metrics.validation_loss) line["validation_loss"] = *metrics.validation_loss;
  if (metrics.validation_accuracy) line["validation_accuracy"] = *metrics.validation_accuracy;
  if (metrics.flux) line["flux"] = *metrics.flux;
  if (metrics.validation_flux) line["validation_flux"] = *metrics.validation_flux;
  if (!metrics.test_precision.empty()) line["test_precision"] = metrics.test_precision;
  if (!metrics.test_recall.empty()) line["test_recall"] = metrics.test_recall;
  if (!metrics.test_f1.empty()) line["test_f1"] = metrics.test_f1;
  line["learning_rate"] = metrics.learning_rate;
  line["images_per_second"] = metrics.images_per_second;
  line["seconds"] = metrics.seconds;
  line["best"] = metrics.best;
  if (!metrics.stopped.empty()) line["stopped"] = metrics.stopped;
  return line.dump();
}

EpochMetrics parse_epoch_metrics(const std::string& line) {
  try {
    const Json json = Json::parse(line);
    return {.epoch = json.at("epoch").get<int64_t>(),
            .train_loss = number(json, "train_loss"),
            .train_accuracy = number(json, "train_accuracy"),
            .test_loss = number(json, "test_loss"),
            .test_accuracy = number(json, "test_accuracy"),
            .validation_loss = optional_number(json, "validation_loss"),
            .validation_accuracy = optional_number(json, "validation_accuracy"),
            .flux = optional_number(json, "flux"),
            .validation_flux = optional_number(json, "validation_flux"),
            .test_precision = json.value("test_precision", std::vector<double>{}),
            .test_recall = json.value("test_recall", std::vector<double>{}),
            .test_f1 = json.value("test_f1", std::vector<double>{}),
            .learning_rate = number(json, "learning_rate"),
            .images_per_second = number(json, "images_per_second"),
            .seconds = number(json, "seconds"),
            .best = json.at("best").get<bool>(),
            .stopped = json.value("stopped", std::string())};
  } catch (const nlohmann::json::exception&) {
    throw Error(fmt::format("expected the metrics of an epoch as a JSON object, got: {}",
                            line.substr(0, 100)));
  }
}

FolderLock::FolderLock(const fs::path& folder) {
  descriptor_ = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  // Again where another process only asks, for which it has to share the lock for an instant.
  for (int attempt = 0; attempt < 5; ++attempt) {
    // Some network file systems know no locks; there the user takes care.
    if (descriptor_ < 0 || ::flock(descriptor_, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK) {
      return;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  ::close(descriptor_);
  throw Error(fmt::format("{}: another process is writing here; wait for its end or stop it",
                          folder.string()));
}

FolderLock::~FolderLock() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

bool FolderLock::held(const fs::path& folder) {
  const int descriptor = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) return false;
  const bool refused = ::flock(descriptor, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
  ::close(descriptor);
  return refused;
}

fs::path RunFolder::kept(int64_t epoch) const {
  return path_ / fmt::format("{}{}{}", kKeptPrefix, epoch, kKeptSuffix);
}

std::vector<int64_t> RunFolder::kept_epochs() const {
  std::vector<int64_t> epochs;
  std::error_code ignored;
  for (fs::directory_iterator it(path_, ignored), end; !ignored && it != end;
       it.increment(ignored)) {
    const std::string name = it->path().filename().string();
    int64_t epoch = 0;
    const char* digits = name.data() + std::min(kKeptPrefix.size(), name.size());
    std::from_chars(digits, name.data() + name.size(), epoch);
    // Of all spellings of a number only its own: no epoch-07.
    if (epoch > 0 && name == kept(epoch).filename()) epochs.push_back(epoch);
  }
  std::ranges::sort(epochs);
  return epochs;
}

bool RunFolder::holds_run() const {
  for (const fs::path& path : {config(), metrics(), last(), best()}) {
    std::error_code ignored;
    if (fs::exists(path, ignored)) return true;
  }
  return false;
}

bool RunFolder::is_taken() const {
  std::error_code none;
  if (fs::exists(last(), none) || fs::exists(best(), none)) return true;
  const auto logged = fs::file_size(metrics(), none);
  if (!none && logged > 0) return true;
  // A run's configuration is written after its log of predictions: alone, it is something else's.
  return fs::exists(config(), none) && !fs::exists(test_images(), none);
}

void RunFolder::refuse_if_taken() const {
  if (!is_taken()) return;
  throw UsageError(
      fmt::format("{} already holds a run; add --resume to continue it or choose another --out",
                  path_.string()));
}

void RunFolder::create() const {
  refuse_if_taken();
  std::error_code error;
  fs::create_directories(path_, error);
  require(fs::is_directory(path_), [&] {
    return fmt::format("{}: the run's folder cannot be made: {}", path_.string(),
                       error ? error.message() : "something else has its name");
  });
}

void RunFolder::append_metrics(const EpochMetrics& metrics) const {
  const std::string line = to_json(metrics) + "\n";
  DurableFile file(this->metrics(), DurableFile::Mode::kCreate);
  file.write_at(file.size(), line.data(), line.size());
  file.sync();
}

std::vector<EpochMetrics> RunFolder::read_metrics() const {
  std::vector<EpochMetrics> result;
  std::error_code ignored;
  if (!fs::exists(metrics(), ignored)) return result;
  const std::string text = read_file(metrics());
  size_t begin = 0;
  for (size_t end; (end = text.find('\n', begin)) != std::string::npos; begin = end + 1) {
    try {
      result.push_back(parse_epoch_metrics(text.substr(begin, end - begin)));
    } catch (const Error& error) {
      throw Error(
          fmt::format("{}: line {}: {}", metrics().string(), result.size() + 1, error.what()));
    }
  }
  return result;
}

void RunFolder::cut_metrics(int64_t epochs) const {
  std::error_code ignored;
  if (!fs::exists(metrics(), ignored)) return;
  std::string kept;
  for (const EpochMetrics& line : read_metrics()) {
    if (line.epoch <= epochs) kept += to_json(line) + "\n";
  }
  write_file_atomically(metrics(), kept);
}

void RunFolder::remove_temporary_files() const {
  std::error_code ignored;
  for (fs::directory_iterator it(path_, ignored), end; !ignored && it != end;
       it.increment(ignored)) {
    const std::string name = it->path().filename().string();
    std::error_code failed;
    if (name.starts_with(".glassnet-") && name.ends_with(".tmp")) fs::remove(it->path(), failed);
  }
}

}  // namespace glassnet
