// Superpixels on a GPU: contract in kernels/superpixels.h. In float64, with each sum in the order
// of the definition, so that labels are the CPU's.
#include "kernels/superpixels.h"

#include "kernels/cuda/block_reduce.h"
#include "kernels/cuda/launch.h"
#include "kernels/pixel_distance.h"

namespace glassnet::kernels {
namespace {

constexpr double kFarthest = 1.7976931348623157e308;

// --- quickshift: a thread to a pixel -------------------------------------------------------------

// A block covers a patch of the image, so that its threads look at nearly the same window.
constexpr unsigned kPatchWidth = 32, kPatchHeight = 4;
LaunchShape patches(int64_t h, int64_t w) {
  return {.grid = {blocks_for(w, kPatchWidth), blocks_for(h, kPatchHeight)},
          .block = {kPatchWidth, kPatchHeight}};
}

struct Window {
  int h, w, reach;

  explicit Window(const QuickshiftShape& o)
      : h(static_cast<int>(o.h)),
        w(static_cast<int>(o.w)),
        reach(static_cast<int>(std::ceil(3 * o.kernel_size))) {}

  // f(q, D²) for the pixels q of the window around pixel (row, column).
  template <class F>
  __device__ void for_each(const double* colors, int row, int column, F&& f) const {
    const int64_t plane = int64_t{h} * w;
    const double* own = colors + int64_t{row} * w + column;
    const int bottom = row + reach < h ? row + reach : h - 1;
    const int right = column + reach < w ? column + reach : w - 1;
    for (int r = row > reach ? row - reach : 0; r <= bottom; ++r) {
      const auto dr = static_cast<double>(r - row);
      for (int c = column > reach ? column - reach : 0; c <= right; ++c) {
        const auto dc = static_cast<double>(c - column);
        const int64_t q = int64_t{r} * w + c;
        f(q, color_distance(own, colors + q, plane, plane) + rounded_product(dr, dr) +
                 rounded_product(dc, dc));
      }
    }
  }
};

__global__ void quickshift_density_kernel(const double* __restrict__ colors,  // (3, h, w)
                                          double* __restrict__ density,       // (h, w)
                                          Window window, double scale) {
  const int row = static_cast<int>(blockIdx.y * blockDim.y + threadIdx.y);
  const int column = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (row >= window.h || column >= window.w) return;
  const int64_t p = int64_t{row} * window.w + column;
  double sum = density[p];
  window.for_each(colors, row, column, [&](int64_t, double distance) {
    sum += exp_below_zero(rounded_product(distance, scale));
  });
  density[p] = sum;
}

__global__ void quickshift_parents_kernel(const double* __restrict__ colors,   // (3, h, w)
                                          const double* __restrict__ density,  // (h, w)
                                          double max_dist,
                                          int64_t* __restrict__ parent,  // (h, w)
                                          Window window) {
  const int row = static_cast<int>(blockIdx.y * blockDim.y + threadIdx.y);
  const int column = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (row >= window.h || column >= window.w) return;
  const int64_t p = int64_t{row} * window.w + column;
  const double height = density[p];
  double closest = kFarthest;
  int64_t best = p;
  window.for_each(colors, row, column, [&](int64_t q, double distance) {
    if (density[q] > height && distance < closest) {
      closest = distance;
      best = q;
    }
  });
  parent[p] = std::sqrt(closest) > max_dist ? p : best;
}

// --- SLIC ----------------------------------------------------------------------------------------

struct SlicSizes {
  int h, w, centers, reach_y, reach_x;
  double weight;

  explicit SlicSizes(const SlicShape& o)
      : h(static_cast<int>(o.h)),
        w(static_cast<int>(o.w)),
        centers(static_cast<int>(o.centers)),
        reach_y(static_cast<int>(2 * o.step_y)),
        reach_x(static_cast<int>(2 * o.step_x)),
        weight(1 / (o.spacing * o.spacing)) {}
};

// Whether a centre at `at` reaches position i: whether i lies in [at - reach, at + reach + 1), both
// rounded down. A centre that is NaN reaches nothing.
__device__ inline bool reaches(double at, int reach, int i) {
  const double begin = at - static_cast<double>(reach), end = at + static_cast<double>(reach) + 1;
  const auto place = static_cast<double>(i);
  return std::floor(begin) <= place && place < std::floor(end);
}

// A thread to a pixel.
__global__ void slic_assign_kernel(const double* __restrict__ colors,       // (3, h, w)
                                   const SlicCenter* __restrict__ centers,  // (centers)
                                   int64_t* __restrict__ labels,            // (h, w)
                                   SlicSizes o) {
  const int y = static_cast<int>(blockIdx.y * blockDim.y + threadIdx.y);
  const int x = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (y >= o.h || x >= o.w) return;
  const int64_t plane = int64_t{o.h} * o.w, pixel = int64_t{y} * o.w + x;
  double nearest = kFarthest;
  int label = -1;
  for (int k = 0; k < o.centers; ++k) {
    const SlicCenter* const center = centers + k;
    if (!reaches(center->y, o.reach_y, y) || !reaches(center->x, o.reach_x, x)) continue;
    const double dy = center->y - static_cast<double>(y), dx = center->x - static_cast<double>(x);
    const double distance =
        rounded_product(rounded_product(dy, dy) + rounded_product(dx, dx), o.weight) +
        color_distance(colors + pixel, center->color, plane, 1);
    if (distance < nearest) {
      nearest = distance;
      label = k;
    }
  }
  if (label >= 0) labels[pixel] = label;
}

// A block to a centre. It looks at kThreads pixels at a time: each thread says whether its own
// belongs to the centre, and then five threads add these pixels in order, one the rows, one the
// columns and three the colours.
constexpr int kThreads = 256, kWarps = kThreads / 32;

__global__ void slic_update_kernel(const double* __restrict__ colors,   // (3, h, w)
                                   const int64_t* __restrict__ labels,  // (h, w)
                                   SlicCenter* __restrict__ centers,    // (centers)
                                   SlicSizes o) {
  GLASSNET_SHARED(uint32_t, members, [kWarps]);  // a bit for each pixel
  const int64_t plane = int64_t{o.h} * o.w;
  const int thread = static_cast<int>(threadIdx.x);
  double sum = 0, count = 0;
  for (int64_t first = 0; first < plane; first += kThreads) {
    const int64_t pixel = first + thread;
    const bool member = pixel < plane && labels[pixel] == static_cast<int64_t>(blockIdx.x);
    const uint32_t mask = __ballot_sync(kAllLanes, member);
    if (thread % 32 == 0) members[thread / 32] = mask;
    if (__syncthreads_or(member) != 0 && thread < 5) {
      for (int warp = 0; warp < kWarps; ++warp) {
        for (uint32_t left = members[warp]; left != 0; left &= left - 1) {
          const int64_t at = first + 32 * warp + __ffs(static_cast<int>(left)) - 1;
          sum += thread == 0   ? static_cast<double>(at / o.w)
                 : thread == 1 ? static_cast<double>(at % o.w)
                               : colors[(thread - 2) * plane + at];
          ++count;
        }
      }
    }
    __syncthreads();  // before the next pixels' bits
  }
  SlicCenter* const center = centers + blockIdx.x;
  if (thread == 0) center->y = sum / count;
  if (thread == 1) center->x = sum / count;
  if (thread >= 2 && thread < 5) center->color[thread - 2] = sum / count;
}

}  // namespace

void quickshift_density(Cuda device, const double* colors, double* density,
                        const QuickshiftShape& o) {
  launch<quickshift_density_kernel>(device, patches(o.h, o.w), colors, density, Window(o),
                                    -0.5 / (o.kernel_size * o.kernel_size));
}

void quickshift_parents(Cuda device, const double* colors, const double* density, double max_dist,
                        int64_t* parent, const QuickshiftShape& o) {
  launch<quickshift_parents_kernel>(device, patches(o.h, o.w), colors, density, max_dist, parent,
                                    Window(o));
}

void slic_assign(Cuda device, const double* colors, const SlicCenter* centers, int64_t* labels,
                 const SlicShape& o) {
  launch<slic_assign_kernel>(device, patches(o.h, o.w), colors, centers, labels, SlicSizes(o));
}

void slic_update(Cuda device, const double* colors, const int64_t* labels, SlicCenter* centers,
                 const SlicShape& o) {
  launch<slic_update_kernel>(device, {.grid = static_cast<unsigned>(o.centers), .block = kThreads},
                             colors, labels, centers, SlicSizes(o));
}

}  // namespace glassnet::kernels
