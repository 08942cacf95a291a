// Memory behind tensors: reference counted, from a caching allocator.
//
// Freed blocks are kept and handed out again, so that a training step in its steady state asks
// neither the operating system nor a driver for anything: kernels/cpu/allocator.h and
// kernels/cuda/allocator.h.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "kernels/memory_stats.h"
#include "tensor/device.h"

namespace glassnet {

// CONVENTION: data() is aligned to 64 bytes; size() is what was asked for.
class Storage {
 public:
  // Uninitialised memory. Throws Error with the size when there is none.
  Storage(size_t bytes, Device device);
  ~Storage();
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;

  void* data() const { return data_; }
  size_t size() const { return size_; }
  Device device() const { return device_; }

  // Another number after each `touch`, and another for each storage there ever was.
  uint64_t version() const { return version_.load(std::memory_order_relaxed); }
  void touch() { version_.store(next_version(), std::memory_order_relaxed); }

 private:
  static uint64_t next_version();

  std::atomic<uint64_t> version_ = next_version();
  void* data_ = nullptr;
  size_t size_ = 0;
  Device device_;
};

using kernels::MemoryStats;

// What a CUDA device has left, for all who use it; 0 for the CPU, which is not asked.
size_t free_memory(Device device);
MemoryStats memory_stats(Device device = {});
void reset_peak_memory(Device device = {});
// Gives back what is cached: on the CPU all whole pages, on a GPU all whole segments.
void release_cached_memory(Device device = {});

}  // namespace glassnet
