// The caching allocator of the CPU (kernels/cpu/allocator.h), each test with one of its own.
#include "kernels/cpu/allocator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <iterator>
#include <map>
#include <random>
#include <thread>
#include <utility>
#include <vector>

#include "kernels/address_sanitizer.h"
#include "kernels/error.h"

namespace glassnet::kernels {
namespace {

using testing::AllOf;
using testing::HasSubstr;

constexpr size_t kMiB = size_t{1} << 20;

class CpuAllocatorTest : public testing::Test {
 protected:
  char* allocate(size_t bytes) { return static_cast<char*>(allocator_.allocate(bytes)); }
  void free(char* data) { allocator_.free(data); }
  size_t active() { return allocator_.stats().active_bytes; }
  size_t cached() { return allocator_.stats().cached_bytes; }
  size_t reserved() { return allocator_.stats().reserved_bytes; }

  CpuAllocator allocator_{1000 * kMiB};
};

TEST_F(CpuAllocatorTest, BlocksStandSideBySide) {
  const std::vector<size_t> sizes = {1, 100, 5 * kMiB, 64, 0, 3 * kMiB + 1};
  size_t sum = 0;
  char* end = nullptr;
  for (const size_t size : sizes) {
    char* data = allocate(size);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(data) % 64, 0u);
    if (end != nullptr) {
      EXPECT_GE(data, end);
      EXPECT_LE(data, end + 192) << "64 bytes at most to align it, or twice that and a guard";
    }
    std::memset(data, 1, size);
    end = data + size;
    sum += size;
  }
  EXPECT_GE(active(), sum);
  EXPECT_LE(active(), sum + sizes.size() * 128);
  EXPECT_EQ(reserved(), 10 * kMiB) << "whole pages, and no more than are needed";
  EXPECT_EQ(cached(), reserved() - active());
  EXPECT_EQ(allocator_.stats().live_blocks, sizes.size());
}

TEST_F(CpuAllocatorTest, WhatIsLeftOfABlockServesAndNeighboursMerge) {
  char* first = allocate(30 * kMiB);
  char* wall = allocate(1);
  const uint64_t asked = allocator_.stats().system_allocations;
  free(first);
  for (const auto& order : {std::vector<size_t>{0, 1, 2}, {2, 1, 0}, {0, 2, 1}, {1, 0, 2}}) {
    std::vector<char*> parts;
    for (int i = 0; i < 3; ++i) parts.push_back(allocate(9 * kMiB));
    EXPECT_EQ(parts[0], first);
    for (const size_t i : order) free(parts[i]);
    EXPECT_EQ(allocate(30 * kMiB), first);
    free(first);
  }
  EXPECT_EQ(allocator_.stats().system_allocations, asked);
  free(wall);
  EXPECT_EQ(active(), 0u);
}

TEST_F(CpuAllocatorTest, TheSmallestCachedBlockServesTheLowestOfSeveral) {
  std::vector<char*> blocks;
  for (const size_t mib : {7, 1, 3, 1, 5, 1, 3, 1}) blocks.push_back(allocate(mib * kMiB));
  for (const size_t i : {6, 0, 2, 4}) free(blocks[i]);
  EXPECT_EQ(allocate(2 * kMiB), blocks[2]);
  EXPECT_EQ(allocate(3 * kMiB), blocks[6]);
  EXPECT_EQ(allocate(4 * kMiB), blocks[4]);
}

TEST_F(CpuAllocatorTest, MemoryIsAddedToTheCachedBlockBeforeIt) {
  char* wall = allocate(2 * kMiB);
  char* last = allocate(20 * kMiB);
  free(last);
  const size_t before = reserved();
  EXPECT_EQ(allocate(30 * kMiB), last);
  EXPECT_LE(reserved(), before + 12 * kMiB);
  free(wall);
}

// Beyond the slack, too: what is cached is not thrown away for a few pages.
TEST_F(CpuAllocatorTest, ALargeCachedBlockGrows) {
  char* large = allocate(200 * kMiB);
  large[0] = 7;
  free(large);
  large = allocate(210 * kMiB);
  EXPECT_EQ(large[0], 7) << "its first page has not been new";
  EXPECT_LE(reserved(), 212 * kMiB);
  free(large);
}

TEST_F(CpuAllocatorTest, ReservesMoreAddressesWhenTheyAreUsedUp) {
  CpuAllocator few(1000 * kMiB, 8 * kMiB);
  std::vector<char*> blocks;
  for (const size_t mib : {5, 5, 5, 20, 1}) {
    blocks.push_back(static_cast<char*>(few.allocate(mib * kMiB)));
    std::memset(blocks.back(), 1, mib * kMiB);
  }
  for (char* block : blocks) few.free(block);
  few.release();
  EXPECT_EQ(few.stats().reserved_bytes, 0u);
}

TEST_F(CpuAllocatorTest, ManyThreadsShareIt) {
  std::vector<std::thread> threads;
  for (uint32_t seed = 0; seed < 4; ++seed) {
    threads.emplace_back([this, seed] {
      std::mt19937 random(seed);
      std::vector<char*> own;
      for (int i = 0; i < 2000; ++i) {
        const size_t size = 1 + random() % 100000;
        own.push_back(allocate(size));
        std::memset(own.back(), static_cast<int>(seed), size);
        if (own.size() < 20) continue;
        const size_t at = random() % own.size();
        EXPECT_EQ(own[at][0], static_cast<char>(seed));
        free(own[at]);
        own.erase(own.begin() + static_cast<int64_t>(at));
      }
      for (char* data : own) free(data);
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(active(), 0u);
}

// What a training step asks for: activations of all sizes that live until their gradients have
// passed, gradients that live shortly, and in the first step a momentum for each weight.
TEST_F(CpuAllocatorTest, ATrainingStepIsPackedAndThenAsksForNothing) {
  const std::vector<size_t> sizes = {4600000, 4600000, 18400000, 18400000, 2300000, 9200000,
                                     1150000, 4600000, 575000,   2300000,  10000};
  std::vector<char*> momentum;
  const auto step = [&] {
    std::vector<char*> saved, weights;
    for (const size_t size : sizes) {
      char* temporary = allocate(size / 3);
      for (int i = 0; i < 4; ++i) saved.push_back(allocate(size - 999 * i));
      free(temporary);
    }
    char* gradient = allocate(1000);
    while (!saved.empty()) {
      char* next = allocate(sizes[(saved.size() - 1) / 4]);
      weights.push_back(allocate(40000 * (1 + saved.size() % 7)));
      free(std::exchange(gradient, next));
      free(saved.back());
      saved.pop_back();
    }
    free(gradient);
    for (size_t i = momentum.size(); i < weights.size(); ++i) momentum.push_back(allocate(200000));
    for (char* weight : weights) free(weight);
  };
  step();
  step();
  const MemoryStats warm = allocator_.stats();
  EXPECT_LE(warm.reserved_bytes, warm.peak_bytes * 104 / 100);
  for (int i = 0; i < 5; ++i) step();
  const MemoryStats later = allocator_.stats();
  EXPECT_EQ(later.system_allocations, warm.system_allocations);
  EXPECT_EQ(later.reserved_bytes, warm.reserved_bytes);
  EXPECT_EQ(later.active_bytes, warm.active_bytes);
}

TEST_F(CpuAllocatorTest, PiecesGoBackBeforeTooMuchIsResident) {
  EXPECT_THROW(allocate(size_t{1} << 60), Error) << "which was never in use";
  std::vector<char*> blocks, walls;
  for (int i = 0; i < 20; ++i) {
    blocks.push_back(allocate(20 * kMiB));
    walls.push_back(allocate(1));
  }
  for (char* block : blocks) free(block);
  char* large = allocate(300 * kMiB);
  EXPECT_LE(reserved(), 400 * kMiB + 68 * kMiB);
  std::memset(large, 1, 300 * kMiB);
  for (char*& block : blocks) block = allocate(5 * kMiB);
  EXPECT_LE(reserved(), 400 * kMiB + 68 * kMiB);
}

TEST_F(CpuAllocatorTest, MoreThanTheLimitIsNotKept) {
  CpuAllocator small(100 * kMiB);
  void *a = small.allocate(60 * kMiB), *wall = small.allocate(1), *b = small.allocate(70 * kMiB);
  small.free(a);
  EXPECT_GE(small.stats().cached_bytes, 60 * kMiB);
  small.free(b);
  EXPECT_LE(small.stats().cached_bytes, 64 * kMiB) << "the largest has gone";
  small.free(wall);
}

TEST_F(CpuAllocatorTest, ReleasedPagesAreGoneAndComeBackCleared) {
  char* data = allocate(10 * kMiB);
  std::memset(data, 1, 10 * kMiB);
  char* wall = allocate(1);
  free(data);
  allocator_.release();
  EXPECT_LT(cached(), 4 * kMiB) << "at most what shares a page with the wall";
  EXPECT_EQ(reserved(), cached() + active());
  char* again = allocate(8 * kMiB);
  EXPECT_EQ(again, data) << "addresses are not wasted";
  EXPECT_EQ(again[0] | again[4 * kMiB] | again[8 * kMiB - 1], 0);
  free(wall);
  free(again);
  allocator_.release();
  EXPECT_EQ(reserved(), 0u);
}

TEST_F(CpuAllocatorTest, SaysHowMuchIsInUseWhenThereIsTooLittle) {
  char* held = allocate(3 * kMiB);
  try {
    allocate(size_t{1} << 60);
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), AllOf(HasSubstr("out of memory on cpu"), HasSubstr("3.0 MiB are in"),
                                    HasSubstr("--batch-size")));
  }
  for (const size_t bytes : {SIZE_MAX, SIZE_MAX - 3, SIZE_MAX - 2 * kMiB}) {
    EXPECT_THROW(allocate(bytes), Error) << bytes;
  }
  EXPECT_EQ(allocator_.stats().live_blocks, 1u);
  free(held);
  free(allocate(3 * kMiB));
}

#if defined(GLASSNET_ASAN)
TEST_F(CpuAllocatorTest, AddressSanitizerSeesAccessesOutsideOfBlocks) {
  char *data = allocate(1000), *neighbour = allocate(1000);
  data[999] = neighbour[0] = 1;
  EXPECT_DEATH(data[1000] = 1, "AddressSanitizer");
  free(data);
  EXPECT_DEATH(data[0] = 1, "AddressSanitizer");
}
#endif

// Any order of calls: blocks never overlap, and the sums are right.
TEST_F(CpuAllocatorTest, AgreesWithAModel) {
  std::mt19937 random(5);
  std::map<char*, size_t> live;
  size_t asked = 0, peak = 0;
  for (int i = 0; i < 20000; ++i) {
    if (random() % 500 == 0) allocator_.release();
    if (random() % 100 < (live.size() < 150 ? 60U : 40U)) {
      const size_t size = random() % (size_t{1} << (random() % 24));
      char* data = allocate(size);
      const auto after = live.lower_bound(data);
      ASSERT_TRUE(after == live.end() || data + size <= after->first);
      ASSERT_TRUE(after == live.begin() ||
                  std::prev(after)->first + std::prev(after)->second <= data);
      if (size > 0) data[0] = data[size - 1] = static_cast<char>(size);
      live[data] = size;
      asked += size;
    } else if (!live.empty()) {
      const auto block = std::next(live.begin(), static_cast<int64_t>(random() % live.size()));
      const auto [data, size] = *block;
      ASSERT_TRUE(size == 0 || data[size - 1] == static_cast<char>(size));
      free(data);
      live.erase(block);
      asked -= size;
    }
    const MemoryStats stats = allocator_.stats();
    peak = std::max(peak, stats.active_bytes);
    ASSERT_EQ(stats.live_blocks, live.size());
    ASSERT_GE(stats.active_bytes, asked);
    ASSERT_LE(stats.active_bytes, asked + live.size() * 128);
    ASSERT_EQ(stats.reserved_bytes, stats.active_bytes + stats.cached_bytes);
    ASSERT_EQ(stats.peak_bytes, peak);
  }
  for (const auto& [data, size] : live) free(data);
  allocator_.release();
  EXPECT_EQ(reserved(), 0u) << "all pieces have merged";
}

}  // namespace
}  // namespace glassnet::kernels
