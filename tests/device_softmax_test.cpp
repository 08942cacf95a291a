// Softmax, log-softmax and cross-entropy on the CUDA device against the float64 definitions, with a
// warp and with a block to a row.
#include <gtest/gtest.h>

#include "kernels/softmax.h"
#include "tests/device_support.h"
#include "tests/kernel_support.h"

namespace glassnet::kernels {
namespace {

template <class T>
class DeviceSoftmax : public DeviceTest {};
TYPED_TEST_SUITE(DeviceSoftmax, ElementTypes);
template <class T>
class DeviceCrossEntropy : public DeviceTest {};
TYPED_TEST_SUITE(DeviceCrossEntropy, ElementTypes);

#if defined(GLASSNET_CUDA)

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

TYPED_TEST(DeviceSoftmax, AgreesWithTheDefinition) {
  using T = TypeParam;
  for (const int64_t classes : {1, 3, 6, 32, 33, 136, 257, 1000}) {
    for (const int64_t rows : {1, 7, 17}) {
      SCOPED_TRACE(std::to_string(rows) + " rows, " + std::to_string(classes) + " classes");
      const SoftmaxShape o = {rows, classes};
      const int64_t all = rows * classes;
      const auto x = random_numbers<T>(all, 1, 50, 3), dy = random_numbers<T>(all, 2);
      const DeviceArray<T> x_(x), dy_(dy);
      const auto check = [&](auto forward, auto backward, bool log) {
        const DeviceArray<T> y(unwritten<T>(all)), dx(unwritten<T>(all));
        const T *from = x_.get(), *gradient = dy_.get();
        forward(current_cuda(0), from, y.get());
        const std::vector<T> y_host = y.host();
        const T* kept = y.get();
        backward(current_cuda(0), gradient, kept, dx.get());
        std::vector<double> true_y(all), true_dx(all);
        forward(Cpu{}, widened(x).data(), true_y.data());
        backward(Cpu{}, widened(dy).data(), widened(y_host).data(), true_dx.data());
        EXPECT_LT(error_of(y_host, true_y), kTolerance<T>) << (log ? "log" : "");
        // Of one class the derivative is 0, the difference of what it is made of.
        EXPECT_LT(error_of(dx.host(), true_dx, classes == 1 ? 1 : 0), kTolerance<T>)
            << (log ? "log" : "");
      };
      check([&](auto device, auto from, auto to) { softmax_forward(device, from, to, o); },
            [&](auto device, auto gradient, auto y, auto to) {
              softmax_backward(device, gradient, y, to, o);
            },
            false);
      check([&](auto device, auto from, auto to) { log_softmax_forward(device, from, to, o); },
            [&](auto device, auto gradient, auto y, auto to) {
              log_softmax_backward(device, gradient, y, to, o);
            },
            true);
    }
  }
}

TYPED_TEST(DeviceSoftmax, OverflowsNowhereAndANanTakesItsRow) {
  using T = TypeParam;
  for (const int64_t classes : {4, 300}) {
    const SoftmaxShape o = {3, classes};
    std::vector<T> x(static_cast<size_t>(3 * classes), from_float<T>(-60000));
    x[1] = from_float<T>(60000);
    x[classes + 2] = from_float<T>(kNan);
    x[2 * classes + 3] = from_float<T>(-kInfinity);
    const DeviceArray<T> x_(x), y(unwritten<T>(3 * classes));
    softmax_forward(current_cuda(0), x_.get(), y.get(), o);
    const std::vector<double> found = widened(y.host());
    EXPECT_EQ(found[0], 0);
    EXPECT_EQ(found[1], 1);
    for (int64_t c = 0; c < classes; ++c) EXPECT_TRUE(std::isnan(found[classes + c])) << c;
    EXPECT_EQ(found[2 * classes + 3], 0);
    EXPECT_NEAR(found[2 * classes], 1 / static_cast<double>(classes - 1), 1e-3);
  }
}

template <class T>
struct Loss {
  double loss;
  std::vector<T> dx;
};
template <class T>
Loss<T> on_device(const std::vector<T>& x, const std::vector<int64_t>& labels,
                  const CrossEntropyShape& o, bool with_gradient = true) {
  const DeviceArray<T> x_(x), dx(unwritten<T>(o.rows * o.classes));
  const DeviceArray<int64_t> labels_(labels);
  const DeviceArray<float> loss(unwritten<float>(1));
  cross_entropy(current_cuda(0), x_.get(), labels_.get(), loss.get(),
                with_gradient ? dx.get() : nullptr, o);
  return {static_cast<double>(loss.host()[0]), dx.host()};
}
Loss<double> definition(const std::vector<double>& x, const std::vector<int64_t>& labels,
                        const CrossEntropyShape& o) {
  Loss<double> r = {77, unwritten<double>(o.rows * o.classes)};
  cross_entropy(Cpu{}, x.data(), labels.data(), &r.loss, r.dx.data(), o);
  return r;
}

TYPED_TEST(DeviceCrossEntropy, AgreesWithTheDefinition) {
  using T = TypeParam;
  for (const int64_t classes : {1, 6, 33, 257, 1000}) {
    for (const int64_t rows : {1, 7, 33, 300}) {
      if (rows * classes > 40000) continue;
      for (const double smoothing : {0.0, 0.1}) {
        SCOPED_TRACE(std::to_string(rows) + " rows, " + std::to_string(classes) + " classes");
        CrossEntropyShape o = {rows, classes, smoothing};
        const auto x = random_numbers<T>(rows * classes, 1, 2, 3);
        std::vector<int64_t> labels;
        for (int64_t i = 0; i < rows; ++i) {
          labels.push_back(i % 5 == 3 ? o.ignored_label : i * 7 % classes);
        }
        const auto actual = on_device(x, labels, o);
        const auto truth = definition(widened(x), labels, o);
        EXPECT_NEAR(actual.loss, truth.loss, 2e-6 * std::max(1.0, std::abs(truth.loss)));
        EXPECT_LT(error_of(actual.dx, truth.dx, classes == 1 ? 1 : 0), kTolerance<T>);
        const auto without = on_device(x, labels, o, false);
        EXPECT_EQ(without.loss, actual.loss);
        EXPECT_TRUE(same_bits(without.dx, unwritten<T>(rows * classes)));
      }
    }
  }
}

TYPED_TEST(DeviceCrossEntropy, AnIgnoredLabelMayBeAClass) {
  using T = TypeParam;
  const CrossEntropyShape o = {.rows = 6, .classes = 4, .ignored_label = 2};
  const auto x = random_numbers<T>(24, 1);
  const std::vector<int64_t> labels = {0, 2, 1, 3, 2, 0};
  const auto actual = on_device(x, labels, o);
  const auto truth = definition(widened(x), labels, o);
  EXPECT_NEAR(actual.loss, truth.loss, 2e-6);
  EXPECT_LT(error_of(actual.dx, truth.dx), kTolerance<T>);
}

TYPED_TEST(DeviceCrossEntropy, WithoutARowThatCountsIsNan) {
  using T = TypeParam;
  for (const int64_t classes : {5, 300}) {
    const CrossEntropyShape o = {3, classes};
    const std::vector<int64_t> labels(3, o.ignored_label);
    const auto actual = on_device(random_numbers<T>(3 * classes, 1), labels, o);
    EXPECT_TRUE(std::isnan(actual.loss));
    for (const T value : actual.dx) ASSERT_EQ(to_float(value), 0);
  }
  const CrossEntropyShape none = {0, 5};
  EXPECT_TRUE(std::isnan(on_device(std::vector<T>{}, {}, none).loss));
}

TYPED_TEST(DeviceCrossEntropy, ALabelThatIsNoClassIsNan) {
  using T = TypeParam;
  for (const int64_t classes : {5, 300}) {
    for (const int64_t wrong : {int64_t{-1}, classes, int64_t{1} << 40}) {
      const CrossEntropyShape o = {4, classes};
      const auto x = random_numbers<T>(4 * classes, 1);
      const auto actual = on_device(x, {1, wrong, 2, 0}, o);
      EXPECT_TRUE(std::isnan(actual.loss));
      const auto truth = definition(widened(x), {1, 3, 2, 0}, o);
      for (int64_t i = 0; i < 4 * classes; ++i) {
        const auto value = static_cast<double>(to_float(actual.dx[i]));
        if (i / classes == 1) {
          ASSERT_TRUE(std::isnan(value)) << i;
        } else {
          ASSERT_NEAR(value, truth.dx[i], kTolerance<T>) << i;
        }
      }
    }
  }
}

TYPED_TEST(DeviceCrossEntropy, AnInfiniteLogitCountsOnlyWhereItShould) {
  using T = TypeParam;
  // A class that is ruled out costs nothing as long as it is not the label and nothing is smoothed.
  const CrossEntropyShape o = {1, 3};
  const std::vector<T> x = {from_float<T>(1), from_float<T>(-kInfinity), from_float<T>(0)};
  EXPECT_NEAR(on_device(x, {0}, o).loss, std::log1p(std::exp(-1.0)), 1e-6);
  EXPECT_EQ(on_device(x, {1}, o).loss, static_cast<double>(kInfinity));
}

TYPED_TEST(DeviceCrossEntropy, RepeatsBitByBit) {
  using T = TypeParam;
  const CrossEntropyShape o = {1500, 10, 0.05};
  const auto x = random_numbers<T>(15000, 1);
  std::vector<int64_t> labels;
  for (int64_t i = 0; i < o.rows; ++i) labels.push_back(i % 10);
  const auto first = on_device(x, labels, o), second = on_device(x, labels, o);
  EXPECT_EQ(first.loss, second.loss);
  EXPECT_TRUE(same_bits(first.dx, second.dx));
}

#else

TYPED_TEST(DeviceSoftmax, NeedsADevice) {}
TYPED_TEST(DeviceCrossEntropy, NeedsADevice) {}

#endif

}  // namespace
}  // namespace glassnet::kernels
