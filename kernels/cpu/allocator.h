// The caching allocator of the CPU's tensors. It reserves addresses in plenty, which cost nothing,
// fills them with memory from the bottom as it is needed, and keeps what is freed: a page that the
// operating system hands out has to be cleared first, which takes longer than most ops do.
//
//   addresses   |  in use  | cached |   in use   | vacant | in use | cached |   vacant  …
//
// A request takes the smallest cached block that is large enough, at the lowest address of several,
// and leaves the rest; a freed block merges with its cached neighbours. Memory is asked for where
// no cached block is large enough: in pages of 2 MiB, and a cached block just in front of them
// serves as well. A training step in its steady state asks for nothing.
//
// What is cached in pieces goes back, the largest first, before more would be resident than an
// eighth (or 64 MiB) above the most that was in use at once; so does what is cached beyond `limit`,
// down to half of it, and everything when memory runs out.
#pragma once

#include <cstddef>
#include <mutex>
#include <vector>

#include "kernels/block_map.h"
#include "kernels/memory_stats.h"

namespace glassnet::kernels {

// All functions may be called from any thread.
class CpuAllocator {
 public:
  // Addresses are reserved `reservation` bytes at a time: as many as there is memory, unless said.
  explicit CpuAllocator(size_t limit, size_t reservation = 0);
  ~CpuAllocator();  // with everything that it has handed out
  CpuAllocator(const CpuAllocator&) = delete;
  CpuAllocator& operator=(const CpuAllocator&) = delete;

  // Uninitialised, aligned to 64 bytes. Throws Error, with what there is, when there is too little.
  void* allocate(size_t bytes);
  void free(void* data) noexcept;

  MemoryStats stats();
  void reset_peak();
  // Gives the pages back that nobody uses. Of blocks that share one with others, some stay cached.
  void release();

 private:
  using Iterator = BlockMap::Iterator;
  struct Reservation {
    void* data;
    size_t bytes;
  };

  Iterator grow(size_t bytes);
  Iterator vacancy(size_t bytes);
  size_t missing(Iterator vacant, size_t bytes);
  void give_back(size_t target);

  const size_t limit_, reservation_;
  std::mutex mutex_;
  size_t highest_ = 0;  // the most bytes that were ever in use
  BlockMap blocks_;
  BlockMap::FreeSet cached_, vacant_;  // with memory, and without
  std::vector<Reservation> reservations_;
  MemoryStats stats_;
};

// The one for all tensors, which keeps up to a quarter of the machine's memory cached.
CpuAllocator& cpu_allocator();

}  // namespace glassnet::kernels
