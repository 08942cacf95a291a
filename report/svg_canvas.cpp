#include "report/svg_canvas.h"

#include <algorithm>

#include <fmt/format.h>

#include "report/base64.h"
#include "tensor/utf8.h"

namespace glassnet {
namespace {

// DejaVu Sans is what the page was measured with. Verdana is as wide; the others are narrower.
constexpr const char* kFonts =
    "'DejaVu Sans', Verdana, 'Helvetica Neue', Helvetica, Arial, sans-serif";

// At most two decimals, without zeros at the end.
std::string number(double value) {
  std::string text = fmt::format("{:.2f}", value);
  text.erase(text.find_last_not_of('0') + 1);
  if (text.back() == '.') text.pop_back();
  return text == "-0" ? "0" : text;
}

// The width `text` is likely to have elsewhere: a viewer has the wide characters that our font
// shows as narrow boxes.
double likely_width(std::string_view text, double size) {
  double width = text_width(text, size);
  while (!text.empty()) {
    const std::string_view before = text;
    if (column_width(take_code_point(text)) < 2) continue;
    width += std::max(0.0, size - text_width(before.substr(0, before.size() - text.size()), size));
  }
  return width;
}

}  // namespace

std::string xml_escaped(std::string_view text) {
  std::string result;
  while (!text.empty()) {
    const std::string_view before = text;
    const char32_t code_point = take_code_point(text);
    const bool noncharacter = (code_point & 0xFFFE) == 0xFFFE;
    if (code_point < 0x20 || (code_point >= 0x7F && code_point < 0xA0)) {
      result += ' ';
    } else if (code_point == kReplacement || noncharacter) {
      result += "\uFFFD";
    } else if (code_point == '&') {
      result += "&amp;";
    } else if (code_point == '<') {
      result += "&lt;";
    } else if (code_point == '>') {
      result += "&gt;";
    } else if (code_point == '"') {
      result += "&quot;";
    } else {
      result += before.substr(0, before.size() - text.size());
    }
  }
  return result;
}

// xlink:href, in `embed`, is older than href and understood by more programs.
SvgCanvas::SvgCanvas(int height, int width, std::string_view title, std::string_view description)
    : body_(fmt::format(
          R"(<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink")"
          R"( width="{0}" height="{1}" viewBox="0 0 {0} {1}" role="img" font-family="{2}">)"
          "\n<title>{3}</title>\n",
          width, height, kFonts, xml_escaped(title))) {
  if (!description.empty()) body_ += fmt::format("<desc>{}</desc>\n", xml_escaped(description));
  rectangle(0, 0, height, width, kWhite);
}

void SvgCanvas::rectangle(int y, int x, int height, int width, Rgb colour) {
  fill(y, x, height, width, hex(colour));
}

void SvgCanvas::picture(int y, int x, int height, int width, const Image& picture,
                        std::string_view name) {
  const bool large = picture.height > 2 * height || picture.width > 2 * width;
  embed(y, x, height, width, large ? resize(picture, 2 * height, 2 * width) : picture, name, "");
}

void SvgCanvas::cells(int y, int x, int height, int width, const Image& picture,
                      std::string_view name) {
  embed(y, x, height, width, enlarged(picture, height, width), name,
        R"( style="image-rendering:pixelated")");
}

void SvgCanvas::bars(int y, int x, int thickness, std::span<const double> lengths, Rgb colour) {
  std::string path = fmt::format("M{} {}", x, y);
  for (const double length : lengths) {
    path += fmt::format("H{}v{}", number(x + length), thickness);
  }
  body_ += fmt::format("<path d=\"{}H{}Z\" fill=\"{}\"/>\n", path, x, hex(colour));
}

void SvgCanvas::line(std::span<const Point> points, double width, Rgb colour) {
  if (points.empty()) return;
  std::string path;
  for (const Point& point : points) {
    path += fmt::format("{}{} {}", path.empty() ? "M" : "L", number(point.x), number(point.y));
  }
  body_ += fmt::format(
      R"(<path d="{}{}" fill="none" stroke="{}" stroke-width="{}" stroke-linecap="round")"
      R"( stroke-linejoin="round"/>)"
      "\n",
      path, points.size() == 1 ? "h0" : "", hex(colour), number(width));
}

void SvgCanvas::colours(int y, int x, int height, int width, Colormap colormap) {
  const std::string id = fmt::format("colours-{}", name_of(colormap));
  if (gradients_.insert(colormap).second) {
    constexpr int kStops = 64;
    body_ += fmt::format("<linearGradient id=\"{}\">\n", id);
    for (int i = 0; i <= kStops; ++i) {
      const float at = static_cast<float>(i) / kStops;
      body_ +=
          fmt::format("<stop offset=\"{}\" stop-color=\"{}\"/>\n", at, hex(colour(colormap, at)));
    }
    body_ += "</linearGradient>\n";
  }
  fill(y, x, height, width, fmt::format("url(#{})", id));
}

void SvgCanvas::mark(double y, double x, double radius, bool right) {
  // In a circle of radius 9.
  const char* symbol = right ? "M-4 0.4L-1.3 3.4L4 -3.2" : "M-3 -3L3 3M3 -3L-3 3";
  body_ += fmt::format(
      R"xml(<g transform="translate({} {}) scale({})"><title>{}</title>)xml"
      R"(<circle r="9" fill="{}"/>)"
      R"(<path d="{}" fill="none" stroke="{}" stroke-width="1.8" stroke-linecap="round")"
      R"( stroke-linejoin="round"/></g>)"
      "\n",
      number(x), number(y), number(radius / 9), right ? "right" : "wrong",
      hex(right ? kRight : kWrong), symbol, hex(kWhite));
}

void SvgCanvas::write(double x, double baseline, std::string_view text, const TextStyle& style) {
  // Only text that would leave its room in a font a little wider than ours is held to a length:
  // that keeps all of it on the page, but strains the letters of other fonts.
  constexpr double kTolerance = 1.05;
  const double width = likely_width(text, style.size);
  const std::string length =
      width * kTolerance > style.room
          ? fmt::format(R"( textLength="{}" lengthAdjust="spacingAndGlyphs")",
                        number(std::min(width, style.room)))
          : "";
  const char* anchor = style.anchor == Anchor::kEnd      ? R"( text-anchor="end")"
                       : style.anchor == Anchor::kMiddle ? R"( text-anchor="middle")"
                                                         : "";
  const std::string escaped = xml_escaped(text);
  const bool spaced =
      escaped.starts_with(' ') || escaped.ends_with(' ') || escaped.find("  ") != std::string::npos;
  body_ += fmt::format(R"(<text x="{}" y="{}" font-size="{}" fill="{}"{}{}{}>{}</text>)"
                       "\n",
                       number(x), number(baseline), number(style.size), hex(style.colour), anchor,
                       length, spaced ? R"( xml:space="preserve")" : "", escaped);
}

void SvgCanvas::embed(int y, int x, int height, int width, const Image& picture,
                      std::string_view name, std::string_view more) {
  const std::string png = encode_png(picture, std::string(name));
  body_ += fmt::format(R"(<image x="{}" y="{}" width="{}" height="{}" preserveAspectRatio="none"{})"
                       R"( xlink:href="data:image/png;base64,{}"><title>{}</title></image>)"
                       "\n",
                       x, y, width, height, more, base64(png), xml_escaped(name));
}

void SvgCanvas::fill(int y, int x, int height, int width, const std::string& paint) {
  body_ += fmt::format(R"(<rect x="{}" y="{}" width="{}" height="{}" fill="{}"/>)"
                       "\n",
                       x, y, width, height, paint);
}

}  // namespace glassnet
