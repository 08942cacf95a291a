// Fill, cast and permute on the CUDA device against the CPU's, bit by bit.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <vector>

#include "kernels/convert.h"
#include "kernels/copy.h"
#include "kernels/error.h"
#include "tests/device_kernels.h"

namespace glassnet {
namespace {

#if defined(GLASSNET_CUDA)

class DeviceCopy : public DeviceTest {};

// Compares like with like: the bits of a NaN are nobody's business.
template <class T>
bool same_number(T a, T b) {
  if constexpr (std::is_same_v<T, bfloat16> || std::is_same_v<T, float16>) {
    if (std::isnan(to_float(a)) && std::isnan(to_float(b))) return true;
  } else if constexpr (std::is_floating_point_v<T>) {
    if (std::isnan(a) && std::isnan(b)) return true;
  }
  return std::memcmp(static_cast<const void*>(&a), static_cast<const void*>(&b), sizeof(T)) == 0;
}

template <class From, class To>
void expect_cast_as_on_cpu(const std::vector<From>& x, size_t offset_x, size_t offset_y) {
  const auto count = static_cast<int64_t>(x.size());
  std::vector<To> expected(x.size());
  kernels::cast(Cpu{}, x.data(), dtype_of<From>, expected.data(), dtype_of<To>, count);
  const Placed<From> from(x, offset_x);
  const Placed<To> to(x.size(), offset_y);
  kernels::cast(cuda(), from.get(), dtype_of<From>, to.get(), dtype_of<To>, count);
  const std::vector<To> actual = to.host();
  for (size_t i = 0; i < x.size(); ++i) {
    ASSERT_TRUE(same_number(actual[i], expected[i]))
        << name_of(dtype_of<From>) << " to " << name_of(dtype_of<To>) << ", element " << i;
  }
}

const std::vector<DType> kTypes = {DType::kFloat32, DType::kBFloat16, DType::kFloat16,
                                   DType::kFloat64, DType::kUInt8,    DType::kInt64};

// Signs, ties, what is just beside them, denormal numbers, the ends of every type, and none.
std::vector<double> awkward_numbers() {
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  const std::vector<double> some = {
      0,          1,           0.5,         0.9,       1.9,        3,         254.99,
      255.5,      256,         300,         65504,     65519,      65520,     65536,
      1e30,       3.4e38,      3.5e38,      1e300,     0x1p62,     0x1p63,    0x1p64,
      0x1p-149,   0x1p-150,    0x1.8p-149,  0x1p-140,  0x1p-133,   0x1p-134,  0x1.8p-133,
      0x1p-14,    0x1p-24,     0x1.8p-24,   0x1p-25,   0x1.01p-25, 0x1p-1074, 1 + 0x1p-7,
      1 + 0x1p-8, 1 + 0x1p-10, 1 + 0x1p-11, kInfinity, kNan};
  std::vector<double> all;
  for (const double value : some) {
    const double above = std::nextafter(value, kInfinity),
                 below = std::nextafter(value, -kInfinity);
    for (const double x : {value, above, below}) {
      all.push_back(x);
      all.push_back(-x);
    }
  }
  return all;
}

template <class From>
std::vector<From> awkward() {
  const std::vector<double> wide = awkward_numbers();
  std::vector<From> values(wide.size());
  kernels::cast(Cpu{}, wide.data(), DType::kFloat64, values.data(), dtype_of<From>,
                static_cast<int64_t>(wide.size()));
  if constexpr (std::is_same_v<From, int64_t>) {
    for (const int power : {8, 11, 24, 53, 54, 62}) {
      const int64_t step = int64_t{1} << power, half = step >> 9, quarter = step >> 12;
      for (const int64_t x : {step, step + half, step + half + 1, step + half - 1, step + quarter,
                              step + quarter + 1, step - 1, step + 1}) {
        values.push_back(x);
        values.push_back(-x);
      }
    }
    values.push_back(INT64_MAX);
    values.push_back(INT64_MIN);
  }
  return values;
}

TEST_F(DeviceCopy, CastsBetweenAllTypes) {
  for (const DType from_type : kTypes) {
    for (const DType to_type : kTypes) {
      kernels::with_type(from_type, [&](auto from) {
        kernels::with_type(to_type, [&](auto to) {
          using From = decltype(from);
          using To = decltype(to);
          const std::vector<From> x = awkward<From>();
          expect_cast_as_on_cpu<From, To>(x, 0, 0);
          expect_cast_as_on_cpu<From, To>(x, 1, 0);
          expect_cast_as_on_cpu<From, To>(x, 0, 1);
          for (const size_t count : {0, 1, 2, 7, 15, 16, 17, 33}) {
            expect_cast_as_on_cpu<From, To>({x.begin(), x.begin() + static_cast<long>(count)}, 0,
                                            0);
          }
        });
      });
    }
  }
}

template <class T>
std::vector<T> every_pattern() {
  std::vector<T> all(0x10000);
  for (size_t bits = 0; bits < all.size(); ++bits) all[bits] = {static_cast<uint16_t>(bits)};
  return all;
}

TEST_F(DeviceCopy, WidensEverySixteenBitFloat) {
  expect_cast_as_on_cpu<bfloat16, float>(every_pattern<bfloat16>(), 0, 0);
  expect_cast_as_on_cpu<float16, float>(every_pattern<float16>(), 0, 0);
  expect_cast_as_on_cpu<bfloat16, float16>(every_pattern<bfloat16>(), 0, 0);
  expect_cast_as_on_cpu<float16, bfloat16>(every_pattern<float16>(), 0, 0);
}

// The tie above every sixteen-bit float, and its neighbours.
template <class T>
std::vector<float> around_ties() {
  std::vector<float> x;
  for (const T pattern : every_pattern<T>()) {
    const float low = to_float(pattern);
    const float high = to_float(T{static_cast<uint16_t>(pattern.bits + 1)});
    if (!std::isfinite(low) || !std::isfinite(high)) continue;
    const float tie = low / 2 + high / 2;
    for (const float value : {tie, std::nextafter(tie, 1e38F), std::nextafter(tie, -1e38F)}) {
      x.push_back(value);
    }
  }
  return x;
}

TEST_F(DeviceCopy, RoundsAroundEveryTie) {
  expect_cast_as_on_cpu<float, bfloat16>(around_ties<bfloat16>(), 0, 0);
  expect_cast_as_on_cpu<float, float16>(around_ties<float16>(), 0, 0);
}

TEST_F(DeviceCopy, FillsEveryType) {
  for (const DType type : kTypes) {
    kernels::with_type(type, [&](auto zero) {
      using T = decltype(zero);
      for (const double value : {0.0, -1.75, 300.0, 1 + 0x1p-11 + 0x1p-40, std::nan("")}) {
        for (const size_t count : {0, 1, 7, 16, 17, 2500}) {
          for (const size_t offset : {0, 1}) {
            std::vector<T> expected(count);
            kernels::fill(Cpu{}, expected.data(), type, value, static_cast<int64_t>(count));
            const Placed<T> y(count, offset);
            kernels::fill(cuda(), y.get(), type, value, static_cast<int64_t>(count));
            const std::vector<T> actual = y.host();
            for (size_t i = 0; i < count; ++i) {
              ASSERT_TRUE(same_number(actual[i], expected[i]))
                  << name_of(type) << ", " << value << ", element " << i << " of " << count;
            }
          }
        }
      }
    });
  }
}

struct Permutation {
  std::vector<int64_t> dims, axes;
};
const std::vector<Permutation> kPermutations = {
    {{}, {}},
    {{5}, {0}},
    {{70, 41}, {0, 1}},
    {{70, 41}, {1, 0}},
    {{64, 32}, {1, 0}},
    {{8, 8}, {1, 0}},
    {{100, 3}, {1, 0}},
    {{3, 100}, {1, 0}},
    {{2, 5, 7, 3}, {0, 3, 1, 2}},
    {{2, 3, 5, 7}, {0, 2, 3, 1}},
    {{2, 9, 5, 40}, {0, 3, 1, 2}},
    {{3, 33, 6, 6}, {0, 2, 3, 1}},
    {{5, 1, 40, 12}, {0, 3, 1, 2}},
    // A run stays in one piece, and can move as longer and longer elements.
    {{6, 10, 16}, {1, 0, 2}},
    {{6, 10, 12}, {1, 0, 2}},
    {{6, 10, 7}, {1, 0, 2}},
    {{9, 20, 2}, {1, 0, 2}},
    {{9, 20, 8}, {1, 0, 2}},
    {{2, 3, 4, 5, 2}, {3, 1, 2, 0, 4}},
    {{3, 4, 5, 6}, {3, 2, 1, 0}},
    {{3, 4, 5, 6}, {2, 0, 3, 1}},
    {{2, 2, 2, 2, 3, 2, 2, 2}, {7, 6, 5, 4, 3, 2, 1, 0}},
    {{0, 3}, {1, 0}},
    {{4, 0, 3}, {2, 0, 1}},
};

template <class T>
void expect_permuted_as_on_cpu(const Permutation& permutation, size_t offset_x, size_t offset_y) {
  int64_t count = 1;
  for (const int64_t d : permutation.dims) count *= d;
  std::vector<T> x(static_cast<size_t>(count)), expected(x.size());
  std::iota(x.begin(), x.end(), T{1});
  kernels::permute(Cpu{}, x.data(), expected.data(), permutation.dims, permutation.axes, sizeof(T));
  const Placed<T> from(x, offset_x), to(x.size(), offset_y);
  kernels::permute(cuda(), from.get(), to.get(), permutation.dims, permutation.axes, sizeof(T));
  EXPECT_EQ(to.host(), expected) << sizeof(T) << " bytes, offsets " << offset_x << ", " << offset_y;
}

TEST_F(DeviceCopy, PermutesElementsOfEverySize) {
  for (size_t i = 0; i < kPermutations.size(); ++i) {
    SCOPED_TRACE("permutation " + std::to_string(i));
    for (const auto& [offset_x, offset_y] :
         {std::pair<size_t, size_t>{0, 0}, {1, 0}, {0, 1}, {2, 2}}) {
      expect_permuted_as_on_cpu<uint8_t>(kPermutations[i], offset_x, offset_y);
      expect_permuted_as_on_cpu<uint16_t>(kPermutations[i], offset_x, offset_y);
      expect_permuted_as_on_cpu<uint32_t>(kPermutations[i], offset_x, offset_y);
      expect_permuted_as_on_cpu<uint64_t>(kPermutations[i], offset_x, offset_y);
    }
  }
}

TEST_F(DeviceCopy, PermuteRefusesMoreThanEightAxes) {
  const std::vector<int64_t> dims(9, 2), axes = {8, 7, 6, 5, 4, 3, 2, 1, 0};
  const Placed<float> x(size_t{512}, 0), y(size_t{512}, 0);
  EXPECT_THROW(kernels::permute(cuda(), x.get(), y.get(), dims, axes, 4), Error);
}
#endif

}  // namespace
}  // namespace glassnet
