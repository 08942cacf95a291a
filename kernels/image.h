// From 8-bit pictures to what a network reads, in one pass over memory: moved, flipped, its colours
// varied, normalised and rounded to the element type.
//
//   y[i, r, c] = scale * v + shift   for each of R, G, B, where v in 0 … 255 is the pixel that the
//                                    variation of picture i shows at row r, column c
//
// The random numbers of picture i are those of the host's Random(seed, stream, epoch, indices[i]),
// drawn in the same order (kernels/image_variation.h), so that host and GPU make the same picture:
// bit for bit but for the mean grey that contrast turns about, which is summed in another order and
// may move a colour by one level of 255.
#pragma once

#include <cstdint>

#include "kernels/device.h"
#include "kernels/image_variation.h"

namespace glassnet::kernels {

// Where draws come from. Read from the device's memory, as all arrays are: recorded work sees the
// epoch and the pictures that stand there when it runs.
struct ImageDraw {
  uint64_t seed, stream, epoch;
};

// n pictures of one size.
struct ImageBatch {
  const uint8_t* pictures = nullptr;  // (pictures, size, size, 3)
  const int64_t* rows = nullptr;      // (n): where in `pictures` they stand; null: 0 … n-1
  const int64_t* indices = nullptr;   // (n): which they are, for their draws; null without any
  const ImageDraw* draw = nullptr;    // one; null without any draws
  int64_t n = 0;
  int size = 0;  // at most 16384
};

// Of R, G, B.
struct ImageScale {
  float scale[3], shift[3];
};

// Of one picture as it is: rgb (values) of R, G, B, R, …; y (values) is overwritten. On the thread
// that calls.
void scale_pixels(Cpu, const uint8_t* rgb, int64_t values, const ImageScale& scale, float* y);

// y (n, size, size, 3) is overwritten.
void prepare_images(Cpu, const ImageBatch& batch, float* y, const ImageVariation& variation,
                    const ImageScale& scale);
template <class T>  // float, bfloat16, float16
void prepare_images(Cuda, const ImageBatch& batch, T* y, const ImageVariation& variation,
                    const ImageScale& scale);

}  // namespace glassnet::kernels
