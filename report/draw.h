// Shapes on pictures: the few that sheets are made of. Parts outside the image are left out.
#pragma once

#include "data/image.h"
#include "report/colormap.h"

namespace glassnet {

// A picture of one colour.
Image filled(int height, int width, Rgb colour);
void fill_rectangle(Image& image, int y, int x, int height, int width, Rgb colour);
// Anti-aliased, about a centre that need not be a whole pixel.
void fill_disc(Image& image, double y, double x, double radius, Rgb colour);
// Copies `source` so that its corner lies at (y, x).
void paste(Image& image, int y, int x, const Image& source);

}  // namespace glassnet
