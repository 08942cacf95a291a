// A picture of where the time of a step went (kernels/profile.h): a lane for each phase on one axis
// of milliseconds, with a bar for each op in the colour of its kind, and above it the parts of the
// network, in the backward pass as well. What lies between ops stays grey.
#pragma once

#include <string>
#include <vector>

#include "data/image.h"
#include "kernels/profile.h"

namespace glassnet {

struct TimelineOptions {
  std::string title, subtitle;  // each left out when empty
  int scale = 1;                // of the picture: 2 has twice as many pixels each way
};

// 1000 pixels wide, times `scale`. `spans` are a Profile's; throws Error when there are none.
Image timeline(const std::vector<Span>& spans, const TimelineOptions& options = {});
// The same as an SVG document.
std::string timeline_svg(const std::vector<Span>& spans, const TimelineOptions& options = {});

}  // namespace glassnet
