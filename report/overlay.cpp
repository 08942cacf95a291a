#include "report/overlay.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

#include <fmt/format.h>

#include "kernels/colorize.h"
#include "kernels/error.h"
#include "kernels/resize.h"

namespace glassnet {
namespace {

constexpr double kPercentile = 0.99;

void check_size(const char* op, std::span<const float> map, int h, int w) {
  require(h > 0 && w > 0 && map.size() == static_cast<size_t>(h) * static_cast<size_t>(w), [&] {
    return fmt::format("[{}] expected a map of {} x {} values, got {}", op, h, w, map.size());
  });
}

// Only the part of a value that its scaling looks at, so that what is cut away does not weigh on
// its neighbours when the map is enlarged.
float relevant(float x, Scaling scaling) {
  if (!std::isfinite(x)) return 0;
  switch (scaling) {
    case Scaling::kPositive:
      return std::max(x, 0.f);
    case Scaling::kMagnitude:
      return std::abs(x);
    case Scaling::kSigned:
      return x;
  }
  return 0;
}

std::vector<float> relevant(std::span<const float> map, Scaling scaling) {
  std::vector<float> values(map.size());
  std::ranges::transform(map, values.begin(), [&](float x) { return relevant(x, scaling); });
  return values;
}

// The value that stands for full colour; 0 for a blank map.
float full_scale(const std::vector<float>& values, Scaling scaling) {
  if (values.empty()) return 0;
  std::vector<float> sizes(values.size());
  std::ranges::transform(values, sizes.begin(), [](float x) { return std::abs(x); });
  const float largest = *std::ranges::max_element(sizes);
  if (scaling == Scaling::kPositive) return largest;
  // Nearest rank: the smallest value that 99 % of the pixels do not exceed.
  const auto rank =
      static_cast<ptrdiff_t>(std::ceil(kPercentile * static_cast<double>(sizes.size())));
  const auto percentile = sizes.begin() + std::max<ptrdiff_t>(rank - 1, 0);
  std::nth_element(sizes.begin(), percentile, sizes.end());
  return *percentile > 0 ? *percentile : largest;
}

std::vector<float> scale_relevant(std::vector<float> values, Scaling scaling) {
  const float full = full_scale(values, scaling);
  for (float& x : values) {
    const float share = full > 0 ? std::clamp(x / full, -1.f, 1.f) : 0.f;
    x = scaling == Scaling::kSigned ? 0.5f + 0.5f * share : share;
  }
  return values;
}

// Lays `values`, one for each pixel, over the picture.
void paint(const std::vector<float>& values, Colormap colormap,
           const kernels::BlendOptions& options, Image& picture) {
  kernels::colorize(Cpu{}, values.data(), static_cast<int64_t>(values.size()),
                    colour_table(colormap).data(), picture.rgb.data(), picture.rgb.data(), options);
}

}  // namespace

std::vector<float> scale_map(std::span<const float> map, Scaling scaling) {
  return scale_relevant(relevant(map, scaling), scaling);
}

std::vector<float> resize_map(std::span<const float> map, int h, int w, int out_h, int out_w) {
  check_size("resize_map", map, h, w);
  std::vector<float> result(static_cast<size_t>(out_h) * static_cast<size_t>(out_w));
  if (h == out_h && w == out_w) {
    std::ranges::copy(map, result.begin());
    return result;
  }
  const kernels::ResizeShape shape{.n = 1, .h = h, .w = w, .c = 1, .out_h = out_h, .out_w = out_w};
  kernels::resize_bilinear_forward(Cpu{}, map.data(), result.data(), shape);
  return result;
}

Image heatmap(std::span<const float> map, int h, int w, Colormap colormap, Scaling scaling) {
  check_size("heatmap", map, h, w);
  const std::vector<float> values = scale_map(map, scaling);
  Image image(h, w);
  paint(values, colormap, {}, image);
  return image;
}

Image overlay(const Image& base, std::span<const float> map, int h, int w,
              const OverlayOptions& options) {
  check_size("overlay", map, h, w);
  require(base.height > 0 && base.width > 0, [] {
    return std::string("[overlay] expected a picture to lay the map over, got an empty one");
  });
  require(options.alpha >= 0 && options.alpha <= 1, [&] {
    return fmt::format("[overlay] expected a weight in [0, 1], got {}", options.alpha);
  });
  const std::vector<float> values = scale_relevant(
      resize_map(relevant(map, options.scaling), h, w, base.height, base.width), options.scaling);
  kernels::Fade fade = kernels::Fade::kNowhere;
  if (options.fade) {
    fade = options.scaling == Scaling::kSigned ? kernels::Fade::kTowardsMiddle
                                               : kernels::Fade::kTowardsZero;
  }
  Image result = base;
  paint(values, options.colormap, {options.alpha, fade}, result);
  return result;
}

}  // namespace glassnet
