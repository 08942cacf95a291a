// Training as it goes, on the terminal: what `train` and `demo` print.
#pragma once

#include <memory>

#include "report/terminal.h"
#include "training/trainer.h"

namespace glassnet::cli {

class TrainingProgress {
 public:
  enum Form { kText, kJson };
  explicit TrainingProgress(Form form) : form_(form) {}

  // Its `checking` never asks to stop.
  TrainObserver observer();
  void finish();

 private:
  void show(const std::string& label, int64_t total, const std::string& unit);
  void begin(const TrainPlan& plan);
  void step(const StepInfo& info);
  void images(const std::string& label, int64_t done, int64_t total);
  void epoch(const EpochMetrics& metrics);

  Form form_;
  int64_t epochs_ = 0;
  std::unique_ptr<Progress> bar_;
  std::string label_;
};

}  // namespace glassnet::cli
