#include <algorithm>
#include <cmath>
#include <filesystem>
#include <optional>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include "cli/command.h"
#include "cli/network_trust.h"
#include "cli/output.h"
#include "report/line_chart.h"
#include "report/terminal.h"
#include "tensor/file.h"

namespace glassnet::cli {
namespace {

struct Arguments {
  ModelArguments model;
  DeviceArguments device;
  std::string data, split = "test", masks;
  TrustRequest request;
  int64_t images = 60;
  std::filesystem::path out;
  bool random_weights = false, print_json = false;
};

// --- tables --------------------------------------------------------------------------------------

std::string number(double value, const char* form = "{:.3f}") {
  return std::isnan(value) ? "-" : fmt::format(fmt::runtime(form), value);
}

std::string share(double value) {
  return std::isnan(value) ? "-" : percent(value);
}

std::string gain(const Comparison& c) {
  if (c.images == 0) return "-";
  return fmt::format("{:+.3f} ± {}{}", c.gain, number(c.standard_error), c.better() ? "  " : " !");
}

std::vector<Column> columns(std::vector<std::string> left,
                            const std::vector<MethodTrust>& methods) {
  std::vector<Column> result;
  for (std::string& heading : left) {
    result.push_back({std::move(heading), result.empty() ? Align::kLeft : Align::kRight});
  }
  for (const MethodTrust& method : methods) result.push_back({method.method, Align::kRight});
  return result;
}

void print_randomisation(const NetworkTrust& trust) {
  fmt::print(
      "\nParameters drawn anew, from the answer down to …: Spearman's correlation of the map\n"
      "with the one before ({} pictures). It should fall towards 0. !: stays high.\n\n",
      trust.sanity_images);
  Table table(columns({"down to"}, trust.methods));
  for (size_t row = 0; row < trust.methods[0].randomised.size(); ++row) {
    std::vector<std::string> cells = {trust.methods[0].randomised[row].layer};
    for (const MethodTrust& method : trust.methods) {
      cells.push_back(number(method.randomised[row].correlation) + "  ");
    }
    table.add_row(cells);
  }
  table.add_rule();
  std::vector<std::string> means = {"mean"};
  for (const MethodTrust& method : trust.methods) {
    means.push_back(number(method.mean_correlation) +
                    (method.mean_correlation >= kStaysHigh ? " !" : "  "));
  }
  table.add_row(means);
  fmt::print("{}", table.str());
}

void print_curves(const NetworkTrust& trust) {
  fmt::print(
      "\nThe answer's probability as the map's pixels are deleted (low is good) or inserted\n"
      "(high is good): mean area, beside random maps. !: no better than those.\n\n");
  Table table({{"method"},
               {"deletion", Align::kRight},
               {"random", Align::kRight},
               {"better by  ", Align::kRight},
               {"insertion", Align::kRight},
               {"random", Align::kRight},
               {"better by  ", Align::kRight}});
  for (const MethodTrust& m : trust.methods) {
    table.add_row({m.method, number(m.deletion.mean), number(m.deletion.chance), gain(m.deletion),
                   number(m.insertion.mean), number(m.insertion.chance), gain(m.insertion)});
  }
  fmt::print("{}", table.str());
}

void print_pointing(const NetworkTrust& trust, const char* what, Comparison Pointing::*of) {
  fmt::print("\n{}\n\n", what);
  Table table(columns({"class", "pictures", "chance"}, trust.methods));
  const std::vector<Pointing>& rows = trust.methods[0].pointing;
  for (size_t row = 0; row < rows.size(); ++row) {
    if (row + 1 == rows.size()) table.add_rule();
    std::vector<std::string> cells = {rows[row].of, fmt::format("{}", rows[row].images),
                                      share(rows[row].hits.chance)};
    for (const MethodTrust& method : trust.methods) {
      const Comparison& c = method.pointing[row].*of;
      cells.push_back(share(c.mean) + (c.better() ? "  " : " !"));
    }
    table.add_row(cells);
  }
  fmt::print("{}", table.str());
}

void print_verdict(const NetworkTrust& trust) {
  fmt::print("\n");
  Table table({{"method"}, {"verdict"}, {"why"}});
  for (const MethodTrust& method : trust.methods) {
    std::vector<std::string> why = method.doubts;
    if (!trust.doubts.empty()) why.insert(why.begin(), "the network has learnt nothing");
    if (method.blank > 0) {
      why.push_back(fmt::format("{} of {} maps are blank", method.blank, trust.images));
    }
    table.add_row({method.method, trust.passes(method) ? "passes" : "FAILS",
                   fmt::format("{}", fmt::join(why, "; "))});
  }
  fmt::print("{}\n", table.str());
  for (const std::string& doubt : trust.doubts) {
    fmt::print("The explanations of this network cannot be trusted: {}.\n", doubt);
  }
  if (trust.doubts.empty()) {
    fmt::print("The network knows its pictures; {} of {} methods pass.\n",
               std::count_if(trust.methods.begin(), trust.methods.end(),
                             [&](const MethodTrust& method) { return trust.passes(method); }),
               trust.methods.size());
  }
}

// --- files ---------------------------------------------------------------------------------------

nlohmann::ordered_json json_of(const Comparison& c, const char* chance) {
  return {{"images", c.images},
          {"mean", c.mean},
          {chance, c.chance},
          {"gain", c.gain},
          {"standard_error", c.standard_error},
          {"better", c.better()}};
}

nlohmann::ordered_json json_of(const NetworkTrust& trust) {
  nlohmann::ordered_json methods = nlohmann::ordered_json::array();
  for (const MethodTrust& m : trust.methods) {
    nlohmann::ordered_json rows = nlohmann::ordered_json::array(),
                           pointing = nlohmann::ordered_json::array();
    for (const RandomisedLayer& row : m.randomised) {
      rows.push_back({{"layer", row.layer}, {"correlation", row.correlation}});
    }
    for (const Pointing& row : m.pointing) {
      pointing.push_back({{"class", row.of},
                          {"images", row.images},
                          {"hits", json_of(row.hits, "chance")},
                          {"energy", json_of(row.energy, "chance")}});
    }
    methods.push_back({{"method", m.method},
                       {"passes", trust.passes(m)},
                       {"doubts", m.doubts},
                       {"blank_maps", m.blank},
                       {"randomisation", rows},
                       {"mean_correlation", m.mean_correlation},
                       {"deletion", json_of(m.deletion, "random_maps")},
                       {"insertion", json_of(m.insertion, "random_maps")},
                       {"pointing_game", pointing}});
  }
  return {{"images", trust.images}, {"correct", trust.correct},
          {"chance", trust.chance}, {"sanity_images", trust.sanity_images},
          {"masks", trust.masks},   {"passes", trust.doubts.empty()},
          {"doubts", trust.doubts}, {"methods", methods}};
}

std::string chart_of(const NetworkTrust& trust) {
  LineChart chart{.title = "Do the maps depend on what the network has learnt?",
                  .subtitle = fmt::format("Rank correlation with the network's own map, mean of {} "
                                          "pictures: a map of the network falls towards 0",
                                          trust.sanity_images),
                  .x_title = "parameters drawn anew, from the answer down to",
                  .y_title = "Spearman's correlation",
                  .positions = {"none"},
                  .level = {{kStaysHigh, "a mean above this: shows the picture, not the network"}}};
  for (const RandomisedLayer& row : trust.methods[0].randomised) {
    chart.positions.push_back(row.layer);
  }
  for (const MethodTrust& method : trust.methods) {
    ChartLine line{.name = fmt::format("{}, mean {}", method.method,
                                       number(method.mean_correlation, "{:.2f}")),
                   .values = {1}};
    for (const RandomisedLayer& row : method.randomised) line.values.push_back(row.correlation);
    chart.lines.push_back(std::move(line));
  }
  return line_chart_svg(chart);
}

int run(Arguments& a) {
  const Device device = use_device(a.device);
  for (const std::string& method : a.request.methods) require_known_method(method);
  std::error_code failed;
  if (!a.masks.empty() && !std::filesystem::is_directory(a.masks, failed)) {
    throw UsageError(fmt::format("--masks {} is no folder", a.masks));
  }
  LoadedModel network = load(a.model, device);
  if (a.random_weights) initialise(*network.model, a.request.method.seed);
  const ImageFolder folder = read_evaluation_folder(a.data, network.card.classes, a.split);
  for (const std::string& warning : folder.warnings) say(warning);
  a.request.samples = spread_over_classes(folder.samples, a.images, a.request.method.seed);
  a.request.masks = a.masks.empty() ? masks_beside(folder.root) : std::filesystem::path(a.masks);
  if (!a.out.empty()) {
    std::filesystem::create_directories(a.out, failed);
    require(!failed, [&] {
      return fmt::format("cannot make the folder {}: {}", a.out.string(), failed.message());
    });
  }

  std::optional<Progress> progress;
  int64_t done = 0;
  const TrustObserver observer{.begin =
                                   [&](const std::string& label, int64_t total) {
                                     if (progress) progress->finish();
                                     progress.emplace(label, total,
                                                      ProgressOptions{.unit = "maps"});
                                     done = 0;
                                   },
                               .step = [&] { progress->update(++done); }};
  const NetworkTrust trust = measure_network(network, a.request, observer);
  progress->finish();
  progress.reset();

  nlohmann::ordered_json json = {{"model", a.model.path},
                                 {"random_weights", a.random_weights},
                                 {"data", folder.root.string()},
                                 {"seed", a.request.method.seed}};
  json.update(json_of(trust));
  if (!a.out.empty()) {
    write_file_atomically(a.out / "trust.json", to_text(json, 2) + "\n");
    write_file_atomically(a.out / "randomisation.svg", chart_of(trust));
  }
  if (a.print_json) {
    fmt::print("{}\n", to_text(json, 2));
    return 0;
  }
  fmt::print("{} of {} pictures in {}: {} right, {} without looking\n", trust.images,
             folder.samples.size(), folder.root.string(),
             percent(static_cast<double>(trust.correct) / static_cast<double>(trust.images)),
             percent(trust.chance));
  print_randomisation(trust);
  print_curves(trust);
  if (trust.masks > 0) {
    print_pointing(trust, "Pointing game: how often the map's highest pixel lies on the object",
                   &Pointing::hits);
    print_pointing(trust, "Energy: the share of the map's positive values on the object",
                   &Pointing::energy);
  } else {
    fmt::print("\nNo masks of the objects{}, and so no pointing game.\n",
               a.request.masks.empty() ? "" : " for these pictures in " + a.request.masks.string());
  }
  print_verdict(trust);
  if (!a.out.empty()) {
    fmt::print("\nwritten: {0}/trust.json, {0}/randomisation.svg\n", a.out.string());
  }
  return 0;
}

}  // namespace

void add_trust(CLI::App& app, Action& action) {
  CLI::App* command = app.add_subcommand(
      "trust", "Check over many pictures whether a network's explanations can be trusted.");
  command->footer(
      "Example:\n"
      "  glassnet trust run photos --method gradcam,saliency,lime --out trust\n"
      "  glassnet trust run photos --random-weights     # must fail: a check of the check");
  auto arguments = std::make_shared<Arguments>();
  Arguments& a = *arguments;
  add_model_arguments(*command, a.model);
  command
      ->add_option("DATA", a.data,
                   "a data set with a folder a class in each split, or a folder a class")
      ->required();
  command->add_option("--split", a.split, "whose pictures are taken")->capture_default_str();
  command
      ->add_option("--method", a.request.methods,
                   fmt::format("any of {}", fmt::join(known_methods(), ", ")))
      ->delimiter(',')
      ->allow_extra_args(false)
      ->capture_default_str();
  command->add_option("--images", a.images, "pictures, spread over the classes")
      ->check(CLI::Range(2, 1'000'000))
      ->capture_default_str();
  command
      ->add_option("--sanity-images", a.request.sanity_images,
                   "of them, those explained again after each layer that is drawn anew")
      ->check(CLI::Range(1, 1'000'000))
      ->capture_default_str();
  command->add_option(
      "--masks", a.masks,
      "folder of masks, CLASS/NAME.png of CLASS/NAME.jpg, white on the object (default: where "
      "`glassnet scenes` puts them)");
  command->add_flag("--random-weights", a.random_weights,
                    "draw all parameters anew first: what a network looks like that fails");
  MethodOptions& m = a.request.method;
  command
      ->add_option("--layer", m.layers,
                   "the layer that class activation maps look at, or several, comma separated "
                   "(default: the last stage)")
      ->delimiter(',')
      ->allow_extra_args(false);
  command
      ->add_option("--superpixels", m.superpixels,
                   "LIME's: quickshift, slic:50, felzenszwalb:100, grid:8")
      ->capture_default_str();
  command->add_option("--samples", m.samples, "LIME's: a number, auto or exact")
      ->capture_default_str();
  command
      ->add_option("--seed", m.seed, "of the choice of pictures, random maps and parameters, LIME")
      ->check(CLI::Range(INT64_C(0), INT64_MAX))
      ->capture_default_str();
  command->add_option("--out", a.out, "folder for trust.json and randomisation.svg");
  command->add_flag("--json", a.print_json, "print JSON");
  add_device_arguments(*command, a.device);
  command->callback([=, &action] { action = [arguments] { return run(*arguments); }; });
}

}  // namespace glassnet::cli
