// The program's commands. Each registers itself with the parser and leaves behind what to run.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "models/weights.h"

namespace glassnet::cli {

// What the parsed command line asks for; it returns the exit code.
using Action = std::function<int()>;

void add_train(CLI::App& app, Action& action);
void add_predict(CLI::App& app, Action& action);
void add_evaluate(CLI::App& app, Action& action);
void add_evolve(CLI::App& app, Action& action);
void add_watch(CLI::App& app, Action& action);
void add_explain(CLI::App& app, Action& action);
void add_report(CLI::App& app, Action& action);
void add_trust(CLI::App& app, Action& action);
void add_scenes(CLI::App& app, Action& action);
void add_summary(CLI::App& app, Action& action);
void add_profile(CLI::App& app, Action& action);
void add_devices(CLI::App& app, Action& action);
void add_weights(CLI::App& app, Action& action);
void add_demo(CLI::App& app, Action& action);

// MODEL and what goes with it, shared by the commands that use a trained network.
struct ModelArguments {
  std::string path;
  std::string name;          // --model, for weights without a card
  std::string classes_file;  // --classes, a name a line
  int image_size = 0;        // --image-size
  std::string decoder = "auto";
};
void add_model_arguments(CLI::App& command, ModelArguments& arguments);
// In evaluation mode, and frozen: explanations need no gradient of a weight. From then on JPEGs are
// decoded as they were when the network was trained, unless --decoder says otherwise; where it or
// the program's build does, a line tells so.
LoadedModel load(const ModelArguments& arguments, Device device = {});

// A network that is looked at but not asked: an architecture by its name, or of a run or weight
// file. Throws UsageError, naming the architectures, when it is none of these.
struct Network {
  std::unique_ptr<Module> model;
  int image_size;        // as asked for, or what is usual
  bool trained = false;  // else its weights are zeros
};
Network network_of(const std::string& model, int image_size = 0,
                   std::optional<int64_t> classes = {});

// Of --decoder.
std::string decoder_help();

// The names in a file, one a line.
std::vector<std::string> read_class_names(const std::string& path);

// --device, --threads and how exactly they compute.
struct DeviceArguments {
  std::string device = "auto";
  int threads = 0;
  bool tf32 = false, winograd = false, deterministic = false;
};
void add_device_arguments(CLI::App& command, DeviceArguments& arguments);
// Binds the choice; throws Error or UsageError when the device cannot be used, and says in a line
// why "auto" did not choose a GPU.
Device use_device(const DeviceArguments& arguments);

// --precision of a network that answers.
void add_precision_argument(CLI::App& command, std::string& precision);
// The element type that `option` names, "fp32", "bf16" or "fp16", for passes on `device`. Throws
// UsageError for fp16 on the CPU, and says in a line that a CPU has no instructions for bf16.
DType use_precision(const std::string& option, const std::string& precision, Device device);

// The class that a user names by its name or its index; throws UsageError with the nearest names.
int64_t class_index(const std::string& name, const std::vector<std::string>& classes);

// "93.1 %"
std::string percent(double share);
// "25,557,032"
std::string grouped(int64_t number);
// "1.5 MiB"
std::string mebibytes(size_t bytes);

// The class that a picture's folder says it has:
// "train/glacier/17.jpg" -> index of "glacier", or -1 when the folder's name is no class.
int64_t class_of_folder(const std::string& path, const std::vector<std::string>& classes);

}  // namespace glassnet::cli
