// LIME's two pictures: what stands where superpixels are hidden, and which superpixels an
// explanation points at. Both as the reference implementation makes them.
#pragma once

#include <array>
#include <optional>
#include <vector>

#include "data/image.h"
#include "xai/lime_fit.h"
#include "xai/superpixels.h"

namespace glassnet {

// Throws UsageError when `superpixels` are not those of a picture (height, width), or when a label
// from 0 to count-1 is missing.
void require_superpixels(const Superpixels& superpixels, int height, int width);

// The picture with every superpixel hidden: in one colour, or, without one, each in its mean
// colour, whose fractions are cut off.
Image hide_superpixels(const Image& picture, const Superpixels& superpixels,
                       const std::optional<std::array<uint8_t, 3>>& color = {});

struct LimeRegionOptions {
  // Only superpixels that speak for the class, or only those that speak against it; both kinds,
  // when both are false.
  bool positive_only = true, negative_only = false;
  bool hide_rest = false;   // what the explanation does not point at is black
  int64_t superpixels = 5;  // at most
  double min_weight = 0;    // of |weight|
};

struct LimeRegions {
  Tensor mask;                       // (H, W) int64: 1 for the class, -1 against it, 0 neither
  std::vector<int64_t> superpixels;  // those of the mask, largest |weight| first
  // The picture; where both kinds are asked for, with the green of what speaks for the class and
  // the red of what speaks against it raised to the picture's largest value.
  Image picture;
};

// Of class result.classes[c]. The reference's get_image_and_mask, with what is particular about it:
// one sign alone is filtered first, and its weights have to exceed min_weight; of both signs the
// largest weights are taken first, those below min_weight taking up places.
// Throws UsageError when both kinds alone are asked for, and for a class that was not explained.
LimeRegions lime_regions(const LimeResult& result, int64_t c, const Image& picture,
                         const Superpixels& superpixels, const LimeRegionOptions& options = {});

}  // namespace glassnet
