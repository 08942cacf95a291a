#include "data/canvas.h"

#include <array>
#include <numbers>

namespace glassnet::drawing {
namespace {

constexpr uint32_t kAcross = 0x8DA6B343u, kDown = 0xD8163841u, kSeed = 0xCB1AB31Fu;

uint32_t hash(uint32_t x, uint32_t y, uint32_t seed) {
  uint32_t h = x * kAcross ^ y * kDown ^ seed * kSeed;
  h = (h ^ h >> 15) * 0x2C1B3C6Du;
  h = (h ^ h >> 12) * 0x297A2D39u;
  return h ^ h >> 15;
}

// std::floor is a call on processors without SSE 4.1, and this is where most of the time goes.
int floor_of(float v) {
  const int truncated = static_cast<int>(v);
  return truncated - (v < static_cast<float>(truncated));
}

// The eight slopes a lattice point may have; looked up, as branches on hashed bits would be guessed
// wrong half the time.
constexpr std::array<Point, 8> kSlopes = {Point{1, 0.5f}, {-1, 0.5f}, {1, -0.5f}, {-1, -0.5f},
                                          {0.5f, 1},      {-0.5f, 1}, {0.5f, -1}, {-0.5f, -1}};

// One mixing step on top of `across ^ down`, which callers share between neighbours.
float gradient(uint32_t across, uint32_t down, float dx, float dy) {
  uint32_t h = across ^ down;
  h = (h ^ h >> 15) * 0x2C1B3C6Du;
  const Point& slope = kSlopes[h >> 29];
  return slope.x * dx + slope.y * dy;
}

// Lines on which the coverage of a row is measured; across a line it is exact.
constexpr int kSubScans = 4;

}  // namespace

Color hsv(float hue, float saturation, float value) {
  const auto channel = [&](float shift) {
    const float h = hue + shift;
    const float k = std::abs((h - std::floor(h)) * 6 - 3);
    return value * mix(1.0f, clamp01(k - 1), saturation);
  };
  return {channel(0), channel(2.0f / 3), channel(1.0f / 3)};
}

float Noise::at(float x, float y) const {
  const int left = floor_of(x), above = floor_of(y);
  const float dx = x - static_cast<float>(left), dy = y - static_cast<float>(above);
  const float u = dx * dx * dx * (dx * (dx * 6 - 15) + 10);
  const float v = dy * dy * dy * (dy * (dy * 6 - 15) + 10);
  const uint32_t x0 = static_cast<uint32_t>(left) * kAcross ^ seed_ * kSeed,
                 y0 = static_cast<uint32_t>(above) * kDown;
  const uint32_t x1 = (static_cast<uint32_t>(left) + 1) * kAcross ^ seed_ * kSeed;
  const uint32_t y1 = y0 + kDown;
  const float top = mix(gradient(x0, y0, dx, dy), gradient(x1, y0, dx - 1, dy), u);
  const float bottom = mix(gradient(x0, y1, dx, dy - 1), gradient(x1, y1, dx - 1, dy - 1), u);
  return 1.5f * mix(top, bottom, v);
}

float Noise::fractal(float x, float y, int octaves, float gain) const {
  float sum = 0, amplitude = 1, total = 0;
  for (int i = 0; i < octaves; ++i) {
    sum += amplitude * at(x, y);
    total += amplitude;
    amplitude *= gain;
    // Turned as well as doubled, so that no lattice lines up with the next.
    const float turned = 1.6f * x + 1.2f * y + 17.3f;
    y = 1.6f * y - 1.2f * x + 5.1f;
    x = turned;
  }
  return sum / total * 1.3f;
}

float Noise::ridged(float x, float y, int octaves) const {
  float sum = 0, amplitude = 1, total = 0, weight = 1;
  for (int i = 0; i < octaves; ++i) {
    const float crest = 1 - std::min(1.0f, std::abs(at(x, y)) * 1.3f);
    sum += amplitude * weight * crest * crest;
    total += amplitude;
    weight = crest;
    amplitude *= 0.55f;
    const float turned = 1.6f * x + 1.2f * y + 17.3f;
    y = 1.6f * y - 1.2f * x + 5.1f;
    x = turned;
  }
  return sum / total;
}

float Noise::cell(int x, int y) const {
  return static_cast<float>(
             hash(static_cast<uint32_t>(x), static_cast<uint32_t>(y), seed_ ^ 0x5bd1e995u) >> 8) *
         0x1p-24f;
}

Color Canvas::sample(float y, float x) const {
  const float limit = static_cast<float>(size_ - 1);
  const float py = std::clamp(y * static_cast<float>(size_) - 0.5f, 0.0f, limit);
  const float px = std::clamp(x * static_cast<float>(size_) - 0.5f, 0.0f, limit);
  const int iy = std::min(static_cast<int>(py), size_ - 2);
  const int ix = std::min(static_cast<int>(px), size_ - 2);
  const float fy = py - static_cast<float>(iy), fx = px - static_cast<float>(ix);
  return mix(mix(color(iy, ix), color(iy, ix + 1), fx),
             mix(color(iy + 1, ix), color(iy + 1, ix + 1), fx), fy);
}

int Canvas::begin_scan(std::span<const Point> points) {
  coverage_.assign(static_cast<size_t>(size_) + 1, 0.0f);
  float low = 1, high = 0;
  for (const Point& p : points) {
    low = std::min(low, p.y);
    high = std::max(high, p.y);
  }
  const auto n = static_cast<float>(size_);
  scan_bottom_ = std::clamp(static_cast<int>(std::ceil(high * n)), 0, size_);
  return std::clamp(static_cast<int>(std::floor(low * n)), 0, size_);
}

std::pair<int, int> Canvas::scan_row(std::span<const Point> points, int row) {
  const auto n = static_cast<float>(size_);
  int left = size_, right = 0;
  std::fill(coverage_.begin(), coverage_.end(), 0.0f);
  for (int sub = 0; sub < kSubScans; ++sub) {
    const float y = (static_cast<float>(row) + (static_cast<float>(sub) + 0.5f) / kSubScans) / n;
    crossings_.clear();
    for (size_t i = 0, j = points.size() - 1; i < points.size(); j = i++) {
      const Point &a = points[j], &b = points[i];
      if ((a.y <= y) == (b.y <= y)) continue;
      crossings_.push_back(mix(a.x, b.x, (y - a.y) / (b.y - a.y)) * n);
    }
    std::sort(crossings_.begin(), crossings_.end());
    for (size_t i = 0; i + 1 < crossings_.size(); i += 2) {
      const float from = std::clamp(crossings_[i], 0.0f, n);
      const float to = std::clamp(crossings_[i + 1], 0.0f, n);
      if (to <= from) continue;
      const int first = static_cast<int>(from), last = std::min(static_cast<int>(to), size_ - 1);
      for (int x = first; x <= last; ++x) {
        const auto px = static_cast<float>(x);
        coverage_[x] += (std::min(to, px + 1) - std::max(from, px)) / kSubScans;
      }
      left = std::min(left, first);
      right = std::max(right, last + 1);
    }
  }
  return {left, right};
}

void Canvas::ellipse(Point centre, float rx, float ry, Layer layer, Color color, float alpha) {
  constexpr int kCorners = 24;
  std::array<Point, kCorners> points;
  for (int i = 0; i < kCorners; ++i) {
    const float angle = 2 * std::numbers::pi_v<float> * static_cast<float>(i) / kCorners;
    points[i] = {centre.x + rx * std::cos(angle), centre.y + ry * std::sin(angle)};
  }
  polygon(points, layer, color, alpha);
}

void Canvas::line(Point a, Point b, float width_a, float width_b, Layer layer, Color color,
                  float alpha) {
  const float dx = b.x - a.x, dy = b.y - a.y;
  const float length = std::max(std::hypot(dx, dy), 1e-6f);
  const float nx = -dy / length / 2, ny = dx / length / 2;
  polygon({{a.x + nx * width_a, a.y + ny * width_a},
           {b.x + nx * width_b, b.y + ny * width_b},
           {b.x - nx * width_b, b.y - ny * width_b},
           {a.x - nx * width_a, a.y - ny * width_a}},
          layer, color, alpha);
}

}  // namespace glassnet::drawing
