// A small drawing surface: anti-aliased polygons and procedural shading on linear float colours,
// with a second plane that remembers which pixels show the object the picture is about.
//
// Coordinates are those of the unit square, x to the right and y down, whatever the resolution; a
// picture drawn at two sizes shows the same things.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <type_traits>
#include <vector>

namespace glassnet::drawing {

struct Color {
  float r = 0, g = 0, b = 0;
};
inline Color operator+(Color a, Color b) {
  return {a.r + b.r, a.g + b.g, a.b + b.b};
}
inline Color operator*(Color a, Color b) {
  return {a.r * b.r, a.g * b.g, a.b * b.b};
}
inline Color operator*(Color a, float s) {
  return {a.r * s, a.g * s, a.b * s};
}
inline float luminance(Color c) {
  return 0.30f * c.r + 0.59f * c.g + 0.11f * c.b;
}
inline float mix(float a, float b, float t) {
  return a + (b - a) * t;
}
inline Color mix(Color a, Color b, float t) {
  return {mix(a.r, b.r, t), mix(a.g, b.g, t), mix(a.b, b.b, t)};
}
// Hue, saturation and value in [0, 1]; the hue goes round.
Color hsv(float hue, float saturation, float value);

inline float clamp01(float v) {
  return std::clamp(v, 0.0f, 1.0f);
}
// 0 before `low`, 1 after `high`, smooth between.
inline float smooth(float low, float high, float v) {
  const float t = clamp01((v - low) / (high - low));
  return t * t * (3 - 2 * t);
}

struct Point {
  float x = 0, y = 0;
};

// Gradient noise (Perlin, "Improving noise", SIGGRAPH 2002) on hashed lattice points, so that it
// needs no table and any 32-bit seed gives another field.
class Noise {
 public:
  explicit Noise(uint32_t seed) : seed_(seed) {}
  float at(float x, float y) const;  // about [-1, 1], 0 on average, features of size 1
  float fractal(float x, float y, int octaves, float gain = 0.5f) const;  // about [-1, 1]
  float ridged(float x, float y, int octaves) const;  // [0, 1], 1 along branching crests
  float cell(int x, int y) const;  // [0, 1), one value for each lattice cell, independent

 private:
  uint32_t seed_;
};

// Whether what is drawn belongs to the object of the picture or only stands around (or before) it.
enum class Layer { kBackdrop, kObject };

class Canvas {
 public:
  explicit Canvas(int size)
      : size_(size), colors_(static_cast<size_t>(size) * size), object_(colors_.size()) {}

  int size() const { return size_; }
  float unit(int i) const { return (static_cast<float>(i) + 0.5f) / static_cast<float>(size_); }
  float pixel() const { return 1.0f / static_cast<float>(size_); }
  Color& color(int y, int x) { return colors_[static_cast<size_t>(y) * size_ + x]; }
  const Color& color(int y, int x) const { return colors_[static_cast<size_t>(y) * size_ + x]; }
  // The share of the pixel that shows the object, in [0, 1].
  float object(int y, int x) const { return object_[static_cast<size_t>(y) * size_ + x]; }
  // Bilinear, the border repeated.
  Color sample(float y, float x) const;

  void blend(int y, int x, Color paint, float alpha, Layer layer) {
    const size_t i = static_cast<size_t>(y) * size_ + x;
    colors_[i] = mix(colors_[i], paint, alpha);
    object_[i] = mix(object_[i], layer == Layer::kObject ? 1.0f : 0.0f, alpha);
  }
  // Changes colours and leaves the mask: mist, glare.
  void veil(int y, int x, Color paint, float alpha) {
    color(y, x) = mix(color(y, x), paint, alpha);
  }

  // Calls visit(row, column, y, x) for every pixel whose centre lies in the rectangle.
  template <class Visit>
  void visit(float x0, float y0, float x1, float y1, Visit&& visit) const {
    const int top = first_inside(y0), bottom = first_inside(y1);
    const int left = first_inside(x0), right = first_inside(x1);
    for (int row = top; row < bottom; ++row)
      for (int column = left; column < right; ++column) visit(row, column, unit(row), unit(column));
  }

  // Fills a polygon of any form (even-odd). `shade` is a Color or a function (x, y) -> Color.
  template <class Shade>
  void polygon(std::span<const Point> points, Layer layer, const Shade& shade, float alpha = 1) {
    for (int row = begin_scan(points); row < scan_bottom_; ++row) {
      const auto [left, right] = scan_row(points, row);
      for (int column = left; column < right; ++column) {
        const float cover = coverage_[column] * alpha;
        if (cover <= 0) continue;
        if constexpr (std::is_convertible_v<Shade, Color>)
          blend(row, column, shade, cover, layer);
        else
          blend(row, column, shade(unit(column), unit(row)), cover, layer);
      }
    }
  }
  template <class Shade>
  void polygon(std::initializer_list<Point> points, Layer layer, const Shade& shade,
               float alpha = 1) {
    polygon(std::span<const Point>(points.begin(), points.size()), layer, shade, alpha);
  }
  void ellipse(Point centre, float rx, float ry, Layer layer, Color color, float alpha = 1);
  void line(Point a, Point b, float width_a, float width_b, Layer layer, Color color,
            float alpha = 1);

 private:
  int first_inside(float v) const {
    return std::clamp(static_cast<int>(std::ceil(v * static_cast<float>(size_) - 0.5f)), 0, size_);
  }
  int begin_scan(std::span<const Point> points);
  std::pair<int, int> scan_row(std::span<const Point> points, int row);

  int size_;
  std::vector<Color> colors_;  // (size, size)
  std::vector<float> object_;  // (size, size)
  std::vector<float> coverage_, crossings_;
  int scan_bottom_ = 0;
};

}  // namespace glassnet::drawing
