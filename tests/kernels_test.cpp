// The float32 CPU kernels against the definitions (which are what the float64 overloads run on),
// over tables of odd shapes; that results repeat bit by bit, whatever the number of threads; and
// the rules of the contracts that a random comparison would not meet.
#include <gtest/gtest.h>
#include <omp.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <ostream>
#include <random>
#include <string>
#include <vector>

#include "kernels/batch_norm.h"
#include "kernels/conv2d.h"
#include "kernels/copy.h"
#include "kernels/elementwise.h"
#include "kernels/error.h"
#include "kernels/flush_denormals.h"
#include "kernels/matmul.h"
#include "kernels/pool.h"
#include "kernels/reduce.h"
#include "kernels/resize.h"
#include "kernels/softmax.h"

namespace glassnet::kernels {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

// ---- Helpers ------------------------------------------------------------------------------------

// `count` values around `mean`, the same on every machine.
std::vector<float> random_values(int64_t count, uint32_t seed, float mean = 0, float spread = 1) {
  std::mt19937 bits(seed);
  std::vector<float> values(static_cast<size_t>(count));
  for (float& v : values) {
    v = mean + spread * (static_cast<float>(bits() >> 8) * 0x1p-23f - 1) * 1.7320508f;
  }
  return values;
}

std::vector<double> widened(const std::vector<float>& values) {
  return {values.begin(), values.end()};
}

// Space for a result, full of a value that no kernel may leave behind.
template <class T>
std::vector<T> space(int64_t count) {
  return std::vector<T>(static_cast<size_t>(count), static_cast<T>(-77));
}

// Largest difference over the largest true magnitude.
double error_of(const std::vector<float>& actual, const std::vector<double>& truth) {
  EXPECT_EQ(actual.size(), truth.size());
  double difference = 0, magnitude = 1e-30;
  for (size_t i = 0; i < actual.size(); ++i) {
    const double d = std::abs(static_cast<double>(actual[i]) - truth[i]);
    // A NaN on either side is an infinite error.
    difference = std::isnan(d) ? std::numeric_limits<double>::infinity() : std::max(difference, d);
    magnitude = std::max(magnitude, std::abs(truth[i]));
  }
  return difference / magnitude;
}

template <class T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
  if (a.size() != b.size()) return false;
  return a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0;
}

class Threads {
 public:
  explicit Threads(int count) : former_(omp_get_max_threads()) { omp_set_num_threads(count); }
  ~Threads() { omp_set_num_threads(former_); }
  Threads(const Threads&) = delete;
  Threads& operator=(const Threads&) = delete;

 private:
  int former_;
};

using Run = std::function<std::vector<float>()>;

// The same bits from run to run and for any number of threads.
void expect_repeatable(const Run& run) {
  const auto with = [&](int count) {
    const Threads threads(count);
    return run();
  };
  const std::vector<float> two = with(2);
  EXPECT_TRUE(same_bits(two, with(2))) << "two runs differ";
  EXPECT_TRUE(same_bits(two, with(1))) << "one thread and two differ";
  EXPECT_TRUE(same_bits(two, with(3))) << "three threads and two differ";
}

std::vector<float> joined(std::initializer_list<std::vector<float>> parts) {
  std::vector<float> all;
  for (const auto& part : parts) all.insert(all.end(), part.begin(), part.end());
  return all;
}

// ---- conv2d -------------------------------------------------------------------------------------

template <class T>
struct ConvResults {
  std::vector<T> y, y_without_bias, dx, dw, dbias;
};

template <class T>
ConvResults<T> convolve(const std::vector<T>& x, const std::vector<T>& w,
                        const std::vector<T>& bias, const std::vector<T>& dy,
                        const Conv2dShape& o) {
  ConvResults<T> result = {space<T>(o.output_size()), space<T>(o.output_size()),
                           space<T>(o.input_size()), space<T>(o.weights_size()), space<T>(o.k)};
  conv2d_forward(Cpu{}, x.data(), w.data(), bias.data(), result.y.data(), o);
  const T* no_bias = nullptr;
  conv2d_forward(Cpu{}, x.data(), w.data(), no_bias, result.y_without_bias.data(), o);
  conv2d_backward_data(Cpu{}, dy.data(), w.data(), result.dx.data(), o);
  conv2d_backward_weight(Cpu{}, dy.data(), x.data(), result.dw.data(), result.dbias.data(), o);
  return result;
}

struct ConvCase {
  const char* name;
  Conv2dShape shape;
};
std::ostream& operator<<(std::ostream& out, const ConvCase& c) {
  return out << c.name;
}

class Conv2dTest : public ::testing::TestWithParam<ConvCase> {
 protected:
  void SetUp() override {
    x_ = random_values(shape_.input_size(), 1);
    w_ = random_values(shape_.weights_size(), 2);
    bias_ = random_values(shape_.k, 3);
    dy_ = random_values(shape_.output_size(), 4);
  }
  const Conv2dShape shape_ = GetParam().shape;
  std::vector<float> x_, w_, bias_, dy_;
};

TEST_P(Conv2dTest, MatchesTheDefinition) {
  const auto got = convolve(x_, w_, bias_, dy_, shape_);
  const auto truth = convolve(widened(x_), widened(w_), widened(bias_), widened(dy_), shape_);
  EXPECT_LT(error_of(got.y, truth.y), 2e-6);
  EXPECT_LT(error_of(got.y_without_bias, truth.y_without_bias), 2e-6);
  EXPECT_LT(error_of(got.dx, truth.dx), 2e-6);
  EXPECT_LT(error_of(got.dw, truth.dw), 2e-6);
  EXPECT_LT(error_of(got.dbias, truth.dbias), 2e-6);
}

TEST_P(Conv2dTest, RepeatsBitByBit) {
  for (const int count : {1, 2}) {
    const Threads threads(count);
    const auto a = convolve(x_, w_, bias_, dy_, shape_);
    const auto b = convolve(x_, w_, bias_, dy_, shape_);
    EXPECT_TRUE(same_bits(a.y, b.y)) << count << " threads";
    EXPECT_TRUE(same_bits(a.dx, b.dx)) << count << " threads";
    EXPECT_TRUE(same_bits(a.dw, b.dw)) << count << " threads";
    EXPECT_TRUE(same_bits(a.dbias, b.dbias)) << count << " threads";
  }
}

INSTANTIATE_TEST_SUITE_P(
    Shapes, Conv2dTest,
    ::testing::Values(ConvCase{"stem", {2, 30, 26, 3, 64, 7, 7, 2, 2, 3, 3}},
                      ConvCase{"stem_one_image", {1, 37, 41, 3, 16, 7, 7, 2, 2, 3, 3}},
                      ConvCase{"stem_3x3", {3, 32, 32, 3, 64, 3, 3, 1, 1, 1, 1}},
                      ConvCase{"one_channel", {2, 9, 8, 1, 5, 3, 3, 1, 1, 1, 1}},
                      ConvCase{"one_filter", {2, 9, 8, 17, 1, 3, 3, 1, 1, 1, 1}},
                      ConvCase{"one_pixel", {1, 1, 1, 5, 7, 1, 1}},
                      ConvCase{"one_row", {2, 1, 19, 17, 9, 1, 3, 1, 2, 0, 1}},
                      ConvCase{"odd_channels", {2, 11, 7, 5, 17, 3, 3, 1, 1, 1, 1}},
                      ConvCase{"usual_3x3", {2, 14, 14, 32, 48, 3, 3, 1, 1, 1, 1}},
                      ConvCase{"usual_stride", {2, 14, 14, 32, 48, 3, 3, 2, 2, 1, 1}},
                      ConvCase{"short_rows", {8, 7, 7, 64, 64, 3, 3, 1, 1, 1, 1}},
                      ConvCase{"short_rows_one_image", {1, 7, 7, 64, 64, 3, 3, 1, 1, 1, 1}},
                      ConvCase{"pointwise", {2, 13, 9, 64, 32, 1, 1}},
                      ConvCase{"pointwise_many_pixels", {2, 40, 40, 32, 64, 1, 1}},
                      ConvCase{"pointwise_stride", {2, 15, 14, 32, 64, 1, 1, 2, 2}},
                      ConvCase{"pointwise_stride_many_pixels", {2, 47, 48, 32, 64, 1, 1, 2, 2}},
                      ConvCase{"pointwise_many_filters", {4, 12, 12, 32, 1088, 1, 1}},
                      ConvCase{"pointwise_padded", {1, 6, 5, 16, 16, 1, 1, 1, 1, 1, 1}},
                      ConvCase{"all_asymmetric", {2, 12, 17, 16, 24, 3, 2, 2, 1, 0, 1, 1, 2}},
                      ConvCase{"stride_past_the_end", {2, 10, 10, 16, 16, 3, 3, 3, 3, 0, 0}},
                      ConvCase{"stride_over_filter", {2, 11, 11, 8, 8, 2, 2, 4, 3}},
                      ConvCase{"dilated", {2, 15, 15, 16, 16, 3, 3, 1, 1, 2, 2, 2, 2}},
                      ConvCase{"dilated_few_channels", {2, 15, 13, 3, 8, 3, 3, 2, 1, 2, 3, 2, 3}},
                      ConvCase{"wide_padding", {1, 5, 5, 3, 8, 5, 5, 1, 1, 4, 4}},
                      ConvCase{"groups", {2, 10, 9, 32, 64, 3, 3, 1, 1, 1, 1, 1, 1, 4}},
                      ConvCase{"groups_of_odd_size", {2, 10, 9, 15, 10, 3, 3, 2, 2, 1, 1, 1, 1, 5}},
                      ConvCase{"pointwise_groups", {2, 10, 9, 12, 18, 1, 1, 1, 1, 0, 0, 1, 1, 3}},
                      ConvCase{"depthwise", {2, 12, 12, 32, 32, 3, 3, 1, 1, 1, 1, 1, 1, 32}},
                      ConvCase{"depthwise_odd", {1, 9, 9, 7, 14, 3, 3, 2, 2, 1, 1, 1, 1, 7}}),
    [](const auto& row) { return std::string(row.param.name); });

TEST(Conv2d, EmptyBatchGivesZeroWeightGradients) {
  const Conv2dShape o = {0, 8, 8, 4, 6, 3, 3, 1, 1, 1, 1};
  const std::vector<float> w = random_values(o.weights_size(), 1);
  std::vector<float> dw = space<float>(o.weights_size()), dbias = space<float>(o.k), none(1);
  conv2d_forward(Cpu{}, none.data(), w.data(), nullptr, none.data(), o);
  conv2d_backward_data(Cpu{}, none.data(), w.data(), none.data(), o);
  conv2d_backward_weight(Cpu{}, none.data(), none.data(), dw.data(), dbias.data(), o);
  EXPECT_EQ(dw, std::vector<float>(dw.size(), 0.0f));
  EXPECT_EQ(dbias, std::vector<float>(dbias.size(), 0.0f));
}

// Every convolution of a residual network (He et al. 2016) for square images, in order.
std::vector<Conv2dShape> resnet_convolutions(bool bottleneck, const std::vector<int>& blocks,
                                             int64_t batch, int64_t size) {
  std::vector<Conv2dShape> convolutions;
  const auto add = [&](int64_t in, int64_t c, int64_t k, int64_t filter, int64_t stride) {
    convolutions.push_back(
        {batch, in, in, c, k, filter, filter, stride, stride, filter / 2, filter / 2});
    return convolutions.back().out_h();
  };
  int64_t pixels = add(size, 3, 64, 7, 2), channels = 64;
  pixels = (pixels + 2 - 3) / 2 + 1;  // max pooling, 3x3 with stride 2
  for (size_t stage = 0; stage < blocks.size(); ++stage) {
    const int64_t width = int64_t{64} << stage, out = bottleneck ? 4 * width : width;
    for (int block = 0; block < blocks[stage]; ++block) {
      const int64_t stride = stage > 0 && block == 0 ? 2 : 1;
      int64_t next = 0;
      if (bottleneck) {
        add(pixels, channels, width, 1, 1);
        next = add(pixels, width, width, 3, stride);
        add(next, width, out, 1, 1);
      } else {
        next = add(pixels, channels, width, 3, stride);
        add(next, width, width, 3, 1);
      }
      if (channels != out || stride != 1) add(pixels, channels, out, 1, stride);
      pixels = next;
      channels = out;
    }
  }
  return convolutions;
}

TEST(Conv2dImplementation, NeverAPlainLoopInAResNet) {
  ASSERT_EQ(resnet_convolutions(false, {2, 2, 2, 2}, 1, 224).size(), 20u);
  ASSERT_EQ(resnet_convolutions(true, {3, 4, 6, 3}, 1, 224).size(), 53u);
  for (const bool bottleneck : {false, true}) {
    for (const int64_t size : {150, 224}) {
      for (const int64_t batch : {1, 4, 32}) {
        const std::vector<int> blocks =
            bottleneck ? std::vector{3, 4, 6, 3} : std::vector{2, 2, 2, 2};
        for (const Conv2dShape& o : resnet_convolutions(bottleneck, blocks, batch, size)) {
          for (const auto pass :
               {Conv2dPass::kForward, Conv2dPass::kBackwardData, Conv2dPass::kBackwardWeight}) {
            const std::string name = conv2d_implementation(Cpu{}, pass, o);
            EXPECT_FALSE(name.empty());
            EXPECT_EQ(name.find("ref"), std::string::npos)
                << name << " for pass " << static_cast<int>(pass) << " of batch " << o.n << ", "
                << o.h << " pixels, " << o.c << " -> " << o.k << " channels, filter " << o.r;
          }
        }
      }
    }
  }
}

// ---- matmul -------------------------------------------------------------------------------------

TEST(Matmul, MatchesTheDefinition) {
  struct Size {
    int64_t m, n, k;
  };
  for (const Size size : {Size{1, 1, 1}, Size{1, 10, 512}, Size{7, 5, 3}, Size{32, 6, 2048},
                          Size{17, 33, 65}, Size{3, 2, 10007}, Size{64, 128, 32}, Size{4, 3, 0}}) {
    for (const bool transpose_a : {false, true}) {
      for (const bool transpose_b : {false, true}) {
        for (const bool with_bias : {false, true}) {
          const MatmulShape o = {size.m, size.n, size.k, transpose_a, transpose_b};
          const auto a = random_values(o.m * o.k, 1), b = random_values(o.k * o.n, 2),
                     bias = random_values(o.n, 3);
          auto c = space<float>(o.m * o.n);
          auto truth = space<double>(o.m * o.n);
          matmul(Cpu{}, a.data(), b.data(), with_bias ? bias.data() : nullptr, c.data(), o);
          matmul(Cpu{}, widened(a).data(), widened(b).data(),
                 with_bias ? widened(bias).data() : nullptr, truth.data(), o);
          EXPECT_LT(error_of(c, truth), 3e-6)
              << o.m << 'x' << o.n << 'x' << o.k << ' ' << transpose_a << transpose_b << with_bias;
        }
      }
    }
  }
}

TEST(Matmul, RepeatsBitByBit) {
  const MatmulShape o = {32, 100, 2048, false, true};
  const auto a = random_values(o.m * o.k, 1), b = random_values(o.k * o.n, 2);
  const auto run = [&] {
    auto c = space<float>(o.m * o.n);
    matmul(Cpu{}, a.data(), b.data(), nullptr, c.data(), o);
    return c;
  };
  const Threads threads(2);
  EXPECT_TRUE(same_bits(run(), run()));
}

// ---- batch_norm ---------------------------------------------------------------------------------

template <class T>
struct BatchNormResults {
  std::vector<T> y, mean, inv_std, running_mean, running_var, dx, dgamma, dbeta;
  std::vector<T> inference, inference_dx, inference_dgamma, inference_dbeta;
};

template <class T>
BatchNormResults<T> normalise(const std::vector<T>& x, const std::vector<T>& gamma,
                              const std::vector<T>& beta, const std::vector<T>& dy,
                              const BatchNormShape& o) {
  const int64_t all = o.rows * o.channels, c = o.channels;
  BatchNormResults<T> r;
  r.y = r.dx = r.inference = r.inference_dx = space<T>(all);
  r.mean = r.inv_std = r.dgamma = r.dbeta = space<T>(c);
  r.inference_dgamma = r.inference_dbeta = r.dgamma;
  r.running_mean = std::vector<T>(static_cast<size_t>(c), T(0.5));
  r.running_var = std::vector<T>(static_cast<size_t>(c), T(2));
  batch_norm_forward(Cpu{}, x.data(), gamma.data(), beta.data(), r.y.data(), r.mean.data(),
                     r.inv_std.data(), r.running_mean.data(), r.running_var.data(), 0.1, o);
  batch_norm_backward(Cpu{}, dy.data(), x.data(), gamma.data(), r.mean.data(), r.inv_std.data(),
                      r.dx.data(), r.dgamma.data(), r.dbeta.data(), o);
  batch_norm_inference(Cpu{}, x.data(), gamma.data(), beta.data(), r.running_mean.data(),
                       r.running_var.data(), r.inference.data(), o);
  batch_norm_inference_backward(Cpu{}, dy.data(), x.data(), gamma.data(), r.running_mean.data(),
                                r.running_var.data(), r.inference_dx.data(),
                                r.inference_dgamma.data(), r.inference_dbeta.data(), o);
  return r;
}

TEST(BatchNorm, MatchesTheDefinition) {
  for (const int64_t channels : {1, 3, 5, 8, 17, 64, 100, 257}) {
    for (const int64_t rows : {1, 2, 63, 64, 1001, 4999}) {
      const BatchNormShape o = {rows, channels};
      const auto x = random_values(rows * channels, 1, 0.7f, 2), gamma = random_values(channels, 2),
                 beta = random_values(channels, 3), dy = random_values(rows * channels, 4);
      const auto got = normalise(x, gamma, beta, dy, o);
      const auto truth = normalise(widened(x), widened(gamma), widened(beta), widened(dy), o);
      SCOPED_TRACE(std::to_string(rows) + " rows, " + std::to_string(channels) + " channels");
      EXPECT_LT(error_of(got.y, truth.y), 2e-6);
      EXPECT_LT(error_of(got.mean, truth.mean), 1e-6);
      EXPECT_LT(error_of(got.inv_std, truth.inv_std), 1e-6);
      EXPECT_LT(error_of(got.running_mean, truth.running_mean), 1e-6);
      EXPECT_LT(error_of(got.running_var, truth.running_var), 1e-6);
      EXPECT_LT(error_of(got.dgamma, truth.dgamma), 1e-5);
      EXPECT_LT(error_of(got.dbeta, truth.dbeta), 3e-6);
      EXPECT_LT(error_of(got.inference, truth.inference), 2e-6);
      EXPECT_LT(error_of(got.inference_dx, truth.inference_dx), 2e-6);
      EXPECT_LT(error_of(got.inference_dgamma, truth.inference_dgamma), 1e-5);
      EXPECT_LT(error_of(got.inference_dbeta, truth.inference_dbeta), 3e-6);
      // With one or two rows the true dx is 0 or nearly so: nothing to compare relative to.
      if (rows > 2) {
        EXPECT_LT(error_of(got.dx, truth.dx), 5e-6);
      }
    }
  }
}

TEST(BatchNorm, KeepsItsPrecisionFarFromZero) {
  for (const int64_t channels : {1, 3, 64}) {
    const BatchNormShape o = {20000, channels};
    const auto x = random_values(o.rows * channels, 1, 1000, 0.5f),
               gamma = random_values(channels, 2), beta = random_values(channels, 3);
    const auto got = normalise(x, gamma, beta, x, o);
    const auto truth = normalise(widened(x), widened(gamma), widened(beta), widened(x), o);
    EXPECT_LT(error_of(got.inv_std, truth.inv_std), 1e-6) << channels;
    EXPECT_LT(error_of(got.mean, truth.mean), 1e-7) << channels;
    EXPECT_LT(error_of(got.y, truth.y), 1e-6) << channels;
  }
}

TEST(BatchNorm, FindsTheStepBetweenTwoPlateaus) {
  // The first rows say nothing about the others: a shift taken from them alone would be far off.
  const BatchNormShape o = {8192, 4};
  std::vector<float> x(static_cast<size_t>(o.rows * o.channels));
  for (size_t i = 0; i < x.size(); ++i) {
    const auto row = static_cast<int64_t>(i) / o.channels;
    x[i] = row < 64 ? 0.0f : 500.0f + 0.25f * static_cast<float>(row % 7);
  }
  const std::vector<float> ones(4, 1), zeros(4, 0);
  const auto got = normalise(x, ones, zeros, x, o);
  const auto truth = normalise(widened(x), widened(ones), widened(zeros), widened(x), o);
  EXPECT_LT(error_of(got.inv_std, truth.inv_std), 2e-6);
  EXPECT_LT(error_of(got.mean, truth.mean), 1e-6);
}

TEST(BatchNorm, RepeatsBitByBit) {
  for (const int64_t channels : {3, 64}) {
    const BatchNormShape o = {30001, channels};
    const auto x = random_values(o.rows * channels, 1), gamma = random_values(channels, 2),
               beta = random_values(channels, 3), dy = random_values(o.rows * channels, 4);
    expect_repeatable([&] {
      const auto r = normalise(x, gamma, beta, dy, o);
      return joined({r.y, r.mean, r.inv_std, r.running_var, r.dx, r.dgamma, r.dbeta, r.inference,
                     r.inference_dx, r.inference_dgamma});
    });
  }
}

TEST(BatchNorm, GradientsThatAreNotAskedForMayBeNull) {
  const BatchNormShape o = {50, 5};
  const auto x = random_values(250, 1), gamma = random_values(5, 2), beta = random_values(5, 3),
             dy = random_values(250, 4);
  const auto all = normalise(x, gamma, beta, dy, o);
  std::vector<float> dx = space<float>(250), dgamma = space<float>(5), dbeta = space<float>(5);
  batch_norm_backward(Cpu{}, dy.data(), x.data(), gamma.data(), all.mean.data(), all.inv_std.data(),
                      dx.data(), nullptr, nullptr, o);
  batch_norm_backward(Cpu{}, dy.data(), x.data(), gamma.data(), all.mean.data(), all.inv_std.data(),
                      nullptr, dgamma.data(), nullptr, o);
  batch_norm_backward(Cpu{}, dy.data(), x.data(), gamma.data(), all.mean.data(), all.inv_std.data(),
                      nullptr, nullptr, dbeta.data(), o);
  EXPECT_TRUE(same_bits(dx, all.dx));
  EXPECT_TRUE(same_bits(dgamma, all.dgamma));
  EXPECT_TRUE(same_bits(dbeta, all.dbeta));
}

// ---- pool ---------------------------------------------------------------------------------------

template <class T>
struct PoolResults {
  std::vector<T> max, max_dx, average, average_dx;
  std::vector<uint8_t> index;
};

template <class T>
PoolResults<T> pool(const std::vector<T>& x, const std::vector<T>& dy, const Pool2dShape& o) {
  const auto in = static_cast<int64_t>(x.size()), out = static_cast<int64_t>(dy.size());
  PoolResults<T> r = {space<T>(out), space<T>(in), space<T>(out), space<T>(in),
                      space<uint8_t>(out)};
  max_pool2d_forward(Cpu{}, x.data(), r.max.data(), r.index.data(), o);
  max_pool2d_backward(Cpu{}, dy.data(), r.index.data(), r.max_dx.data(), o);
  avg_pool2d_forward(Cpu{}, x.data(), r.average.data(), o);
  avg_pool2d_backward(Cpu{}, dy.data(), r.average_dx.data(), o);
  return r;
}

const std::vector<Pool2dShape>& pool_shapes() {
  static const std::vector<Pool2dShape> shapes = {{2, 12, 14, 64, 3, 3, 2, 2, 1, 1},
                                                  {1, 7, 9, 3, 3, 3, 2, 2, 1, 1},
                                                  {3, 8, 8, 17, 2, 2, 2, 2},
                                                  {2, 9, 7, 5, 3, 2, 1, 2, 1, 0},
                                                  {2, 7, 7, 130, 7, 7},
                                                  {1, 16, 16, 1, 16, 16},
                                                  {2, 11, 11, 8, 2, 2, 4, 3},
                                                  {1, 5, 6, 70, 5, 3, 1, 1, 2, 1},
                                                  {4, 40, 40, 33, 3, 3, 2, 2, 1, 1}};
  return shapes;
}

TEST(Pool, MatchesTheDefinition) {
  for (const Pool2dShape& o : pool_shapes()) {
    SCOPED_TRACE(testing::Message()
                 << o.h << 'x' << o.w << 'x' << o.c << ", window " << o.r << 'x' << o.s);
    auto x = random_values(o.n * o.h * o.w * o.c, 1);
    // A coarse grid, so that windows hold equal maxima.
    for (float& v : x) v = std::round(4 * v) / 4;
    const auto dy = random_values(o.n * o.out_h() * o.out_w() * o.c, 2);
    const auto got = pool(x, dy, o);
    const auto truth = pool(widened(x), widened(dy), o);
    EXPECT_EQ(widened(got.max), truth.max);
    EXPECT_EQ(got.index, truth.index);
    EXPECT_LT(error_of(got.max_dx, truth.max_dx), 1e-6);
    EXPECT_LT(error_of(got.average, truth.average), 1e-6);
    EXPECT_LT(error_of(got.average_dx, truth.average_dx), 1e-6);
  }
}

TEST(Pool, RepeatsBitByBit) {
  const Pool2dShape& o = pool_shapes().back();
  const auto x = random_values(o.n * o.h * o.w * o.c, 1);
  const auto dy = random_values(o.n * o.out_h() * o.out_w() * o.c, 2);
  expect_repeatable([&] {
    const auto r = pool(x, dy, o);
    return joined({r.max, r.max_dx, r.average, r.average_dx});
  });
}

TEST(MaxPool, FirstOfEqualMaximaWinsAndPaddingNever) {
  const Pool2dShape o = {1, 3, 3, 1, 3, 3, 2, 2, 1, 1};
  const std::vector<float> x = {-5, -5, -9, -5, -5, -9, -9, -9, -9};
  std::vector<float> y(4);
  std::vector<uint8_t> index(4);
  max_pool2d_forward(Cpu{}, x.data(), y.data(), index.data(), o);
  EXPECT_EQ(y, (std::vector<float>{-5, -5, -5, -5}));
  // The places in the window of x(0,0), x(0,1), x(1,0) and x(1,1).
  EXPECT_EQ(index, (std::vector<uint8_t>{4, 3, 1, 0}));
}

TEST(MaxPool, NanWinsAndInfinityIsAValue) {
  const Pool2dShape o = {1, 1, 8, 1, 1, 4, 1, 4};
  const std::vector<float> x = {1,          kNan,       9,          kInfinity,
                                -kInfinity, -kInfinity, -kInfinity, -kInfinity};
  std::vector<float> y(2);
  std::vector<uint8_t> index(2);
  max_pool2d_forward(Cpu{}, x.data(), y.data(), index.data(), o);
  EXPECT_TRUE(std::isnan(y[0]));
  EXPECT_EQ(index[0], 1);
  EXPECT_EQ(y[1], -kInfinity);
  EXPECT_EQ(index[1], 0);
}

TEST(MaxPool, LargestWindowHasAPlaceForEveryTap) {
  const Pool2dShape o = {1, 16, 16, 2, 16, 16};
  std::vector<float> x(512, 0);
  x[510] = 1;  // the last tap of channel 0
  x[1] = 1;    // the first tap of channel 1
  std::vector<float> y(2), dx(512);
  std::vector<uint8_t> index(2);
  max_pool2d_forward(Cpu{}, x.data(), y.data(), index.data(), o);
  EXPECT_EQ(index, (std::vector<uint8_t>{255, 0}));
  const std::vector<float> dy = {3, 4};
  max_pool2d_backward(Cpu{}, dy.data(), index.data(), dx.data(), o);
  std::vector<float> expected(512, 0);
  expected[510] = 3;
  expected[1] = 4;
  EXPECT_EQ(dx, expected);
}

TEST(AvgPool, PaddingCountsAsZeros) {
  const Pool2dShape o = {1, 2, 2, 1, 2, 2, 2, 2, 1, 1};
  const std::vector<float> x = {4, 8, 12, 16};
  std::vector<float> y(4);
  avg_pool2d_forward(Cpu{}, x.data(), y.data(), o);
  EXPECT_EQ(y, (std::vector<float>{1, 2, 3, 4}));
}

// ---- softmax ------------------------------------------------------------------------------------

TEST(Softmax, MatchesTheDefinition) {
  for (const int64_t rows : {1, 3, 700}) {
    for (const int64_t classes : {1, 2, 6, 17, 1000}) {
      const SoftmaxShape o = {rows, classes};
      const auto x = random_values(rows * classes, 1, 30, 1), dy = random_values(rows * classes, 2);
      const auto wide_x = widened(x), wide_dy = widened(dy);
      auto y = space<float>(rows * classes), dx = y, log_y = y, log_dx = y;
      auto true_y = space<double>(rows * classes), true_dx = true_y, true_log_y = true_y,
           true_log_dx = true_y;
      softmax_forward(Cpu{}, x.data(), y.data(), o);
      softmax_forward(Cpu{}, wide_x.data(), true_y.data(), o);
      softmax_backward(Cpu{}, dy.data(), y.data(), dx.data(), o);
      softmax_backward(Cpu{}, wide_dy.data(), true_y.data(), true_dx.data(), o);
      log_softmax_forward(Cpu{}, x.data(), log_y.data(), o);
      log_softmax_forward(Cpu{}, wide_x.data(), true_log_y.data(), o);
      log_softmax_backward(Cpu{}, dy.data(), log_y.data(), log_dx.data(), o);
      log_softmax_backward(Cpu{}, wide_dy.data(), true_log_y.data(), true_log_dx.data(), o);
      SCOPED_TRACE(std::to_string(rows) + " rows, " + std::to_string(classes) + " classes");
      EXPECT_LT(error_of(y, true_y), 1e-6);
      EXPECT_LT(error_of(log_y, true_log_y), 1e-6);
      if (classes > 1) {  // the gradient of a constant is 0, to which nothing is relative
        EXPECT_LT(error_of(dx, true_dx), 3e-6);
        EXPECT_LT(error_of(log_dx, true_log_dx), 3e-6);
      }
    }
  }
}

TEST(Softmax, NeitherOverflowsNorVanishes) {
  const std::vector<float> x = {1e4f, 1e4f, -1e4f, -3e4f, -3e4f, -3e4f};
  std::vector<float> y(6), log_y(6);
  softmax_forward(Cpu{}, x.data(), y.data(), {2, 3});
  log_softmax_forward(Cpu{}, x.data(), log_y.data(), {2, 3});
  EXPECT_EQ(y[0], 0.5f);
  EXPECT_EQ(y[2], 0.0f);
  EXPECT_NEAR(y[3], 1.0f / 3, 1e-7);
  EXPECT_NEAR(log_y[0], -std::log(2.0f), 1e-7);
  EXPECT_FLOAT_EQ(log_y[2], -2e4f - std::log(2.0f));
}

TEST(CrossEntropy, MatchesTheDefinition) {
  for (const double smoothing : {0.0, 0.1}) {
    for (const int64_t rows : {1, 5, 900}) {
      for (const int64_t classes : {2, 6, 100}) {
        CrossEntropyShape o = {rows, classes};
        o.label_smoothing = smoothing;
        const auto x = random_values(rows * classes, 1, 5, 4);
        std::vector<int64_t> labels(static_cast<size_t>(rows));
        for (int64_t i = 0; i < rows; ++i) {
          labels[i] = i % 5 == 3 ? o.ignored_label : i * 7 % classes;
        }
        float loss = 0, loss_alone = 0;
        double truth = 0;
        auto dx = space<float>(rows * classes);
        auto true_dx = space<double>(rows * classes);
        cross_entropy(Cpu{}, x.data(), labels.data(), &loss, dx.data(), o);
        cross_entropy(Cpu{}, x.data(), labels.data(), &loss_alone, nullptr, o);
        cross_entropy(Cpu{}, widened(x).data(), labels.data(), &truth, true_dx.data(), o);
        EXPECT_NEAR(loss, truth, 1e-6 * truth);
        EXPECT_EQ(loss, loss_alone);
        EXPECT_LT(error_of(dx, true_dx), 1e-6);
      }
    }
  }
}

TEST(CrossEntropy, WithoutARowThatCountsIsNan) {
  const std::vector<float> x = {1, 2, 3, 4};
  const std::vector<int64_t> labels = {-100, -100};
  float loss = 0;
  std::vector<float> dx(4, 7);
  cross_entropy(Cpu{}, x.data(), labels.data(), &loss, dx.data(), {2, 2});
  EXPECT_TRUE(std::isnan(loss));
  EXPECT_EQ(dx, std::vector<float>(4, 0));
}

TEST(CrossEntropy, NamesALabelThatIsNoClass) {
  const std::vector<float> x = {1, 2, 3, 4};
  const std::vector<int64_t> labels = {0, 2};
  float loss = 0;
  try {
    cross_entropy(Cpu{}, x.data(), labels.data(), &loss, nullptr, {2, 2});
    FAIL() << "a label of 2 was taken with 2 classes";
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "[cross_entropy] expected labels from 0 to 1, got 2 in row 1");
  }
}

TEST(CrossEntropy, RepeatsBitByBit) {
  CrossEntropyShape o = {3000, 37};
  o.label_smoothing = 0.05;
  const auto x = random_values(o.rows * o.classes, 1);
  const std::vector<int64_t> labels(static_cast<size_t>(o.rows), 5);
  expect_repeatable([&] {
    float loss = 0;
    auto dx = space<float>(o.rows * o.classes);
    cross_entropy(Cpu{}, x.data(), labels.data(), &loss, dx.data(), o);
    dx.push_back(loss);
    return dx;
  });
}

// ---- reduce -------------------------------------------------------------------------------------

int64_t count_of(const std::vector<int64_t>& dims) {
  int64_t n = 1;
  for (const int64_t d : dims) n *= d;
  return n;
}

int64_t kept_count(const ReduceShape& shape) {
  int64_t n = 1;
  for (size_t i = 0; i < shape.dims.size(); ++i) n *= shape.reduced[i] ? 1 : shape.dims[i];
  return n;
}

const std::vector<ReduceShape>& reduce_shapes() {
  static const std::vector<ReduceShape> shapes = {
      {{}, {}},
      {{1}, {true}},
      {{100003}, {true}},
      {{5}, {false}},
      {{20001, 64}, {true, false}},
      {{20001, 3}, {true, false}},
      {{7, 5000}, {false, true}},
      {{700, 50}, {false, true}},
      {{2, 70001}, {true, false}},
      {{4, 49, 300}, {false, true, false}},
      {{4, 300, 49}, {true, false, true}},
      {{3, 1, 5, 7, 2}, {true, false, false, true, false}},
      {{2, 3, 4, 5, 6, 2}, {false, true, false, true, false, true}},
      {{6, 20000}, {false, true}},
      {{3, 5, 9001}, {true, false, true}},
      {{4, 0, 3}, {false, true, false}}};
  return shapes;
}

TEST(Reduce, MatchesTheDefinition) {
  for (const ReduceShape& shape : reduce_shapes()) {
    SCOPED_TRACE(testing::PrintToString(shape.dims) + testing::PrintToString(shape.reduced));
    const int64_t in = count_of(shape.dims), out = kept_count(shape);
    const auto x = random_values(in, 1), dy = random_values(out, 2);
    auto y = space<float>(out), dx = space<float>(in);
    auto true_y = space<double>(out), true_dx = space<double>(in);
    sum(Cpu{}, x.data(), y.data(), 0.25, shape);
    sum(Cpu{}, widened(x).data(), true_y.data(), 0.25, shape);
    sum_backward(Cpu{}, dy.data(), dx.data(), 0.25, shape);
    sum_backward(Cpu{}, widened(dy).data(), true_dx.data(), 0.25, shape);
    EXPECT_LT(error_of(y, true_y), 1e-6);
    EXPECT_LT(error_of(dx, true_dx), 1e-6);
  }
}

TEST(Reduce, RepeatsBitByBit) {
  for (const ReduceShape& shape : reduce_shapes()) {
    const auto x = random_values(count_of(shape.dims), 1);
    expect_repeatable([&] {
      auto y = space<float>(kept_count(shape));
      sum(Cpu{}, x.data(), y.data(), 1, shape);
      return y;
    });
  }
}

// ---- resize -------------------------------------------------------------------------------------

TEST(Resize, MatchesTheDefinition) {
  for (const ResizeShape& o : {ResizeShape{2, 7, 7, 1, 224, 224}, ResizeShape{1, 10, 13, 3, 5, 20},
                               ResizeShape{3, 1, 1, 5, 4, 3}, ResizeShape{2, 9, 8, 17, 9, 8},
                               ResizeShape{1, 5, 6, 4, 1, 1}, ResizeShape{1, 40, 30, 3, 7, 11}}) {
    const auto x = random_values(o.n * o.h * o.w * o.c, 1),
               dy = random_values(o.n * o.out_h * o.out_w * o.c, 2);
    auto y = space<float>(static_cast<int64_t>(dy.size()));
    auto dx = space<float>(static_cast<int64_t>(x.size()));
    auto true_y = space<double>(static_cast<int64_t>(dy.size()));
    auto true_dx = space<double>(static_cast<int64_t>(x.size()));
    resize_bilinear_forward(Cpu{}, x.data(), y.data(), o);
    resize_bilinear_forward(Cpu{}, widened(x).data(), true_y.data(), o);
    resize_bilinear_backward(Cpu{}, dy.data(), dx.data(), o);
    resize_bilinear_backward(Cpu{}, widened(dy).data(), true_dx.data(), o);
    EXPECT_LT(error_of(y, true_y), 1e-6) << o.h << " -> " << o.out_h;
    EXPECT_LT(error_of(dx, true_dx), 3e-6) << o.h << " -> " << o.out_h;
  }
}

TEST(Resize, PixelCentresAreAtHalves) {
  const std::vector<float> x = {0, 1};
  std::vector<float> y(4);
  resize_bilinear_forward(Cpu{}, x.data(), y.data(), {1, 1, 2, 1, 1, 4});
  EXPECT_EQ(y, (std::vector<float>{0, 0.25f, 0.75f, 1}));
}

TEST(Resize, RepeatsBitByBit) {
  const ResizeShape o = {2, 14, 14, 33, 50, 60};
  const auto x = random_values(o.n * o.h * o.w * o.c, 1),
             dy = random_values(o.n * o.out_h * o.out_w * o.c, 2);
  expect_repeatable([&] {
    auto y = space<float>(static_cast<int64_t>(dy.size()));
    auto dx = space<float>(static_cast<int64_t>(x.size()));
    resize_bilinear_forward(Cpu{}, x.data(), y.data(), o);
    resize_bilinear_backward(Cpu{}, dy.data(), dx.data(), o);
    return joined({y, dx});
  });
}

// ---- elementwise --------------------------------------------------------------------------------

// Value and derivative of a functor over sizes around the vector length and the parallel limit.
template <class F>
void expect_unary(F f, float mean, float spread) {
  for (const int64_t count : {1, 15, 16, 17, 1000, 100003}) {
    const auto x = random_values(count, 1, mean, spread), dy = random_values(count, 2);
    auto y = space<float>(count), dx = space<float>(count);
    unary(Cpu{}, f, x.data(), y.data(), count);
    unary_backward(Cpu{}, f, F::kUsesX ? x.data() : nullptr, F::kUsesY ? y.data() : nullptr,
                   dy.data(), dx.data(), count);
    double worst = 0;
    for (int64_t i = 0; i < count; ++i) {
      const double value = f.value(static_cast<double>(x[i]));
      const double derivative = f.vjp(static_cast<double>(x[i]), value, static_cast<double>(dy[i]));
      worst = std::max({worst, std::abs(y[i] - value) / (1 + std::abs(value)),
                        std::abs(dx[i] - derivative) / (1 + std::abs(derivative))});
    }
    EXPECT_LT(worst, 2e-6) << count;
  }
}

TEST(Elementwise, UnaryMatchesTheFunctor) {
  expect_unary(Relu{}, 0, 1);
  expect_unary(Exp{}, 0, 1);
  expect_unary(Log{}, 3, 1);
  expect_unary(Sqrt{}, 3, 1);
  expect_unary(Square{}, 0, 1);
  expect_unary(Abs{}, 0, 1);
  expect_unary(Sigmoid{}, 0, 3);
  expect_unary(Tanh{}, 0, 2);
  expect_unary(Affine{2.5, -0.75}, 0, 1);
}

TEST(Elementwise, ReluPassesNanAndItsDerivativeAtZeroIsZero) {
  const std::vector<float> x = {-1, 0, 2, kNan, kInfinity, -kInfinity}, dy(6, 3);
  std::vector<float> y(6), dx(6);
  unary(Cpu{}, Relu{}, x.data(), y.data(), 6);
  unary_backward<Relu, float>(Cpu{}, Relu{}, nullptr, y.data(), dy.data(), dx.data(), 6);
  EXPECT_TRUE(std::isnan(y[3]));
  EXPECT_EQ(y[0], 0);
  EXPECT_EQ(y[4], kInfinity);
  EXPECT_EQ(y[5], 0);
  EXPECT_EQ(dx, (std::vector<float>{0, 0, 3, 3, 3, 0}));
}

TEST(Elementwise, BinaryBroadcasts) {
  struct Case {
    BroadcastShape shape;
    int64_t size_a, size_b;
  };
  const std::vector<Case> cases = {
      {{{}, {}, {}}, 1, 1},
      {{{50000}, {1}, {1}}, 50000, 50000},
      {{{50000}, {1}, {0}}, 50000, 1},
      {{{50000}, {0}, {1}}, 1, 50000},
      {{{700, 64}, {64, 1}, {0, 1}}, 44800, 64},               // a bias
      {{{700, 3}, {0, 1}, {3, 1}}, 3, 2100},                   // a short bias, first
      {{{4, 90, 40}, {3600, 40, 1}, {90, 1, 0}}, 14400, 360},  // a mask over pixels
      {{{4, 90, 40}, {3600, 40, 1}, {40, 0, 1}}, 14400, 160},  // a weight for each channel
      {{{30, 1, 20}, {1, 1, 0}, {0, 20, 1}}, 30, 20},          // an outer product
      {{{2, 3, 4, 5}, {0, 4, 1, 0}, {15, 5, 0, 1}}, 12, 30},
      {{{3, 0}, {0, 1}, {0, 1}}, 0, 0}};
  for (const Case& c : cases) {
    const int64_t count = c.shape.numel();
    const auto a = random_values(c.size_a, 1, 2, 0.5f), b = random_values(c.size_b, 2, 2, 0.5f),
               dy = random_values(count, 3);
    // Where element i of the result looks, by division.
    const auto look = [&](int64_t i, const std::vector<int64_t>& strides) {
      int64_t at = 0;
      for (size_t axis = c.shape.dims.size(); axis-- > 0; i /= c.shape.dims[axis]) {
        at += i % c.shape.dims[axis] * strides[axis];
      }
      return at;
    };
    auto y = space<float>(count), da = y, db = y, da_alone = y, db_alone = y;
    binary(Cpu{}, Div{}, a.data(), b.data(), y.data(), c.shape);
    binary_backward(Cpu{}, Div{}, a.data(), b.data(), dy.data(), da.data(), db.data(), c.shape);
    float* none = nullptr;
    binary_backward(Cpu{}, Div{}, a.data(), b.data(), dy.data(), da_alone.data(), none, c.shape);
    binary_backward(Cpu{}, Div{}, a.data(), b.data(), dy.data(), none, db_alone.data(), c.shape);
    int64_t wrong = 0;
    for (int64_t i = 0; i < count; ++i) {
      const float at = a[look(i, c.shape.stride_a)], bt = b[look(i, c.shape.stride_b)];
      wrong += std::abs(y[i] - at / bt) > 1e-6f;
      wrong += std::abs(da[i] - dy[i] / bt) > 1e-6f;
      wrong += std::abs(db[i] + dy[i] * at / (bt * bt)) > 1e-5f;
    }
    EXPECT_EQ(wrong, 0) << testing::PrintToString(c.shape.dims);
    EXPECT_TRUE(same_bits(da, da_alone));
    EXPECT_TRUE(same_bits(db, db_alone));
  }
}

TEST(Elementwise, WorksInPlace) {
  auto x = random_values(40000, 1);
  const auto original = x;
  unary(Cpu{}, Abs{}, x.data(), x.data(), 40000);
  const BroadcastShape shape = {{40000}, {1}, {1}};
  binary(Cpu{}, Add{}, x.data(), original.data(), x.data(), shape);
  for (size_t i = 0; i < x.size(); ++i) {
    ASSERT_EQ(x[i], std::max(0.0f, 2 * original[i])) << i;
  }
}

TEST(Elementwise, RepeatsBitByBit) {
  const auto x = random_values(70001, 1);
  expect_repeatable([&] {
    auto y = space<float>(70001), dx = y;
    unary(Cpu{}, Tanh{}, x.data(), y.data(), 70001);
    unary_backward<Tanh, float>(Cpu{}, Tanh{}, nullptr, y.data(), x.data(), dx.data(), 70001);
    return joined({y, dx});
  });
}

// ---- copy ---------------------------------------------------------------------------------------

template <class To, class From>
std::vector<To> cast_all(const std::vector<From>& x) {
  std::vector<To> y(x.size());
  cast(Cpu{}, x.data(), dtype_of<From>, y.data(), dtype_of<To>, static_cast<int64_t>(x.size()));
  return y;
}

template <class Half, class From>
std::vector<int> bits_of(const std::vector<From>& x) {
  std::vector<int> bits;
  for (const Half half : cast_all<Half>(x)) bits.push_back(half.bits);
  return bits;
}

TEST(Cast, BFloat16RoundsToNearestEven) {
  const float ulp = 0x1p-7f;  // at 1
  const std::vector<float> x = {
      1,          1 + ulp / 2, 1 + ulp * 3 / 2, 1 + ulp * 0.51f, -(1 + ulp / 2), kInfinity,
      -kInfinity, 3.4e38f,     -0.0f,           0x1p-133f,       0x1p-140f};
  EXPECT_EQ(bits_of<bfloat16>(x), (std::vector<int>{0x3f80, 0x3f80, 0x3f82, 0x3f81, 0xbf80, 0x7f80,
                                                    0xff80, 0x7f80, 0x8000, 0x0001, 0x0000}));
  EXPECT_TRUE(std::isnan(cast_all<float>(cast_all<bfloat16>(std::vector<float>{kNan}))[0]));
}

TEST(Cast, Float16RoundsToNearestEven) {
  const float ulp = 0x1p-10f;  // at 1
  const std::vector<float> x = {1,          1 + ulp / 2, 1 + ulp * 3 / 2, 65504,   65519,
                                65520,      -1e6f,       kInfinity,       -0.0f,   0x1p-24f,
                                0x1.8p-24f, 0x1p-25f,    0x1.01p-25f,     0x1p-14f};
  EXPECT_EQ(bits_of<float16>(x),
            (std::vector<int>{0x3c00, 0x3c00, 0x3c02, 0x7bff, 0x7bff, 0x7c00, 0xfc00, 0x7c00,
                              0x8000, 0x0001, 0x0002, 0x0000, 0x0001, 0x0400}));
  EXPECT_TRUE(std::isnan(cast_all<float>(cast_all<float16>(std::vector<float>{kNan}))[0]));
}

TEST(Cast, EverySixteenBitFloatSurvivesARoundTrip) {
  std::vector<float16> halves;
  std::vector<bfloat16> brains;
  for (int bits = 0; bits < 0x10000; ++bits) {
    const bool half_is_nan = (bits & 0x7c00) == 0x7c00 && (bits & 0x3ff) != 0;
    const bool brain_is_nan = (bits & 0x7f80) == 0x7f80 && (bits & 0x7f) != 0;
    if (!half_is_nan) halves.push_back({static_cast<uint16_t>(bits)});
    if (!brain_is_nan) brains.push_back({static_cast<uint16_t>(bits)});
  }
  EXPECT_TRUE(same_bits(cast_all<float16>(cast_all<float>(halves)), halves));
  EXPECT_TRUE(same_bits(cast_all<bfloat16>(cast_all<float>(brains)), brains));
  EXPECT_TRUE(same_bits(cast_all<float16>(cast_all<double>(halves)), halves));
  EXPECT_TRUE(same_bits(cast_all<bfloat16>(cast_all<double>(brains)), brains));
}

TEST(Cast, RoundsOnlyOnceFromWideTypes) {
  // Just above a tie: to the nearest float first, this would become the tie and round down.
  const std::vector<double> x = {1 + 0x1p-11 + 0x1p-40, 1 + 0x1p-11, 1 + 0x1p-11 - 0x1p-40,
                                 -1 - 0x1p-11 - 0x1p-40, 1e300};
  EXPECT_EQ(bits_of<float16>(x), (std::vector<int>{0x3c01, 0x3c00, 0x3c00, 0xbc01, 0x7c00}));
  const std::vector<double> b = {1 + 0x1p-8 + 0x1p-40, 1 + 0x1p-8, 1 + 0x1p-8 - 0x1p-40};
  EXPECT_EQ(bits_of<bfloat16>(b), (std::vector<int>{0x3f81, 0x3f80, 0x3f80}));
  // 2^62 + 2^54 is a tie between two bfloat16; one more is above it, one less below.
  const int64_t tie = (int64_t{1} << 62) + (int64_t{1} << 54);
  EXPECT_EQ(bits_of<bfloat16>(std::vector<int64_t>{tie - 1, tie, tie + 1, -tie - 1}),
            (std::vector<int>{0x5e80, 0x5e80, 0x5e81, 0xde81}));
}

TEST(Cast, IntegersTruncateAndSaturate) {
  const std::vector<float> x = {1.9f,  -0.9f, 254.99f, 255.5f,    256,
                                1e30f, -3,    kNan,    kInfinity, -kInfinity};
  EXPECT_EQ(cast_all<uint8_t>(x), (std::vector<uint8_t>{1, 0, 254, 255, 255, 255, 0, 0, 255, 0}));
  constexpr auto kMax = std::numeric_limits<int64_t>::max(),
                 kMin = std::numeric_limits<int64_t>::min();
  EXPECT_EQ(cast_all<int64_t>(
                std::vector<double>{-1.9, 0x1p62, 0x1p63, -0x1p63, -1e300, 1e300, std::nan("")}),
            (std::vector<int64_t>{-1, int64_t{1} << 62, kMax, kMin, kMin, kMax, 0}));
  EXPECT_EQ(cast_all<uint8_t>(std::vector<int64_t>{-1, 0, 255, 256, kMax}),
            (std::vector<uint8_t>{0, 0, 255, 255, 255}));
  EXPECT_EQ(cast_all<uint8_t>(std::vector<float16>{{0x7c00}, {0x3c00}, {0xbc00}}),
            (std::vector<uint8_t>{255, 1, 0}));
  EXPECT_EQ(cast_all<int64_t>(std::vector<uint8_t>{0, 200}), (std::vector<int64_t>{0, 200}));
}

TEST(Cast, DenormalsStay) {
  const std::vector<float> x = {0x1p-149f, -0x1p-140f};
  EXPECT_EQ(cast_all<double>(x), (std::vector<double>{0x1p-149, -0x1p-140}));
  EXPECT_EQ(cast_all<float>(std::vector<double>{0x1p-149, 1e-60}),
            (std::vector<float>{0x1p-149f, 0}));
}

TEST(Fill, ConvertsTheValue) {
  std::vector<uint8_t> bytes(20000, 1);
  fill(Cpu{}, bytes.data(), DType::kUInt8, 300, 20000);
  EXPECT_EQ(bytes, std::vector<uint8_t>(20000, 255));
  std::vector<float16> halves(3);
  fill(Cpu{}, halves.data(), DType::kFloat16, 1.5, 3);
  EXPECT_EQ(halves[2].bits, 0x3e00);
  std::vector<double> wide(70000, 1);
  fill(Cpu{}, wide.data(), DType::kFloat64, 0.1, 70000);
  EXPECT_EQ(wide, std::vector<double>(70000, 0.1));
}

// y, element by element: the definition in copy.h.
template <class T>
std::vector<T> permuted(const std::vector<T>& x, const std::vector<int64_t>& dims,
                        const std::vector<int64_t>& axes) {
  std::vector<int64_t> strides(dims.size(), 1);
  for (size_t i = dims.size(); i-- > 1;) strides[i - 1] = strides[i] * dims[i];
  std::vector<T> y(x.size());
  for (size_t i = 0; i < y.size(); ++i) {
    auto rest = static_cast<int64_t>(i);
    int64_t at = 0;
    for (size_t axis = axes.size(); axis-- > 0; rest /= dims[axes[axis]]) {
      at += rest % dims[axes[axis]] * strides[axes[axis]];
    }
    y[i] = x[at];
  }
  return y;
}

template <class T>
void expect_permutes(const std::vector<int64_t>& dims, const std::vector<int64_t>& axes) {
  std::vector<T> x(static_cast<size_t>(count_of(dims)));
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<T>(i * 2654435761u >> 3);
  std::vector<T> y(x.size(), T(1));
  permute(Cpu{}, x.data(), y.data(), dims, axes, sizeof(T));
  EXPECT_TRUE(y == permuted(x, dims, axes))
      << testing::PrintToString(dims) << testing::PrintToString(axes) << sizeof(T);
}

TEST(Permute, MatchesTheDefinition) {
  struct Case {
    std::vector<int64_t> dims, axes;
  };
  const std::vector<Case> cases = {{{}, {}},
                                   {{5}, {0}},
                                   {{1, 1}, {1, 0}},
                                   {{37, 53}, {1, 0}},
                                   {{2, 17, 19, 3}, {0, 3, 1, 2}},
                                   {{2, 3, 17, 19}, {0, 2, 3, 1}},
                                   {{3, 20, 21, 64}, {0, 3, 1, 2}},
                                   {{64, 3, 7, 7}, {0, 2, 3, 1}},
                                   {{4, 5, 6, 7}, {3, 2, 1, 0}},
                                   {{4, 5, 6, 7}, {1, 0, 2, 3}},
                                   {{4, 5, 6, 7}, {2, 0, 3, 1}},
                                   {{4, 1, 6, 1}, {3, 2, 1, 0}},
                                   {{2, 3, 4, 5, 6}, {4, 0, 3, 1, 2}},
                                   {{2, 1, 3, 2, 2, 1, 3, 2}, {7, 6, 5, 4, 3, 2, 1, 0}},
                                   {{2, 0, 3}, {2, 1, 0}}};
  for (const Case& c : cases) {
    expect_permutes<uint8_t>(c.dims, c.axes);
    expect_permutes<uint16_t>(c.dims, c.axes);
    expect_permutes<uint32_t>(c.dims, c.axes);
    expect_permutes<uint64_t>(c.dims, c.axes);
  }
}

TEST(FlushDenormals, HoldsOnEveryThreadForAsLongAsItLives) {
#if defined(__SSE2__)
  constexpr int64_t kCount = 1 << 20;
  const std::vector<float> x(kCount, 1e-39F);
  std::vector<float> y(kCount);
  const auto doubled = [&] {
    unary(Cpu{}, Affine{.scale = 2}, x.data(), y.data(), kCount);
    return std::count_if(y.begin(), y.end(),
                         // By its bits: compared, a denormal is zero, too.
                         [](float value) { return std::bit_cast<uint32_t>(value) != 0; });
  };
  EXPECT_EQ(doubled(), kCount);
  {
    const FlushDenormals flush;
    EXPECT_EQ(doubled(), 0);
  }
  EXPECT_EQ(doubled(), kCount);
#else
  GTEST_SKIP() << "an x86 matter";
#endif
}

}  // namespace
}  // namespace glassnet::kernels
