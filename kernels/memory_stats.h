// What a caching allocator says of itself.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace glassnet::kernels {

struct MemoryStats {
  size_t active_bytes = 0;          // in blocks that are handed out
  size_t cached_bytes = 0;          // free, kept for reuse
  size_t reserved_bytes = 0;        // both
  size_t peak_bytes = 0;            // the highest active_bytes since the last reset
  size_t live_blocks = 0;           // handed out
  uint64_t system_allocations = 0;  // requests that reached the operating system or driver

  // Memory comes from the system, a block is handed out and comes back, memory goes.
  void arrived(size_t bytes) {
    reserved_bytes += bytes;
    cached_bytes += bytes;
    ++system_allocations;
  }
  void handed_out(size_t bytes) {
    cached_bytes -= bytes;
    active_bytes += bytes;
    peak_bytes = std::max(peak_bytes, active_bytes);
    ++live_blocks;
  }
  void came_back(size_t bytes) {
    active_bytes -= bytes;
    cached_bytes += bytes;
    --live_blocks;
  }
  void went(size_t bytes) {
    reserved_bytes -= bytes;
    cached_bytes -= bytes;
  }
};

}  // namespace glassnet::kernels
