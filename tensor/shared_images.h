// Many images over one pool of pixels, for images that differ in places only.
//
//   image i has at pixel p = (y, x)   pool[base[p] + group[p][i]]
//
// Where images agree in all that a layer's window holds, they agree in what the layer makes of it.
// Such a layer works through the distinct windows instead of all of them, and its output shares
// pixels again. Nothing is approximated; where a layer sums up windows as it does images, the
// numbers are those of the images one by one to the last bit.
// LIME's samples are such images: a window that touches k superpixels looks at most 2^k ways,
// however many samples there are.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "tensor/tensor.h"

namespace glassnet {

// Which images agree at a pixel.
struct Agreement {
  std::vector<int32_t> group;  // (images): the one that an image is in
  std::vector<int32_t> first;  // (groups): the first image in it
  int64_t groups() const { return static_cast<int64_t>(first.size()); }
};

// The windows that a layer looks at, one for each pixel of its output. As in kernels/conv2d.h.
struct Windows {
  int64_t height = 1, width = 1;
  int64_t stride_h = 1, stride_w = 1;
  int64_t pad_h = 0, pad_w = 0;
  int64_t dilation_h = 1, dilation_w = 1;
};
// What a window holds where it reaches out of the image.
enum class Outside {
  kZeros,
  kRepeats,  // its first pixel inside, once more; zeros where there is none
};

// CONVENTION: copies share the pool. On the CPU.
class SharedImages {
 public:
  SharedImages() = default;
  // Mosaics of a few sources (K, H, W, C): pixel p belongs to part part_of[p], and image i has all
  // of part j from source source_of[j][i].
  static SharedImages mosaics(const Tensor& sources, const std::vector<int32_t>& part_of,
                              const std::vector<std::vector<int32_t>>& source_of);

  bool defined() const { return pool_.defined(); }
  int64_t images() const { return sites_->images; }
  int64_t height() const { return sites_->height; }
  int64_t width() const { return sites_->width; }
  // (pixels, 1, 1, C)
  const Tensor& pool() const { return pool_; }
  // Pixels in the pool over pixels in all images: 1 where nothing is shared.
  double share() const;

  // Images [begin, end) by themselves, (end - begin, H, W, C).
  Tensor expand(int64_t begin, int64_t end) const;
  // Images [begin, end), over a pool of what these have.
  SharedImages slice(int64_t begin, int64_t end) const;

  // What `of` makes of each window, some distinct ones at a time: of their pixels
  // (n, window height, window width, C) and, where `z` is defined, of z's at the same places
  // (n, 1, 1, K) it makes (n, 1, 1, K). z has the output's height, width and number of images.
  using OfWindows = std::function<Tensor(const Tensor& windows, const Tensor& z)>;
  SharedImages map(const Windows& windows, Outside outside, const SharedImages& z,
                   const OfWindows& of) const;

 private:
  struct Sites {
    int64_t images = 0, height = 0, width = 0;
    std::vector<std::shared_ptr<const Agreement>> agreement;  // (pixels), never null
    std::vector<int32_t> base;                                // (pixels + 1)

    int64_t pooled() const { return base.back(); }
    void count();  // base, from agreement
  };
  class Join;
  class Walk;
  static std::shared_ptr<const Sites> look(const Sites& in, const Windows& windows, const Sites* z);

  Tensor pool_;
  std::shared_ptr<const Sites> sites_;
};

}  // namespace glassnet
