#include <algorithm>
#include <filesystem>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include "cli/command.h"
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
  std::string trust = "curves";
  ExplainRequest request;
  bool print_json = false;
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

int run(Arguments& a) {
  const Device device = use_device(a.device);
  for (const std::string& method : a.request.methods) require_known_method(method);
  a.request.method.trust = parse_trust(a.trust);
  a.request.png = a.request.npy = a.request.json = false;
  for (const std::string& form : a.save) {
    (form == "png" ? a.request.png : form == "npy" ? a.request.npy : a.request.json) = true;
  }
  LoadedModel network = load(a.model, device);
  a.request.images = expand_images(a.images);
  refuse_to_write_among(a.images, a.request.out);

  Progress progress("explaining", static_cast<int64_t>(a.request.images.size()));
  const ExplainOutcome outcome =
      explain_images(network, a.request, [&](int64_t done, int64_t) { progress.update(done); });
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

}  // namespace

void add_explain(CLI::App& app, Action& action) {
  CLI::App* command =
      app.add_subcommand("explain", "Show which parts of pictures a network's answer rests on.");
  command->footer(
      "Example:\n"
      "  glassnet explain run photo.jpg holiday/ --method gradcam,saliency,lime --out maps\n"
      "  glassnet explain run photo.jpg --class glacier --save png,npy,json --out maps");
  auto arguments = std::make_shared<Arguments>();
  Arguments& a = *arguments;
  add_model_arguments(*command, a.model);
  command->add_option("IMAGE", a.images, "pictures, or folders of them")->required();
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
  command
      ->add_option("--trust", a.trust,
                   "what is measured of each map: none; curves: deletion and insertion, beside "
                   "random maps; all: also infidelity and max-sensitivity")
      ->capture_default_str();
  command->add_option("--opacity", m.opacity, "of maps on pictures")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  command
      ->add_option("--seed", m.seed,
                   "of LIME's samples, SmoothGrad's and VarGrad's noise, and random maps")
      ->capture_default_str();
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
  command->add_option("--out", a.request.out, "folder for the results")->required();
  command->add_option("--save", a.save, "png: overlays and a sheet; npy, json: the raw maps")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->check(CLI::IsMember({"png", "npy", "json"}))
      ->capture_default_str();
  command->add_flag("--json", a.print_json, "print what was explained as JSON");
  add_device_arguments(*command, a.device);
  command->callback([=, &action] { action = [arguments] { return run(*arguments); }; });
}

}  // namespace glassnet::cli
