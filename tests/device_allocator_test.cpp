// The caching allocator of CUDA devices (kernels/cuda/allocator.h), on a GPU or on the host
// executor.
#include "tests/device_support.h"

#if defined(GLASSNET_CUDA)

#include <gmock/gmock.h>

#include <barrier>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <set>
#include <thread>

#include "kernels/copy.h"
#include "kernels/cuda/allocator.h"
#include "kernels/cuda/scratch.h"
#include "kernels/op_scope.h"
#include "tensor/storage.h"
#if defined(GLASSNET_SIMT)
#include "kernels/simt/runtime.h"
#endif

namespace glassnet::kernels {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

constexpr size_t kMiB = size_t{1} << 20;

// A block that frees itself.
class Block {
 public:
  explicit Block(size_t bytes) : data_(device_allocate(0, bytes)) {}
  ~Block() { device_free(0, data_); }
  Block(Block&& other) noexcept : data_(std::exchange(other.data_, nullptr)) {}
  Block& operator=(Block&& other) noexcept {
    std::swap(data_, other.data_);
    return *this;
  }
  Block(const Block&) = delete;
  Block& operator=(const Block&) = delete;
  void* get() const { return data_; }
  // A number: a test that fails would print what a char* points to.
  uintptr_t address() const { return reinterpret_cast<uintptr_t>(data_); }

 private:
  void* data_;
};

class DeviceAllocator : public DeviceTest {
 protected:
  void SetUp() override {
    DeviceTest::SetUp();
    if (IsSkipped()) return;
    release_cached_device_memory(0);
    before_ = device_memory_stats(0);
  }
  // What has been added since the test began.
  size_t reserved() const { return device_memory_stats(0).reserved_bytes - before_.reserved_bytes; }
  size_t active() const { return device_memory_stats(0).active_bytes - before_.active_bytes; }
  uint64_t driver_allocations() const {
    return device_memory_stats(0).system_allocations - before_.system_allocations;
  }
  MemoryStats before_;
};

TEST_F(DeviceAllocator, SmallAndMediumRequestsShareSegments) {
  const Block a(1), b(1000), c(100 << 10);
  EXPECT_EQ(reserved(), 2 * kMiB);
  EXPECT_EQ(b.address(), a.address() + device_block_bytes(1));
  EXPECT_EQ(c.address(), b.address() + device_block_bytes(1000));
  const Block d(2 * kMiB), e(9 * kMiB);
  EXPECT_EQ(reserved(), 22 * kMiB);
  EXPECT_EQ(driver_allocations(), 2u);
  const Block f(23 * kMiB / 2);
  EXPECT_EQ(reserved(), 34 * kMiB) << "a segment of its own, in steps of 2 MiB";
  EXPECT_EQ(driver_allocations(), 3u);
  EXPECT_EQ(active(), device_block_bytes(1) + device_block_bytes(1000) +
                          device_block_bytes(100 << 10) + device_block_bytes(2 * kMiB) +
                          device_block_bytes(9 * kMiB) + 12 * kMiB)
      << "less than 1 MiB is not split off";
}

TEST_F(DeviceAllocator, FreedNeighboursMerge) {
  for (const std::vector<int>& order :
       {std::vector<int>{0, 1, 2}, {2, 1, 0}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}}) {
    std::vector<std::optional<Block>> blocks(3);
    for (auto& block : blocks) block.emplace(600 << 10);
    const uintptr_t first = blocks[0]->address();
    EXPECT_EQ(reserved(), 2 * kMiB);
    for (const int i : order) blocks[static_cast<size_t>(i)].reset();
    EXPECT_EQ(active(), 0u);
    const Block whole(kMiB);
    EXPECT_EQ(whole.address(), first);
    EXPECT_EQ(driver_allocations(), 1u);
  }
  release_cached_device_memory(0);
  EXPECT_EQ(reserved(), 0u);
}

TEST_F(DeviceAllocator, TheSmallestFreeBlockThatIsLargeEnoughServes) {
  std::vector<std::optional<Block>> blocks;
  for (const size_t kib : {300, 1, 100, 1, 200, 1}) blocks.emplace_back(kib << 10);
  const uintptr_t middle = blocks[2]->address();
  const uintptr_t last = blocks[4]->address();
  for (const size_t i : {0, 2, 4}) blocks[i].reset();
  const Block a(150 << 10);
  EXPECT_EQ(a.address(), last);
  const Block b(90 << 10);
  EXPECT_EQ(b.address(), middle);
}

TEST_F(DeviceAllocator, ASteadyPatternAsksTheDriverOnce) {
  std::mt19937 random(3);
  const auto step = [&] {
    std::vector<Block> kept;
    std::mt19937 sizes(7);
    for (int i = 0; i < 60; ++i) {
      kept.emplace_back(size_t{1} << (sizes() % 23));
      if (i % 3 == 2) kept.erase(kept.end() - 2);
    }
    std::shuffle(kept.begin(), kept.end(), random);  // freed in any order
  };
  step();
  const uint64_t warm = driver_allocations();
  EXPECT_GT(warm, 0u);
  for (int i = 0; i < 10; ++i) step();
  EXPECT_EQ(driver_allocations(), warm);
  EXPECT_EQ(active(), 0u);
}

TEST_F(DeviceAllocator, CountsWhatIsHeldAndItsPeak) {
  const size_t size = device_block_bytes(5000);
  reset_peak_device_memory(0);
  {
    const Block a(5000), b(5000);
    EXPECT_EQ(active(), 2 * size);
    EXPECT_EQ(device_memory_stats(0).live_blocks, before_.live_blocks + 2);
  }
  MemoryStats stats = device_memory_stats(0);
  EXPECT_EQ(stats.peak_bytes, before_.active_bytes + 2 * size);
  EXPECT_EQ(stats.live_blocks, before_.live_blocks);
  EXPECT_EQ(stats.active_bytes + stats.cached_bytes, stats.reserved_bytes);
  reset_peak_device_memory(0);
  EXPECT_EQ(device_memory_stats(0).peak_bytes, before_.active_bytes);

  {
    const Storage storage(5000, device_);
    EXPECT_EQ(memory_stats(device_).active_bytes, before_.active_bytes + size);
    EXPECT_EQ(memory_stats(device_).live_blocks, before_.live_blocks + 1);
    EXPECT_EQ(memory_stats(device_).peak_bytes, before_.active_bytes + size);
  }
  release_cached_memory(device_);
  EXPECT_EQ(memory_stats(device_).reserved_bytes, before_.reserved_bytes);
}

TEST_F(DeviceAllocator, ScratchIsAlignedAndGivenBack) {
  const Cuda device = current_cuda(0);
  void* first = nullptr;
  {
    const Scratch scratch(device, 100);
    first = scratch.get<void>();
    EXPECT_EQ(reinterpret_cast<uintptr_t>(first) % 256, 0u);
  }
  const Scratch again(device, 100);
  EXPECT_EQ(again.get<void>(), first);
}

// --- pools ---------------------------------------------------------------------------------------

TEST_F(DeviceAllocator, APoolSharesWithNobody) {
  auto pool = std::make_unique<MemoryPool>(0);
  auto outside = std::make_unique<Block>(1000);
  uintptr_t in_pool = 0;
  {
    const PoolScope scope(*pool);
    const Block block(1000);
    in_pool = block.address();
    EXPECT_EQ(pool->reserved_bytes(), 2 * kMiB);
    EXPECT_EQ(reserved(), 4 * kMiB) << "not from the segment that there was";
    outside.reset();  // goes back to where it came from
    const Block other(1000);
    EXPECT_EQ(other.address(), in_pool + device_block_bytes(1000));
    std::thread([&] {
      const Block elsewhere(1000);
      EXPECT_EQ(pool->reserved_bytes(), 2 * kMiB);
      EXPECT_TRUE(elsewhere.address() < in_pool || elsewhere.address() >= in_pool + 2 * kMiB)
          << "the scope is this thread's";
    }).join();
  }
  release_cached_device_memory(0);
  EXPECT_EQ(reserved(), 2 * kMiB) << "a pool keeps what is its own";
  {
    const Block block(1000);
    EXPECT_TRUE(block.address() < in_pool || block.address() >= in_pool + 2 * kMiB);
    const PoolScope scope(*pool);
    const Block back(1000);
    EXPECT_EQ(back.address(), in_pool);
  }
  pool.reset();
  release_cached_device_memory(0);
  EXPECT_EQ(reserved(), 0u);
}

TEST_F(DeviceAllocator, BlocksMayOutliveTheirPool) {
  std::optional<MemoryPool> pool(0);
  std::vector<Block> blocks;
  {
    const PoolScope scope(*pool);
    for (const size_t bytes : {size_t{10}, size_t{20}, 3 * kMiB, 30 * kMiB}) {
      blocks.emplace_back(bytes);
    }
    const Block gone(40 * kMiB);
  }
  const size_t all = reserved();
  EXPECT_EQ(pool->reserved_bytes(), all);
  pool.reset();
  EXPECT_LE(reserved(), all - 40 * kMiB) << "a segment that is idle goes with the pool";
  const size_t kept = reserved();
  blocks.pop_back();
  EXPECT_LE(reserved(), kept - 30 * kMiB);
  blocks.pop_back();
  EXPECT_EQ(reserved(), 2 * kMiB);
  blocks.pop_back();
  EXPECT_EQ(reserved(), 2 * kMiB) << "one block of two is left";
  blocks.pop_back();
  EXPECT_EQ(reserved(), 0u);
}

TEST_F(DeviceAllocator, PoolScopesNest) {
  MemoryPool a(0), b(0);
  const PoolScope outer(a);
  {
    const PoolScope inner(b);
    const Block block(10);
    EXPECT_EQ(a.reserved_bytes(), 0u);
    EXPECT_EQ(b.reserved_bytes(), 2 * kMiB);
  }
  const Block block(10);
  EXPECT_EQ(a.reserved_bytes(), 2 * kMiB);
}

// --- too little memory ---------------------------------------------------------------------------

std::string message_of(size_t bytes) {
  try {
    const Block block(bytes);
  } catch (const Error& error) {
    return error.what();
  }
  return {};
}

TEST_F(DeviceAllocator, SaysWhoHoldsTheMemory) {
  const Block block(3 * kMiB);
  const OpScope scope("conv2d");
  const std::string message = message_of(size_t{1} << 45);
  EXPECT_THAT(message, StartsWith("[conv2d] out of memory on " + device_.str()));
  EXPECT_THAT(message,
              AllOf(HasSubstr("32768.00 GiB were asked for"), HasSubstr("tensors hold"),
                    HasSubstr("cached"), HasSubstr("--batch-size"), Not(HasSubstr("about"))));
  {
    const BatchHint hint(0, 64);
    EXPECT_THAT(message_of(size_t{1} << 45), HasSubstr("not even a batch of 1 would fit"));
  }
  const Block after(10);
  EXPECT_NE(after.get(), nullptr) << "and what fits is still to be had";
}

TEST_F(DeviceAllocator, AdvisesABatchThatWouldFit) {
  EXPECT_EQ(BatchHint::largest(64, 640, 320), 32);
  EXPECT_EQ(BatchHint::largest(64, 640, 639), 63);
  EXPECT_EQ(BatchHint::largest(64, 640, 1000), 63) << "64 have been seen not to fit";
  EXPECT_EQ(BatchHint::largest(64, 640, 9), 0);
  EXPECT_EQ(BatchHint::largest(1, 0, 9), 0);
  // 100 bytes were there before; the batch of 10 has 900 and wants 100 more; 500 are left for it.
  const size_t base = device_memory_stats(0).active_bytes;
  const BatchHint hint(0, 10);
  EXPECT_THAT(BatchHint::advice(0, base + 900, 100, base + 500),
              HasSubstr("of the batch of 10, at most about 5 would fit"));
}

#if defined(GLASSNET_SIMT)
// A device with only so much memory beyond what is taken.
class DeviceAllocatorAtItsLimit : public DeviceAllocator {
 protected:
  void limit(size_t bytes) {
    const CudaMemory memory = cuda_memory(0);
    if (total_ == 0) total_ = memory.total_bytes;
    simt::set_device_memory(memory.total_bytes - memory.free_bytes + bytes);
  }
  void TearDown() override {
    if (total_ != 0) simt::set_device_memory(total_);
  }

 private:
  size_t total_ = 0;
};

TEST_F(DeviceAllocatorAtItsLimit, TheSegmentThatLayIdleTheLongestGoesFirst) {
  std::vector<std::optional<Block>> blocks(3);
  std::vector<uintptr_t> addresses;
  for (auto& block : blocks) {
    block.emplace(19 * kMiB);
    addresses.push_back(block->address());
  }
  for (const size_t i : {1, 0, 2}) blocks[i].reset();
  EXPECT_EQ(reserved(), 60 * kMiB);
  limit(2 * kMiB);
  const Block more(21 * kMiB);
  EXPECT_EQ(reserved(), 40 * kMiB + 22 * kMiB);
  std::set<uintptr_t> left;
  for (int i = 0; i < 2; ++i) {
    blocks[static_cast<size_t>(i)].emplace(19 * kMiB);
    left.insert(blocks[static_cast<size_t>(i)]->address());
  }
  EXPECT_EQ(left, (std::set<uintptr_t>{addresses[0], addresses[2]}));
}

TEST_F(DeviceAllocatorAtItsLimit, AsMuchGoesAsIsNeeded) {
  {
    std::vector<Block> blocks;
    for (int i = 0; i < 4; ++i) blocks.emplace_back(19 * kMiB);
  }
  limit(0);
  const Block large(50 * kMiB);
  EXPECT_EQ(reserved(), 20 * kMiB + 52 * kMiB);
}

TEST_F(DeviceAllocatorAtItsLimit, WhatIsHeldAndWhatIsAPoolsStays) {
  MemoryPool pool(0);
  {
    const PoolScope scope(pool);
    const Block block(19 * kMiB);
  }
  const Block held(19 * kMiB);
  limit(10 * kMiB);
  const BatchHint hint(0, 100);
  std::vector<Block> blocks;
  std::string message;
  for (int i = 0; i < 100 && message.empty(); ++i) {
    message = message_of(700 << 10);
    if (message.empty()) blocks.emplace_back(700 << 10);
  }
  EXPECT_EQ(pool.reserved_bytes(), 20 * kMiB);
  EXPECT_EQ(blocks.size(), 10u) << "two of them in 2 MiB";
  EXPECT_THAT(message,
              AllOf(HasSubstr("and 0.0 KiB of the device's"), HasSubstr("of the batch of 100")));
  blocks.clear();
  EXPECT_EQ(message_of(700 << 10), "");
}

// --- what the executor sees ----------------------------------------------------------------------

TEST_F(DeviceAllocator, AnAccessBehindABlockIsSeen) {
  const Cuda device = current_cuda(0);
  for (const int64_t count : {1, 64, 128, 1000}) {
    const auto bytes = static_cast<size_t>(count) * sizeof(float);
    const Block first(bytes), neighbour(bytes);
    fill(device, first.get(), DType::kFloat32, 1, count);
    EXPECT_THROW(fill(device, first.get(), DType::kFloat32, 1, count + 1), Error) << count;
  }
}

TEST_F(DeviceAllocator, AnAccessToAFreedBlockIsSeen) {
  const Cuda device = current_cuda(0);
  void* data = nullptr;
  const Block neighbour(100);
  {
    const Block block(100);
    data = block.get();
    fill(device, data, DType::kFloat32, 1, 25);
  }
  EXPECT_THROW(fill(device, data, DType::kFloat32, 1, 25), Error);
}

TEST_F(DeviceAllocator, WhatABlockHeldBeforeIsNoLongerThere) {
  const Cuda device = current_cuda(0);
  {
    const Block block(100);
    cuda_set_zero(device, block.get(), 100);
  }
  const Block again(100);
  char host[100];
  EXPECT_THROW(cuda_copy(device, host, again.get(), 100), Error);
}
#endif

// --- against a model -----------------------------------------------------------------------------

// What should be true of the allocator, kept beside it.
class Model {
 public:
  explicit Model(unsigned seed) : random_(seed), before_(device_memory_stats(0)) {}

  void step() {
    switch (random_() % 16) {
      case 0:
        if (pools_.size() < 3) pools_.push_back({std::make_unique<MemoryPool>(0), {}});
        break;
      case 1:
        if (!pools_.empty() && random_() % 4 == 0) {
          pools_.erase(pools_.begin() + static_cast<int64_t>(random_() % pools_.size()));
        }
        break;
      case 2:
        if (random_() % 8 == 0) release_cached_device_memory(0);
        break;
      default:
        if (random_() % 100 < (live_.size() < 150 ? 60U : 40U)) {
          allocate();
        } else {
          free();
        }
    }
    check();
  }

  void finish() {
    while (!live_.empty()) free();
    pools_.clear();
    release_cached_device_memory(0);
    const MemoryStats stats = device_memory_stats(0);
    EXPECT_EQ(stats.reserved_bytes, before_.reserved_bytes);
    EXPECT_EQ(stats.active_bytes, before_.active_bytes);
    EXPECT_EQ(stats.cached_bytes, before_.cached_bytes);
  }

 private:
  using Ranges = std::map<char*, size_t>;
  struct PoolModel {
    std::unique_ptr<MemoryPool> pool;
    Ranges given;  // all that has ever been allocated from it
  };

  static bool overlaps(const Ranges& ranges, char* data, size_t bytes) {
    auto after = ranges.lower_bound(data);
    if (after != ranges.end() && after->first < data + bytes) return true;
    return after != ranges.begin() && std::prev(after)->first + std::prev(after)->second > data;
  }

  void allocate() {
    size_t bytes = (size_t{1} << (random_() % 15)) + random_() % 512;
    if (random_() % 8 == 0) bytes = random_() % (2 * kMiB);
    if (random_() % 64 == 0) bytes = random_() % (24 * kMiB);
    const size_t at = random_() % (pools_.size() + 1);  // the last stands for no pool
    std::optional<PoolScope> scope;
    if (at < pools_.size()) scope.emplace(*pools_[at].pool);
    char* data = static_cast<char*>(device_allocate(0, bytes));
    ASSERT_EQ(reinterpret_cast<uintptr_t>(data) % 256, 0u);
    const size_t size = std::max<size_t>(bytes, 1);
    ASSERT_FALSE(overlaps(live_, data, size)) << "with what is in use";
    for (size_t i = 0; i < pools_.size(); ++i) {
      if (i == at) continue;
      ASSERT_FALSE(overlaps(pools_[i].given, data, size)) << "with what a graph would use";
    }
    live_[data] = size;
    if (at < pools_.size()) {
      size_t& given = pools_[at].given[data];
      given = std::max(given, size);
    }
  }

  void free() {
    if (live_.empty()) return;
    auto block = live_.lower_bound(
        std::next(live_.begin(), static_cast<int64_t>(random_() % live_.size()))->first);
    device_free(0, block->first);
    live_.erase(block);
  }

  void check() const {
    const MemoryStats stats = device_memory_stats(0);
    ASSERT_EQ(stats.live_blocks - before_.live_blocks, live_.size());
    ASSERT_EQ(stats.active_bytes + stats.cached_bytes, stats.reserved_bytes);
    ASSERT_EQ(stats.reserved_bytes % (2 * kMiB), 0u);
    ASSERT_GE(stats.peak_bytes, stats.active_bytes);
    size_t least = 0, most = 0;
    for (const auto& [data, bytes] : live_) {
      least += device_block_bytes(bytes);
      most += device_block_bytes(bytes) + (bytes > kMiB ? kMiB : 0);
    }
    ASSERT_GE(stats.active_bytes - before_.active_bytes, least);
    ASSERT_LE(stats.active_bytes - before_.active_bytes, most);
  }

  std::mt19937 random_;
  MemoryStats before_;
  Ranges live_;
  std::vector<PoolModel> pools_;
};

TEST_F(DeviceAllocator, AgreesWithAModel) {
  for (const unsigned seed : {1U, 2U, 3U, 4U}) {
    Model model(seed);
    for (int i = 0; i < 2000 && !HasFatalFailure(); ++i) model.step();
    model.finish();
    ASSERT_FALSE(HasFailure()) << "seed " << seed;
  }
}

TEST_F(DeviceAllocator, ThreadsDoNotGetEachOthersBlocks) {
  std::mutex mutex;
  std::map<char*, size_t> live;
  int overlaps = 0;
  std::barrier together(4);
  const auto work = [&](unsigned seed) {
    std::mt19937 random(seed);
    std::vector<std::pair<char*, size_t>> mine;
    together.arrive_and_wait();
    for (int i = 0; i < 50000; ++i) {
      if (mine.size() < 20 && random() % 2 == 0) {
        const size_t bytes = 1 + random() % (16 << 10);
        char* data = static_cast<char*>(device_allocate(0, bytes));
        const std::lock_guard lock(mutex);
        const auto after = live.lower_bound(data);
        if (after != live.end() && after->first < data + bytes) ++overlaps;
        if (after != live.begin() && std::prev(after)->first + std::prev(after)->second > data) {
          ++overlaps;
        }
        live[data] = bytes;
        mine.emplace_back(data, bytes);
      } else if (!mine.empty()) {
        std::swap(mine[random() % mine.size()], mine.back());
        {
          const std::lock_guard lock(mutex);
          live.erase(mine.back().first);
        }
        device_free(0, mine.back().first);
        mine.pop_back();
      }
    }
    for (const auto& [data, bytes] : mine) {
      {
        const std::lock_guard lock(mutex);
        live.erase(data);
      }
      device_free(0, data);
    }
  };
  std::vector<std::thread> threads;
  for (unsigned seed = 0; seed < 4; ++seed) threads.emplace_back(work, seed);
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(overlaps, 0);
  EXPECT_EQ(active(), 0u);
}

}  // namespace
}  // namespace glassnet::kernels

#endif
