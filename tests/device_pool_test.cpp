// Pooling and bilinear resizing on the CUDA device against the float64 definitions.
#include <gtest/gtest.h>

#include "kernels/pool.h"
#include "kernels/resize.h"
#include "tests/device_support.h"
#include "tests/kernel_support.h"

namespace glassnet::kernels {
namespace {

template <class T>
class DevicePool : public DeviceTest {};
TYPED_TEST_SUITE(DevicePool, ElementTypes);
template <class T>
class DeviceResize : public DeviceTest {};
TYPED_TEST_SUITE(DeviceResize, ElementTypes);

#if defined(GLASSNET_CUDA)

int64_t in_count(const Pool2dShape& o) {
  return o.n * o.h * o.w * o.c;
}
int64_t out_count(const Pool2dShape& o) {
  return o.n * o.out_h() * o.out_w() * o.c;
}

struct Case {
  const char* name;
  Pool2dShape shape;
};
std::vector<Case> pool_cases() {
  std::vector<Case> cases = {
      {"the ResNet's",
       {.n = 2,
        .h = 9,
        .w = 10,
        .c = 0,
        .r = 3,
        .s = 3,
        .stride_h = 2,
        .stride_w = 2,
        .pad_h = 1,
        .pad_w = 1}},
      {"overlapping", {.n = 1, .h = 5, .w = 7, .c = 0, .r = 3, .s = 2}},
      {"with gaps", {.n = 2, .h = 8, .w = 7, .c = 0, .r = 1, .s = 2, .stride_h = 3, .stride_w = 3}},
      {"global", {.n = 3, .h = 4, .w = 4, .c = 0, .r = 4, .s = 4}},
      {"uneven",
       {.n = 1,
        .h = 11,
        .w = 6,
        .c = 0,
        .r = 5,
        .s = 4,
        .stride_h = 2,
        .stride_w = 3,
        .pad_h = 2,
        .pad_w = 1}},
  };
  std::vector<Case> all;
  for (const Case& one : cases) {
    for (const int64_t channels : {1, 3, 8, 17, 72}) {
      all.push_back(one);
      all.back().shape.c = channels;
    }
  }
  return all;
}

template <class T>
struct Max {
  std::vector<T> y, dx;
  std::vector<uint8_t> index;
};
template <class T>
Max<T> max_on_device(const std::vector<T>& x, const std::vector<T>& dy, const Pool2dShape& o) {
  const DeviceArray<T> x_(x), dy_(dy), y(unwritten<T>(out_count(o))), dx(unwritten<T>(in_count(o)));
  const DeviceArray<uint8_t> index(unwritten<uint8_t>(out_count(o)));
  max_pool2d_forward(current_cuda(0), x_.get(), y.get(), index.get(), o);
  max_pool2d_backward(current_cuda(0), dy_.get(), index.get(), dx.get(), o);
  return {y.host(), dx.host(), index.host()};
}
Max<double> true_max(const std::vector<double>& x, const std::vector<double>& dy,
                     const Pool2dShape& o) {
  Max<double> r = {unwritten<double>(out_count(o)), unwritten<double>(in_count(o)),
                   unwritten<uint8_t>(out_count(o))};
  max_pool2d_forward(Cpu{}, x.data(), r.y.data(), r.index.data(), o);
  max_pool2d_backward(Cpu{}, dy.data(), r.index.data(), r.dx.data(), o);
  return r;
}

TYPED_TEST(DevicePool, AgreesWithTheDefinition) {
  using T = TypeParam;
  for (const auto& [name, o] : pool_cases()) {
    SCOPED_TRACE(std::string(name) + ", " + std::to_string(o.c) + " channels");
    const auto x = random_numbers<T>(in_count(o), 1), dy = random_numbers<T>(out_count(o), 2);
    const auto actual = max_on_device(x, dy, o);
    const auto truth = true_max(widened(x), widened(dy), o);
    EXPECT_EQ(error_of(actual.y, truth.y), 0);
    EXPECT_EQ(actual.index, truth.index);
    EXPECT_LT(error_of(actual.dx, truth.dx), kTolerance<T>);

    const DeviceArray<T> x_(x), dy_(dy), y(unwritten<T>(out_count(o))),
        dx(unwritten<T>(in_count(o)));
    avg_pool2d_forward(current_cuda(0), x_.get(), y.get(), o);
    avg_pool2d_backward(current_cuda(0), dy_.get(), dx.get(), o);
    std::vector<double> true_y(out_count(o)), true_dx(in_count(o));
    avg_pool2d_forward(Cpu{}, widened(x).data(), true_y.data(), o);
    avg_pool2d_backward(Cpu{}, widened(dy).data(), true_dx.data(), o);
    EXPECT_LT(error_of(y.host(), true_y), kTolerance<T>);
    EXPECT_LT(error_of(dx.host(), true_dx), kTolerance<T>);
  }
}

TYPED_TEST(DevicePool, FirstOfEqualMaximaWinsAndANanOverAll) {
  using T = TypeParam;
  const float nan = std::numeric_limits<float>::quiet_NaN(),
              infinity = std::numeric_limits<float>::infinity();
  const Pool2dShape o = {.n = 2,
                         .h = 9,
                         .w = 9,
                         .c = 0,
                         .r = 3,
                         .s = 3,
                         .stride_h = 2,
                         .stride_w = 2,
                         .pad_h = 1,
                         .pad_w = 1};
  for (const int64_t channels : {3, 8}) {
    Pool2dShape shape = o;
    shape.c = channels;
    // Few different values, so that most windows hold their maximum more than once.
    std::mt19937 bits(1);
    std::vector<T> x;
    for (int64_t i = 0; i < in_count(shape); ++i) {
      const float values[] = {-1, 0, -0.0F, 1, -infinity, infinity, nan};
      x.push_back(from_float<T>(values[bits() % (i % 5 == 0 ? 7 : 5)]));
    }
    const auto dy = random_numbers<T>(out_count(shape), 2);
    const auto actual = max_on_device(x, dy, shape);
    const auto truth = true_max(widened(x), widened(dy), shape);
    EXPECT_EQ(error_of(actual.y, truth.y), 0);
    EXPECT_EQ(actual.index, truth.index);
    EXPECT_LT(error_of(actual.dx, truth.dx), kTolerance<T>);
  }
}

TYPED_TEST(DevicePool, TakesTensorsAtAnyAddress) {
  using T = TypeParam;
  const Pool2dShape o = {
      .n = 1, .h = 6, .w = 6, .c = 8, .r = 2, .s = 2, .stride_h = 2, .stride_w = 2};
  const auto padded = random_numbers<T>(in_count(o) + 1, 1);
  const DeviceArray<T> x(padded), y(unwritten<T>(out_count(o)));
  avg_pool2d_forward(current_cuda(0), x.get() + 1, y.get(), o);
  std::vector<double> truth(out_count(o));
  avg_pool2d_forward(Cpu{}, widened(padded).data() + 1, truth.data(), o);
  EXPECT_LT(error_of(y.host(), truth), kTolerance<T>);
}

TYPED_TEST(DeviceResize, AgreesWithTheDefinition) {
  using T = TypeParam;
  struct Sizes {
    int64_t h, w, out_h, out_w;
  };
  for (const Sizes& size : {Sizes{7, 7, 20, 23},
                            {5, 6, 5, 6},
                            {9, 12, 4, 3},
                            {1, 3, 8, 1},
                            {2, 1, 1, 5},
                            {13, 4, 6, 31},
                            {3, 3, 9, 9}}) {
    for (const int64_t channels : {1, 3, 8, 72}) {
      const ResizeShape o = {2, size.h, size.w, channels, size.out_h, size.out_w};
      SCOPED_TRACE(std::to_string(o.h) + " x " + std::to_string(o.w) + " to " +
                   std::to_string(o.out_h) + " x " + std::to_string(o.out_w) + ", " +
                   std::to_string(o.c) + " channels");
      const int64_t in = o.n * o.h * o.w * o.c, out = o.n * o.out_h * o.out_w * o.c;
      const auto x = random_numbers<T>(in, 1), dy = random_numbers<T>(out, 2);
      const DeviceArray<T> x_(x), dy_(dy), y(unwritten<T>(out)), dx(unwritten<T>(in));
      resize_bilinear_forward(current_cuda(0), x_.get(), y.get(), o);
      resize_bilinear_backward(current_cuda(0), dy_.get(), dx.get(), o);
      std::vector<double> true_y(out), true_dx(in);
      resize_bilinear_forward(Cpu{}, widened(x).data(), true_y.data(), o);
      resize_bilinear_backward(Cpu{}, widened(dy).data(), true_dx.data(), o);
      EXPECT_LT(error_of(y.host(), true_y), kTolerance<T>);
      EXPECT_LT(error_of(dx.host(), true_dx), kTolerance<T>);
    }
  }
}

#else

TYPED_TEST(DevicePool, NeedsADevice) {}
TYPED_TEST(DeviceResize, NeedsADevice) {}

#endif

}  // namespace
}  // namespace glassnet::kernels
