#include "report/text.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/error.h"
#include "tensor/utf8.h"

#define STBTT_STATIC
#define STB_TRUETYPE_IMPLEMENTATION
#include <stb/stb_truetype.h>

// From font.S: the font file as it is.
extern "C" const unsigned char glassnet_font_begin[];

namespace glassnet {
namespace {

const stbtt_fontinfo& font() {
  static const stbtt_fontinfo info = [] {
    stbtt_fontinfo result;
    const int offset = stbtt_GetFontOffsetForIndex(glassnet_font_begin, 0);
    require(offset >= 0 && stbtt_InitFont(&result, glassnet_font_begin, offset) != 0, [] {
      return std::string(
          "the font inside the program is no TrueType font; build it again with "
          "GLASSNET_FONT naming DejaVuSans.ttf");
    });
    return result;
  }();
  return info;
}

float scale_of(double size) {
  return stbtt_ScaleForMappingEmToPixels(&font(), static_cast<float>(size));
}

// Calls visit(glyph, x) with each glyph's origin in pixels; returns the width of all.
template <class Visit>
double lay_out(std::string_view text, double size, Visit&& visit) {
  const float scale = scale_of(size);
  double x = 0;
  int previous = 0;
  while (!text.empty()) {
    const char32_t code_point = take_code_point(text);
    // Control characters have no glyph; a box in their place would only puzzle.
    const char32_t shown = code_point < 0x20 ? U' ' : code_point;
    const int glyph = stbtt_FindGlyphIndex(&font(), static_cast<int>(shown));
    if (previous != 0) x += scale * stbtt_GetGlyphKernAdvance(&font(), previous, glyph);
    visit(glyph, x);
    int advance = 0;
    int bearing = 0;
    stbtt_GetGlyphHMetrics(&font(), glyph, &advance, &bearing);
    x += scale * advance;
    previous = glyph;
  }
  return x;
}

// How text reads: (along, across) from the origin to (x, y) steps.
enum class Reading { kRightwards, kUpwards };

void draw(Image& image, double x, double y, std::string_view text, double size, Rgb colour,
          Reading reading) {
  const float scale = scale_of(size);
  // The subpixel part along the line; across it the baseline keeps to whole pixels, so that stems
  // and bars of one line look alike.
  const double along = reading == Reading::kRightwards ? x : -y;
  const int across = static_cast<int>(std::lround(reading == Reading::kRightwards ? y : x));
  std::vector<uint8_t> coverage;
  lay_out(text, size, [&](int glyph, double offset) {
    const double origin = along + offset;
    const double whole = std::floor(origin);
    const auto shift = static_cast<float>(origin - whole);
    int x0 = 0, y0 = 0, x1 = 0, y1 = 0;
    stbtt_GetGlyphBitmapBoxSubpixel(&font(), glyph, scale, scale, shift, 0, &x0, &y0, &x1, &y1);
    const int width = x1 - x0;
    const int height = y1 - y0;
    if (width <= 0 || height <= 0) return;
    coverage.assign(static_cast<size_t>(width) * height, 0);
    stbtt_MakeGlyphBitmapSubpixel(&font(), coverage.data(), width, height, width, scale, scale,
                                  shift, 0, glyph);
    for (int row = 0; row < height; ++row) {
      for (int column = 0; column < width; ++column) {
        const int a = static_cast<int>(whole) + x0 + column;
        const int b = across + y0 + row;
        const int px = reading == Reading::kRightwards ? a : b;
        const int py = reading == Reading::kRightwards ? b : -a - 1;
        if (px < 0 || py < 0 || px >= image.width || py >= image.height) continue;
        const float alpha = coverage[static_cast<size_t>(row) * width + column] / 255.f;
        uint8_t* pixel = image.at(py, px);
        const Rgb mixed = mix({pixel[0], pixel[1], pixel[2]}, colour, alpha);
        pixel[0] = mixed.r, pixel[1] = mixed.g, pixel[2] = mixed.b;
      }
    }
  });
}

}  // namespace

FontMetrics font_metrics(double size) {
  int ascent = 0, descent = 0, gap = 0;
  stbtt_GetFontVMetrics(&font(), &ascent, &descent, &gap);
  int x0 = 0, y0 = 0, x1 = 0, y1 = 0;
  stbtt_GetCodepointBox(&font(), 'H', &x0, &y0, &x1, &y1);
  const double scale = scale_of(size);
  return {scale * ascent, -scale * descent, scale * y1};
}

double text_width(std::string_view text, double size) {
  return lay_out(text, size, [](int, double) {});
}

void draw_text(Image& image, double x, double baseline, std::string_view text, double size,
               Rgb colour) {
  draw(image, x, baseline, text, size, colour, Reading::kRightwards);
}

void draw_text_upwards(Image& image, double x, double y, std::string_view text, double size,
                       Rgb colour) {
  draw(image, x, y, text, size, colour, Reading::kUpwards);
}

std::string fit_text(std::string_view text, double size, double width, Cut cut) {
  if (text_width(text, size) <= width) return std::string(text);
  // Where code points begin, and the end of the text.
  std::vector<size_t> starts;
  for (std::string_view rest = text; !rest.empty(); take_code_point(rest)) {
    starts.push_back(text.size() - rest.size());
  }
  const size_t count = starts.size();
  starts.push_back(text.size());

  const auto shortened = [&](size_t kept) {
    const size_t tail = cut == Cut::kMiddle ? kept / 2 : 0;
    return std::string(text.substr(0, starts[kept - tail])) + "…" +
           std::string(text.substr(starts[count - tail]));
  };
  // Widths grow with the letters kept, but for kerning: bisect, then step back if need be.
  size_t low = 0, high = count;
  while (low + 1 < high) {
    const size_t middle = (low + high) / 2;
    (text_width(shortened(middle), size) <= width ? low : high) = middle;
  }
  while (low > 0 && text_width(shortened(low), size) > width) --low;
  const std::string result = shortened(low);
  return text_width(result, size) <= width ? result : "";
}

}  // namespace glassnet
