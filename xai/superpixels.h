// Superpixels: connected regions of similar colour, which LIME and others hide and show as one.
//
// Quickshift, SLIC and Felzenszwalb's segmentation give the labels of scikit-image 0.19 for the
// same options. (One exception: without smoothing, many of Felzenszwalb's edges cost the same, and
// scikit-image leaves their order to its sorting; a few pixels in a thousand may differ.) A label
// is a pixel's column in LIME's masks, so labels always count from 0.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "tensor/tensor.h"

namespace glassnet {

struct Superpixels {
  Tensor labels;  // (H, W) int64 on the CPU: 0 … count-1, each of which occurs
  int64_t count = 0;
};

// Quickshift (Vedaldi and Soatto, ECCV 2008). Each pixel is linked to the nearest pixel that lies
// in a denser place, by colour and place; a tree of links is a superpixel. The defaults are LIME's.
struct QuickshiftOptions {
  double kernel_size = 4;  // width of the density estimate, at least 1: larger gives fewer segments
  double max_dist = 200;   // longer links are cut
  double ratio = 0.2;      // weight of colour against place, from 0 to 1
  double sigma = 0;        // of a Gaussian that smooths the image first
  // Equally dense pixels are told apart by noise, NumPy's default_rng(seed).normal(scale=1e-5).
  uint64_t seed = 42;
  std::optional<Tensor> tie_noise;  // (H, W) float64: this noise instead
};
// image (H, W, 3) uint8, here and below. The device only decides where it is computed.
Superpixels quickshift(const Tensor& image, const QuickshiftOptions& options = {},
                       Device device = {});

// SLIC (Achanta et al., TPAMI 2012): k-means of colour and place from a regular grid of centres.
struct SlicOptions {
  int64_t segments = 100;   // about so many
  double compactness = 10;  // weight of place against colour: larger gives squarer segments
  int64_t iterations = 10;
  double sigma = 0;  // of a Gaussian that smooths the image first
  // Parts that hang together become segments of their own; those smaller than `min_size` of the
  // mean go to a neighbour, those larger than `max_size` of it are cut.
  bool connected = true;
  double min_size = 0.5, max_size = 3;
};
Superpixels slic(const Tensor& image, const SlicOptions& options = {}, Device device = {});

// Felzenszwalb and Huttenlocher (IJCV 2004): neighbours are merged, the most similar first, while
// they differ by less than the regions they belong to differ within, plus scale / (255 size).
struct FelzenszwalbOptions {
  double scale = 1;  // larger gives larger segments
  double sigma = 0.8;
  int64_t min_size = 20;  // smaller segments are merged with their most similar neighbour
};
Superpixels felzenszwalb(const Tensor& image, const FelzenszwalbOptions& options = {});

// Rectangles, `cells` from top to bottom and as many from left to right; one for each pixel along
// an axis that has fewer pixels.
Superpixels grid(int64_t height, int64_t width, int64_t cells);

// Segments of the user's own: labels (H, W) uint8 or int64, whose values in ascending order become
// 0, 1, 2, ….
Superpixels from_labels(const Tensor& labels);

// How the command line names them: "quickshift", "slic" or "slic:50" (segments), "felzenszwalb" or
// "felzenszwalb:100" (scale), "grid:8" (cells a side), with the defaults above for the rest.
// Nothing for words that begin otherwise, which may be the name of a file; throws UsageError where
// the number is missing or wrong.
using SuperpixelMethod = std::function<Superpixels(const Tensor& image, Device device)>;
std::optional<SuperpixelMethod> parse_superpixels(const std::string& words);

}  // namespace glassnet
