#include "data/augment.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <type_traits>
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

// The part of a variation that the kernels know.
kernels::ImageVariation jitter_of(const ColorJitter& colors) {
  return {.jitters = true,
          .brightness = colors.brightness,
          .contrast = colors.contrast,
          .saturation = colors.saturation,
          .hue = colors.hue};
}

float mean_luma(const std::vector<float>& pixels) {  // (pixels, 3)
  double sum = 0;
  for (size_t i = 0; i < pixels.size(); i += 3) sum += kernels::luma(&pixels[i]);
  return static_cast<float>(sum / (static_cast<double>(pixels.size()) / 3));
}

void apply_jitter(Image& image, const kernels::JitterDraw& draw) {
  std::vector<float> pixels(image.rgb.size());
  std::transform(image.rgb.begin(), image.rgb.end(), pixels.begin(),
                 [](uint8_t value) { return static_cast<float>(value) / 255; });
  float mean = 0;
  // A loop for each step, so that each is compiled for its own.
  const auto on_all = [&](auto step) {
    for (size_t i = 0; i < pixels.size(); i += 3) {
      kernels::jitter_step(&pixels[i], step, draw, mean);
    }
  };
  using kernels::JitterStep;
  for (const int step : draw.steps) {
    if (step == kernels::kBrightness) {
      on_all(std::integral_constant<JitterStep, kernels::kBrightness>{});
    } else if (step == kernels::kContrast) {
      mean = mean_luma(pixels);
      on_all(std::integral_constant<JitterStep, kernels::kContrast>{});
    } else if (step == kernels::kSaturation) {
      on_all(std::integral_constant<JitterStep, kernels::kSaturation>{});
    } else if (step == kernels::kHue) {
      on_all(std::integral_constant<JitterStep, kernels::kHue>{});
    }
  }
  std::transform(pixels.begin(), pixels.end(), image.rgb.begin(),
                 [](float value) { return kernels::to_level(value); });
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

kernels::ImageVariation variation_of(const AugmentOptions& options, int size) {
  kernels::ImageVariation variation;
  if (options.jitter) variation = jitter_of(options.colors);
  variation.shifts = options.crop == Crop::kShift;
  variation.reach = static_cast<int>(options.shift * size);
  variation.flips = options.flip;
  return variation;
}

bool can_prepare_on_device(const AugmentOptions& options) {
  return options.crop != Crop::kRandomResized && options.erase <= 0;
}

Image augment(const Image& reduced, int size, const AugmentOptions& options, Random random) {
  Image image;
  if (options.crop == Crop::kRandomResized) {
    image = resize(reduced, random_resized_crop(reduced.height, reduced.width, options, random),
                   size, size);
  }
  const kernels::VariationDraw draw = kernels::draw_variation(variation_of(options, size), random);
  if (options.crop == Crop::kShift) image = shifted(reduced, draw.dy, draw.dx);
  if (options.crop == Crop::kNone) image = reduced;
  if (draw.flip) flip_left_right(image);
  if (options.jitter) apply_jitter(image, draw.jitter);
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
    const int from = kernels::mirrored(y + dy, image.height);
    std::copy_n(image.at(from, begin + dx), static_cast<size_t>(end - begin) * 3,
                result.at(y, begin));
    const auto mirror = [&](int x) {
      std::copy_n(image.at(from, kernels::mirrored(x + dx, image.width)), 3, result.at(y, x));
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

}  // namespace glassnet
