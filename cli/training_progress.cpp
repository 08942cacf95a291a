#include "cli/training_progress.h"

#include <fmt/format.h>

#include "cli/command.h"
#include "cli/output.h"

namespace glassnet::cli {

TrainObserver TrainingProgress::observer() {
  TrainObserver observer;
  observer.checking = [this](int64_t done, int64_t total) {
    images("checking pictures", done, total);
    return true;
  };
  observer.begin = [this](const TrainPlan& plan) { begin(plan); };
  observer.step = [this](const StepInfo& info) { step(info); };
  observer.evaluating = [this](const std::string& split, int64_t done, int64_t total) {
    images(split, done, total);
  };
  observer.warn = [](const std::string& sentence) { say(sentence); };
  observer.epoch = [this](const EpochMetrics& metrics) { epoch(metrics); };
  return observer;
}

void TrainingProgress::begin(const TrainPlan& plan) {
  epochs_ = plan.options.epochs;
  for (const std::string& warning : plan.warnings) say(warning);
  if (form_ == kJson) return;
  std::string held_back;
  if (plan.validation_images > 0)
    held_back = fmt::format(", {} validation", plan.validation_images);
  fmt::print("{} classes, {} training{} and {} test images\n", plan.classes.size(),
             plan.train_images, held_back, plan.test_images);
  fmt::print("{} with {} parameters at {} px ({}), computing on {} in {}\n", plan.options.model,
             plan.parameters, plan.options.image_size, plan.image_size_reason, plan.device,
             plan.options.precision);
  if (!plan.rates.empty()) fmt::print("{}\n", plan.rates);
  if (plan.kept_epochs > 0) {
    fmt::print("the weights of {} epoch{} are kept, {} each, {} in all\n", plan.kept_epochs,
               plan.kept_epochs == 1 ? "" : "s", mebibytes(static_cast<size_t>(plan.weight_bytes)),
               mebibytes(static_cast<size_t>(plan.kept_epochs * plan.weight_bytes)));
  }
  if (plan.epochs_done > 0 || plan.steps_done > 0) {
    fmt::print("going on after epoch {}{}\n", plan.epochs_done,
               plan.steps_done > 0 ? fmt::format(" and {} steps", plan.steps_done) : "");
  }
  std::fflush(stdout);
}

void TrainingProgress::show(const std::string& label, int64_t total, const std::string& unit) {
  // In a log that nobody watches, the line at an epoch's end says it all.
  if (bar_ && label == label_) return;
  bar_.reset();
  bar_ = std::make_unique<Progress>(label, total, ProgressOptions{.unit = unit});
  label_ = label;
}

void TrainingProgress::step(const StepInfo& info) {
  if (form_ == kJson) return;
  show(fmt::format("epoch {}/{}", info.epoch, epochs_), info.steps_per_epoch, "steps");
  bar_->update(info.step, fmt::format("loss {:.3f}  accuracy {}", info.epoch_loss,
                                      percent(info.epoch_accuracy)));
}

void TrainingProgress::images(const std::string& label, int64_t done, int64_t total) {
  if (form_ == kJson) return;
  if (done == total) {
    bar_.reset();
    return;
  }
  show(label, total, "images");
  bar_->update(done);
}

void TrainingProgress::epoch(const EpochMetrics& metrics) {
  bar_.reset();
  if (form_ == kJson) {
    fmt::print("{}\n", to_json(metrics));
  } else {
    std::string validation;
    if (metrics.validation_accuracy) {
      validation = fmt::format("  validation {:.3f} {:>7}", *metrics.validation_loss,
                               percent(*metrics.validation_accuracy));
    }
    // As wide in the first epoch, which has none.
    const std::string flux =
        metrics.flux ? fmt::format("flux {:>7}", percent(*metrics.flux)) : std::string(12, ' ');
    fmt::print("epoch {:>3}/{}  train {:.3f} {:>7}{}  test {:.3f} {:>7}  {}  {:.0f} images/s{}\n",
               metrics.epoch, epochs_, metrics.train_loss, percent(metrics.train_accuracy),
               validation, metrics.test_loss, percent(metrics.test_accuracy), flux,
               metrics.images_per_second, metrics.best ? "  best" : "");
  }
  std::fflush(stdout);
}

void TrainingProgress::finish() {
  bar_.reset();
}

}  // namespace glassnet::cli
