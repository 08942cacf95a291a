#include "kernels/simt/memory.h"

#include <fmt/format.h>
#include <link.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <deque>
#include <map>
#include <string>
#include <unordered_map>
#include <vector>

#include "kernels/error.h"
#include "kernels/simt/running.h"
#include "kernels/simt/simt.h"

// Addresses are numbers here: shadow cells are found by arithmetic on them.
// NOLINTBEGIN(performance-no-int-to-ptr)

namespace glassnet::simt {

thread_local constinit Watch watch;

namespace {

constexpr size_t kPageBytes = 4096;
constexpr unsigned char kUninitialised = 0xFF;  // in every floating-point type a NaN

// What is known of a page of device memory. Most pages are only written by copies and libraries, or
// not at all, and need no cells.
struct Page {
  bool written = false;  // all of it, while there are no cells
  Cells cells;
  void need_cells() {
    if (!cells) cells = Cells(kPageBytes, written ? kWrittenBefore : Cell{});
  }
};

struct Array {  // in shared memory
  const void* key = nullptr;
  std::string name;
  uintptr_t begin = 0;
  size_t bytes = 0;
  Cells cells;
};

constexpr size_t kSharedLimit = size_t{227} << 10;  // of a block on the GPUs that we build for
constexpr size_t kStaticSharedLimit = size_t{48} << 10;
constexpr size_t kRedZone = 256;
alignas(256) unsigned char arena[kSharedLimit * 2];

using Ranges = std::map<uintptr_t, size_t>;  // begin -> bytes

struct State {
  std::recursive_mutex mutex;
  Order order;

  Ranges segments, live, freed, mapped;
  std::deque<uintptr_t> unused;               // of what is mapped: freed, and kept for a while
  std::unordered_map<uintptr_t, Page> pages;  // by address / kPageBytes; never written if not there
  struct Recent {
    uintptr_t number = 0;
    Page* page = nullptr;
  };
  std::array<Recent, 256> recent;

  uintptr_t arguments = 0;
  size_t argument_bytes = 0;
  std::vector<Array> arrays;
  size_t last_array = 0, arena_used = 0, static_bytes = 0;

  uintptr_t constants = 0;  // the stretch of read-only program data that was read last
  size_t constant_bytes = 0;
};
// Never destroyed: memory is given back until the very end of the program.
State& state = *new State;

uintptr_t address_of(const void* pointer) {
  return reinterpret_cast<uintptr_t>(pointer);
}

// The range that holds `address`.
Ranges::const_iterator holding(const Ranges& ranges, uintptr_t address) {
  auto it = ranges.upper_bound(address);
  if (it == ranges.begin()) return ranges.end();
  --it;
  return address - it->first < it->second ? it : ranges.end();
}
bool holds(const Ranges& ranges, uintptr_t address, size_t bytes) {
  const auto it = holding(ranges, address);
  return it != ranges.end() && address + bytes <= it->first + it->second;
}
// The first range that overlaps [begin, begin + bytes).
Ranges::const_iterator overlapping(const Ranges& ranges, uintptr_t begin, size_t bytes) {
  auto it = holding(ranges, begin);
  if (it == ranges.end()) it = ranges.lower_bound(begin);
  return it != ranges.end() && it->first < begin + bytes ? it : ranges.end();
}
// Takes out all that overlap it, and returns them.
Ranges take(Ranges& ranges, uintptr_t begin, size_t bytes) {
  Ranges taken;
  for (auto it = overlapping(ranges, begin, bytes); it != ranges.end();
       it = overlapping(ranges, begin, bytes)) {
    taken.insert(*it);
    ranges.erase(it);
  }
  return taken;
}

// Whether an address lies in what no one can write: code, constants, tables of virtual functions.
bool is_constant(uintptr_t address) {
  if (address - state.constants < state.constant_bytes) return true;
  return dl_iterate_phdr(
             [](dl_phdr_info* info, size_t, void* data) {
               const auto wanted = *static_cast<const uintptr_t*>(data);
               for (int i = 0; i < info->dlpi_phnum; ++i) {
                 const auto& part = info->dlpi_phdr[i];
                 const bool fixed = (part.p_type == PT_LOAD && (part.p_flags & PF_W) == 0) ||
                                    part.p_type == PT_GNU_RELRO;
                 const uintptr_t begin = info->dlpi_addr + part.p_vaddr;
                 if (!fixed || wanted - begin >= part.p_memsz) continue;
                 state.constants = begin;
                 state.constant_bytes = part.p_memsz;
                 return 1;
               }
               return 0;
             },
             &address) != 0;
}

// --- words for messages --------------------------------------------------------------------------

std::string count_of(size_t bytes) {
  return fmt::format("{} {}", bytes, bytes == 1 ? "byte" : "bytes");
}

// "at offset 8 of a device buffer of 400 bytes", for what begins at `begin`.
std::string relative(uintptr_t address, size_t bytes, uintptr_t begin, size_t size,
                     const std::string& what) {
  if (address < begin) return fmt::format("{} before {}", count_of(begin - address), what);
  const size_t offset = address - begin;
  return fmt::format("at offset {} of {}{}", offset, what,
                     offset + bytes > size ? ", past its end" : "");
}
std::string buffer_name(size_t bytes) {
  return fmt::format("a device buffer of {}", count_of(bytes));
}
std::string array_name(const Array& array) {
  if (array.key == nullptr)
    return fmt::format("the dynamic shared memory of {}", count_of(array.bytes));
  return fmt::format("shared array `{}` of {}", array.name, count_of(array.bytes));
}

// How far an address is from a stretch; 0 inside.
size_t distance(uintptr_t address, uintptr_t begin, size_t bytes) {
  if (address < begin) return begin - address;
  return address < begin + bytes ? 0 : address - (begin + bytes) + 1;
}

std::string place_in_shared(uintptr_t address, size_t bytes) {
  const Array* nearest = nullptr;
  const auto far = [&](const Array& array) { return distance(address, array.begin, array.bytes); };
  for (const Array& array : state.arrays) {
    if (nearest == nullptr || far(array) < far(*nearest)) nearest = &array;
  }
  if (nearest == nullptr) return "in shared memory where there is no array";
  return relative(address, bytes, nearest->begin, nearest->bytes, array_name(*nearest));
}

std::string place(const void* pointer, size_t bytes) {
  const uintptr_t address = address_of(pointer);
  if (address < kPageBytes)
    return address == 0 ? "through a null pointer" : "next to a null pointer";
  if (address - address_of(arena) < sizeof(arena)) return place_in_shared(address, bytes);
  if (const auto it = holding(state.live, address); it != state.live.end()) {
    return relative(address, bytes, it->first, it->second, buffer_name(it->second));
  }
  if (const auto it = holding(state.freed, address); it != state.freed.end()) {
    return relative(address, bytes, it->first, it->second,
                    buffer_name(it->second) + " that has been freed");
  }
  if (thread_of_stack(pointer) >= 0) {
    return fmt::format("in a local variable of {}", name_of_thread(thread_of_stack(pointer)));
  }
  if (is_constant(address)) return "in constant data of the program";
  // Within a page of a live buffer it is most likely meant for that.
  std::pair<uintptr_t, size_t> nearest{0, 0};
  size_t best = kPageBytes;
  for (const auto& [begin, size] : state.live) {
    if (distance(address, begin, size) >= best) continue;
    best = distance(address, begin, size);
    nearest = {begin, size};
  }
  if (best < kPageBytes) {
    return relative(address, bytes, nearest.first, nearest.second, buffer_name(nearest.second));
  }
  return "in host memory, which a GPU cannot reach";
}

std::string verb(Access kind) {
  if (kind == Access::kAtomic) return "atomically updates";
  return kind == Access::kRead ? "reads" : "writes";
}
std::string sentence(Access kind, const void* pointer, size_t bytes) {
  return fmt::format("{} {} {}", verb(kind), count_of(bytes), place(pointer, bytes));
}

[[noreturn]] void fail_conflict(const Conflict& conflict, Access kind, const void* pointer,
                                size_t bytes) {
  constexpr const char* kDone[] = {"read", "written", "updated atomically"};
  fail(fmt::format("{}, which {}{} has {}{}: a data race", sentence(kind, pointer, bytes),
                   conflict.thread < 0 ? "another thread" : name_of_thread(conflict.thread),
                   conflict.other_block ? " of an earlier block" : "",
                   kDone[static_cast<int>(conflict.earlier)],
                   conflict.other_block ? " in this launch, with no __threadfence after it"
                                        : ", with no barrier in between"));
}

// --- checks --------------------------------------------------------------------------------------

// A first access: is it device memory at all? Returns for a write to a live buffer.
[[gnu::noinline]] void first_access(Access kind, const void* pointer, size_t bytes) {
  if (!holds(state.live, address_of(pointer), bytes)) fail(sentence(kind, pointer, bytes));
  if (kind != Access::kWrite) fail(sentence(kind, pointer, bytes) + ", which nothing has written");
}

void check_shared(Access kind, const void* pointer, size_t bytes) {
  const uintptr_t address = address_of(pointer);
  Array* array = &state.arrays[state.last_array];
  if (address - array->begin >= array->bytes) {
    const auto it = std::find_if(state.arrays.begin(), state.arrays.end(),
                                 [&](const Array& a) { return address - a.begin < a.bytes; });
    if (it == state.arrays.end()) fail(sentence(kind, pointer, bytes));
    array = &*it;
    state.last_array = static_cast<size_t>(it - state.arrays.begin());
  }
  const size_t offset = address - array->begin;
  if (offset + bytes > array->bytes) fail(sentence(kind, pointer, bytes));
  size_t count = 0;
  Cell* const cells = array->cells.at(offset, bytes, count);
  const uint32_t block = state.order.block();
  Conflict conflict;
  for (size_t i = 0; i < count; ++i) {
    if (cells[i].written < block && kind != Access::kWrite) {
      fail(sentence(kind, pointer, bytes) + ", which this block has not written");
    }
    state.order.access(cells[i], kind, block, conflict);
  }
  if (conflict.found) fail_conflict(conflict, kind, pointer, bytes);
}

// The page that holds an address, if anything has been written there or it is in a live buffer.
Page* page_of(uintptr_t address) {
  const uintptr_t number = address / kPageBytes;
  State::Recent& recent = state.recent[number % state.recent.size()];
  if (recent.number == number) return recent.page;
  auto it = state.pages.find(number);
  if (it == state.pages.end()) {
    if (!holds(state.live, address, 1)) return nullptr;
    it = state.pages.emplace(number, Page()).first;
  }
  it->second.need_cells();
  recent = {number, &it->second};
  return recent.page;
}

void check_device(Access kind, const void* pointer, size_t bytes) {
  const uint32_t launch = state.order.launch();
  Conflict conflict;
  for (size_t done = 0; done < bytes;) {
    const uintptr_t address = address_of(pointer) + done;
    const size_t offset = address % kPageBytes, here = std::min(bytes - done, kPageBytes - offset);
    Page* const page = page_of(address);
    if (page == nullptr) fail(sentence(kind, pointer, bytes));
    size_t count = 0;
    Cell* const cells = page->cells.at(offset, here, count);
    for (size_t i = 0; i < count; ++i) {
      if (cells[i].written == 0) [[unlikely]] {
        first_access(kind, pointer, bytes);
      }
      state.order.access(cells[i], kind, launch, conflict);
    }
    done += here;
  }
  if (conflict.found) fail_conflict(conflict, kind, pointer, bytes);
}

void check(Access kind, const void* pointer, size_t bytes, size_t alignment) {
  const uintptr_t address = address_of(pointer);
  if (kind == Access::kRead && address - state.arguments < state.argument_bytes) return;
  if ((address & (alignment - 1)) != 0) [[unlikely]] {
    fail(fmt::format("{}, whose address is not a multiple of {}", sentence(kind, pointer, bytes),
                     alignment));
  }
  if (address - address_of(arena) < sizeof(arena)) return check_shared(kind, pointer, bytes);
  if (kind == Access::kRead && address - state.constants < state.constant_bytes) return;
  if (page_of(address) == nullptr && kind == Access::kRead && is_constant(address)) return;
  check_device(kind, pointer, bytes);
}

[[gnu::noinline]] void check_or_give_up(Access kind, const void* pointer, size_t bytes,
                                        size_t alignment) {
  const Unwatched unwatched;
  bool failed = false;
  try {
    check(kind, pointer, bytes, alignment);
  } catch (const Fault& fault) {
    keep(fault);
    failed = true;
  }
  if (failed) give_up();
}

// `alignment` is what the GPU asks for: the size of what one instruction moves.
[[gnu::always_inline]] inline void announce(Access kind, const void* pointer, size_t bytes,
                                            size_t alignment) {
  if (!watch.on || address_of(pointer) - watch.stack < watch.stack_bytes || bytes == 0) return;
  check_or_give_up(kind, pointer, bytes, alignment);
}

// --- device memory -------------------------------------------------------------------------------

void set_cells(uintptr_t begin, size_t bytes, const Cell& value) {
  const bool written = value.written != 0;
  state.recent.fill({});
  for (size_t done = 0; done < bytes;) {
    const uintptr_t address = begin + done;
    const size_t offset = address % kPageBytes, here = std::min(bytes - done, kPageBytes - offset);
    const uintptr_t number = address / kPageBytes;
    if (here == kPageBytes) {
      state.pages.erase(number);
      if (written) state.pages[number].written = true;
    } else if (written || state.pages.count(number) != 0) {
      Page& page = state.pages[number];
      page.need_cells();
      size_t count = 0;
      Cell* const cells = page.cells.at(offset, here, count);
      std::fill_n(cells, count, value);
    }
    done += here;
  }
}

// The first offset in [begin, begin + bytes) that nothing has written; `bytes` if there is none.
size_t first_unwritten(uintptr_t begin, size_t bytes) {
  for (size_t done = 0; done < bytes;) {
    const uintptr_t address = begin + done;
    const size_t offset = address % kPageBytes, here = std::min(bytes - done, kPageBytes - offset);
    const auto it = state.pages.find(address / kPageBytes);
    if (it == state.pages.end()) return done;
    Page& page = it->second;
    if (page.cells) {
      size_t count = 0;
      const Cell* const cells = page.cells.at(offset, here, count);
      const auto* const unwritten =
          std::find_if(cells, cells + count, [](const Cell& c) { return c.written == 0; });
      if (unwritten != cells + count) {
        return done + static_cast<size_t>(unwritten - cells) * page.cells.cell_bytes();
      }
    } else if (!page.written) {
      return done;
    }
    done += here;
  }
  return bytes;
}

void free_range(uintptr_t begin, size_t bytes) {
  Ranges taken = take(state.live, begin, bytes);
  for (const auto& [first, size] : taken) set_cells(first, size, {});
  if (state.freed.size() > 4096) state.freed.clear();  // only messages need them
  state.freed.merge(taken);
}

void require_live(const void* data, size_t bytes, const char* what, Access kind) {
  require(holds(state.live, address_of(data), bytes),
          [&] { return fmt::format("[{}] {}", what, sentence(kind, data, bytes)); });
}

}  // namespace

std::recursive_mutex& mutex() {
  return state.mutex;
}
Order& order() {
  return state.order;
}

void add_segment(const void* data, size_t bytes) {
  const std::lock_guard lock(state.mutex);
  if (bytes == 0) return;
  const uintptr_t begin = address_of(data);
  take(state.freed, begin, bytes);
  set_cells(begin, bytes, {});
  state.segments[begin] = bytes;
  state.live[begin] = bytes;
}

void remove_segment(const void* data) noexcept {
  const std::lock_guard lock(state.mutex);
  const auto it = state.segments.find(address_of(data));
  if (it == state.segments.end()) return;
  free_range(it->first, it->second);
  state.segments.erase(it);
}

void mark_live(void* data, size_t bytes) {
  const std::lock_guard lock(state.mutex);
  if (bytes == 0) return;
  const uintptr_t begin = address_of(data);
  const auto segment = holding(state.segments, begin);
  require(segment != state.segments.end() && holds(state.segments, begin, bytes),
          [] { return std::string("[simt] what is marked live lies in no segment"); });
  // The segment's own buffer ends where the first part begins.
  if (const auto whole = state.live.find(segment->first);
      whole != state.live.end() && whole->second == segment->second) {
    set_cells(segment->first, segment->second, {});
    state.live.erase(whole);
  }
  require(overlapping(state.live, begin, bytes) == state.live.end(),
          [] { return std::string("[simt] what is marked live overlaps a live buffer"); });
  take(state.freed, begin, bytes);
  set_cells(begin, bytes, {});
  std::memset(data, kUninitialised, bytes);
  state.live[begin] = bytes;
}

void mark_free(const void* data, size_t bytes) noexcept {
  const std::lock_guard lock(state.mutex);
  free_range(address_of(data), bytes);
}

void mark_written(void* data, size_t bytes, const char* what) {
  const std::lock_guard lock(state.mutex);
  if (bytes == 0) return;
  require_live(data, bytes, what, Access::kWrite);
  set_cells(address_of(data), bytes, kWrittenBefore);
}

void check_read(const void* data, size_t bytes, const char* what) {
  const std::lock_guard lock(state.mutex);
  if (bytes == 0) return;
  require_live(data, bytes, what, Access::kRead);
  const size_t at = first_unwritten(address_of(data), bytes);
  require(at == bytes, [&] {
    return fmt::format("[{}] {}, of which nothing has written byte {}", what,
                       sentence(Access::kRead, data, bytes), at);
  });
}

bool is_device_memory(const void* data) {
  const std::lock_guard lock(state.mutex);
  return holding(state.segments, address_of(data)) != state.segments.end();
}

void* allocate(size_t bytes) {
  const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  const size_t inside = std::max<size_t>((bytes + page - 1) / page * page, page),
               all = inside + 2 * page;
  if (inside < bytes) return nullptr;
  void* const memory =
      mmap(nullptr, all, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return nullptr;
  // Libraries, whose accesses are not announced, end the program in the guard pages.
  char* const data = static_cast<char*>(memory) + page;
  mprotect(memory, page, PROT_NONE);
  mprotect(data + inside, page, PROT_NONE);
  std::memset(data, kUninitialised, bytes);
  const std::lock_guard lock(state.mutex);
  state.mapped[address_of(memory)] = all;
  add_segment(data, bytes);
  return data;
}

void free(void* data) noexcept {
  if (data == nullptr) return;
  const std::lock_guard lock(state.mutex);
  const auto it = holding(state.mapped, address_of(data));
  if (it == state.mapped.end() || state.segments.count(address_of(data)) == 0) return;
  remove_segment(data);
  // Its memory is given back at once; its addresses later, so that who still uses them is found.
  constexpr size_t kKept = 256;
  void* const memory = reinterpret_cast<void*>(it->first);
  madvise(memory, it->second, MADV_DONTNEED);
  mprotect(memory, it->second, PROT_NONE);
  state.unused.push_back(it->first);
  if (state.unused.size() <= kKept) return;
  const auto oldest = state.mapped.find(state.unused.front());
  munmap(reinterpret_cast<void*>(oldest->first), oldest->second);
  state.mapped.erase(oldest);
  state.unused.pop_front();
}

// --- shared memory -------------------------------------------------------------------------------

namespace {

// Places an array at a multiple of its alignment and of no more, so that code that counts on more
// is found out.
Array& add_array(const void* key, const char* name, size_t bytes, size_t alignment) {
  const size_t step = 2 * alignment;
  const size_t offset = (state.arena_used + kRedZone + step - 1) / step * step + alignment;
  if (offset + bytes + kRedZone > sizeof(arena))
    fail("has more shared arrays than the executor has room for");
  state.arena_used = offset + bytes;
  std::memset(arena + offset, kUninitialised, bytes);
  Array array{key, name, address_of(arena) + offset, bytes,
              Cells(std::max<size_t>(bytes, 4), Cell{})};
  state.arrays.push_back(std::move(array));
  return state.arrays.back();
}

}  // namespace

void begin_launch(const void* arguments, size_t bytes, size_t dynamic_shared_bytes) {
  if (dynamic_shared_bytes > kSharedLimit) {
    fail(fmt::format("asks for {} of shared memory, a block can have {}",
                     count_of(dynamic_shared_bytes), count_of(kSharedLimit)));
  }
  if (state.order.is_late()) {
    for (auto& [number, page] : state.pages)
      std::for_each(page.cells.begin(), page.cells.end(), Order::forget);
    state.order.restart();
  }
  state.order.begin_launch();
  state.arguments = address_of(arguments);
  state.argument_bytes = bytes;
  state.arrays.clear();
  state.last_array = state.arena_used = state.static_bytes = 0;
  add_array(nullptr, "", dynamic_shared_bytes, 16);
}

void end_launch() {
  state.argument_bytes = 0;
}

void begin_block() {
  state.order.begin_block();
  for (const Array& array : state.arrays) {
    std::memset(reinterpret_cast<void*>(array.begin), kUninitialised, array.bytes);
  }
}

void* shared_bytes(const void* key, const char* name, size_t bytes, size_t alignment) {
  const Unwatched unwatched;
  for (const Array& array : state.arrays) {
    if (array.key == key) return reinterpret_cast<void*>(array.begin);
  }
  state.static_bytes += bytes;
  if (state.static_bytes > kStaticSharedLimit) {
    fail(fmt::format(
        "declares shared array `{}`, with which its shared arrays have {}; they can have {}", name,
        count_of(state.static_bytes), count_of(kStaticSharedLimit)));
  }
  if (state.static_bytes + state.arrays[0].bytes > kSharedLimit) {
    fail(fmt::format("needs {} of shared memory, a block can have {}",
                     count_of(state.static_bytes + state.arrays[0].bytes), count_of(kSharedLimit)));
  }
  return reinterpret_cast<void*>(add_array(key, name, bytes, alignment).begin);
}

void* dynamic_shared() {
  return reinterpret_cast<void*>(state.arrays[0].begin);
}

void check_atomic(const void* address, size_t bytes) {
  const Unwatched unwatched;
  check(Access::kAtomic, address, bytes, bytes);
}

}  // namespace glassnet::simt

// --- what the compiler announces -----------------------------------------------------------------

// The functions of ThreadSanitizer's interface that g++ and clang++ call. "unaligned" says that the
// program may be right to have any address there, as memcpy is.
using glassnet::simt::Access;
using glassnet::simt::announce;

extern "C" {
#define GLASSNET_ACCESSES(bytes)                \
  void __tsan_read##bytes(void* p) {            \
    announce(Access::kRead, p, bytes, bytes);   \
  }                                             \
  void __tsan_write##bytes(void* p) {           \
    announce(Access::kWrite, p, bytes, bytes);  \
  }                                             \
  void __tsan_volatile_read##bytes(void* p) {   \
    announce(Access::kRead, p, bytes, bytes);   \
  }                                             \
  void __tsan_volatile_write##bytes(void* p) {  \
    announce(Access::kWrite, p, bytes, bytes);  \
  }                                             \
  void __tsan_unaligned_read##bytes(void* p) {  \
    announce(Access::kRead, p, bytes, 1);       \
  }                                             \
  void __tsan_unaligned_write##bytes(void* p) { \
    announce(Access::kWrite, p, bytes, 1);      \
  }
GLASSNET_ACCESSES(1)
GLASSNET_ACCESSES(2)
GLASSNET_ACCESSES(4)
GLASSNET_ACCESSES(8)
GLASSNET_ACCESSES(16)

void __tsan_read_range(void* p, unsigned long bytes) {
  announce(Access::kRead, p, bytes, 1);
}
void __tsan_write_range(void* p, unsigned long bytes) {
  announce(Access::kWrite, p, bytes, 1);
}
void* __tsan_memcpy(void* to, const void* from, unsigned long bytes) {
  announce(Access::kRead, from, bytes, 1);
  announce(Access::kWrite, to, bytes, 1);
  return std::memcpy(to, from, bytes);
}
void* __tsan_memmove(void* to, const void* from, unsigned long bytes) {
  announce(Access::kRead, from, bytes, 1);
  announce(Access::kWrite, to, bytes, 1);
  return std::memmove(to, from, bytes);
}
void* __tsan_memset(void* to, int value, unsigned long bytes) {
  announce(Access::kWrite, to, bytes, 1);
  return std::memset(to, value, bytes);
}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_init() {}
void __tsan_vptr_read(void**) {}
void __tsan_vptr_update(void**, void*) {}
void __tsan_atomic_thread_fence(int) {
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
}
void __tsan_atomic_signal_fence(int) {
  __atomic_signal_fence(__ATOMIC_SEQ_CST);
}

// The atomics of C++, which host code in kernel files uses (inside std::shared_ptr, for one). They
// are done here, in the strictest order.
#define GLASSNET_ATOMIC_UPDATE(bits, type, name)                                 \
  type __tsan_atomic##bits##_fetch_##name(volatile type* p, type value, int) {   \
    announce(Access::kAtomic, const_cast<type*>(p), sizeof(type), sizeof(type)); \
    return __atomic_fetch_##name(p, value, __ATOMIC_SEQ_CST);                    \
  }
#define GLASSNET_ATOMIC_EXCHANGE(bits, type, name)                                     \
  bool __tsan_atomic##bits##_compare_exchange_##name(volatile type* p, type* expected, \
                                                     type desired, int, int) {         \
    announce(Access::kAtomic, const_cast<type*>(p), sizeof(type), sizeof(type));       \
    return __atomic_compare_exchange_n(p, expected, desired, false, __ATOMIC_SEQ_CST,  \
                                       __ATOMIC_SEQ_CST);                              \
  }
#define GLASSNET_ATOMICS(bits, type)                                             \
  type __tsan_atomic##bits##_load(const volatile type* p, int) {                 \
    announce(Access::kAtomic, const_cast<type*>(p), sizeof(type), sizeof(type)); \
    return __atomic_load_n(p, __ATOMIC_SEQ_CST);                                 \
  }                                                                              \
  void __tsan_atomic##bits##_store(volatile type* p, type value, int) {          \
    announce(Access::kAtomic, const_cast<type*>(p), sizeof(type), sizeof(type)); \
    __atomic_store_n(p, value, __ATOMIC_SEQ_CST);                                \
  }                                                                              \
  type __tsan_atomic##bits##_exchange(volatile type* p, type value, int) {       \
    announce(Access::kAtomic, const_cast<type*>(p), sizeof(type), sizeof(type)); \
    return __atomic_exchange_n(p, value, __ATOMIC_SEQ_CST);                      \
  }                                                                              \
  GLASSNET_ATOMIC_UPDATE(bits, type, add)                                        \
  GLASSNET_ATOMIC_UPDATE(bits, type, sub)                                        \
  GLASSNET_ATOMIC_UPDATE(bits, type, and)                                        \
  GLASSNET_ATOMIC_UPDATE(bits, type, or)                                         \
  GLASSNET_ATOMIC_UPDATE(bits, type, xor)                                        \
  GLASSNET_ATOMIC_UPDATE(bits, type, nand)                                       \
  GLASSNET_ATOMIC_EXCHANGE(bits, type, strong)                                   \
  GLASSNET_ATOMIC_EXCHANGE(bits, type, weak)
GLASSNET_ATOMICS(8, unsigned char)
GLASSNET_ATOMICS(16, unsigned short)
GLASSNET_ATOMICS(32, unsigned)
GLASSNET_ATOMICS(64, unsigned long)
}
// NOLINTEND(performance-no-int-to-ptr)
