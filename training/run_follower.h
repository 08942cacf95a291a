// Following a run that another process writes: what its folder says at each look.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "training/prediction_log.h"
#include "training/run_folder.h"

namespace glassnet {

enum class RunPhase {
  kAwaited,   // there is no run yet
  kTraining,  // a process is at it
  kPaused,    // none is, though epochs are to come: it was stopped or killed
  kFinished,
};

struct RunStatus {
  RunPhase phase = RunPhase::kAwaited;
  int64_t planned = 0;  // epochs of the whole run; 0: not known
  double seconds = 0;   // that the last epoch took; 0: not known
  std::string note;     // a sentence: why the run ended early, or why it cannot be read; else empty
  bool operator==(const RunStatus&) const = default;
};

// CONVENTION: never changes once it is made, so that threads may share it.
struct RunRecord {
  PredictionHistory log;              // without any image before a run has begun
  std::vector<EpochMetrics> metrics;  // (log.epochs); empty where the folder has none
  // (log.epochs + 1): marks[n] stands for classes, images and everything recorded of the first n
  // epochs, as a hash. Where two records have the same mark they have the same epochs.
  std::vector<uint64_t> marks;
};

// Epochs count once all of the run's files have them. A log that was cut back, since its run goes
// on from an earlier checkpoint, is seen as what it holds then; what is half written, not at all.
class RunFollower {
 public:
  explicit RunFollower(std::filesystem::path folder);

  // Reads what has changed since the last look; returns whether that is anything that `record` or
  // `status` tell. Whatever is in the folder, it throws nothing: what stays unreadable becomes the
  // status's note, and the record stays.
  bool look();

  const std::shared_ptr<const RunRecord>& record() const { return record_; }
  const RunStatus& status() const { return status_; }

 private:
  bool read_record();
  RunStatus read_status() const;

  RunFolder folder_;
  std::shared_ptr<const RunRecord> record_;
  RunStatus status_;
  std::string seen_;  // what the files looked like from outside when they were read
  int64_t planned_ = 0;
  int failures_ = 0;  // looks in a row that could not read
  std::string trouble_;
};

}  // namespace glassnet
