// Batches of pictures, decoded ahead by a few threads.
//
// What a batch holds depends only on the samples, the options and the epoch: never on the number of
// threads, their timing or the cache. A batch on a GPU holds what one on the CPU does, rounded to
// its element type, but for colours, which a jitter may leave a level of 255 away
// (kernels/image.h).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "data/augment.h"
#include "data/folder.h"
#include "data/input.h"

namespace glassnet {

// A quarter of the memory that this process may use, at most 4 GiB.
size_t default_cache_bytes();

struct LoaderOptions {
  int image_size = 224;
  Fit fit = Fit::kCrop;
  Normalization normalization;
  std::optional<AugmentOptions> augment;  // for training; unset: the fitted picture as it is
  int64_t batch_size = 64;
  bool shuffle = false;    // a new order each epoch
  bool drop_last = false;  // leave out a smaller last batch, unless it is the only one
  uint64_t seed = 0;       // of order and variations
  int threads = 0;         // that decode; 0: one a core, at most four
  int prefetch = 3;        // batches that are ready or in work at most, ahead of the caller's
  // Decoded pictures that stay in memory, at 8 bits and the size that augmentation starts from, as
  // many as fit: where all do, epochs after the first decode nothing.
  size_t cache_bytes = default_cache_bytes();
  // Where batches are delivered, and the element type of their images: float32 or bfloat16 on the
  // CPU, and float16 as well on a GPU.
  Device device;
  DType dtype = DType::kFloat32;
  // On a GPU: memory for the pictures, at 8 bits. Where it holds them all, they are brought there
  // once; else batches are brought there one by one. Unset: a third of what is free when the loader
  // is made.
  std::optional<size_t> device_bytes;
};

struct Batch {
  Tensor images;                     // (N, size, size, 3), normalised
  Tensor labels;                     // int64 (N)
  std::vector<int64_t> indices;      // of the samples, N
  std::vector<int64_t> host_labels;  // the labels again, N
};

// CONVENTION: one thread calls; `start_epoch` comes before `next`.
class Loader {
 public:
  // Throws Error without samples and for options out of range.
  Loader(std::vector<Sample> samples, const LoaderOptions& options);
  // Returns as soon as the pictures in work are done; batches nobody asked for are dropped.
  ~Loader();
  Loader(const Loader&) = delete;
  Loader& operator=(const Loader&) = delete;

  const std::vector<Sample>& samples() const;
  const LoaderOptions& options() const;
  int64_t images() const;   // of an epoch: fewer than samples where a last batch is left out
  int64_t batches() const;  // of an epoch

  // Begins an epoch (from 0) at any of its batches: a resume sees what it would have seen. What was
  // left of an earlier epoch is dropped.
  void start_epoch(int64_t epoch, int64_t first_batch = 0);
  // The next batch, nothing after the last. On a GPU it is queued on the caller's current stream.
  // Throws what a picture's decoding threw, in the order of the batches; after that only
  // start_epoch helps.
  std::optional<Batch> next();

 private:
  class Pipeline;
  std::unique_ptr<Pipeline> pipeline_;
};

struct CheckedImages {
  bool all = true;  // false: ended on request
  // Height and width when all pictures share them.
  std::optional<std::pair<int, int>> common_size;
};
// Decodes every picture and throws one Error that names those that cannot be read, the first ones
// by their sentences: better before a training than in the middle of it. `progress` is called by
// the caller's thread, ten times a second and at the end; false ends the check.
CheckedImages check_images(const std::vector<Sample>& samples, int threads = 0,
                           const std::function<bool(int64_t done, int64_t total)>& progress = {});

}  // namespace glassnet
