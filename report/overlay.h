// Explanation maps as pictures, alone and laid over the image they explain.
#pragma once

#include <span>
#include <vector>

#include "data/image.h"
#include "report/colormap.h"

namespace glassnet {

// How a map's values become [0, 1]. NaN and infinities count as 0, and a map of nothing but zeros
// stays at "nothing" everywhere: no rule ever divides by 0 or enlarges noise to fill a blank map.
enum class Scaling {
  // max(x, 0) / max over the map. Class activation maps: 0 is "no evidence", 1 the strongest.
  kPositive,
  // min(|x| / p, 1), p the 99th percentile of |x| (of the non-zero values' maximum when that is 0).
  // Saliency: a few extreme pixels would leave the rest black.
  kMagnitude,
  // 0.5 + 0.5 * clip(x / p, -1, 1), p as above: 0.5 is nothing, for diverging colour maps.
  kSigned,
};

// map (any shape) -> as many values in [0, 1].
std::vector<float> scale_map(std::span<const float> map, Scaling scaling);

// map (h, w) -> (out_h, out_w), bilinear with half-pixel centres.
std::vector<float> resize_map(std::span<const float> map, int h, int w, int out_h, int out_w);

// map (h, w) -> a picture of the same size.
Image heatmap(std::span<const float> map, int h, int w, Colormap colormap,
              Scaling scaling = Scaling::kPositive);

struct OverlayOptions {
  float alpha = 0.5f;  // weight of the map's colour
  Colormap colormap = Colormap::kJet;
  Scaling scaling = Scaling::kPositive;
  // The weight falls with the value, to 0 where the map says "nothing": the picture stays as it is
  // where there is no evidence.
  bool fade = false;
};

// map (h, w), brought to the size of `base` and then scaled. Throws Error for empty maps, a size
// that is not h * w, and weights outside [0, 1].
Image overlay(const Image& base, std::span<const float> map, int h, int w,
              const OverlayOptions& options = {});

}  // namespace glassnet
