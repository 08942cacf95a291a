// Pictures with some of their superpixels hidden, as a network reads them, in one pass over memory.
//
//   y[i, p] = scale * v + shift   for each of R, G, B, where v in 0 … 255 is pixel p of sample i's
//                                 picture if the sample shows the superpixel of p, and of what
//                                 hides it if not
//
// Samples of different pictures go together: each says where it is made from. The same bits come
// out on every device, and where all is shown those of kernels/image.h.
#pragma once

#include <cstdint>

#include "kernels/device.h"
#include "kernels/dtype.h"
#include "kernels/image.h"

namespace glassnet::kernels {

// What one sample is made from; pixels are H * W.
struct PerturbedSample {
  const uint8_t* picture;  // (pixels, 3)
  const uint8_t* hidden;   // (pixels, 3)
  const int32_t* labels;   // (pixels): superpixels, counted from 0
  const uint32_t* shown;   // (superpixels) bits: superpixel j is bit j % 32 of word j / 32
};

// samples (n), read from the device's memory as all that they point to. y (n, pixels, 3) is
// overwritten.
void perturb(Cpu, const PerturbedSample* samples, int64_t n, int64_t pixels, float* y,
             const ImageScale& scale);
void perturb(Cpu, const PerturbedSample* samples, int64_t n, int64_t pixels, bfloat16* y,
             const ImageScale& scale);
template <class T>  // float, bfloat16, float16
void perturb(Cuda, const PerturbedSample* samples, int64_t n, int64_t pixels, T* y,
             const ImageScale& scale);

}  // namespace glassnet::kernels
