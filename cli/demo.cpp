// From nothing to explanations: draws a data set, trains on it, and explains some of what the
// network got right and some of what it got wrong.
#include <filesystem>

#include <fmt/format.h>

#include "cli/command.h"
#include "cli/evolution_html.h"
#include "cli/explain_images.h"
#include "cli/network_input.h"
#include "cli/training_progress.h"
#include "data/folder.h"
#include "data/scenes.h"
#include "report/terminal.h"
#include "training/evaluator.h"
#include "training/trainer.h"

namespace glassnet::cli {
namespace {

constexpr size_t kWrongShown = 4;

struct Arguments {
  DeviceArguments device;
  std::filesystem::path out = "glassnet-demo";
  int train_per_class = 250, test_per_class = 50;
  int64_t epochs = 8;
  int image_size = 112;
  uint64_t seed = 0;
};

void draw(const Arguments& a, const std::filesystem::path& dir) {
  Progress progress("drawing scenes", 6 * (a.train_per_class + a.test_per_class));
  write_scenes(dir,
               {.train_per_class = a.train_per_class,
                .test_per_class = a.test_per_class,
                .seed = a.seed,
                .replace = true},  // of a demo that was ended before its training began
               [&](int64_t done, int64_t) { progress.update(done); });
}

// The surest right answer of each class and the surest wrong ones of all.
std::vector<std::filesystem::path> chosen_images(const std::vector<Sample>& samples,
                                                 const Evaluation& evaluation, size_t classes) {
  std::vector<size_t> order(samples.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return evaluation.probability[a] > evaluation.probability[b];
  });
  std::vector<std::filesystem::path> right(classes), wrong;
  for (const size_t i : order) {
    const auto label = static_cast<size_t>(samples[i].label);
    if (evaluation.predicted[i] == samples[i].label) {
      if (right[label].empty()) right[label] = samples[i].path;
    } else if (wrong.size() < kWrongShown) {
      wrong.push_back(samples[i].path);
    }
  }
  std::erase_if(right, [](const auto& path) { return path.empty(); });
  right.insert(right.end(), wrong.begin(), wrong.end());
  return right;
}

int run(const Arguments& a) {
  const Device device = use_device(a.device);
  const std::filesystem::path scenes = a.out / "scenes", run_folder = a.out / "run";
  if (RunFolder(run_folder).holds_run()) {
    throw UsageError(
        fmt::format("{} already holds a demo; delete that folder, or choose another with --out",
                    a.out.string()));
  }
  draw(a, scenes);

  TrainOptions options;
  options.data = scenes;
  options.out = run_folder;
  options.model = "resnet18";
  options.epochs = a.epochs;
  options.batch_size = 32;
  options.image_size = a.image_size;
  options.seed = a.seed;
  options.device = device.str();
  options.threads = a.device.threads;
  TrainingProgress progress(TrainingProgress::kText);
  train(options, progress.observer());
  progress.finish();

  LoadedModel network = load({.path = run_folder.string()}, device);
  const std::vector<Sample> samples = read_evaluation_folder(scenes, network.card.classes).samples;
  const Evaluation evaluation = evaluate(network, samples);
  ExplainRequest request;
  request.images = chosen_images(samples, evaluation, network.card.classes.size());
  request.method.trust = Trust::kNone;
  request.out = a.out / "explanations";
  request.title = fmt::format("What the network looks at ({} of test scenes right)",
                              percent(evaluation.accuracy));
  Progress explaining("explaining", static_cast<int64_t>(request.images.size()));
  const ExplainOutcome outcome =
      explain_images(network, request, [&](int64_t done, int64_t) { explaining.update(done); });
  explaining.finish();

  const std::filesystem::path page = a.out / "evolution.html";
  if (has_evolution_page()) save_evolution_html(page, read_evolution({.logs = {run_folder}}));

  fmt::print("\ntest accuracy: {}\n", percent(evaluation.accuracy));
  fmt::print("pictures:      {} (all of them side by side: sheet.png)\n",
             (a.out / "explanations").string());
  if (has_evolution_page()) {
    fmt::print("how it learnt: {} (for a browser)\n", page.string());
  }
  fmt::print("the run:       {}\n", run_folder.string());
  fmt::print("try next:      glassnet report {}\n", run_folder.string());
  return outcome.failures.empty() ? 0 : 1;
}

}  // namespace

void add_demo(CLI::App& app, Action& action) {
  CLI::App* command = app.add_subcommand(
      "demo", "Draw a data set, train on it and explain some predictions, in a few minutes.");
  command->footer("Example:\n  glassnet demo --out my-demo");
  auto arguments = std::make_shared<Arguments>();
  Arguments& a = *arguments;
  command->add_option("--out", a.out, "folder for everything")->capture_default_str();
  command->add_option("--epochs", a.epochs, "passes over the training scenes")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command->add_option("--train", a.train_per_class, "training scenes of each class")
      ->check(CLI::Range(2, 99999))
      ->capture_default_str();
  command->add_option("--test", a.test_per_class, "test scenes of each class")
      ->check(CLI::Range(1, 99999))
      ->capture_default_str();
  command->add_option("--image-size", a.image_size, "side of the network's input")
      ->check(CLI::Range(32, 512))
      ->capture_default_str();
  command->add_option("--seed", a.seed, "of scenes and training")
      ->check(CLI::Range(INT64_C(0), INT64_MAX))
      ->capture_default_str();
  add_device_arguments(*command, a.device);
  command->callback([=, &action] { action = [arguments] { return run(*arguments); }; });
}

}  // namespace glassnet::cli
