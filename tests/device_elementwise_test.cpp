// The elementwise kernels where the table of op cases does not reach: lengths around a vector's,
// operands off the sixteen-byte grid, every kind of broadcast, results in place of an operand.
#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <vector>

#include "kernels/elementwise.h"
#include "kernels/error.h"
#include "tests/device_kernels.h"

namespace glassnet {
namespace {

#if defined(GLASSNET_CUDA)
using kernels::BroadcastShape;

const std::vector<int64_t> kLengths = {0, 1, 3, 7, 8, 9, 16, 31, 65, 2047, 2048, 2050};

template <class T>
class DeviceUnary : public DeviceTypedTest<T> {
 protected:
  // Positive numbers, which every functor takes.
  template <class F>
  void check(F f) {
    for (const int64_t n : kLengths) {
      for (const size_t offset : {0, 1}) {
        const std::vector<T> x = numbers<T>(n, 1, 0.25F, 3), dy = numbers<T>(n, 2);
        std::vector<double> y_expected, dx_expected;
        std::vector<T> y;
        for (size_t i = 0; i < x.size(); ++i) {
          const float value = f.value(to_float(x[i]));
          y.push_back(from_float<T>(value));
          y_expected.push_back(value);
          dx_expected.push_back(f.vjp(to_float(x[i]), to_float(y[i]), to_float(dy[i])));
        }
        const Placed<T> at_x(x, offset), at_y(x.size(), 0);
        kernels::unary(cuda(), f, at_x.get(), at_y.get(), n);
        EXPECT_TRUE(all_near(at_y.host(), y_expected)) << n << ", offset " << offset;
        kernels::unary(cuda(), f, at_x.get(), at_x.get(), n);
        EXPECT_TRUE(all_near(at_x.host(), y_expected)) << n << " in place";

        const Placed<T> saved_x(x, 0), saved_y(y, 0), at_dy(dy, offset), at_dx(x.size(), offset);
        // No kernel may look at what its functor does not use.
        const T* const nowhere =
            reinterpret_cast<const T*>(uintptr_t{3});  // NOLINT(performance-no-int-to-ptr)
        kernels::unary_backward(cuda(), f, F::kUsesX ? saved_x.get() : nowhere,
                                F::kUsesY ? saved_y.get() : nullptr, at_dy.get(), at_dx.get(), n);
        EXPECT_TRUE(all_near(at_dx.host(), dx_expected)) << n << ", offset " << offset;
        kernels::unary_backward(cuda(), f, F::kUsesX ? saved_x.get() : nullptr,
                                F::kUsesY ? saved_y.get() : nowhere, at_dy.get(), at_dy.get(), n);
        EXPECT_TRUE(all_near(at_dy.host(), dx_expected)) << n << " in place";
      }
    }
  }
};
TYPED_TEST_SUITE(DeviceUnary, DeviceTypes, DeviceTypeName);

TYPED_TEST(DeviceUnary, OfTheResult) {
  this->check(kernels::Sigmoid{});
}
TYPED_TEST(DeviceUnary, OfTheArgument) {
  this->check(kernels::Log{});
}
TYPED_TEST(DeviceUnary, OfNeither) {
  this->check(kernels::Affine{0.5, -1.25});
}

TYPED_TEST(DeviceUnary, NumbersThatAreNone) {
  using T = TypeParam;
  constexpr float kNan = NAN, kInfinity = INFINITY;
  const Placed<T> x(rounded<T>({kNan, -kInfinity, kInfinity, -0.0F, -1, 2, kNan, 1, kNan}), 0);
  kernels::unary(cuda(), kernels::Relu{}, x.get(), x.get(), 9);
  EXPECT_TRUE(all_near(x.host(), {kNan, 0, kInfinity, 0, 0, 2, kNan, 1, kNan}));
}

// The result's shape of two operands, whose extents of 1 and missing first axes are repeated.
BroadcastShape broadcast(const std::vector<int64_t>& a, const std::vector<int64_t>& b) {
  const size_t rank = std::max(a.size(), b.size());
  BroadcastShape shape{std::vector<int64_t>(rank, 1), std::vector<int64_t>(rank, 0),
                       std::vector<int64_t>(rank, 0)};
  const auto add = [&](const std::vector<int64_t>& dims, std::vector<int64_t>& strides) {
    int64_t stride = 1;
    for (size_t i = dims.size(); i-- > 0; stride *= dims[i]) {
      const size_t axis = rank - dims.size() + i;
      if (dims[i] == 1) continue;
      shape.dims[axis] = dims[i];
      strides[axis] = stride;
    }
  };
  add(a, shape.stride_a);
  add(b, shape.stride_b);
  return shape;
}

struct Operands {
  std::vector<int64_t> a, b;
};
const std::vector<Operands> kOperands = {
    {{}, {}},
    {{5}, {5}},
    {{2050}, {2050}},
    {{6, 16}, {6, 16}},
    {{100}, {}},
    {{}, {100}},
    {{64}, {1}},
    {{4, 16}, {16}},
    {{16}, {4, 16}},
    {{4, 16}, {4, 1}},
    {{4, 1}, {4, 16}},
    {{4, 1}, {16}},
    {{3, 5}, {5}},
    {{3, 12}, {12}},
    {{40, 8}, {40, 1}},
    {{2, 3, 8}, {1, 3, 1}},
    {{2, 3, 4, 8}, {2, 1, 1, 8}},
    {{2, 3, 4, 5}, {3, 1, 5}},
    {{2, 1, 3, 1, 2, 1, 2, 1}, {1, 2, 1, 2, 1, 2, 1, 3}},
    {{3, 0}, {3, 1}},
};

template <class T>
class DeviceBinary : public DeviceTypedTest<T> {
 protected:
  // Element `i` of a walk over the result, in an operand.
  static int64_t place(int64_t i, const std::vector<int64_t>& dims,
                       const std::vector<int64_t>& strides) {
    int64_t at = 0;
    for (size_t axis = dims.size(); axis-- > 0; i /= dims[axis]) {
      at += i % dims[axis] * strides[axis];
    }
    return at;
  }
  static int64_t product(const std::vector<int64_t>& dims) {
    int64_t n = 1;
    for (const int64_t d : dims) n *= d;
    return n;
  }

  template <class F>
  void check(F f, const Operands& operands, size_t offset_a, size_t offset_b, size_t offset_y) {
    const BroadcastShape shape = broadcast(operands.a, operands.b);
    const int64_t count = shape.numel();
    const auto n = static_cast<size_t>(count);
    const std::vector<T> a = numbers<T>(product(operands.a), 1),
                         b = numbers<T>(product(operands.b), 2, 0.5F, 2), dy = numbers<T>(count, 3);
    std::vector<double> y_expected, da_expected, db_expected;
    for (int64_t i = 0; i < count; ++i) {
      const float at_a = to_float(a[static_cast<size_t>(place(i, shape.dims, shape.stride_a))]);
      const float at_b = to_float(b[static_cast<size_t>(place(i, shape.dims, shape.stride_b))]);
      const float at_dy = to_float(dy[static_cast<size_t>(i)]);
      y_expected.push_back(f.value(at_a, at_b));
      da_expected.push_back(f.vjp_a(at_a, at_b, at_dy));
      db_expected.push_back(f.vjp_b(at_a, at_b, at_dy));
    }
    const Placed<T> at_a(a, offset_a), at_b(b, offset_b), at_dy(dy, 0), y(n, offset_y);
    kernels::binary(cuda(), f, at_a.get(), at_b.get(), y.get(), shape);
    EXPECT_TRUE(all_near(y.host(), y_expected));

    const Placed<T> da(n, offset_y), db(n, 0), only(n, 0);
    T* const none = nullptr;
    kernels::binary_backward(cuda(), f, at_a.get(), at_b.get(), at_dy.get(), da.get(), db.get(),
                             shape);
    EXPECT_TRUE(all_near(da.host(), da_expected));
    EXPECT_TRUE(all_near(db.host(), db_expected));
    kernels::binary_backward(cuda(), f, at_a.get(), at_b.get(), at_dy.get(), only.get(), none,
                             shape);
    EXPECT_TRUE(all_near(only.host(), da_expected)) << "without db";
    kernels::binary_backward(cuda(), f, at_a.get(), at_b.get(), at_dy.get(), none, only.get(),
                             shape);
    EXPECT_TRUE(all_near(only.host(), db_expected)) << "without da";

    // The result may take the place of an operand of its shape.
    if (a.size() == n) {
      kernels::binary(cuda(), f, at_a.get(), at_b.get(), at_a.get(), shape);
      EXPECT_TRUE(all_near(at_a.host(), y_expected)) << "in place of a";
    } else if (b.size() == n) {
      kernels::binary(cuda(), f, at_a.get(), at_b.get(), at_b.get(), shape);
      EXPECT_TRUE(all_near(at_b.host(), y_expected)) << "in place of b";
    }
  }
};
TYPED_TEST_SUITE(DeviceBinary, DeviceTypes, DeviceTypeName);

TYPED_TEST(DeviceBinary, EveryKindOfBroadcast) {
  for (size_t i = 0; i < kOperands.size(); ++i) {
    SCOPED_TRACE("operands " + std::to_string(i));
    this->check(kernels::Div{}, kOperands[i], 0, 0, 0);
    this->check(kernels::Sub{}, kOperands[i], 0, 0, 0);
  }
}
TYPED_TEST(DeviceBinary, OffTheGrid) {
  for (size_t i = 0; i < kOperands.size(); ++i) {
    SCOPED_TRACE("operands " + std::to_string(i));
    this->check(kernels::Mul{}, kOperands[i], 1, 0, 0);
    this->check(kernels::Mul{}, kOperands[i], 0, 1, 0);
    this->check(kernels::Mul{}, kOperands[i], 0, 0, 1);
  }
}

TYPED_TEST(DeviceBinary, RefusesMoreThanEightAxes) {
  using T = TypeParam;
  const std::vector<int64_t> a = {2, 1, 2, 1, 2, 1, 2, 1, 2}, b = {1, 2, 1, 2, 1, 2, 1, 2, 1};
  const Placed<T> x(size_t{32}, 0), y(size_t{512}, 0);
  EXPECT_THROW(kernels::binary(cuda(), kernels::Add{}, x.get(), x.get(), y.get(), broadcast(a, b)),
               Error);
}
#endif

}  // namespace
}  // namespace glassnet
