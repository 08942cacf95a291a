#include "report/canvas.h"

#include <vector>

namespace glassnet {

void Canvas::text(double x, double baseline, std::string_view text, const TextStyle& style) {
  const std::string fitted = fit_text(text, style.size, style.room, style.cut);
  if (!fitted.empty()) write(x, baseline, fitted, style);
}

RasterCanvas::RasterCanvas(int height, int width, int scale)
    : scale_(scale), image_(filled(height * scale, width * scale, kWhite)) {}

void RasterCanvas::rectangle(int y, int x, int height, int width, Rgb colour) {
  fill_rectangle(image_, y * scale_, x * scale_, height * scale_, width * scale_, colour);
}

void RasterCanvas::picture(int y, int x, int height, int width, const Image& picture,
                           std::string_view /*name*/) {
  paste(image_, y * scale_, x * scale_, resize(picture, height * scale_, width * scale_));
}

void RasterCanvas::cells(int y, int x, int height, int width, const Image& picture,
                         std::string_view /*name*/) {
  paste(image_, y * scale_, x * scale_, enlarged(picture, height * scale_, width * scale_));
}

void RasterCanvas::bars(int y, int x, int thickness, std::span<const double> lengths, Rgb colour) {
  const int height = thickness * scale_, left = x * scale_;
  int top = y * scale_;
  for (const double length : lengths) {
    const double end = length * scale_;
    const int whole = static_cast<int>(end);
    fill_rectangle(image_, top, left, height, whole, colour);
    const auto rest = static_cast<float>(end - whole);
    if (rest > 0 && top >= 0 && top < image_.height && left + whole >= 0 &&
        left + whole < image_.width) {
      const uint8_t* ground = image_.at(top, left + whole);
      fill_rectangle(image_, top, left + whole, height, 1,
                     mix({ground[0], ground[1], ground[2]}, colour, rest));
    }
    top += height;
  }
}

void RasterCanvas::line(std::span<const Point> points, double width, Rgb colour) {
  std::vector<Point> scaled(points.begin(), points.end());
  for (Point& point : scaled) point.y *= scale_, point.x *= scale_;
  stroke(image_, scaled, width * scale_, colour);
}

void RasterCanvas::colours(int y, int x, int height, int width, Colormap colormap) {
  const int columns = width * scale_;
  for (int i = 0; i < columns; ++i) {
    const float value = columns > 1 ? static_cast<float>(i) / static_cast<float>(columns - 1) : 0.f;
    fill_rectangle(image_, y * scale_, x * scale_ + i, height * scale_, 1, colour(colormap, value));
  }
}

void RasterCanvas::mark(double y, double x, double radius, bool right) {
  const double size = radius * scale_ * 14 / 9;
  const char* symbol = right ? "✓" : "✗";
  fill_disc(image_, y * scale_, x * scale_, radius * scale_, right ? kRight : kWrong);
  draw_text(image_, x * scale_ - text_width(symbol, size) / 2,
            y * scale_ + font_metrics(size).cap_height / 2, symbol, size, kWhite);
}

void RasterCanvas::write(double x, double baseline, std::string_view text, const TextStyle& style) {
  const double size = style.size * scale_;
  const double width = text_width(text, size);
  const double before = style.anchor == Anchor::kStart    ? 0
                        : style.anchor == Anchor::kMiddle ? width / 2
                                                          : width;
  draw_text(image_, x * scale_ - before, baseline * scale_, text, size, style.colour);
}

}  // namespace glassnet
