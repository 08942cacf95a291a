// Colours for numbers and for classes.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace glassnet {

struct Rgb {
  uint8_t r = 0, g = 0, b = 0;
  bool operator==(const Rgb&) const = default;
};

inline constexpr Rgb kBlack{0, 0, 0};
inline constexpr Rgb kWhite{255, 255, 255};

enum class Colormap {
  kJet,      // blue, cyan, yellow, red, as OpenCV's: what Grad-CAM overlays have looked like
  kViridis,  // matplotlib's; lightness grows evenly, safe for the colour-blind
  kInferno,  // matplotlib's; likewise, from black
  kMagma,    // matplotlib's; likewise, from black to a pale yellow
  kGrey,
  kBlueRed,  // diverging: blue, white at 0.5, red (ColorBrewer's RdBu turned round)
  kBlues,    // white to dark blue (ColorBrewer)
  kOranges,  // white to dark orange (ColorBrewer)
};

// `value` in [0, 1]; what lies outside takes the nearer end, NaN the low one. Maps are piecewise
// linear between their stops, within 1/255 of their published tables.
Rgb colour(Colormap map, float value);
// The colours of 0, 1/255, …, 1, as R, G and B.
std::array<uint8_t, 3 * 256> colour_table(Colormap map);

// "jet", "viridis", …
const char* name_of(Colormap map);
const std::vector<Colormap>& all_colormaps();

// What a map's colours mean, from 0 to 1.
struct ColourBar {
  Colormap colormap = Colormap::kJet;
  std::string low = "none";
  std::string high = "strongest";
};

// A colour for class `index` >= 0: the seven of Okabe and Ito (2008) that go on white, then eight
// of Paul Tol's, told apart with any kind of colour vision; from 15 on hues a golden angle apart,
// which are all different but no longer safe.
Rgb class_colour(int index);

// For class `index` of `classes`: up to ten told apart with any kind of colour vision (Okabe and
// Ito's seven that go on white and three more); beyond, hues a golden angle apart in three steps of
// lightness, which are no longer safe. The same as on the page of confusion evolution.
Rgb class_colour(int index, int classes);

// (1 - t) * a + t * b for t in [0, 1].
Rgb mix(Rgb a, Rgb b, float t);
// Black or white, whichever is easier to read on `background` (WCAG contrast).
Rgb readable_on(Rgb background);
// "#rrggbb"
std::string hex(Rgb colour);

}  // namespace glassnet
