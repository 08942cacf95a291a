// LIME for pictures (Ribeiro, Singh, Guestrin, KDD 2016): superpixels of a picture are hidden at
// random, and a linear model of the network's answers (xai/lime_fit.h) says which ones they rest
// on.
//
// The numbers are those of the reference implementation, lime 0.2, given the same superpixels and
// seed. Where the network can (SharedForward::shares), its early layers compute what samples of a
// picture have in common once. Elsewhere samples are made on the network's device, and those of
// many pictures share batches. Memory does not grow with the number of pictures.
#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "data/input.h"
#include "nn/module.h"
#include "xai/lime_fit.h"
#include "xai/lime_picture.h"

namespace glassnet {

enum class LimeSampling {
  kFixed,  // LimeOptions::samples, as the reference does
  // Every mask once where there are few: at most kMostEnumeratedSuperpixels superpixels, and no
  // more masks than max_samples. Otherwise `chunk` samples after the other, until of every class
  // explained the first five superpixels of the ranking are settled (LimeResult::settled), or there
  // are max_samples. That is decided by looking again after each chunk, which makes two standard
  // errors a little less sure than they are once. What comes out is kFixed with as many samples.
  kAuto,
  kExact,  // every mask once, for at most kMostEnumeratedSuperpixels
};

struct LimeOptions {
  LimeSampling sampling = LimeSampling::kFixed;
  int64_t samples = 1000;                   // kFixed
  int64_t chunk = 256, max_samples = 5000;  // kAuto
  uint32_t seed = 0;                        // each picture's, so that none depends on the others
  std::optional<std::array<uint8_t, 3>> color;  // of what is hidden; none: each superpixel's mean
  LimeFitOptions fit;
  int64_t top_classes = 1;  // most probable ones, for pictures that name no classes
  Normalization normalization;
  std::optional<int64_t> batch_size;  // samples that the network sees at once; none: as suits it
  DType precision = DType::kFloat32;  // or bfloat16, on a GPU also float16: of the network
  bool keep_samples = false;          // LimeResult::masks and ::probabilities
  // Where the precision is another: how many of a picture's samples the network sees in float32 as
  // well, for LimeResult::deviation.
  int64_t float32_samples = 0;
  // After each batch: pictures that are done, samples that the network has seen.
  std::function<void(int64_t pictures, int64_t samples)> progress;
};

struct LimeJob {
  Image picture;  // as the network takes it; all of one size
  Superpixels superpixels;
  std::vector<int64_t> classes;  // to explain; none: the options' top_classes
};

LimeResult lime(Module& model, const LimeJob& job, const LimeOptions& options = {});
// In the order of the jobs. A result does not depend on the other jobs, but for the rounding of a
// network's products, which may depend on the size of a batch.
std::vector<LimeResult> lime_many(Module& model, const std::vector<LimeJob>& jobs,
                                  const LimeOptions& options = {});
// The same for jobs that are made as they are needed: `next` gives none after the last one. `done`
// gets the number of a job, counted from 0, and its result, in the order in which they are
// finished. Whatever either throws ends it.
void lime_stream(Module& model, const std::function<std::optional<LimeJob>()>& next,
                 const std::function<void(int64_t job, LimeResult result)>& done,
                 const LimeOptions& options = {});

}  // namespace glassnet
