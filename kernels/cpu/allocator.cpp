#include "kernels/cpu/allocator.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <string>
#include <utility>

#include <fmt/format.h>

#include "kernels/address_sanitizer.h"
#include "kernels/error.h"

namespace glassnet::kernels {
namespace {

constexpr size_t kUnit = 64;               // of blocks
constexpr size_t kPage = size_t{2} << 20;  // of memory that comes and goes
constexpr size_t kLeastSlack = size_t{64} << 20;
constexpr size_t kSmallReservation = size_t{256} << 20;

// Where AddressSanitizer looks for accesses out of bounds, it is told which bytes may be touched,
// and some that belong to nobody stand behind each block.
#if defined(GLASSNET_ASAN)
constexpr size_t kGuard = 64;
void announce_live(char* data, size_t bytes) {
  __asan_unpoison_memory_region(data, bytes);
}
void announce_free(char* data, size_t bytes) {
  __asan_poison_memory_region(data, bytes);
}
#else
constexpr size_t kGuard = 0;
void announce_live(char*, size_t) {}
void announce_free(char*, size_t) {}
#endif

size_t round_up(size_t bytes, size_t unit) {
  return (bytes + unit - 1) / unit * unit;
}
char* page_at_or_after(char* data) {
  return data + (kPage - reinterpret_cast<uintptr_t>(data) % kPage) % kPage;
}
char* page_at_or_before(char* data) {
  return data - reinterpret_cast<uintptr_t>(data) % kPage;
}

size_t physical_memory() {
  return static_cast<size_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<size_t>(sysconf(_SC_PAGE_SIZE));
}

}  // namespace

CpuAllocator::CpuAllocator(size_t limit, size_t reservation)
    : limit_(limit), reservation_(reservation != 0 ? reservation : physical_memory()) {}

CpuAllocator::~CpuAllocator() {
  for (const auto& [data, block] : blocks_) {
    if (block.free != &vacant_) announce_live(data, block.bytes);
  }
  for (const Reservation& all : reservations_) munmap(all.data, all.bytes);
}

void* CpuAllocator::allocate(size_t bytes) {
  const std::lock_guard lock(mutex_);
  const auto too_little = [&] {
    return fmt::format(
        "out of memory on cpu: {:.1f} MiB were asked for while {:.1f} MiB are in use; use a "
        "smaller --batch-size or --image-size",
        static_cast<double>(bytes) / (1 << 20),
        static_cast<double>(stats_.active_bytes) / (1 << 20));
  };
  require(bytes <= SIZE_MAX / 4, too_little);  // sizes are rounded up, and added
  const size_t size = round_up(std::max<size_t>(bytes, 1) + kGuard, kUnit);
  const size_t highest = std::max(highest_, stats_.active_bytes + size);
  Iterator block = blocks_.smallest(cached_, size);
  if (block == blocks_.end()) {
    const size_t most = highest + std::max(highest / 8, kLeastSlack);
    const Iterator vacant = vacancy(size);
    const size_t added = vacant == blocks_.end() ? size : missing(vacant, size);
    const size_t then = stats_.reserved_bytes + added;
    if (then > most) {
      give_back(stats_.cached_bytes - std::min(then - most, stats_.cached_bytes));
    }
    block = grow(size);
  }
  if (block == blocks_.end()) {
    give_back(0);
    block = grow(size);
  }
  require(block != blocks_.end(), too_little);
  blocks_.take(block, size, kUnit);
  stats_.handed_out(size);
  highest_ = highest;
  announce_live(block->first, bytes);
  return block->first;
}

void CpuAllocator::free(void* data) noexcept {
  const std::lock_guard lock(mutex_);
  const Iterator block = blocks_.find(static_cast<char*>(data));
  announce_free(block->first, block->second.bytes);
  stats_.came_back(block->second.bytes);
  blocks_.give(block, cached_);
  if (stats_.cached_bytes > limit_) give_back(limit_ / 2);
}

MemoryStats CpuAllocator::stats() {
  const std::lock_guard lock(mutex_);
  return stats_;
}
void CpuAllocator::reset_peak() {
  const std::lock_guard lock(mutex_);
  stats_.peak_bytes = stats_.active_bytes;
}
void CpuAllocator::release() {
  const std::lock_guard lock(mutex_);
  give_back(0);
}

// A cached block of at least `bytes`, where there is none; end() when there is too little memory.
CpuAllocator::Iterator CpuAllocator::grow(size_t bytes) {
  const Iterator vacant = vacancy(bytes);
  if (vacant == blocks_.end()) return vacant;
  const size_t added = missing(vacant, bytes);
  if (mprotect(vacant->first, added, PROT_READ | PROT_WRITE) != 0) return blocks_.end();
  announce_free(vacant->first, added);
  blocks_.take(vacant, added, kPage);
  stats_.arrived(added);
  return blocks_.give(vacant, cached_);
}

// What a vacant block needs in pages for `bytes`, together with a cached block in front of it.
size_t CpuAllocator::missing(Iterator vacant, size_t bytes) {
  size_t before = 0;
  if (vacant->first != vacant->second.segment) {
    const BlockMap::Block& neighbour = std::prev(vacant)->second;
    if (neighbour.free == &cached_) before = neighbour.bytes;
  }
  return round_up(bytes - before, kPage);
}

// A vacant block of at least `bytes`, or end(). Reserves addresses if need be.
CpuAllocator::Iterator CpuAllocator::vacancy(size_t bytes) {
  bytes = round_up(bytes, kPage);
  const Iterator found = blocks_.smallest(vacant_, bytes);
  if (found != blocks_.end()) return found;
  void* data = MAP_FAILED;
  size_t reserved = 0;
  // Where a process may have few addresses, malloc and stacks need some of them, too.
  for (const size_t wanted :
       {std::max(bytes, reservation_), std::max(bytes, kSmallReservation), bytes}) {
    reserved = wanted + kPage;
    data = mmap(nullptr, reserved, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (data != MAP_FAILED) break;
  }
  if (data == MAP_FAILED) return blocks_.end();
  madvise(data, reserved, MADV_HUGEPAGE);  // many fewer pages to clear and to look up
  reservations_.push_back({data, reserved});
  char* const begin = page_at_or_after(static_cast<char*>(data));
  char* const end = page_at_or_before(static_cast<char*>(data) + reserved);
  return blocks_.add(begin, {static_cast<size_t>(end - begin), begin, &vacant_});
}

// Gives the pages of the largest cached blocks back until at most `target` bytes stay cached.
void CpuAllocator::give_back(size_t target) {
  const std::vector<std::pair<size_t, char*>> largest_last(cached_.lower_bound({kPage, nullptr}),
                                                           cached_.end());
  for (auto block = largest_last.rbegin(); block != largest_last.rend(); ++block) {
    if (stats_.cached_bytes <= target) return;
    const auto [bytes, data] = *block;
    char *const first = page_at_or_after(data), *const last = page_at_or_before(data + bytes);
    if (first >= last) continue;
    const auto gone = static_cast<size_t>(last - first);
    // A new mapping, unlike a page that is not needed, is no longer counted as promised.
    if (mmap(first, gone, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) ==
        MAP_FAILED) {
      continue;
    }
    madvise(first, gone, MADV_HUGEPAGE);
    announce_live(first, gone);
    stats_.went(gone);
    const Iterator whole = blocks_.find(data);
    char* const segment = whole->second.segment;
    blocks_.remove(whole);
    const auto add = [&](char* begin, char* end, BlockMap::FreeSet& free) {
      if (begin != end) blocks_.add(begin, {static_cast<size_t>(end - begin), segment, &free});
    };
    add(data, first, cached_);
    add(first, last, vacant_);
    add(last, data + bytes, cached_);
  }
}

CpuAllocator& cpu_allocator() {
  // Never destroyed: tensors in static objects may outlive any other static.
  static auto& allocator = *new CpuAllocator(physical_memory() / 4);
  return allocator;
}

}  // namespace glassnet::kernels
