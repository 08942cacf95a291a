// Text on pictures: DejaVu Sans, which is part of the program, anti-aliased and kerned.
//
// Sizes are pixels per em. Text is UTF-8; what the font lacks shows as a box, invalid bytes as
// U+FFFD. There is no shaping: scripts that join or reorder their letters are drawn letter by
// letter, left to right.
#pragma once

#include <string>
#include <string_view>

#include "data/image.h"
#include "report/colormap.h"

namespace glassnet {

struct FontMetrics {
  double ascent = 0;      // from the baseline up to the top of the line, pixels
  double descent = 0;     // from the baseline down to its end
  double cap_height = 0;  // of a capital H
};
FontMetrics font_metrics(double size);

// Pixels from the origin to where the next letter would stand.
double text_width(std::string_view text, double size);

// Draws with the origin of the first letter at (x, baseline). Pixels outside the image are left
// out.
void draw_text(Image& image, double x, double baseline, std::string_view text, double size,
               Rgb colour);
// The same, reading from bottom to top: the origin is (x, y) and the baseline the column x.
void draw_text_upwards(Image& image, double x, double y, std::string_view text, double size,
                       Rgb colour);

// Where an ellipsis takes the place of what does not fit.
enum class Cut { kEnd, kMiddle };
// `text` itself when it is at most `width` pixels wide, else shortened; "" when not even the
// ellipsis fits. kMiddle keeps as much of the end as of the beginning: file names.
std::string fit_text(std::string_view text, double size, double width, Cut cut = Cut::kEnd);

}  // namespace glassnet
