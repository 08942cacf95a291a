// Maps in colour: the definition by hand, and the kernel against it.
#include "kernels/colorize.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

#include "report/colormap.h"
#include "report/overlay.h"
#include "tests/data_support.h"
#include "tests/device_kernels.h"

namespace glassnet {
namespace {

using kernels::BlendOptions;
using kernels::Fade;

constexpr BlendOptions kAll[] = {{},
                                 {.alpha = 0},
                                 {.alpha = 0.45F},
                                 {.alpha = 0.7F, .fade = Fade::kTowardsZero},
                                 {.alpha = 0.7F, .fade = Fade::kTowardsMiddle}};

// Values with both ends and the middle among them.
std::vector<float> values_of(size_t count) {
  std::mt19937 bits(7);
  std::vector<float> values = {1, 0, 0.5F};
  while (values.size() < count) values.push_back(static_cast<float>(bits() % 4096) / 4095);
  values.resize(count);
  return values;
}

TEST(Colorize, MixesTheTablesColourIntoThePicture) {
  const auto table = colour_table(Colormap::kViridis);
  const std::vector<float> values = values_of(35);
  const Image picture = test::noise_image(5, 7, 1);
  for (const BlendOptions& options : kAll) {
    std::vector<uint8_t> y(picture.rgb.size());
    kernels::colorize(Cpu{}, values.data(), 35, table.data(), picture.rgb.data(), y.data(),
                      options);
    for (size_t i = 0; i < y.size(); ++i) {
      const double v = values[i / 3], level = picture.rgb[i];
      const double paint = table[3 * static_cast<size_t>(std::lround(255 * v)) + i % 3];
      double t = options.alpha;
      if (options.fade == Fade::kTowardsZero) t *= v;
      if (options.fade == Fade::kTowardsMiddle) t *= std::abs(2 * v - 1);
      EXPECT_NEAR(y[i], (1 - t) * level + t * paint, 0.5001) << "byte " << i;
    }
  }
}

TEST(Colorize, TablesHaveTheColoursOfTheirMap) {
  for (const Colormap map : all_colormaps()) {
    const auto table = colour_table(map);
    for (const int i : {0, 100, 255}) {
      EXPECT_EQ((Rgb{table[3 * i], table[3 * i + 1], table[3 * i + 2]}),
                colour(map, static_cast<float>(i) / 255));
    }
  }
}

#if defined(GLASSNET_CUDA)

class DeviceColorize : public DeviceTest {};

// Equal to the last bit, over the picture itself too.
TEST_F(DeviceColorize, MixesTheTablesColourIntoThePicture) {
  const auto colours = colour_table(Colormap::kMagma);
  const DeviceArray<uint8_t> table(std::vector<uint8_t>(colours.begin(), colours.end()));
  for (const auto& [height, width] : {std::pair{1, 1}, {5, 7}, {16, 16}, {31, 33}}) {
    const Image picture = test::noise_image(height, width, 3);
    const std::vector<float> values = values_of(picture.rgb.size() / 3);
    const auto pixels = static_cast<int64_t>(values.size());
    const DeviceArray<float> on_device(values);
    for (const BlendOptions& options : kAll) {
      std::vector<uint8_t> expected(picture.rgb.size());
      kernels::colorize(Cpu{}, values.data(), pixels, colours.data(), picture.rgb.data(),
                        expected.data(), options);
      const Placed<uint8_t> y(picture.rgb, 1);
      kernels::colorize(cuda(), on_device.get(), pixels, table.get(), y.get(), y.get(), options);
      EXPECT_EQ(y.host(), expected) << height << " x " << width;
    }
  }
}

TEST_F(DeviceColorize, OfNoPixelsDoesNothing) {
  const Placed<uint8_t> y(8, 0);
  kernels::colorize(cuda(), nullptr, 0, nullptr, nullptr, y.get(), {});
  EXPECT_EQ(y.host(), std::vector<uint8_t>(8));
}

#endif

}  // namespace
}  // namespace glassnet
