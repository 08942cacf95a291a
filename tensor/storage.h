// Memory behind tensors: reference counted, from a caching allocator.
//
// On the CPU, freed blocks are kept in a size-ordered map and handed out again, so that a training
// step in its steady state asks the operating system for nothing. A cached block serves a request
// when it is at most twice as large; otherwise it waits or, over the limit, goes back. On a GPU,
// memory comes from kernels/cuda/allocator.h.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

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
  size_t capacity_ = 0;  // on the CPU
  Device device_;
};

struct MemoryStats {
  size_t active_bytes = 0;          // held by tensors
  size_t cached_bytes = 0;          // free, kept for reuse
  size_t reserved_bytes = 0;        // both
  size_t peak_bytes = 0;            // the highest active_bytes since the last reset
  size_t live_blocks = 0;           // those that tensors hold
  uint64_t system_allocations = 0;  // requests that reached the operating system or driver
};
// What a CUDA device has left, for all who use it; 0 for the CPU, which is not asked.
size_t free_memory(Device device);
MemoryStats memory_stats(Device device = {});
void reset_peak_memory(Device device = {});
// Gives every cached block back.
void release_cached_memory(Device device = {});

}  // namespace glassnet
