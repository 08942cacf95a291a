// What pages are drawn on. A page (report/sheet.h, report/contact_sheet.h) lays itself out once, in
// pixels, and draws on any canvas: RasterCanvas makes a picture, SvgCanvas (report/svg_canvas.h) a
// document whose text stays text.
#pragma once

#include <limits>
#include <span>
#include <string_view>
#include <utility>

#include "data/image.h"
#include "report/colormap.h"
#include "report/draw.h"
#include "report/text.h"

namespace glassnet {

enum class Anchor { kStart, kMiddle, kEnd };  // the part of a text that stays where it is

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

  // As much of `text` as fits into its room, of which `x` is the beginning, the middle or the end,
  // as it is anchored.
  void text(double x, double baseline, std::string_view text, const TextStyle& style);

  virtual void rectangle(int y, int x, int height, int width, Rgb colour) = 0;
  // `name` says what the picture shows, to those who do not see it.
  virtual void picture(int y, int x, int height, int width, const Image& picture,
                       std::string_view name) = 0;
  // Each of the picture's pixels as a sharp rectangle.
  virtual void cells(int y, int x, int height, int width, const Image& picture,
                     std::string_view name) = 0;
  // A bar to the right from `x` in each row of `thickness` pixels, from `y` down.
  virtual void bars(int y, int x, int thickness, std::span<const double> lengths, Rgb colour) = 0;
  // As `stroke` draws it.
  virtual void line(std::span<const Point> points, double width, Rgb colour) = 0;
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
  // White. A pixel of the page becomes a square of `scale` pixels a side, for print.
  RasterCanvas(int height, int width, int scale = 1);

  Image image() && { return std::move(image_); }

  void rectangle(int y, int x, int height, int width, Rgb colour) override;
  void picture(int y, int x, int height, int width, const Image& picture,
               std::string_view name) override;
  void cells(int y, int x, int height, int width, const Image& picture,
             std::string_view name) override;
  void bars(int y, int x, int thickness, std::span<const double> lengths, Rgb colour) override;
  void line(std::span<const Point> points, double width, Rgb colour) override;
  void colours(int y, int x, int height, int width, Colormap colormap) override;
  void mark(double y, double x, double radius, bool right) override;

 private:
  void write(double x, double baseline, std::string_view text, const TextStyle& style) override;

  int scale_;
  Image image_;
};

}  // namespace glassnet
