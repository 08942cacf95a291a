// Remembers for every few bytes of memory who last wrote and who last read them, and finds
// accesses that nothing orders: data races, by the rule of "happens before" (Flanagan and Freund,
// FastTrack, 2009), for the ways in which CUDA orders threads:
//
//   __syncthreads            all of the block before it, and all after
//   __syncwarp(mask)         the same for the lanes of the mask
//   the end of a launch      all before the next launch
//   __threadfence            what precedes it, before what other blocks do later. The signal that
//                            tells them is taken on trust.
//   atomics                  never race with each other, and order nothing
//   shuffles and ballots     order nothing
//
// One clock for everything ticks whenever something is ordered. Blocks run one after the other, so
// a time tells the launch, the block, and the stretch between two barriers that it belongs to.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace glassnet::simt {

enum class Access : uint8_t { kRead, kWrite, kAtomic };

// What is known about a few bytes. Zero stands for never.
struct Cell {
  uint32_t written = 0, read = 0;  // when last
  uint16_t writer = 0;             // thread of the block, and flags
  uint16_t reader_warp = 0;        // warp of the block, and flags
  uint32_t reader_lanes = 0;       // of that warp: those whose reads nothing orders
};
// What the host or an earlier launch has written.
inline constexpr Cell kWrittenBefore{.written = 1};

// The cells of a stretch of memory. A cell stands for four bytes, until something touches fewer.
class Cells {
 public:
  Cells() = default;
  Cells(size_t bytes, const Cell& value);

  explicit operator bool() const { return cells_ != nullptr; }
  // The cells of bytes [offset, offset + bytes), of which there are `count`.
  Cell* at(size_t offset, size_t bytes, size_t& count) {
    if (((offset | bytes) & ((size_t{1} << shift_) - 1)) != 0) [[unlikely]] {
      refine(offset | bytes);
    }
    count = bytes >> shift_;
    return cells_.get() + (offset >> shift_);
  }
  size_t cell_bytes() const { return size_t{1} << shift_; }
  size_t size() const { return (bytes_ + cell_bytes() - 1) >> shift_; }
  Cell* begin() { return cells_.get(); }
  Cell* end() { return cells_.get() + size(); }

 private:
  void refine(size_t multiple);

  std::unique_ptr<Cell[]> cells_;
  size_t bytes_ = 0;
  int shift_ = 2;
};

// An earlier access that nothing orders with the one at hand.
struct Conflict {
  bool found = false;
  Access earlier = Access::kRead;
  bool other_block = false;
  int thread = -1;  // of the block, -1 where it is not known which
};

class Order {
 public:
  explicit Order(uint32_t now = kStart) : now_(now) {}

  void begin_launch();
  void begin_block();
  void pass_barrier();
  void sync_warp(int warp, uint32_t lanes);
  void fence();
  // The thread that runs from now on.
  void resume(int thread) {
    thread_ = static_cast<uint16_t>(thread);
    warp_ = static_cast<uint16_t>(thread / 32);
    lane_ = thread % 32;
  }

  // Since when accesses count: to device memory, to shared memory.
  uint32_t launch() const { return launch_; }
  uint32_t block() const { return block_; }
  // The clock's last quarter has begun: every cell has to be told to `forget`.
  bool is_late() const { return now_ > UINT32_MAX / 4 * 3; }
  static void forget(Cell& cell);
  void restart() { now_ = launch_ = block_ = barrier_ = kStart; }

  // Notes the running thread's access. Accesses before `since` are ordered with it in any case.
  void access(Cell& cell, Access kind, uint32_t since, Conflict& conflict) {
    if (cell.written >= since) [[unlikely]] {
      compare_with_write(cell, kind, conflict);
    }
    if (kind == Access::kRead) {
      note_read(cell, since);
    } else {
      if (cell.read >= since) [[unlikely]] {
        compare_with_read(cell, conflict);
      }
      note_write(cell, kind, since);
    }
  }

 private:
  struct Fence {
    uint32_t time, barrier, block;
    uint16_t thread;
  };

  void compare_with_write(const Cell& cell, Access kind, Conflict& conflict) const;
  void compare_with_read(const Cell& cell, Conflict& conflict) const;
  void note_read(Cell& cell, uint32_t since) {
    const uint32_t me = uint32_t{1} << lane_;
    if (cell.read == now_ && (cell.reader_warp & kWarpMask) == warp_) {
      cell.reader_lanes |= me;
    } else {
      note_first_read(cell, since);
    }
  }
  void note_first_read(Cell& cell, uint32_t since);
  void note_write(Cell& cell, Access kind, uint32_t since);
  // Whether what a lane of this warp did at `time` comes before what the running thread does now.
  bool comes_before(int lane, uint32_t time) const { return seen_[warp_][lane_][lane] > time; }
  bool is_fenced(uint32_t time, int thread) const;
  bool is_fenced_by_warp(uint32_t time, int warp) const;

  static constexpr uint32_t kStart = 2;  // after `kWrittenBefore`
  static constexpr uint16_t kThreadMask = 0x03ff, kWarpMask = 0x001f;
  static constexpr uint16_t kAtomic = 0x8000;       // written by an atomic,
  static constexpr uint16_t kManyWarps = 0x4000;    // and by another warp's since the last barrier,
  static constexpr uint16_t kOtherBlocks = 0x2000;  // and by a block before this one

  uint32_t now_, launch_ = kStart, block_ = kStart, barrier_ = kStart;
  uint16_t thread_ = 0, warp_ = 0;
  int lane_ = 0;
  // seen_[w][a][b]: what lane b of warp w did before this time comes before what lane a does now.
  uint32_t seen_[32][32][32] = {};
  std::vector<Fence> fences_;  // of this launch
};

}  // namespace glassnet::simt
