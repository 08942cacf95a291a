// Antialiased resampling by a triangle filter, and how pictures become squares.
//
// A result pixel is centred at c = begin + (i + 1/2) * step in the source, step = extent / size,
// and is the weighted mean of the source pixels around it with weights max(0, 1 - |j + 1/2 - c| /
// s), s = max(step, 1). The filter is separable (kernels/resample.h).
#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "data/image.h"
#include "kernels/error.h"
#include "kernels/resample.h"

namespace glassnet {
namespace {

// The weights along one axis.
struct Filter {
  std::vector<int> first, count;
  std::vector<float> weights;  // (size, stride)
  int stride = 0;

  kernels::ResampleAxis axis() const {
    return {static_cast<int>(first.size()), first.data(), count.data(), weights.data(), stride};
  }
};

Filter make_filter(double begin, double extent, int limit, int size) {
  const double step = extent / size, support = std::max(step, 1.0);
  Filter filter;
  filter.stride = static_cast<int>(std::ceil(2 * support)) + 2;
  filter.weights.resize(static_cast<size_t>(size) * filter.stride);
  for (int i = 0; i < size; ++i) {
    const double center = begin + (i + 0.5) * step;
    const auto weight = [&](int j) {
      return std::max(0.0, 1 - std::abs(j + 0.5 - center) / support);
    };
    int from = std::max(0, static_cast<int>(center - support + 0.5));
    int to = std::min(limit, static_cast<int>(center + support + 0.5));
    while (from < to - 1 && weight(from) == 0) ++from;
    while (to > from + 1 && weight(to - 1) == 0) --to;
    double sum = 0;
    for (int j = from; j < to; ++j) sum += weight(j);
    float* const weights = &filter.weights[static_cast<size_t>(i) * filter.stride];
    for (int j = from; j < to; ++j) weights[j - from] = static_cast<float>(weight(j) / sum);
    filter.first.push_back(from);
    filter.count.push_back(to - from);
  }
  return filter;
}

}  // namespace

Image resize(const Image& image, const Box& box, int height, int width) {
  constexpr double slack = 1e-6;  // of a box computed in doubles
  require(box.height > 0 && box.width > 0 && box.y >= -slack && box.x >= -slack &&
              box.y + box.height <= image.height + slack &&
              box.x + box.width <= image.width + slack,
          [&] {
            return fmt::format(
                "[resize] expected a box within {} x {} pixels, got {} x {} at row {}, column {}",
                image.width, image.height, box.width, box.height, box.y, box.x);
          });
  require(height > 0 && width > 0, [&] {
    return fmt::format("[resize] expected a size of at least 1 x 1, got {} x {}", width, height);
  });
  const Filter down = make_filter(box.y, box.height, image.height, height);
  const Filter across = make_filter(box.x, box.width, image.width, width);

  Image result(height, width);
  kernels::resample(Cpu{}, image.rgb.data(), image.width, down.axis(), across.axis(),
                    result.rgb.data());
  return result;
}

Image resize(const Image& image, int height, int width) {
  return resize(image, {0, 0, static_cast<double>(image.height), static_cast<double>(image.width)},
                height, width);
}

Image fit_image(const Image& image, int size, Fit fit) {
  if (image.height == size && image.width == size) return image;
  if (fit == Fit::kSquash) return resize(image, size, size);
  const int side = std::min(image.height, image.width);
  const int top = (image.height - side) / 2, left = (image.width - side) / 2;
  return resize(image,
                {static_cast<double>(top), static_cast<double>(left), static_cast<double>(side),
                 static_cast<double>(side)},
                size, size);
}

Fit parse_fit(const std::string& name) {
  if (name == "crop") return Fit::kCrop;
  if (name == "squash") return Fit::kSquash;
  throw UsageError(fmt::format("there is no fit '{}'; choose crop or squash", name));
}

const char* name_of(Fit fit) {
  return fit == Fit::kCrop ? "crop" : "squash";
}

}  // namespace glassnet
