// Looking along the last axis on the CUDA device against the CPU's, ties and NaN included.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <vector>

#include "kernels/index.h"
#include "tests/device_kernels.h"

namespace glassnet {
namespace {

#if defined(GLASSNET_CUDA)

const std::vector<kernels::RowsShape> kShapes = {{1, 1},  {3, 2},   {5, 31},   {4, 32}, {130, 3},
                                                 {2, 33}, {7, 100}, {3, 1000}, {0, 4}};

template <class T>
class DeviceIndex : public DeviceTypedTest<T> {
 protected:
  // Largest elements, and where they are.
  void check(const std::vector<T>& x, const kernels::RowsShape& shape) {
    const auto rows = static_cast<size_t>(shape.rows);
    std::vector<float> largest(rows);
    std::vector<int64_t> where(rows);
    kernels::max_last(Cpu{}, widened(x).data(), largest.data(), where.data(), shape);
    const Placed<T> from(x, 1), value(rows, 1), value_alone(rows, 0);
    const Placed<int64_t> index(rows, 1), index_alone(rows, 0);
    kernels::max_last(cuda(), from.get(), value.get(), index.get(), shape);
    EXPECT_EQ(index.host(), where);
    const std::vector<float> found = widened(value.host());
    for (size_t row = 0; row < rows; ++row) {
      EXPECT_TRUE(found[row] == largest[row] ||
                  (std::isnan(found[row]) && std::isnan(largest[row])))
          << found[row] << " for " << largest[row];
    }
    kernels::max_last(cuda(), from.get(), static_cast<T*>(nullptr), index_alone.get(), shape);
    EXPECT_EQ(index_alone.host(), where);
    kernels::max_last(cuda(), from.get(), value_alone.get(), nullptr, shape);
    const std::vector<T> both = value.host(), alone = value_alone.host();
    EXPECT_TRUE(rows == 0 || std::memcmp(both.data(), alone.data(), rows * sizeof(T)) == 0);
  }
};
TYPED_TEST_SUITE(DeviceIndex, DeviceTypes, DeviceTypeName);

TYPED_TEST(DeviceIndex, FindsTheFirstOfTheLargest) {
  using T = TypeParam;
  for (const kernels::RowsShape& shape : kShapes) {
    SCOPED_TRACE(std::to_string(shape.rows) + " x " + std::to_string(shape.columns));
    const int64_t count = shape.rows * shape.columns;
    this->check(numbers<T>(count, 1), shape);
    this->check(numbers<T>(count, 2, -3, -2), shape);
    // Five values: most rows have ties.
    std::vector<float> few = widened(numbers<T>(count, 3, 0, 5));
    for (float& x : few) x = std::floor(x);
    this->check(rounded<T>(few), shape);
    this->check(std::vector<T>(static_cast<size_t>(count), from_float<T>(-INFINITY)), shape);
  }
}

TYPED_TEST(DeviceIndex, ANaNIsTheLargest) {
  using T = TypeParam;
  for (const kernels::RowsShape& shape : kShapes) {
    SCOPED_TRACE(std::to_string(shape.rows) + " x " + std::to_string(shape.columns));
    const int64_t count = shape.rows * shape.columns;
    for (const int64_t step : {2, 5, 37}) {
      std::vector<float> x = widened(numbers<T>(count, 4));
      for (int64_t i = step / 2; i < count; i += step) x[static_cast<size_t>(i)] = NAN;
      for (int64_t i = step - 1; i < count; i += step) x[static_cast<size_t>(i)] = INFINITY;
      this->check(rounded<T>(x), shape);
    }
  }
}

TYPED_TEST(DeviceIndex, ZerosOfBothSignsAreEqual) {
  using T = TypeParam;
  this->check(rounded<T>({-1, -0.0F, 0, 0, -0.0F, -1, 0, -0.0F}), {2, 4});
}

TYPED_TEST(DeviceIndex, SelectsAndGivesBack) {
  using T = TypeParam;
  for (const kernels::RowsShape& shape : kShapes) {
    SCOPED_TRACE(std::to_string(shape.rows) + " x " + std::to_string(shape.columns));
    const int64_t count = shape.rows * shape.columns;
    const std::vector<T> x = numbers<T>(count, 5), dy = numbers<T>(shape.rows, 6);
    std::vector<int64_t> index(static_cast<size_t>(shape.rows));
    for (size_t i = 0; i < index.size(); ++i) {
      index[i] = static_cast<int64_t>(i * 7 + 3) % shape.columns;
    }
    std::vector<float> y(index.size()), dx(x.size());
    kernels::select(Cpu{}, widened(x).data(), index.data(), y.data(), shape);
    kernels::select_backward(Cpu{}, widened(dy).data(), index.data(), dx.data(), shape);
    const Placed<T> at_x(x, 1), at_dy(dy, 1), at_y(y.size(), 1), at_dx(dx.size(), 1);
    const Placed<int64_t> at_index(index, 0);
    kernels::select(cuda(), at_x.get(), at_index.get(), at_y.get(), shape);
    kernels::select_backward(cuda(), at_dy.get(), at_index.get(), at_dx.get(), shape);
    EXPECT_EQ(widened(at_y.host()), y);
    EXPECT_EQ(widened(at_dx.host()), dx);
  }
}

class DeviceCountEqual : public DeviceTest {};

TEST_F(DeviceCountEqual, CountsEqualPlaces) {
  for (const size_t count : {0, 1, 255, 256, 1000}) {
    std::vector<int64_t> a(count), b(count);
    float expected = 0;
    for (size_t i = 0; i < count; ++i) {
      a[i] = static_cast<int64_t>(i % 5) << 40;
      b[i] = static_cast<int64_t>(i % 3) << 40;
      if (a[i] == b[i]) ++expected;
    }
    const Placed<int64_t> at_a(a, 1), at_b(b, 0);
    const Placed<float> y(size_t{1}, 1);
    kernels::count_equal(cuda(), at_a.get(), at_b.get(), y.get(), static_cast<int64_t>(count));
    EXPECT_EQ(y.host()[0], expected);
  }
}
#endif

}  // namespace
}  // namespace glassnet
