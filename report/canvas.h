// What pages are drawn on. A page (report/sheet.h, report/contact_sheet.h) lays itself out once, in
// pixels, and draws on any canvas: RasterCanvas makes a picture, SvgCanvas (report/svg_canvas.h) a
// document whose text stays text.
#pragma once

#include <limits>
#include <string_view>
#include <utility>

#include "data/image.h"
#include "report/colormap.h"
#include "report/text.h"

namespace glassnet {

enum class Anchor { kStart, kEnd };  // the end of a text that stays where it is

struct TextStyle {
  double size = 12;  // pixels per em
  Rgb colour = kBlack;
  double room = std::numeric_limits<double>::infinity();  // pixels
  Anchor anchor = Anchor::kStart;
  Cut cut = Cut::kEnd;  // of what finds no room
};

// Distances are pixels, from the top and from the left. Texts are UTF-8, of any bytes.
class Canvas {
 public:
  virtual ~Canvas() = default;

  // As much of `text` as fits into its room, which begins or, anchored there, ends at `x`.
  void text(double x, double baseline, std::string_view text, const TextStyle& style);

  virtual void rectangle(int y, int x, int height, int width, Rgb colour) = 0;
  // `name` says what the picture shows, to those who do not see it.
  virtual void picture(int y, int x, int height, int width, const Image& picture,
                       std::string_view name) = 0;
  // The colours of a map, from 0 at the left to 1.
  virtual void colours(int y, int x, int height, int width, Colormap colormap) = 0;
  // A green disc with a tick, or a red one with a cross.
  virtual void mark(double y, double x, double radius, bool right) = 0;

 protected:
  static constexpr Rgb kRight{0x12, 0x8a, 0x5b};
  static constexpr Rgb kWrong{0xc6, 0x34, 0x2c};

 private:
  // `text` fits.
  virtual void write(double x, double baseline, std::string_view text, const TextStyle& style) = 0;
};

class RasterCanvas : public Canvas {
 public:
  RasterCanvas(int height, int width);  // white

  Image image() && { return std::move(image_); }

  void rectangle(int y, int x, int height, int width, Rgb colour) override;
  void picture(int y, int x, int height, int width, const Image& picture,
               std::string_view name) override;
  void colours(int y, int x, int height, int width, Colormap colormap) override;
  void mark(double y, double x, double radius, bool right) override;

 private:
  void write(double x, double baseline, std::string_view text, const TextStyle& style) override;

  Image image_;
};

}  // namespace glassnet
