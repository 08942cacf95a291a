// Looking along the last axis: contract in kernels/index.h. A warp to a row.
#include "kernels/index.h"

#include "kernels/cuda/block_reduce.h"
#include "kernels/cuda/launch.h"
#include "kernels/half.h"

namespace glassnet::kernels {
namespace {

constexpr unsigned kThreads = 128, kWarps = kThreads / 32;

// An element and where it stands.
struct Place {
  float value;
  int64_t at;
};

// Whether a comes before b: a NaN before every number, then the larger, then the earlier.
__device__ inline bool before(const Place& a, const Place& b) {
  const bool a_nan = a.value != a.value, b_nan = b.value != b.value;
  if (a_nan || b_nan) return a_nan && (!b_nan || a.at < b.at);
  return a.value > b.value || (a.value == b.value && a.at < b.at);
}

template <class T>
__global__ void max_last_kernel(const T* x,  // (rows, columns)
                                T* value, int64_t* index, int64_t rows, int64_t columns) {
  const int64_t row = int64_t{blockIdx.x} * kWarps + threadIdx.x / 32;
  if (row >= rows) return;  // the whole warp
  const int lane = static_cast<int>(threadIdx.x % 32);
  const T* from = x + row * columns;
  // Lanes past the end of a short row start from its first element.
  Place best{to_float(from[lane < columns ? lane : 0]), lane < columns ? lane : 0};
  for (int64_t c = lane + 32; c < columns; c += 32) {
    const Place next{to_float(from[c]), c};
    if (before(next, best)) best = next;
  }
  for (int bits = 16; bits > 0; bits /= 2) {
    const Place other{__shfl_xor_sync(kAllLanes, best.value, bits),
                      __shfl_xor_sync(kAllLanes, best.at, bits)};
    if (before(other, best)) best = other;
  }
  if (lane != 0) return;
  if (value != nullptr) value[row] = from[best.at];
  if (index != nullptr) index[row] = best.at;
}

template <class T>
__global__ void select_kernel(const T* x,            // (rows, columns)
                              const int64_t* index,  // (rows)
                              T* y, int64_t rows, int64_t columns) {
  const int64_t row = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (row < rows) y[row] = x[row * columns + index[row]];
}

template <class T>
__global__ void select_backward_kernel(const T* dy,           // (rows)
                                       const int64_t* index,  // (rows)
                                       T* dx,                 // (rows, columns)
                                       int64_t rows, int64_t columns) {
  const int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i >= rows * columns) return;
  const int64_t row = i / columns;
  dx[i] = i % columns == index[row] ? dy[row] : from_float<T>(0);
}

// One block: the number of equal places is small enough for it.
__global__ void count_equal_kernel(const int64_t* a, const int64_t* b, float* y, int64_t count) {
  float equal = 0;
  for (int64_t i = threadIdx.x; i < count; i += blockDim.x) equal += a[i] == b[i] ? 1.0F : 0.0F;
  equal = block_sum(equal);
  if (threadIdx.x == 0) *y = equal;
}

}  // namespace

template <class T>
void max_last(Cuda device, const T* x, T* value, int64_t* index, const RowsShape& o) {
  launch<max_last_kernel<T>>(device, {.grid = blocks_for(o.rows, kWarps), .block = kThreads}, x,
                             value, index, o.rows, o.columns);
}

template <class T>
void select(Cuda device, const T* x, const int64_t* index, T* y, const RowsShape& o) {
  launch<select_kernel<T>>(device, {.grid = blocks_for(o.rows, kThreads), .block = kThreads}, x,
                           index, y, o.rows, o.columns);
}

template <class T>
void select_backward(Cuda device, const T* dy, const int64_t* index, T* dx, const RowsShape& o) {
  launch<select_backward_kernel<T>>(
      device, {.grid = blocks_for(o.rows * o.columns, kThreads), .block = kThreads}, dy, index, dx,
      o.rows, o.columns);
}

void count_equal(Cuda device, const int64_t* a, const int64_t* b, float* y, int64_t count) {
  launch<count_equal_kernel>(device, {.grid = 1, .block = 256}, a, b, y, count);
}

#define GLASSNET_INSTANTIATE(T)                                               \
  template void max_last(Cuda, const T*, T*, int64_t*, const RowsShape&);     \
  template void select(Cuda, const T*, const int64_t*, T*, const RowsShape&); \
  template void select_backward(Cuda, const T*, const int64_t*, T*, const RowsShape&);
GLASSNET_INSTANTIATE(float)
GLASSNET_INSTANTIATE(bfloat16)
GLASSNET_INSTANTIATE(float16)
#undef GLASSNET_INSTANTIATE

}  // namespace glassnet::kernels
