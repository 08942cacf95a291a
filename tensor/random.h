// Counter-based random numbers: Philox 4x32-10 (Salmon et al., "Parallel random numbers: as easy as
// 1, 2, 3", SC 2011). A number is a pure function of (seed, stream, index), so it is the same on
// every device, at any number of threads, and after a resume.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "kernels/philox.h"
#include "tensor/tensor.h"

namespace glassnet {

std::array<uint32_t, 4> philox(uint64_t seed, uint64_t stream, uint64_t index);

// Streams of one seed that must never meet. Users may add their own from kUser upwards.
enum class Stream : uint64_t {
  kInit = 1,
  kShuffle,
  kAugment,
  kSplit,
  kScenes,
  kExplain,
  kUser = 1 << 16
};

// Draws one after the other from (seed, stream, first index on). A GPU draws the same numbers from
// kernels::PhiloxStream, which does the work here too.
class Random {
 public:
  Random(uint64_t seed, uint64_t stream) : stream_(seed, stream) {}
  Random(uint64_t seed, Stream stream) : Random(seed, static_cast<uint64_t>(stream)) {}
  // A stream of its own for an item, for example image `b` in epoch `a`.
  Random(uint64_t seed, Stream stream, uint64_t a, uint64_t b);

  uint32_t next() { return stream_.next(); }      // 32 random bits
  double uniform() { return stream_.uniform(); }  // [0, 1), 53 bits
  double uniform(double low, double high) { return stream_.uniform(low, high); }
  int64_t below(int64_t n) { return stream_.below(n); }  // 0 … n-1, unbiased
  double normal();                                       // mean 0, variance 1 (Box-Muller)

 private:
  kernels::PhiloxStream stream_;
};

// 0 … n-1 in random order (Fisher-Yates).
std::vector<int64_t> permutation(int64_t n, Random random);

// Element i is a function of (seed, stream, i) alone.
Tensor random_normal(const Shape& shape, double stddev, uint64_t seed, uint64_t stream,
                     DType type = DType::kFloat32);
Tensor random_uniform(const Shape& shape, double low, double high, uint64_t seed, uint64_t stream,
                      DType type = DType::kFloat32);

}  // namespace glassnet
