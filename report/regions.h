// Regions on a picture, and how much each speaks for or against an answer.
#pragma once

#include <cstdint>
#include <span>

#include "data/image.h"
#include "report/colormap.h"

namespace glassnet {

struct RegionWeight {
  double weight = 0;     // positive: for, negative: against
  bool resolved = true;  // its sign is certain; else the region is hatched
};

struct RegionOptions {
  int outlined = 5;     // the strongest regions, which get a line around them
  float alpha = 0.55F;  // of the tint of the strongest region, in [0, 1]
  int min_side = 300;   // the picture is enlarged by a whole number until its shorter side is that
  Colormap colormap = Colormap::kBlueRed;  // diverging: its ends are "against" and "for"
};

// labels (base.height * base.width) in 0 … regions.size() - 1. A region is tinted by its weight as
// a share of the largest. The strongest are outlined, with an unbroken line when they speak for the
// answer and a broken one when against, so that no colour is needed to tell them apart.
// Throws Error for labels of another size or outside of the regions.
Image draw_regions(const Image& base, std::span<const int64_t> labels,
                   std::span<const RegionWeight> regions, const RegionOptions& options = {});

}  // namespace glassnet
