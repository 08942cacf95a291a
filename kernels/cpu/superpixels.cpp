// Superpixels on the CPU. Threads share the rows of the image; within a row, the loop over columns
// is innermost, so that it vectorises: each pixel still meets its neighbours, or the centres, in
// the order of the definition.
#include "kernels/superpixels.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "kernels/cpu/parallel.h"
#include "kernels/cpu/scratch.h"
#include "kernels/pixel_distance.h"
#include "kernels/reference/superpixels.h"

namespace glassnet::kernels {
namespace {

// f(column, neighbour, rows² + columns² between the two) for every pixel of `row` whose window has
// the neighbour that lies (dr, dc) away.
template <class F>
inline void for_each_pair(int64_t row, int64_t dr, int64_t dc, const QuickshiftShape& o, F&& f) {
  const int64_t begin = std::max<int64_t>(0, -dc), end = std::min(o.w, o.w - dc);
  const int64_t to_neighbour = (row + dr) * o.w + dc;
  const auto rows = static_cast<double>(dr), columns = static_cast<double>(dc);
#pragma omp simd
  for (int64_t c = begin; c < end; ++c) f(c, to_neighbour + c, rows * rows, columns * columns);
}

// f(row) for all rows. Those near the edges have smaller windows, so a thread takes the next row
// when it is done with one.
template <class F>
void for_each_row(const QuickshiftShape& o, F&& f) {
  TeamFailure failure;
#pragma omp parallel for schedule(dynamic)
  for (int64_t row = 0; row < o.h; ++row) failure.keep_from([&] { f(row); });
  failure.rethrow();
}

// f(dr, dc) for the places of a window around a pixel of `row`, in their order.
template <class F>
void for_each_place(int64_t row, const QuickshiftShape& o, F&& f) {
  const auto reach = static_cast<int64_t>(std::ceil(3 * o.kernel_size));
  const int64_t above = std::min(reach, row), below = std::min(reach, o.h - 1 - row);
  const int64_t aside = std::min(reach, o.w - 1);
  for (int64_t dr = -above; dr <= below; ++dr) {
    for (int64_t dc = -aside; dc <= aside; ++dc) f(dr, dc);
  }
}

constexpr int64_t kLanes = 8;
using Doubles = double __attribute__((vector_size(kLanes * sizeof(double))));
using Integers = int64_t __attribute__((vector_size(kLanes * sizeof(int64_t))));
constexpr Integers kLane = {0, 1, 2, 3, 4, 5, 6, 7};

}  // namespace

void rgb_to_lab(Cpu, const double* levels, const uint8_t* rgb, double* lab, int64_t pixels) {
  std::array<double, 256> light;
  std::transform(levels, levels + 256, light.begin(), reference::linear_light);
  parallel_ranges(pixels, kSmall / 16, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const uint8_t* pixel = rgb + 3 * i;
      reference::lab_of_light(light[pixel[0]], light[pixel[1]], light[pixel[2]], lab + i, pixels);
    }
  });
}

void gaussian_smooth(Cpu, const double* x, double* y, double sigma, const PlanesShape& o) {
  const std::vector<double> weights = reference::gaussian_weights(sigma);
  const auto radius = static_cast<int64_t>(weights.size()) - 1;
  // Down the columns, a row of results at a time; then along that row, which a margin continues.
  parallel_tasks(o.planes * o.h, o.planes * o.h * o.w > kSmall, [&](int64_t task) {
    const int64_t row = task % o.h;
    const double* plane = x + task / o.h * o.h * o.w;
    std::vector<double> line(static_cast<size_t>(o.w + 2 * radius));
    double* const down = line.data() + radius;
    const double* middle = plane + row * o.w;
    for (int64_t c = 0; c < o.w; ++c) down[c] = middle[c] * weights[0];
    for (int64_t k = radius; k >= 1; --k) {
      const double* above = plane + reference::mirrored(row - k, o.h) * o.w;
      const double* below = plane + reference::mirrored(row + k, o.h) * o.w;
      for (int64_t c = 0; c < o.w; ++c) down[c] += (above[c] + below[c]) * weights[k];
    }
    for (int64_t k = 1; k <= radius; ++k) {
      down[-k] = down[reference::mirrored(-k, o.w)];
      down[o.w - 1 + k] = down[reference::mirrored(o.w - 1 + k, o.w)];
    }
    double* out = y + task * o.w;
    for (int64_t c = 0; c < o.w; ++c) out[c] = down[c] * weights[0];
    for (int64_t k = radius; k >= 1; --k) {
      for (int64_t c = 0; c < o.w; ++c) out[c] += (down[c - k] + down[c + k]) * weights[k];
    }
  });
}

void quickshift_density(Cpu, const double* colors, double* density, const QuickshiftShape& o) {
  const double scale = -0.5 / (o.kernel_size * o.kernel_size);
  const int64_t plane = o.h * o.w;
  for_each_row(o, [&](int64_t row) {
    const double* own = colors + row * o.w;
    double* sums = density + row * o.w;
    for_each_place(row, o, [&](int64_t dr, int64_t dc) {
      for_each_pair(row, dr, dc, o, [=](int64_t c, int64_t q, double rows, double columns) {
        const double d = color_distance(own + c, colors + q, plane, plane) + rows + columns;
        sums[c] += exp_below_zero(d * scale);
      });
    });
  });
}

void quickshift_parents(Cpu, const double* colors, const double* density, double max_dist,
                        int64_t* parent, const QuickshiftShape& o) {
  const int64_t plane = o.h * o.w;
  for_each_row(o, [&](int64_t row) {
    const double *own = colors + row * o.w, *height = density + row * o.w;
    int64_t* parents = parent + row * o.w;
    for (int64_t c = 0; c < o.w; ++c) parents[c] = row * o.w + c;
    std::vector<double> closest(static_cast<size_t>(o.w), std::numeric_limits<double>::max());
    double* const best = closest.data();
    for_each_place(row, o, [&](int64_t dr, int64_t dc) {
      for_each_pair(row, dr, dc, o, [=](int64_t c, int64_t q, double rows, double columns) {
        const double d = color_distance(own + c, colors + q, plane, plane) + rows + columns;
        const bool better = (density[q] > height[c]) & (d < best[c]);
        best[c] = better ? d : best[c];
        parents[c] = better ? q : parents[c];
      });
    });
    for (int64_t c = 0; c < o.w; ++c) {
      if (std::sqrt(best[c]) > max_dist) parents[c] = row * o.w + c;
    }
  });
}

void slic_assign(Cpu, const double* colors, const SlicCenter* centers, int64_t* labels,
                 const SlicShape& o) {
  struct Window {
    reference::SlicReach rows, columns;
  };
  std::vector<Window> windows;
  for (int64_t k = 0; k < o.centers; ++k) {
    windows.push_back({reference::slic_reach(centers[k].y, o.step_y, o.h),
                       reference::slic_reach(centers[k].x, o.step_x, o.w)});
  }
  const double weight = 1 / (o.spacing * o.spacing);
  // A row is cut into vectors, the last of which goes on beyond it, where nothing looks. Windows
  // that begin and end within a vector leave no remainders for a scalar loop this way.
  const int64_t chunks = (o.w + kLanes - 1) / kLanes, plane = o.h * o.w;
  // Small images are done before a team has gathered ten times.
  parallel_tasks(o.h, plane > 2 * kSmall, [&](int64_t y) {
    // Three planes of colour, the distances to the nearest centres so far, and their numbers.
    auto* row = static_cast<Doubles*>(
        thread_scratch<SlicShape>().get(static_cast<size_t>(5 * chunks) * sizeof(Doubles)));
    Doubles* const nearest = row + 3 * chunks;
    auto* label = reinterpret_cast<Integers*>(row + 4 * chunks);
    for (int64_t c = 0; c < 3; ++c) {
      std::memcpy(row + c * chunks, colors + c * plane + y * o.w, o.w * sizeof(double));
    }
    std::fill_n(nearest, chunks, Doubles{} + std::numeric_limits<double>::max());
    std::memcpy(label, labels + y * o.w, o.w * sizeof(int64_t));
    for (int64_t k = 0; k < o.centers; ++k) {
      const reference::SlicReach rows = windows[k].rows, columns = windows[k].columns;
      if (y < rows.begin || y >= rows.end) continue;
      const SlicCenter& center = centers[k];
      const double dy = center.y - static_cast<double>(y), dy_squared = dy * dy;
      for (int64_t i = columns.begin / kLanes; i * kLanes < columns.end; ++i) {
        const Integers x = i * kLanes + kLane;
        const Doubles dx = center.x - __builtin_convertvector(x, Doubles);
        const Doubles d0 = row[i] - center.color[0];
        const Doubles d1 = row[chunks + i] - center.color[1];
        const Doubles d2 = row[2 * chunks + i] - center.color[2];
        const Doubles distance = (dy_squared + dx * dx) * weight + (d0 * d0 + d1 * d1 + d2 * d2);
        const Integers better = (x >= columns.begin) & (x < columns.end) & (distance < nearest[i]);
        nearest[i] = better ? distance : nearest[i];
        label[i] = better ? k : label[i];
      }
    }
    std::memcpy(labels + y * o.w, label, o.w * sizeof(int64_t));
  });
}

void slic_update(Cpu, const double* colors, const int64_t* labels, SlicCenter* centers,
                 const SlicShape& o) {
  std::vector<double> counts(static_cast<size_t>(o.centers));
  std::fill(centers, centers + o.centers, SlicCenter{});
  const int64_t plane = o.h * o.w;
  for (int64_t y = 0; y < o.h; ++y) {
    // Neighbours mostly have one label: its sums stay in registers along a run.
    for (int64_t x = 0; x < o.w;) {
      const int64_t k = labels[y * o.w + x], begin = x;
      SlicCenter sum = centers[k];
      for (; x < o.w && labels[y * o.w + x] == k; ++x) {
        sum.x += static_cast<double>(x);
        for (int64_t c = 0; c < 3; ++c) sum.color[c] += colors[c * plane + y * o.w + x];
      }
      const auto length = static_cast<double>(x - begin);
      sum.y += length * static_cast<double>(y);
      counts[k] += length;
      centers[k] = sum;
    }
  }
  for (int64_t k = 0; k < o.centers; ++k) {
    SlicCenter& center = centers[k];
    center.y /= counts[k];
    center.x /= counts[k];
    for (double& color : center.color) color /= counts[k];
  }
}

}  // namespace glassnet::kernels
