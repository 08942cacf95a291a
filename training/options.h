// Everything that decides what a training does, and how it is kept in a run's config.json.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "data/image.h"
#include "data/loader.h"
#include "models/resnet.h"
#include "training/early_stop.h"
#include "training/optimizer.h"
#include "training/schedule.h"

namespace glassnet {

struct TrainOptions {
  std::filesystem::path data;  // train/ and test/ (or val/ …), a folder a class
  std::filesystem::path out;   // the run's folder, made if need be
  bool resume = false;         // go on with the run in `out`

  std::string model = "resnet18";
  std::filesystem::path pretrained;  // weights to start from; its last layer only if it fits
  bool zero_init_residual = false;

  int64_t epochs = 50;
  int64_t batch_size = 64;
  // 0: the images' own shorter side when all share one size and it is at most what the model was
  // published for (224, for CIFAR's networks 32), else that.
  int image_size = 0;
  Fit fit = Fit::kCrop;
  std::string decoder = "auto";  // of JPEGs: "turbo", "stb", or "auto": data/jpeg_decoder.h
  // Of the input's channels, for values in [0, 1]; unset: what the pretrained weights were made
  // with, else ImageNet's.
  std::optional<std::array<float, 3>> mean, std;
  double validation_split = 0;  // share of the training images, by class, held back: 0 … 0.9
  // Ends the run when this many epochs in a row brought no better `stop_by` on the validation
  // images, which it therefore needs: training/early_stop.h. 0: never.
  int64_t patience = 0;
  StopBy stop_by = StopBy::kLoss;

  std::string optimizer = "sgd";        // "sgd", "adam", "adamw"
  std::optional<double> learning_rate;  // unset: 0.05 with sgd, 0.001 with adam and adamw
  std::optional<double> weight_decay;   // unset: 5e-4 with sgd, 0 with adam, 0.01 with adamw
  Decay decay = Decay::kAll;
  double momentum = 0.9;
  bool nesterov = true;
  // What does not learn and what learns at a multiple of the learning rate, "PATTERN=X":
  // training/parameter_rates.h.
  std::vector<std::string> freeze, lr_scale;
  double clip_norm = 0;  // limit of the gradients' norm; 0: none
  double label_smoothing = 0.05;

  ScheduleKind schedule = ScheduleKind::kOneCycle;
  double warmup_epochs = 0;  // constant, step and cosine
  int64_t step_epochs = 20;  // epochs between drops by 10; step

  // The epochs whose weights are kept, as training/keep_epochs.h has it; empty: none.
  std::string keep_epochs;

  AugmentOptions augment;  // of training images: flips and shifted crops

  uint64_t seed = 0;
  std::string device = "auto";  // as choose_device takes it
  // What is computed in: "fp32", "bf16", on a GPU "fp16" (with a scaled loss), or "auto": bf16
  // where the device multiplies it at speed, else fp32 on the CPU, fp16 on a GPU. Weights, sums:
  // float32.
  std::string precision = "auto";
  bool tf32 = false;           // float32 products of a GPU may be rounded to TF32
  bool winograd = false;       // float32 convolutions of a CPU may go Winograd's way
  bool deterministic = false;  // the same bits each time, on a GPU too
  // Replay steps from a recorded graph where the device can; not for a network of one's own whose
  // `forward` does something else from call to call.
  bool graph = true;
  int threads = 0;         // that compute; 0: all cores
  int loader_threads = 0;  // that decode; 0: the loader's choice
  // Of decoded images kept in memory, those of training and evaluation together.
  int64_t cache_bytes = static_cast<int64_t>(default_cache_bytes());

  // Options that the user named, by their key in config.json ("batch_size"). A resumed run keeps
  // the options it was started with: one that is named here, or is not the default, and differs
  // from the run's is a UsageError. `epochs` may change where the schedule does not depend on their
  // number (constant, step). What the numbers do not hang on may always change: data (the same
  // images elsewhere), keep_epochs, graph, threads, loader_threads, cache_bytes; another number of
  // computing threads may round sums differently in the last bit.
  std::set<std::string> given;

  // How the model is made; empty: make_model.
  std::function<std::unique_ptr<Module>(const std::string& name, const ModelOptions&)> factory;

  // What the model was published for; of one that `factory` makes, what ResNets mostly are.
  UsualInput input() const { return factory ? UsualInput{} : usual_input(model); }
};

// Throws UsageError, a sentence that names the option, for values that make no sense.
void validate(const TrainOptions& options);

// config.json: the options with nothing left open, and what the run was started on.
struct RunConfig {
  TrainOptions options;
  std::vector<std::string> classes;
  int64_t train_images = 0, validation_images = 0, test_images = 0;
  uint64_t image_list = 0;      // a hash of the names and classes of all images
  Normalization normalization;  // of the network's input
  int64_t parameters = 0;
};
void save_config(const std::filesystem::path& path, const RunConfig& config);
// Throws Error, naming the file, for what save_config does not write.
RunConfig load_config(const std::filesystem::path& path);

// The options of a run that is resumed: the run's own, with those of `asked` that may change.
// Throws UsageError, naming the option, where `asked` wants something else.
TrainOptions resumed_options(const TrainOptions& asked, const TrainOptions& run);

}  // namespace glassnet
