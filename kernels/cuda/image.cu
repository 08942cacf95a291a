// Pictures for a network on a GPU: contract in kernels/image.h.
//
// A block makes tiles of kThreads pixels of one picture, a thread a pixel. The values of a tile go
// through shared memory, so that they are written sixteen bytes at a time, side by side.
#include "kernels/image.h"

#include "kernels/cuda/block_reduce.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/vec.h"
#include "kernels/half.h"
#include "kernels/philox.h"

namespace glassnet::kernels {
namespace {

constexpr int kThreads = 256;
constexpr int kTileValues = 3 * kThreads;
constexpr int kTilesPerBlock = 4;  // so that few blocks repeat a picture's draws

// What one picture is made from.
struct Picture {
  const uint8_t* rgb;  // (size, size, 3)
  int size;
  const VariationDraw* draw;

  // Pixel `pixel` after the shift and the flip.
  __device__ const uint8_t* at(int pixel) const {
    return rgb + int64_t{3} * source_pixel(*draw, pixel / size, pixel % size, size);
  }
};

__device__ VariationDraw draw_of(const ImageBatch& batch, int64_t i,
                                 const ImageVariation& variation) {
  if (!variation.draws()) return {};
  const ImageDraw from = *batch.draw;
  PhiloxStream random(from.seed, philox_item_stream(from.stream, from.epoch,
                                                    static_cast<uint64_t>(batch.indices[i])));
  return draw_variation(variation, random);
}

// Steps [begin, end) of the picture's jitter on one pixel.
__device__ void jitter(float (&rgb)[3], const JitterDraw& draw, int begin, int end, float mean) {
  for (int k = begin; k < end; ++k) jitter_step(rgb, draw.steps[k], draw, mean);
}

__device__ void load_colors(const uint8_t* pixel, float (&rgb)[3]) {
  for (int c = 0; c < 3; ++c) rgb[c] = static_cast<float>(pixel[c]) / 255;
}

// The mean grey that contrast turns about: of the whole picture, after the steps before. Every
// thread of the block gets it.
__device__ float mean_luma(const Picture& picture) {
  const JitterDraw& draw = picture.draw->jitter;
  int contrast = 0;
  while (contrast < kJitterSteps && draw.steps[contrast] != kContrast) ++contrast;
  if (contrast == kJitterSteps) return 0;

  const int pixels = picture.size * picture.size;
  double sum = 0;
  for (int pixel = static_cast<int>(threadIdx.x); pixel < pixels; pixel += kThreads) {
    float rgb[3];
    load_colors(picture.at(pixel), rgb);
    jitter(rgb, draw, 0, contrast, 0);
    sum += static_cast<double>(luma(rgb));
  }
  return static_cast<float>(block_sum(sum) / pixels);
}

// Grid (pictures, blocks of each). y (n, size, size, 3); `in_vectors` where every picture of y is a
// whole number of aligned vectors.
template <class T>
__global__ void prepare_images_kernel(ImageBatch batch, T* y, ImageVariation variation,
                                      ImageScale scale, bool in_vectors) {
  using Vector = Vec<T, kVecWidth<T>>;
  GLASSNET_SHARED(VariationDraw, draw, [1]);
  GLASSNET_SHARED(Vector, tile, [kTileValues / kVecWidth<T>]);
  T* const values = reinterpret_cast<T*>(tile);

  const int64_t i = blockIdx.x;
  const int thread = static_cast<int>(threadIdx.x);
  if (thread == 0) {
    // In two steps: the executor does not see what a function writes straight into its result.
    const VariationDraw drawn = draw_of(batch, i, variation);
    draw[0] = drawn;
  }
  __syncthreads();
  const int pixels = batch.size * batch.size;
  const int64_t row = batch.rows != nullptr ? batch.rows[i] : i;
  const Picture picture{batch.pictures + row * pixels * 3, batch.size, draw};
  const float mean = variation.jitters ? mean_luma(picture) : 0;
  y += i * pixels * 3;

  const int step = kThreads * static_cast<int>(gridDim.y);
  for (int first = kThreads * static_cast<int>(blockIdx.y); first < pixels; first += step) {
    if (first + thread < pixels) {
      const uint8_t* const pixel = picture.at(first + thread);
      uint8_t levels[3] = {pixel[0], pixel[1], pixel[2]};
      if (variation.jitters) {
        float rgb[3];
        load_colors(pixel, rgb);
        jitter(rgb, draw[0].jitter, 0, kJitterSteps, mean);
        for (int c = 0; c < 3; ++c) levels[c] = to_level(rgb[c]);
      }
      for (int c = 0; c < 3; ++c) {
        values[3 * thread + c] = from_float<T>(
            rounded_product(scale.scale[c], static_cast<float>(levels[c])) + scale.shift[c]);
      }
    }
    __syncthreads();
    T* const out = y + int64_t{3} * first;
    const int count = 3 * (pixels - first < kThreads ? pixels - first : kThreads);
    if (in_vectors) {
      for (int k = thread; k < count / kVecWidth<T>; k += kThreads) {
        store_vec(out + k * kVecWidth<T>, tile[k]);
      }
    } else {
      for (int k = thread; k < count; k += kThreads) out[k] = values[k];
    }
    __syncthreads();  // the next tile is written over this one
  }
}

}  // namespace

template <class T>
void prepare_images(Cuda device, const ImageBatch& batch, T* y, const ImageVariation& variation,
                    const ImageScale& scale) {
  const int64_t pixels = int64_t{batch.size} * batch.size;
  // A picture's mean grey is summed by one block.
  const bool whole = variation.jitters && variation.contrast > 0;
  const unsigned blocks = whole ? 1 : blocks_for(pixels, kThreads * kTilesPerBlock, 65535);
  const bool in_vectors = are_aligned16(y) && pixels * 3 % kVecWidth<T> == 0;
  launch<prepare_images_kernel<T>>(
      device, {.grid = {static_cast<unsigned>(batch.n), blocks}, .block = kThreads}, batch, y,
      variation, scale, in_vectors);
}

template void prepare_images(Cuda, const ImageBatch&, float*, const ImageVariation&,
                             const ImageScale&);
template void prepare_images(Cuda, const ImageBatch&, bfloat16*, const ImageVariation&,
                             const ImageScale&);
template void prepare_images(Cuda, const ImageBatch&, float16*, const ImageVariation&,
                             const ImageScale&);

}  // namespace glassnet::kernels
