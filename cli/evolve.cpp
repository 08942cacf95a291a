#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>
#include <numeric>
#include <optional>
#include <system_error>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "cli/command.h"
#include "cli/evolution_html.h"
#include "cli/output.h"
#include "cli/page_explanations.h"
#include "kernels/error.h"
#include "report/evolution_figure.h"
#include "report/terminal.h"
#include "tensor/file.h"
#include "tensor/utf8.h"
#include "training/evolution.h"
#include "training/evolution_files.h"
#include "training/instanceflow.h"

namespace glassnet::cli {
namespace {

namespace fs = std::filesystem;

struct Arguments {
  std::string log;
  std::vector<std::string> beside;
  EpochRange epochs;
  std::vector<std::string> out;
  std::string format = "metrics";
  size_t thumbnail_bytes = EvolutionHtml{}.thumbnail_bytes;
  std::string explain = "0";
  DeviceArguments device;
  int64_t top = 5;
  bool json = false;
};

// --- files ---------------------------------------------------------------------------------------

// What a file's ending asks for. Of two that fit, the first counts.
struct OutputKind {
  const char* ending;
  void (*save)(const fs::path&, const History&, const Evolution&);
};

void save_log(const fs::path& path, const History& history, const Evolution& evolution) {
  save_instanceflow(path, history, evolution.window);
}

void save_png(const fs::path& path, const History& history, const Evolution& evolution) {
  write_png(path, evolution_figure(history, evolution, {.scale = 2}));
}

void save_svg(const fs::path& path, const History& history, const Evolution& evolution) {
  write_file_atomically(path, evolution_figure_svg(history, evolution));
}

constexpr const char* kInstanceFlow = ".instanceflow.json";
constexpr std::array<OutputKind, 5> kOutputs = {{
    {kInstanceFlow, save_log},
    {".json", save_evolution_json},
    {".csv", save_evolution_csv},
    {".png", save_png},
    {".svg", save_svg},
}};

// The page, which is made of the logs themselves, and of several.
constexpr const char* kHtml = ".html";

const OutputKind& output_kind(const std::string& path, const std::string& format) {
  const std::string name =
      format == "instanceflow" && path.ends_with(".json") ? kInstanceFlow : path;
  std::vector<const char*> endings = {kHtml};
  for (const OutputKind& kind : kOutputs) {
    if (name.ends_with(kind.ending)) return kind;
    endings.push_back(kind.ending);
  }
  throw UsageError(fmt::format("--out {} must end in one of {}", path, fmt::join(endings, ", ")));
}

void refuse_to_overwrite_the_log(const Arguments& a) {
  for (const std::string& out : a.out) {
    std::error_code ignored;
    if (fs::equivalent(out, a.log, ignored)) {
      throw UsageError(fmt::format("--out {} would be written over the log itself", out));
    }
  }
}

// --- tables --------------------------------------------------------------------------------------

// A log's name for something, short enough for a table.
std::string in_table(const std::string& name) {
  constexpr int kWidest = 40;
  return fit_columns(printable(name), kWidest);
}

std::string decimals(double value) {
  return std::isnan(value) ? "nan" : fmt::format("{:.2f}", value);
}
void print_epochs(const Evolution& evolution) {
  const auto& epochs = evolution.epochs;
  const bool losses = epochs.front().loss.has_value();
  std::vector<Column> columns = {
      {""}, {"epoch", Align::kRight}, {"accuracy", Align::kRight}, {"flux", Align::kRight}};
  if (losses) columns.push_back({"loss", Align::kRight});
  Table table(columns);
  const auto row = [&](const char* which, const EpochEvolution& epoch) {
    std::vector<std::string> cells = {which, fmt::format("{}", epoch.epoch),
                                      percent(epoch.accuracy),
                                      epoch.flux ? percent(*epoch.flux) : ""};
    if (losses) cells.push_back(decimals(*epoch.loss));
    table.add_row(cells);
  };
  row("first", epochs.front());
  row("best", *std::max_element(epochs.begin(), epochs.end(), [](const auto& a, const auto& b) {
        return a.correct < b.correct;
      }));
  row("last", epochs.back());
  fmt::print("{}\n", table.str());
}

void print_classes(const History& history, const Evolution& evolution) {
  Table table({{"true class"},
               {"images", Align::kRight},
               {"frequency", Align::kRight},
               {"variability", Align::kRight},
               {"misclassified", Align::kRight}});
  ClassEvolution all;
  const auto row = [&](const std::string& name, const ClassEvolution& of) {
    std::vector<std::string> cells = {name, fmt::format("{}", of.images), "", "", ""};
    if (of.images > 0) {
      cells[2] = decimals(of.frequency);
      cells[3] = decimals(of.variability);
      cells[4] = decimals(of.misclassification_rate);
    }
    table.add_row(cells);
  };
  const auto images = static_cast<double>(history.images.size());
  for (size_t c = 0; c < evolution.classes.size(); ++c) {
    const ClassEvolution& of = evolution.classes[c];
    row(in_table(history.classes[c]), of);
    const double weight = static_cast<double>(of.images) / images;
    all.images += of.images;
    all.frequency += weight * of.frequency;
    all.variability += weight * of.variability;
    all.misclassification_rate += weight * of.misclassification_rate;
  }
  table.add_rule();
  row("all", all);
  fmt::print("{}\n", table.str());
}

// "sea ×3, forest, sea ×8": what was predicted, and for how many epochs; long ones lose their
// middle.
std::string predictions(const History& history, const EpochRange& window, size_t image) {
  std::vector<std::pair<int32_t, int64_t>> runs;
  for (int64_t epoch = window.first; epoch <= window.last; ++epoch) {
    const int32_t label = history.row(epoch)[image];
    if (runs.empty() || runs.back().first != label) runs.emplace_back(label, 0);
    ++runs.back().second;
  }
  constexpr size_t kEnds = 3;
  std::string text;
  for (size_t i = 0; i < runs.size(); ++i) {
    if (runs.size() > 2 * kEnds && i == kEnds) {
      text += ", …";
      i = runs.size() - kEnds;
    }
    const auto& [label, epochs] = runs[i];
    text += fmt::format("{}{}{}", text.empty() ? "" : ", ",
                        in_table(history.classes[static_cast<size_t>(label)]),
                        epochs > 1 ? fmt::format(" ×{}", epochs) : "");
  }
  return text;
}

// The images that `before` puts first, as far as `counts` says that there is something to tell.
template <class Before, class Counts>
void print_images(const char* heading, const History& history, const Evolution& evolution,
                  int64_t top, Before&& before, Counts&& counts) {
  std::vector<size_t> order;
  for (size_t i = 0; i < evolution.images.size(); ++i) {
    if (counts(evolution.images[i])) order.push_back(i);
  }
  const auto shown = std::min(static_cast<size_t>(top), order.size());
  if (shown == 0) return;
  std::partial_sort(order.begin(), order.begin() + static_cast<int64_t>(shown), order.end(),
                    [&](size_t a, size_t b) {
                      const auto &x = evolution.images[a], &y = evolution.images[b];
                      if (before(x, y) != before(y, x)) return before(x, y);
                      return a < b;
                    });
  Table table({{heading},
               {"true class"},
               {"changes", Align::kRight},
               {"classes", Align::kRight},
               {"wrong", Align::kRight},
               {"predictions"}});
  for (size_t i = 0; i < shown; ++i) {
    const ImageEvolution& of = evolution.images[order[i]];
    const HistoryImage& image = history.images[order[i]];
    table.add_row(
        {in_table(image.id), in_table(history.classes[static_cast<size_t>(image.true_class)]),
         fmt::format("{}", of.changes), fmt::format("{}", of.variability),
         decimals(of.misclassification_rate), predictions(history, evolution.window, order[i])});
  }
  fmt::print("{}\n", table.str());
}

// Ordered also where there is none, or no number.
double confidence(const ImageEvolution& of) {
  return of.confidence && !std::isnan(*of.confidence) ? *of.confidence : 0.0;
}

void print_tables(const History& history, const Evolution& evolution, int64_t top) {
  const EpochRange& window = evolution.window;
  fmt::print("{} images of {} classes, epochs {} to {} of {}\n\n", history.images.size(),
             history.classes.size(), window.first, window.last, history.epochs());
  print_epochs(evolution);
  print_classes(history, evolution);
  print_images(
      "most changes", history, evolution, top,
      [](const ImageEvolution& a, const ImageEvolution& b) {
        return std::pair(a.changes, a.variability) > std::pair(b.changes, b.variability);
      },
      [](const ImageEvolution& of) { return of.changes > 0; });
  print_images(
      "most often wrong", history, evolution, top,
      [](const ImageEvolution& a, const ImageEvolution& b) {
        return a.wrong != b.wrong ? a.wrong > b.wrong : confidence(a) < confidence(b);
      },
      [](const ImageEvolution& of) { return of.wrong > 0; });
}

// Its sentences on what is missing are said.
EvolutionDocument document_of(const Arguments& a) {
  EvolutionHtml page{.logs = {a.log}, .window = a.epochs, .thumbnail_bytes = a.thumbnail_bytes};
  page.logs.insert(page.logs.end(), a.beside.begin(), a.beside.end());
  EvolutionDocument document = read_evolution(page);
  if (const int64_t count = parse_explain(a.explain); count > 0) {
    MethodOptions method{.samples = kPageSamples, .trust = Trust::kNone};
    RunExplanations run(a.log, {.method = std::move(method), .device = use_device(a.device)});
    document.page.runs[0].explanations = explain_telling(run, count, document.missing);
  }
  for (const std::string& sentence : document.missing) say(sentence);
  return document;
}

int run(const Arguments& a) {
  const auto is_page = [](const std::string& out) { return out.ends_with(kHtml); };
  for (const std::string& out : a.out) {
    if (!is_page(out)) output_kind(out, a.format);
  }
  const auto is_json = [](const std::string& out) { return out.ends_with(".json"); };
  if (a.format == "instanceflow" && std::ranges::none_of(a.out, is_json)) {
    throw UsageError("--format instanceflow is for a .json file; add --out FILE.json");
  }
  if (!a.beside.empty() && std::ranges::none_of(a.out, is_page)) {
    throw UsageError("--beside is for a page; add --out FILE.html");
  }
  if (parse_explain(a.explain) > 0) {
    if (std::ranges::none_of(a.out, is_page)) {
      throw UsageError("--explain is for a page; add --out FILE.html");
    }
    if (!fs::is_directory(a.log)) {
      throw UsageError(
          fmt::format("--explain needs a run's folder with weights; {} is a log alone", a.log));
    }
  }
  refuse_to_overwrite_the_log(a);
  for (const std::string& out : a.out) require_writable(out);
  const History history = read_history(a.log);
  const Evolution evolution = evolve(history, a.epochs);
  if (a.json) {
    write_evolution_json(history, evolution, [](std::string_view text) {
      std::fwrite(text.data(), 1, text.size(), stdout);
    });
  } else {
    print_tables(history, evolution, a.top);
  }
  std::optional<EvolutionDocument> document;  // of every page, since explaining takes minutes
  for (const std::string& out : a.out) {
    std::string sizes;
    if (is_page(out)) {
      if (!document) document = document_of(a);
      sizes = fmt::format(", {}", save_evolution_html(out, *document));
    } else {
      output_kind(out, a.format).save(out, history, evolution);
    }
    if (!a.json) fmt::print("written: {}{}\n", out, sizes);
  }
  return 0;
}

}  // namespace

void add_evolve(CLI::App& app, Action& action) {
  CLI::App* command = app.add_subcommand(
      "evolve", "Show how the predictions for each test image changed while a network learned.");
  command->footer(
      "LOG is a run's folder, a file of InstanceFlow's (.json), or a table (.csv) with a line an\n"
      "image: its name, its true class, and what it was predicted as in each epoch.\n\n"
      "Files end in .html (the page, which needs nothing but a browser), .svg or .png (a figure),\n"
      ".json (all metrics), .csv (those of each image) or .instanceflow.json (the log, for\n"
      "InstanceFlow). docs/confusion-evolution.md says what the numbers mean.\n\n"
      "Examples:\n"
      "  glassnet evolve run --out run.html\n"
      "  glassnet evolve run --beside other-run --out both.html\n"
      "  glassnet evolve run --out figure.svg\n"
      "  glassnet evolve run --from 10 --out metrics.json --out images.csv\n"
      "  glassnet evolve run --out run.instanceflow.json");
  auto arguments = std::make_shared<Arguments>();
  Arguments& a = *arguments;
  command->add_option("LOG", a.log, "a run's folder, or a .json or .csv file")->required();
  command->add_option("--from", a.epochs.first, "the first epoch that counts")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command->add_option("--to", a.epochs.last, "the last (default: the log's last)")
      ->check(CLI::PositiveNumber);
  command
      ->add_option(
          "--out", a.out,
          "file to write: .html, .svg, .png, .json, .csv or .instanceflow.json; repeatable")
      ->allow_extra_args(false)
      ->type_name("FILE");
  command
      ->add_option("--format", a.format,
                   "what a .json holds: metrics, or instanceflow as .instanceflow.json does")
      ->check(CLI::IsMember({"metrics", "instanceflow"}))
      ->capture_default_str();
  command
      ->add_option("--beside", a.beside,
                   "another log on the page, such as a run with another seed; repeatable")
      ->allow_extra_args(false)
      ->type_name("LOG");
  command
      ->add_option("--thumbnails", a.thumbnail_bytes,
                   "what thumbnails in the page may take: 500kB, 24MiB; where they take more, they "
                   "lie in a folder beside it; 0: none")
      ->transform(CLI::AsSizeValue(false))
      ->capture_default_str();
  command
      ->add_option("--explain", a.explain,
                   "explain so many of a run's most telling images on the page, or all; report "
                   "does more")
      ->type_name("N")
      ->capture_default_str();
  command->add_option("--top", a.top, "images to show that changed or were wrong most")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command->add_flag("--json", a.json, "print the metrics as JSON");
  add_device_arguments(*command, a.device);
  command->callback([=, &action] { action = [arguments] { return run(*arguments); }; });
}

}  // namespace glassnet::cli
