#include <algorithm>
#include <filesystem>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include "cli/command.h"
#include "cli/explain_data.h"
#include "cli/explain_images.h"
#include "cli/output.h"
#include "data/folder.h"
#include "report/terminal.h"

namespace glassnet::cli {
namespace {

struct Arguments {
  ModelArguments model;
  DeviceArguments device;
  std::vector<std::string> images, save = {"png"};
  std::string data, split = "test", only = "all", trust;
  int64_t limit = 0;
  ExplainRequest request;
  bool grid = false, print_json = false;
};

// Explanations inside a folder that is explained would be explained the next time.
void refuse_to_write_among(const std::vector<std::string>& arguments,
                           const std::filesystem::path& out) {
  const std::filesystem::path target = std::filesystem::weakly_canonical(out);
  for (const std::string& argument : arguments) {
    if (!std::filesystem::is_directory(argument)) continue;
    const std::filesystem::path folder = std::filesystem::canonical(argument);
    const auto [end, rest] =
        std::mismatch(folder.begin(), folder.end(), target.begin(), target.end());
    if (end == folder.end()) {
      throw UsageError(
          fmt::format("--out {} lies in {}, whose pictures are explained; choose a "
                      "folder outside of it",
                      out.string(), argument));
    }
  }
}

int explain_pictures(Arguments& a, LoadedModel& network) {
  const auto saves = [&](const char* form) { return std::ranges::count(a.save, form) > 0; };
  a.request.png = saves("png");
  a.request.svg = saves("svg");
  a.request.npy = saves("npy");
  a.request.json = saves("json");
  a.request.images = expand_images(a.images);
  refuse_to_write_among(a.images, a.request.out);

  Progress progress("explaining", static_cast<int64_t>(a.request.images.size()));
  int64_t pictures = 0;
  a.request.method.progress = [&](const std::string& note) { progress.update(pictures, note); };
  const ExplainOutcome outcome = explain_images(
      network, a.request, [&](int64_t done, int64_t) { progress.update(pictures = done); });
  progress.finish();

  const std::vector<std::string>& classes = network.card.classes;
  if (a.print_json) {
    nlohmann::ordered_json list = nlohmann::json::array();
    for (const ExplainedImage& image : outcome.explained) {
      nlohmann::json files = nlohmann::json::array();
      for (const auto& file : image.files) files.push_back(file.string());
      list.push_back(
          {{"image", image.image.string()},
           {"predicted", classes[image.predicted]},
           {"probability", image.probabilities[image.predicted]},
           {"class", classes[image.target]},
           {"against", image.against ? nlohmann::json(classes[*image.against]) : nlohmann::json()},
           {"true_class",
            image.true_class < 0 ? nlohmann::json() : nlohmann::json(classes[image.true_class])},
           {"files", files}});
    }
    fmt::print("{}\n", to_text(list, 2));
  } else {
    size_t files = 0, longest = 0;
    for (const std::string& method : a.request.methods) longest = std::max(longest, method.size());
    for (const ExplainedImage& image : outcome.explained) {
      fmt::print("{}: {} {}{}{}\n", image.image.string(), classes[image.predicted],
                 percent(image.probabilities[image.predicted]),
                 image.target == image.predicted ? "" : ", explained for " + classes[image.target],
                 image.against ? ", against " + classes[*image.against] : "");
      for (const auto& [method, line] : image.lines) {
        if (!line.empty()) fmt::print("  {:<{}}  {}\n", method, longest, line);
      }
      // Of one picture in full; of more it would bury the lines.
      if (outcome.explained.size() == 1 && !image.table.empty()) fmt::print("\n{}\n", image.table);
      files += image.files.size();
    }
    fmt::print("{} files in {}\n", files + outcome.sheets.size(), a.request.out.string());
    for (const auto& page : outcome.sheets) fmt::print("side by side: {}\n", page.string());
  }
  for (const std::string& failure : outcome.failures) {
    complain(failure);
  }
  return outcome.failures.empty() ? 0 : 1;
}

int explain_split(const Arguments& a, LoadedModel& network) {
  refuse_to_write_among({a.data}, a.request.out);
  const DataOutcome outcome = explain_data(network, {.weights = a.model.path,
                                                     .data = a.data,
                                                     .split = a.split,
                                                     .only = a.only,
                                                     .limit = a.limit,
                                                     .methods = a.request.methods,
                                                     .target = a.request.target,
                                                     .against = a.request.against,
                                                     .method = a.request.method,
                                                     .out = a.request.out,
                                                     .grid = a.grid});
  const std::vector<std::string>& classes = network.card.classes;
  if (a.print_json) {
    nlohmann::ordered_json cells = nlohmann::ordered_json::array();
    for (const ExplainedCell& cell : outcome.cells) cells.push_back(as_json(cell, classes));
    nlohmann::ordered_json all = {{"images", outcome.images},
                                  {"right", outcome.right},
                                  {"explained", outcome.explained},
                                  {"explained_before", outcome.before},
                                  {"cells", cells}};
    fmt::print("{}\n", to_text(all, 2));
    return 0;
  }
  fmt::print("{} of {} images are predicted rightly, {}\n", outcome.right, outcome.images,
             percent(static_cast<double>(outcome.right) / static_cast<double>(outcome.images)));
  if (outcome.explained == 0) {
    fmt::print("none of them is {}, so there is nothing to explain\n", a.only);
    return 0;
  }
  Table table({{"true class"}, {"predicted"}, {"explained", Align::kRight}});
  constexpr size_t kMostRows = 12;
  for (const ExplainedCell& cell : outcome.cells) {
    table.add_row(
        {classes[cell.true_class], classes[cell.predicted], fmt::format("{}", cell.images)});
    if (&cell - outcome.cells.data() + 1 == kMostRows) break;
  }
  fmt::print("\n{}", table.str());
  if (outcome.cells.size() > kMostRows) {
    fmt::print("and {} more\n", outcome.cells.size() - kMostRows);
  }
  fmt::print("\n{} by {} in {}\n",
             outcome.explained == 1 ? std::string("the map of one image")
                                    : fmt::format("the maps of {} images", outcome.explained),
             fmt::join(a.request.methods, ", "), a.request.out.string());
  for (const auto& sheet : outcome.sheets) fmt::print("contact sheet: {}\n", sheet.string());
  return 0;
}

int run(Arguments& a, const CLI::App& command) {
  const bool of_data = !a.data.empty();
  if (of_data != a.images.empty()) {
    throw UsageError(of_data ? "explain takes pictures or --data, not both"
                             : "explain needs pictures, or --data and a data set; see --help");
  }
  for (const char* option : {"--split", "--only", "--limit", "--grid"}) {
    if (!of_data && command.count(option) > 0) {
      throw UsageError(fmt::format("{} needs --data and a data set", option));
    }
  }
  if (of_data && command.count("--save") > 0) {
    throw UsageError("--save is for pictures; of a data set, maps are always kept as .npy");
  }
  std::vector<std::string> methods;
  for (const std::string& method : a.request.methods) {
    require_known_method(method);
    if (std::ranges::count(methods, method) == 0) methods.push_back(method);
  }
  a.request.methods = methods;
  a.request.method.trust =
      a.trust.empty() ? (of_data ? Trust::kNone : Trust::kCurves) : parse_trust(a.trust);
  const Device device = use_device(a.device);
  LoadedModel network = load(a.model, device);
  return of_data ? explain_split(a, network) : explain_pictures(a, network);
}

}  // namespace

void add_explain(CLI::App& app, Action& action) {
  CLI::App* command =
      app.add_subcommand("explain", "Show which parts of pictures a network's answer rests on.");
  command->footer(
      "Example:\n"
      "  glassnet explain run photo.jpg holiday/ --method gradcam,saliency,lime --out maps\n"
      "  glassnet explain run photo.jpg --class glacier --save png,npy,json --out maps\n"
      "  glassnet explain run --data photos --only wrong --method gradcam,lime --grid --out maps");
  auto arguments = std::make_shared<Arguments>();
  Arguments& a = *arguments;
  add_model_arguments(*command, a.model);
  command->add_option("IMAGE", a.images, "pictures, or folders of them");
  command
      ->add_option("--method", a.request.methods,
                   fmt::format("any of {}", fmt::join(known_methods(), ", ")))
      ->delimiter(',')
      ->allow_extra_args(false)
      ->capture_default_str();
  command
      ->add_option("--class", a.request.target,
                   "what to explain: predicted, or a class's name or index")
      ->capture_default_str();
  command
      ->add_option("--against", a.request.against,
                   "explain the difference to this class's score: a name or index, none, or auto: "
                   "the true class, where the predicted one is another (not for lime)")
      ->capture_default_str();
  MethodOptions& m = a.request.method;
  command
      ->add_option("--layer", m.layers,
                   "the layer that class activation maps look at, or several, comma separated, for "
                   "the mean of their maps (default: the last stage)")
      ->delimiter(',')
      ->allow_extra_args(false);
  command->add_option(
      "--trust", a.trust,
      "what is measured of each map: none, which is far quicker (the default with --data); curves: "
      "deletion and insertion, beside random maps (the default of pictures: 66 forward passes a "
      "map, and once 198 a picture); all: also infidelity and max-sensitivity");
  command->add_option("--opacity", m.opacity, "of maps on pictures")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  command
      ->add_option("--seed", m.seed,
                   "of LIME's samples, SmoothGrad's and VarGrad's noise, and random maps")
      ->check(CLI::Range(INT64_C(0), INT64_MAX))
      ->capture_default_str();
  const std::string data = "A data set";
  command
      ->add_option("--data", a.data,
                   "explain the images of a data set, or of a folder a class, instead of pictures; "
                   "a killed run goes on when it is called again")
      ->group(data);
  command->add_option("--split", a.split, "of the data set: test, train")
      ->check(CLI::IsMember({"test", "train"}))
      ->capture_default_str()
      ->group(data);
  command->add_option("--only", a.only, "of the images: all, or those predicted right or wrong")
      ->check(CLI::IsMember({"all", "right", "wrong"}))
      ->capture_default_str()
      ->group(data);
  command->add_option("--limit", a.limit, "at most so many, evenly spread over the data")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 40))
      ->group(data);
  command
      ->add_flag("--grid", a.grid,
                 "contact sheets: the most certain wrong and right predictions, and the classes "
                 "that are confused most")
      ->group(data);
  const std::string lime = "LIME";
  command
      ->add_option("--superpixels", m.superpixels,
                   "quickshift, slic:50, felzenszwalb:100, grid:8, or a file of labels for the "
                   "network's input: .npy, or a PNG with a colour for each superpixel")
      ->capture_default_str()
      ->group(lime);
  command
      ->add_option("--samples", m.samples,
                   "a number; auto: until the five strongest are settled; exact: every mask, for "
                   "up to 12 superpixels")
      ->capture_default_str()
      ->group(lime);
  command
      ->add_option(
          "--hide", m.hide,
          "what hidden superpixels become: mean, of their colours, or a colour: 127,127,127")
      ->capture_default_str()
      ->group(lime);
  command
      ->add_option(
          "--lime-precision", m.lime_precision,
          "of its forward passes: fp32, bf16 or on a GPU fp16, with the deviation from fp32 beside "
          "the standard errors")
      ->check(CLI::IsMember({"fp32", "bf16", "fp16"}))
      ->capture_default_str()
      ->group(lime);
  command->add_option("--out", a.request.out, "folder for the results")->required();
  command
      ->add_option(
          "--save", a.save,
          "png: overlays and a sheet; svg: the sheet with text that can be searched; npy, json: "
          "the raw maps")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->check(CLI::IsMember({"png", "svg", "npy", "json"}))
      ->capture_default_str();
  command->add_flag("--json", a.print_json, "print what was explained as JSON");
  add_device_arguments(*command, a.device);
  command->callback(
      [=, &action] { action = [arguments, command] { return run(*arguments, *command); }; });
}

}  // namespace glassnet::cli
