// The 16-bit floats of kernels/half.h, every one of them, against Eigen's.
#include "kernels/half.h"

#include <Eigen/Core>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

#include <gtest/gtest.h>

namespace glassnet {
namespace {

float eigen_value(float16 x) {
  return Eigen::half_impl::half_to_float(Eigen::half_impl::raw_uint16_to_half(x.bits));
}
float eigen_value(bfloat16 x) {
  return Eigen::bfloat16_impl::bfloat16_to_float(
      Eigen::bfloat16_impl::raw_uint16_to_bfloat16(x.bits));
}
template <class T>
uint16_t eigen_bits(float x);
template <>
uint16_t eigen_bits<float16>(float x) {
  return Eigen::half_impl::float_to_half_rtne(x).x;
}
template <>
uint16_t eigen_bits<bfloat16>(float x) {
  return Eigen::bfloat16_impl::float_to_bfloat16_rtne<false>(x).value;
}

template <class T>
void expect_eigens_bits(float x) {
  const T actual = from_float<T>(x);
  if (std::isnan(x)) {
    ASSERT_TRUE(std::isnan(to_float(actual))) << std::bit_cast<uint32_t>(x);
  } else {
    ASSERT_EQ(actual.bits, eigen_bits<T>(x)) << "of " << x;
  }
}

template <class T>
class Half : public testing::Test {};
using Types = testing::Types<bfloat16, float16>;
TYPED_TEST_SUITE(Half, Types);

TYPED_TEST(Half, WidensEveryPatternAsEigenDoes) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const TypeParam x{static_cast<uint16_t>(bits)};
    const float expected = eigen_value(x);
    if (std::isnan(expected)) {
      ASSERT_TRUE(std::isnan(to_float(x))) << bits;
    } else {
      ASSERT_EQ(std::bit_cast<uint32_t>(to_float(x)), std::bit_cast<uint32_t>(expected)) << bits;
    }
  }
}

TYPED_TEST(Half, EveryPatternSurvivesARoundTrip) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const TypeParam x{static_cast<uint16_t>(bits)};
    if (std::isnan(to_float(x))) continue;
    ASSERT_EQ(from_float<TypeParam>(to_float(x)).bits, x.bits);
  }
}

// Between two neighbours lies the tie, and next to it what just rounds to either side.
TYPED_TEST(Half, RoundsBetweenAllNeighboursAsEigenDoes) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  for (uint32_t bits = 0; bits < 0xffff; ++bits) {
    const float low = to_float(TypeParam{static_cast<uint16_t>(bits)});
    const float high = to_float(TypeParam{static_cast<uint16_t>(bits + 1)});
    if (!std::isfinite(low) || std::isnan(high)) continue;
    // Beyond the largest number the tie is half a step further, not half of infinity.
    const float step = std::isfinite(high)
                           ? high - low
                           : low - to_float(TypeParam{static_cast<uint16_t>(bits - 1)});
    const float tie = low + step / 2;
    for (const float x : {tie, std::nextafter(tie, kInfinity), std::nextafter(tie, -kInfinity)}) {
      expect_eigens_bits<TypeParam>(x);
    }
  }
}

TYPED_TEST(Half, RoundsAnyFloatAsEigenDoes) {
  std::mt19937 random(5);
  for (int i = 0; i < 2'000'000; ++i) {
    expect_eigens_bits<TypeParam>(std::bit_cast<float>(static_cast<uint32_t>(random())));
  }
  for (uint32_t payload : {1U, 0x1fffU, 0x2000U, 0x400000U, 0x7fffffU}) {
    for (uint32_t sign : {0U, 0x80000000U}) {
      expect_eigens_bits<TypeParam>(std::bit_cast<float>(sign | 0x7f800000U | payload));
    }
  }
}

}  // namespace
}  // namespace glassnet
