#include "data/augment.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "kernels/error.h"

namespace glassnet {
namespace {

constexpr int kAttempts = 10;  // at a rectangle that fits, before falling back
constexpr double kErase = 0.25;
constexpr double kEraseAreaLow = 0.02, kEraseAreaHigh = 0.33;
constexpr double kEraseRatioLow = 0.3, kEraseRatioHigh = 3.3;

// Ratios are drawn evenly on a logarithmic scale, so that 1/2 is as likely as 2.
double random_ratio(double low, double high, Random& random) {
  return std::exp(random.uniform(std::log(low), std::log(high)));
}

// Position `i` of an axis of `n` that goes on beyond its ends as its mirror image.
int mirrored(int i, int n) {
  if (i < 0) i = -i;
  if (i >= n) i = 2 * (n - 1) - i;
  return i;
}

// ---- Colours, as floats in [0, 1].

using Pixels = std::vector<float>;  // (pixels, 3)

float clamp01(float value) {
  return std::clamp(value, 0.0f, 1.0f);
}

// ITU-R BT.601 luma.
float luma(const float* rgb) {
  return 0.299f * rgb[0] + 0.587f * rgb[1] + 0.114f * rgb[2];
}

void scale_brightness(Pixels& pixels, float factor) {
  for (float& value : pixels) value = clamp01(value * factor);
}

// Away from, or towards, the mean grey of the picture.
void scale_contrast(Pixels& pixels, float factor) {
  double sum = 0;
  for (size_t i = 0; i < pixels.size(); i += 3) sum += luma(&pixels[i]);
  const auto mean = static_cast<float>(sum / (static_cast<double>(pixels.size()) / 3));
  for (float& value : pixels) value = clamp01(mean + (value - mean) * factor);
}

// Away from, or towards, each pixel's own grey.
void scale_saturation(Pixels& pixels, float factor) {
  for (size_t i = 0; i < pixels.size(); i += 3) {
    const float grey = luma(&pixels[i]);
    for (size_t c = i; c < i + 3; ++c) pixels[c] = clamp01(grey + (pixels[c] - grey) * factor);
  }
}

// Turns the hue of the hexagonal HSV model by a share of the circle; saturation and value stay.
void turn_hue(Pixels& pixels, float turn) {
  for (size_t i = 0; i < pixels.size(); i += 3) {
    float* const rgb = &pixels[i];
    const auto [low, high] = std::minmax({rgb[0], rgb[1], rgb[2]});
    const float chroma = high - low;
    if (chroma == 0) continue;
    float sector;  // of six: red 0, green 2, blue 4
    if (high == rgb[0]) {
      sector = (rgb[1] - rgb[2]) / chroma;
    } else if (high == rgb[1]) {
      sector = (rgb[2] - rgb[0]) / chroma + 2;
    } else {
      sector = (rgb[0] - rgb[1]) / chroma + 4;
    }
    sector += 6 * turn;
    sector -= 6 * std::floor(sector / 6);
    // Each channel is at its height for two sectors, at its depth for two, and slopes between.
    for (int c = 0; c < 3; ++c) {
      const float away = std::abs(sector - static_cast<float>(2 * c));
      rgb[c] = low + chroma * clamp01(2 - std::min(away, 6 - away));
    }
  }
}

void erase_rectangle(Image& image, Random& random) {
  const double area = static_cast<double>(image.height) * image.width;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    const double target = area * random.uniform(kEraseAreaLow, kEraseAreaHigh);
    const double ratio = random_ratio(kEraseRatioLow, kEraseRatioHigh, random);
    const auto height = static_cast<int>(std::lround(std::sqrt(target / ratio)));
    const auto width = static_cast<int>(std::lround(std::sqrt(target * ratio)));
    if (height < 1 || width < 1 || height >= image.height || width >= image.width) continue;

    const auto top = static_cast<int>(random.below(image.height - height + 1));
    const auto left = static_cast<int>(random.below(image.width - width + 1));
    std::array<uint64_t, 3> sum = {};
    for (size_t i = 0; i < image.rgb.size(); ++i) sum[i % 3] += image.rgb[i];
    for (int y = top; y < top + height; ++y) {
      for (int x = left; x < left + width; ++x) {
        for (int c = 0; c < 3; ++c) {
          image.at(y, x)[c] = static_cast<uint8_t>(std::lround(static_cast<double>(sum[c]) / area));
        }
      }
    }
    return;
  }
}

std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> parts;
  size_t begin = 0;
  for (size_t end; (end = text.find(separator, begin)) != std::string::npos; begin = end + 1) {
    parts.push_back(text.substr(begin, end - begin));
  }
  parts.push_back(text.substr(begin));
  return parts;
}

}  // namespace

AugmentOptions parse_augment(const std::string& names) {
  AugmentOptions options{.crop = Crop::kNone, .flip = false};
  const std::vector<std::string> parts = split(names, ',');
  const auto choose_crop = [&](Crop crop) {
    if (options.crop != Crop::kNone && options.crop != crop) {
      throw UsageError("--augment takes one of shift and rrc, not both");
    }
    options.crop = crop;
  };
  for (const std::string& part : parts) {
    if (part == "flip") {
      options.flip = true;
    } else if (part == "shift") {
      choose_crop(Crop::kShift);
    } else if (part == "rrc") {
      choose_crop(Crop::kRandomResized);
    } else if (part == "jitter") {
      options.jitter = true;
    } else if (part == "erase") {
      options.erase = kErase;
    } else if (part != "none" || parts.size() > 1) {
      throw UsageError(fmt::format(
          "there is no augmentation '{}'; choose from flip, shift, rrc, jitter and erase with "
          "commas between, or none alone",
          part));
    }
  }
  return options;
}

std::string describe(const AugmentOptions& options) {
  std::vector<std::string> parts;
  if (options.crop == Crop::kShift && options.shift > 0) {
    parts.push_back(fmt::format("shifts of up to {:.3g} %", 100 * options.shift));
  } else if (options.crop == Crop::kRandomResized) {
    parts.push_back(fmt::format("random crops of {:.3g} to {:.3g} % of the area",
                                100 * options.scale_low, 100 * options.scale_high));
  }
  if (options.flip) parts.push_back("flips");
  if (options.jitter) parts.push_back("colour jitter");
  if (options.erase > 0) {
    parts.push_back(fmt::format("a rectangle erased from {:.3g} %", 100 * options.erase));
  }
  return parts.empty() ? "none" : fmt::format("{}", fmt::join(parts, ", "));
}

Image reduce_for_augment(const Image& image, int size, Fit fit, const AugmentOptions& options) {
  if (options.crop != Crop::kRandomResized) return fit_image(image, size, fit);
  const int limit = 2 * size;
  if (fit == Fit::kSquash) {
    const int height = std::min(image.height, limit), width = std::min(image.width, limit);
    if (height == image.height && width == image.width) return image;
    return resize(image, height, width);
  }
  const int shorter = std::min(image.height, image.width);
  if (shorter <= limit) return image;
  const double factor = static_cast<double>(limit) / shorter;
  return resize(image, static_cast<int>(std::lround(image.height * factor)),
                static_cast<int>(std::lround(image.width * factor)));
}

Image augment(const Image& reduced, int size, const AugmentOptions& options, Random random) {
  Image image;
  if (options.crop == Crop::kRandomResized) {
    image = resize(reduced, random_resized_crop(reduced.height, reduced.width, options, random),
                   size, size);
  } else if (options.crop == Crop::kShift) {
    const auto reach = static_cast<int>(options.shift * size);
    const auto dy = static_cast<int>(random.below(2 * reach + 1)) - reach;
    const auto dx = static_cast<int>(random.below(2 * reach + 1)) - reach;
    image = shifted(reduced, dy, dx);
  } else {
    image = reduced;
  }
  if (options.flip && random.uniform() < 0.5) flip_left_right(image);
  if (options.jitter) jitter_colors(image, options.colors, random);
  if (options.erase > 0 && random.uniform() < options.erase) erase_rectangle(image, random);
  return image;
}

Box random_resized_crop(int height, int width, const AugmentOptions& options, Random& random) {
  const double area = static_cast<double>(height) * width;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    const double target = area * random.uniform(options.scale_low, options.scale_high);
    const double ratio = random_ratio(options.ratio_low, options.ratio_high, random);
    const auto h = std::lround(std::sqrt(target / ratio)),
               w = std::lround(std::sqrt(target * ratio));
    if (h < 1 || w < 1 || h > height || w > width) continue;
    const auto top = random.below(height - h + 1), left = random.below(width - w + 1);
    return {static_cast<double>(top), static_cast<double>(left), static_cast<double>(h),
            static_cast<double>(w)};
  }
  // The largest central part whose ratio is allowed.
  const int h = std::clamp(static_cast<int>(std::lround(width / options.ratio_low)), 1, height);
  const int w = std::clamp(static_cast<int>(std::lround(height * options.ratio_high)), 1, width);
  return {static_cast<double>((height - h) / 2), static_cast<double>((width - w) / 2),
          static_cast<double>(h), static_cast<double>(w)};
}

Image shifted(const Image& image, int dy, int dx) {
  require(std::abs(dy) < image.height && std::abs(dx) < image.width, [&] {
    return fmt::format("[shifted] expected a shift less than {} x {} pixels, got {} x {}",
                       image.width, image.height, dx, dy);
  });
  Image result(image.height, image.width);
  // The columns whose source lies inside are one copy.
  const int begin = std::max(0, -dx), end = std::min(image.width, image.width - dx);
  for (int y = 0; y < image.height; ++y) {
    const int from = mirrored(y + dy, image.height);
    std::copy_n(image.at(from, begin + dx), static_cast<size_t>(end - begin) * 3,
                result.at(y, begin));
    const auto mirror = [&](int x) {
      std::copy_n(image.at(from, mirrored(x + dx, image.width)), 3, result.at(y, x));
    };
    for (int x = 0; x < begin; ++x) mirror(x);
    for (int x = end; x < image.width; ++x) mirror(x);
  }
  return result;
}

void flip_left_right(Image& image) {
  for (int y = 0; y < image.height; ++y) {
    for (int left = 0, right = image.width - 1; left < right; ++left, --right) {
      std::swap_ranges(image.at(y, left), image.at(y, left) + 3, image.at(y, right));
    }
  }
}

void jitter_colors(Image& image, const ColorJitter& options, Random& random) {
  // All is drawn whatever is applied, so that one strength does not change another's draws.
  const std::vector<int64_t> order = [&] {
    std::vector<int64_t> steps = {0, 1, 2, 3};
    for (int64_t i = 3; i > 0; --i) std::swap(steps[i], steps[random.below(i + 1)]);
    return steps;
  }();
  const auto factor = [&](double strength) {
    return static_cast<float>(random.uniform(std::max(0.0, 1 - strength), 1 + strength));
  };
  const float brightness = factor(options.brightness), contrast = factor(options.contrast);
  const float saturation = factor(options.saturation);
  const auto turn = static_cast<float>(random.uniform(-options.hue, options.hue));

  Pixels pixels(image.rgb.size());
  std::transform(image.rgb.begin(), image.rgb.end(), pixels.begin(),
                 [](uint8_t value) { return static_cast<float>(value) / 255; });
  for (const int64_t step : order) {
    if (step == 0 && options.brightness > 0) scale_brightness(pixels, brightness);
    if (step == 1 && options.contrast > 0) scale_contrast(pixels, contrast);
    if (step == 2 && options.saturation > 0) scale_saturation(pixels, saturation);
    if (step == 3 && options.hue > 0) turn_hue(pixels, turn);
  }
  std::transform(pixels.begin(), pixels.end(), image.rgb.begin(),
                 [](float value) { return static_cast<uint8_t>(value * 255 + 0.5f); });
}

}  // namespace glassnet
