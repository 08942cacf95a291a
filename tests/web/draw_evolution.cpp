// A Confusion Evolution page for tests/web and for working on report/web:
//
//   glassnet_draw_evolution OUT.html RUN...        of the runs' prediction logs
//   glassnet_draw_evolution OUT.html [OPTION...]   of made-up runs
//
//   --images N --epochs N --classes N --runs N   sizes; 600, 30, 6, 1
//   --bare        without probabilities, losses and thumbnails
//   --thumbnails  a small picture for each image
//   --hostile     names that try to leave their place
//   --example     one image of class 2, predicted as 2, 2, 1, 2
#include <cmath>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "data/image.h"
#include "kernels/error.h"
#include "report/evolution_page.h"
#include "tensor/file.h"
#include "tensor/random.h"
#include "training/prediction_log.h"

namespace glassnet {
namespace {

struct Options {
  std::map<std::string, int64_t> sizes = {
      {"--images", 600}, {"--epochs", 30}, {"--classes", 6}, {"--runs", 1}};
  std::map<std::string, bool> flags = {
      {"--bare", false}, {"--thumbnails", false}, {"--hostile", false}, {"--example", false}};
  std::vector<std::string> runs;
};

EvolutionRun logged(const std::filesystem::path& folder) {
  PredictionHistory history = read_prediction_log(folder);
  EvolutionRun run;
  run.name = folder.filename().string();
  run.classes = std::move(history.header.classes);
  run.split = std::move(history.header.split);
  run.images = std::move(history.header.images);
  run.epochs = history.epochs;
  run.predicted = std::move(history.predicted);
  run.probability = std::move(history.probability);
  run.true_probability = std::move(history.true_probability);
  return run;
}

std::string class_name(int64_t index, int64_t classes, bool hostile) {
  static const std::vector<std::string> landscapes = {"buildings", "forest", "glacier", "mountain",
                                                      "sea",       "street", "desert",  "island",
                                                      "meadow",    "canyon"};
  static const std::vector<std::string> traps = {"</script><script>globalThis.trapped=1</script>",
                                                 "\"><img src=x onerror=trapped=1>",
                                                 "\u202Eright to left\u2066",
                                                 "\xff\xfe broken \xc0\xaf",
                                                 std::string(10000, 'W'),
                                                 "<!--<script>",
                                                 "'; trapped=1; '",
                                                 std::string("a\0b\nc\td", 7)};
  if (hostile && index < static_cast<int64_t>(traps.size()))
    return traps[static_cast<size_t>(index)];
  if (classes <= static_cast<int64_t>(landscapes.size()))
    return landscapes[static_cast<size_t>(index)];
  return fmt::format("class {:03}", index);
}

std::string thumbnail(int64_t label, Random& random) {
  Image image(24, 24);
  for (size_t i = 0; i < image.rgb.size(); ++i) {
    image.rgb[i] = static_cast<uint8_t>((label * 41 + static_cast<int64_t>(i % 3) * 60) % 200 +
                                        random.below(56));
  }
  return encode_png(image, "thumbnail");
}

// Images of a difficulty each and a class that they are taken for, which a network learns in turn.
EvolutionRun made_up(const Options& options, int64_t seed) {
  const int64_t images = options.sizes.at("--images");
  const int64_t classes = options.sizes.at("--classes");
  const bool hostile = options.flags.at("--hostile");
  const bool bare = options.flags.at("--bare");
  Random of_images(7, Stream::kUser);  // the same for every run
  Random random(static_cast<uint64_t>(seed) + 100, Stream::kUser);
  EvolutionRun run;
  run.name = hostile ? "<b>run</b>\u202E" : fmt::format("resnet18-seed{}", seed);
  run.epochs = options.sizes.at("--epochs");
  for (int64_t c = 0; c < classes; ++c) run.classes.push_back(class_name(c, classes, hostile));
  std::vector<double> difficulty;
  std::vector<int64_t> rival;
  for (int64_t i = 0; i < images; ++i) {
    const int64_t label = i * classes / images;
    run.images.push_back({fmt::format("{}/{}.jpg", class_name(label, classes, hostile), i), label});
    const double u = of_images.uniform();
    difficulty.push_back(5 * u * u * u + 0.3 * static_cast<double>(label % 5));
    const int64_t step = of_images.uniform() < 0.7 ? 1 : 1 + of_images.below(7);
    rival.push_back((label + step) % classes);
    if (options.flags.at("--thumbnails")) run.thumbnails.push_back(thumbnail(label, random));
  }
  for (int64_t e = 0; e < run.epochs; ++e) {
    const double learnt =
        4.5 * (1 - std::exp(-static_cast<double>(e + 1) / (0.2 * run.epochs + 1)));
    double loss = 0;
    for (int64_t i = 0; i < images; ++i) {
      const auto at = static_cast<size_t>(i);
      const double margin = learnt - difficulty[at] + 0.9 * (random.uniform() - 0.5);
      const double truth = 1 / (1 + std::exp(-2 * margin));
      const bool right = truth > 0.5;
      int64_t wrong = rival[at];
      if (random.uniform() < 0.3 * std::exp(-learnt)) {
        wrong = random.below(classes);
      }
      run.predicted.push_back(right ? run.images[at].true_class : wrong);
      run.true_probability.push_back(static_cast<float>(truth));
      run.probability.push_back(static_cast<float>(std::max(truth, 1 - truth)));
      loss -= std::log(std::max(truth, 1e-6)) / static_cast<double>(images);
    }
    run.test_loss.push_back(loss);
    run.train_loss.push_back(0.8 * loss);
    run.train_accuracy.push_back(1 - 0.5 * std::exp(-learnt));
  }
  if (bare) {
    run.probability.clear(), run.true_probability.clear();
    run.test_loss.clear(), run.train_loss.clear(), run.train_accuracy.clear();
  }
  return run;
}

EvolutionRun example() {
  return {.name = "example",
          .classes = {"a", "b", "c"},
          .images = {{"x.png", 2}},
          .epochs = 4,
          .predicted = {2, 2, 1, 2}};
}

void draw(const std::vector<std::string>& arguments) {
  require(!arguments.empty(), [] { return "usage: glassnet_draw_evolution OUT.html [RUN...]"; });
  Options options;
  for (size_t i = 1; i < arguments.size(); ++i) {
    const std::string& argument = arguments[i];
    if (options.flags.contains(argument)) {
      options.flags[argument] = true;
    } else if (options.sizes.contains(argument) && i + 1 < arguments.size()) {
      options.sizes[argument] = std::stoll(arguments[++i]);
    } else {
      options.runs.push_back(argument);
    }
  }
  EvolutionPageData data;
  for (const std::string& folder : options.runs) data.runs.push_back(logged(folder));
  if (options.flags.at("--example")) data.runs.push_back(example());
  for (int64_t i = 0;
       data.runs.empty() ||
       (options.runs.empty() && !options.flags.at("--example") && i < options.sizes.at("--runs"));
       ++i) {
    data.runs.push_back(made_up(options, i));
  }
  if (options.flags.at("--hostile"))
    data.title = "</title><script>globalThis.trapped=1</script>\u202E";
  write_file_atomically(arguments[0], evolution_page(data));
}

}  // namespace
}  // namespace glassnet

int main(int argc, char** argv) {
  try {
    glassnet::draw({argv + 1, argv + argc});
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 1;
  }
}
