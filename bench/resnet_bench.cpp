// How quickly residual networks run and learn, and what share of the machine's peak that is.
//
//   build/bench/glassnet_bench --benchmark_filter=resnet50
//
// `forward` is an evaluation without recording; `train` is a whole step: forward, cross-entropy,
// backward and an SGD update with momentum. Inputs are random and lie ready, so that neither
// decoding nor augmentation is timed. `of_peak` compares with the multiply-adds that the machine
// reaches in registers (bench/machine_peak.h), counting for a batch of N images
//
//   forward   2 N M                   M: multiply-adds of convolutions and linear layers per image
//   train     2 N (3 M - M_stem)      forward, data gradient and weight gradient cost M each; the
//                                     first convolution needs no data gradient
#include <benchmark/benchmark.h>
#include <fmt/format.h>
#include <omp.h>

#include <string>
#include <utility>
#include <vector>

#include "bench/machine_peak.h"
#include "models/resnet.h"
#include "models/summary.h"
#include "tensor/random.h"
#include "training/optimizer.h"

namespace glassnet {
namespace {

struct Case {
  std::string model;
  int image_size;
  int64_t batch;
};

double peak_flops = 0;

Variable random_images(const Case& c) {
  return Variable(random_normal({c.batch, c.image_size, c.image_size, 3}, 1, /*seed=*/1,
                                static_cast<uint64_t>(Stream::kUser)));
}

Tensor labels_in_turn(int64_t count, int64_t classes) {
  std::vector<int64_t> labels(static_cast<size_t>(count));
  for (size_t i = 0; i < labels.size(); ++i) labels[i] = static_cast<int64_t>(i) % classes;
  return Tensor::from(labels, {count});
}

void report(benchmark::State& state, const Case& c, double flops_per_step) {
  using benchmark::Counter;
  const auto steps = static_cast<double>(state.iterations());
  state.counters["images/s"] = Counter(steps * static_cast<double>(c.batch), Counter::kIsRate);
  state.counters["GFLOP/s"] = Counter(steps * flops_per_step / 1e9, Counter::kIsRate);
  state.counters["of_peak"] = Counter(steps * flops_per_step / peak_flops, Counter::kIsRate);
  state.counters["peak_MiB"] = static_cast<double>(memory_stats().peak_bytes) / (1 << 20);
}

void forward(benchmark::State& state, const Case& c) {
  const auto model = make_model(c.model, {.classes = 1000});
  initialise(*model, /*seed=*/0);
  const ModelSummary summary = summarise(*model, c.image_size);
  model->eval();
  const Variable images = random_images(c);

  const NoGrad no_grad;
  (*model)(images);  // makes the primitives and fills the memory cache
  reset_peak_memory();
  for (auto _ : state) (*model)(images);
  report(state, c, 2.0 * static_cast<double>(c.batch * summary.multiply_adds));
}

void train_step(benchmark::State& state, const Case& c) {
  constexpr int64_t kClasses = 1000;
  const auto model = make_model(c.model, {.classes = kClasses});
  initialise(*model, /*seed=*/0);
  const ModelSummary summary = summarise(*model, c.image_size);
  const auto sgd = make_sgd(model->named_parameters());
  const Variable images = random_images(c);
  const Tensor labels = labels_in_turn(c.batch, kClasses);

  const auto step = [&] {
    const Variable loss = cross_entropy((*model)(images), labels);
    model->clear_grads();
    backward(loss);
    // The same work at a rate of 0: on one batch the loss would soon vanish, and gradients that are
    // denormal numbers cost the processor a hundred times as much.
    sgd->step(0);
  };
  step();
  reset_peak_memory();
  for (auto _ : state) step();
  const int64_t stem = summary.layers.front().multiply_adds;
  report(state, c, 2.0 * static_cast<double>(c.batch * (3 * summary.multiply_adds - stem)));
}

void register_case(const char* what, void (*run)(benchmark::State&, const Case&), const Case& c) {
  const std::string name = fmt::format("{}/{}/{}px/batch:{}", what, c.model, c.image_size, c.batch);
  benchmark::RegisterBenchmark(name.c_str(), [=](benchmark::State& state) { run(state, c); })
      ->Unit(benchmark::kMillisecond)
      ->UseRealTime();
}

}  // namespace
}  // namespace glassnet

int main(int argc, char** argv) {
  using namespace glassnet;
  for (const auto& [model, image_size] : {std::pair{"resnet50", 224}, std::pair{"resnet18", 150}}) {
    for (const int64_t batch : {1, 32}) {
      register_case("forward", forward, {model, image_size, batch});
      register_case("train", train_step, {model, image_size, batch});
    }
  }
  // Longer than Google Benchmark's half a second, unless the command line says otherwise.
  std::string min_time = "--benchmark_min_time=3";
  std::vector<char*> arguments(argv, argv + argc);
  arguments.insert(arguments.begin() + 1, min_time.data());
  int count = static_cast<int>(arguments.size());
  benchmark::Initialize(&count, arguments.data());
  if (benchmark::ReportUnrecognizedArguments(count, arguments.data())) return 2;
  peak_flops = measure_peak_flops();
  benchmark::AddCustomContext("machine", list_devices().front().name);
  benchmark::AddCustomContext("float32 peak", fmt::format("{:.0f} GFLOP/s measured with {} threads",
                                                          peak_flops / 1e9, omp_get_max_threads()));
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
