// The definitions of kernels/superpixels.h as plain loops.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "kernels/superpixels.h"

namespace glassnet::kernels::reference {

// --- colours and smoothing -----------------------------------------------------------------------

// sRGB's level, from 0 to 1, as light.
inline double linear_light(double level) {
  return level > 0.04045 ? std::pow((level + 0.055) / 1.055, 2.4) : level / 12.92;
}

// L*, a* and b* of a pixel's light, into lab[0], lab[plane] and lab[2 * plane].
inline void lab_of_light(double r, double g, double b, double* lab, int64_t plane) {
  constexpr double kMatrix[3][3] = {{0.412453, 0.357580, 0.180423},
                                    {0.212671, 0.715160, 0.072169},
                                    {0.019334, 0.119193, 0.950227}};
  constexpr double kWhite[3] = {0.95047, 1, 1.08883};
  double f[3];
  for (int c = 0; c < 3; ++c) {
    const double xyz = (r * kMatrix[c][0] + g * kMatrix[c][1] + b * kMatrix[c][2]) / kWhite[c];
    f[c] = xyz > 0.008856 ? std::cbrt(xyz) : 7.787 * xyz + 16.0 / 116;
  }
  lab[0] = 116 * f[1] - 16;
  lab[plane] = 500 * (f[0] - f[1]);
  lab[2 * plane] = 200 * (f[1] - f[2]);
}

inline void rgb_to_lab(const double* levels, const uint8_t* rgb, double* lab, int64_t pixels) {
  const auto light = [&](uint8_t byte) { return linear_light(levels[byte]); };
  for (int64_t i = 0; i < pixels; ++i, rgb += 3) {
    lab_of_light(light(rgb[0]), light(rgb[1]), light(rgb[2]), lab + i, pixels);
  }
}

// weights[k] for k = 0 … r.
inline std::vector<double> gaussian_weights(double sigma) {
  const auto radius = static_cast<int64_t>(4 * sigma + 0.5);
  std::vector<double> weights;
  for (int64_t k = 0; k <= radius; ++k) {
    weights.push_back(std::exp(-0.5 / (sigma * sigma) * static_cast<double>(k * k)));
  }
  double sum = 0;
  for (int64_t k = -radius; k <= radius; ++k) sum += weights[std::abs(k)];
  for (double& weight : weights) weight /= sum;
  return weights;
}

// Where position i lies on an axis of n that goes on beyond its ends as its mirror image.
inline int64_t mirrored(int64_t i, int64_t n) {
  i = (i % (2 * n) + 2 * n) % (2 * n);
  return i < n ? i : 2 * n - 1 - i;
}

inline void gaussian_smooth(const double* x, double* y, double sigma, const PlanesShape& o) {
  const std::vector<double> weights = gaussian_weights(sigma);
  const auto radius = static_cast<int64_t>(weights.size()) - 1;
  // `at(i)` is element i of a line. The middle comes first, then pairs from the outermost inwards.
  const auto smoothed = [&](auto&& at, int64_t i, int64_t n) {
    double sum = at(i) * weights[0];
    for (int64_t k = radius; k >= 1; --k) {
      sum += (at(mirrored(i - k, n)) + at(mirrored(i + k, n))) * weights[k];
    }
    return sum;
  };
  std::vector<double> columns(static_cast<size_t>(o.planes * o.h * o.w));
  for (int64_t p = 0; p < o.planes; ++p) {
    const double* plane = x + p * o.h * o.w;
    double *down = columns.data() + p * o.h * o.w, *out = y + p * o.h * o.w;
    for (int64_t r = 0; r < o.h; ++r) {
      for (int64_t c = 0; c < o.w; ++c) {
        down[r * o.w + c] = smoothed([&](int64_t i) { return plane[i * o.w + c]; }, r, o.h);
      }
    }
    for (int64_t r = 0; r < o.h; ++r) {
      for (int64_t c = 0; c < o.w; ++c) {
        out[r * o.w + c] = smoothed([&](int64_t i) { return down[r * o.w + i]; }, c, o.w);
      }
    }
  }
}

// --- quickshift ----------------------------------------------------------------------------------

inline double quickshift_distance(const double* colors, int64_t p, int64_t q,
                                  const QuickshiftShape& o) {
  double sum = 0;
  for (int64_t c = 0; c < 3; ++c) {
    const double d = colors[c * o.h * o.w + p] - colors[c * o.h * o.w + q];
    sum += d * d;
  }
  const auto rows = static_cast<double>(p / o.w - q / o.w);
  const auto columns = static_cast<double>(p % o.w - q % o.w);
  return sum + rows * rows + columns * columns;
}

// f(pixel) for the pixels of the window of pixel p.
template <class F>
void for_each_in_window(int64_t p, const QuickshiftShape& o, F&& f) {
  const auto reach = static_cast<int64_t>(std::ceil(3 * o.kernel_size));
  const int64_t row = p / o.w, column = p % o.w;
  for (int64_t r = std::max<int64_t>(row - reach, 0); r < std::min(row + reach + 1, o.h); ++r) {
    for (int64_t c = std::max<int64_t>(column - reach, 0); c < std::min(column + reach + 1, o.w);
         ++c) {
      f(r * o.w + c);
    }
  }
}

inline void quickshift_density(const double* colors, double* density, const QuickshiftShape& o) {
  const double scale = -0.5 / (o.kernel_size * o.kernel_size);
  for (int64_t p = 0; p < o.h * o.w; ++p) {
    for_each_in_window(p, o, [&](int64_t q) {
      density[p] += std::exp(quickshift_distance(colors, p, q, o) * scale);
    });
  }
}

inline void quickshift_parents(const double* colors, const double* density, double max_dist,
                               int64_t* parent, const QuickshiftShape& o) {
  for (int64_t p = 0; p < o.h * o.w; ++p) {
    double closest = std::numeric_limits<double>::max();
    parent[p] = p;
    for_each_in_window(p, o, [&](int64_t q) {
      if (density[q] <= density[p]) return;
      const double distance = quickshift_distance(colors, p, q, o);
      if (distance < closest) {
        closest = distance;
        parent[p] = q;
      }
    });
    if (std::sqrt(closest) > max_dist) parent[p] = p;
  }
}

// --- SLIC ----------------------------------------------------------------------------------------

// Positions [begin, end) of an axis of n that a centre at `at` reaches; none when it is NaN.
struct SlicReach {
  int64_t begin, end;
};
inline SlicReach slic_reach(double at, int64_t step, int64_t n) {
  if (std::isnan(at)) return {0, 0};
  const auto reach = static_cast<double>(2 * step);
  return {static_cast<int64_t>(std::max(at - reach, 0.0)),
          static_cast<int64_t>(std::min(at + reach + 1, static_cast<double>(n)))};
}

inline void slic_assign(const double* colors, const SlicCenter* centers, int64_t* labels,
                        const SlicShape& o) {
  const double weight = 1 / (o.spacing * o.spacing);
  for (int64_t y = 0; y < o.h; ++y) {
    for (int64_t x = 0; x < o.w; ++x) {
      double nearest = std::numeric_limits<double>::max();
      for (int64_t k = 0; k < o.centers; ++k) {
        const SlicCenter& center = centers[k];
        const SlicReach rows = slic_reach(center.y, o.step_y, o.h);
        const SlicReach columns = slic_reach(center.x, o.step_x, o.w);
        if (y < rows.begin || y >= rows.end || x < columns.begin || x >= columns.end) continue;
        const double dy = center.y - static_cast<double>(y), dx = center.x - static_cast<double>(x);
        double color = 0;
        for (int64_t c = 0; c < 3; ++c) {
          const double d = colors[(c * o.h + y) * o.w + x] - center.color[c];
          color += d * d;
        }
        const double distance = (dy * dy + dx * dx) * weight + color;
        if (distance < nearest) {
          nearest = distance;
          labels[y * o.w + x] = k;
        }
      }
    }
  }
}

inline void slic_update(const double* colors, const int64_t* labels, SlicCenter* centers,
                        const SlicShape& o) {
  for (int64_t k = 0; k < o.centers; ++k) {
    SlicCenter sum = {};
    double count = 0;
    for (int64_t y = 0; y < o.h; ++y) {
      for (int64_t x = 0; x < o.w; ++x) {
        if (labels[y * o.w + x] != k) continue;
        sum.y += static_cast<double>(y);
        sum.x += static_cast<double>(x);
        for (int64_t c = 0; c < 3; ++c) sum.color[c] += colors[(c * o.h + y) * o.w + x];
        ++count;
      }
    }
    centers[k] = {sum.y / count,
                  sum.x / count,
                  {sum.color[0] / count, sum.color[1] / count, sum.color[2] / count}};
  }
}

}  // namespace glassnet::kernels::reference
