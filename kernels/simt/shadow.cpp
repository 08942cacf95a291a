#include "kernels/simt/shadow.h"

#include <algorithm>
#include <bit>

namespace glassnet::simt {

Cells::Cells(size_t bytes, const Cell& value) : bytes_(bytes) {
  cells_ = std::make_unique<Cell[]>(size());
  if (value.written != 0) std::fill(begin(), end(), value);
}

void Cells::refine(size_t multiple) {
  Cells finer;
  finer.bytes_ = bytes_;
  finer.shift_ = std::min(std::countr_zero(multiple), shift_);
  finer.cells_ = std::make_unique<Cell[]>(finer.size());
  for (size_t i = 0; i < finer.size(); ++i) finer.cells_[i] = cells_[i >> (shift_ - finer.shift_)];
  *this = std::move(finer);
}

void Order::begin_launch() {
  launch_ = ++now_;
  fences_.clear();
}
void Order::begin_block() {
  block_ = barrier_ = ++now_;
}
void Order::pass_barrier() {
  barrier_ = ++now_;
}

void Order::sync_warp(int warp, uint32_t lanes) {
  const uint32_t time = ++now_;
  auto& seen = seen_[warp];
  uint32_t together[32];
  for (int b = 0; b < 32; ++b) {
    together[b] = 0;
    for (int a = 0; a < 32; ++a) {
      if ((lanes >> a & 1) != 0) together[b] = std::max(together[b], seen[a][b]);
    }
    if ((lanes >> b & 1) != 0) together[b] = time;
  }
  for (int a = 0; a < 32; ++a) {
    if ((lanes >> a & 1) != 0) std::copy_n(together, 32, seen[a]);
  }
}

void Order::fence() {
  fences_.push_back({++now_, barrier_, block_, thread_});
}

// A fence covers what its thread did before it, and what its block did before the last barrier.
bool Order::is_fenced(uint32_t time, int thread) const {
  auto fence = std::upper_bound(fences_.begin(), fences_.end(), time,
                                [](uint32_t t, const Fence& f) { return t < f.time; });
  for (; fence != fences_.end() && fence->block <= time; ++fence) {
    if (fence->barrier > time || fence->thread == thread) return true;
  }
  return false;
}
bool Order::is_fenced_by_warp(uint32_t time, int warp) const {
  for (int lane = 0; lane < 32; ++lane) {
    if (is_fenced(time, warp * 32 + lane)) return true;
  }
  return false;
}

void Order::forget(Cell& cell) {
  cell = cell.written == 0 ? Cell{} : kWrittenBefore;
}

void Order::compare_with_write(const Cell& cell, Access kind, Conflict& conflict) const {
  const bool atomic = (cell.writer & kAtomic) != 0;
  if (atomic && kind == Access::kAtomic) return;
  const int writer = cell.writer & kThreadMask;
  const Access earlier = atomic ? Access::kAtomic : Access::kWrite;
  if (cell.written >= barrier_) {
    if ((cell.writer & kManyWarps) != 0) {
      conflict = {true, earlier, false, writer == thread_ ? -1 : writer};
    } else if (writer != thread_ &&
               !(writer / 32 == warp_ && comes_before(writer % 32, cell.written))) {
      conflict = {true, earlier, false, writer};
    }
  } else if (cell.written < block_ && !is_fenced(cell.written, writer)) {
    conflict = {true, earlier, true, writer};
  }
  // This block's own atomics hide those of earlier ones. To write plainly after them is how the
  // last block to finish sets a counter back.
  if (cell.written >= block_ && (cell.writer & kOtherBlocks) != 0 && kind == Access::kRead) {
    conflict = {true, earlier, true, -1};
  }
}

void Order::compare_with_read(const Cell& cell, Conflict& conflict) const {
  const int warp = cell.reader_warp & kWarpMask;
  if (cell.read >= barrier_) {
    const uint32_t others =
        warp == warp_ ? cell.reader_lanes & ~(uint32_t{1} << lane_) : cell.reader_lanes;
    if ((cell.reader_warp & kManyWarps) != 0 && others == 0) {
      conflict = {true, Access::kRead, false, -1};
      return;
    }
    for (uint32_t lanes = others; lanes != 0; lanes &= lanes - 1) {
      const int lane = std::countr_zero(lanes);
      if (warp == warp_ && (cell.reader_warp & kManyWarps) == 0 && comes_before(lane, cell.read))
        continue;
      conflict = {true, Access::kRead, false, warp * 32 + lane};
      return;
    }
  } else if (cell.read < block_ && !is_fenced_by_warp(cell.read, warp)) {
    conflict = {true, Access::kRead, true, warp * 32 + std::countr_zero(cell.reader_lanes)};
  }
  if (cell.read >= block_ && (cell.reader_warp & kOtherBlocks) != 0) {
    conflict = {true, Access::kRead, true, -1};
  }
}

void Order::note_first_read(Cell& cell, uint32_t since) {
  const uint32_t me = uint32_t{1} << lane_;
  const int warp = cell.reader_warp & kWarpMask;
  if (cell.read >= since && cell.read >= barrier_) {
    if (warp != warp_) {
      cell.reader_warp |= kManyWarps;  // whoever writes before the next barrier races with one
      return;
    }
    // Those whose reads come before this one need not be remembered: who comes after this one
    // comes after them.
    uint32_t unordered = 0;
    for (uint32_t lanes = cell.reader_lanes & ~me; lanes != 0; lanes &= lanes - 1) {
      const int lane = std::countr_zero(lanes);
      if (!comes_before(lane, cell.read)) unordered |= uint32_t{1} << lane;
    }
    // With several, the earliest time stands for all: rather miss a race than invent one.
    if (unordered == 0) cell.read = now_;
    cell.reader_lanes = unordered | me;
    return;
  }
  uint16_t flags = 0;
  if (cell.read >= since) {
    flags = cell.reader_warp & kOtherBlocks;
    if (cell.read < block_ && !is_fenced_by_warp(cell.read, warp)) flags = kOtherBlocks;
  }
  cell.read = now_;
  cell.reader_warp = static_cast<uint16_t>(warp_ | flags);
  cell.reader_lanes = me;
}

void Order::note_write(Cell& cell, Access kind, uint32_t since) {
  uint16_t flags = 0;
  if (kind == Access::kAtomic) {
    flags = kAtomic;
    if (cell.written >= since && (cell.writer & kAtomic) != 0) {
      flags |= cell.writer & kOtherBlocks;
      if (cell.written < block_) {
        if (!is_fenced(cell.written, cell.writer & kThreadMask)) flags |= kOtherBlocks;
      } else if (cell.written >= barrier_) {
        flags |= cell.writer & kManyWarps;
        if ((cell.writer & kThreadMask) / 32 != warp_) flags |= kManyWarps;
      }
    }
  }
  cell.written = now_;
  cell.writer = static_cast<uint16_t>(thread_ | flags);
  // Whatever comes after this write comes after the reads before it.
  cell.read = 0;
  cell.reader_warp = 0;
  cell.reader_lanes = 0;
}

}  // namespace glassnet::simt
