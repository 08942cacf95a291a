#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <omp.h>
#include <nlohmann/json.hpp>

#include "cli/command.h"
#include "cli/output.h"
#include "kernels/profile.h"
#include "models/resnet.h"
#include "report/terminal.h"
#include "report/timeline.h"
#include "tensor/file.h"
#include "tensor/random.h"
#include "training/train_step.h"
#include "xai/explain.h"

namespace glassnet::cli {
namespace {

struct Arguments {
  std::string model;
  std::string what = "forward";
  std::string by = "op";
  int64_t batch_size = 32;
  int image_size = 0;
  std::string precision = "fp32";
  int repeats = 5;
  std::vector<std::string> out;
  bool json = false;
  DeviceArguments device;
};

// --- steps ---------------------------------------------------------------------------------------

// What is profiled; it returns when the device is done.
using Step = std::function<void()>;

Step training_step(Module& model, const Tensor& images, DType type) {
  struct Training {
    std::unique_ptr<Optimizer> sgd;
    std::unique_ptr<TrainStep> step;
    Batch batch;
  };
  const auto training = std::make_shared<Training>();
  model.train();
  training->sgd = make_sgd(model.named_parameters());
  // Ops of a recorded graph cannot be told apart.
  training->step = std::make_unique<TrainStep>(model, *training->sgd,
                                               TrainStepOptions{.compute = type, .graph = false});
  const Tensor logits = [&] {
    const NoGrad no_grad;
    const Evaluating evaluating(model);
    return model(Variable(images.slice(0, 1))).value();
  }();
  std::vector<int64_t> labels(static_cast<size_t>(images.dim(0)));
  for (size_t i = 0; i < labels.size(); ++i) labels[i] = static_cast<int64_t>(i) % logits.dim(1);
  training->batch.images = images;
  training->batch.labels = Tensor::from(labels, {images.dim(0)}).to(images.device());
  // The same work at a rate of 0: on one batch the loss would soon vanish, and gradients that are
  // denormal numbers cost a processor a hundred times as much.
  return [training] {
    training->step->start(training->batch, 0);
    training->step->finish();
  };
}

Step step_of(const std::string& what, Module& model, const Tensor& images, DType type) {
  if (what == "train") return training_step(model, images, type);
  model.eval();
  model.set_requires_grad(false);
  if (what == "forward") {
    return [&model, images] {
      const NoGrad no_grad;
      model(Variable(images)).value().to(Device{});
    };
  }
  return [&model, images, what] {
    explain_each(model, images, what, std::vector<Target>(static_cast<size_t>(images.dim(0)), 0),
                 {});
  };
}

struct Measured {
  std::vector<Span> spans;  // of the median step
  double without = 0;       // milliseconds of the median step that nobody looks at
};

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

// Steps of either kind in turn, after two in which memory is gathered and plans are made.
Measured measure(Module& model, const Step& step, int repeats, Device device) {
  std::map<const void*, std::string> paths;
  for (const auto& [path, module] : model.named_modules()) paths[module] = path;
  const bool on_gpu = device.type == DeviceType::kCuda;
  for (int i = 0; i < 2; ++i) step();
  std::vector<double> without;
  std::vector<std::vector<Span>> profiled;
  for (int i = 0; i < repeats; ++i) {
    const auto begin = std::chrono::steady_clock::now();
    step();
    without.push_back(
        std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin)
            .count());
    Profile profile(paths, on_gpu ? std::optional(device.index) : std::nullopt);
    step();
    profiled.push_back(profile.finish());
  }
  std::ranges::sort(profiled, {}, [](const auto& spans) { return spans.front().duration(); });
  return {std::move(profiled[profiled.size() / 2]), median(without)};
}

// --- sums ----------------------------------------------------------------------------------------

// What some ops took together, and did.
struct Sum {
  int64_t calls = 0;
  double ms = 0;
  int64_t multiply_adds = 0, bytes = 0;

  void add(const Span& op, double self) {
    ++calls;
    ms += self;
    multiply_adds += op.multiply_adds;
    bytes += op.bytes;
  }
  double gflops() const { return 2e-6 * static_cast<double>(multiply_adds) / ms; }
  // "331 GFLOP/s" or, of what multiplies nothing, "28 GB/s".
  std::string rate() const {
    if (ms <= 0) return "";
    if (multiply_adds > 0) return fmt::format("{:.{}f} GFLOP/s", gflops(), gflops() < 9.5 ? 1 : 0);
    return bytes > 0 ? fmt::format("{:.1f} GB/s", 1e-6 * static_cast<double>(bytes) / ms) : "";
  }
};

struct OpLine {
  std::string op, shape;
  Sum sum;
};
struct Phase {
  std::string name;
  double ms = 0;  // between its ops, too
  std::vector<OpLine> ops;
};
struct LayerLine {
  std::string path;
  Sum forward, backward;
};
struct Sums {
  double total = 0, between = 0;  // milliseconds
  std::vector<Phase> phases;      // as they began
  std::vector<LayerLine> layers;  // likewise
};

template <class T>
T& line_called(std::vector<T>& lines, const std::string& name, std::string T::*member) {
  const auto found = std::ranges::find(lines, name, member);
  if (found != lines.end()) return *found;
  T& line = lines.emplace_back();
  line.*member = name;
  return line;
}

// What is neither in a phase nor in a layer.
constexpr const char* kOther = "other";

Sums sums_of(const std::vector<Span>& spans) {
  Sums sums{.total = spans.front().duration(), .between = spans.front().duration()};
  const std::vector<double> self = self_times(spans);
  for (size_t i = 1; i < spans.size(); ++i) {
    const Span& span = spans[i];
    if (span.kind == Span::Kind::kPhase && span.parent == 0) {
      line_called(sums.phases, span.name, &Phase::name).ms += span.duration();
    }
    if (span.kind != Span::Kind::kOp) continue;
    sums.between -= self[i];
    const Span* around = outermost(spans, i, Span::Kind::kPhase);
    Phase& phase =
        line_called(sums.phases, around != nullptr ? around->name : kOther, &Phase::name);
    if (around == nullptr) phase.ms += self[i];
    auto op = std::ranges::find_if(phase.ops, [&](const OpLine& line) {
      return line.op == span.name && line.shape == span.shape;
    });
    if (op == phase.ops.end()) op = phase.ops.insert(op, {.op = span.name, .shape = span.shape});
    op->sum.add(span, self[i]);

    const Span* layer = nearest(spans, i, Span::Kind::kLayer);
    LayerLine& line =
        line_called(sums.layers, layer != nullptr ? layer->name : fmt::format("({})", phase.name),
                    &LayerLine::path);
    (phase.name == "backward" ? line.backward : line.forward).add(span, self[i]);
  }
  std::stable_partition(sums.phases.begin(), sums.phases.end(),
                        [](const Phase& phase) { return phase.name != kOther; });
  return sums;
}

// Of all shapes together, and the longest first.
std::vector<OpLine> lines_of(const Phase& phase, bool shapes) {
  std::vector<OpLine> lines;
  for (const OpLine& op : phase.ops) {
    if (shapes) {
      lines.push_back(op);
      continue;
    }
    Sum& sum = line_called(lines, op.op, &OpLine::op).sum;
    sum.calls += op.sum.calls;
    sum.ms += op.sum.ms;
    sum.multiply_adds += op.sum.multiply_adds;
    sum.bytes += op.sum.bytes;
  }
  std::ranges::stable_sort(lines, std::greater<>(), [](const OpLine& line) { return line.sum.ms; });
  return lines;
}

// --- what is shown -------------------------------------------------------------------------------

std::string milliseconds(double ms) {
  return fmt::format("{:.2f}", ms);
}

std::string table_by_op(const Sums& sums, bool shapes) {
  std::vector<Column> columns = {{"op"}};
  if (shapes) columns.push_back({"of"});
  for (const char* heading : {"calls", "ms", "share", "rate"}) {
    columns.push_back({heading, Align::kRight});
  }
  Table table(columns);
  const auto add = [&](const std::string& name, const std::string& shape, int64_t calls, double ms,
                       const std::string& rate) {
    std::vector<std::string> cells = {name};
    if (shapes) cells.push_back(shape);
    cells.push_back(calls > 0 ? std::to_string(calls) : "");
    cells.push_back(milliseconds(ms));
    cells.push_back(percent(ms / sums.total));
    cells.push_back(rate);
    table.add_row(cells);
  };
  for (const Phase& phase : sums.phases) {
    add(phase.name, "", 0, phase.ms, "");
    for (const auto& [op, shape, sum] : lines_of(phase, shapes)) {
      add(fmt::format("  {}", op), shape, sum.calls, sum.ms, sum.rate());
    }
  }
  table.add_rule();
  add("between ops", "", 0, sums.between, "");
  add("step", "", 0, sums.total, "");
  return table.str();
}

std::string table_by_layer(const Sums& sums) {
  Table table({{"layer"},
               {"forward ms", Align::kRight},
               {"rate", Align::kRight},
               {"backward ms", Align::kRight},
               {"rate", Align::kRight},
               {"share", Align::kRight}});
  const auto cell = [](const Sum& sum) { return sum.calls > 0 ? milliseconds(sum.ms) : ""; };
  for (const auto& [path, forward, backward] : sums.layers) {
    table.add_row({path, cell(forward), forward.rate(), cell(backward), backward.rate(),
                   percent((forward.ms + backward.ms) / sums.total)});
  }
  table.add_rule();
  table.add_row(
      {"between ops", milliseconds(sums.between), "", "", "", percent(sums.between / sums.total)});
  table.add_row({"step", milliseconds(sums.total), "", "", "", percent(1)});
  return table.str();
}

nlohmann::ordered_json json_of(const Sum& sum) {
  return {
      {"calls", sum.calls}, {"ms", sum.ms}, {"flops", 2 * sum.multiply_adds}, {"bytes", sum.bytes}};
}

nlohmann::ordered_json json_of(const Sums& sums) {
  nlohmann::ordered_json phases = nlohmann::json::array(), layers = nlohmann::json::array();
  for (const Phase& phase : sums.phases) {
    nlohmann::ordered_json ops = nlohmann::json::array();
    for (const auto& [op, shape, sum] : lines_of(phase, /*shapes=*/true)) {
      nlohmann::ordered_json line = {{"op", op}, {"shape", shape}};
      line.update(json_of(sum));
      ops.push_back(std::move(line));
    }
    phases.push_back({{"phase", phase.name}, {"ms", phase.ms}, {"ops", std::move(ops)}});
  }
  for (const auto& [path, forward, backward] : sums.layers) {
    layers.push_back(
        {{"layer", path}, {"forward", json_of(forward)}, {"backward", json_of(backward)}});
  }
  return {{"ms", sums.total},
          {"between_ops_ms", sums.between},
          {"phases", std::move(phases)},
          {"layers", std::move(layers)}};
}

// Trace Event Format (Google, 2016): complete events, whose times are microseconds.
std::string trace_of(const std::vector<Span>& spans, const std::string& title) {
  constexpr std::array kCategories = {"phase", "layer", "op"};
  nlohmann::ordered_json events = nlohmann::json::array();
  events.push_back(
      {{"name", "process_name"}, {"ph", "M"}, {"pid", 1}, {"args", {{"name", title}}}});
  for (size_t i = 0; i < spans.size(); ++i) {
    const Span& span = spans[i];
    nlohmann::ordered_json event = {{"name", span.name},
                                    {"cat", kCategories[static_cast<size_t>(span.kind)]},
                                    {"ph", "X"},
                                    {"ts", std::round(1e6 * span.begin) / 1e3},
                                    {"dur", std::round(1e6 * span.duration()) / 1e3},
                                    {"pid", 1},
                                    {"tid", 1}};
    if (span.kind == Span::Kind::kOp) {
      const Span* layer = nearest(spans, i, Span::Kind::kLayer);
      event["args"] = {{"shape", span.shape},
                       {"layer", layer != nullptr ? layer->name : ""},
                       {"flops", 2 * span.multiply_adds},
                       {"bytes", span.bytes}};
    }
    events.push_back(std::move(event));
  }
  return to_text(nlohmann::ordered_json{{"traceEvents", std::move(events)},
                                        {"displayTimeUnit", "ms"}}) +
         "\n";
}

void save(const std::string& path, const std::vector<Span>& spans, const TimelineOptions& words) {
  const std::string ending = std::filesystem::path(path).extension().string();
  if (ending == ".png") {
    TimelineOptions twice = words;
    twice.scale = 2;
    write_png(path, timeline(spans, twice));
  } else if (ending == ".svg") {
    write_file_atomically(path, timeline_svg(spans, words));
  } else {
    write_file_atomically(path, trace_of(spans, words.title));
  }
}

int run(const Arguments& a) {
  for (const std::string& path : a.out) {
    const std::string ending = std::filesystem::path(path).extension().string();
    if (ending != ".json" && ending != ".svg" && ending != ".png") {
      throw UsageError(fmt::format(
          "{}: a profile is written as .json (a trace), .svg or .png (a picture)", path));
    }
    require_writable(path);
  }
  const Device device = use_device(a.device);
  const DType type = use_precision("--precision", a.precision, device);
  Network network = network_of(a.model, a.image_size);
  if (!network.trained) initialise(*network.model, /*seed=*/0);
  network.model->to(device);
  const Tensor images = random_normal({a.batch_size, network.image_size, network.image_size, 3}, 1,
                                      /*seed=*/1, static_cast<uint64_t>(Stream::kUser))
                            .to(device)
                            .to(type);
  const Measured measured =
      measure(*network.model, step_of(a.what, *network.model, images, type), a.repeats, device);
  const Sums sums = sums_of(measured.spans);

  const std::string name = std::filesystem::path(a.model).lexically_normal().filename().string();
  const std::string threads =
      device.type == DeviceType::kCpu ? fmt::format(", {} threads", omp_get_max_threads()) : "";
  const std::string how = fmt::format(
      "{} of {} px, {}, {}{}{}",
      a.batch_size == 1 ? "an image" : fmt::format("{} images", a.batch_size), network.image_size,
      a.precision, device.str(), threads, a.device.winograd ? ", --winograd" : "");
  const std::string which =
      a.repeats == 1 ? "one step" : fmt::format("the median of {} steps", a.repeats);
  const TimelineOptions words{.title = fmt::format("{}, {}", name, a.what),
                              .subtitle = fmt::format("{}; {:.1f} ms, {}", how, sums.total, which)};
  for (const std::string& path : a.out) save(path, measured.spans, words);

  if (a.json) {
    nlohmann::ordered_json result = {{"model", a.model},
                                     {"what", a.what},
                                     {"batch_size", a.batch_size},
                                     {"image_size", network.image_size},
                                     {"precision", a.precision},
                                     {"device", device.str()},
                                     {"winograd", a.device.winograd},
                                     {"without_profiler_ms", measured.without}};
    result.update(json_of(sums));
    fmt::print("{}\n", to_text(result, 2));
    return 0;
  }
  fmt::print("{}: {}, {}\n\n{}without the profiler: {} ms\n", words.title, how, which,
             a.by == "layer" ? table_by_layer(sums) : table_by_op(sums, a.by == "shape"),
             milliseconds(measured.without));
  return 0;
}

}  // namespace

void add_profile(CLI::App& app, Action& action) {
  CLI::App* command = app.add_subcommand("profile", "Show where the time of a step goes.");
  command->footer(
      "A step works on drawn pictures. Times are those of the median step, each op's without that\n"
      "of others that it calls; a rate counts every multiply-add as two, or the bytes that an op\n"
      "reads and writes at least. docs/performance.md reads such tables.\n\n"
      "Examples:\n"
      "  glassnet profile resnet50 --what train --image-size 150\n"
      "  glassnet profile resnet50 --by layer --out timeline.svg\n"
      "  glassnet profile run --what saliency --batch-size 1 --out trace.json   # for Perfetto");
  auto arguments = std::make_shared<Arguments>();
  Arguments& a = *arguments;
  command->add_option("MODEL", a.model, "an architecture, a run folder or a weight file")
      ->required();
  command->add_option("--what", a.what, "the step: forward, train, gradcam, saliency")
      ->check(CLI::IsMember({"forward", "train", "gradcam", "saliency"}))
      ->capture_default_str();
  command->add_option("--by", a.by, "what has a line: an op, an op of one shape, or a layer")
      ->check(CLI::IsMember({"op", "shape", "layer"}))
      ->capture_default_str();
  command->add_option("--batch-size", a.batch_size, "images a step")
      ->check(CLI::Range(1, 65536))
      ->capture_default_str();
  command->add_option("--image-size", a.image_size, "side of the input in pixels")
      ->check(CLI::Range(1, 4096));
  add_precision_argument(*command, a.precision);
  command->add_option("--repeats", a.repeats, "steps with the profiler, and as many without")
      ->check(CLI::Range(1, 10000))
      ->capture_default_str();
  command
      ->add_option("--out", a.out,
                   "file to write: .svg or .png, a timeline; .json, a trace for Perfetto or "
                   "chrome://tracing; repeatable")
      ->allow_extra_args(false)
      ->type_name("FILE");
  command->add_flag("--json", a.json, "print all sums as JSON");
  add_device_arguments(*command, a.device);
  command->callback([=, &action] { action = [arguments] { return run(*arguments); }; });
}

}  // namespace glassnet::cli
