// Softmax, log-softmax and cross-entropy on a GPU. A team of threads works on a row: a warp where
// there are few classes, a block where there are many. It goes over its row two or three times, of
// which only the first reads memory: after that the row is in the cache. Sums run in float32, those
// over the rows in float64, always in the same order.
#include "kernels/softmax.h"

#include <cmath>

#include "kernels/cuda/block_reduce.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/scratch.h"
#include "kernels/half.h"

namespace glassnet::kernels {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kClassesOfWarp = 256;

// kSize threads, a warp or a block, and the row that they work on.
template <int kSize>
struct Team {
  static constexpr int kPerBlock = kThreads / kSize;
  int64_t row = int64_t{blockIdx.x} * kPerBlock + threadIdx.x / kSize;
  int lane = static_cast<int>(threadIdx.x % kSize);

  // Every thread of the team gets the result.
  template <class F>
  __device__ float reduce(float value, float identity, F combine) const {
    if constexpr (kSize == 32)
      return warp_reduce(value, combine);
    else
      return block_reduce(value, identity, combine);
  }
  __device__ float sum(float value) const {
    return reduce(value, 0, [](float a, float b) { return a + b; });
  }
  __device__ float maximum(float value) const {
    return reduce(value, -INFINITY, [](float a, float b) { return a > b ? a : b; });
  }
};

// NaNs are passed over: they come back in the sum of exponentials.
template <class T, int kSize>
__device__ inline float row_maximum(const Team<kSize>& team, const T* row, int64_t classes) {
  float peak = -INFINITY;
  for (int64_t c = team.lane; c < classes; c += kSize) {
    const float value = to_float(row[c]);
    peak = value > peak ? value : peak;
  }
  return team.maximum(peak);
}
template <class T, int kSize>
__device__ inline float sum_of_exponentials(const Team<kSize>& team, const T* row, int64_t classes,
                                            float peak) {
  float sum = 0;
  for (int64_t c = team.lane; c < classes; c += kSize) sum += expf(to_float(row[c]) - peak);
  return team.sum(sum);
}

template <class T, int kSize, bool kLog>
__global__ void softmax_forward_kernel(const T* __restrict__ x, T* __restrict__ y, SoftmaxShape o) {
  const Team<kSize> team;
  if (team.row >= o.rows) return;
  const T* from = x + team.row * o.classes;
  T* to = y + team.row * o.classes;
  const float peak = row_maximum(team, from, o.classes);
  const float sum = sum_of_exponentials(team, from, o.classes, peak);
  const float scale = 1 / sum, log_sum = logf(sum);
  for (int64_t c = team.lane; c < o.classes; c += kSize) {
    const float shifted = to_float(from[c]) - peak;
    to[c] = from_float<T>(kLog ? shifted - log_sum : expf(shifted) * scale);
  }
}

//   softmax: dx = y * (dy - sum(dy * y))    log-softmax: dx = dy - exp(y) * sum(dy)
template <class T, int kSize, bool kLog>
__global__ void softmax_backward_kernel(const T* __restrict__ dy, const T* __restrict__ y,
                                        T* __restrict__ dx, SoftmaxShape o) {
  const Team<kSize> team;
  if (team.row >= o.rows) return;
  const int64_t begin = team.row * o.classes + team.lane, end = (team.row + 1) * o.classes;
  float part = 0;
  for (int64_t i = begin; i < end; i += kSize) {
    part += kLog ? to_float(dy[i]) : to_float(dy[i]) * to_float(y[i]);
  }
  const float sum = team.sum(part);
  for (int64_t i = begin; i < end; i += kSize) {
    const float gradient = to_float(dy[i]), value = to_float(y[i]);
    dx[i] = from_float<T>(kLog ? gradient - expf(value) * sum : value * (gradient - sum));
  }
}

// counted (1): how many rows do not have the ignored label. One block.
__global__ void count_rows_kernel(const int64_t* __restrict__ labels, double* __restrict__ counted,
                                  CrossEntropyShape o) {
  double count = 0;
  for (int64_t i = threadIdx.x; i < o.rows; i += blockDim.x) {
    if (labels[i] != o.ignored_label) count += 1;
  }
  count = block_sum(count);
  if (threadIdx.x == 0) *counted = count;
}

// losses (rows), dx (rows, classes) or null.
template <class T, int kSize>
__global__ void cross_entropy_kernel(const T* __restrict__ x, const int64_t* __restrict__ labels,
                                     const double* __restrict__ counted, float* __restrict__ losses,
                                     T* __restrict__ dx, CrossEntropyShape o) {
  const Team<kSize> team;
  if (team.row >= o.rows) return;
  const int64_t label = labels[team.row];
  const T* row = x + team.row * o.classes;
  T* gradient = dx != nullptr ? dx + team.row * o.classes : nullptr;
  const bool ignored = label == o.ignored_label;
  if (ignored || label < 0 || label >= o.classes) {
    const float value = ignored ? 0 : NAN;
    if (team.lane == 0) losses[team.row] = value;
    if (gradient == nullptr) return;
    for (int64_t c = team.lane; c < o.classes; c += kSize) gradient[c] = from_float<T>(value);
    return;
  }

  // -sum_c t_c log p_c = log_sum - (1 - eps) * x_label - eps * mean(x), relative to the maximum.
  const auto eps = static_cast<float>(o.label_smoothing);
  const auto uniform = static_cast<float>(o.label_smoothing / static_cast<double>(o.classes));
  const float peak = row_maximum(team, row, o.classes);
  float power_part = 0, shifted_part = 0;
  for (int64_t c = team.lane; c < o.classes; c += kSize) {
    const float shifted = to_float(row[c]) - peak;
    power_part += expf(shifted);
    shifted_part += shifted;
  }
  const float sum = team.sum(power_part), shifted_sum = team.sum(shifted_part);
  if (team.lane == 0) {
    // With no smoothing the mean must not count, not even an infinite one.
    const float smoothed = eps != 0 ? uniform * shifted_sum : 0;
    losses[team.row] = logf(sum) - (1 - eps) * (to_float(row[label]) - peak) - smoothed;
  }
  if (gradient == nullptr) return;
  const float scale = 1 / sum, share = static_cast<float>(1 / *counted);
  for (int64_t c = team.lane; c < o.classes; c += kSize) {
    const float target = (c == label ? 1 - eps : 0) + uniform;
    gradient[c] = from_float<T>((expf(to_float(row[c]) - peak) * scale - target) * share);
  }
}

// loss (1) = sum losses / counted, NaN where nothing counts. One block.
__global__ void mean_loss_kernel(const float* __restrict__ losses,
                                 const double* __restrict__ counted, float* __restrict__ loss,
                                 int64_t rows) {
  double sum = 0;
  for (int64_t i = threadIdx.x; i < rows; i += blockDim.x) sum += static_cast<double>(losses[i]);
  sum = block_sum(sum);
  if (threadIdx.x == 0) *loss = static_cast<float>(sum / *counted);
}

// Calls run<kSize>(shape) with the teams that suit the classes.
template <class Run>
void with_teams(int64_t rows, int64_t classes, Run run) {
  if (classes <= kClassesOfWarp) {
    run.template operator()<32>({.grid = blocks_for(rows, kThreads / 32), .block = kThreads});
  } else {
    run.template operator()<kThreads>({.grid = static_cast<unsigned>(rows), .block = kThreads});
  }
}

template <bool kLog, class T>
void forward(Cuda device, const T* x, T* y, const SoftmaxShape& o) {
  with_teams(o.rows, o.classes, [&]<int kSize>(const LaunchShape& shape) {
    launch<softmax_forward_kernel<T, kSize, kLog>>(device, shape, x, y, o);
  });
}
template <bool kLog, class T>
void backward(Cuda device, const T* dy, const T* y, T* dx, const SoftmaxShape& o) {
  with_teams(o.rows, o.classes, [&]<int kSize>(const LaunchShape& shape) {
    launch<softmax_backward_kernel<T, kSize, kLog>>(device, shape, dy, y, dx, o);
  });
}

}  // namespace

template <class T>
void softmax_forward(Cuda device, const T* x, T* y, const SoftmaxShape& shape) {
  forward<false>(device, x, y, shape);
}
template <class T>
void softmax_backward(Cuda device, const T* dy, const T* y, T* dx, const SoftmaxShape& shape) {
  backward<false>(device, dy, y, dx, shape);
}
template <class T>
void log_softmax_forward(Cuda device, const T* x, T* y, const SoftmaxShape& shape) {
  forward<true>(device, x, y, shape);
}
template <class T>
void log_softmax_backward(Cuda device, const T* dy, const T* y, T* dx, const SoftmaxShape& shape) {
  backward<true>(device, dy, y, dx, shape);
}

template <class T>
void cross_entropy(Cuda device, const T* x, const int64_t* labels, float* loss, T* dx,
                   const CrossEntropyShape& o) {
  const Scratch scratch(device, sizeof(double) + static_cast<size_t>(o.rows) * sizeof(float));
  double* counted = scratch.get<double>();
  auto* losses = reinterpret_cast<float*>(counted + 1);
  const LaunchShape one_block = {.grid = 1, .block = 4 * kThreads};
  launch<count_rows_kernel>(device, one_block, labels, counted, o);
  with_teams(o.rows, o.classes, [&]<int kSize>(const LaunchShape& shape) {
    launch<cross_entropy_kernel<T, kSize>>(device, shape, x, labels, counted, losses, dx, o);
  });
  launch<mean_loss_kernel>(device, one_block, losses, counted, loss, o.rows);
}

#define GLASSNET_SOFTMAX(T)                                                              \
  template void softmax_forward(Cuda, const T*, T*, const SoftmaxShape&);                \
  template void softmax_backward(Cuda, const T*, const T*, T*, const SoftmaxShape&);     \
  template void log_softmax_forward(Cuda, const T*, T*, const SoftmaxShape&);            \
  template void log_softmax_backward(Cuda, const T*, const T*, T*, const SoftmaxShape&); \
  template void cross_entropy(Cuda, const T*, const int64_t*, float*, T*, const CrossEntropyShape&);
GLASSNET_SOFTMAX(float)
GLASSNET_SOFTMAX(bfloat16)
GLASSNET_SOFTMAX(float16)
#undef GLASSNET_SOFTMAX

}  // namespace glassnet::kernels
