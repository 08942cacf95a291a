// How kernels on images (N, height, width, channels) share out their result: a block takes one row,
// and its threads stand along the channels first, W of them each.
#pragma once

#include "kernels/cuda/launch.h"
#include "kernels/cuda/vec.h"

namespace glassnet::kernels {

// A block for each row, with no more threads than it needs.
inline LaunchShape row_blocks(int64_t n, int64_t height, int64_t width, int64_t channels, int w) {
  const int64_t warps = (width * channels / w + 31) / 32;
  const int64_t threads = warps < 1 ? 32 : (warps < 8 ? warps * 32 : 256);
  return {.grid = static_cast<unsigned>(n * height), .block = static_cast<unsigned>(threads)};
}

// Calls f(image, row, column, channel) for what this thread owns.
template <int W, class F>
__device__ inline void for_each_pixel(int height, int width, int channels, F f) {
  const int64_t image = blockIdx.x / static_cast<unsigned>(height);
  const int row = static_cast<int>(blockIdx.x % static_cast<unsigned>(height));
  const int groups = channels / W, threads = static_cast<int>(blockDim.x);
  for (int i = static_cast<int>(threadIdx.x); i < width * groups; i += threads) {
    f(image, row, i / groups, i % groups * W);
  }
}

// Calls run<W>() with the channels that a thread takes: sixteen bytes, or one where their number or
// the address of a tensor does not allow that.
template <class T, class Run, class... Pointers>
void by_width(int64_t channels, Run run, const Pointers*... tensors) {
  if (channels % kVecWidth<T> == 0 && are_aligned16(tensors...)) {
    run.template operator()<kVecWidth<T>>();
  } else {
    run.template operator()<1>();
  }
}

}  // namespace glassnet::kernels
