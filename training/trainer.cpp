#include "training/trainer.h"

#include <omp.h>

#include <chrono>
#include <cmath>
#include <optional>
#include <utility>

#include <fmt/format.h>

#include "data/folder.h"
#include "data/jpeg_decoder.h"
#include "kernels/error.h"
#include "kernels/flush_denormals.h"
#include "kernels/policy.h"
#include "models/weights.h"
#include "tensor/hash.h"
#include "tensor/math.h"
#include "tensor/plan_folder.h"
#include "training/checkpoint.h"
#include "training/evaluator.h"
#include "training/evolution.h"
#include "training/keep_epochs.h"
#include "training/metrics.h"
#include "training/parameter_rates.h"
#include "training/prediction_log.h"
#include "training/train_step.h"

namespace glassnet {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// The number of threads that compute, for as long as it lives.
class ComputeThreads {
 public:
  explicit ComputeThreads(int threads) : before_(omp_get_max_threads()) {
    if (threads > 0) omp_set_num_threads(threads);
  }
  ~ComputeThreads() { omp_set_num_threads(before_); }
  ComputeThreads(const ComputeThreads&) = delete;
  ComputeThreads& operator=(const ComputeThreads&) = delete;

 private:
  int before_;
};

// --- before the first step -----------------------------------------------------------------------

struct Samples {
  std::vector<Sample> train, validation, test;
};

// Of every image's name and class, to notice another data set at a resume.
uint64_t hash_of(const DataSet& data) {
  Fnv1a hash;
  for (const auto* split : {&data.train, &data.test}) {
    for (const Sample& sample : *split) hash.add(fmt::format("{}\t{}\n", sample.id, sample.label));
    hash.add("\n");
  }
  return hash.value();
}

Samples split_samples(const DataSet& data, const TrainOptions& options) {
  Samples samples{.train = data.train, .test = data.test};
  if (options.validation_split > 0) {
    std::tie(samples.train, samples.validation) =
        hold_back(data.train, options.validation_split, options.seed);
    if (samples.validation.empty()) {
      throw UsageError(fmt::format("--validation-split {} holds back none of {} training images",
                                   options.validation_split, data.train.size()));
    }
  }
  require(samples.train.size() >= 2, [&] {
    return fmt::format("{}: expected at least two training images, found {}", options.data.string(),
                       samples.train.size());
  });
  return samples;
}

struct ImageSize {
  int size;
  std::string reason;
};

ImageSize choose_image_size(const std::optional<std::pair<int, int>>& common, int asked,
                            const UsualInput& model) {
  if (asked != 0) return {asked, "as asked for"};
  if (!common) return {model.image_size, "the images differ in size"};
  const auto [height, width] = *common;
  const int shorter = std::min(height, width);
  const std::string all_are = fmt::format("all images are {} x {}", width, height);
  if (shorter > model.image_size) return {model.image_size, all_are};
  return {std::max(shorter, model.smallest_image), all_are};
}

// What activations are computed in, decided: "auto" and a type that the device lacks.
struct Precision {
  DType compute;
  std::string name;  // "bf16"
  std::string note;  // when it is not what was asked for, a sentence
};
Precision choose_precision(const std::string& asked, Device device) {
  const bool on_gpu = device.type == DeviceType::kCuda;
  const bool has_bf16 = supports_bfloat16(device);
  const bool auto_is_fp32 = on_gpu ? kSimulated : !has_bf16;
  if (asked == "fp32" || (asked == "auto" && auto_is_fp32)) return {DType::kFloat32, "fp32", {}};
  if (asked == "fp16" && !on_gpu) {
    throw UsageError("--precision fp16 needs a GPU; the CPU computes in fp32 and bf16");
  }
  if (asked == "fp16") return {DType::kFloat16, "fp16", {}};
  if (!on_gpu) {
    return {DType::kBFloat16, "bf16",
            has_bf16 ? ""
                     : "this CPU has no bf16 instructions: it computes in fp32 and rounds, which "
                       "is no quicker"};
  }
  if (has_bf16) return {DType::kBFloat16, "bf16", {}};
  return {DType::kFloat16, "fp16",
          asked == "auto" ? "" : "this GPU has no bf16 tensor cores; computing in fp16 instead"};
}

// What was left open, decided.
TrainOptions resolved(TrainOptions options, int image_size) {
  const bool sgd = options.optimizer == "sgd";
  options.image_size = image_size;
  if (!options.learning_rate) options.learning_rate = sgd ? 0.05 : 0.001;
  if (!options.weight_decay) {
    options.weight_decay = sgd ? 5e-4 : options.optimizer == "adamw" ? 0.01 : 0.0;
  }
  options.data = fs::absolute(options.data).lexically_normal();
  if (!options.pretrained.empty()) {
    options.pretrained = fs::absolute(options.pretrained).lexically_normal();
  }
  return options;
}

std::unique_ptr<Optimizer> make_optimizer(const TrainOptions& options, const Module& model,
                                          const std::vector<double>& factors) {
  if (options.optimizer == "sgd") {
    return make_sgd(model.named_parameters(), {.momentum = options.momentum,
                                               .nesterov = options.nesterov && options.momentum > 0,
                                               .weight_decay = *options.weight_decay,
                                               .decay = options.decay,
                                               .rate_factors = factors});
  }
  return make_adam(model.named_parameters(), {.weight_decay = *options.weight_decay,
                                              .decoupled = options.optimizer == "adamw",
                                              .decay = options.decay,
                                              .rate_factors = factors});
}

Schedule make_schedule(const TrainOptions& options, int64_t steps_per_epoch) {
  return {.kind = options.schedule,
          .peak = *options.learning_rate,
          .warmup = std::llround(options.warmup_epochs * static_cast<double>(steps_per_epoch)),
          .step_every = options.step_epochs * steps_per_epoch};
}

// Copies trained weights in. A classifier for another number of classes keeps its fresh ones;
// whether that is so is returned.
bool copy_pretrained(const LoadedModel& trained, const fs::path& path, Module& model) {
  bool fresh_classifier = false;
  StateDict from = trained.model->state_dict();
  for (const NamedTensor& own : model.state_dict()) {
    if (!own.name.starts_with("fc.")) continue;
    for (NamedTensor& entry : from) {
      if (entry.name == own.name && entry.tensor.shape() != own.tensor.shape()) {
        entry.tensor = own.tensor;
        fresh_classifier = true;
      }
    }
  }
  try {
    model.load_state_dict(from);
  } catch (const Error& error) {
    throw Error(fmt::format("{}: {}", path.string(), error.what()));
  }
  return fresh_classifier;
}

// A share of `bytes` in proportion to the images.
size_t share_of(int64_t bytes, const Samples& samples, size_t images) {
  const size_t all = samples.train.size() + samples.validation.size() + samples.test.size();
  const double share = static_cast<double>(images) / static_cast<double>(all);
  return static_cast<size_t>(static_cast<double>(bytes) * share);
}

// Where a network computes, and in what.
struct Compute {
  Device device;
  DType type = DType::kFloat32;
  int64_t picture_bytes = 0;  // of a GPU's memory, for pictures that stay there
};

LoaderOptions loader_options(const RunConfig& config, const Compute& compute,
                             const Samples& samples, size_t images) {
  const TrainOptions& options = config.options;
  return {.image_size = options.image_size,
          .fit = options.fit,
          .normalization = config.normalization,
          .batch_size = options.batch_size,
          .seed = options.seed,
          .threads = options.loader_threads,
          .cache_bytes = share_of(options.cache_bytes, samples, images),
          .device = compute.device,
          .dtype = compute.type,
          .device_bytes = share_of(compute.picture_bytes, samples, images)};
}

std::unique_ptr<Loader> training_loader(const RunConfig& config, const Compute& compute,
                                        const Samples& samples) {
  LoaderOptions options = loader_options(config, compute, samples, samples.train.size());
  options.augment = config.options.augment;
  options.shuffle = true;
  options.drop_last = static_cast<int64_t>(samples.train.size()) % options.batch_size == 1;
  return std::make_unique<Loader>(samples.train, options);
}

std::unique_ptr<Loader> evaluation_loader(const RunConfig& config, const Compute& compute,
                                          const Samples& samples,
                                          const std::vector<Sample>& split) {
  if (split.empty()) return nullptr;
  return std::make_unique<Loader>(split, loader_options(config, compute, samples, split.size()));
}

// --- the run -------------------------------------------------------------------------------------

// Higher accuracy, then lower loss; a loss that is no number is the worst.
bool is_better(const Evaluation& evaluation, const RunProgress& progress) {
  if (progress.best_epoch == 0) return true;
  if (evaluation.accuracy != progress.best_accuracy) {
    return evaluation.accuracy > progress.best_accuracy;
  }
  return evaluation.loss < progress.best_loss ||
         (std::isnan(progress.best_loss) && !std::isnan(evaluation.loss));
}

// CONVENTION: made in one piece from options, new or resumed; `go` runs it once.
class Run {
 public:
  Run(const TrainOptions& asked, const TrainObserver& observer)
      : observer_(observer),
        folder_(asked.out),
        options_(options_of(asked, folder_)),
        keep_(parse_keep_epochs(options_.keep_epochs)),
        compute_threads_(options_.threads) {
    data_ = read_data_set(options_.data);
    samples_ = split_samples(data_, options_);
    choose_compute();
    if (asked.resume) {
      lock_.emplace(folder_.path());
      check_same_data();
    } else if (!configure()) {
      return;
    }
    make_network();
    if (asked.resume) {
      open();
    } else {
      create();
    }
    begun_ = true;
  }

  TrainResult go() {
    if (!begun_) return result(false);
    announce();
    while (progress_.epochs_done < options_.epochs && stopped_.empty()) {
      const bool interrupted = !train_epoch();
      if (interrupted) {
        save_checkpoint(folder_, *model_, card_, *optimizer_, progress_);
        return result(false);
      }
      finish_epoch();
      const bool done = progress_.epochs_done == options_.epochs || !stopped_.empty();
      if (stop_requested() && !done) return result(false);
    }
    return result(true);
  }

 private:
  // The run's own options where there is a run to resume.
  TrainOptions options_of(const TrainOptions& asked, const RunFolder& folder) {
    validate(asked);
    if (!asked.resume) {
      require_kept_epochs(asked.keep_epochs, asked.epochs);
      folder.refuse_if_taken();
      return asked;
    }
    std::error_code ignored;
    if (!fs::exists(folder.config(), ignored)) {
      throw UsageError(fmt::format("{} holds no run to continue; leave --resume out to start one",
                                   folder.path().string()));
    }
    config_ = load_config(folder.config());
    const TrainOptions options = resumed_options(asked, config_.options);
    validate(options);
    require_kept_epochs(options.keep_epochs, options.epochs);
    return options;
  }

  void check_same_data() {
    config_.options = options_;
    image_size_reason_ = "as the run was started";
    const bool same = data_.classes == config_.classes && hash_of(data_) == config_.image_list;
    require(same, [&] {
      return fmt::format(
          "{}: its images or classes are not those that the run in {} was started with",
          options_.data.string(), folder_.path().string());
    });
  }

  void choose_compute() {
    const Device device = choose_device(options_.device).device;
    const Precision precision = choose_precision(options_.precision, device);
    // A third of the GPU's free memory; networks take the most of the rest.
    compute_ = {device, precision.compute, static_cast<int64_t>(free_memory(device) / 3)};
    if (!precision.note.empty()) data_.warnings.push_back(precision.note);
    options_.device = device.str();
    options_.precision = precision.name;
    const JpegDecoder decoder = parse_jpeg_decoder(options_.decoder);
    set_jpeg_decoder(decoder);
    options_.decoder = name_of(decoder);
    kernels::set_allow_tf32(options_.tf32);
    kernels::set_allow_winograd(options_.winograd);
    kernels::set_deterministic(options_.deterministic);
    use_plan_folder();
  }

  // False when asked to stop.
  bool configure() {
    if (!options_.pretrained.empty()) {
      const bool open = !options_.given.contains("model") && options_.model == TrainOptions{}.model;
      pretrained_ = load_model(options_.pretrained, {.model = open ? "" : options_.model});
      options_.model = pretrained_->card.model;
      config_.normalization = {.mean = pretrained_->card.mean, .stddev = pretrained_->card.std};
    }
    std::vector<Sample> all = data_.train;
    all.insert(all.end(), data_.test.begin(), data_.test.end());
    const CheckedImages checked = check_images(all, options_.loader_threads, observer_.checking);
    if (!checked.all) return false;
    const ImageSize image_size =
        choose_image_size(checked.common_size, options_.image_size, options_.input());
    image_size_reason_ = image_size.reason;
    options_ = resolved(options_, image_size.size);
    Normalization& normalization = config_.normalization;
    normalization.mean = options_.mean.value_or(normalization.mean);
    normalization.stddev = options_.std.value_or(normalization.stddev);
    options_.mean = normalization.mean;
    options_.std = normalization.stddev;
    config_.options = options_;
    config_.classes = data_.classes;
    config_.train_images = static_cast<int64_t>(samples_.train.size());
    config_.validation_images = static_cast<int64_t>(samples_.validation.size());
    config_.test_images = static_cast<int64_t>(samples_.test.size());
    config_.image_list = hash_of(data_);
    return true;
  }

  void make_network() {
    const ModelOptions model = {.classes = static_cast<int64_t>(config_.classes.size()),
                                .zero_init_residual = options_.zero_init_residual};
    model_ = options_.factory ? options_.factory(options_.model, model)
                              : make_model(options_.model, model);
    initialise(*model_, options_.seed);
    std::error_code ignored;
    if (!options_.pretrained.empty() && !fs::exists(folder_.last(), ignored)) {
      if (!pretrained_) pretrained_ = load_model(options_.pretrained, {.model = options_.model});
      if (copy_pretrained(*pretrained_, options_.pretrained, *model_)) {
        data_.warnings.push_back(fmt::format(
            "{} tells {} classes apart, this data set has {}: the classifier starts afresh",
            options_.pretrained.string(), pretrained_->card.classes.size(),
            config_.classes.size()));
      }
    }
    pretrained_.reset();
    model_->to(compute_.device);
    model_->train();
    const std::vector<double> factors = rate_factors(*model_, options_.freeze, options_.lr_scale);
    freeze(*model_, factors);
    rates_ = describe_rates(*model_, factors);
    if (!options_.freeze.empty() && options_.pretrained.empty()) {
      data_.warnings.emplace_back(
          "what is frozen keeps the random values it starts with; --pretrained gives it trained "
          "ones");
    }
    if (options_.patience > 0 && depends_on_total(options_.schedule)) {
      data_.warnings.push_back(fmt::format(
          "the {} schedule gains most in its last epochs, which --patience may leave out; "
          "--schedule constant and step do not count on them",
          name_of(options_.schedule)));
    }
    config_.parameters = model_->parameter_count();
    card_ = {.model = options_.model,
             .classes = config_.classes,
             .image_size = options_.image_size,
             .fit = name_of(options_.fit),
             .mean = config_.normalization.mean,
             .std = config_.normalization.stddev,
             .decoder = options_.decoder};

    optimizer_ = make_optimizer(options_, *model_, factors);
    step_ =
        std::make_unique<TrainStep>(*model_, *optimizer_,
                                    TrainStepOptions{.label_smoothing = options_.label_smoothing,
                                                     .clip_norm = options_.clip_norm,
                                                     .compute = compute_.type,
                                                     .graph = options_.graph});
    train_ = training_loader(config_, compute_, samples_);
    validation_ = evaluation_loader(config_, compute_, samples_, samples_.validation);
    test_ = evaluation_loader(config_, compute_, samples_, samples_.test);
    schedule_ = make_schedule(options_, train_->batches());
  }

  // The configuration comes last: with it, the folder holds a run.
  void create() {
    folder_.create();
    lock_.emplace(folder_.path());
    folder_.remove_temporary_files();
    PredictionLogHeader header{.classes = data_.classes, .split = data_.test_split};
    for (const Sample& sample : samples_.test) header.images.push_back({sample.id, sample.label});
    log_ = PredictionLog::create(folder_.path(), header);
    save_config(folder_.config(), config_);
  }

  // Everything goes back to where the checkpoint was made.
  void open() {
    folder_.remove_temporary_files();
    progress_ = load_checkpoint(folder_, *model_, *optimizer_);
    if (fs::exists(folder_.last())) step_->set_loss_scale(progress_.loss_scale);
    log_ = PredictionLog::resume(folder_.path(), progress_.epochs_done);
    folder_.cut_metrics(progress_.epochs_done);
    const std::vector<EpochMetrics> epochs = folder_.read_metrics();
    if (!epochs.empty()) stopped_ = epochs.back().stopped;
    if (progress_.epochs_done > 0) {
      const std::vector<int64_t> all = read_prediction_log(folder_.path()).predicted;
      test_predicted_.assign(all.end() - std::ssize(log_->header().images), all.end());
    }
    // A kill between the checkpoint and the best weights, which are then the same.
    const bool last_is_best = progress_.best_epoch == progress_.epochs_done;
    if (last_is_best && progress_.epochs_done > 0 && progress_.steps_done == 0) {
      save_best(folder_, *model_, card_, progress_);
    }
    // Likewise those that are kept.
    if (progress_.epochs_done > 0 && progress_.steps_done == 0) keep(progress_.epochs_done);
    save_config(folder_.config(), config_);
  }

  void keep(int64_t epoch) const {
    if (keep_.wants(epoch)) save_kept(folder_, *model_, card_, epoch);
  }

  void announce() const {
    if (!observer_.begin) return;
    observer_.begin({.options = options_,
                     .classes = config_.classes,
                     .train_images = config_.train_images,
                     .validation_images = config_.validation_images,
                     .test_images = config_.test_images,
                     .image_size_reason = image_size_reason_,
                     .warnings = data_.warnings,
                     .device = options_.device,
                     .parameters = config_.parameters,
                     .rates = rates_,
                     .kept_epochs = keep_.count(options_.epochs),
                     .weight_bytes = weight_bytes(),
                     .steps_per_epoch = train_->batches(),
                     .epochs_done = progress_.epochs_done,
                     .steps_done = progress_.steps_done,
                     .selected_by = selected_by()});
  }

  int64_t weight_bytes() const {
    size_t bytes = 0;
    for (const NamedTensor& entry : model_->state_dict()) bytes += entry.tensor.bytes();
    return static_cast<int64_t>(bytes);
  }

  // The rest of the epoch that is under way; false when asked to stop.
  bool train_epoch() {
    if (progress_.steps_done == train_->batches()) return true;
    train_->start_epoch(progress_.epochs_done, progress_.steps_done);
    auto before = Clock::now();
    std::optional<Batch> batch = train_->next();
    while (batch) {
      StepInfo info = start_step(*batch);
      const auto images = static_cast<int64_t>(batch->indices.size());
      batch = train_->next();  // made ready while a GPU computes
      finish_step(info, images);
      progress_.seconds += seconds_since(std::exchange(before, Clock::now()));
      info.images_per_second = static_cast<double>(progress_.images) / progress_.seconds;
      if (observer_.step) observer_.step(info);
      if (stop_requested()) return false;
    }
    return true;
  }

  StepInfo start_step(const Batch& batch) {
    const int64_t steps = train_->batches();
    StepInfo info{.epoch = progress_.epochs_done + 1,
                  .step = progress_.steps_done + 1,
                  .steps_per_epoch = steps};
    info.learning_rate = learning_rate(
        schedule_, progress_.epochs_done * steps + progress_.steps_done, options_.epochs * steps);
    step_->start(batch, info.learning_rate);
    return info;
  }

  void finish_step(StepInfo& info, int64_t images) {
    const StepOutcome outcome = step_->finish();
    info.loss = outcome.loss;
    info.gradient_norm = outcome.gradient_norm;
    require_finite("loss", info.loss, info);
    // A scaled loss overflows now and then: the step is skipped and the scale halved.
    if (compute_.type != DType::kFloat16) require_finite("gradient", info.gradient_norm, info);

    if (!step_->why_not_graphed().empty() && !told_why_not_graphed_) {
      told_why_not_graphed_ = true;
      if (observer_.warn) {
        observer_.warn(fmt::format("steps run op by op from now on, more slowly: {}",
                                   step_->why_not_graphed()));
      }
    }

    ++progress_.steps_done;
    progress_.images += images;
    progress_.correct += outcome.correct;
    progress_.loss_sum += info.loss * static_cast<double>(images);
    progress_.loss_scale = step_->loss_scale();
    info.epoch_loss = progress_.loss_sum / static_cast<double>(progress_.images);
    info.epoch_accuracy =
        static_cast<double>(progress_.correct) / static_cast<double>(progress_.images);
  }

  // The update has left every weight as it was.
  void require_finite(const char* what, double value, const StepInfo& info) const {
    require(std::isfinite(value), [&] {
      std::error_code ignored;
      const std::string left =
          fs::exists(folder_.last(), ignored)
              ? fmt::format("the last checkpoint in {} is good", folder_.path().string())
              : "no checkpoint was written yet, so --out can stay the same";
      return fmt::format(
          "the {} is {} at step {} of epoch {} (learning rate {:.3g}); try a lower --lr, or "
          "--clip-norm 1; {}",
          what, value, info.step, info.epoch, info.learning_rate, left);
    });
  }

  // Evaluation, logs and checkpoint. The logs come first: a resume cuts them back to the
  // checkpoint.
  void finish_epoch() {
    const auto start = Clock::now();
    std::optional<Evaluation> validation;
    if (validation_) validation = evaluate_split("validation", *validation_);
    const Evaluation test = evaluate_split("test", *test_);
    const Evaluation& selecting = validation ? *validation : test;

    const auto images = static_cast<double>(progress_.images);
    const int64_t steps = train_->batches();
    EpochMetrics metrics{
        .epoch = progress_.epochs_done + 1,
        .train_loss = progress_.loss_sum / images,
        .train_accuracy = static_cast<double>(progress_.correct) / images,
        .test_loss = test.loss,
        .test_accuracy = test.accuracy,
        .learning_rate = learning_rate(schedule_, (progress_.epochs_done + 1) * steps - 1,
                                       options_.epochs * steps),
        .images_per_second = images / progress_.seconds,
        .seconds = progress_.seconds + seconds_since(start),
        .best = is_better(selecting, progress_)};
    if (validation) {
      metrics.validation_loss = validation->loss;
      metrics.validation_accuracy = validation->accuracy;
    }
    add_changes(test, validation, metrics);
    metrics.stopped = why_stop_after(metrics);
    log_->append(test.predicted, test.probability, test.true_probability);
    folder_.append_metrics(metrics);

    RunProgress next{.loss_scale = progress_.loss_scale,
                     .epochs_done = metrics.epoch,
                     .best_epoch = progress_.best_epoch,
                     .best_accuracy = progress_.best_accuracy,
                     .best_loss = progress_.best_loss};
    if (metrics.best) {
      next.best_epoch = metrics.epoch;
      next.best_accuracy = selecting.accuracy;
      next.best_loss = selecting.loss;
    }
    if (validation) next.validation_predicted = validation->predicted;
    test_predicted_ = test.predicted;
    stopped_ = metrics.stopped;
    progress_ = next;
    save_checkpoint(folder_, *model_, card_, *optimizer_, progress_);
    if (metrics.best) save_best(folder_, *model_, card_, progress_);
    keep(metrics.epoch);
    if (observer_.epoch) observer_.epoch(metrics);
  }

  // What changed since the epoch before, and how each class fares.
  void add_changes(const Evaluation& test, const std::optional<Evaluation>& validation,
                   EpochMetrics& metrics) const {
    if (!test_predicted_.empty()) metrics.flux = prediction_flux(test_predicted_, test.predicted);
    if (validation && !progress_.validation_predicted.empty()) {
      metrics.validation_flux =
          prediction_flux(progress_.validation_predicted, validation->predicted);
    }
    const ConfusionMatrix confusion(static_cast<int64_t>(config_.classes.size()), test.true_classes,
                                    test.predicted);
    for (const ClassMetrics& of : classification_metrics(confusion).classes) {
      metrics.test_precision.push_back(of.precision);
      metrics.test_recall.push_back(of.recall);
      metrics.test_f1.push_back(of.f1);
    }
  }

  // Empty when the run goes on, or ends anyway.
  std::string why_stop_after(const EpochMetrics& metrics) const {
    if (metrics.epoch == options_.epochs) return "";
    std::vector<EpochMetrics> epochs = folder_.read_metrics();
    epochs.push_back(metrics);
    return reason_to_stop(epochs, options_.patience, options_.stop_by);
  }

  Evaluation evaluate_split(const char* name, Loader& images) {
    return evaluate(*model_, images, {.progress = [&](int64_t done, int64_t total) {
      if (observer_.evaluating) observer_.evaluating(name, done, total);
    }});
  }

  bool stop_requested() const { return observer_.stop_requested && observer_.stop_requested(); }

  const char* selected_by() const { return validation_ ? "validation" : "test"; }

  TrainResult result(bool finished) const {
    return {.finished = finished,
            .begun = begun_,
            .epochs_done = progress_.epochs_done,
            .epochs_planned = options_.epochs,
            .best_epoch = progress_.best_epoch,
            .best_accuracy = progress_.best_accuracy,
            .best_loss = progress_.best_loss,
            .selected_by = selected_by(),
            .stopped = stopped_,
            .epochs = folder_.read_metrics()};
  }

  const TrainObserver& observer_;
  RunFolder folder_;
  RunConfig config_;
  TrainOptions options_;
  KeepEpochs keep_;
  Compute compute_;
  ComputeThreads compute_threads_;
  kernels::FlushDenormals flush_denormals_;  // made after the threads that it is for
  std::optional<FolderLock> lock_;
  std::string image_size_reason_, rates_;

  DataSet data_;
  Samples samples_;
  std::optional<LoadedModel> pretrained_;
  std::unique_ptr<Module> model_;
  ModelCard card_;
  std::unique_ptr<Optimizer> optimizer_;
  std::unique_ptr<TrainStep> step_;
  Schedule schedule_;
  std::unique_ptr<Loader> train_, validation_, test_;
  std::optional<PredictionLog> log_;
  RunProgress progress_;
  std::vector<int64_t> test_predicted_;  // of the last whole epoch; empty before one
  std::string stopped_;                  // why there is no next epoch
  bool begun_ = false, told_why_not_graphed_ = false;
};

}  // namespace

TrainResult train(const TrainOptions& options, const TrainObserver& observer) {
  return Run(options, observer).go();
}

}  // namespace glassnet
