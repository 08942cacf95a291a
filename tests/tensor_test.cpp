// Shapes, storage, tensors and random numbers.
#include "tensor/tensor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tensor/math.h"
#include "tensor/random.h"
#include "tests/error_support.h"

namespace glassnet {
namespace {

using test::error_of;
using testing::ElementsAre;
using testing::HasSubstr;

TEST(Shapes, KnowTheirAxes) {
  const Shape shape{2, 3, 4};
  EXPECT_EQ(shape.numel(), 24);
  EXPECT_EQ(shape.dim(-1), 4);
  EXPECT_EQ(shape.str(), "(2, 3, 4)");
  EXPECT_EQ(Shape{}.numel(), 1);
  EXPECT_THAT(error_of([&] { shape.dim(3); }), HasSubstr("axis 3 does not exist"));
  EXPECT_EQ(broadcast({4, 1, 3}, {5, 1}), (Shape{4, 5, 3}));
  EXPECT_THAT(error_of([] { broadcast({2, 3}, {4, 3}); }), HasSubstr("do not go together"));
}

TEST(Tensors, ShareTheirElementsThroughViews) {
  Tensor x = Tensor::from<float>({0, 1, 2, 3, 4, 5}, {3, 2});
  Tensor rows = x.slice(1, 3), flat = x.reshape({-1});
  EXPECT_EQ(rows.shape(), (Shape{2, 2}));
  rows.data<float>()[0] = 20;
  EXPECT_THAT(flat.to_vector<float>(), ElementsAre(0, 1, 20, 3, 4, 5));
  EXPECT_FALSE(x.unique());
  const Tensor copy = x.clone();
  EXPECT_TRUE(copy.unique());
  EXPECT_THAT(error_of([&] { x.slice(2, 4); }), HasSubstr("[slice]"));
  EXPECT_THAT(error_of([&] { x.reshape({4, -1}); }), HasSubstr("[reshape]"));
}

TEST(Tensors, StoreHalvesAndComputeInBFloat16Alone) {
  const Tensor x = Tensor::full({3}, 1.5);
  for (const DType type : {DType::kBFloat16, DType::kFloat16}) {
    const Tensor half = x.to(type);
    EXPECT_EQ(half.bytes(), 6u);
    EXPECT_THAT(half.to_vector<float>(), ElementsAre(1.5F, 1.5F, 1.5F));
  }
  EXPECT_THAT(error_of([&] { relu(x.to(DType::kFloat16)); }),
              HasSubstr("the CPU does not compute in float16"));
  EXPECT_THAT(error_of([&] { x.data<double>(); }), HasSubstr("expected float64"));
}

TEST(Tensors, PermuteBetweenLayoutsAndBack) {
  const Tensor x = random_normal({2, 3, 5, 7}, 1, 1, 1);
  const Tensor nchw = nhwc_to_nchw(x);
  EXPECT_EQ(nchw.shape(), (Shape{2, 7, 3, 5}));
  EXPECT_EQ(nchw.data<float>()[((1 * 7 + 6) * 3 + 2) * 5 + 4],
            x.data<float>()[((1 * 3 + 2) * 5 + 4) * 7 + 6]);
  EXPECT_EQ(nchw_to_nhwc(nchw).to_vector<float>(), x.to_vector<float>());
}

TEST(StorageCache, HandsFreedBlocksOutAgain) {
  constexpr int64_t kCount = 3 << 20;
  release_cached_memory();
  const void* first = nullptr;
  {
    const Tensor x = Tensor::empty({kCount});
    first = x.raw();
    EXPECT_EQ(reinterpret_cast<uintptr_t>(first) % 64, 0u);
  }
  const uint64_t allocations = memory_stats().system_allocations;
  EXPECT_GE(memory_stats().cached_bytes, static_cast<size_t>(kCount) * 4);
  for (int i = 0; i < 10; ++i) {
    const Tensor again = Tensor::empty({kCount - 7 * i});
    EXPECT_EQ(again.raw(), first);
  }
  EXPECT_EQ(memory_stats().system_allocations, allocations);
  const size_t cached = memory_stats().cached_bytes;
  release_cached_memory();
  EXPECT_LT(memory_stats().cached_bytes, cached - kCount * 3) << "but for pages that are shared";
}

TEST(StorageCache, KeepsTheHighestMark) {
  reset_peak_memory();
  const size_t before = memory_stats().peak_bytes;
  { const Tensor x = Tensor::empty({1 << 20}); }
  EXPECT_GE(memory_stats().peak_bytes, before + (4 << 20));
  EXPECT_EQ(memory_stats().active_bytes, before);
}

TEST(Philox, MeetsThePublishedVectors) {
  // The known answers of the authors' Random123 for philox4x32-10.
  EXPECT_THAT(philox(0, 0, 0), ElementsAre(0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8));
  EXPECT_THAT(philox(~uint64_t{0}, ~uint64_t{0}, ~uint64_t{0}),
              ElementsAre(0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd));
  EXPECT_THAT(philox(0x299f31d0a4093822, 0x0370734413198a2e, 0x85a308d3243f6a88),
              ElementsAre(0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1));
}

TEST(RandomNumbers, HaveTheMomentsTheyShould) {
  const std::vector<double> x = random_normal({200000}, 2, 5, 9).to_vector<double>();
  double mean = 0, square = 0;
  for (const double value : x) {
    mean += value / 200000;
    square += value * value / 200000;
  }
  EXPECT_NEAR(mean, 0, 0.02);
  EXPECT_NEAR(square, 4, 0.06);
  Random random(1, Stream::kUser);
  std::vector<int> counts(7);
  for (int i = 0; i < 70000; ++i) ++counts[static_cast<size_t>(random.below(7))];
  for (const int count : counts) EXPECT_NEAR(count, 10000, 500);
}

TEST(RandomNumbers, PermuteEveryIndexOnce) {
  std::vector<int64_t> order = permutation(1000, Random(3, Stream::kShuffle));
  EXPECT_NE(order[0] * 1000 + order[1], 1);
  std::sort(order.begin(), order.end());
  for (int64_t i = 0; i < 1000; ++i) EXPECT_EQ(order[i], i);
}

}  // namespace
}  // namespace glassnet
