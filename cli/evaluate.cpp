#include "training/evaluator.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "cli/command.h"
#include "cli/network_input.h"
#include "cli/output.h"
#include "data/folder.h"
#include "report/confusion_image.h"
#include "report/terminal.h"
#include "training/metrics.h"

namespace glassnet::cli {
namespace {

struct Arguments {
  ModelArguments model;
  DeviceArguments device;
  std::string data, split = "test", picture, precision = "fp32";
  int64_t batch_size = 64;
  bool json = false;
};

nlohmann::ordered_json as_json(const std::vector<std::string>& classes, const Evaluation& result,
                               const ConfusionMatrix& confusion,
                               const ClassificationMetrics& metrics) {
  nlohmann::ordered_json per_class, matrix = nlohmann::ordered_json::array();
  for (size_t t = 0; t < classes.size(); ++t) {
    const ClassMetrics& m = metrics.classes[t];
    per_class[classes[t]] = {{"images", m.images},
                             {"predicted", m.predicted},
                             {"precision", m.precision},
                             {"recall", m.recall},
                             {"f1", m.f1}};
    nlohmann::ordered_json row = nlohmann::ordered_json::array();
    for (size_t p = 0; p < classes.size(); ++p) {
      row.push_back(confusion.count(static_cast<int64_t>(t), static_cast<int64_t>(p)));
    }
    matrix.push_back(row);
  }
  return {{"images", confusion.total()},
          {"loss", result.loss},
          {"accuracy", metrics.accuracy},
          {"macro_precision", metrics.macro_precision},
          {"macro_recall", metrics.macro_recall},
          {"macro_f1", metrics.macro_f1},
          {"classes", per_class},
          {"confusion_matrix", matrix}};
}

void print_tables(const std::vector<std::string>& classes, const Evaluation& result,
                  const ConfusionMatrix& confusion, const ClassificationMetrics& metrics) {
  fmt::print("accuracy {} ({} of {} images), loss {:.4f}\n\n", percent(metrics.accuracy),
             confusion.correct(), confusion.total(), result.loss);
  Table scores({{"class"},
                {"images", Align::kRight},
                {"precision", Align::kRight},
                {"recall", Align::kRight},
                {"F1", Align::kRight}});
  for (size_t t = 0; t < classes.size(); ++t) {
    const ClassMetrics& m = metrics.classes[t];
    scores.add_row({classes[t], fmt::format("{}", m.images), percent(m.precision),
                    percent(m.recall), percent(m.f1)});
  }
  scores.add_rule();
  scores.add_row({"mean", "", percent(metrics.macro_precision), percent(metrics.macro_recall),
                  percent(metrics.macro_f1)});
  fmt::print("{}\n", scores.str());

  std::vector<Column> columns = {{"true \\ predicted"}};
  for (const std::string& name : classes) columns.push_back({name, Align::kRight});
  Table matrix(columns);
  for (size_t t = 0; t < classes.size(); ++t) {
    std::vector<std::string> row = {classes[t]};
    for (size_t p = 0; p < classes.size(); ++p) {
      row.push_back(
          fmt::format("{}", confusion.count(static_cast<int64_t>(t), static_cast<int64_t>(p))));
    }
    matrix.add_row(row);
  }
  fmt::print("{}", matrix.str());
}

int run(const Arguments& a) {
  if (!a.picture.empty()) require_writable(a.picture);
  const Device device = use_device(a.device);
  const DType type = use_precision("--precision", a.precision, device);
  LoadedModel network = load(a.model, device);
  const ModelCard& card = network.card;
  const ImageFolder folder = read_evaluation_folder(a.data, card.classes, a.split);
  for (const std::string& warning : folder.warnings) say(warning);

  const Evaluation result = evaluate(network, folder.samples, a.batch_size, type);
  const ConfusionMatrix confusion(static_cast<int64_t>(card.classes.size()), result.true_classes,
                                  result.predicted);
  const ClassificationMetrics metrics = classification_metrics(confusion);
  if (a.json) {
    fmt::print("{}\n", to_text(as_json(card.classes, result, confusion, metrics), 2));
  } else {
    print_tables(card.classes, result, confusion, metrics);
  }
  if (!a.picture.empty()) {
    write_png(a.picture, confusion_matrix_image(card.classes, confusion.counts()));
    if (!a.json) fmt::print("\nthe confusion matrix is drawn in {}\n", a.picture);
  }
  return 0;
}

}  // namespace

void add_evaluate(CLI::App& app, Action& action) {
  CLI::App* command = app.add_subcommand(
      "evaluate", "Measure a network on a folder of images whose classes are known.");
  command->footer(
      "Example:\n"
      "  glassnet evaluate run photos\n"
      "  glassnet evaluate run photos/val --json --confusion matrix.png");
  auto arguments = std::make_shared<Arguments>();
  add_model_arguments(*command, arguments->model);
  command->add_option("DATA", arguments->data, "a data set, or a folder a class")->required();
  command->add_option("--split", arguments->split, "of a data set: test or train")
      ->check(CLI::IsMember({"test", "train"}))
      ->capture_default_str();
  command->add_option("--batch-size", arguments->batch_size, "images at a time")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  add_precision_argument(*command, arguments->precision);
  command->add_option("--confusion", arguments->picture, "draw the confusion matrix into this PNG");
  command->add_flag("--json", arguments->json, "print JSON");
  add_device_arguments(*command, arguments->device);
  command->callback([=, &action] { action = [arguments] { return run(*arguments); }; });
}

}  // namespace glassnet::cli
