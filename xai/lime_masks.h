// Which superpixels LIME's samples show, a bit each.
//
// Random masks are NumPy's: RandomState(seed).randint(0, 2, samples * superpixels), row by row,
// with every superpixel shown in row 0. The reference implementation draws the same, so that a seed
// means the same samples in both; and more samples of a seed begin with those of fewer.
#pragma once

#include <cstdint>
#include <random>
#include <vector>

namespace glassnet {

// CONVENTION: row 0 shows every superpixel. Bits past the last superpixel are zero.
struct LimeMasks {
  int64_t superpixels = 0;
  bool every_mask = false;     // each of the 2^superpixels masks once, instead of random ones
  std::vector<uint32_t> bits;  // (samples, words()): superpixel j is bit j % 32 of word j / 32

  int64_t words() const { return (superpixels + 31) / 32; }
  int64_t samples() const {
    return superpixels == 0 ? 0 : static_cast<int64_t>(bits.size()) / words();
  }
  const uint32_t* row(int64_t sample) const { return bits.data() + sample * words(); }
  bool shows(int64_t sample, int64_t superpixel) const {
    return (row(sample)[superpixel / 32] >> (superpixel % 32) & 1) != 0;
  }
  int64_t shown(int64_t sample) const;  // how many superpixels a sample shows
};

// The random masks of a seed, as many at a time as are wanted.
class LimeMaskStream {
 public:
  explicit LimeMaskStream(uint32_t seed) : bits_(seed) {}
  // `samples` more rows.
  void append(LimeMasks& masks, int64_t samples);

 private:
  std::mt19937 bits_;  // NumPy's generator, seeded as NumPy seeds it
};

LimeMasks random_lime_masks(int64_t samples, int64_t superpixels, uint32_t seed);
// Each of the 2^superpixels masks once, from all shown to none. For at most
// kMostEnumeratedSuperpixels.
LimeMasks every_lime_mask(int64_t superpixels);
inline constexpr int64_t kMostEnumeratedSuperpixels = 12;

}  // namespace glassnet
