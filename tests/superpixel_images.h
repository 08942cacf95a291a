// Made-up images for tests of superpixels, on the CPU and on devices.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "kernels/superpixels.h"
#include "tensor/random.h"
#include "tensor/tensor.h"

namespace glassnet::test {

// (height, width, 3) uint8: two slopes that meet, with noise over both.
inline Tensor noisy_image(int64_t height, int64_t width, uint64_t seed) {
  Tensor image = Tensor::empty({height, width, 3}, DType::kUInt8);
  auto* byte = image.data<uint8_t>();
  Random random(seed, Stream::kUser);
  for (int64_t y = 0; y < height; ++y) {
    for (int64_t x = 0; x < width; ++x) {
      const bool upper = 2 * y < height + x % 7;
      for (int64_t c = 0; c < 3; ++c) {
        const int64_t slope = upper ? 60 + 40 * c + 2 * x : 180 - 50 * c + y;
        *byte++ = static_cast<uint8_t>(slope % 200 + random.below(40));
      }
    }
  }
  return image;
}

// Colours as the kernels take them, (3, height, width), some of which are equal.
inline std::vector<double> noisy_planes(int64_t height, int64_t width, uint64_t seed) {
  std::vector<double> planes(static_cast<size_t>(3 * height * width));
  Random random(seed, Stream::kUser);
  for (double& value : planes) {
    value = random.below(2) == 0 ? 1.5 : random.uniform(0, 4);
  }
  return planes;
}

// Centres on a grid, one of them without a place, and one that no pixel is nearest to.
struct SlicCase {
  kernels::SlicShape shape;
  std::vector<kernels::SlicCenter> centers;
};
inline std::vector<SlicCase> slic_cases() {
  std::vector<SlicCase> cases;
  for (const auto& [h, w, step] : {std::tuple{18, 33, 5}, {1, 1, 1}, {1, 40, 6}, {37, 8, 3}}) {
    SlicCase made;
    for (int y = step / 2; y < h; y += step) {
      for (int x = step / 2; x < w; x += step) {
        made.centers.push_back({y + 0.3, x - 0.2, {0.5, 1, 1.5}});
      }
    }
    const double nan = std::numeric_limits<double>::quiet_NaN();
    made.centers.push_back({nan, nan, {nan, nan, nan}});
    made.centers.push_back({h / 2.0, w / 2.0, {1e3, 1e3, 1e3}});
    made.shape = {.h = h,
                  .w = w,
                  .centers = static_cast<int64_t>(made.centers.size()),
                  .step_y = step,
                  .step_x = step,
                  .spacing = static_cast<double>(step)};
    cases.push_back(made);
  }
  return cases;
}

// Equal to the last bit, or NaN on both sides.
inline bool same(double a, double b) {
  return a == b || (std::isnan(a) && std::isnan(b));
}
inline bool same(const std::vector<kernels::SlicCenter>& a,
                 const std::vector<kernels::SlicCenter>& b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i) {
    if (!same(a[i].y, b[i].y) || !same(a[i].x, b[i].x)) return false;
    for (int c = 0; c < 3; ++c) {
      if (!same(a[i].color[c], b[i].color[c])) return false;
    }
  }
  return true;
}

}  // namespace glassnet::test
