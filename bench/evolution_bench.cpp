// Times confusion evolution on a made-up log.
//
//   glassnet_evolution_bench [IMAGES EPOCHS CLASSES]      (50000 100 1000)
//
// A line for each thing, with the milliseconds of the quickest of five runs.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <string>

#include "kernels/error.h"
#include "tensor/random.h"
#include "training/evolution.h"
#include "training/evolution_files.h"
#include "training/instanceflow.h"
#include "training/prediction_table.h"

namespace glassnet {
namespace {

History made_up(int64_t images, int64_t epochs, int64_t classes) {
  Random random(0, Stream::kUser);
  const auto draw = [&] { return static_cast<int32_t>(random.below(classes)); };
  History history;
  for (int64_t c = 0; c < classes; ++c) history.classes.push_back("class " + std::to_string(c));
  for (int64_t i = 0; i < images; ++i) {
    const std::string name = std::to_string(i) + ".jpg";
    history.images.push_back({name, draw(), name});
  }
  for (int64_t t = 1; t <= epochs; ++t) {
    history.epoch_names.push_back(std::to_string(t));
    for (const HistoryImage& image : history.images) {
      history.predicted.push_back(random.below(epochs) < t ? image.true_class : draw());
      history.true_probability.push_back(static_cast<float>(random.uniform()));
    }
  }
  return history;
}

std::string as_table(const History& history) {
  std::string table;
  for (size_t i = 0; i < history.images.size(); ++i) {
    table += history.images[i].id + ",";
    table += history.classes[static_cast<size_t>(history.images[i].true_class)];
    for (int64_t t = 1; t <= history.epochs(); ++t) {
      table += "," + history.classes[static_cast<size_t>(history.row(t)[i])];
    }
    table += '\n';
  }
  return table;
}

void time(const char* what, const std::function<void()>& work) {
  double least = 1e300;
  for (int i = 0; i < 5; ++i) {
    const auto begin = std::chrono::steady_clock::now();
    work();
    const std::chrono::duration<double, std::milli> spent =
        std::chrono::steady_clock::now() - begin;
    least = std::min(least, spent.count());
  }
  std::printf("%-42s %9.1f ms\n", what, least);
  std::fflush(stdout);
}

void measure(int64_t images, int64_t epochs, int64_t classes) {
  const History history = made_up(images, epochs, classes);
  Evolution evolution;
  time("all metrics", [&] { evolution = evolve(history); });
  time("per-class metrics of every epoch", [&] {
    for (int64_t t = 1; t <= epochs; ++t) class_metrics_at(history, t);
  });
  time("confusion matrix of an epoch", [&] { confusion_at(history, epochs); });
  const std::string folder = std::filesystem::temp_directory_path().string();
  const std::string file = folder + "/glassnet-evolution-bench.json";
  time("metrics written as JSON", [&] { save_evolution_json(file, history, evolution); });
  time("log written for InstanceFlow", [&] { save_instanceflow(file, history); });
  time("the same read", [&] { read_instanceflow(file); });
  std::filesystem::remove(file);
  const std::string table = as_table(history);
  time("log read as comma-separated values", [&] { parse_prediction_table(table, "table"); });
}

}  // namespace
}  // namespace glassnet

int main(int argc, char** argv) {
  if (argc != 1 && argc != 4) {
    std::fputs("usage: glassnet_evolution_bench [IMAGES EPOCHS CLASSES]\n", stderr);
    return 2;
  }
  try {
    const auto number = [&](int i, int64_t usual) {
      return argc == 4 ? std::atoll(argv[i]) : usual;
    };
    glassnet::measure(number(1, 50000), number(2, 100), number(3, 1000));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
