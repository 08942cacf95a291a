#include "data/input.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

namespace glassnet {

kernels::ImageScale scale_of(const Normalization& normalization) {
  kernels::ImageScale result;
  for (int c = 0; c < 3; ++c) {
    result.scale[c] = 1 / (255 * normalization.stddev[c]);
    result.shift[c] = -normalization.mean[c] / normalization.stddev[c];
  }
  return result;
}

void normalize(const uint8_t* rgb, int64_t values, const Normalization& normalization, float* out) {
  kernels::scale_pixels(Cpu{}, rgb, values, scale_of(normalization), out);
}

Tensor to_input(const Image& image, const Normalization& normalization) {
  Tensor input = Tensor::empty({1, image.height, image.width, 3});
  normalize(image.rgb.data(), input.numel(), normalization, input.data<float>());
  return input;
}

Image to_image(const Tensor& input, const Normalization& normalization) {
  const int rank = input.rank();
  require((rank == 3 || (rank == 4 && input.dim(0) == 1)) && input.dim(-1) == 3, [&] {
    return fmt::format("[to_image] expected (1, H, W, 3) or (H, W, 3), got {}",
                       input.shape().str());
  });
  Image image(static_cast<int>(input.dim(-3)), static_cast<int>(input.dim(-2)));
  const float* in = input.data<float>();
  for (size_t i = 0; i < image.rgb.size(); ++i) {
    const float value = in[i] * normalization.stddev[i % 3] + normalization.mean[i % 3];
    image.rgb[i] = static_cast<uint8_t>(std::lround(255 * std::clamp(value, 0.0f, 1.0f)));
  }
  return image;
}

}  // namespace glassnet
