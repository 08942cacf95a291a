// Shapes on pictures: the few that sheets are made of. Parts outside the image are left out.
#pragma once

#include <span>

#include "data/image.h"
#include "report/colormap.h"

namespace glassnet {

// A picture of one colour.
Image filled(int height, int width, Rgb colour);
void fill_rectangle(Image& image, int y, int x, int height, int width, Rgb colour);
// Anti-aliased, about a centre that need not be a whole pixel.
void fill_disc(Image& image, double y, double x, double radius, Rgb colour);
// From point to point with round joints and ends, anti-aliased; a single point is a dot. Centres of
// pixels lie at halves.
struct Point {
  double y = 0, x = 0;
};
void stroke(Image& image, std::span<const Point> points, double width, Rgb colour);
// Each pixel of `source` as a rectangle, sharp; rectangles of whole pixels may differ by one.
Image enlarged(const Image& source, int height, int width);
// Copies `source` so that its corner lies at (y, x).
void paste(Image& image, int y, int x, const Image& source);

}  // namespace glassnet
