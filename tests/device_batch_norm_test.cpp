// Batch norm on the CUDA device against the float64 definitions, over shapes that take the wide and
// the narrow paths, one chunk of rows and several.
#include <gtest/gtest.h>

#include "kernels/batch_norm.h"
#include "tests/device_support.h"
#include "tests/kernel_support.h"

namespace glassnet::kernels {
namespace {

template <class T>
class DeviceBatchNorm : public DeviceTest {};
TYPED_TEST_SUITE(DeviceBatchNorm, ElementTypes);

#if defined(GLASSNET_CUDA)

struct Inputs {
  std::vector<float> gamma, beta;
};
Inputs parameters(int64_t channels) {
  return {random_numbers<float>(channels, 2, 1, 0.3F), random_numbers<float>(channels, 3)};
}

enum class Form { kPlain, kRelu, kAddRelu };

template <class T, class S>  // elements, statistics
struct Forward {
  std::vector<T> y;
  std::vector<uint8_t> mask;
  std::vector<S> mean, inv_std, running_mean, running_var;
};

template <class T>
Forward<T, float> forward(const std::vector<T>& x, const std::vector<T>& z, const Inputs& p,
                          Form form, const BatchNormShape& o) {
  const int64_t c = o.channels;
  const DeviceArray<T> x_(x), z_(z), y(unwritten<T>(o.rows * c));
  const DeviceArray<float> gamma(p.gamma), beta(p.beta), mean(unwritten<float>(c)),
      inv_std(unwritten<float>(c)), running_mean(std::vector<float>(c, 0.5F)),
      running_var(std::vector<float>(c, 2));
  const DeviceArray<uint8_t> mask(unwritten<uint8_t>(mask_bytes(o)));
  const Cuda device = current_cuda(0);
  if (form == Form::kPlain) {
    batch_norm_forward(device, x_.get(), gamma.get(), beta.get(), y.get(), mean.get(),
                       inv_std.get(), running_mean.get(), running_var.get(), 0.1, o);
  } else {
    const T* added = form == Form::kAddRelu ? z_.get() : nullptr;
    batch_norm_add_relu_forward(device, x_.get(), added, gamma.get(), beta.get(), y.get(),
                                mask.get(), mean.get(), inv_std.get(), running_mean.get(),
                                running_var.get(), 0.1, o);
  }
  return {y.host(),       mask.host(),         mean.host(),
          inv_std.host(), running_mean.host(), running_var.host()};
}

template <class T>
Forward<double, double> true_forward(const std::vector<T>& x, const std::vector<T>& z,
                                     const Inputs& p, Form form, const BatchNormShape& o) {
  const int64_t c = o.channels;
  Forward<double, double> r = {unwritten<double>(o.rows * c), unwritten<uint8_t>(mask_bytes(o)),
                               unwritten<double>(c),          unwritten<double>(c),
                               std::vector<double>(c, 0.5),   std::vector<double>(c, 2)};
  const std::vector<double> x_ = widened(x), z_ = widened(z), gamma = widened(p.gamma),
                            beta = widened(p.beta);
  if (form == Form::kPlain) {
    batch_norm_forward(Cpu{}, x_.data(), gamma.data(), beta.data(), r.y.data(), r.mean.data(),
                       r.inv_std.data(), r.running_mean.data(), r.running_var.data(), 0.1, o);
  } else {
    const double* added = form == Form::kAddRelu ? z_.data() : nullptr;
    batch_norm_add_relu_forward(Cpu{}, x_.data(), added, gamma.data(), beta.data(), r.y.data(),
                                r.mask.data(), r.mean.data(), r.inv_std.data(),
                                r.running_mean.data(), r.running_var.data(), 0.1, o);
  }
  return r;
}

template <class T, class S>
struct Backward {
  std::vector<T> dx, dz;
  std::vector<S> dgamma, dbeta;
};
struct Wanted {
  bool dx = true, dz = true, dgamma = true, dbeta = true;
};

// With an empty mask, the plain form.
template <class T>
Backward<T, float> backward(const std::vector<T>& dy, const std::vector<uint8_t>& mask,
                            const std::vector<T>& x, const Inputs& p,
                            const std::vector<float>& mean, const std::vector<float>& inv_std,
                            const BatchNormShape& o, const Wanted& wanted = {}) {
  const int64_t c = o.channels;
  const DeviceArray<T> dy_(dy), x_(x), dx(unwritten<T>(o.rows * c)), dz(unwritten<T>(o.rows * c));
  const DeviceArray<uint8_t> mask_(mask);
  const DeviceArray<float> gamma(p.gamma), mean_(mean), inv_std_(inv_std),
      dgamma(unwritten<float>(c)), dbeta(unwritten<float>(c));
  T* const to_x = wanted.dx ? dx.get() : nullptr;
  T* const to_z = wanted.dz ? dz.get() : nullptr;
  float* const to_gamma = wanted.dgamma ? dgamma.get() : nullptr;
  float* const to_beta = wanted.dbeta ? dbeta.get() : nullptr;
  const Cuda device = current_cuda(0);
  if (mask.empty()) {
    batch_norm_backward(device, dy_.get(), x_.get(), gamma.get(), mean_.get(), inv_std_.get(), to_x,
                        to_gamma, to_beta, o);
  } else {
    batch_norm_add_relu_backward(device, dy_.get(), mask_.get(), x_.get(), gamma.get(), mean_.get(),
                                 inv_std_.get(), to_x, to_z, to_gamma, to_beta, o);
  }
  return {dx.host(), dz.host(), dgamma.host(), dbeta.host()};
}

template <class T>
Backward<double, double> true_backward(const std::vector<T>& dy, const std::vector<uint8_t>& mask,
                                       const std::vector<T>& x, const Inputs& p,
                                       const std::vector<float>& mean,
                                       const std::vector<float>& inv_std, const BatchNormShape& o) {
  const int64_t all = o.rows * o.channels, c = o.channels;
  Backward<double, double> r = {unwritten<double>(all), unwritten<double>(all),
                                unwritten<double>(c), unwritten<double>(c)};
  const std::vector<double> dy_ = widened(dy), x_ = widened(x), gamma = widened(p.gamma),
                            mean_ = widened(mean), inv_std_ = widened(inv_std);
  if (mask.empty()) {
    batch_norm_backward(Cpu{}, dy_.data(), x_.data(), gamma.data(), mean_.data(), inv_std_.data(),
                        r.dx.data(), r.dgamma.data(), r.dbeta.data(), o);
  } else {
    batch_norm_add_relu_backward(Cpu{}, dy_.data(), mask.data(), x_.data(), gamma.data(),
                                 mean_.data(), inv_std_.data(), r.dx.data(), r.dz.data(),
                                 r.dgamma.data(), r.dbeta.data(), o);
  }
  return r;
}

template <class T>
void expect_same(const Backward<T, float>& actual, const Backward<double, double>& truth,
                 double dx_scale, bool with_dz) {
  EXPECT_LT(error_of(actual.dx, truth.dx, dx_scale), kTolerance<T>);
  EXPECT_LT(error_of(actual.dgamma, truth.dgamma), 1e-5);
  EXPECT_LT(error_of(actual.dbeta, truth.dbeta), 1e-5);
  if (with_dz) {
    EXPECT_EQ(error_of(actual.dz, truth.dz), 0);
  }
}

bool bit(const std::vector<uint8_t>& mask, size_t i) {
  return (mask[i / 8] >> i % 8 & 1) != 0;
}

TYPED_TEST(DeviceBatchNorm, AgreesWithTheDefinition) {
  using T = TypeParam;
  for (const int64_t channels : {1, 3, 8, 17, 64, 72, 136}) {
    for (const int64_t rows : {2, 7, 33, 300}) {
      SCOPED_TRACE(std::to_string(rows) + " rows, " + std::to_string(channels) + " channels");
      const BatchNormShape o = {rows, channels};
      const Inputs p = parameters(channels);
      const auto x = random_numbers<T>(rows * channels, 1, 0.7F, 2),
                 z = random_numbers<T>(rows * channels, 4), dy = random_numbers<T>(x.size(), 5);
      for (const Form form : {Form::kPlain, Form::kRelu, Form::kAddRelu}) {
        const auto actual = forward(x, z, p, form, o);
        const auto truth = true_forward(x, z, p, form, o);
        EXPECT_LT(error_of(actual.y, truth.y), kTolerance<T>);
        EXPECT_LT(error_of(actual.mean, truth.mean), 1e-6);
        EXPECT_LT(error_of(actual.inv_std, truth.inv_std), 2e-6);
        EXPECT_LT(error_of(actual.running_mean, truth.running_mean), 1e-6);
        EXPECT_LT(error_of(actual.running_var, truth.running_var), 1e-6);

        const bool masked = form != Form::kPlain;
        for (size_t i = 0; masked && i < x.size(); ++i) {
          ASSERT_EQ(bit(actual.mask, i), to_float(actual.y[i]) > 0) << i;
          if (truth.y[i] > 1e-4) {
            ASSERT_TRUE(bit(actual.mask, i)) << i;
          }
        }
        const std::vector<uint8_t> mask = masked ? actual.mask : std::vector<uint8_t>{};
        const auto gradients = backward(dy, mask, x, p, actual.mean, actual.inv_std, o);
        const auto true_gradients = true_backward(dy, mask, x, p, actual.mean, actual.inv_std, o);
        // With few rows dx is a small difference of large terms.
        const double term = largest(widened(p.gamma)) * largest(truth.inv_std);
        expect_same(gradients, true_gradients, term, masked);
      }
    }
  }
}

TYPED_TEST(DeviceBatchNorm, InferenceAgreesWithTheDefinition) {
  using T = TypeParam;
  for (const int64_t channels : {1, 3, 8, 17, 64, 136}) {
    for (const int64_t rows : {1, 7, 300}) {
      SCOPED_TRACE(std::to_string(rows) + " rows, " + std::to_string(channels) + " channels");
      const BatchNormShape o = {rows, channels};
      const Inputs p = parameters(channels);
      const int64_t all = rows * channels;
      const auto x = random_numbers<T>(all, 1, 0.7F, 2), dy = random_numbers<T>(all, 5);
      const auto mean = random_numbers<float>(channels, 6),
                 variance = random_numbers<float>(channels, 7, 2, 0.5F);

      const std::vector<double> wide_x = widened(x), wide_dy = widened(dy),
                                wide_gamma = widened(p.gamma), wide_beta = widened(p.beta),
                                wide_mean = widened(mean), wide_variance = widened(variance);
      std::vector<double> true_y(all), true_dx(all), true_dgamma(channels), true_dbeta(channels);
      batch_norm_inference(Cpu{}, wide_x.data(), wide_gamma.data(), wide_beta.data(),
                           wide_mean.data(), wide_variance.data(), true_y.data(), o);
      batch_norm_inference_backward(Cpu{}, wide_dy.data(), wide_x.data(), wide_gamma.data(),
                                    wide_mean.data(), wide_variance.data(), true_dx.data(),
                                    true_dgamma.data(), true_dbeta.data(), o);

      const Cuda device = current_cuda(0);
      const DeviceArray<T> x_(x), dy_(dy), y(unwritten<T>(all)), dx(unwritten<T>(all)),
          only_dx(unwritten<T>(all));
      const DeviceArray<float> gamma(p.gamma), beta(p.beta), mean_(mean), variance_(variance),
          dgamma(unwritten<float>(channels)), dbeta(unwritten<float>(channels)),
          only_dbeta(unwritten<float>(channels));
      batch_norm_inference(device, x_.get(), gamma.get(), beta.get(), mean_.get(), variance_.get(),
                           y.get(), o);
      const auto run = [&](T* to_x, float* to_gamma, float* to_beta) {
        batch_norm_inference_backward(device, dy_.get(), x_.get(), gamma.get(), mean_.get(),
                                      variance_.get(), to_x, to_gamma, to_beta, o);
      };
      run(dx.get(), dgamma.get(), dbeta.get());
      run(only_dx.get(), nullptr, nullptr);
      run(nullptr, nullptr, only_dbeta.get());
      EXPECT_LT(error_of(y.host(), true_y), kTolerance<T>);
      EXPECT_LT(error_of(dx.host(), true_dx), kTolerance<T>);
      EXPECT_LT(error_of(dgamma.host(), true_dgamma), 1e-5);
      EXPECT_LT(error_of(dbeta.host(), true_dbeta), 1e-5);
      EXPECT_TRUE(same_bits(only_dx.host(), dx.host()));
      EXPECT_TRUE(same_bits(only_dbeta.host(), dbeta.host()));
    }
  }
}

TYPED_TEST(DeviceBatchNorm, KeepsItsPrecisionFarFromZero) {
  using T = TypeParam;
  for (const int64_t channels : {3, 64}) {
    for (const int64_t rows : {2, 1500}) {
      SCOPED_TRACE(std::to_string(rows) + " rows, " + std::to_string(channels) + " channels");
      const BatchNormShape o = {rows, channels};
      const Inputs p = parameters(channels);
      const auto x = random_numbers<T>(rows * channels, 1, 100, 1);
      const auto& z = x;
      const auto actual = forward(x, z, p, Form::kPlain, o);
      const auto truth = true_forward(x, z, p, Form::kPlain, o);
      EXPECT_LT(error_of(actual.y, truth.y), kTolerance<T>);
      EXPECT_LT(error_of(actual.mean, truth.mean), 1e-7);
      EXPECT_LT(error_of(actual.inv_std, truth.inv_std), 2e-6);
    }
  }
}

TYPED_TEST(DeviceBatchNorm, FindsTheStepBetweenTwoPlateaus) {
  using T = TypeParam;
  // The first rows say nothing about the others.
  for (const int64_t channels : {4, 8}) {
    const BatchNormShape o = {2048, channels};
    std::vector<T> x;
    for (int64_t i = 0; i < o.rows * channels; ++i) {
      const int64_t row = i / channels;
      x.push_back(from_float<T>(row < 64 ? 0.0F : 500.0F + 2.0F * static_cast<float>(row % 7)));
    }
    const Inputs p = parameters(channels);
    const auto actual = forward(x, x, p, Form::kPlain, o);
    const auto truth = true_forward(x, x, p, Form::kPlain, o);
    EXPECT_LT(error_of(actual.inv_std, truth.inv_std), 2e-6);
    EXPECT_LT(error_of(actual.mean, truth.mean), 1e-6);
  }
}

TYPED_TEST(DeviceBatchNorm, RepeatsBitByBit) {
  using T = TypeParam;
  for (const int64_t channels : {3, 72}) {
    const BatchNormShape o = {400, channels};
    const Inputs p = parameters(channels);
    const auto x = random_numbers<T>(o.rows * channels, 1), z = random_numbers<T>(x.size(), 2),
               dy = random_numbers<T>(x.size(), 3);
    const auto first = forward(x, z, p, Form::kAddRelu, o);
    const auto second = forward(x, z, p, Form::kAddRelu, o);
    EXPECT_TRUE(same_bits(first.y, second.y));
    EXPECT_TRUE(same_bits(first.mask, second.mask));
    EXPECT_TRUE(same_bits(first.running_var, second.running_var));
    const auto once = backward(dy, first.mask, x, p, first.mean, first.inv_std, o);
    const auto again = backward(dy, first.mask, x, p, first.mean, first.inv_std, o);
    EXPECT_TRUE(same_bits(once.dx, again.dx));
    EXPECT_TRUE(same_bits(once.dgamma, again.dgamma));
    EXPECT_TRUE(same_bits(once.dbeta, again.dbeta));
  }
}

TYPED_TEST(DeviceBatchNorm, OutputsThatAreNotAskedForMayBeNull) {
  using T = TypeParam;
  for (const int64_t channels : {5, 16}) {
    const BatchNormShape o = {50, channels};
    const Inputs p = parameters(channels);
    const auto x = random_numbers<T>(o.rows * channels, 1), z = random_numbers<T>(x.size(), 2),
               dy = random_numbers<T>(x.size(), 3);
    const auto all = forward(x, z, p, Form::kAddRelu, o);

    const DeviceArray<T> x_(x), z_(z), y(unwritten<T>(o.rows * channels));
    const DeviceArray<float> gamma(p.gamma), beta(p.beta), mean(unwritten<float>(channels)),
        inv_std(unwritten<float>(channels));
    batch_norm_add_relu_forward(current_cuda(0), x_.get(), static_cast<const T*>(z_.get()),
                                gamma.get(), beta.get(), y.get(), nullptr, mean.get(),
                                inv_std.get(), nullptr, nullptr, 0.1, o);
    EXPECT_TRUE(same_bits(y.host(), all.y));
    EXPECT_TRUE(same_bits(mean.host(), all.mean));

    const auto run = [&](const Wanted& wanted) {
      return backward(dy, all.mask, x, p, all.mean, all.inv_std, o, wanted);
    };
    const auto full = run({});
    const auto check = [&](const Wanted& wanted) {
      const auto some = run(wanted);
      const auto untouched = unwritten<T>(o.rows * channels);
      const auto untouched_channels = unwritten<float>(channels);
      EXPECT_TRUE(same_bits(some.dx, wanted.dx ? full.dx : untouched));
      EXPECT_TRUE(same_bits(some.dz, wanted.dz ? full.dz : untouched));
      EXPECT_TRUE(same_bits(some.dgamma, wanted.dgamma ? full.dgamma : untouched_channels));
      EXPECT_TRUE(same_bits(some.dbeta, wanted.dbeta ? full.dbeta : untouched_channels));
    };
    check({.dx = true, .dz = false, .dgamma = false, .dbeta = false});
    check({.dx = false, .dz = true, .dgamma = false, .dbeta = false});
    check({.dx = false, .dz = false, .dgamma = true, .dbeta = false});
    check({.dx = false, .dz = false, .dgamma = false, .dbeta = true});
    check({.dx = true, .dz = false, .dgamma = true, .dbeta = true});
  }
}

TYPED_TEST(DeviceBatchNorm, TakesTensorsAtAnyAddress) {
  using T = TypeParam;
  // A slice of a tensor may begin anywhere.
  const BatchNormShape o = {40, 8};
  const int64_t all = o.rows * o.channels;
  const Inputs p = parameters(o.channels);
  const auto padded = random_numbers<T>(all + 1, 1);
  const std::vector<T> x(padded.begin() + 1, padded.end());
  const DeviceArray<T> x_(padded), y(unwritten<T>(all + 1));
  const DeviceArray<float> gamma(p.gamma), beta(p.beta), mean(unwritten<float>(8)),
      inv_std(unwritten<float>(8));
  const DeviceArray<uint8_t> mask(unwritten<uint8_t>(mask_bytes(o)));
  batch_norm_add_relu_forward(current_cuda(0), x_.get() + 1, static_cast<const T*>(nullptr),
                              gamma.get(), beta.get(), y.get() + 1, mask.get(), mean.get(),
                              inv_std.get(), nullptr, nullptr, 0.1, o);
  const auto truth = true_forward(x, x, p, Form::kRelu, o);
  const std::vector<T> found = y.host();
  EXPECT_EQ(to_float(found[0]), 77);
  EXPECT_LT(error_of(std::vector<T>(found.begin() + 1, found.end()), truth.y), kTolerance<T>);
  for (size_t i = 0; i < x.size(); ++i) {
    ASSERT_EQ(bit(mask.host(), i), to_float(found[i + 1]) > 0) << i;
  }
}

TYPED_TEST(DeviceBatchNorm, ANanPassesTheRelu) {
  using T = TypeParam;
  for (const int64_t channels : {3, 8}) {
    const BatchNormShape o = {9, channels};
    const auto x = random_numbers<T>(o.rows * channels, 1);
    std::vector<T> z = x;
    z[10] = from_float<T>(std::numeric_limits<float>::quiet_NaN());
    const auto actual = forward(x, z, parameters(channels), Form::kAddRelu, o);
    EXPECT_TRUE(std::isnan(to_float(actual.y[10])));
    EXPECT_TRUE(bit(actual.mask, 10));
    EXPECT_FALSE(std::isnan(to_float(actual.y[9])));
  }
}

TYPED_TEST(DeviceBatchNorm, FoldsIntoAConvolution) {
  using T = TypeParam;
  for (const int64_t per_filter : {1, 27, 300}) {
    const BatchNormShape o = {0, 5};
    const Inputs p = parameters(5);
    const auto w = random_numbers<float>(5 * per_filter, 1), mean = random_numbers<float>(5, 6),
               variance = random_numbers<float>(5, 7, 2, 0.5F);
    const DeviceArray<float> w_(w), gamma(p.gamma), beta(p.beta), mean_(mean), variance_(variance),
        bias(unwritten<float>(5));
    const DeviceArray<T> folded(unwritten<T>(5 * per_filter));
    fold_batch_norm(current_cuda(0), w_.get(), gamma.get(), beta.get(), mean_.get(),
                    variance_.get(), folded.get(), bias.get(), per_filter, o);
    std::vector<double> true_folded(w.size()), true_bias(5);
    fold_batch_norm(Cpu{}, widened(w).data(), widened(p.gamma).data(), widened(p.beta).data(),
                    widened(mean).data(), widened(variance).data(), true_folded.data(),
                    true_bias.data(), per_filter, o);
    EXPECT_LT(error_of(folded.host(), true_folded), kTolerance<T>);
    EXPECT_LT(error_of(bias.host(), true_bias), 1e-6);
  }
}

TYPED_TEST(DeviceBatchNorm, OfNoRowsDoesNothing) {
  using T = TypeParam;
  const DeviceArray<T> none(0);
  const DeviceArray<float> channels(unwritten<float>(8));
  const BatchNormShape no_rows = {0, 8}, no_channels = {8, 0};
  for (const BatchNormShape& o : {no_rows, no_channels}) {
    const Cuda device = current_cuda(0);
    float* const c = channels.get();
    const T* const from = none.get();
    batch_norm_forward(device, from, c, c, none.get(), c, c, c, c, 0.1, o);
    batch_norm_backward(device, from, from, c, c, c, none.get(), c, c, o);
    batch_norm_inference(device, from, c, c, c, c, none.get(), o);
    batch_norm_inference_backward(device, from, from, c, c, c, none.get(), c, c, o);
  }
  EXPECT_TRUE(same_bits(channels.host(), unwritten<float>(8)));
}

#else

TYPED_TEST(DeviceBatchNorm, NeedsADevice) {}

#endif

}  // namespace
}  // namespace glassnet::kernels
