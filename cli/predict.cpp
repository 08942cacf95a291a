#include <algorithm>
#include <numeric>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "cli/command.h"
#include "cli/network_input.h"
#include "cli/output.h"
#include "data/folder.h"
#include "report/terminal.h"
#include "tensor/math.h"

namespace glassnet::cli {
namespace {

struct Arguments {
  ModelArguments model;
  DeviceArguments device;
  std::vector<std::string> images;
  std::string precision = "fp32";
  int top = 3;
  bool json = false;
};

struct Prediction {
  std::string image;
  std::vector<float> logits, probabilities;
};

// The classes by falling probability, at most `count`.
std::vector<size_t> ranked(const std::vector<float>& probabilities, int count) {
  std::vector<size_t> order(probabilities.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return probabilities[a] > probabilities[b]; });
  order.resize(std::min(order.size(), static_cast<size_t>(count)));
  return order;
}

int run(const Arguments& a) {
  const Device device = use_device(a.device);
  const DType type = use_precision("--precision", a.precision, device);
  LoadedModel network = load(a.model, device);
  const std::vector<std::string>& classes = network.card.classes;
  std::vector<Prediction> predictions;
  std::vector<std::string> failures;
  {
    const auto paths = expand_images(a.images);
    Progress progress("predicting", std::ssize(paths));
    int64_t done = 0;
    for (const auto& path : paths) {
      try {
        const Tensor x = network_input(prepare_picture(path, network.card), network.card);
        const Tensor y = logits(*network.model, x.to(type)).to(DType::kFloat32);
        Prediction p{path.string(), y.to_vector<float>(), softmax(y).to_vector<float>()};
        require_numbers(p.logits, path, type);
        predictions.push_back(std::move(p));
      } catch (const Error& error) {
        failures.emplace_back(error.what());
      }
      progress.update(++done);
    }
  }

  if (a.json) {
    nlohmann::ordered_json list = nlohmann::json::array();
    for (const Prediction& p : predictions) {
      nlohmann::ordered_json shares;
      for (size_t c = 0; c < classes.size(); ++c) shares[classes[c]] = p.probabilities[c];
      list.push_back({{"image", p.image},
                      {"predicted", classes[ranked(p.probabilities, 1)[0]]},
                      {"probabilities", shares},
                      {"logits", p.logits}});
    }
    fmt::print("{}\n", to_text(list, 2));
  } else {
    std::vector<Column> columns = {{"image"}};
    for (size_t i = 0; i < std::min(static_cast<size_t>(a.top), classes.size()); ++i) {
      columns.push_back({i == 0 ? "predicted" : i == 1 ? "then" : ""});
      columns.push_back({"", Align::kRight});
    }
    Table table(columns);
    for (const Prediction& p : predictions) {
      std::vector<std::string> row = {p.image};
      for (const size_t c : ranked(p.probabilities, a.top)) {
        row.push_back(classes[c]);
        row.push_back(percent(p.probabilities[c]));
      }
      table.add_row(row);
    }
    if (!predictions.empty()) fmt::print("{}", table.str());
  }
  for (const std::string& failure : failures) complain(failure);
  return failures.empty() ? 0 : 1;
}

}  // namespace

void add_predict(CLI::App& app, Action& action) {
  CLI::App* command = app.add_subcommand("predict", "Say what pictures show.");
  command->footer(
      "Example:\n"
      "  glassnet predict run photo.jpg holiday/ --top 5\n"
      "  glassnet predict weights.safetensors photo.jpg --model resnet50 --classes names.txt");
  auto arguments = std::make_shared<Arguments>();
  add_model_arguments(*command, arguments->model);
  command->add_option("IMAGE", arguments->images, "pictures, or folders of them")->required();
  command->add_option("--top", arguments->top, "classes to print for each picture")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  add_precision_argument(*command, arguments->precision);
  command->add_flag("--json", arguments->json, "print every probability and logit as JSON");
  add_device_arguments(*command, arguments->device);
  command->callback([=, &action] { action = [arguments] { return run(*arguments); }; });
}

}  // namespace glassnet::cli
