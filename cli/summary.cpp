#include "cli/summary.h"

#include <optional>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include "cli/command.h"
#include "cli/output.h"
#include "models/resnet.h"
#include "report/terminal.h"

namespace glassnet::cli {
namespace {

struct Arguments {
  std::string model;
  int image_size = 0;
  std::optional<int64_t> classes;
  bool json = false;
};

int run(const Arguments& a) {
  const auto [model, image_size, trained] = network_of(a.model, a.image_size, a.classes);
  const ModelSummary summary = summarise(*model, image_size);

  if (a.json) {
    const nlohmann::ordered_json result = {{"image_size", image_size},
                                           {"parameters", summary.parameters},
                                           {"flops", 2 * summary.multiply_adds},
                                           {"layers", layers_json(summary)}};
    fmt::print("{}\n", to_text(result, 2));
    return 0;
  }
  Table table({{"layer"},
               {"kind"},
               {"output (N, H, W, C)"},
               {"parameters", Align::kRight},
               {"MFLOP", Align::kRight}});
  for (const LayerSummary& layer : summary.layers) {
    table.add_row({layer.path, layer.kind, layer.output.str(),
                   layer.parameters == 0 ? "" : fmt::format("{}", layer.parameters),
                   layer.multiply_adds == 0
                       ? ""
                       : fmt::format("{:.1f}", 2e-6 * static_cast<double>(layer.multiply_adds))});
  }
  fmt::print(
      "{}\n{} parameters, {:.2f} GFLOP for an image of {}x{} (a multiply-add counts as two)\n",
      table.str(), summary.parameters, 2e-9 * static_cast<double>(summary.multiply_adds),
      image_size, image_size);
  return 0;
}

}  // namespace

nlohmann::ordered_json layers_json(const ModelSummary& summary) {
  nlohmann::ordered_json layers = nlohmann::ordered_json::array();
  for (const LayerSummary& layer : summary.layers) {
    layers.push_back({{"path", layer.path},
                      {"kind", layer.kind},
                      {"output", layer.output.dims()},
                      {"parameters", layer.parameters},
                      {"flops", 2 * layer.multiply_adds}});
  }
  return layers;
}

void add_summary(CLI::App& app, Action& action) {
  CLI::App* command =
      app.add_subcommand("summary", "List a network's layers, shapes, parameters and FLOPs.");
  command->footer(
      fmt::format("Architectures:\n  {}\n\nExample:\n  glassnet summary resnet50 --image-size 224",
                  fmt::join(model_names(), ", ")));
  auto arguments = std::make_shared<Arguments>();
  command->add_option("MODEL", arguments->model, "an architecture, a run folder or a weight file")
      ->required();
  command->add_option("--image-size", arguments->image_size, "side of the input in pixels")
      ->check(CLI::Range(1, 4096));
  command->add_option("--num-classes", arguments->classes, "of an architecture (default: its own)")
      ->check(CLI::PositiveNumber);
  command->add_flag("--json", arguments->json, "print JSON");
  command->callback([=, &action] { action = [arguments] { return run(*arguments); }; });
}

}  // namespace glassnet::cli
