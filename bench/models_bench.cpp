// One row of the benchmark of whole networks, for scripts/bench, which takes turns with a peer that
// answers the same (bench/libtorch_bench.cpp).
//
//   glassnet_models_bench prepare MODEL SIZE BATCH FOLDER
//
// writes what both sides read: FOLDER/weights.safetensors, a network as initialised but for
// its blocks, which add a fifth, with torchvision's names, FOLDER/images.npy, (BATCH, SIZE, SIZE,
// 3) float32, and for LIME, likewise float32, FOLDER/sources.npy, a drawn scene and what hides its
// superpixels, (2, SIZE, SIZE, 3), FOLDER/labels.npy, (SIZE, SIZE), and FOLDER/masks.npy, (samples,
// superpixels). It prints the network's multiply-adds for an image, and those of its first
// convolution.
//
//   glassnet_models_bench peak
//
// prints the machine's peak (bench/machine_peak.h) in GFLOP/s.
//
//   glassnet_models_bench WHAT MODE FOLDER
//
// WHAT is forward, train, saliency, gradcam or lime; MODE is eager, winograd to allow Winograd's
// convolutions, or bf16 for forward, train and lime in that type. What it prints and answers stands
// in bench/row.h; its results are logits, losses, a map of the first image, or the probabilities of
// LIME's samples.
#include <cstdio>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "bench/machine_peak.h"
#include "bench/row.h"
#include "data/input.h"
#include "data/loader.h"
#include "data/scenes.h"
#include "kernels/error.h"
#include "kernels/flush_denormals.h"
#include "kernels/policy.h"
#include "models/resnet.h"
#include "models/summary.h"
#include "models/weights.h"
#include "tensor/npy.h"
#include "tensor/random.h"
#include "training/optimizer.h"
#include "training/train_step.h"
#include "xai/explain.h"
#include "xai/lime.h"
#include "xai/superpixels.h"

namespace glassnet {
namespace {

using Row = bench::Row<Tensor>;

constexpr int64_t kClasses = 1000;
constexpr int64_t kLimeSamples = 1000;

Superpixels superpixels_of(const Image& picture) {
  return quickshift(Tensor::from(picture.rgb, {picture.height, picture.width, 3}));
}

// The first one that has as many superpixels at 150 px as the median photograph of the Intel Image
// Classification data: what LIME's samples share depends on it.
Image scene(int size) {
  constexpr int64_t kMedianSuperpixels = 16;
  uint64_t index = 0;
  const auto drawn = [&](int at) { return draw_scene(/*label=*/0, /*seed=*/0, index, at).image; };
  while (superpixels_of(drawn(150)).count != kMedianSuperpixels) ++index;
  return drawn(size);
}

void prepare_lime(int size, const std::string& folder) {
  const Image picture = scene(size);
  const Superpixels superpixels = superpixels_of(picture);
  Tensor sources = Tensor::empty({2, size, size, 3});
  sources.slice(0, 1).copy_from(to_input(picture));
  sources.slice(1, 2).copy_from(to_input(hide_superpixels(picture, superpixels)));
  save_npy(folder + "/sources.npy", sources);
  save_npy(folder + "/labels.npy", superpixels.labels.to(DType::kFloat32));
  const LimeMasks masks = random_lime_masks(kLimeSamples, superpixels.count, LimeOptions{}.seed);
  std::vector<float> shown;
  for (int64_t i = 0; i < kLimeSamples; ++i) {
    for (int64_t j = 0; j < superpixels.count; ++j) shown.push_back(masks.shows(i, j) ? 1 : 0);
  }
  save_npy(folder + "/masks.npy", Tensor::from(shown, {kLimeSamples, superpixels.count}));
}

// Gives the last batch norm of each block, initialised with zero, a weight of 0.2. With one, a deep
// network amplifies the rounding of a last bit to percents of the gradients, and the losses of no
// two programs stay together.
void scale_residuals(Module& network) {
  for (NamedVariable& parameter : network.named_parameters()) {
    Tensor& value = parameter.variable.mutable_value();
    if (parameter.name.ends_with(".weight") && *std::as_const(value).data<float>() == 0) {
      value.fill(0.2);
    }
  }
}

void prepare(const std::string& model, int size, int64_t batch, const std::string& folder) {
  const auto network = make_model(model, {.classes = kClasses, .zero_init_residual = true});
  initialise(*network, /*seed=*/0);
  scale_residuals(*network);
  ModelCard card{.model = model, .image_size = size};
  for (int64_t i = 0; i < kClasses; ++i) card.classes.push_back(fmt::format("{}", i));
  save_weights(folder + "/weights.safetensors", *network, card);
  const ModelSummary summary = summarise(*network, size);
  fmt::print("{} {}\n", summary.multiply_adds, summary.layers.front().multiply_adds);
  save_npy(folder + "/images.npy", random_normal({batch, size, size, 3}, 1, /*seed=*/1,
                                                 static_cast<uint64_t>(Stream::kUser)));
  prepare_lime(size, folder);
}

struct Training {
  std::unique_ptr<Optimizer> sgd;
  TrainStep step;
  Batch batch;
  std::vector<double> losses = {};

  Training(Module& model, const Tensor& images)
      : sgd(make_sgd(model.named_parameters())), step(model, *sgd, {}) {
    model.train();
    std::vector<int64_t> labels;
    for (int64_t i = 0; i < images.dim(0); ++i) labels.push_back(i % kClasses);
    batch.images = images;
    batch.labels = Tensor::from(labels, {images.dim(0)});
  }
  // Timed steps are at a rate of 0: otherwise the loss of one batch would soon vanish, and its
  // gradients with it.
  void take_steps(int64_t count, double learning_rate) {
    losses.clear();
    for (int64_t i = 0; i < count; ++i) {
      step.start(batch, learning_rate);
      losses.push_back(step.finish().loss);
    }
  }
};

Row row_of(const std::string& what, Module& model, const Tensor& images, DType type) {
  if (what == "train") {
    const auto training = std::make_shared<Training>(model, images.to(type));
    return {[=] { training->take_steps(1, 0); },
            [=] {
              return Tensor::from(training->losses,
                                  {static_cast<int64_t>(training->losses.size())});
            },
            [=](int64_t steps) { training->take_steps(steps, bench::kLearningRate); }};
  }
  const auto last = std::make_shared<Tensor>();
  const auto result = [=] { return *last; };
  if (what == "forward") {
    return {[=, &model, x = images.to(type)] {
              const NoGrad no_grad;
              *last = model(Variable(x)).value().to(DType::kFloat32);
            },
            result};
  }
  if (what == "lime") {
    const Image picture = scene(static_cast<int>(images.dim(1)));
    return {[=, &model] {
              const LimeJob job{.picture = picture, .superpixels = superpixels_of(picture)};
              const LimeOptions options{
                  .samples = kLimeSamples, .precision = type, .keep_samples = true};
              *last = lime(model, job, options).probabilities.to(DType::kFloat32);
            },
            result};
  }
  const Tensor first = images.slice(0, 1);
  return {[=, &model] { *last = explain(model, first, what, {.target = 0}).map; }, result};
}

void answer(const std::string& what, const std::string& mode, const std::string& folder,
            bench::Clock::time_point begin) {
  kernels::set_allow_winograd(mode == "winograd");
  const kernels::FlushDenormals flush;
  const LoadedModel loaded = load_model(folder + "/weights.safetensors");
  const Row row = row_of(what, *loaded.model, load_npy(folder + "/images.npy"),
                         mode == "bf16" ? DType::kBFloat16 : DType::kFloat32);
  bench::answer_questions(row, begin, save_npy);
}

}  // namespace
}  // namespace glassnet

int main(int argc, char** argv) {
  const auto begin = bench::Clock::now();
  const std::vector<std::string> words(argv + 1, argv + argc);
  try {
    if (words.size() == 5 && words[0] == "prepare") {
      glassnet::prepare(words[1], std::stoi(words[2]), std::stoi(words[3]), words[4]);
      return 0;
    }
    if (words == std::vector<std::string>{"peak"}) {
      fmt::print("{}\n", glassnet::measure_peak_flops() / 1e9);
      return 0;
    }
    if (words.size() == 3) {
      glassnet::answer(words[0], words[1], words[2], begin);
      return 0;
    }
    std::fputs("usage: glassnet_models_bench WHAT MODE FOLDER\n", stderr);
    return 2;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "glassnet_models_bench: %s\n", error.what());
    return 1;
  }
}
