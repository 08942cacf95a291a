#include "xai/lime_picture.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

namespace glassnet {

void require_superpixels(const Superpixels& superpixels, int height, int width) {
  const Tensor& labels = superpixels.labels;
  if (labels.dtype() != DType::kInt64 || labels.shape() != Shape{height, width}) {
    throw UsageError(fmt::format(
        "superpixels of a picture ({}, {}) are int64 labels of the same size, not {} {}", height,
        width, name_of(labels.dtype()), labels.shape().str()));
  }
  std::vector<bool> seen(static_cast<size_t>(std::max<int64_t>(superpixels.count, 0)));
  for (const int64_t label : labels.to_vector<int64_t>()) {
    if (label < 0 || label >= superpixels.count) {
      throw UsageError(fmt::format("a pixel has label {}; {} superpixels are numbered from 0 to {}",
                                   label, superpixels.count, superpixels.count - 1));
    }
    seen[static_cast<size_t>(label)] = true;
  }
  const auto missing = std::find(seen.begin(), seen.end(), false);
  if (seen.empty() || missing != seen.end()) {
    throw UsageError(
        fmt::format("no pixel has label {}; number the {} superpixels from 0 on, "
                    "without gaps",
                    missing - seen.begin(), superpixels.count));
  }
}

Image hide_superpixels(const Image& picture, const Superpixels& superpixels,
                       const std::optional<std::array<uint8_t, 3>>& color) {
  require_superpixels(superpixels, picture.height, picture.width);
  const std::vector<int64_t> labels = superpixels.labels.to_vector<int64_t>();
  std::vector<std::array<int64_t, 3>> sums(static_cast<size_t>(superpixels.count));
  std::vector<int64_t> sizes(sums.size());
  for (size_t pixel = 0; pixel < labels.size(); ++pixel) {
    const auto label = static_cast<size_t>(labels[pixel]);
    ++sizes[label];
    for (size_t c = 0; c < 3; ++c) sums[label][c] += picture.rgb[3 * pixel + c];
  }
  Image hidden(picture.height, picture.width);
  for (size_t pixel = 0; pixel < labels.size(); ++pixel) {
    const auto label = static_cast<size_t>(labels[pixel]);
    for (size_t c = 0; c < 3; ++c) {
      hidden.rgb[3 * pixel + c] =
          color ? (*color)[c] : static_cast<uint8_t>(sums[label][c] / sizes[label]);
    }
  }
  return hidden;
}

LimeRegions lime_regions(const LimeResult& result, int64_t c, const Image& picture,
                         const Superpixels& superpixels, const LimeRegionOptions& options) {
  if (options.positive_only && options.negative_only) {
    throw UsageError(
        "superpixels cannot speak only for a class and only against it; choose one, or neither");
  }
  if (c < 0 || c >= static_cast<int64_t>(result.classes.size())) {
    throw UsageError(
        fmt::format("{} classes were explained; there is no number {}", result.classes.size(), c));
  }
  require_superpixels(superpixels, picture.height, picture.width);
  const int64_t n = superpixels.count;
  require(result.weights.dim(1) == n, [&] {
    return fmt::format("[lime_regions] expected {} superpixels, got {}", result.weights.dim(1), n);
  });
  const double* const weights = result.weights.data<double>() + c * n;
  const bool one_sign = options.positive_only || options.negative_only;

  LimeRegions regions;
  std::vector<int64_t> sign_of(static_cast<size_t>(n));
  int64_t places = options.superpixels;
  for (const int64_t j : result.rankings[static_cast<size_t>(c)]) {
    if (places <= 0) break;
    const double weight = weights[j];
    if (one_sign) {
      const double size = options.positive_only ? weight : -weight;
      if (!(size > 0 && size > options.min_weight)) continue;
      sign_of[static_cast<size_t>(j)] = 1;
      --places;
    } else {
      --places;
      if (std::abs(weight) < options.min_weight) continue;
      sign_of[static_cast<size_t>(j)] = weight < 0 ? -1 : 1;
    }
    regions.superpixels.push_back(j);
  }

  const uint8_t brightest = *std::max_element(picture.rgb.begin(), picture.rgb.end());
  regions.mask = Tensor::zeros({picture.height, picture.width}, DType::kInt64);
  regions.picture = picture;
  const int64_t* const labels = superpixels.labels.data<int64_t>();
  for (int64_t pixel = 0; pixel < regions.mask.numel(); ++pixel) {
    const int64_t sign = sign_of[static_cast<size_t>(labels[pixel])];
    uint8_t* const rgb = &regions.picture.rgb[static_cast<size_t>(3 * pixel)];
    regions.mask.data<int64_t>()[pixel] = sign;
    if (sign == 0 && options.hide_rest) std::fill(rgb, rgb + 3, uint8_t{0});
    if (sign != 0 && !one_sign) rgb[sign < 0 ? 0 : 1] = brightest;
  }
  return regions;
}

}  // namespace glassnet
