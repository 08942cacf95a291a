// What pages have in common, so that they look like one family: ink, type, margins, the head, and
// the scale of colours.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "report/canvas.h"

namespace glassnet::page {

inline constexpr Rgb kInk{0x1f, 0x23, 0x28};
inline constexpr Rgb kFaint{0x6a, 0x73, 0x7d};
inline constexpr Rgb kRule{0xdf, 0xe2, 0xe6};

inline constexpr double kTitleSize = 21;
inline constexpr double kHeadlineSize = 15;
inline constexpr double kHeadingSize = 13.5;
inline constexpr double kSmallSize = 12;

inline constexpr int kMargin = 28;
inline constexpr int kGap = 14;      // between columns
inline constexpr int kBarBand = 44;  // height of a scale, the space above it included
inline constexpr int kNoteBand = 30;

// The baseline that centres capitals on `middle`.
double centred_baseline(double middle, double size);

// (height, width) of a picture whose longer side is `side`.
std::pair<int, int> fitted(const Image& picture, int side);
// Draws it so in the middle of a box (height, side) whose corner lies at (y, x).
void draw_fitted(Canvas& canvas, int y, int x, int height, int side, const Image& picture,
                 std::string_view name);

// Title and subtitle, each left out when empty, and the space below them: from kMargin down.
int head_height(const std::string& title, const std::string& subtitle);
void draw_head(Canvas& canvas, const std::string& title, const std::string& subtitle, double room);

// In a band of kBarBand from `y` on.
void draw_bar(Canvas& canvas, int y, int x, int width, const ColourBar& bar);
// In a band of kNoteBand from `y` on.
void draw_note(Canvas& canvas, int y, const std::string& note, double room);

// Heights of labels as near to the wanted ones as `apart` between them allows: from the top down
// each is pushed below the one before, then from the bottom up back above `bottom`.
std::vector<double> spread(std::vector<double> wanted, double apart, double bottom);

// Throws Error for what makes a picture of more than kMaxPixels; `what` begins the sentence.
void require_bearable(int64_t height, int64_t width, const std::string& what);

}  // namespace glassnet::page
