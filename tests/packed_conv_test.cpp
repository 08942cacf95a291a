// Our own convolutions on the CPU against the float64 definition: from packed filters, direct and
// Winograd's, and the gradient of their weights. suites.cmake runs them a second time with the
// narrower instruction set.
#include <gtest/gtest.h>

#include <omp.h>

#include <cmath>
#include <limits>
#include <ostream>
#include <random>
#include <string>
#include <vector>

#include "kernels/conv2d.h"
#include "kernels/cpu/conv_tiles.h"
#include "kernels/cpu/packed_conv.h"
#include "kernels/cpu/weight_gradient.h"
#include "kernels/policy.h"

namespace glassnet::kernels {
namespace {

using packed::Form;

class Winograd {
 public:
  Winograd() : before_(allow_winograd()) { set_allow_winograd(true); }
  ~Winograd() { set_allow_winograd(before_); }
  Winograd(const Winograd&) = delete;
  Winograd& operator=(const Winograd&) = delete;

 private:
  bool before_;
};

std::vector<float> random_values(int64_t count, uint32_t seed) {
  std::mt19937 bits(seed);
  std::vector<float> values;
  for (int64_t i = 0; i < count; ++i) {
    values.push_back(static_cast<float>(bits() >> 8) * 0x1p-23F - 1);
  }
  return values;
}

std::vector<double> widened(const std::vector<float>& values) {
  return {values.begin(), values.end()};
}

// Largest difference over the largest true magnitude; a NaN is an infinite error.
double error_of(const std::vector<float>& actual, const std::vector<double>& truth) {
  double difference = 0, magnitude = 1e-30;
  for (size_t i = 0; i < actual.size(); ++i) {
    const double d = std::abs(actual[i] - truth[i]);
    difference = std::isnan(d) ? std::numeric_limits<double>::infinity() : std::max(difference, d);
    magnitude = std::max(magnitude, std::abs(truth[i]));
  }
  return difference / magnitude;
}

struct Case {
  const char* name;
  Conv2dShape shape;
};
std::ostream& operator<<(std::ostream& out, const Case& c) {
  return out << c.name;
}

struct Data {
  explicit Data(const Conv2dShape& o)
      : x(random_values(o.input_size(), 1)),
        w(random_values(o.weights_size(), 2)),
        bias(random_values(o.k, 3)),
        z(random_values(o.output_size(), 4)) {}

  std::vector<double> truth(bool with_z, bool relu, const Conv2dShape& o) const {
    std::vector<double> y(z.size());
    conv2d_bias_add_relu(Cpu{}, widened(x).data(), widened(w).data(), widened(bias).data(),
                         with_z ? widened(z).data() : nullptr, y.data(), relu, o);
    return y;
  }
  std::vector<float> computed(bool with_z, bool relu, const Conv2dShape& o) const {
    std::vector<float> y(z.size(), -77);
    compute(with_z ? z.data() : nullptr, y, relu, o);
    return y;
  }
  std::vector<float> computed_over_z(bool relu, const Conv2dShape& o) const {
    std::vector<float> y = z;
    compute(y.data(), y, relu, o);
    return y;
  }
  void compute(const float* residual, std::vector<float>& y, bool relu,
               const Conv2dShape& o) const {
    std::vector<float> filters(static_cast<size_t>(conv2d_packed_size(Cpu{}, o)), -77);
    conv2d_pack(Cpu{}, w.data(), filters.data(), o);
    conv2d_packed_bias_add_relu(Cpu{}, x.data(), filters.data(), bias.data(), residual, y.data(),
                                relu, o);
  }

  std::vector<float> x, w, bias, z;
};

class PackedConv2dTest : public ::testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    if (packed::form_of(o_) == Form::kNone) GTEST_SKIP() << "no AVX2 here";
  }
  // The same with 1 and 3 threads as with the usual number, to the bit.
  void expect_truth(double gate) const {
    const Data data(o_);
    for (const bool with_z : {false, true}) {
      for (const bool relu : {false, true}) {
        const std::vector<float> y = data.computed(with_z, relu, o_);
        EXPECT_LT(error_of(y, data.truth(with_z, relu, o_)), gate) << with_z << relu;
        if (with_z) {
          EXPECT_EQ(data.computed_over_z(relu, o_), y);
        }
        const int before = omp_get_max_threads();
        for (const int threads : {1, 3}) {
          omp_set_num_threads(threads);
          EXPECT_EQ(data.computed(with_z, relu, o_), y) << threads << " threads";
        }
        omp_set_num_threads(before);
      }
    }
  }
  void expect_true_gradient(double gate) const {
    const int64_t size = conv2d_gradient_packed_size(Cpu{}, o_);
    if (size == 0) GTEST_SKIP() << "a library's";
    const Data data(o_);
    std::vector<float> filters(static_cast<size_t>(size), -77), dx(data.x.size(), -77);
    conv2d_gradient_pack(Cpu{}, data.w.data(), filters.data(), o_);
    conv2d_packed_backward_data(Cpu{}, data.z.data(), filters.data(), nullptr, dx.data(), o_);
    std::vector<double> truth(dx.size());
    conv2d_backward_data(Cpu{}, widened(data.z).data(), widened(data.w).data(), truth.data(), o_);
    EXPECT_LT(error_of(dx, truth), gate);
    if (o_.stride_h > 1 || o_.stride_w > 1) return;
    for (size_t i = 0; i < dx.size(); ++i) truth[i] += data.x[i];
    std::vector<float> sum = data.x, again(dx.size(), -77);
    conv2d_packed_backward_data(Cpu{}, data.z.data(), filters.data(), sum.data(), sum.data(), o_);
    EXPECT_LT(error_of(sum, truth), gate) << "in place";
    conv2d_add_backward_data(Cpu{}, data.z.data(), data.w.data(), data.x.data(), again.data(), o_);
    EXPECT_LT(error_of(again, truth), gate);
  }
  const Conv2dShape o_ = GetParam().shape;
};

TEST_P(PackedConv2dTest, MatchesTheDefinition) {
  expect_truth(2e-6);
}

TEST_P(PackedConv2dTest, TheGradientToo) {
  expect_true_gradient(2e-6);
}

INSTANTIATE_TEST_SUITE_P(
    Shapes, PackedConv2dTest,
    ::testing::Values(Case{"stem", {3, 30, 26, 3, 64, 7, 7, 2, 2, 3, 3}},
                      Case{"stem_of_few_filters", {2, 9, 11, 3, 20, 3, 3, 1, 1, 1, 1}},
                      Case{"stem_without_padding", {1, 9, 11, 1, 64, 5, 3}},
                      Case{"stem_padded_sideways", {2, 9, 12, 3, 24, 3, 5, 1, 2, 0, 3}},
                      Case{"one_channel", {2, 9, 7, 1, 40, 3, 1}},
                      Case{"two_channels", {2, 9, 7, 2, 40, 1, 1}},
                      Case{"one_pixel", {1, 1, 1, 64, 64, 1, 1}},
                      Case{"seven_pixels", {7, 1, 1, 17, 65, 1, 1}},
                      Case{"pointwise", {2, 13, 9, 64, 96, 1, 1}},
                      Case{"pointwise_stride", {2, 15, 14, 32, 64, 1, 1, 2, 2}},
                      Case{"pointwise_large", {1, 5, 5, 1024, 320, 1, 1}},
                      Case{"usual", {2, 14, 14, 32, 64, 3, 3, 1, 1, 1, 1}},
                      Case{"usual_stride", {2, 15, 13, 64, 64, 3, 3, 2, 2, 1, 1}},
                      Case{"filters_beyond_the_cache", {2, 9, 7, 256, 320, 3, 3, 1, 1, 1, 1}},
                      Case{"more_filters_than_pixels", {1, 7, 7, 32, 160, 3, 3, 1, 1, 1, 1}},
                      Case{"filters_of_uneven_shares", {1, 5, 5, 130, 330, 3, 3, 1, 1, 1, 1}},
                      Case{"odd_channels", {2, 11, 7, 19, 33, 3, 3, 1, 1, 1, 1}},
                      Case{"even_filter_stride", {2, 13, 12, 24, 16, 4, 4, 2, 2, 1, 1}},
                      Case{"stride_of_three", {2, 17, 13, 16, 48, 3, 5, 3, 3, 2, 1}},
                      Case{"stride_beyond_the_filter", {2, 11, 12, 16, 32, 1, 2, 3, 4}},
                      Case{"stride_beyond_the_image", {1, 2, 3, 16, 16, 3, 3, 4, 4, 2, 2}},
                      Case{"stride_of_one_axis", {1, 9, 10, 32, 16, 3, 3, 2, 1, 1, 0}},
                      Case{"asymmetric", {2, 12, 17, 16, 24, 3, 2, 2, 1, 0, 1, 1, 2}},
                      Case{"dilated", {2, 15, 15, 16, 16, 3, 3, 1, 1, 2, 2, 2, 2}},
                      Case{"wide_padding", {1, 5, 5, 16, 24, 5, 5, 1, 1, 4, 4}},
                      Case{"padding_beyond_the_filter", {1, 5, 6, 16, 24, 3, 3, 1, 1, 3, 4}},
                      Case{"edges_of_many_images", {24, 5, 5, 32, 70, 3, 3, 1, 1, 1, 1}},
                      Case{"edges_of_a_stride", {16, 10, 9, 32, 64, 3, 3, 2, 2, 1, 1}},
                      Case{"edges_of_a_large_filter", {12, 9, 8, 16, 64, 7, 5, 1, 1, 3, 2}},
                      Case{"edges_of_a_dilated_filter", {20, 6, 7, 16, 32, 3, 3, 1, 1, 2, 2, 2, 2}},
                      Case{"edges_that_see_nothing", {40, 3, 2, 16, 64, 3, 3, 1, 1, 4, 5}},
                      Case{"pointwise_padded", {1, 6, 5, 16, 16, 1, 1, 1, 1, 1, 1}}),
    [](const auto& row) { return std::string(row.param.name); });

class WinogradConv2dTest : public PackedConv2dTest {
 private:
  const Winograd allowed_;
};

TEST_P(WinogradConv2dTest, StaysWithinItsError) {
  ASSERT_EQ(packed::form_of(o_), Form::kWinograd);
  ASSERT_GT(conv2d_packed_size(Cpu{}, o_), o_.k * 9 * o_.c);
  expect_truth(2e-5);
}

TEST_P(WinogradConv2dTest, TheGradientToo) {
  expect_true_gradient(2e-5);
}

INSTANTIATE_TEST_SUITE_P(
    Shapes, WinogradConv2dTest,
    ::testing::Values(Case{"whole_tiles", {2, 16, 16, 32, 48, 3, 3, 1, 1, 1, 1}},
                      Case{"odd_sides", {5, 19, 10, 64, 64, 3, 3, 1, 1, 1, 1}},
                      Case{"no_padding", {2, 17, 18, 16, 16, 3, 3}},
                      Case{"many_filters", {3, 10, 14, 256, 128, 3, 3, 1, 1, 1, 1}},
                      Case{"padded_by_two", {2, 14, 13, 16, 80, 3, 3, 1, 1, 2, 2}}),
    [](const auto& row) { return std::string(row.param.name); });

TEST(PackedConv2d, WinogradIsForMany3x3PixelsAndOnlyOnRequest) {
  const Conv2dShape o = {2, 16, 16, 32, 48, 3, 3, 1, 1, 1, 1};
  EXPECT_NE(packed::form_of(o), Form::kWinograd);
  const Winograd allowed;
  const auto refused = [&](auto change) {
    Conv2dShape other = o;
    change(other);
    return packed::form_of(other) != Form::kWinograd;
  };
  EXPECT_TRUE(refused([](Conv2dShape& s) { s.stride_h = s.stride_w = 2; }));
  EXPECT_TRUE(refused([](Conv2dShape& s) { s.dilation_h = s.dilation_w = 2; }));
  EXPECT_TRUE(refused([](Conv2dShape& s) { s.r = s.s = 5; }));
  EXPECT_TRUE(refused([](Conv2dShape& s) { s.c = 24; }));
  EXPECT_TRUE(refused([](Conv2dShape& s) { s.k = 24; }));
  EXPECT_TRUE(refused([](Conv2dShape& s) { s.groups = 2; }));
  EXPECT_TRUE(refused([](Conv2dShape& s) { s.n = 40, s.h = s.w = 5; }));  // mostly beyond the image
}

TEST(PackedConv2d, NoChannelsAreNotForUs) {
  EXPECT_EQ(packed::form_of({1, 4, 4, 0, 16, 3, 3, 1, 1, 1, 1}), Form::kNone);
}

// Every number of rows and of columns that a tile can have, and every remainder of its loops, on
// whole numbers, whose sums are exact.
TEST(PackedConv2d, EveryTileIsExact) {
  if (packed::form_of({1, 1, 1, 1, 1, 1, 1}) == Form::kNone) GTEST_SKIP() << "no AVX2 here";
  for (int64_t pixels = 1; pixels <= 7; ++pixels) {
    for (int64_t filters = 1; filters <= 66; filters += filters % 8 < 2 ? 1 : 3) {
      for (const int64_t channels : {1, 2, 3, 4, 5, 18}) {
        const Conv2dShape o = {1, 1, pixels, channels, filters, 1, 1};
        Data data(o);
        for (std::vector<float>* values : {&data.x, &data.w, &data.bias, &data.z}) {
          for (float& value : *values) value = std::round(8 * value);
        }
        for (const bool with_z : {false, true}) {
          EXPECT_EQ(widened(data.computed(with_z, with_z, o)), data.truth(with_z, with_z, o))
              << pixels << " pixels, " << filters << " filters, " << channels << " channels";
        }
      }
    }
  }
}

// An image's numbers do not depend on the images beside it, whatever a thread's share of them.
TEST(PackedConv2d, AnImageIsTheSameInEveryBatch) {
  const Conv2dShape many = {5, 7, 7, 48, 144, 3, 3, 1, 1, 1, 1};
  if (packed::form_of(many) == Form::kNone) GTEST_SKIP() << "no AVX2 here";
  const Data data(many);
  const std::vector<float> y = data.computed(true, true, many);
  Conv2dShape one = many;
  one.n = 1;
  for (int64_t image = 0; image < many.n; ++image) {
    const auto of_image = [&](const std::vector<float>& all, int64_t size) {
      return std::vector<float>(all.begin() + image * size, all.begin() + (image + 1) * size);
    };
    Data part = data;
    part.x = of_image(data.x, one.input_size());
    part.z = of_image(data.z, one.output_size());
    EXPECT_EQ(part.computed(true, true, one), of_image(y, one.output_size())) << "image " << image;
  }
}

TEST(PackedConv2d, NanPassesTheReluAndStaysWhereItIs) {
  const Conv2dShape o = {1, 20, 20, 16, 16, 3, 3, 1, 1, 1, 1};
  Data data(o);
  data.x[(10 * 20 + 10) * 16 + 3] = std::numeric_limits<float>::quiet_NaN();
  if (packed::form_of(o) == Form::kNone) GTEST_SKIP() << "no AVX2 here";
  const std::vector<float> y = data.computed(true, true, o);
  for (int64_t i = 0; i < 400; ++i) {
    const bool near = std::abs(i / 20 - 10) <= 1 && std::abs(i % 20 - 10) <= 1;
    EXPECT_EQ(std::isnan(y[i * 16]), near) << "pixel " << i;
  }
}

std::vector<float> weight_gradient_of(const Data& data, const Conv2dShape& o) {
  std::vector<float> dw(data.w.size(), -77);
  weight_gradient::run(data.z.data(), data.x.data(), dw.data(), o);
  return dw;
}
std::vector<double> true_weight_gradient(const Data& data, const Conv2dShape& o) {
  std::vector<double> dw(data.w.size());
  conv2d_backward_weight(Cpu{}, widened(data.z).data(), widened(data.x).data(), dw.data(), nullptr,
                         o);
  return dw;
}

class WeightGradientTest : public PackedConv2dTest {};

TEST_P(WeightGradientTest, MatchesTheDefinition) {
  ASSERT_TRUE(weight_gradient::is_possible(o_));
  const Data data(o_);
  const std::vector<float> dw = weight_gradient_of(data, o_);
  EXPECT_LT(error_of(dw, true_weight_gradient(data, o_)), 5e-6);
  const int before = omp_get_max_threads();
  for (const int threads : {1, 3, 8}) {
    omp_set_num_threads(threads);
    EXPECT_EQ(weight_gradient_of(data, o_), dw) << threads << " threads";
  }
  omp_set_num_threads(before);
}

INSTANTIATE_TEST_SUITE_P(
    Shapes, WeightGradientTest,
    ::testing::Values(Case{"pointwise", {2, 13, 9, 64, 96, 1, 1}},
                      Case{"pointwise_stride", {3, 15, 14, 32, 65, 1, 1, 2, 2}},
                      Case{"images_together", {45, 5, 5, 64, 48, 3, 3, 1, 1, 1, 1}},
                      Case{"rows_of_an_image", {2, 41, 37, 16, 24, 3, 3, 1, 1, 1, 1}},
                      Case{"a_row_at_a_time", {1, 3, 700, 16, 16, 1, 3, 1, 1, 0, 1}},
                      Case{"one_pixel", {1, 1, 1, 64, 64, 1, 1}},
                      Case{"odd_channels", {2, 11, 7, 19, 33, 3, 3, 1, 1, 1, 1}},
                      Case{"two_blocks_and_a_bit", {2, 9, 7, 130, 70, 3, 3, 2, 2, 1, 1}},
                      Case{"stride_beyond_the_filter", {2, 11, 12, 16, 32, 1, 2, 3, 4}},
                      Case{"asymmetric", {2, 12, 17, 16, 24, 3, 2, 2, 1, 0, 1, 1, 2}},
                      Case{"dilated", {2, 15, 15, 16, 16, 3, 3, 2, 1, 2, 2, 2, 2}},
                      Case{"padding_beyond_the_image", {1, 2, 3, 16, 16, 3, 3, 1, 1, 4, 4}}),
    [](const auto& row) { return std::string(row.param.name); });

// Strips of four to six rows, and columns around the ends of vectors, on whole numbers, whose sums
// are exact.
TEST(WeightGradient, TilesAreExact) {
  if (!weight_gradient::is_possible({1, 1, 1, 16, 16, 1, 1})) GTEST_SKIP() << "no AVX2 here";
  for (const int64_t pixels : {1, 2, 3, 4, 5, 18}) {
    for (int64_t filters = 16; filters <= 24; ++filters) {
      for (int64_t channels = 16; channels <= 80; channels += channels % 16 < 2 ? 1 : 7) {
        const Conv2dShape o = {1, 1, pixels, channels, filters, 1, 1};
        Data data(o);
        for (std::vector<float>* values : {&data.x, &data.z}) {
          for (float& value : *values) value = std::round(8 * value);
        }
        EXPECT_EQ(widened(weight_gradient_of(data, o)), true_weight_gradient(data, o))
            << pixels << " pixels, " << filters << " filters, " << channels << " channels";
      }
    }
  }
}

TEST(WeightGradient, IsForStridesAndSmallImagesWhereALibraryIsQuickOtherwise) {
  EXPECT_FALSE(weight_gradient::is_possible({1, 4, 4, 3, 64, 3, 3}));
  EXPECT_FALSE(weight_gradient::is_possible({1, 4, 4, 64, 3, 3, 3}));
  if (conv_tiles() == nullptr) GTEST_SKIP() << "no AVX2 here";
  EXPECT_TRUE(weight_gradient::is_quicker({32, 19, 19, 256, 256, 3, 3, 2, 2, 1, 1}));
  EXPECT_FALSE(weight_gradient::is_quicker({32, 38, 38, 256, 512, 1, 1, 2, 2}));
  const bool wide = conv_tiles()->lanes == 16;
  EXPECT_EQ(weight_gradient::is_quicker({32, 38, 38, 64, 256, 1, 1}), wide);
  EXPECT_EQ(weight_gradient::is_quicker({32, 5, 5, 512, 512, 3, 3, 1, 1, 1, 1}), wide);
  EXPECT_FALSE(weight_gradient::is_quicker({32, 38, 38, 256, 64, 1, 1}));
  EXPECT_FALSE(weight_gradient::is_quicker({32, 8, 8, 64, 64, 3, 3, 1, 1, 1, 1}));
  EXPECT_FALSE(weight_gradient::is_quicker({32, 19, 19, 128, 128, 3, 3, 1, 1, 1, 1}));
}

}  // namespace
}  // namespace glassnet::kernels
