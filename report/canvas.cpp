#include "report/canvas.h"

#include "report/draw.h"

namespace glassnet {

void Canvas::text(double x, double baseline, std::string_view text, const TextStyle& style) {
  const std::string fitted = fit_text(text, style.size, style.room, style.cut);
  if (!fitted.empty()) write(x, baseline, fitted, style);
}

RasterCanvas::RasterCanvas(int height, int width) : image_(filled(height, width, kWhite)) {}

void RasterCanvas::rectangle(int y, int x, int height, int width, Rgb colour) {
  fill_rectangle(image_, y, x, height, width, colour);
}

void RasterCanvas::picture(int y, int x, int height, int width, const Image& picture,
                           std::string_view /*name*/) {
  paste(image_, y, x, resize(picture, height, width));
}

void RasterCanvas::colours(int y, int x, int height, int width, Colormap colormap) {
  for (int i = 0; i < width; ++i) {
    const float value = width > 1 ? static_cast<float>(i) / static_cast<float>(width - 1) : 0.f;
    fill_rectangle(image_, y, x + i, height, 1, colour(colormap, value));
  }
}

void RasterCanvas::mark(double y, double x, double radius, bool right) {
  const double size = radius * 14 / 9;
  const char* symbol = right ? "✓" : "✗";
  fill_disc(image_, y, x, radius, right ? kRight : kWrong);
  draw_text(image_, x - text_width(symbol, size) / 2, y + font_metrics(size).cap_height / 2, symbol,
            size, kWhite);
}

void RasterCanvas::write(double x, double baseline, std::string_view text, const TextStyle& style) {
  const double start = style.anchor == Anchor::kEnd ? x - text_width(text, style.size) : x;
  draw_text(image_, start, baseline, text, style.size, style.colour);
}

}  // namespace glassnet
