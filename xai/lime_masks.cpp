#include "xai/lime_masks.h"

#include <bit>

#include <fmt/format.h>

#include "kernels/error.h"

namespace glassnet {

int64_t LimeMasks::shown(int64_t sample) const {
  int64_t count = 0;
  for (int64_t word = 0; word < words(); ++word) count += std::popcount(row(sample)[word]);
  return count;
}

void LimeMaskStream::append(LimeMasks& masks, int64_t samples) {
  for (int64_t i = 0; i < samples; ++i) {
    const bool first = masks.bits.empty();
    std::vector<uint32_t> row(static_cast<size_t>(masks.words()));
    for (int64_t j = 0; j < masks.superpixels; ++j) {
      // NumPy keeps the lowest bit of a draw for randint(0, 2). Row 0's are drawn, too.
      const uint32_t bit = static_cast<uint32_t>(bits_() & 1) | static_cast<uint32_t>(first);
      row[static_cast<size_t>(j / 32)] |= bit << (j % 32);
    }
    masks.bits.insert(masks.bits.end(), row.begin(), row.end());
  }
}

LimeMasks random_lime_masks(int64_t samples, int64_t superpixels, uint32_t seed) {
  LimeMasks masks{.superpixels = superpixels};
  LimeMaskStream(seed).append(masks, samples);
  return masks;
}

LimeMasks every_lime_mask(int64_t superpixels) {
  if (superpixels < 1 || superpixels > kMostEnumeratedSuperpixels) {
    throw UsageError(
        fmt::format("every mask can be taken of 1 to {} superpixels, and the picture has {}; take "
                    "random samples, or larger superpixels",
                    kMostEnumeratedSuperpixels, superpixels));
  }
  LimeMasks masks{.superpixels = superpixels, .every_mask = true};
  for (uint32_t mask = uint32_t{1} << superpixels; mask-- > 0;) masks.bits.push_back(mask);
  return masks;
}

}  // namespace glassnet
