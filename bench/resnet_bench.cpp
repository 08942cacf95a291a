// How quickly residual networks run and learn.
//
//   build/bench/glassnet_bench --benchmark_filter=resnet50
//   build/bench/glassnet_bench --device cuda --precision bf16,fp16 --batch 32,256 --mode graph
//
// `forward` is an evaluation without recording; `train` is a whole step: forward, cross-entropy,
// backward and an SGD update with momentum, as the trainer takes it. Inputs are random and lie
// ready on the device, so that neither decoding nor augmentation is timed. In mode `eager` every
// step is queued kernel by kernel; in mode `graph` it is replayed from a recorded CUDA graph.
//
// On request (--what lime,gradcam,saliency) explanations: a step of `lime` is `batch` drawn
// pictures one after the other, as those of a data set, from their pixels to the fit of 1,000
// samples each, their superpixels included; one of the others is the maps of `batch` images at
// once, fetched.
//
// A measurement takes groups of steps of at least half a second, with a wait for the device at the
// end of each (a training step tells its loss and so waits every time); `images/s` and `ms` are
// those of the median group. On the CPU, `of_peak` compares with the multiply-adds that the machine
// reaches in registers (bench/machine_peak.h), counting for a batch of N images
//
//   forward   2 N M                   M: multiply-adds of convolutions and linear layers per image
//   train     2 N (3 M - M_stem)      forward, data gradient and weight gradient cost M each; the
//                                     first convolution needs no data gradient
#include <benchmark/benchmark.h>
#include <fmt/format.h>
#include <omp.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "bench/machine_peak.h"
#include "data/loader.h"
#include "data/scenes.h"
#include "models/resnet.h"
#include "models/summary.h"
#include "nn/graphed.h"
#include "tensor/overlap.h"
#include "tensor/plan_folder.h"
#include "tensor/random.h"
#include "training/optimizer.h"
#include "training/train_step.h"
#include "xai/explain.h"
#include "xai/lime.h"
#include "xai/superpixels.h"

#if defined(GLASSNET_CUDA)
#include "kernels/cuda/runtime.h"
#endif

namespace glassnet {
namespace {

constexpr int kGroups = 5;
constexpr double kGroupSeconds = 0.5;
constexpr int64_t kClasses = 1000;

struct Case {
  std::string model;
  int image_size;
  int64_t batch;
  std::string precision;  // "fp32", "bf16", "fp16"
  bool graph;             // captured in a CUDA graph
};

Device device;
double peak_flops = 0;  // of the CPU

DType type_of(const std::string& precision) {
  if (precision == "bf16") return DType::kBFloat16;
  return precision == "fp16" ? DType::kFloat16 : DType::kFloat32;
}

void wait_for_device() {
#if defined(GLASSNET_CUDA)
  if (device.type == DeviceType::kCuda) {
    kernels::synchronize(kernels::current_cuda(device.index));
  }
#endif
}

Tensor random_images(const Case& c) {
  const Tensor images = random_normal({c.batch, c.image_size, c.image_size, 3}, 1, /*seed=*/1,
                                      static_cast<uint64_t>(Stream::kUser));
  return images.to(device).to(type_of(c.precision));
}

Tensor labels_in_turn(int64_t count, int64_t classes) {
  std::vector<int64_t> labels(static_cast<size_t>(count));
  for (size_t i = 0; i < labels.size(); ++i) labels[i] = static_cast<int64_t>(i) % classes;
  return Tensor::from(labels, {count}).to(device);
}

double seconds_of(const std::function<void()>& work) {
  using Clock = std::chrono::steady_clock;
  const auto begin = Clock::now();
  work();
  wait_for_device();
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

// Times `step`, which has run before, and tells what came out.
void measure(benchmark::State& state, const Case& c, double flops_per_step,
             const std::function<void()>& step) {
  reset_peak_memory(device);
  // As many steps as make a group, from what the last of a few takes.
  double last = 0;
  for (int i = 0; i < 3 && last < kGroupSeconds; ++i) last = seconds_of(step);
  const auto steps = std::max<int64_t>(1, static_cast<int64_t>(kGroupSeconds / last + 1));

  std::vector<double> taken;  // seconds of a step, in each group
  for (auto _ : state) {
    const double seconds = seconds_of([&] {
      for (int64_t i = 0; i < steps; ++i) step();
    });
    taken.push_back(seconds / static_cast<double>(steps));
    state.SetIterationTime(taken.back());
  }
  std::sort(taken.begin(), taken.end());
  const double median = taken[taken.size() / 2];
  state.counters["images/s"] = static_cast<double>(c.batch) / median;
  state.counters["ms"] = median * 1e3;
  state.counters["ms_min"] = taken.front() * 1e3;
  state.counters["ms_max"] = taken.back() * 1e3;
  state.counters["TFLOP/s"] = flops_per_step / median / 1e12;
  if (device.type == DeviceType::kCpu) {
    state.counters["of_peak"] = flops_per_step / median / peak_flops;
  }
  state.counters["peak_MiB"] = static_cast<double>(memory_stats(device).peak_bytes) / (1 << 20);
}

// Runs before anything is timed: plans are made, the memory cache is filled, graphs are recorded.
constexpr int kWarmUpSteps = 3;

void forward(benchmark::State& state, const Case& c) {
  const auto model = make_model(c.model, {.classes = kClasses});
  initialise(*model, /*seed=*/0);
  const ModelSummary summary = summarise(*model, c.image_size);
  model->eval();
  model->to(device);
  const Tensor images = random_images(c);
  const NoGrad no_grad;
  GraphedForward graphed(*model);
  const auto step = [&] {
    if (c.graph) {
      graphed(images);
    } else {
      (*model)(Variable(images));
    }
  };
  for (int i = 0; i < kWarmUpSteps; ++i) step();
  measure(state, c, 2.0 * static_cast<double>(c.batch * summary.multiply_adds), step);
}

void train_step(benchmark::State& state, const Case& c) {
  const auto model = make_model(c.model, {.classes = kClasses});
  initialise(*model, /*seed=*/0);
  const ModelSummary summary = summarise(*model, c.image_size);
  model->to(device);
  const auto sgd = make_sgd(model->named_parameters());
  TrainStep train(*model, *sgd, {.compute = type_of(c.precision), .graph = c.graph});
  Batch batch;
  batch.images = random_images(c);
  batch.labels = labels_in_turn(c.batch, kClasses);

  const auto step = [&] {
    // The same work at a rate of 0: on one batch the loss would soon vanish, and gradients that are
    // denormal numbers cost the processor a hundred times as much.
    train.start(batch, 0);
    train.finish();
  };
  for (int i = 0; i < kWarmUpSteps; ++i) step();
  if (c.graph && train.replayed() == 0) {
    throw Error("the step runs without a graph: " + train.why_not_graphed());
  }
  const int64_t stem = summary.layers.front().multiply_adds;
  measure(state, c, 2.0 * static_cast<double>(c.batch * (3 * summary.multiply_adds - stem)), step);
}

// Of an image.
double multiply_adds_of(const Case& c) {
  const auto model = make_model(c.model, {.classes = kClasses});
  return static_cast<double>(summarise(*model, c.image_size).multiply_adds);
}

std::unique_ptr<Module> frozen_model(const Case& c) {
  auto model = make_model(c.model, {.classes = kClasses});
  initialise(*model, /*seed=*/0);
  model->eval();
  model->set_requires_grad(false);
  model->to(device);
  return model;
}

void lime_of_pictures(benchmark::State& state, const Case& c) {
  const auto model = frozen_model(c);
  std::vector<Image> pictures;
  for (int64_t i = 0; i < c.batch; ++i) {
    pictures.push_back(
        draw_scene(/*label=*/0, /*seed=*/0, static_cast<uint64_t>(i), c.image_size).image);
  }
  SideQueue beside(device);
  const LimeOptions options{.precision = type_of(c.precision)};
  const auto step = [&] {
    size_t next = 0;
    lime_stream(
        *model,
        [&]() -> std::optional<LimeJob> {
          if (next == pictures.size()) return {};
          const Image& picture = pictures[next++];
          const SideQueue::Scope scope(beside);
          const Tensor pixels = Tensor::from(picture.rgb, {picture.height, picture.width, 3});
          return LimeJob{.picture = picture, .superpixels = quickshift(pixels, {}, device)};
        },
        [](int64_t, const LimeResult&) {}, options);
  };
  step();
  const double samples = static_cast<double>(c.batch * options.samples);
  measure(state, c, 2.0 * samples * multiply_adds_of(c), step);
}

// A map's gradients are taken to cost what the forward pass does.
void maps(benchmark::State& state, const Case& c, const char* method, double passes) {
  const auto model = frozen_model(c);
  const Tensor images = random_images(c);
  const std::vector<Target> targets(static_cast<size_t>(c.batch), Target(0));
  const auto step = [&] { explain_each(*model, images, method, targets, {}); };
  for (int i = 0; i < kWarmUpSteps; ++i) step();
  measure(state, c, 2.0 * passes * static_cast<double>(c.batch) * multiply_adds_of(c), step);
}
void grad_cam(benchmark::State& state, const Case& c) {
  maps(state, c, "gradcam", 1);
}
void saliency_maps(benchmark::State& state, const Case& c) {
  maps(state, c, "saliency", 2);
}

void register_case(const char* what, void (*run)(benchmark::State&, const Case&), const Case& c) {
  const std::string name = fmt::format("{}/{}/{}px/batch:{}/{}/{}", what, c.model, c.image_size,
                                       c.batch, c.precision, c.graph ? "graph" : "eager");
  const auto guarded = [=](benchmark::State& state) {
    try {
      run(state, c);
    } catch (const std::exception& error) {  // too little memory, say: the next one may fit
      state.SkipWithError(error.what());
    }
    release_cached_memory(device);
  };
  benchmark::RegisterBenchmark(name.c_str(), guarded)
      ->Unit(benchmark::kMillisecond)
      ->Iterations(kGroups)
      ->UseManualTime();
}

}  // namespace
}  // namespace glassnet

int main(int argc, char** argv) {
  using namespace glassnet;
  std::string device_name = "cpu";
  std::vector<std::string> models, precisions = {"fp32"}, modes = {"eager"};
  std::vector<std::string> what = {"forward", "train"};
  std::vector<int> image_sizes;
  std::vector<int64_t> batches = {1, 32};
  CLI::App app("Times residual networks; what it does not know goes to Google Benchmark.");
  app.allow_extras();
  app.add_option("--device", device_name, "cpu, cuda, cuda:1")->capture_default_str();
  app.add_option("--model", models, "resnet50 and resnet18, unless named")->delimiter(',');
  app.add_option("--image-size", image_sizes, "224 for resnet50, 150 for resnet18, unless named")
      ->delimiter(',');
  app.add_option("--batch", batches, "images in a step")->delimiter(',')->capture_default_str();
  app.add_option("--precision", precisions, "fp32, bf16, fp16")
      ->delimiter(',')
      ->check(CLI::IsMember({"fp32", "bf16", "fp16"}))
      ->capture_default_str();
  app.add_option("--mode", modes, "eager, graph")
      ->delimiter(',')
      ->check(CLI::IsMember({"eager", "graph"}))
      ->capture_default_str();
  app.add_option("--what", what, "forward, train, lime, gradcam, saliency")
      ->delimiter(',')
      ->check(CLI::IsMember({"forward", "train", "lime", "gradcam", "saliency"}))
      ->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  try {
    device = choose_device(device_name).device;
    use_plan_folder();
  } catch (const std::exception& error) {
    fmt::print(stderr, "glassnet_bench: {}\n", error.what());
    return 1;
  }
  if (device.type == DeviceType::kCpu && modes != std::vector<std::string>{"eager"}) {
    fmt::print(stderr, "glassnet_bench: --mode graph needs --device cuda\n");
    return 2;
  }

  std::vector<std::pair<std::string, int>> networks;
  for (const std::string& model :
       models.empty() ? std::vector<std::string>{"resnet50", "resnet18"} : models) {
    const int usual_size = model == "resnet18" ? 150 : 224;
    for (const int size : image_sizes.empty() ? std::vector<int>{usual_size} : image_sizes) {
      networks.emplace_back(model, size);
    }
  }
  for (const auto& [model, image_size] : networks) {
    for (const std::string& precision : precisions) {
      for (const std::string& mode : modes) {
        for (const int64_t batch : batches) {
          const Case c = {model, image_size, batch, precision, mode == "graph"};
          const auto add = [&](const char* name, void (*run)(benchmark::State&, const Case&)) {
            if (std::ranges::count(what, name) > 0) register_case(name, run, c);
          };
          add("forward", forward);
          add("train", train_step);
          add("lime", lime_of_pictures);
          add("gradcam", grad_cam);
          add("saliency", saliency_maps);
        }
      }
    }
  }

  std::vector<std::string> others = app.remaining();
  others.insert(others.begin(), argv[0]);
  std::vector<char*> arguments;
  for (std::string& other : others) arguments.push_back(other.data());
  int count = static_cast<int>(arguments.size());
  benchmark::Initialize(&count, arguments.data());
  if (benchmark::ReportUnrecognizedArguments(count, arguments.data())) return 2;
  for (const DeviceInfo& info : list_devices()) {
    if (info.device == device) benchmark::AddCustomContext("machine", info.name);
  }
  if (device.type == DeviceType::kCpu) {
    peak_flops = measure_peak_flops();
    benchmark::AddCustomContext(
        "float32 peak", fmt::format("{:.0f} GFLOP/s measured with {} threads", peak_flops / 1e9,
                                    omp_get_max_threads()));
  }
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
