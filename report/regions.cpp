#include "report/regions.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <numeric>
#include <vector>

#include <fmt/format.h>

#include "kernels/error.h"

namespace glassnet {
namespace {

constexpr int kLine = 3;         // pixels, of an outline
constexpr int kDash = 7;         // and of its dashes and gaps
constexpr int kHatch = 9;        // from one line of the hatching to the next
constexpr float kFaint = 0.35F;  // of the lines between all regions

// The labels of the enlarged picture, asked for by its pixels.
struct Labels {
  std::span<const int64_t> small;
  int height, width, factor;

  int64_t at(int y, int x) const {
    y = std::clamp(y, 0, height * factor - 1);
    x = std::clamp(x, 0, width * factor - 1);
    return small[static_cast<size_t>(y / factor) * static_cast<size_t>(width) +
                 static_cast<size_t>(x / factor)];
  }
  // Whether another region, or the picture's edge, is at most `distance` pixels away.
  bool near_edge(int y, int x, int distance) const {
    const int64_t own = at(y, x);
    if (y < distance || x < distance || y >= height * factor - distance ||
        x >= width * factor - distance) {
      return true;
    }
    for (const int dy : {-distance, 0, distance}) {
      for (const int dx : {-distance, 0, distance}) {
        if (at(y + dy, x + dx) != own) return true;
      }
    }
    return false;
  }
};

std::vector<bool> strongest(std::span<const RegionWeight> regions, int count) {
  std::vector<size_t> order(regions.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return std::abs(regions[a].weight) > std::abs(regions[b].weight);
  });
  std::vector<bool> result(regions.size(), false);
  for (size_t i = 0; i < order.size() && static_cast<int>(i) < count; ++i) {
    if (regions[order[i]].weight != 0) result[order[i]] = true;
  }
  return result;
}

void check(const Image& base, std::span<const int64_t> labels,
           std::span<const RegionWeight> regions, const RegionOptions& options) {
  require(base.height > 0 && base.width > 0,
          [] { return std::string("[draw_regions] expected a picture, got an empty one"); });
  const size_t pixels = static_cast<size_t>(base.height) * static_cast<size_t>(base.width);
  require(labels.size() == pixels, [&] {
    return fmt::format("[draw_regions] expected {} labels, one a pixel, got {}", pixels,
                       labels.size());
  });
  for (const int64_t label : labels) {
    require(label >= 0 && label < static_cast<int64_t>(regions.size()), [&] {
      return fmt::format("[draw_regions] expected labels below {}, got {}", regions.size(), label);
    });
  }
  require(options.alpha >= 0 && options.alpha <= 1, [&] {
    return fmt::format("[draw_regions] expected a weight in [0, 1], got {}", options.alpha);
  });
}

}  // namespace

Image draw_regions(const Image& base, std::span<const int64_t> labels,
                   std::span<const RegionWeight> regions, const RegionOptions& options) {
  check(base, labels, regions, options);
  const int shorter = std::min(base.height, base.width);
  const int factor = std::max(1, (options.min_side + shorter - 1) / shorter);
  Image image = factor == 1 ? base : resize(base, base.height * factor, base.width * factor);
  const Labels enlarged{labels, base.height, base.width, factor};
  const std::vector<bool> outlined = strongest(regions, options.outlined);
  double largest = 0;
  for (const RegionWeight& region : regions) {
    if (std::isfinite(region.weight)) largest = std::max(largest, std::abs(region.weight));
  }

  for (int y = 0; y < image.height; ++y) {
    for (int x = 0; x < image.width; ++x) {
      const auto label = static_cast<size_t>(enlarged.at(y, x));
      const RegionWeight& region = regions[label];
      uint8_t* pixel = &image.rgb[3 * (static_cast<size_t>(y) * static_cast<size_t>(image.width) +
                                       static_cast<size_t>(x))];
      Rgb paint{pixel[0], pixel[1], pixel[2]};
      const double share =
          largest > 0 && std::isfinite(region.weight) ? region.weight / largest : 0;
      const Rgb side = colour(options.colormap, share < 0 ? 0.1F : 0.9F);
      paint = mix(paint, side, options.alpha * static_cast<float>(std::abs(share)));
      if (!region.resolved && (x + y) % kHatch < 2) {
        paint = mix(paint, (x + y) % kHatch == 0 ? kWhite : kBlack, 0.6F);
      }
      if (outlined[label] && enlarged.near_edge(y, x, kLine)) {
        const bool gap = share < 0 && (x / kDash + y / kDash) % 2 == 1;
        paint = gap ? kWhite : colour(options.colormap, share < 0 ? 0.0F : 1.0F);
      } else if (enlarged.near_edge(y, x, 1)) {
        paint = mix(paint, kWhite, kFaint);
      }
      pixel[0] = paint.r, pixel[1] = paint.g, pixel[2] = paint.b;
    }
  }
  return image;
}

}  // namespace glassnet
