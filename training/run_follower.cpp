#include "training/run_follower.h"

#include <sys/stat.h>

#include <algorithm>
#include <chrono>
#include <exception>
#include <string_view>
#include <system_error>
#include <utility>

#include <fmt/format.h>

#include "kernels/error.h"
#include "tensor/hash.h"
#include "training/options.h"

namespace glassnet {
namespace {

namespace fs = std::filesystem;

constexpr const char* kFiles[] = {"config.json",     "metrics.jsonl",     "test_images.json",
                                  "predictions.npy", "probabilities.npy", "true_probabilities.npy"};
// A file that was touched this recently may be touched again within the same tick of the clock that
// stamps it, and look the same.
constexpr double kUnsettledSeconds = 1;
// What cannot be read at so many looks in a row is not just being written.
constexpr int kPatience = 3;

// What the folder's files look like from outside; empty while a change might not show in it.
std::string appearance(const fs::path& folder) {
  std::string seen;
  timespec newest = {};
  for (const char* name : kFiles) {
    struct stat status = {};
    if (::stat((folder / name).c_str(), &status) != 0) {
      seen += "-;";
      continue;
    }
    seen += fmt::format("{}:{}:{}.{};", status.st_ino, status.st_size, status.st_mtim.tv_sec,
                        status.st_mtim.tv_nsec);
    newest.tv_sec = std::max(newest.tv_sec, status.st_mtim.tv_sec);
  }
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  const double age =
      std::chrono::duration<double>(now).count() - static_cast<double>(newest.tv_sec);
  return age >= 0 && age < 1 + kUnsettledSeconds ? "" : seen;
}

bool is_there(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

template <class T>
std::string_view bytes_of(const std::vector<T>& values, size_t first, size_t count) {
  return {reinterpret_cast<const char*>(values.data() + first), count * sizeof(T)};
}

// The first `epochs` of a log.
void cut(PredictionHistory& log, int64_t epochs) {
  log.epochs = epochs;
  const size_t cells = log.header.images.size() * static_cast<size_t>(epochs);
  log.predicted.resize(cells);
  log.probability.resize(cells);
  log.true_probability.resize(cells);
}

std::vector<uint64_t> marks_of(const PredictionHistory& log,
                               const std::vector<EpochMetrics>& metrics) {
  Fnv1a hash;
  const auto add = [&](std::string_view name) {
    hash.add(fmt::format("{}:", name.size()));
    hash.add(name);
  };
  for (const std::string& name : log.header.classes) add(name);
  for (const LoggedImage& image : log.header.images) {
    add(image.id);
    hash.add(fmt::format("{};", image.true_class));
  }
  std::vector<uint64_t> marks = {hash.value()};
  const size_t images = log.header.images.size();
  for (int64_t epoch = 0; epoch < log.epochs; ++epoch) {
    const size_t first = static_cast<size_t>(epoch) * images;
    hash.add(bytes_of(log.predicted, first, images));
    hash.add(bytes_of(log.probability, first, images));
    hash.add(bytes_of(log.true_probability, first, images));
    if (!metrics.empty()) hash.add(to_json(metrics[static_cast<size_t>(epoch)]));
    marks.push_back(hash.value());
  }
  return marks;
}

RunRecord empty_record() {
  RunRecord record;
  record.marks = marks_of(record.log, record.metrics);
  return record;
}

// 0 where the folder does not say.
int64_t planned_epochs(const RunFolder& folder) {
  try {
    return is_there(folder.config()) ? load_config(folder.config()).options.epochs : 0;
  } catch (const Error&) {
    return 0;
  }
}

RunRecord read(const RunFolder& folder) {
  // A log is begun with its list of images and complete with its last array.
  if (!is_there(folder.path() / "test_images.json") ||
      !is_there(folder.path() / "true_probabilities.npy")) {
    return empty_record();
  }
  RunRecord record;
  record.log = read_prediction_log(folder.path());
  for (const int64_t label : record.log.predicted) {
    require(label >= 0 && label < std::ssize(record.log.header.classes), [&] {
      return fmt::format("{}: predicts class {} of {}", folder.path().string(), label,
                         record.log.header.classes.size());
    });
  }
  // The metrics of an epoch come after its predictions.
  if (is_there(folder.config()) || is_there(folder.metrics())) {
    record.metrics = folder.read_metrics();
    const int64_t epochs = std::min(record.log.epochs, std::ssize(record.metrics));
    record.metrics.resize(static_cast<size_t>(epochs));
    cut(record.log, epochs);
  }
  record.marks = marks_of(record.log, record.metrics);
  return record;
}

}  // namespace

RunFollower::RunFollower(fs::path folder)
    : folder_(std::move(folder)), record_(std::make_shared<RunRecord>(empty_record())) {}

bool RunFollower::look() {
  const bool news = read_record();
  RunStatus status = read_status();
  if (status == status_) return news;
  status_ = std::move(status);
  return true;
}

bool RunFollower::read_record() {
  const std::string seen = appearance(folder_.path());
  if (!seen.empty() && seen == seen_) return false;
  try {
    RunRecord record = read(folder_);
    planned_ = planned_epochs(folder_);
    seen_ = seen;
    failures_ = 0;
    trouble_.clear();
    if (record.marks == record_->marks) return false;
    record_ = std::make_shared<RunRecord>(std::move(record));
    return true;
  } catch (const std::exception& error) {
    // Read while it was written, as a rule.
    if (++failures_ >= kPatience) trouble_ = error.what();
    return false;
  }
}

RunStatus RunFollower::read_status() const {
  RunStatus status{.planned = planned_, .note = trouble_};
  const int64_t epochs = record_->log.epochs;
  std::string ended;
  if (!record_->metrics.empty()) {
    status.seconds = record_->metrics.back().seconds;
    ended = record_->metrics.back().stopped;
  }
  if (FolderLock::held(folder_.path())) {
    status.phase = RunPhase::kTraining;
  } else if (!ended.empty() || (planned_ > 0 && epochs >= planned_)) {
    status.phase = RunPhase::kFinished;
    if (status.note.empty()) status.note = ended;
  } else if (epochs > 0 || folder_.holds_run()) {
    status.phase = RunPhase::kPaused;
  }
  return status;
}

}  // namespace glassnet
