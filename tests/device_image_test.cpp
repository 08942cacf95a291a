// Pictures prepared by the kernels against the host's augment and normalize.
#include "kernels/image.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "data/augment.h"
#include "data/input.h"
#include "kernels/half.h"
#include "tests/data_support.h"
#include "tests/device_support.h"

namespace glassnet {
namespace {

constexpr int kPictures = 5;
// Once more than once, and not in order.
const std::vector<int64_t> kRows = {3, 0, 4, 3};
const std::vector<int64_t> kIndices = {1007, 2, int64_t{1} << 40, 3};
constexpr kernels::ImageDraw kDraw = {
    .seed = 11, .stream = static_cast<uint64_t>(Stream::kAugment), .epoch = 6};

std::vector<Image> noise_pictures(int size) {
  std::vector<Image> pictures;
  for (int i = 0; i < kPictures; ++i) {
    pictures.push_back(test::noise_image(
        size, size, static_cast<uint64_t>(size) * 100 + static_cast<uint64_t>(i)));
  }
  return pictures;
}

std::vector<uint8_t> bytes_of(const std::vector<Image>& pictures) {
  std::vector<uint8_t> bytes;
  for (const Image& picture : pictures) {
    bytes.insert(bytes.end(), picture.rgb.begin(), picture.rgb.end());
  }
  return bytes;
}

// What the host makes of them: the definition.
std::vector<float> on_host(const std::vector<Image>& pictures, const std::vector<int64_t>& rows,
                           const std::vector<int64_t>& indices, const kernels::ImageDraw& draw,
                           const AugmentOptions& options) {
  std::vector<float> all;
  for (size_t i = 0; i < rows.size(); ++i) {
    const Image& picture = pictures[static_cast<size_t>(rows[i])];
    const Random random(draw.seed, Stream::kAugment, draw.epoch, static_cast<uint64_t>(indices[i]));
    const std::vector<float> values =
        to_input(augment(picture, picture.height, options, random)).to_vector<float>();
    all.insert(all.end(), values.begin(), values.end());
  }
  return all;
}

AugmentOptions options_of(const std::string& names) {
  AugmentOptions options = parse_augment(names);
  options.shift = 0.4;
  return options;
}

[[maybe_unused]] AugmentOptions jitter_options(ColorJitter colors) {  // on devices
  AugmentOptions options = options_of("flip,shift,jitter");
  options.colors = colors;
  return options;
}

// How many levels of 255 apart normalised values lie, at most, and how many are apart at all.
struct Difference {
  double levels = 0;
  size_t count = 0;
};
Difference difference(const std::vector<float>& a, const std::vector<float>& b) {
  const kernels::ImageScale scale = scale_of({});
  Difference result;
  EXPECT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    const double levels = std::abs((a[i] - b[i]) / scale.scale[i % 3]);
    result.levels = std::max(result.levels, levels);
    result.count += a[i] != b[i];
  }
  return result;
}

TEST(PrepareImages, OnTheCpuIsAugmentAndNormalize) {
  for (const int size : {1, 2, 7, 20}) {
    const std::vector<Image> pictures = noise_pictures(size);
    const std::vector<uint8_t> bytes = bytes_of(pictures);
    for (const char* names : {"none", "flip", "shift", "flip,shift", "flip,shift,jitter"}) {
      const AugmentOptions options = options_of(names);
      std::vector<float> y(kRows.size() * static_cast<size_t>(3 * size * size));
      kernels::prepare_images(Cpu{},
                              {.pictures = bytes.data(),
                               .rows = kRows.data(),
                               .indices = kIndices.data(),
                               .draw = &kDraw,
                               .n = static_cast<int64_t>(kRows.size()),
                               .size = size},
                              y.data(), variation_of(options, size), scale_of({}));
      const std::vector<float> expected = on_host(pictures, kRows, kIndices, kDraw, options);
      // Where the compiler fuses products and sums, the last bit of a value may differ, and a
      // colour may be rounded to the next level.
      EXPECT_LE(difference(y, expected).levels, options.jitter ? 1.01 : 1e-3) << names << size;
    }
  }
}

TEST(PrepareImages, KnowsWhatTheDeviceCanDo) {
  for (const char* names : {"none", "flip", "shift", "flip,shift,jitter"}) {
    EXPECT_TRUE(can_prepare_on_device(parse_augment(names))) << names;
  }
  for (const char* names : {"rrc", "erase", "flip,rrc", "shift,erase"}) {
    EXPECT_FALSE(can_prepare_on_device(parse_augment(names))) << names;
  }
}

#if defined(GLASSNET_CUDA)

// On the device; `rows` and `indices` as they are passed. Checks that nothing is written behind the
// result.
template <class T>
std::vector<T> on_device(const std::vector<Image>& pictures, const std::vector<int64_t>* rows,
                         const std::vector<int64_t>& indices, const AugmentOptions& options) {
  const int size = pictures[0].height;
  const size_t count = indices.size() * static_cast<size_t>(3 * size * size);
  constexpr size_t kBehind = 64;
  const T untouched = from_float<T>(77);
  const DeviceArray<uint8_t> bytes(bytes_of(pictures));
  const DeviceArray<int64_t> row_array(rows != nullptr ? *rows : std::vector<int64_t>{});
  const DeviceArray<int64_t> index_array(indices);
  const DeviceArray<kernels::ImageDraw> draw(std::vector<kernels::ImageDraw>{kDraw});
  const DeviceArray<T> y(std::vector<T>(count + kBehind, untouched));
  kernels::prepare_images(kernels::current_cuda(0),
                          {.pictures = bytes.get(),
                           .rows = rows != nullptr ? row_array.get() : nullptr,
                           .indices = index_array.get(),
                           .draw = draw.get(),
                           .n = static_cast<int64_t>(indices.size()),
                           .size = size},
                          y.get(), variation_of(options, size), scale_of({}));
  std::vector<T> values = y.host();
  for (size_t i = count; i < values.size(); ++i) EXPECT_EQ(to_float(values[i]), 77);
  values.resize(count);
  return values;
}

template <class T>
class DevicePrepareImages : public DeviceTest {
 protected:
  // Equal to the last bit: the host's floats, rounded once.
  void expect_equal(int size, const AugmentOptions& options, const std::string& what) {
    const std::vector<Image> pictures = noise_pictures(size);
    const std::vector<int64_t> all = {0, 1, 2, 3, 4};
    const std::vector<int64_t> five = {9, 8, 7, 6, 5};
    compare(on_device<T>(pictures, &kRows, kIndices, options),
            on_host(pictures, kRows, kIndices, kDraw, options), what);
    compare(on_device<T>(pictures, nullptr, five, options),
            on_host(pictures, all, five, kDraw, options), what + " without rows");
  }

 private:
  void compare(const std::vector<T>& got, const std::vector<float>& expected,
               const std::string& what) {
    ASSERT_EQ(got.size(), expected.size());
    size_t wrong = 0;
    for (size_t i = 0; i < got.size(); ++i) {
      wrong += to_float(got[i]) != to_float(from_float<T>(expected[i]));
    }
    EXPECT_EQ(wrong, 0U) << what;
  }
};
using ElementTypes = ::testing::Types<float, bfloat16, float16>;
TYPED_TEST_SUITE(DevicePrepareImages, ElementTypes);

TYPED_TEST(DevicePrepareImages, ShiftsFlipsAndNormalizesLikeTheHost) {
  // Of one tile of 256 pixels and of more; pictures that are whole vectors and others.
  for (const int size : {1, 2, 3, 4, 5, 8, 13, 16, 17, 31, 32, 37}) {
    for (const char* names : {"none", "flip", "shift", "flip,shift"}) {
      this->expect_equal(size, options_of(names), names + (" of " + std::to_string(size)));
    }
  }
}

// Without contrast nothing is summed, and so nothing differs.
TYPED_TEST(DevicePrepareImages, JittersLikeTheHost) {
  for (const int size : {1, 3, 16, 37}) {
    this->expect_equal(
        size, jitter_options({.brightness = 0.4, .contrast = 0, .saturation = 0.7, .hue = 0.5}),
        "jitter of " + std::to_string(size));
  }
}

class DevicePreparedImages : public DeviceTest {};

TEST_F(DevicePreparedImages, TurnContrastAboutTheirMean) {
  for (const ColorJitter colors :
       {ColorJitter{}, ColorJitter{.brightness = 0, .contrast = 0.9, .saturation = 0, .hue = 0},
        ColorJitter{.brightness = 2, .contrast = 2, .saturation = 2, .hue = 0.5}}) {
    const AugmentOptions options = jitter_options(colors);
    for (const int size : {1, 5, 16, 37}) {
      const std::vector<Image> pictures = noise_pictures(size);
      const std::vector<float> got = on_device<float>(pictures, &kRows, kIndices, options);
      const Difference apart = difference(got, on_host(pictures, kRows, kIndices, kDraw, options));
      EXPECT_LE(apart.levels, 1.01) << size;
      EXPECT_LE(apart.count, got.size() / 100) << size;
      EXPECT_EQ(got, on_device<float>(pictures, &kRows, kIndices, options));
    }
  }
}

// Shifts and flips of a noise picture show which numbers were drawn.
TEST_F(DevicePreparedImages, DrawTheHostsNumbers) {
  const AugmentOptions options = options_of("flip,shift");
  const std::vector<Image> pictures = noise_pictures(9);
  const std::vector<int64_t> rows(200, 2);
  std::vector<int64_t> indices;
  for (int64_t i = 0; i < 200; ++i) indices.push_back(i * i * i);
  EXPECT_EQ(on_device<float>(pictures, &rows, indices, options),
            on_host(pictures, rows, indices, kDraw, options));
}

// What a recorded graph reads from memory is what stands there when it is launched.
TEST_F(DevicePreparedImages, AreReplayedWithNewDraws) {
  constexpr int kSize = 12;
  const AugmentOptions options = options_of("flip,shift");
  const std::vector<Image> pictures = noise_pictures(kSize);
  const DeviceArray<uint8_t> bytes(bytes_of(pictures));
  const DeviceArray<int64_t> rows(kRows), indices(kIndices);
  const DeviceArray<kernels::ImageDraw> draw(std::vector<kernels::ImageDraw>{kDraw});
  const DeviceArray<float> y(kRows.size() * 3 * kSize * kSize);
  // The stream of the default kind cannot be captured.
  const kernels::CudaStream stream(0);
  const kernels::StreamScope scope(0, stream.get());
  kernels::CudaGraph graph;
  graph.capture(0, [&] {
    kernels::prepare_images(kernels::current_cuda(0),
                            {.pictures = bytes.get(),
                             .rows = rows.get(),
                             .indices = indices.get(),
                             .draw = draw.get(),
                             .n = static_cast<int64_t>(kRows.size()),
                             .size = kSize},
                            y.get(), variation_of(options, kSize), scale_of({}));
  });
  std::vector<int64_t> next = kIndices;
  for (uint64_t epoch = 0; epoch < 3; ++epoch) {
    kernels::ImageDraw from = kDraw;
    from.epoch = epoch;
    next[1] += 10;
    kernels::cuda_copy(kernels::current_cuda(0), draw.get(), &from, sizeof(from));
    kernels::cuda_copy(kernels::current_cuda(0), indices.get(), next.data(),
                       next.size() * sizeof(int64_t));
    graph.launch(kernels::current_cuda(0));
    EXPECT_EQ(y.host(), on_host(pictures, kRows, next, from, options));
  }
}

#endif

}  // namespace
}  // namespace glassnet
