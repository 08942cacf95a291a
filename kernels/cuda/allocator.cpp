#include "kernels/cuda/allocator.h"

#include <algorithm>
#include <map>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "kernels/block_map.h"
#include "kernels/cuda/scratch.h"
#include "kernels/error.h"
#include "kernels/op_scope.h"

#if defined(GLASSNET_SIMT)
#include "kernels/simt/memory.h"
#include "kernels/simt/runtime.h"
#endif

namespace glassnet::kernels {

struct MemoryPool::Impl {
  BlockMap::FreeSet small, large;
  size_t reserved_bytes = 0;
  bool alive = true;
};

namespace {

using Pool = MemoryPool::Impl;

constexpr size_t kMiB = size_t{1} << 20;
constexpr size_t kUnit = 512;
constexpr size_t kGuard = kSimulated ? 256 : 0;
constexpr size_t kSmallRequest = kMiB, kSmallSegment = 2 * kMiB;
constexpr size_t kMediumRequest = 10 * kMiB, kMediumSegment = 20 * kMiB;
constexpr size_t kLargeUnit = 2 * kMiB, kLargeRest = kMiB;

size_t round_up(size_t bytes, size_t unit) {
  return (bytes + unit - 1) / unit * unit;
}

// "512.0 MiB"
std::string text_of(size_t bytes) {
  const double mib = static_cast<double>(bytes) / kMiB;
  if (mib < 1) return fmt::format("{:.1f} KiB", mib * 1024);
  return mib < 1024 ? fmt::format("{:.1f} MiB", mib) : fmt::format("{:.2f} GiB", mib / 1024);
}

// The executor is told which parts of a segment may be touched, and again whenever a graph runs
// that was captured meanwhile.
#if defined(GLASSNET_SIMT)
void announce_live(char* data, size_t bytes) {
  simt::mark_live(data, bytes);
  simt::at_launch([=] {
    simt::mark_free(data, bytes);  // it may be alive since the launch before
    simt::mark_live(data, bytes);
  });
}
void announce_free(char* data, size_t bytes) {
  simt::mark_free(data, bytes);
  simt::at_launch([=] { simt::mark_free(data, bytes); });
}
void announce_segment(char* data, size_t bytes) {
  simt::mark_free(data, bytes);
}
#else
void announce_live(char*, size_t) {}
void announce_free(char*, size_t) {}
void announce_segment(char*, size_t) {}
#endif

// CONVENTION: the blocks of a segment cover it without gaps, and stand in their pool's free set for
// its size while they are free.
class DeviceAllocator {
 public:
  explicit DeviceAllocator(int index) : index_(index) {}

  void* allocate(size_t bytes) {
    Pool* pool = PoolScope::current(index_);
    require(pool != nullptr || !is_capturing({index_, current_stream(index_)}), [] {
      return std::string(
          "[memory] what is allocated while a graph is captured has to come from a pool that lives "
          "as long as the graph; open a PoolScope around the capture");
    });
    const std::lock_guard lock(mutex_);
    if (pool == nullptr) pool = &common_;
    const size_t size = device_block_bytes(bytes);
    const bool small = bytes <= kSmallRequest;
    Iterator block = blocks_.smallest(small ? pool->small : pool->large, size);
    if (block == blocks_.end()) block = add_segment(*pool, small, bytes, size);
    blocks_.take(block, size, small ? kUnit : kLargeRest);
    stats_.handed_out(block->second.bytes);
    announce_live(block->first, bytes);
    return block->first;
  }

  void free(void* data) {
    const std::lock_guard lock(mutex_);
    Iterator block = blocks_.find(static_cast<char*>(data));
    require(block != blocks_.end() && block->second.free == nullptr, [] {
      return std::string("[memory] what is freed is not a block of this device that is in use");
    });
    announce_free(block->first, block->second.bytes);
    stats_.came_back(block->second.bytes);
    Segment& segment = segments_.at(block->second.segment);
    block = blocks_.give(block, free_set(segment));
    if (block->second.bytes < segment.bytes) return;
    segment.idle_since = ++clock_;
    if (!segment.pool->alive) give_back(block);
  }

  MemoryStats stats() {
    const std::lock_guard lock(mutex_);
    return stats_;
  }
  void reset_peak() {
    const std::lock_guard lock(mutex_);
    stats_.peak_bytes = stats_.active_bytes;
  }
  void release() {
    const std::lock_guard lock(mutex_);
    give_back_idle(common_, SIZE_MAX);
  }

  Pool* add_pool() {
    const std::lock_guard lock(mutex_);
    return new Pool;
  }
  void remove_pool(Pool* pool) {
    const std::lock_guard lock(mutex_);
    pool->alive = false;
    // The last segment takes the pool with it.
    if (pool->reserved_bytes == 0) {
      delete pool;
    } else {
      give_back_idle(*pool, SIZE_MAX);
    }
  }
  size_t reserved_bytes(const Pool& pool) {
    const std::lock_guard lock(mutex_);
    return pool.reserved_bytes;
  }

 private:
  using Iterator = BlockMap::Iterator;
  struct Segment {
    size_t bytes;
    Pool* pool;
    bool small;
    uint64_t idle_since;  // in frees, not in seconds
  };

  static BlockMap::FreeSet& free_set(const Segment& segment) {
    return segment.small ? segment.pool->small : segment.pool->large;
  }

  // A new segment, as one free block.
  Iterator add_segment(Pool& pool, bool small, size_t bytes, size_t size) {
    const size_t segment_bytes = small                     ? kSmallSegment
                                 : bytes <= kMediumRequest ? kMediumSegment
                                                           : round_up(size, kLargeUnit);
    char* data = static_cast<char*>(cuda_allocate(index_, segment_bytes));
    while (data == nullptr && give_back_idle(common_, 1)) {
      data = static_cast<char*>(cuda_allocate(index_, segment_bytes));
    }
    require(data != nullptr, [&] { return out_of_memory(bytes, segment_bytes); });
    announce_segment(data, segment_bytes);
    const Segment& segment = segments_[data] = {segment_bytes, &pool, small, 0};
    pool.reserved_bytes += segment_bytes;
    stats_.arrived(segment_bytes);
    return blocks_.add(data, {segment_bytes, data, &free_set(segment)});
  }

  // Returns a segment that is one free block to the driver, and a pool that is gone with its last.
  void give_back(Iterator block) {
    char* data = block->first;
    const auto [bytes, pool, small, idle_since] = segments_.at(data);
    blocks_.remove(block);
    segments_.erase(data);
    stats_.went(bytes);
    pool->reserved_bytes -= bytes;
    cuda_free(index_, data);
    if (!pool->alive && pool->reserved_bytes == 0) delete pool;
  }

  // Gives back up to `count` of a pool's idle segments, the longest idle first. Returns whether
  // there was one.
  bool give_back_idle(const Pool& pool, size_t count) {
    std::vector<std::pair<uint64_t, Iterator>> idle;
    for (const auto& [data, segment] : segments_) {
      const Iterator first = blocks_.find(data);
      if (segment.pool == &pool && first->second.free != nullptr &&
          first->second.bytes == segment.bytes) {
        idle.emplace_back(segment.idle_since, first);
      }
    }
    std::sort(idle.begin(), idle.end(),
              [](const auto& a, const auto& b) { return a.first < b.first; });
    idle.resize(std::min(idle.size(), count));
    for (const auto& [since, segment] : idle) give_back(segment);
    return !idle.empty();
  }

  std::string out_of_memory(size_t bytes, size_t segment_bytes) const {
    const CudaMemory memory = cuda_memory(index_);
    const char* op = current_op();
    return fmt::format(
        "[{}] out of memory on {}: {} were asked for; tensors hold {}, {} are cached in pieces, "
        "and "
        "{} of the device's {} are free{}",
        op == nullptr ? "memory" : op, kSimulated ? "simt" : fmt::format("cuda:{}", index_),
        text_of(bytes), text_of(stats_.active_bytes), text_of(stats_.cached_bytes),
        text_of(memory.free_bytes), text_of(memory.total_bytes),
        BatchHint::advice(index_, stats_.active_bytes, segment_bytes,
                          stats_.reserved_bytes + memory.free_bytes));
  }

  const int index_;
  std::mutex mutex_;
  Pool common_;
  BlockMap blocks_;
  std::map<char*, Segment> segments_;  // by address
  uint64_t clock_ = 0;
  MemoryStats stats_;
};

// Never destroyed: tensors in static objects may outlive any other static.
DeviceAllocator& allocator(int index) {
  static std::mutex mutex;
  static auto& allocators = *new std::map<int, DeviceAllocator*>;
  const std::lock_guard lock(mutex);
  DeviceAllocator*& entry = allocators[index];
  if (entry == nullptr) entry = new DeviceAllocator(index);
  return *entry;
}

thread_local const PoolScope* innermost_pool = nullptr;
thread_local const BatchHint* innermost_hint = nullptr;

}  // namespace

void* device_allocate(int index, size_t bytes) {
  return allocator(index).allocate(bytes);
}
void device_free(int index, void* data) noexcept {
  if (data != nullptr) allocator(index).free(data);
}
size_t device_block_bytes(size_t bytes) {
  return round_up(std::max<size_t>(bytes, 1) + kGuard, kUnit);
}

MemoryStats device_memory_stats(int index) {
  return allocator(index).stats();
}
void reset_peak_device_memory(int index) {
  allocator(index).reset_peak();
}
void release_cached_device_memory(int index) {
  allocator(index).release();
}

MemoryPool::MemoryPool(int index) : index_(index), impl_(allocator(index).add_pool()) {}
MemoryPool::~MemoryPool() {
  allocator(index_).remove_pool(impl_);
}
size_t MemoryPool::reserved_bytes() const {
  return allocator(index_).reserved_bytes(*impl_);
}

PoolScope::PoolScope(MemoryPool& pool)
    : index_(pool.index_), pool_(pool.impl_), before_(std::exchange(innermost_pool, this)) {}
PoolScope::~PoolScope() {
  innermost_pool = before_;
}
MemoryPool::Impl* PoolScope::current(int index) {
  for (const PoolScope* scope = innermost_pool; scope != nullptr; scope = scope->before_) {
    if (scope->index_ == index) return scope->pool_;
  }
  return nullptr;
}

BatchHint::BatchHint(int index, int64_t batch)
    : index_(index),
      batch_(batch),
      base_(device_memory_stats(index).active_bytes),
      before_(std::exchange(innermost_hint, this)) {}
BatchHint::~BatchHint() {
  innermost_hint = before_;
}
int64_t BatchHint::largest(int64_t batch, size_t used, size_t available) {
  if (used == 0) return batch - 1;
  const double images =
      static_cast<double>(available) / static_cast<double>(used) * static_cast<double>(batch);
  return std::min(static_cast<int64_t>(images), batch - 1);
}
std::string BatchHint::advice(int index, size_t active, size_t asked, size_t reachable) {
  const std::string smaller = "; use a smaller --batch-size or --image-size";
  const BatchHint* hint = innermost_hint;
  while (hint != nullptr && hint->index_ != index) hint = hint->before_;
  if (hint == nullptr) return smaller;
  // The batch may not have everything yet, so that this is more than would really fit.
  const size_t base = std::min(hint->base_, active);
  const size_t available = reachable > base ? reachable - base : 0;
  const int64_t fits = largest(hint->batch_, active - base + asked, available);
  if (fits < 1) return "; not even a batch of 1 would fit; use a smaller --image-size";
  return fmt::format("; of the batch of {}, at most about {} would fit", hint->batch_, fits) +
         smaller;
}

Scratch::Scratch(Cuda device, size_t bytes)
    : index_(device.index), data_(device_allocate(device.index, bytes)) {}
Scratch::~Scratch() {
  device_free(index_, data_);
}

}  // namespace glassnet::kernels
