// Sums and maxima over the threads of a warp and of a block.
#pragma once

#include "kernels/cuda/launch.h"

namespace glassnet::kernels {

inline constexpr uint32_t kAllLanes = 0xffffffff;

// Every lane gets the result. All 32 lanes take part.
template <class T, class F>
__device__ inline T warp_reduce(T value, F combine) {
  for (int bits = 16; bits > 0; bits /= 2) {
    value = combine(value, __shfl_xor_sync(kAllLanes, value, bits));
  }
  return value;
}
template <class T>
__device__ inline T warp_sum(T value) {
  return warp_reduce(value, [](T a, T b) { return a + b; });
}

// Every thread gets the result; every thread of the block takes part, which is one-dimensional and
// a multiple of 32. `identity` combines with any value to that value.
template <class T, class F>
__device__ inline T block_reduce(T value, T identity, F combine) {
  GLASSNET_SHARED(T, partial, [32]);
  const int lane = static_cast<int>(threadIdx.x % 32), warp = static_cast<int>(threadIdx.x / 32);
  const int warps = static_cast<int>(blockDim.x / 32);
  value = warp_reduce(value, combine);
  __syncthreads();  // an earlier reduction may still be read
  if (lane == 0) partial[warp] = value;
  __syncthreads();
  return warp_reduce(lane < warps ? partial[lane] : identity, combine);
}
template <class T>
__device__ inline T block_sum(T value) {
  return block_reduce(value, T(0), [](T a, T b) { return a + b; });
}

}  // namespace glassnet::kernels
