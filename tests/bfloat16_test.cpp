// bfloat16 on the CPU beside what the table of op cases asks of it: one rounding where the contract
// says so, NaN that is not swallowed, results that do not depend on threads.
#include <omp.h>

#include <cmath>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "kernels/batch_norm.h"
#include "kernels/conv2d.h"
#include "kernels/cpu/bf16_units.h"
#include "kernels/pool.h"
#include "kernels/reduce.h"
#include "tests/kernel_support.h"

namespace glassnet::kernels {
namespace {

// Half a unit in the last of a bfloat16's eight bits, and a little for float32's sums.
constexpr double kOneRounding = 1.02 * 0x1p-8;

struct ConvCase {
  const char* name;
  Conv2dShape shape;
};
void PrintTo(const ConvCase& row, std::ostream* out) {
  *out << row.name;
}

template <class T>
struct Results {
  std::vector<T> y, dx, dw, dbias;
};
template <class T>
Results<T> unwritten_results(const Conv2dShape& o) {
  return {unwritten<T>(o.output_size()), unwritten<T>(o.input_size()),
          unwritten<T>(o.weights_size()), unwritten<T>(o.k)};
}

class BFloat16Convolution : public testing::TestWithParam<ConvCase> {
 protected:
  const Conv2dShape o_ = GetParam().shape;
  const std::vector<bfloat16> x_ = random_numbers<bfloat16>(o_.input_size(), 1),
                              w_ = random_numbers<bfloat16>(o_.weights_size(), 2),
                              bias_ = random_numbers<bfloat16>(o_.k, 3),
                              dy_ = random_numbers<bfloat16>(o_.output_size(), 4),
                              z_ = random_numbers<bfloat16>(o_.output_size(), 5);

  template <class T>
  Results<T> run(const std::vector<T>& x, const std::vector<T>& w, const std::vector<T>& bias,
                 const std::vector<T>& dy) const {
    auto r = unwritten_results<T>(o_);
    conv2d_forward(Cpu{}, x.data(), w.data(), bias.data(), r.y.data(), o_);
    conv2d_backward_data(Cpu{}, dy.data(), w.data(), r.dx.data(), o_);
    conv2d_backward_weight(Cpu{}, dy.data(), x.data(), r.dw.data(), r.dbias.data(), o_);
    return r;
  }
  Results<double> definition() const {
    return run(widened(x_), widened(w_), widened(bias_), widened(dy_));
  }
};

TEST_P(BFloat16Convolution, IsRoundedOnce) {
  const Results<double> truth = definition();
  const Results<bfloat16> got = run(x_, w_, bias_, dy_);
  EXPECT_LT(error_of(got.y, truth.y), kOneRounding);
  EXPECT_LT(error_of(got.dx, truth.dx), kOneRounding);
  EXPECT_LT(error_of(got.dw, truth.dw), kOneRounding);
  EXPECT_LT(error_of(got.dbias, truth.dbias), kOneRounding);
}

// oneDNN imitates the instructions on every processor with AVX-512, so that they can be tested
// there.
TEST_P(BFloat16Convolution, ByInstructionsOfItsOwnIsRoundedOnce) {
  const Results<double> truth = definition();
  auto got = unwritten_results<bfloat16>(o_);
  std::vector<float> bias;
  for (const double value : widened(bias_)) bias.push_back(static_cast<float>(value));
  if (bf16_units::forward(x_.data(), w_.data(), bias.data(), got.y.data(), o_)) {
    EXPECT_LT(error_of(got.y, truth.y), kOneRounding);
  } else {
    EXPECT_TRUE(same_bits(got.y, unwritten<bfloat16>(o_.output_size())));
  }
  if (bf16_units::backward_data(dy_.data(), w_.data(), got.dx.data(), o_)) {
    EXPECT_LT(error_of(got.dx, truth.dx), kOneRounding);
  }
  if (bf16_units::backward_weight(dy_.data(), x_.data(), got.dw.data(), o_)) {
    EXPECT_LT(error_of(got.dw, truth.dw), kOneRounding);
  }
}

TEST_P(BFloat16Convolution, ShowsANaNBehindItsReLU) {
  constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
  auto z = z_;
  z.front() = from_float<bfloat16>(kNaN);
  const std::vector<float> bias(static_cast<size_t>(o_.k), -1e30F);
  auto y = unwritten<bfloat16>(o_.output_size());
  conv2d_bias_add_relu(Cpu{}, x_.data(), w_.data(), bias.data(), z.data(), y.data(), true, o_);
  EXPECT_TRUE(std::isnan(to_float(y.front())));
  EXPECT_EQ(to_float(y.back()), 0);
}

INSTANTIATE_TEST_SUITE_P(
    Shapes, BFloat16Convolution,
    testing::Values(ConvCase{"stem", {2, 30, 26, 3, 64, 7, 7, 2, 2, 3, 3}},
                    ConvCase{"usual_3x3", {2, 14, 14, 32, 48, 3, 3, 1, 1, 1, 1}},
                    ConvCase{"usual_stride", {2, 14, 14, 64, 128, 3, 3, 2, 2, 1, 1}},
                    ConvCase{"short_rows", {8, 7, 7, 64, 64, 3, 3, 1, 1, 1, 1}},
                    ConvCase{"pointwise", {2, 13, 9, 64, 256, 1, 1}},
                    ConvCase{"pointwise_stride", {2, 15, 14, 64, 128, 1, 1, 2, 2}},
                    ConvCase{"odd_channels", {2, 11, 7, 5, 17, 3, 3, 1, 1, 1, 1}},
                    ConvCase{"dilated", {2, 15, 15, 16, 16, 3, 3, 1, 1, 2, 2, 2, 2}},
                    ConvCase{"groups", {2, 10, 9, 32, 64, 3, 3, 1, 1, 1, 1, 1, 1, 4}},
                    ConvCase{"depthwise", {2, 12, 12, 32, 32, 3, 3, 1, 1, 1, 1, 1, 1, 32}}),
    [](const auto& row) { return std::string(row.param.name); });

// One step of batch norm with everything around it, on many rows.
struct Normalised {
  std::vector<bfloat16> y, dx, dz;
  std::vector<float> mean, inv_std, running_mean, running_var, dgamma, dbeta;
};
Normalised normalise(const BatchNormShape& o) {
  const int64_t all = o.rows * o.channels, c = o.channels;
  const auto x = random_numbers<bfloat16>(all, 1, 3), z = random_numbers<bfloat16>(all, 2),
             dy = random_numbers<bfloat16>(all, 3);
  const auto gamma = random_numbers<float>(c, 4), beta = random_numbers<float>(c, 5);
  const std::vector<float> zeros(static_cast<size_t>(c));
  std::vector<uint8_t> mask(static_cast<size_t>(mask_bytes(o)));
  Normalised r{unwritten<bfloat16>(all),
               unwritten<bfloat16>(all),
               unwritten<bfloat16>(all),
               unwritten<float>(c),
               unwritten<float>(c),
               zeros,
               zeros,
               unwritten<float>(c),
               unwritten<float>(c)};
  batch_norm_add_relu_forward(Cpu{}, x.data(), z.data(), gamma.data(), beta.data(), r.y.data(),
                              mask.data(), r.mean.data(), r.inv_std.data(), r.running_mean.data(),
                              r.running_var.data(), 0.1, o);
  batch_norm_add_relu_backward(Cpu{}, dy.data(), mask.data(), x.data(), gamma.data(), r.mean.data(),
                               r.inv_std.data(), r.dx.data(), r.dz.data(), r.dgamma.data(),
                               r.dbeta.data(), o);
  return r;
}

TEST(BFloat16, BatchNormDoesNotDependOnTheNumberOfThreads) {
  const int before = omp_get_max_threads();
  for (const BatchNormShape& o : {BatchNormShape{20011, 13}, BatchNormShape{3000, 256}}) {
    omp_set_num_threads(1);
    const Normalised one = normalise(o);
    omp_set_num_threads(3);
    const Normalised three = normalise(o);
    EXPECT_TRUE(same_bits(one.y, three.y));
    EXPECT_TRUE(same_bits(one.dx, three.dx));
    EXPECT_TRUE(same_bits(one.dz, three.dz));
    EXPECT_EQ(one.running_var, three.running_var);
    EXPECT_EQ(one.dgamma, three.dgamma);
    EXPECT_EQ(one.dbeta, three.dbeta);
  }
  omp_set_num_threads(before);
}

// The mean of a million numbers near 3 would not move any more in a sum of eight bits.
TEST(BFloat16, SumsAndStatisticsAreWide) {
  const BatchNormShape o = {1 << 20, 1};
  const Normalised r = normalise(o);
  const auto x = random_numbers<bfloat16>(o.rows, 1, 3);
  double mean = 0;
  for (const double value : widened(x)) mean += value / static_cast<double>(o.rows);
  EXPECT_NEAR(r.mean[0], mean, 1e-5);
  std::vector<bfloat16> sums(1);
  sum(Cpu{}, x.data(), sums.data(), 1.0 / static_cast<double>(o.rows), {{o.rows}, {true}});
  EXPECT_NEAR(to_float(sums[0]), mean, mean * 0x1p-8);
}

TEST(BFloat16, PoolingShowsANaN) {
  auto x = random_numbers<bfloat16>(3 * 3, 1);
  x[4] = from_float<bfloat16>(std::numeric_limits<float>::quiet_NaN());
  std::vector<bfloat16> y(4);
  std::vector<uint8_t> index(4);
  const Pool2dShape o = {.n = 1, .h = 3, .w = 3, .c = 1, .r = 2, .s = 2};
  max_pool2d_forward(Cpu{}, x.data(), y.data(), index.data(), o);
  for (const bfloat16 value : y) EXPECT_TRUE(std::isnan(to_float(value)));
}

}  // namespace
}  // namespace glassnet::kernels
