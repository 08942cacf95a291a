#include "tensor/storage.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <mutex>
#include <tuple>

#include <fmt/format.h>

#if defined(GLASSNET_CUDA)
#include "kernels/cuda/allocator.h"
#include "kernels/cuda/runtime.h"
#endif

namespace glassnet {
namespace {

constexpr size_t kAlignment = 64;
constexpr size_t kHugePage = size_t{2} << 20;

size_t round_up(size_t bytes, size_t unit) {
  return (bytes + unit - 1) / unit * unit;
}

// Rounding sizes makes blocks of nearly equal tensors interchangeable.
size_t rounded_capacity(size_t bytes) {
  if (bytes < kHugePage) return round_up(std::max<size_t>(bytes, 1), 512);
  return round_up(bytes, kHugePage);
}

void* system_allocate(size_t bytes) {
  const bool huge = bytes >= kHugePage;
  void* data = std::aligned_alloc(huge ? kHugePage : kAlignment, bytes);
  // First touch of 4 KiB pages costs more than the convolutions that fill them.
  if (data != nullptr && huge) madvise(data, bytes, MADV_HUGEPAGE);
  return data;
}

// CONVENTION: every block is either held by one Storage or lies in free_.
class CachingAllocator {
 public:
  CachingAllocator() {
    const size_t physical =
        static_cast<size_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<size_t>(sysconf(_SC_PAGE_SIZE));
    limit_ = physical / 4;
  }

  std::pair<void*, size_t> allocate(size_t bytes) {
    const size_t capacity = rounded_capacity(bytes);
    const std::lock_guard lock(mutex_);
    auto block = free_.lower_bound(capacity);
    std::pair<void*, size_t> result;
    if (block != free_.end() && block->first <= 2 * capacity) {
      result = {block->second, block->first};
      stats_.cached_bytes -= block->first;
      free_.erase(block);
    } else {
      result = {system_allocate(capacity), capacity};
      if (result.first == nullptr) {
        trim(0);
        result.first = system_allocate(capacity);
      }
      require(result.first != nullptr, [&] {
        return fmt::format(
            "out of memory on cpu: {:.1f} MiB were asked for while {:.1f} MiB are in use; use a "
            "smaller --batch-size or --image-size",
            static_cast<double>(capacity) / (1 << 20),
            static_cast<double>(stats_.active_bytes) / (1 << 20));
      });
      ++stats_.system_allocations;
    }
    ++stats_.live_blocks;
    stats_.active_bytes += result.second;
    stats_.peak_bytes = std::max(stats_.peak_bytes, stats_.active_bytes);
    return result;
  }

  void free(void* data, size_t capacity) {
    const std::lock_guard lock(mutex_);
    --stats_.live_blocks;
    stats_.active_bytes -= capacity;
    stats_.cached_bytes += capacity;
    free_.emplace(capacity, data);
    if (stats_.cached_bytes > limit_) trim(limit_ / 2);
  }

  MemoryStats stats() {
    const std::lock_guard lock(mutex_);
    MemoryStats result = stats_;
    result.reserved_bytes = result.active_bytes + result.cached_bytes;
    return result;
  }
  void reset_peak() {
    const std::lock_guard lock(mutex_);
    stats_.peak_bytes = stats_.active_bytes;
  }
  void release() {
    const std::lock_guard lock(mutex_);
    trim(0);
  }

 private:
  // Gives the largest blocks back until at most `target` bytes stay cached.
  void trim(size_t target) {
    while (stats_.cached_bytes > target && !free_.empty()) {
      const auto largest = std::prev(free_.end());
      std::free(largest->second);
      stats_.cached_bytes -= largest->first;
      free_.erase(largest);
    }
  }

  size_t limit_ = 0;
  std::mutex mutex_;
  std::multimap<size_t, void*> free_;
  MemoryStats stats_;
};

// Never destroyed: tensors in static objects may outlive any other static.
CachingAllocator& cpu_allocator() {
  static auto& allocator = *new CachingAllocator;
  return allocator;
}

}  // namespace

uint64_t Storage::next_version() {
  static std::atomic<uint64_t> last{0};
  return last.fetch_add(1, std::memory_order_relaxed) + 1;
}

Storage::Storage(size_t bytes, Device device) : size_(bytes), device_(device) {
  if (device.type == DeviceType::kCpu) {
    std::tie(data_, capacity_) = cpu_allocator().allocate(bytes);
    return;
  }
#if defined(GLASSNET_CUDA)
  data_ = kernels::device_allocate(device.index, bytes);
#else
  throw Error("[storage] this build of Glassnet has no CUDA; use the CPU");
#endif
}

Storage::~Storage() {
#if defined(GLASSNET_CUDA)
  if (device_.type == DeviceType::kCuda) {
    kernels::device_free(device_.index, data_);
    return;
  }
#endif
  cpu_allocator().free(data_, capacity_);
}

size_t free_memory(Device device) {
#if defined(GLASSNET_CUDA)
  if (device.type == DeviceType::kCuda) return kernels::cuda_memory(device.index).free_bytes;
#endif
  (void)device;
  return 0;
}

MemoryStats memory_stats(Device device) {
#if defined(GLASSNET_CUDA)
  if (device.type == DeviceType::kCuda) {
    const kernels::DeviceMemoryStats stats = kernels::device_memory_stats(device.index);
    return {.active_bytes = stats.active_bytes,
            .cached_bytes = stats.cached_bytes,
            .reserved_bytes = stats.reserved_bytes,
            .peak_bytes = stats.peak_bytes,
            .live_blocks = stats.live_blocks,
            .system_allocations = stats.driver_allocations};
  }
#endif
  return device.type == DeviceType::kCpu ? cpu_allocator().stats() : MemoryStats{};
}

void reset_peak_memory(Device device) {
#if defined(GLASSNET_CUDA)
  if (device.type == DeviceType::kCuda) kernels::reset_peak_device_memory(device.index);
#endif
  if (device.type == DeviceType::kCpu) cpu_allocator().reset_peak();
}

void release_cached_memory(Device device) {
#if defined(GLASSNET_CUDA)
  if (device.type == DeviceType::kCuda) kernels::release_cached_device_memory(device.index);
#endif
  if (device.type == DeviceType::kCpu) cpu_allocator().release();
}

}  // namespace glassnet
