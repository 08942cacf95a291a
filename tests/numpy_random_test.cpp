// NumPy's streams against numbers that NumPy 1.24.2 gave; the call in Python stands above each.
#include "tensor/numpy_random.h"

#include <cmath>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "kernels/error.h"

namespace glassnet {
namespace {

using testing::ElementsAre;

template <class F>
auto drawn(int count, F&& draw) {
  std::vector<decltype(draw())> values;
  for (int i = 0; i < count; ++i) values.push_back(draw());
  return values;
}

std::vector<int64_t> integers(uint32_t seed, int64_t high, int count) {
  NumpyRandom random(seed);
  return drawn(count, [&] { return random.randint(high); });
}

void expect_close(const std::vector<double>& actual, const std::vector<double>& expected) {
  ASSERT_EQ(actual.size(), expected.size());
  for (size_t i = 0; i < actual.size(); ++i) {
    EXPECT_NEAR(actual[i], expected[i], 1e-14 * std::abs(expected[i])) << "number " << i;
  }
}

TEST(NumpyRandomState, DrawsNumPysIntegers) {
  // RandomState(7).randint(0, 2**32, 4, dtype=numpy.uint32)
  NumpyRandom random(7);
  EXPECT_THAT(drawn(4, [&] { return random.next(); }),
              ElementsAre(0x1388f0afU, 0x3a32e4c4U, 0xc7a8c219U, 0x51a829f6U));
  // RandomState(42).randint(0, high, 6)
  EXPECT_THAT(integers(42, 1, 6), ElementsAre(0, 0, 0, 0, 0, 0));
  EXPECT_THAT(integers(42, 2, 6), ElementsAre(0, 1, 0, 0, 0, 1));
  EXPECT_THAT(integers(42, 6, 6), ElementsAre(3, 4, 2, 4, 4, 1));
  EXPECT_THAT(integers(42, 1000, 6), ElementsAre(102, 435, 860, 270, 106, 71));
  EXPECT_THAT(integers(42, (1 << 20) + 1, 6),
              ElementsAre(121958, 671155, 131932, 259178, 110268, 732180));
  EXPECT_THAT(integers(42, int64_t{1} << 32, 6),
              ElementsAre(1608637542, 3421126067, 4083286876, 787846414, 3143890026, 3348747335));
  // RandomState(7).randint(0, 2, 20), RandomState(4294967295).randint(0, 1000, 3)
  EXPECT_THAT(integers(7, 2, 20),
              ElementsAre(1, 0, 1, 0, 1, 1, 1, 1, 0, 1, 0, 1, 0, 1, 0, 0, 0, 0, 1, 0));
  EXPECT_THAT(integers(4294967295, 1000, 3), ElementsAre(419, 290, 12));
}

TEST(NumpyRandomState, DrawsNumPysRealNumbers) {
  // RandomState(42).random_sample(3)
  NumpyRandom uniform(42);
  EXPECT_THAT(drawn(3, [&] { return uniform.uniform(); }),
              ElementsAre(0x1.7f8771e5f51ecp-2, 0x1.e6c4068bbd654p-1, 0x1.76c7e8f1e6751p-1));
  // RandomState(42).normal(size=5)
  NumpyRandom normal(42);
  expect_close(drawn(5, [&] { return normal.normal(); }),
               {0x1.fca2a28a9307cp-2, -0x1.1b2a505de052ap-3, 0x1.4b9dd50245e68p-1,
                0x1.85e548e01aa2bp+0, -0x1.df8bcdf57a640p-3});
  // RandomState(1).normal(size=100000)[-1]
  NumpyRandom far(1);
  expect_close({drawn(100000, [&] { return far.normal(); }).back()}, {-0x1.7ebfb13c94e08p-1});
}

TEST(NumpyRandomState, KeepsTheSecondNormalNumberWhileOthersAreDrawn) {
  // r = RandomState(3); r.randint(0, 1000), r.normal(), r.random_sample(), r.randint(0, 1000), …
  NumpyRandom random(3);
  EXPECT_EQ(random.randint(1000), 874);
  expect_close({random.normal()}, {0x1.7918351e4d9d8p-3});
  EXPECT_EQ(random.uniform(), 0x1.bf8d2a72b9bb6p-2);
  EXPECT_EQ(random.randint(1000), 875);
  expect_close(drawn(2, [&] { return random.normal(); }),
               {-0x1.01864722925c4p+0, -0x1.1c0ba72861dcdp-2});
}

TEST(NumpyRandomState, RefusesBoundsThatAreNone) {
  NumpyRandom random(0);
  EXPECT_THROW(random.randint(0), Error);
  EXPECT_THROW(random.randint(-5), Error);
  EXPECT_THROW(random.randint((int64_t{1} << 32) + 1), Error);
}

TEST(NumpyDefaultRng, DrawsNumPysBits) {
  // default_rng(seed).bit_generator.random_raw(3)
  const auto raw = [](uint64_t seed) {
    NumpyGenerator random(seed);
    return drawn(3, [&] { return random.next(); });
  };
  EXPECT_THAT(raw(0), ElementsAre(0xa30febcfd9c2825fU, 0x4510bdf882d9d721U, 0x0a7d3da94ecde8b8U));
  EXPECT_THAT(raw(42), ElementsAre(0xc621fbcd16d92688U, 0x705a5661a791ffc1U, 0xdbcd12c26eda1624U));
  EXPECT_THAT(raw((uint64_t{1} << 40) + 5),
              ElementsAre(0x01369aef039fedebU, 0x5f61b40473314316U, 0x9654aaeeea6ebe77U));
}

TEST(NumpyDefaultRng, DrawsNumPysRealNumbers) {
  // r = default_rng(42); r.normal(size=4), r.random()
  NumpyGenerator random(42);
  expect_close(
      drawn(4, [&] { return random.normal(); }),
      {0x1.3807c1104fc6bp-2, -0x1.0a3c65fca9a7ep+0, 0x1.803b239e77350p-1, 0x1.e191b2d157f36p-1});
  EXPECT_EQ(random.uniform(), 0x1.81c01b5339380p-4);
}

TEST(NumpyDefaultRng, StaysInStepThroughTheTailAndTheEdgesOfTheLayers) {
  // n = default_rng(42).normal(size=1000000); n[42665], the farthest from 0, and n[-1]
  NumpyGenerator random(42);
  const std::vector<double> numbers = drawn(1000000, [&] { return random.normal(); });
  expect_close({std::abs(numbers[42665]), numbers.back()},
               {5.0072352319089966, 0x1.c0ea9bf16c9c5p-1});
}

}  // namespace
}  // namespace glassnet
