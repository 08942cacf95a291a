// Batches of pictures, from files on disk to a network's input, for scripts/bench, which takes
// turns with torchvision (scripts/data_peer.py) at the same.
//
//   glassnet_data_bench scenes FOLDER SIZE
//
// draws pictures of that size into FOLDER/train, a folder a class.
//
//   glassnet_data_bench FOLDER WHAT SIZE BATCH THREADS
//
// reads the pictures of FOLDER, a folder a class, each time from their files: nothing decoded is
// kept. WHAT is augmented (random resized crops and flips) or resized (the centre square). It
// prints the milliseconds that the first pass over all pictures took; then each line of the input
// is answered: "step" by the milliseconds of one more, "result FILE" by writing the mean colour of
// each picture, resized, in the order of their names (.npy, (pictures, 3), levels of 255), "images"
// by how many there are and "memory" by the highest resident memory of the process in MiB.
#include <sys/resource.h>

#include <chrono>
#include <cstdio>
#include <iostream>
#include <string>
#include <vector>

#include "data/loader.h"
#include "data/scenes.h"
#include "kernels/error.h"
#include "tensor/npy.h"

namespace glassnet {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kScenesPerClass = 200;

LoaderOptions options_of(const std::string& what, int size, int64_t batch, int threads) {
  LoaderOptions options{
      .image_size = size, .batch_size = batch, .threads = threads, .cache_bytes = 0};
  if (what == "augmented") {
    options.shuffle = true;
    options.augment = AugmentOptions{.crop = Crop::kRandomResized};
  } else if (what != "resized") {
    throw UsageError("WHAT is augmented or resized, not '" + what + "'");
  }
  return options;
}

// Milliseconds of an epoch; `use` sees every batch.
template <class Use>
double pass(Loader& loader, int64_t epoch, Use&& use) {
  const auto begin = Clock::now();
  loader.start_epoch(epoch);
  while (const auto batch = loader.next()) use(*batch);
  return std::chrono::duration<double, std::milli>(Clock::now() - begin).count();
}

Tensor mean_colors(const std::vector<Sample>& samples, LoaderOptions options) {
  options.augment.reset();
  options.shuffle = false;
  options.normalization = {.mean = {0, 0, 0}, .stddev = {1, 1, 1}};
  Loader loader(samples, options);
  std::vector<double> means;
  pass(loader, 0, [&](const Batch& batch) {
    const float* value = batch.images.data<float>();
    const int64_t pixels = batch.images.dim(1) * batch.images.dim(2);
    for (int64_t row = 0; row < batch.images.dim(0); ++row) {
      double sum[3] = {};
      for (int64_t i = 0; i < pixels * 3; ++i) sum[i % 3] += *value++;
      for (const double channel : sum) means.push_back(255 * channel / static_cast<double>(pixels));
    }
  });
  return Tensor::from(means, {static_cast<int64_t>(samples.size()), 3});
}

void answer(const std::string& folder, const LoaderOptions& options) {
  const std::vector<Sample> samples = read_image_folder(folder).samples;
  Loader loader(samples, options);
  int64_t epoch = 0;
  const auto step = [&] { return pass(loader, epoch++, [](const Batch&) {}); };
  std::cout << step() << std::endl;
  std::string word;
  while (std::cin >> word) {
    if (word == "step") {
      std::cout << step() << std::endl;
    } else if (word == "result") {
      std::string path;
      std::cin >> path;
      save_npy(path, mean_colors(samples, options));
      std::cout << 0 << std::endl;
    } else if (word == "images") {
      std::cout << samples.size() << std::endl;
    } else if (word == "memory") {
      rusage usage = {};
      getrusage(RUSAGE_SELF, &usage);
      std::cout << static_cast<double>(usage.ru_maxrss) / 1024 << std::endl;
    } else {
      throw UsageError("'" + word + "' is no question");
    }
  }
}

}  // namespace
}  // namespace glassnet

int main(int argc, char** argv) {
  const std::vector<std::string> words(argv + 1, argv + argc);
  try {
    if (words.size() == 3 && words[0] == "scenes") {
      glassnet::write_scenes(words[1], {.train_per_class = glassnet::kScenesPerClass,
                                        .test_per_class = 1,
                                        .size = std::stoi(words[2])});
      return 0;
    }
    if (words.size() == 5) {
      glassnet::answer(words[0], glassnet::options_of(words[1], std::stoi(words[2]),
                                                      std::stoi(words[3]), std::stoi(words[4])));
      return 0;
    }
    std::fputs("usage: glassnet_data_bench FOLDER WHAT SIZE BATCH THREADS\n", stderr);
    return 2;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "glassnet_data_bench: %s\n", error.what());
    return 1;
  }
}
