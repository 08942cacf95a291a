#include "kernels/cuda/epilogue.h"

#include <type_traits>

#include "kernels/cuda/launch.h"
#include "kernels/cuda/vec.h"
#include "kernels/dtype.h"
#include "kernels/elementwise.h"

namespace glassnet::kernels {
namespace {

constexpr int kBlock = 256;

// A thread does N neighbouring elements, of one row.
template <int N, class T, class Bias>
__global__ void add_bias_kernel(T* y, const Bias* bias, const T* z, bool relu, int64_t vectors,
                                int64_t channels) {
  const int64_t step = int64_t{gridDim.x} * kBlock;
  for (int64_t i = int64_t{blockIdx.x} * kBlock + threadIdx.x; i < vectors; i += step) {
    float sum[N];
    load_floats<N>(y + i * N, sum);
    if (bias != nullptr) {
      const int64_t channel = i * N % channels;
      for (int j = 0; j < N; ++j) sum[j] += to_float(bias[channel + j]);
    }
    if (z != nullptr) {
      float more[N];
      load_floats<N>(z + i * N, more);
      for (int j = 0; j < N; ++j) sum[j] += more[j];
    }
    if (relu) {
      for (int j = 0; j < N; ++j) sum[j] = Relu{}.value(sum[j]);
    }
    store_floats<N>(y + i * N, sum);
  }
}

}  // namespace

template <class T, class Bias>
void add_bias(Cuda device, T* y, const Bias* bias, const T* z, bool relu, int64_t rows,
              int64_t channels) {
  const int64_t count = rows * channels;
  constexpr int kWidth = kVecWidth<T>;
  if (channels % kWidth == 0 && are_aligned16(y, z)) {
    launch<add_bias_kernel<kWidth, T, Bias>>(
        device, {.grid = blocks_for(count / kWidth, kBlock, 1 << 16), .block = kBlock}, y, bias, z,
        relu, count / kWidth, channels);
  } else {
    launch<add_bias_kernel<1, T, Bias>>(
        device, {.grid = blocks_for(count, kBlock, 1 << 16), .block = kBlock}, y, bias, z, relu,
        count, channels);
  }
}

template void add_bias(Cuda, float*, const float*, const float*, bool, int64_t, int64_t);
template void add_bias(Cuda, bfloat16*, const float*, const bfloat16*, bool, int64_t, int64_t);
template void add_bias(Cuda, float16*, const float*, const float16*, bool, int64_t, int64_t);
template void add_bias(Cuda, bfloat16*, const bfloat16*, const bfloat16*, bool, int64_t, int64_t);
template void add_bias(Cuda, float16*, const float16*, const float16*, bool, int64_t, int64_t);

}  // namespace glassnet::kernels
