// From 8-bit pixels to what a network reads: float32 NHWC, each channel (v / 255 - mean) / stddev.
#pragma once

#include <array>
#include <cstdint>

#include "data/image.h"
#include "kernels/image.h"
#include "tensor/tensor.h"

namespace glassnet {

// R, G, B of values in [0, 1]. The default is ImageNet's, which torchvision's weights expect.
struct Normalization {
  std::array<float, 3> mean = {0.485f, 0.456f, 0.406f};
  std::array<float, 3> stddev = {0.229f, 0.224f, 0.225f};
};

// (v / 255 - mean) / stddev = scale * v + shift.
kernels::ImageScale scale_of(const Normalization& normalization);
// `values` values of R, G, B, R, … to as many floats at `out`.
void normalize(const uint8_t* rgb, int64_t values, const Normalization& normalization, float* out);
// A picture as a batch of one: (1, height, width, 3).
Tensor to_input(const Image& image, const Normalization& normalization = {});
// The way back, rounded and clamped, of one picture (1, H, W, 3) or (H, W, 3).
Image to_image(const Tensor& input, const Normalization& normalization = {});

}  // namespace glassnet
