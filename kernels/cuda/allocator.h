// The caching allocator of CUDA devices: asks the driver for large segments, hands out blocks of
// them, and keeps what is freed, because cudaMalloc takes long and cudaFree waits for the device.
//
//   request             segment of            a block is split when this much is left
//   up to 1 MiB         2 MiB, shared         512 bytes
//   up to 10 MiB        20 MiB, shared        1 MiB
//   more                its own, rounded      1 MiB
//                       up to 2 MiB
//
// A request takes the smallest free block that is large enough; a freed block merges with its free
// neighbours. When the driver has no more, segments that are wholly free go back to it, those that
// lay idle the longest first. In its steady state, a training step asks the driver for nothing.
//
// Freeing does not wait for the device: the next owner's work has to be queued on the same stream,
// or on one that waits for it. All functions may be called from any thread.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cuda/runtime.h"
#include "kernels/memory_stats.h"

namespace glassnet::kernels {

// Uninitialised, aligned to 256 bytes at least. Throws Error, with what there is and who holds it,
// when the device has too little; and while this thread captures a graph, unless the memory comes
// from a pool: the graph will use it long after it is freed here.
void* device_allocate(int index, size_t bytes);
void device_free(int index, void* data) noexcept;

// The bytes that a request occupies: in steps of 512, and, where the executor looks for accesses
// out of bounds, with 256 that belong to nobody behind it.
size_t device_block_bytes(size_t bytes);

MemoryStats device_memory_stats(int index);
void reset_peak_device_memory(int index);
// Gives segments that are wholly free back to the driver, but for those of pools.
void release_cached_device_memory(int index);

// Segments of a graph's own. A captured graph goes on using the addresses that it was captured
// with, so nobody else may be given them: blocks that are freed go back to the pool that they came
// from, which gives nothing to the driver as long as it lives. Afterwards a segment goes back when
// the last of its blocks is freed.
//
//   MemoryPool pool(0);                      // lives as long as the graph
//   {
//     const PoolScope scope(pool);
//     graph.capture(0, [&] { ... });
//   }
class MemoryPool {
 public:
  explicit MemoryPool(int index);
  ~MemoryPool();
  MemoryPool(const MemoryPool&) = delete;
  MemoryPool& operator=(const MemoryPool&) = delete;
  size_t reserved_bytes() const;

  struct Impl;

 private:
  friend class PoolScope;
  int index_;
  Impl* impl_;  // the allocator's: it may have to outlive this object
};

// What this thread allocates on the pool's device comes from the pool, which has to outlive this
// object.
class PoolScope {
 public:
  explicit PoolScope(MemoryPool& pool);
  ~PoolScope();
  PoolScope(const PoolScope&) = delete;
  PoolScope& operator=(const PoolScope&) = delete;

  // The innermost scope's pool on a device; null outside of any.
  static MemoryPool::Impl* current(int index);

 private:
  int index_;
  MemoryPool::Impl* pool_;
  const PoolScope* before_;
};

// For the message about too little memory: from here on, this thread works on a batch of so many
// images, and what was active before is not the batch's. What it takes grows with the batch.
class BatchHint {
 public:
  BatchHint(int index, int64_t batch);
  ~BatchHint();
  BatchHint(const BatchHint&) = delete;
  BatchHint& operator=(const BatchHint&) = delete;

  // The largest batch that would fit if one of `batch` images needs `used` bytes and there are
  // `available`; always smaller than `batch`.
  static int64_t largest(int64_t batch, size_t used, size_t available);
  // "; a batch of at most about 48 would fit", for the innermost hint on a device. `active` bytes
  // are in use, the base included, `asked` are needed now, and `reachable` could be in use.
  static std::string advice(int index, size_t active, size_t asked, size_t reachable);

 private:
  int index_;
  int64_t batch_;
  size_t base_;
  const BatchHint* before_;
};

}  // namespace glassnet::kernels
