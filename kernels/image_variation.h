// How a picture is varied, for host and GPU alike: what is drawn at random, in which order, and
// what it does to a pixel. data/augment.h says what each variation is for.
//
// In this order: a shift, a flip, colours. Colours are worked on in floats from 0 to 1.
#pragma once

#include <cmath>
#include <cstdint>

#include "kernels/host_device.h"

namespace glassnet::kernels {

struct ImageVariation {
  bool shifts = false;
  int reach = 0;  // of a shift, in pixels
  bool flips = false;
  bool jitters = false;
  // Factors from [1 - x, 1 + x] for the first three, a hue turned by up to `hue` of the circle.
  double brightness = 0, contrast = 0, saturation = 0, hue = 0;

  GLASSNET_HOST_DEVICE bool draws() const { return shifts || flips || jitters; }
};

// --- what is drawn -------------------------------------------------------------------------------

enum JitterStep : int { kBrightness, kContrast, kSaturation, kHue, kJitterSteps, kNoStep };

// Steps in the order in which they are made, kNoStep where a step has no strength.
struct JitterDraw {
  int steps[kJitterSteps];
  float amounts[kJitterSteps];  // of each JitterStep: a factor, or a share of the circle
};

struct VariationDraw {
  int dy, dx;
  bool flip;
  JitterDraw jitter;
};

// All is drawn whatever is applied, so that one strength does not change another's draws.
template <class Random>
GLASSNET_HOST_DEVICE JitterDraw draw_jitter(const ImageVariation& variation, Random& random) {
  JitterDraw draw;
  for (int i = 0; i < kJitterSteps; ++i) draw.steps[i] = i;
  for (int i = kJitterSteps - 1; i > 0; --i) {  // Fisher-Yates
    const auto other = static_cast<int>(random.below(i + 1));
    const int step = draw.steps[i];
    draw.steps[i] = draw.steps[other];
    draw.steps[other] = step;
  }
  const double strengths[] = {variation.brightness, variation.contrast, variation.saturation,
                              variation.hue};
  for (int step = kBrightness; step <= kSaturation; ++step) {
    const double low = 1 - strengths[step];
    draw.amounts[step] =
        static_cast<float>(random.uniform(low > 0 ? low : 0.0, 1 + strengths[step]));
  }
  draw.amounts[kHue] = static_cast<float>(random.uniform(-variation.hue, variation.hue));
  for (int& step : draw.steps) {
    if (!(strengths[step] > 0)) step = kNoStep;
  }
  return draw;
}

template <class Random>
GLASSNET_HOST_DEVICE VariationDraw draw_variation(const ImageVariation& variation, Random& random) {
  VariationDraw draw = {};
  if (variation.shifts) {
    draw.dy = static_cast<int>(random.below(2 * variation.reach + 1)) - variation.reach;
    draw.dx = static_cast<int>(random.below(2 * variation.reach + 1)) - variation.reach;
  }
  if (variation.flips) draw.flip = random.uniform() < 0.5;
  if (variation.jitters) draw.jitter = draw_jitter(variation, random);
  return draw;
}

// --- where a pixel comes from --------------------------------------------------------------------

// Position `i` of an axis of `n` that goes on beyond its ends as its mirror image.
GLASSNET_HOST_DEVICE inline int mirrored(int i, int n) {
  if (i < 0) i = -i;
  if (i >= n) i = 2 * (n - 1) - i;
  return i;
}

// The pixel of the picture (size, size) that its variation shows at pixel (y, x).
GLASSNET_HOST_DEVICE inline int source_pixel(const VariationDraw& draw, int y, int x, int size) {
  if (draw.flip) x = size - 1 - x;
  return mirrored(y + draw.dy, size) * size + mirrored(x + draw.dx, size);
}

// --- colours -------------------------------------------------------------------------------------

GLASSNET_HOST_DEVICE inline float clamp01(float value) {
  return value < 0 ? 0.0f : 1 < value ? 1.0f : value;
}

// ITU-R BT.601 luma.
GLASSNET_HOST_DEVICE inline float luma(const float* rgb) {
  return rounded_product(0.299f, rgb[0]) + rounded_product(0.587f, rgb[1]) +
         rounded_product(0.114f, rgb[2]);
}

// Turns the hue of the hexagonal HSV model by a share of the circle; saturation and value stay.
GLASSNET_HOST_DEVICE inline void turn_hue(float* rgb, float turn) {
  float low = rgb[0], high = rgb[0];
  for (int c = 1; c < 3; ++c) {
    if (rgb[c] < low) low = rgb[c];
    if (rgb[c] > high) high = rgb[c];
  }
  const float chroma = high - low;
  if (chroma == 0) return;
  float sector;  // of six: red 0, green 2, blue 4
  if (high == rgb[0]) {
    sector = (rgb[1] - rgb[2]) / chroma;
  } else if (high == rgb[1]) {
    sector = (rgb[2] - rgb[0]) / chroma + 2;
  } else {
    sector = (rgb[0] - rgb[1]) / chroma + 4;
  }
  sector += rounded_product(6.0f, turn);
  sector -= rounded_product(6.0f, std::floor(sector / 6));
  // Each channel is at its height for two sectors, at its depth for two, and slopes between.
  for (int c = 0; c < 3; ++c) {
    const float away = std::abs(sector - static_cast<float>(2 * c));
    const float nearest = away < 6 - away ? away : 6 - away;
    rgb[c] = low + rounded_product(chroma, clamp01(2 - nearest));
  }
}

// One step of a jitter on one pixel. `mean` is the mean luma of all pixels before a kContrast.
GLASSNET_HOST_DEVICE inline void jitter_step(float* rgb, int step, const JitterDraw& draw,
                                             float mean) {
  if (step == kNoStep) return;
  const float amount = draw.amounts[step];
  if (step == kHue) return turn_hue(rgb, amount);
  // Away from, or towards: black, the picture's mean grey, the pixel's own grey.
  const float from = step == kContrast ? mean : step == kSaturation ? luma(rgb) : 0.0f;
  for (int c = 0; c < 3; ++c) {
    rgb[c] = clamp01(from + rounded_product(rgb[c] - from, amount));
  }
}

// Back to 8 bits, rounded.
GLASSNET_HOST_DEVICE inline uint8_t to_level(float value) {
  return static_cast<uint8_t>(rounded_product(value, 255.0f) + 0.5f);
}

}  // namespace glassnet::kernels
