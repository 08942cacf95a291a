// Sums over axes on the CUDA device against sums in double: which axes, how long, from where, and
// that the same bits come out each time.
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "kernels/reduce.h"
#include "kernels/reference/reduce.h"
#include "tests/device_kernels.h"

namespace glassnet {
namespace {

#if defined(GLASSNET_CUDA)
using kernels::ReduceShape;

const std::vector<ReduceShape> kShapes = {
    {{}, {}},
    {{1, 1}, {true, false}},
    {{7}, {true}},
    {{7}, {false}},
    {{4, 6}, {false, false}},
    // A reduced run: short, with a tail, in vectors, in parts.
    {{5, 3}, {false, true}},
    {{9, 64}, {false, true}},
    {{3, 5000}, {false, true}},
    {{2, 4096}, {false, true}},
    {{70'001}, {true}},
    // A kept run: narrow, wide, not a multiple of a tile, in parts.
    {{500, 3}, {true, false}},
    {{40, 70}, {true, false}},
    {{4100, 33}, {true, false}},
    {{2, 49, 40}, {false, true, false}},
    {{3, 1500, 8}, {false, true, false}},
    // Kept and reduced in turn.
    {{2, 3, 4, 5}, {true, false, true, false}},
    {{2, 3, 4, 5}, {false, true, false, true}},
    {{3, 4, 5, 8}, {true, false, true, true}},
    {{30, 2, 80, 16}, {true, false, true, true}},
    {{30, 2, 60, 5}, {true, false, true, false}},
    {{2, 2, 2, 2, 2, 2, 2, 3}, {true, false, true, false, true, false, true, false}},
    {{2, 2, 2, 2, 2, 2, 2, 8}, {false, true, false, true, false, true, false, true}},
    // Sums of nothing, and no sums.
    {{3, 0}, {false, true}},
    {{0, 3}, {true, false}},
    {{2, 0, 3}, {true, true, false}},
    {{0, 3}, {false, true}},
    {{0, 3}, {false, false}},
};

int64_t count_of(const ReduceShape& shape, bool kept_only) {
  int64_t n = 1;
  for (size_t axis = 0; axis < shape.dims.size(); ++axis) {
    if (!kept_only || !shape.reduced[axis]) n *= shape.dims[axis];
  }
  return n;
}

template <class T>
class DeviceReduce : public DeviceTypedTest<T> {};
TYPED_TEST_SUITE(DeviceReduce, DeviceTypes, DeviceTypeName);

TYPED_TEST(DeviceReduce, SumsOverAxes) {
  using T = TypeParam;
  for (size_t i = 0; i < kShapes.size(); ++i) {
    const ReduceShape& shape = kShapes[i];
    const int64_t count = count_of(shape, false), outputs = count_of(shape, true);
    const std::vector<T> x = numbers<T>(count, 1, -1, 2);
    const std::vector<float> wide = widened(x);
    std::vector<double> expected(static_cast<size_t>(outputs));
    kernels::reference::sum(std::vector<double>(wide.begin(), wide.end()).data(), expected.data(),
                            0.75, shape);
    for (const size_t offset : {0, 1}) {
      const Placed<T> from(x, offset), to(expected.size(), offset), again(expected.size(), 0);
      kernels::sum(cuda(), from.get(), to.get(), 0.75, shape);
      kernels::sum(cuda(), from.get(), again.get(), 0.75, shape);
      EXPECT_TRUE(all_near(to.host(), expected, 1e-5)) << "shape " << i << ", offset " << offset;
      EXPECT_EQ(widened(to.host()), widened(again.host())) << "shape " << i << " differs";
    }
  }
}

TYPED_TEST(DeviceReduce, SpreadsGradientsAlongAxes) {
  using T = TypeParam;
  for (size_t i = 0; i < kShapes.size(); ++i) {
    const ReduceShape& shape = kShapes[i];
    const int64_t count = count_of(shape, false), outputs = count_of(shape, true);
    const std::vector<T> dy = numbers<T>(outputs, 2);
    const std::vector<float> wide = widened(dy);
    std::vector<double> expected(static_cast<size_t>(count));
    kernels::reference::sum_backward(std::vector<double>(wide.begin(), wide.end()).data(),
                                     expected.data(), 0.75, shape);
    for (const size_t offset : {0, 1}) {
      const Placed<T> from(dy, offset), to(expected.size(), 0);
      kernels::sum_backward(cuda(), from.get(), to.get(), 0.75, shape);
      EXPECT_TRUE(all_near(to.host(), expected)) << "shape " << i << ", offset " << offset;
      const Placed<T> elsewhere(expected.size(), 1);
      kernels::sum_backward(cuda(), from.get(), elsewhere.get(), 0.75, shape);
      EXPECT_TRUE(all_near(elsewhere.host(), expected)) << "shape " << i << ", off the grid";
    }
  }
}

class DeviceLongSum : public DeviceTest {};

// Added one after the other in float32, these would be off by more than a thousandth.
TEST_F(DeviceLongSum, KeepsItsDigits) {
  constexpr int64_t kCount = 1 << 21;
  const std::vector<float> x(kCount, 0.1F);
  const Placed<float> from(x, 0);
  const double expected = static_cast<double>(0.1F) * kCount;
  for (const ReduceShape& shape : std::vector<ReduceShape>{{{kCount}, {true}},
                                                           {{kCount / 4, 4}, {true, false}},
                                                           {{4, kCount / 4}, {false, true}}}) {
    const auto outputs = static_cast<size_t>(count_of(shape, true));
    const Placed<float> to(outputs, 0);
    kernels::sum(cuda(), from.get(), to.get(), 1, shape);
    for (const float y : to.host()) {
      EXPECT_NEAR(static_cast<double>(y) * static_cast<double>(outputs) / expected, 1, 1e-6);
    }
  }
}

// A sum that does not fit is infinite, not a NaN.
TEST_F(DeviceLongSum, OverflowsToInfinity) {
  const Placed<float> x(std::vector<float>(3000, 3e38F), 0), y(size_t{1}, 0);
  kernels::sum(cuda(), x.get(), y.get(), 1, {{3000}, {true}});
  EXPECT_EQ(y.host()[0], INFINITY);
}
#endif

}  // namespace
}  // namespace glassnet
