#include "report/draw.h"

#include <algorithm>
#include <cmath>
#include <vector>

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

void stroke(Image& image, std::span<const Point> points, double width, Rgb colour) {
  if (points.empty()) return;
  // Segments overlap at joints, where a pixel is covered as much as by the nearest of them, once.
  const double reach = width / 2 + 1;
  const auto [low_y, high_y] = std::minmax_element(
      points.begin(), points.end(), [](const Point& a, const Point& b) { return a.y < b.y; });
  const auto [low_x, high_x] = std::minmax_element(
      points.begin(), points.end(), [](const Point& a, const Point& b) { return a.x < b.x; });
  const auto from = [&](double at) {
    return std::max(static_cast<int>(std::floor(at - reach)), 0);
  };
  const auto to = [&](double at, int end) {
    return std::min(static_cast<int>(std::ceil(at + reach)), end);
  };
  const int top = from(low_y->y), bottom = to(high_y->y, image.height);
  const int left = from(low_x->x), right = to(high_x->x, image.width);
  if (top >= bottom || left >= right) return;
  std::vector<float> cover(static_cast<size_t>(bottom - top) * static_cast<size_t>(right - left));
  for (size_t i = 0; i < std::max<size_t>(points.size() - 1, 1); ++i) {
    const Point a = points[i], b = points[std::min(i + 1, points.size() - 1)];
    const double dy = b.y - a.y, dx = b.x - a.x, square = dy * dy + dx * dx;
    for (int y = from(std::min(a.y, b.y)); y < to(std::max(a.y, b.y), bottom); ++y) {
      for (int x = from(std::min(a.x, b.x)); x < to(std::max(a.x, b.x), right); ++x) {
        const double py = y + 0.5 - a.y, px = x + 0.5 - a.x;
        const double along = square > 0 ? std::clamp((py * dy + px * dx) / square, 0.0, 1.0) : 0.0;
        const double distance = std::hypot(py - along * dy, px - along * dx);
        float& covered = cover[static_cast<size_t>(y - top) * (right - left) + (x - left)];
        covered =
            std::max(covered, static_cast<float>(std::clamp(width / 2 - distance + 0.5, 0.0, 1.0)));
      }
    }
  }
  for (int y = top; y < bottom; ++y) {
    for (int x = left; x < right; ++x) {
      uint8_t* pixel = image.at(y, x);
      const float covered = cover[static_cast<size_t>(y - top) * (right - left) + (x - left)];
      const Rgb mixed = mix({pixel[0], pixel[1], pixel[2]}, colour, covered);
      pixel[0] = mixed.r, pixel[1] = mixed.g, pixel[2] = mixed.b;
    }
  }
}

Image enlarged(const Image& source, int height, int width) {
  Image result(height, width);
  for (int y = 0; y < height; ++y) {
    const int from_y = static_cast<int>(int64_t{y} * source.height / height);
    for (int x = 0; x < width; ++x) {
      const int from_x = static_cast<int>(int64_t{x} * source.width / width);
      std::copy_n(source.at(from_y, from_x), 3, result.at(y, x));
    }
  }
  return result;
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
