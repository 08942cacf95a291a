// A Confusion Evolution page for tests/web and for working on report/web:
//
//   glassnet_draw_evolution OUT.html RUN...        of the runs' prediction logs
//   glassnet_draw_evolution OUT.html [OPTION...]   of made-up runs
//
//   --images N --epochs N --classes N --runs N   sizes; 600, 30, 6, 1
//   --bare        without probabilities, losses and thumbnails
//   --thumbnails  a small picture for each image
//   --beside      these in files beside the page
//   --explained   explanations of every seventh image, at two or more kept epochs
//   --report      a report around the page
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
      {"--bare", false},   {"--thumbnails", false}, {"--beside", false}, {"--explained", false},
      {"--report", false}, {"--hostile", false},    {"--example", false}};
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

// What is said of the maps is made up; each kept epoch's drift is 0.1 times its number.
void explain(EvolutionRun& run, bool hostile) {
  Random random(11, Stream::kUser);
  const std::string trap = hostile ? "<img src=x onerror=trapped=1>\u202E" : "";
  for (size_t i = 0; i < run.images.size(); i += 7) {
    const auto at = static_cast<size_t>(run.epochs - 1) * run.images.size() + i;
    ShownExplanation of{.image = static_cast<int64_t>(i),
                        .epoch = run.epochs,
                        .true_class = run.images[i].true_class,
                        .predicted = run.predicted[at],
                        .probability = run.probability[at],
                        .why = "wavering" + trap,
                        .warning = i == 7 ? "The photograph has changed." + trap : "",
                        .photograph = thumbnail(run.images[i].true_class, random)};
    const std::vector<std::pair<std::string, std::string>> methods = {
        {"gradcam", "Grad-CAM"}, {"saliency", "Saliency"}, {"lime", "LIME"}};
    for (const auto& [method, name] : methods) {
      of.maps.push_back({.method = method,
                         .name = name + trap,
                         .note = "a note" + trap,
                         .trust = {{"deletion", 0.2, 0.4, true}, {"insertion", 0.5, 0.6, false}},
                         .picture = thumbnail(static_cast<int64_t>(of.maps.size()), random)});
    }
    for (const int64_t epoch : {int64_t{1}, run.epochs / 2, run.epochs}) {
      ShownEpoch kept{
          .epoch = epoch,
          .predicted = run.predicted[static_cast<size_t>(epoch - 1) * run.images.size() + i],
          .probability = 0.5};
      for (size_t m = 0; m < methods.size(); ++m) {
        kept.maps.push_back({thumbnail(epoch, random),
                             epoch == 1 ? std::nan("") : 0.1 * static_cast<double>(epoch % 10)});
      }
      of.kept.push_back(std::move(kept));
    }
    run.explanations.push_back(std::move(of));
  }
}

// A report in which every part stands, with numbers that are made up.
std::string report_of(const EvolutionRun& run, bool hostile) {
  const std::string trap = hostile ? "</script><img src=x onerror=trapped=1>" : "";
  std::string metrics, classes, cells, pointing;
  for (int64_t e = 1; e <= run.epochs; ++e) {
    const double share = static_cast<double>(e) / static_cast<double>(run.epochs);
    metrics += fmt::format(
        R"({}{{"epoch":{},"train_loss":{},"train_accuracy":{},"test_loss":{},"test_accuracy":{},)"
        R"("flux":{},"learning_rate":0.05}})",
        e > 1 ? "," : "", e, 2 - share, share, e == 2 ? "null" : fmt::format("{}", 2.1 - share),
        0.9 * share, e == 1 ? "null" : "0.1");
  }
  for (size_t c = 0; c < run.classes.size(); ++c) {
    const char* comma = c > 0 ? "," : "";
    classes += fmt::format(R"({}{{"images":10,"precision":0.5,"recall":0.5,"f1":0.5}})", comma);
    cells += fmt::format("{}[{},{},5],[{},{},5]", comma, c, c, c, (c + 1) % run.classes.size());
  }
  const std::string better =
      R"({"mean":0.2,"chance":0.4,"gain":0.2,"standardError":0.01,"better":true})";
  const std::string worse =
      R"({"mean":0.2,"chance":0.2,"gain":null,"standardError":null,"better":false})";
  const std::string methods = fmt::format(
      R"([{{"method":"gradcam","passes":false,"doubts":["no better than random maps{0}"],)"
      R"("deletion":{1},"insertion":{2},"randomisation":[{{"layer":"fc","correlation":0.5}}],)"
      R"("meanCorrelation":0.5,"staysHigh":false,)"
      R"("pointing":[{{"class":"all{0}","images":4,"hits":{1},"energy":{2}}}]}}])",
      trap, better, worse);
  return fmt::format(
      R"({{"run":"a run{0}","program":"Glassnet","best":{1},)"
      R"("facts":[["test accuracy","90 %{0}","after epoch {1}"]],)"
      R"("configuration":[{{"title":"Data","rows":[["data","/photographs{0}"]]}}],)"
      R"("model":{{"name":"resnet18","imageSize":64,"parameters":12,"flops":2000000,)"
      R"("stages":[{{"path":"fc","layers":1,"kind":"Linear","output":[1,6],"parameters":12,)"
      R"("flops":2000000}}],"layers":[{{"path":"fc","kind":"Linear","output":[1,6],)"
      R"("parameters":12,"flops":2000000}}]}},"metrics":[{2}],)"
      R"("confusion":{{"epoch":{1},"accuracy":0.5,"classes":[{3}],"cells":[{4}],)"
      R"("macro":{{"precision":0.5,"recall":0.5,"f1":0.5}}}},)"
      R"("trust":{{"images":4,"correct":2,"sanityImages":2,"masks":4,"doubts":[],)"
      R"("methods":{5},"ofExamples":[{{"method":"lime","deletion":{6},"insertion":{7}}}]}},)"
      R"("methods":[{{"method":"gradcam","name":"Grad-CAM"}},{{"method":"lime","name":"LIME"}}]}})",
      trap, run.epochs, metrics, classes, cells, methods, better, worse);
}

EvolutionRun example() {
  return {.name = "example",
          .classes = {"a", "b", "c"},
          .images = {{"x.png", 2}},
          .epochs = 4,
          .predicted = {2, 2, 1, 2}};
}

void put_beside(const std::filesystem::path& page, EvolutionRun& run) {
  const std::string files = page.stem().string() + "_files";
  std::filesystem::create_directories(page.parent_path() / files);
  for (size_t i = 0; i < run.thumbnails.size(); ++i) {
    run.thumbnail_files.push_back(fmt::format("{}/{}.png", files, i));
    write_file_atomically(page.parent_path() / run.thumbnail_files.back(), run.thumbnails[i]);
  }
  run.thumbnails.clear();
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
  const bool hostile = options.flags.at("--hostile");
  if (options.flags.at("--explained")) explain(data.runs[0], hostile);
  if (options.flags.at("--report")) data.report = report_of(data.runs[0], hostile);
  if (options.flags.at("--beside")) put_beside(arguments[0], data.runs[0]);
  if (hostile) data.title = "</title><script>globalThis.trapped=1</script>\u202E";
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
