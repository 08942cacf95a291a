#include "report/draw.h"

#include <algorithm>
#include <cmath>

namespace glassnet {

Image filled(int height, int width, Rgb colour) {
  Image image(height, width);
  fill_rectangle(image, 0, 0, height, width, colour);
  return image;
}

void fill_rectangle(Image& image, int y, int x, int height, int width, Rgb colour) {
  const int bottom = std::min(y + height, image.height);
  const int right = std::min(x + width, image.width);
  for (int row = std::max(y, 0); row < bottom; ++row) {
    for (int column = std::max(x, 0); column < right; ++column) {
      uint8_t* pixel = image.at(row, column);
      pixel[0] = colour.r, pixel[1] = colour.g, pixel[2] = colour.b;
    }
  }
}

void fill_disc(Image& image, double y, double x, double radius, Rgb colour) {
  const int top = std::max(static_cast<int>(std::floor(y - radius - 1)), 0);
  const int bottom = std::min(static_cast<int>(std::ceil(y + radius + 1)), image.height);
  const int left = std::max(static_cast<int>(std::floor(x - radius - 1)), 0);
  const int right = std::min(static_cast<int>(std::ceil(x + radius + 1)), image.width);
  for (int row = top; row < bottom; ++row) {
    for (int column = left; column < right; ++column) {
      const double distance = std::hypot(row + 0.5 - y, column + 0.5 - x);
      const auto cover = static_cast<float>(std::clamp(radius - distance + 0.5, 0.0, 1.0));
      uint8_t* pixel = image.at(row, column);
      const Rgb mixed = mix({pixel[0], pixel[1], pixel[2]}, colour, cover);
      pixel[0] = mixed.r, pixel[1] = mixed.g, pixel[2] = mixed.b;
    }
  }
}

void paste(Image& image, int y, int x, const Image& source) {
  const int left = std::max(x, 0);
  const int right = std::min(x + source.width, image.width);
  if (left >= right) return;
  for (int row = std::max(y, 0); row < std::min(y + source.height, image.height); ++row) {
    std::copy_n(source.at(row - y, left - x), (right - left) * 3, image.at(row, left));
  }
}

}  // namespace glassnet
