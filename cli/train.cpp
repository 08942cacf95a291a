#include <unistd.h>
#include <csignal>

#include <array>
#include <atomic>
#include <string_view>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include "cli/command.h"
#include "cli/output.h"
#include "cli/training_progress.h"
#include "cli/watch.h"
#include "report/terminal.h"
#include "training/trainer.h"

namespace glassnet::cli {
namespace {

std::atomic<bool> stop_requested{false}, begun{false};

// The first signal asks for an end after the current step, the second ends at once.
extern "C" void request_stop(int) {
  if (stop_requested.exchange(true)) _exit(130);
  constexpr std::string_view kSaves =
      "\nglassnet: finishing this step and saving; press Ctrl-C again to end at once\n";
  constexpr std::string_view kEnds = "\nglassnet: stopping\n";
  const std::string_view note = begun ? kSaves : kEnds;
  [[maybe_unused]] const auto written = write(STDERR_FILENO, note.data(), note.size());
}

struct Arguments {
  TrainOptions options;
  DeviceArguments device;
  std::string fit = "crop", schedule, decay = "all", augment = "flip,shift", stop_by;
  double learning_rate = 0, weight_decay = 0;
  std::vector<float> mean, std;  // three or none
  bool json = false;
  bool watch = false;
  int port = kWatchPort;
};

// As a shell takes it for one word.
std::string quoted(const std::string& word) {
  constexpr const char* kPlain =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=.,:@%/";
  if (!word.empty() && word.find_first_not_of(kPlain) == std::string::npos) return word;
  std::string result = "'";
  for (const char letter : word) {
    if (letter == '\'') {
      result += "'\\''";
    } else {
      result += letter;
    }
  }
  return result + "'";
}

// Which options the user named, by their key in config.json: "--batch-size" is "batch_size".
std::set<std::string> given_options(const CLI::App& command) {
  std::set<std::string> given;
  for (const CLI::Option* option : command.get_options()) {
    if (option->count() == 0) continue;
    std::string name = option->get_single_name();
    for (char& letter : name) {
      if (letter == '-') letter = '_';
    }
    given.insert(name == "lr" ? "learning_rate" : name);
  }
  return given;
}

int run(Arguments& arguments, const CLI::App& command) {
  TrainOptions& options = arguments.options;
  options.given = given_options(command);
  const auto channels = [](const std::vector<float>& values) {
    return std::array<float, 3>{values[0], values[1], values[2]};
  };
  if (!arguments.mean.empty()) options.mean = channels(arguments.mean);
  if (!arguments.std.empty()) options.std = channels(arguments.std);
  options.fit = parse_fit(arguments.fit);
  options.schedule = parse_schedule(arguments.schedule);
  options.augment = parse_augment(arguments.augment);
  options.stop_by = parse_stop_by(arguments.stop_by);
  options.decay = arguments.decay == "matrices" ? Decay::kMatrices : Decay::kAll;
  // Before any thread is started, and before hours of training if the port is taken.
  if (arguments.watch) {
    const Descriptor listener = listen_on_loopback(arguments.port);
    watch_beside(options.out, listener);
    say(fmt::format("watch it at http://127.0.0.1:{}/", port_of(listener)));
  }
  use_device(arguments.device);
  options.device = arguments.device.device;
  options.tf32 = arguments.device.tf32;
  options.winograd = arguments.device.winograd;
  options.deterministic = arguments.device.deterministic;
  options.threads = arguments.device.threads;
  if (options.given.contains("learning_rate")) options.learning_rate = arguments.learning_rate;
  if (options.given.contains("weight_decay")) options.weight_decay = arguments.weight_decay;

  struct sigaction handler {};
  handler.sa_flags = SA_RESTART;
  handler.sa_handler = request_stop;
  sigaction(SIGINT, &handler, nullptr);
  sigaction(SIGTERM, &handler, nullptr);

  TrainingProgress progress(arguments.json ? TrainingProgress::kJson : TrainingProgress::kText);
  TrainObserver observer = progress.observer();
  observer.stop_requested = [] { return stop_requested.load(); };
  observer.checking = [show = observer.checking](int64_t done, int64_t total) {
    return show(done, total) && !stop_requested;
  };
  observer.begin = [show = observer.begin](const TrainPlan& plan) {
    begun = true;
    show(plan);
  };
  const TrainResult result = train(options, observer);
  progress.finish();

  const std::string run = options.out.string();
  if (!result.begun) {
    say("stopped before the training began; nothing was written");
    return 130;
  }
  if (!result.finished) {
    say(fmt::format("stopped after {} of {} epochs; to go on: glassnet train {} --out {} --resume",
                    result.epochs_done, result.epochs_planned, quoted(options.data.string()),
                    quoted(run)));
    return 130;
  }
  if (!arguments.json) {
    if (!result.stopped.empty()) {
      fmt::print("ended early, after epoch {}: {}\n", result.epochs_done, result.stopped);
    }
    fmt::print(
        "best epoch {} by {} accuracy: {}, loss {:.4f}; its weights are {}/best.safetensors\n",
        result.best_epoch, result.selected_by, percent(result.best_accuracy), result.best_loss,
        run);
  }
  return 0;
}

}  // namespace

void add_train(CLI::App& app, Action& action) {
  CLI::App* command =
      app.add_subcommand("train", "Train a residual network on a folder of images.");
  command->footer(
      "DATA holds train/ and test/ (or val/, or Kaggle's seg_train/seg_train and\n"
      "seg_test/seg_test), a folder a class.\n\n"
      "Examples:\n"
      "  glassnet train photos --model resnet18 --image-size 96 --epochs 12 --out run\n"
      "  glassnet train photos --pretrained run --freeze 'layer*' --lr-scale fc=2 --out tuned\n"
      "  glassnet train photos --out run --watch\n"
      "  glassnet train photos --out run --resume");
  auto arguments = std::make_shared<Arguments>();
  Arguments& a = *arguments;
  TrainOptions& o = a.options;
  a.schedule = name_of(o.schedule);
  a.stop_by = name_of(o.stop_by);

  command->add_option("DATA", o.data, "folder of images")->required();
  command->add_option("--out", o.out, "the run's folder")->required();
  command->add_flag("--resume", o.resume, "go on with the run in --out");
  command->add_flag("--json", a.json, "print a JSON object an epoch");
  CLI::Option* watch = command->add_flag(
      "--watch", a.watch, "serve the run's page to browsers on this machine while it is trained");
  command->add_option("--port", a.port, "of --watch; 0 takes a free one")
      ->check(CLI::Range(0, 65535))
      ->needs(watch)
      ->capture_default_str();

  const std::string network = "Network";
  command
      ->add_option("--pretrained", o.pretrained,
                   "weight file to start from (.safetensors, .pth); its classifier only where it "
                   "fits")
      ->group(network);
  command
      ->add_option("--model", o.model,
                   "architecture (default: that of --pretrained, else resnet18)")
      ->group(network);
  command
      ->add_flag("--zero-init-residual", o.zero_init_residual, "start every block as the identity")
      ->group(network);
  command
      ->add_option("--image-size", o.image_size,
                   "side of the network's input (default: the images' own up to the model's usual "
                   "size, else that: 224, for CIFAR's networks 32)")
      ->group(network);
  command->add_option("--fit", a.fit, "how pictures become square: crop, squash")
      ->capture_default_str()
      ->group(network);

  command->add_option("--decoder", o.decoder, decoder_help())
      ->capture_default_str()
      ->group(network);
  command
      ->add_option("--mean", a.mean,
                   "of red, green and blue in [0, 1], taken from the input (default: ImageNet's)")
      ->delimiter(',')
      ->expected(3)
      ->group(network);
  command->add_option("--std", a.std, "that the input is divided by then (default: ImageNet's)")
      ->delimiter(',')
      ->expected(3)
      ->group(network);

  const std::string optimization = "Optimization";
  command->add_option("--epochs", o.epochs, "passes over the training images")
      ->capture_default_str()
      ->group(optimization);
  command->add_option("--batch-size", o.batch_size, "images a step")
      ->capture_default_str()
      ->group(optimization);
  command->add_option("--optimizer", o.optimizer, "sgd, adam, adamw")
      ->capture_default_str()
      ->group(optimization);
  command
      ->add_option("--lr", a.learning_rate,
                   "peak learning rate (default: 0.05 with sgd, 0.001 with adam and adamw)")
      ->group(optimization);
  command->add_option("--schedule", a.schedule, "constant, step, cosine, one-cycle")
      ->capture_default_str()
      ->group(optimization);
  command->add_option("--warmup-epochs", o.warmup_epochs, "of constant, step and cosine")
      ->capture_default_str()
      ->group(optimization);
  command->add_option("--step-epochs", o.step_epochs, "epochs between drops by 10, of step")
      ->capture_default_str()
      ->group(optimization);
  command->add_option("--momentum", o.momentum, "of sgd")
      ->capture_default_str()
      ->group(optimization);
  command->add_flag("--nesterov,!--no-nesterov", o.nesterov, "Nesterov's look-ahead, of sgd (on)")
      ->group(optimization);
  command
      ->add_option("--weight-decay", a.weight_decay,
                   "default: 5e-4 with sgd, 0 with adam, 0.01 with adamw")
      ->group(optimization);
  command->add_option("--decay", a.decay, "which parameters decay: all, matrices")
      ->check(CLI::IsMember({"all", "matrices"}))
      ->capture_default_str()
      ->group(optimization);
  command
      ->add_option("--freeze", o.freeze,
                   "parameters and modules that stay as they are, by glob: layer1, '*.bn*'; batch "
                   "norms whose own parameters are all frozen keep their statistics; repeatable")
      ->allow_extra_args(false)
      ->type_name("PATTERN")
      ->group(optimization);
  command
      ->add_option("--lr-scale", o.lr_scale,
                   "multiply the learning rate of what the glob fits; the last that fits counts; "
                   "repeatable")
      ->allow_extra_args(false)
      ->type_name("PATTERN=X")
      ->group(optimization);
  command->add_option("--clip-norm", o.clip_norm, "limit of the gradients' norm; 0: none")
      ->capture_default_str()
      ->group(optimization);
  command->add_option("--label-smoothing", o.label_smoothing, "share spread over all classes")
      ->capture_default_str()
      ->group(optimization);
  command
      ->add_option("--augment", a.augment,
                   "variations of training images: flip, shift, rrc (random resized crop), "
                   "jitter (colours), erase, or none")
      ->capture_default_str()
      ->group(optimization);
  command
      ->add_option("--validation-split", o.validation_split,
                   "share of the training images held back to choose the best epoch by")
      ->capture_default_str()
      ->group(optimization);
  command
      ->add_option("--patience", o.patience,
                   "end when so many epochs in a row were no better on the images held back; 0: "
                   "never")
      ->capture_default_str()
      ->group(optimization);
  command
      ->add_option("--stop-by", a.stop_by,
                   "what --patience waits for: accuracy, loss, or flux (the share of predictions "
                   "that changed)")
      ->capture_default_str()
      ->group(optimization);
  command
      ->add_option("--keep-epochs", o.keep_epochs,
                   "epochs whose weights are kept beside the best and the last, for explanations "
                   "over time: 1,5,10, every:10, 1,every:10 or all")
      ->type_name("LIST")
      ->group(optimization);
  command->add_option("--seed", o.seed, "of weights, order and augmentation")
      ->check(CLI::Range(INT64_C(0), INT64_MAX))
      ->capture_default_str()
      ->group(optimization);

  const std::string machine = "Machine";
  add_device_arguments(*command, a.device);
  command->get_option("--device")->group(machine);
  command->get_option("--threads")->group(machine);
  command->get_option("--tf32")->group(machine);
  command->get_option("--winograd")->group(machine);
  command->get_option("--deterministic")->group(machine);
  command->add_option("--precision", o.precision, "auto, fp32, bf16, fp16 (which needs a GPU)")
      ->capture_default_str()
      ->group(machine);
  command
      ->add_flag("!--no-graph", o.graph,
                 "run a GPU's steps op by op instead of from a recorded graph")
      ->group(machine);
  command->add_option("--loader-threads", o.loader_threads, "that decode images")->group(machine);
  command
      ->add_option("--cache-bytes", o.cache_bytes, "of decoded images kept in memory (1GiB, 0, …)")
      ->transform(CLI::AsSizeValue(false))
      ->capture_default_str()
      ->group(machine);

  command->callback(
      [=, &action] { action = [arguments, command] { return run(*arguments, *command); }; });
}

}  // namespace glassnet::cli
