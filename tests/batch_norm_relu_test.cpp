// The fused forms of batch norm on the CPU: float32 against the definitions, the definitions
// against what they are made of, and results that do not depend on the number of threads.
#include <gtest/gtest.h>
#include <omp.h>

#include <string>

#include "kernels/batch_norm.h"
#include "tests/kernel_support.h"

namespace glassnet::kernels {
namespace {

template <class T>
struct Fused {
  std::vector<T> y, mean, inv_std, running_mean, running_var, dx, dz, dgamma, dbeta;
  std::vector<uint8_t> mask;
};

// z may be empty.
template <class T>
Fused<T> run(const std::vector<T>& x, const std::vector<T>& z, const std::vector<T>& gamma,
             const std::vector<T>& beta, const std::vector<T>& dy, const BatchNormShape& o) {
  const int64_t all = o.rows * o.channels, c = o.channels;
  Fused<T> r;
  r.y = r.dx = r.dz = unwritten<T>(all);
  r.mean = r.inv_std = r.dgamma = r.dbeta = unwritten<T>(c);
  r.running_mean = r.running_var = std::vector<T>(static_cast<size_t>(c), T(2));
  r.mask = unwritten<uint8_t>(mask_bytes(o));
  batch_norm_add_relu_forward(Cpu{}, x.data(), z.empty() ? nullptr : z.data(), gamma.data(),
                              beta.data(), r.y.data(), r.mask.data(), r.mean.data(),
                              r.inv_std.data(), r.running_mean.data(), r.running_var.data(), 0.1,
                              o);
  batch_norm_add_relu_backward(Cpu{}, dy.data(), r.mask.data(), x.data(), gamma.data(),
                               r.mean.data(), r.inv_std.data(), r.dx.data(), r.dz.data(),
                               r.dgamma.data(), r.dbeta.data(), o);
  return r;
}

bool bit(const std::vector<uint8_t>& mask, int64_t i) {
  return (mask[i / 8] >> i % 8 & 1) != 0;
}

TEST(BatchNormAddRelu, MatchesTheDefinition) {
  for (const int64_t channels : {1, 3, 8, 17, 64, 100}) {
    for (const int64_t rows : {3, 7, 63, 1001, 4999}) {
      for (const bool added : {false, true}) {
        SCOPED_TRACE(std::to_string(rows) + " rows, " + std::to_string(channels) + " channels");
        const BatchNormShape o = {rows, channels};
        const auto x = random_numbers<float>(rows * channels, 1, 0.7F, 2),
                   z = random_numbers<float>(added ? rows * channels : 0, 2),
                   gamma = random_numbers<float>(channels, 3),
                   dy = random_numbers<float>(x.size(), 5);
        const auto beta = random_numbers<float>(channels, 4);
        const auto got = run(x, z, gamma, beta, dy, o);
        const auto truth =
            run(widened(x), widened(z), widened(gamma), widened(beta), widened(dy), o);
        EXPECT_LT(error_of(got.y, truth.y), 2e-6);
        EXPECT_LT(error_of(got.mean, truth.mean), 1e-6);
        EXPECT_LT(error_of(got.running_mean, truth.running_mean), 1e-6);
        EXPECT_LT(error_of(got.running_var, truth.running_var), 1e-6);
        for (int64_t i = 0; i < rows * channels; ++i) {
          ASSERT_EQ(bit(got.mask, i), got.y[i] > 0) << i;
          ASSERT_EQ(bit(truth.mask, i), truth.y[i] > 0) << i;
          ASSERT_EQ(got.dz[i], bit(got.mask, i) ? dy[i] : 0) << i;
        }
        // The gradients from the very same mask and statistics.
        std::vector<double> dx(x.size()), dz(x.size()), dgamma(channels), dbeta(channels);
        batch_norm_add_relu_backward(Cpu{}, widened(dy).data(), got.mask.data(), widened(x).data(),
                                     widened(gamma).data(), widened(got.mean).data(),
                                     widened(got.inv_std).data(), dx.data(), dz.data(),
                                     dgamma.data(), dbeta.data(), o);
        // Terms of either sign may add up to next to nothing: sums are as exact as they are large
        // when they do not.
        const double typical = std::sqrt(static_cast<double>(rows));
        EXPECT_LT(error_of(got.dx, dx), 5e-6);
        EXPECT_LT(error_of(got.dgamma, dgamma, typical), 5e-6);
        EXPECT_LT(error_of(got.dbeta, dbeta, typical), 3e-6);
      }
    }
  }
}

TEST(BatchNormAddRelu, IsBatchNormThenAddThenRelu) {
  const BatchNormShape o = {29, 5};
  const size_t all = 145;
  const auto x = widened(random_numbers<float>(all, 1)), z = widened(random_numbers<float>(all, 2)),
             gamma = widened(random_numbers<float>(5, 3)),
             beta = widened(random_numbers<float>(5, 4)),
             dy = widened(random_numbers<float>(all, 5));
  const auto fused = run(x, z, gamma, beta, dy, o);
  std::vector<double> y(all), mean(5), inv_std(5), dx(all), dgamma(5), dbeta(5), d(all);
  batch_norm_forward(Cpu{}, x.data(), gamma.data(), beta.data(), y.data(), mean.data(),
                     inv_std.data(), nullptr, nullptr, 0.1, o);
  for (size_t i = 0; i < all; ++i) {
    y[i] += z[i];
    d[i] = y[i] > 0 ? dy[i] : 0;
    y[i] = std::max(y[i], 0.0);
  }
  batch_norm_backward(Cpu{}, d.data(), x.data(), gamma.data(), mean.data(), inv_std.data(),
                      dx.data(), dgamma.data(), dbeta.data(), o);
  EXPECT_EQ(fused.y, y);
  EXPECT_EQ(fused.dz, d);
  EXPECT_EQ(fused.dx, dx);
  EXPECT_EQ(fused.dgamma, dgamma);
  EXPECT_EQ(fused.dbeta, dbeta);
}

// What the gradient came in may receive dx, or what goes on to the residual.
TEST(BatchNormAddRelu, GradientsMayLieInPlaceOfDy) {
  for (const BatchNormShape o : {BatchNormShape{29, 5}, BatchNormShape{4999, 64}}) {
    const int64_t all = o.rows * o.channels, c = o.channels;
    const auto x = random_numbers<float>(all, 1), gamma = random_numbers<float>(c, 3),
               beta = random_numbers<float>(c, 4), dy = random_numbers<float>(all, 5);
    const auto apart = run(x, {}, gamma, beta, dy, o);
    const auto again = [&](const float* from, float* dx, float* dz) {
      batch_norm_add_relu_backward(Cpu{}, from, apart.mask.data(), x.data(), gamma.data(),
                                   apart.mean.data(), apart.inv_std.data(), dx, dz, nullptr,
                                   nullptr, o);
    };
    std::vector<float> over = dy, dx = unwritten<float>(all);
    again(over.data(), over.data(), nullptr);
    EXPECT_EQ(over, apart.dx);
    over = dy;
    again(over.data(), dx.data(), over.data());
    EXPECT_EQ(over, apart.dz);
    EXPECT_EQ(dx, apart.dx);

    const auto plain = [&](const float* from, float* to) {
      batch_norm_backward(Cpu{}, from, x.data(), gamma.data(), apart.mean.data(),
                          apart.inv_std.data(), to, nullptr, nullptr, o);
    };
    over = dy;
    plain(dy.data(), dx.data());
    plain(over.data(), over.data());
    EXPECT_EQ(over, dx);
  }
}

TEST(BatchNormAddRelu, ANanPasses) {
  const BatchNormShape o = {4, 3};
  std::vector<float> z(12, 0.5F);
  z[10] = std::numeric_limits<float>::quiet_NaN();
  const auto x = random_numbers<float>(12, 1), ones = std::vector<float>(3, 1);
  const auto got = run(x, z, ones, ones, x, o);
  EXPECT_TRUE(std::isnan(got.y[10]));
  EXPECT_TRUE(bit(got.mask, 10));
  const auto truth = run(widened(x), widened(z), widened(ones), widened(ones), widened(x), o);
  EXPECT_TRUE(std::isnan(truth.y[10]));
  EXPECT_TRUE(bit(truth.mask, 10));
}

TEST(BatchNormAddRelu, RepeatsBitByBitForAnyNumberOfThreads) {
  for (const int64_t channels : {3, 64}) {
    const BatchNormShape o = {20001, channels};
    const auto x = random_numbers<float>(o.rows * channels, 1),
               z = random_numbers<float>(x.size(), 2), gamma = random_numbers<float>(channels, 3),
               dy = random_numbers<float>(x.size(), 5);
    const int former = omp_get_max_threads();
    std::vector<Fused<float>> runs;
    for (const int threads : {1, 2, 3}) {
      omp_set_num_threads(threads);
      runs.push_back(run(x, z, gamma, gamma, dy, o));
    }
    omp_set_num_threads(former);
    for (const auto& other : runs) {
      EXPECT_TRUE(same_bits(other.y, runs[0].y));
      EXPECT_TRUE(same_bits(other.mask, runs[0].mask));
      EXPECT_TRUE(same_bits(other.dx, runs[0].dx));
      EXPECT_TRUE(same_bits(other.dz, runs[0].dz));
      EXPECT_TRUE(same_bits(other.dgamma, runs[0].dgamma));
    }
  }
}

TEST(BatchNormAddRelu, WhatIsNotAskedForMayBeNull) {
  const BatchNormShape o = {50, 5};
  const auto x = random_numbers<float>(250, 1), z = random_numbers<float>(250, 2),
             gamma = random_numbers<float>(5, 3), dy = random_numbers<float>(250, 5);
  const auto all = run(x, z, gamma, gamma, dy, o);
  auto y = unwritten<float>(250), mean = unwritten<float>(5), inv_std = mean;
  batch_norm_add_relu_forward(Cpu{}, x.data(), z.data(), gamma.data(), gamma.data(), y.data(),
                              nullptr, mean.data(), inv_std.data(), nullptr, nullptr, 0.1, o);
  EXPECT_TRUE(same_bits(y, all.y));
  auto dx = unwritten<float>(250), dz = dx, dgamma = unwritten<float>(5), dbeta = dgamma;
  const auto backward = [&](float* to_x, float* to_z, float* to_gamma, float* to_beta) {
    batch_norm_add_relu_backward(Cpu{}, dy.data(), all.mask.data(), x.data(), gamma.data(),
                                 mean.data(), inv_std.data(), to_x, to_z, to_gamma, to_beta, o);
  };
  backward(dx.data(), nullptr, nullptr, nullptr);
  backward(nullptr, dz.data(), nullptr, nullptr);
  backward(nullptr, nullptr, dgamma.data(), nullptr);
  backward(nullptr, nullptr, nullptr, dbeta.data());
  EXPECT_TRUE(same_bits(dx, all.dx));
  EXPECT_TRUE(same_bits(dz, all.dz));
  EXPECT_TRUE(same_bits(dgamma, all.dgamma));
  EXPECT_TRUE(same_bits(dbeta, all.dbeta));
}

TEST(FoldBatchNorm, IsInferenceBatchNormAfterADotProduct) {
  const int64_t per_filter = 27;
  const BatchNormShape o = {1, 6};
  const auto w = random_numbers<float>(6 * per_filter, 1), x = random_numbers<float>(per_filter, 2),
             gamma = random_numbers<float>(6, 3), beta = random_numbers<float>(6, 4),
             mean = random_numbers<float>(6, 5), variance = random_numbers<float>(6, 6, 2, 0.5F);
  std::vector<double> dots(6), folded_dots(6), normalised(6), folded(w.size()), bias(6);
  fold_batch_norm(Cpu{}, widened(w).data(), widened(gamma).data(), widened(beta).data(),
                  widened(mean).data(), widened(variance).data(), folded.data(), bias.data(),
                  per_filter, o);
  for (int64_t k = 0; k < 6; ++k) {
    folded_dots[k] = bias[k];
    for (int64_t i = 0; i < per_filter; ++i) {
      dots[k] += static_cast<double>(w[k * per_filter + i]) * x[i];
      folded_dots[k] += folded[k * per_filter + i] * x[i];
    }
  }
  batch_norm_inference(Cpu{}, dots.data(), widened(gamma).data(), widened(beta).data(),
                       widened(mean).data(), widened(variance).data(), normalised.data(), o);
  for (int64_t k = 0; k < 6; ++k) EXPECT_NEAR(folded_dots[k], normalised[k], 1e-12) << k;

  auto narrow = unwritten<float>(w.size()), narrow_bias = unwritten<float>(6);
  fold_batch_norm(Cpu{}, w.data(), gamma.data(), beta.data(), mean.data(), variance.data(),
                  narrow.data(), narrow_bias.data(), per_filter, o);
  EXPECT_LT(error_of(narrow, folded), 1e-6);
  EXPECT_LT(error_of(narrow_bias, bias), 1e-6);
}

}  // namespace
}  // namespace glassnet::kernels
