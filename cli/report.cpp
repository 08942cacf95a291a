#include <algorithm>
#include <filesystem>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include "cli/command.h"
#include "cli/evolution_html.h"
#include "cli/network_trust.h"
#include "cli/output.h"
#include "cli/page_explanations.h"
#include "cli/summary.h"
#include "report/terminal.h"
#include "tensor/file.h"
#include "training/evolution.h"
#include "training/metrics.h"
#include "training/options.h"
#include "training/run_folder.h"

namespace glassnet::cli {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr const char* kLime = "lime";

struct Arguments {
  std::string run, out, explain = "24";
  std::vector<std::string> beside;
  RunExplanationOptions explanations;
  DeviceArguments device;
  size_t thumbnail_bytes = EvolutionHtml{}.thumbnail_bytes;
  int64_t trust_images = 24, sanity_images = 8;
  bool no_trust = false;
};

// --- what was trained, and how -------------------------------------------------------------------

// A value of config.json as people write it.
std::string in_words(const Json& value) {
  if (value.is_null()) return "–";
  if (value.is_boolean()) return value.get<bool>() ? "yes" : "no";
  if (value.is_string()) return value.get<std::string>().empty() ? "–" : value.get<std::string>();
  if (value.is_number_float()) return fmt::format("{:.6g}", value.get<double>());
  if (value.is_number()) return grouped(value.get<int64_t>());
  std::vector<std::string> parts;
  for (const auto& [key, item] : value.items()) {
    parts.push_back(value.is_object() ? fmt::format("{} {}", key, in_words(item)) : in_words(item));
  }
  return parts.empty() ? "–" : fmt::format("{}", fmt::join(parts, value.is_object() ? "; " : ", "));
}

// config.json in groups; a key that is in none of them is in the last.
Json configuration_of(const RunFolder& run) {
  const std::vector<std::pair<const char*, std::vector<std::string>>> groups = {
      {"Data",
       {"data", "train_images", "validation_images", "test_images", "classes", "image_size", "fit",
        "decoder", "mean", "std", "augment", "validation_split", "image_list"}},
      {"Network", {"model", "parameters", "pretrained", "zero_init_residual", "freeze"}},
      {"Optimization",
       {"epochs", "batch_size", "optimizer", "learning_rate", "lr_scale", "schedule",
        "warmup_epochs", "step_epochs", "momentum", "nesterov", "weight_decay", "decay",
        "clip_norm", "label_smoothing", "patience", "stop_by", "seed", "keep_epochs"}},
      {"Machine", {}}};
  Json config = Json::parse(read_file(run.config()));
  // A thousand names would bury the rest.
  constexpr size_t kMostNames = 20;
  if (config["classes"].size() > kMostNames) config["classes"] = config["classes"].size();
  Json result = Json::array();
  for (const auto& [title, keys] : groups) {
    Json rows = Json::array();
    const auto add = [&](std::string key) {
      const std::string value = key == "seed" ? config[key].dump() : in_words(config[key]);
      config.erase(key);
      std::ranges::replace(key, '_', ' ');
      rows.push_back({key, value});
    };
    if (keys.empty()) {
      std::vector<std::string> rest;
      for (const auto& [key, value] : config.items()) rest.push_back(key);
      std::ranges::for_each(rest, add);
    }
    for (const std::string& key : keys) {
      if (config.contains(key)) add(key);
    }
    result.push_back({{"title", title}, {"rows", rows}});
  }
  return result;
}

// The layers of a stage, "layer1" of "layer1.0.conv1", are one row of the short table.
Json model_of(LoadedModel& network) {
  const ModelSummary summary = summarise(*network.model, network.card.image_size);
  Json stages = Json::array();
  for (const LayerSummary& layer : summary.layers) {
    const std::string path = layer.path.substr(0, layer.path.find('.'));
    if (stages.empty() || stages.back()["path"] != path) {
      stages.push_back({{"path", path}, {"layers", 0}, {"parameters", 0}, {"flops", 0}});
    }
    Json& stage = stages.back();
    stage["layers"] = stage["layers"].get<int64_t>() + 1;
    stage["parameters"] = stage["parameters"].get<int64_t>() + layer.parameters;
    stage["flops"] = stage["flops"].get<int64_t>() + 2 * layer.multiply_adds;
    stage["output"] = layer.output.dims();
    if (stage["layers"] == 1) {
      stage["kind"] = layer.kind;
    } else {
      stage.erase("kind");
    }
  }
  return {{"name", network.card.model},
          {"imageSize", network.card.image_size},
          {"parameters", summary.parameters},
          {"flops", 2 * summary.multiply_adds},
          {"stages", stages},
          {"layers", layers_json(summary)}};
}

Json confusion_of(const History& history, int64_t epoch) {
  Json cells = Json::array(), classes = Json::array();
  for (const ConfusionCell& cell : confusion_cells_at(history, epoch)) {
    cells.push_back({cell.true_class, cell.predicted, cell.count});
  }
  const ClassificationMetrics metrics = class_metrics_at(history, epoch);
  for (const ClassMetrics& of : metrics.classes) {
    classes.push_back(
        {{"images", of.images}, {"precision", of.precision}, {"recall", of.recall}, {"f1", of.f1}});
  }
  return {{"epoch", epoch},
          {"accuracy", metrics.accuracy},
          {"classes", classes},
          {"cells", cells},
          {"macro",
           {{"precision", metrics.macro_precision},
            {"recall", metrics.macro_recall},
            {"f1", metrics.macro_f1}}}};
}

Json facts_of(const History& history, int64_t epoch, const std::vector<EpochMetrics>& metrics,
              const Json& model, const Json& confusion) {
  double seconds = 0;
  for (const EpochMetrics& of : metrics) seconds += of.seconds;
  const auto images = std::ssize(history.images);
  Json facts = Json::array();
  facts.push_back({"test accuracy", percent(confusion["accuracy"].get<double>()),
                   fmt::format("after epoch {} of {}", epoch, history.epochs())});
  facts.push_back({"mean F1", percent(confusion["macro"]["f1"].get<double>()),
                   fmt::format("over {} classes", history.classes.size())});
  facts.push_back({"test images", grouped(images), ""});
  facts.push_back({"network", model["name"],
                   fmt::format("{} parameters", grouped(model["parameters"].get<int64_t>()))});
  facts.push_back({"input", fmt::format("{0} × {0}", model["imageSize"].get<int>()), "pixels"});
  facts.push_back({"training", duration(seconds), fmt::format("for {} epochs", history.epochs())});
  return facts;
}

// --- trust ---------------------------------------------------------------------------------------

Json json_of(const Comparison& c) {
  return {{"mean", c.mean},
          {"chance", c.chance},
          {"gain", c.gain},
          {"standardError", c.standard_error},
          {"better", c.better()}};
}

// Deletion and insertion over the images that are explained.
Json trust_of_examples(const std::vector<ShownExplanation>& explanations) {
  Json rows = Json::array();
  const size_t methods = explanations.empty() ? 0 : explanations[0].maps.size();
  for (size_t m = 0; m < methods; ++m) {
    Json row = {{"method", explanations[0].maps[m].method}};
    for (const auto& [name, sign] : {std::pair("deletion", -1), std::pair("insertion", 1)}) {
      std::vector<double> values, random;
      for (const ShownExplanation& of : explanations) {
        for (const ShownMeasure& measure : of.maps[m].trust) {
          if (measure.name != name) continue;
          values.push_back(measure.value);
          random.push_back(measure.random);
        }
      }
      row[name] = json_of(compare(values, random, sign));
    }
    rows.push_back(row);
  }
  return rows;
}

Json trust_of(const NetworkTrust& trust, const std::vector<ShownExplanation>& explanations) {
  Json methods = Json::array();
  for (const MethodTrust& m : trust.methods) {
    Json rows = Json::array(), pointing = Json::array();
    for (const RandomisedLayer& row : m.randomised) {
      rows.push_back({{"layer", row.layer}, {"correlation", row.correlation}});
    }
    for (const Pointing& row : m.pointing) {
      pointing.push_back({{"class", row.of},
                          {"images", row.images},
                          {"hits", json_of(row.hits)},
                          {"energy", json_of(row.energy)}});
    }
    methods.push_back({{"method", m.method},
                       {"passes", trust.passes(m)},
                       {"doubts", m.doubts},
                       {"deletion", json_of(m.deletion)},
                       {"insertion", json_of(m.insertion)},
                       {"randomisation", rows},
                       {"meanCorrelation", m.mean_correlation},
                       {"staysHigh", m.mean_correlation >= kStaysHigh},
                       {"pointing", pointing}});
  }
  return {{"images", trust.images},
          {"correct", trust.correct},
          {"sanityImages", trust.sanity_images},
          {"masks", trust.masks},
          {"doubts", trust.doubts},
          {"methods", methods},
          {"ofExamples", trust_of_examples(explanations)}};
}

NetworkTrust measure(RunExplanations& run, const Arguments& a) {
  const ImageFolder folder = read_evaluation_folder(run.data(), run.classes());
  TrustRequest request{
      .samples = spread_over_classes(folder.samples, a.trust_images, a.explanations.method.seed),
      .masks = masks_beside(folder.root),
      .sanity_images = a.sanity_images,
      .method = a.explanations.method};
  // A LIME for each image and each stage that is drawn anew would take longer than all the rest.
  request.methods.clear();
  for (const std::string& method : a.explanations.methods) {
    if (method != kLime) request.methods.push_back(method);
  }
  std::unique_ptr<Progress> progress;
  int64_t done = 0;
  const TrustObserver observer{.begin =
                                   [&](const std::string& label, int64_t total) {
                                     progress.reset();
                                     progress =
                                         std::make_unique<Progress>("trust: " + label, total);
                                     done = 0;
                                   },
                               .step = [&] { progress->update(++done); }};
  return measure_network(run.network(), request, observer);
}

// --- all of it -----------------------------------------------------------------------------------

int run(Arguments& a) {
  require_evolution_page();
  const int64_t count = parse_explain(a.explain);
  const fs::path out = a.out.empty() ? fs::path(a.run) / "report.html" : fs::path(a.out);
  if (out.extension() != ".html") {
    throw UsageError(fmt::format("--out {} must end in .html", out.string()));
  }
  require(RunFolder(a.run).holds_run(), [&] { return a.run + ": there is no run in this folder"; });
  load_config(RunFolder(a.run).config());  // says what is wrong with it
  require_writable(out);
  std::vector<std::string> methods;
  for (const std::string& method : a.explanations.methods) {
    require_known_method(method);
    if (std::ranges::count(methods, method) == 0) methods.push_back(method);
  }
  a.explanations.methods = methods;
  a.explanations.method.trust = a.no_trust ? Trust::kNone : Trust::kCurves;
  a.explanations.device = use_device(a.device);

  RunExplanations run(a.run, a.explanations);
  LoadedModel& network = run.network();
  const History& history = run.history();
  const int64_t epoch = run.best_epoch();
  const RunFolder folder(a.run);
  std::vector<EpochMetrics> metrics = folder.read_metrics();

  Json report = {{"run", fs::absolute(a.run).lexically_normal().filename().string()},
                 {"program", "Glassnet " GLASSNET_VERSION},
                 {"best", epoch},
                 {"configuration", configuration_of(folder)},
                 {"model", model_of(network)},
                 {"confusion", confusion_of(history, epoch)}};
  report["facts"] = facts_of(history, epoch, metrics, report["model"], report["confusion"]);
  report["metrics"] = Json::array();
  for (const EpochMetrics& of : metrics) report["metrics"].push_back(Json::parse(to_json(of)));
  report["methods"] = Json::array();
  for (const std::string& method : methods) {
    report["methods"].push_back({{"method", method}, {"name", title_of(method)}});
  }

  EvolutionHtml html{
      .logs = {a.run}, .data = a.explanations.data, .thumbnail_bytes = a.thumbnail_bytes};
  html.logs.insert(html.logs.end(), a.beside.begin(), a.beside.end());
  EvolutionDocument document = read_evolution(html);
  EvolutionRun& of = document.page.runs[0];
  of.explanations = explain_telling(run, count, document.missing);
  report["trust"] = a.no_trust ? Json() : trust_of(measure(run, a), of.explanations);
  document.page.title = fmt::format("Report of {}", of.name);
  document.page.report = to_text(report);
  for (const std::string& sentence : document.missing) say(sentence);
  fmt::print("written: {}, {}\n", out.string(), save_evolution_html(out, std::move(document)));
  return 0;
}

}  // namespace

void add_report(CLI::App& app, Action& action) {
  CLI::App* command = app.add_subcommand(
      "report", "Write everything about a run into one page: what it learnt, how, and why.");
  command->footer(
      "The page needs nothing but a browser: configuration, network, curves, Confusion Evolution,\n"
      "confusion matrix, right and wrong examples with their explanations, trust checks, and what\n"
      "the methods can tell. Explained are the test images that tell most: confidently wrong,\n"
      "wavering, forgotten and confidently right ones in turn, of every class; with train\n"
      "--keep-epochs also by the weights of those epochs.\n\n"
      "Examples:\n"
      "  glassnet report run\n"
      "  glassnet report run --explain 60 --method gradcam,ig,lime --out report.html\n"
      "  glassnet report run --data photos --no-trust");
  auto arguments = std::make_shared<Arguments>();
  Arguments& a = *arguments;
  a.explanations.method.samples = kPageSamples;
  command->add_option("RUN", a.run, "a run's folder")->required();
  command->add_option("--out", a.out, "the page (default: report.html in the run's folder)")
      ->type_name("FILE");
  command->add_option("--data", a.explanations.data,
                      "the photographs, where they are not where the run was trained");
  command->add_option("--explain", a.explain, "so many of the test images that tell most, or all")
      ->type_name("N")
      ->capture_default_str();
  command
      ->add_option("--method", a.explanations.methods,
                   fmt::format("any of {}", fmt::join(known_methods(), ", ")))
      ->delimiter(',')
      ->allow_extra_args(false)
      ->capture_default_str();
  command
      ->add_option("--samples", a.explanations.method.samples,
                   "of LIME: a number; auto: until the five strongest are settled")
      ->capture_default_str();
  command->add_flag("--no-trust", a.no_trust,
                    "leave the trust checks out, which take about as long as the explanations");
  command
      ->add_option("--beside", a.beside,
                   "another log in Confusion Evolution, such as a run with another seed; "
                   "repeatable")
      ->allow_extra_args(false)
      ->type_name("LOG");
  command
      ->add_option("--thumbnails", a.thumbnail_bytes,
                   "what thumbnails in the page may take; where they take more, they lie in a "
                   "folder beside it; 0: none")
      ->transform(CLI::AsSizeValue(false))
      ->capture_default_str();
  command->add_option("--seed", a.explanations.method.seed, "of LIME's samples and random maps")
      ->check(CLI::Range(INT64_C(0), INT64_MAX))
      ->capture_default_str();
  add_device_arguments(*command, a.device);
  command->callback([=, &action] { action = [arguments] { return run(*arguments); }; });
}

}  // namespace glassnet::cli
