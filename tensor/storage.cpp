#include "tensor/storage.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <mutex>

#include <fmt/format.h>

#if defined(GLASSNET_CUDA)
#include "kernels/cuda/memory.h"
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

void* system_allocate(size_t bytes, Device device) {
#if defined(GLASSNET_CUDA)
  if (device.type == DeviceType::kCuda) return kernels::cuda_allocate(device.index, bytes);
#endif
  if (device.type != DeviceType::kCpu) {
    throw Error("[storage] this build of Glassnet has no CUDA; use the CPU");
  }
  const bool huge = bytes >= kHugePage;
  void* data = std::aligned_alloc(huge ? kHugePage : kAlignment, bytes);
  // First touch of 4 KiB pages costs more than the convolutions that fill them.
  if (data != nullptr && huge) madvise(data, bytes, MADV_HUGEPAGE);
  return data;
}

void system_free(void* data, Device device) {
#if defined(GLASSNET_CUDA)
  if (device.type == DeviceType::kCuda) {
    kernels::cuda_free(device.index, data);
    return;
  }
#endif
  (void)device;
  std::free(data);
}

// CONVENTION: every block is either held by one Storage or lies in free_.
class CachingAllocator {
 public:
  explicit CachingAllocator(Device device) : device_(device) {
    if (device.type == DeviceType::kCpu) {
      const size_t physical = static_cast<size_t>(sysconf(_SC_PHYS_PAGES)) *
                              static_cast<size_t>(sysconf(_SC_PAGE_SIZE));
      limit_ = physical / 4;
    }
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
      result = {system_allocate(capacity, device_), capacity};
      if (result.first == nullptr) {
        trim(0);
        result.first = system_allocate(capacity, device_);
      }
      require(result.first != nullptr, [&] {
        return fmt::format(
            "out of memory on {}: {:.1f} MiB were asked for while {:.1f} MiB are in use; use a "
            "smaller --batch-size or --image-size",
            device_.str(), static_cast<double>(capacity) / (1 << 20),
            static_cast<double>(stats_.active_bytes) / (1 << 20));
      });
      ++stats_.system_allocations;
    }
    stats_.active_bytes += result.second;
    stats_.peak_bytes = std::max(stats_.peak_bytes, stats_.active_bytes);
    return result;
  }

  void free(void* data, size_t capacity) {
    const std::lock_guard lock(mutex_);
    stats_.active_bytes -= capacity;
    stats_.cached_bytes += capacity;
    free_.emplace(capacity, data);
    if (stats_.cached_bytes > limit_) trim(limit_ / 2);
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
    trim(0);
  }

 private:
  // Gives the largest blocks back until at most `target` bytes stay cached.
  void trim(size_t target) {
    while (stats_.cached_bytes > target && !free_.empty()) {
      const auto largest = std::prev(free_.end());
      system_free(largest->second, device_);
      stats_.cached_bytes -= largest->first;
      free_.erase(largest);
    }
  }

  Device device_;
  size_t limit_ = SIZE_MAX;
  std::mutex mutex_;
  std::multimap<size_t, void*> free_;
  MemoryStats stats_;
};

// Never destroyed: tensors in static objects may outlive any other static.
CachingAllocator& allocator(Device device) {
  static std::mutex mutex;
  static auto& allocators = *new std::map<std::pair<DeviceType, int>, CachingAllocator*>;
  const std::lock_guard lock(mutex);
  CachingAllocator*& entry = allocators[{device.type, device.index}];
  if (entry == nullptr) entry = new CachingAllocator(device);
  return *entry;
}

}  // namespace

Storage::Storage(size_t bytes, Device device) : size_(bytes), device_(device) {
  std::tie(data_, capacity_) = allocator(device).allocate(bytes);
}

Storage::~Storage() {
  allocator(device_).free(data_, capacity_);
}

MemoryStats memory_stats(Device device) {
  return allocator(device).stats();
}
void reset_peak_memory(Device device) {
  allocator(device).reset_peak();
}
void release_cached_memory(Device device) {
  allocator(device).release();
}

}  // namespace glassnet
