// Hidden superpixels on a GPU: contract in kernels/perturb.h.
//
// y is one row of n * pixels * 3 values, and a thread makes sixteen bytes of it, wherever pixels
// and samples begin: a picture of 150 x 150 is no whole number of vectors. What neighbours read
// twice comes from the cache.
#include "kernels/perturb.h"

#include "kernels/cuda/launch.h"
#include "kernels/cuda/vec.h"
#include "kernels/half.h"
#include "kernels/host_device.h"

namespace glassnet::kernels {
namespace {

constexpr int kThreads = 256;

// Value `at` of a sample's pixels * 3.
__device__ float perturbed_value(const PerturbedSample& sample, int64_t at,
                                 const ImageScale& scale) {
  const int64_t pixel = at / 3;
  const int channel = static_cast<int>(at - 3 * pixel);
  const auto label = static_cast<uint32_t>(sample.labels[pixel]);
  const bool shown = (sample.shown[label / 32] >> (label % 32) & 1) != 0;
  const auto level = static_cast<float>((shown ? sample.picture : sample.hidden)[at]);
  return rounded_product(scale.scale[channel], level) + scale.shift[channel];
}

// y (count) in vectors of W, the last one shorter where W does not divide count.
template <class T, int W>
__global__ void perturb_kernel(const PerturbedSample* __restrict__ samples, int64_t count,
                               int64_t values, T* __restrict__ y, ImageScale scale) {
  const int64_t begin = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) * W;
  if (begin >= count) return;
  int64_t i = begin / values, at = begin - i * values;
  PerturbedSample sample = samples[i];
  const auto next = [&] {
    if (at == values) {
      sample = samples[++i];
      at = 0;
    }
    return perturbed_value(sample, at++, scale);
  };
  if (begin + W <= count) {
    float made[W];
    for (int k = 0; k < W; ++k) made[k] = next();
    store_floats<W>(y + begin, made);
  } else {
    for (int64_t k = begin; k < count; ++k) y[k] = from_float<T>(next());
  }
}

}  // namespace

template <class T>
void perturb(Cuda device, const PerturbedSample* samples, int64_t n, int64_t pixels, T* y,
             const ImageScale& scale) {
  const int64_t values = 3 * pixels, count = n * values;
  if (are_aligned16(y)) {
    constexpr int kWidth = kVecWidth<T>;
    launch<perturb_kernel<T, kWidth>>(
        device, {.grid = blocks_for(count, kThreads * kWidth), .block = kThreads}, samples, count,
        values, y, scale);
  } else {
    launch<perturb_kernel<T, 1>>(device, {.grid = blocks_for(count, kThreads), .block = kThreads},
                                 samples, count, values, y, scale);
  }
}

template void perturb(Cuda, const PerturbedSample*, int64_t, int64_t, float*, const ImageScale&);
template void perturb(Cuda, const PerturbedSample*, int64_t, int64_t, bfloat16*, const ImageScale&);
template void perturb(Cuda, const PerturbedSample*, int64_t, int64_t, float16*, const ImageScale&);

}  // namespace glassnet::kernels
