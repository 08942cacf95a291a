#include "report/colormap.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>
#include <span>

#include <fmt/format.h>

#include "kernels/error.h"

namespace glassnet {
namespace {

// 0xrrggbb, evenly spaced. Every fifth of the 256 entries of matplotlib's tables: between them
// linear interpolation is at most 1/255 off.
constexpr std::array<uint32_t, 52> kViridisStops = {
    0x440154, 0x46085c, 0x471063, 0x481769, 0x481d6f, 0x482475, 0x472a7a, 0x46307e, 0x453781,
    0x433d84, 0x414287, 0x3f4889, 0x3d4e8a, 0x3a538b, 0x38598c, 0x355e8d, 0x33638d, 0x31688e,
    0x2e6d8e, 0x2c718e, 0x2a768e, 0x297b8e, 0x27808e, 0x25848e, 0x23898e, 0x218e8d, 0x20928c,
    0x1f978b, 0x1e9c89, 0x1fa188, 0x21a585, 0x24aa83, 0x28ae80, 0x2eb37c, 0x35b779, 0x3dbc74,
    0x46c06f, 0x50c46a, 0x5ac864, 0x65cb5e, 0x70cf57, 0x7cd250, 0x89d548, 0x95d840, 0xa2da37,
    0xb0dd2f, 0xbddf26, 0xcae11f, 0xd8e219, 0xe5e419, 0xf1e51d, 0xfde725,
};
constexpr std::array<uint32_t, 52> kInfernoStops = {
    0x000004, 0x02020c, 0x050417, 0x0a0722, 0x10092d, 0x160b39, 0x1e0c45, 0x260c51, 0x2f0a5b,
    0x380962, 0x400a67, 0x490b6a, 0x510e6c, 0x59106e, 0x61136e, 0x69166e, 0x71196e, 0x781c6d,
    0x801f6c, 0x88226a, 0x902568, 0x982766, 0xa02a63, 0xa82e5f, 0xb0315b, 0xb73557, 0xbf3952,
    0xc63d4d, 0xcc4248, 0xd34743, 0xd94d3d, 0xdf5337, 0xe45a31, 0xe9612b, 0xed6925, 0xf1711f,
    0xf47918, 0xf78212, 0xf98b0b, 0xfa9407, 0xfb9d07, 0xfca60c, 0xfcb014, 0xfbba1f, 0xfac42a,
    0xf8cd37, 0xf6d746, 0xf4e156, 0xf2ea69, 0xf2f27d, 0xf5f992, 0xfcffa4,
};
constexpr std::array<uint32_t, 52> kMagmaStops = {
    0x000004, 0x02020b, 0x050416, 0x090720, 0x0e0b2b, 0x140e36, 0x1a1042, 0x21114e, 0x29115a,
    0x311165, 0x390f6e, 0x420f75, 0x4a1079, 0x52137c, 0x5a167e, 0x621980, 0x6a1c81, 0x721f81,
    0x792282, 0x812581, 0x892881, 0x912b81, 0x992d80, 0xa1307e, 0xaa337d, 0xb2357b, 0xba3878,
    0xc23b75, 0xca3e72, 0xd2426f, 0xd9466b, 0xe04c67, 0xe75263, 0xec5860, 0xf1605d, 0xf4695c,
    0xf7725c, 0xf97b5d, 0xfb8560, 0xfc8e64, 0xfd9869, 0xfea16e, 0xfeaa74, 0xfeb47b, 0xfebd82,
    0xfec68a, 0xfecf92, 0xfed89a, 0xfde2a3, 0xfdebac, 0xfcf4b6, 0xfcfdbf,
};
constexpr std::array<uint32_t, 11> kBlueRedStops = {
    0x053061, 0x2166ac, 0x4393c3, 0x92c5de, 0xd1e5f0, 0xf7f7f7,
    0xfddbc7, 0xf4a582, 0xd6604d, 0xb2182b, 0x67001f,
};
constexpr std::array<uint32_t, 9> kBluesStops = {
    0xffffff, 0xdeebf7, 0xc6dbef, 0x9ecae1, 0x6baed6, 0x4292c6, 0x2171b5, 0x08519c, 0x08306b,
};
constexpr std::array<uint32_t, 9> kOrangesStops = {
    0xffffff, 0xfee6ce, 0xfdd0a2, 0xfdae6b, 0xfd8d3c, 0xf16913, 0xd94801, 0xa63603, 0x7f2704,
};

constexpr std::array<uint32_t, 15> kClassColours = {
    // Okabe and Ito
    0x0072b2,
    0xe69f00,
    0x009e73,
    0xd55e00,
    0x56b4e9,
    0xcc79a7,
    0xf0e442,
    // Paul Tol's "muted", less those near the above
    0x332288,
    0x882255,
    0x117733,
    0xddcc77,
    0xcc6677,
    0x44aa99,
    0x999933,
    0xaa4499,
};

// The smallest distance in Oklab is 0.07 in any of the three dichromacies.
constexpr std::array<uint32_t, 10> kTenColours = {
    0x0072b2, 0xe69f00, 0x009e73, 0xd55e00, 0x56b4e9,
    0xcc79a7, 0xf0e442, 0x7e2954, 0x6b5b3e, 0xb3b3b3,
};

constexpr Rgb unpack(uint32_t colour) {
  return {static_cast<uint8_t>(colour >> 16), static_cast<uint8_t>(colour >> 8 & 0xff),
          static_cast<uint8_t>(colour & 0xff)};
}

// To the nearest, halves to even, as OpenCV rounds its own tables.
uint8_t to_byte(float value) {
  return static_cast<uint8_t>(std::nearbyint(std::clamp(value, 0.f, 1.f) * 255.f));
}

Rgb interpolate(std::span<const uint32_t> stops, float value) {
  const float position = value * static_cast<float>(stops.size() - 1);
  const size_t below = std::min(static_cast<size_t>(position), stops.size() - 2);
  return mix(unpack(stops[below]), unpack(stops[below + 1]), position - static_cast<float>(below));
}

// Three tents of height 1.5 over 3/4, 1/2 and 1/4, cut at 1. Rounded to one of 256 entries first,
// in units of 1/255, so that each is OpenCV's to the bit.
Rgb jet(float value) {
  const int entry = static_cast<int>(std::lround(value * 255.f));
  const auto tent = [&](int centre) {
    const double height = 382.5 - std::abs(4 * entry - 255 * centre);
    return static_cast<uint8_t>(std::nearbyint(std::clamp(height, 0.0, 255.0)));
  };
  return {tent(3), tent(2), tent(1)};
}

Rgb from_hsl(double hue, double saturation, double lightness) {
  const auto channel = [&](double n) {
    const double k = std::fmod(n + hue * 12, 12);
    const double a = saturation * std::min(lightness, 1 - lightness);
    return to_byte(static_cast<float>(lightness - a * std::clamp(std::min(k - 3, 9 - k), -1., 1.)));
  };
  return {channel(0), channel(8), channel(4)};
}

// Oklab (Ottosson 2020) by lightness, chroma and hue in degrees, cut to what sRGB has.
Rgb from_oklch(double lightness, double chroma, double hue) {
  const double radians = hue * std::numbers::pi / 180;
  const double a = chroma * std::cos(radians), b = chroma * std::sin(radians);
  const double l = std::pow(lightness + 0.3963377774 * a + 0.2158037573 * b, 3);
  const double m = std::pow(lightness - 0.1055613458 * a - 0.0638541728 * b, 3);
  const double s = std::pow(lightness - 0.0894841775 * a - 1.291485548 * b, 3);
  const auto channel = [](double v) {
    return to_byte(
        static_cast<float>(v <= 0.0031308 ? 12.92 * v : 1.055 * std::pow(v, 1 / 2.4) - 0.055));
  };
  return {channel(4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s),
          channel(-1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s),
          channel(-0.0041960863 * l - 0.7034186147 * m + 1.707614701 * s)};
}

// Relative luminance of the Web Content Accessibility Guidelines 2.1.
double luminance(Rgb colour) {
  const auto linear = [](uint8_t byte) {
    const double v = byte / 255.0;
    return v <= 0.03928 ? v / 12.92 : std::pow((v + 0.055) / 1.055, 2.4);
  };
  return 0.2126 * linear(colour.r) + 0.7152 * linear(colour.g) + 0.0722 * linear(colour.b);
}

}  // namespace

Rgb colour(Colormap map, float value) {
  const float v = value > 0 ? std::min(value, 1.f) : 0.f;  // NaN compares false
  switch (map) {
    case Colormap::kJet:
      return jet(v);
    case Colormap::kViridis:
      return interpolate(kViridisStops, v);
    case Colormap::kInferno:
      return interpolate(kInfernoStops, v);
    case Colormap::kMagma:
      return interpolate(kMagmaStops, v);
    case Colormap::kGrey:
      return {to_byte(v), to_byte(v), to_byte(v)};
    case Colormap::kBlueRed:
      return interpolate(kBlueRedStops, v);
    case Colormap::kBlues:
      return interpolate(kBluesStops, v);
    case Colormap::kOranges:
      return interpolate(kOrangesStops, v);
  }
  return kBlack;
}

std::array<uint8_t, 3 * 256> colour_table(Colormap map) {
  std::array<uint8_t, 3 * 256> table;
  for (size_t i = 0; i < 256; ++i) {
    const Rgb entry = colour(map, static_cast<float>(i) / 255);
    table[3 * i] = entry.r, table[3 * i + 1] = entry.g, table[3 * i + 2] = entry.b;
  }
  return table;
}

const char* name_of(Colormap map) {
  switch (map) {
    case Colormap::kJet:
      return "jet";
    case Colormap::kViridis:
      return "viridis";
    case Colormap::kInferno:
      return "inferno";
    case Colormap::kMagma:
      return "magma";
    case Colormap::kGrey:
      return "grey";
    case Colormap::kBlueRed:
      return "bluered";
    case Colormap::kBlues:
      return "blues";
    case Colormap::kOranges:
      return "oranges";
  }
  return "?";
}

const std::vector<Colormap>& all_colormaps() {
  static const std::vector<Colormap> maps = {
      Colormap::kJet,  Colormap::kViridis, Colormap::kInferno, Colormap::kMagma,
      Colormap::kGrey, Colormap::kBlueRed, Colormap::kBlues,   Colormap::kOranges};
  return maps;
}

Rgb class_colour(int index) {
  require(index >= 0, [&] {
    return fmt::format("[class_colour] expected a class index of at least 0, got {}", index);
  });
  if (index < static_cast<int>(kClassColours.size())) return unpack(kClassColours[index]);
  constexpr double kGoldenAngle = 0.38196601125010515;  // of a turn
  const int beyond = index - static_cast<int>(kClassColours.size());
  const double hue = std::fmod(0.05 + beyond * kGoldenAngle, 1.0);
  return from_hsl(hue, 0.55, 0.38 + 0.12 * (beyond % 3));
}

Rgb class_colour(int index, int classes) {
  require(index >= 0 && index < classes, [&] {
    return fmt::format("[class_colour] expected a class index from 0 to {}, got {}", classes - 1,
                       index);
  });
  if (classes <= static_cast<int>(kTenColours.size())) return unpack(kTenColours[index]);
  constexpr std::array<double, 3> kLightness = {0.62, 0.76, 0.48}, kChroma = {0.14, 0.12, 0.12};
  constexpr double kGoldenAngle = 137.508;  // degrees
  return from_oklch(kLightness[index % 3], kChroma[index % 3],
                    std::fmod(index * kGoldenAngle + 250, 360.0));
}

Rgb mix(Rgb a, Rgb b, float t) {
  const auto channel = [t](uint8_t from, uint8_t to) {
    return static_cast<uint8_t>(std::lround(static_cast<float>(from) + t * (to - from)));
  };
  return {channel(a.r, b.r), channel(a.g, b.g), channel(a.b, b.b)};
}

Rgb readable_on(Rgb background) {
  const double l = luminance(background);
  return (l + 0.05) * (l + 0.05) > 1.05 * 0.05 ? kBlack : kWhite;
}

std::string hex(Rgb c) {
  return fmt::format("#{:02x}{:02x}{:02x}", c.r, c.g, c.b);
}

}  // namespace glassnet
