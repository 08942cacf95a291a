#include "kernels/simt/executor.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <set>
#include <utility>

#include "kernels/error.h"
#include "kernels/simt/fiber.h"
#include "kernels/simt/location.h"
#include "kernels/simt/running.h"
#include "kernels/simt/simt.h"

// For conditional breakpoints (docs/debugging-kernels.md): which block of the grid and which thread
// of the block runs, counted x first; -1 while none does.
extern "C" {
long simt_block = -1;
int simt_thread = -1;
}

namespace glassnet::simt {
namespace {

constexpr int kWarpThreads = 32, kMostThreads = 1024;
constexpr int kMostWarps = kMostThreads / kWarpThreads;

// What a thread waits in for others.
enum class Op : uint8_t {
  kNone,
  kBarrier,
  kBarrierOr,
  kBarrierAnd,
  kBarrierCount,
  kWarpBarrier,
  kShuffle,
  kBallot,
  kEnd
};

bool is_of_block(Op op) {
  return op >= Op::kBarrier && op <= Op::kBarrierCount;
}
bool is_of_warp(Op op) {
  return op >= Op::kWarpBarrier && op <= Op::kBallot;
}
const char* name_of(Op op) {
  constexpr const char* kNames[] = {"",
                                    "__syncthreads",
                                    "__syncthreads_or",
                                    "__syncthreads_and",
                                    "__syncthreads_count",
                                    "__syncwarp",
                                    "a shuffle",
                                    "a ballot",
                                    ""};
  return kNames[static_cast<int>(op)];
}

struct Thread {
  Context context;
  bool started = false;  // the context is that of a fiber
  dim3 index;
  Op op = Op::kNone;
  uint32_t mask = 0;  // of a warp's op
  int source = 0;     // of a shuffle
  uint64_t value = 0, result = 0;
  const void* called_from = nullptr;  // where it waits
  int atomics = 0;                    // since its turn began
};

struct Warp {
  uint32_t alive = 0;    // lanes that there are and that have not ended
  uint32_t waiting = 0;  // lanes in an op of the warp
};

struct Executor {
  Launch launch;
  const Body* body = nullptr;
  dim3 block;
  int count = 0;        // threads of a block
  int current = -1;     // the thread that runs; -1 while the executor does
  Context context;      // the executor's own
  std::string failure;  // of the running launch
  std::vector<Thread> threads{kMostThreads};
  Warp warps[kMostWarps];
  std::vector<int> ready;  // for the next turns
  int at_barrier = 0, ended = 0;
  bool progress = false;  // someone waited, ended or was woken in this round of turns
  uint64_t seed = 0, random = 0;
  Recorder recorder;
};

// What the process has run. Written to the log when the process ends.
struct Log {
  std::mutex mutex;
  std::set<std::string> names;
  ~Log() {
    const char* const file = std::getenv("GLASSNET_SIMT_LOG");
    if (file == nullptr || names.empty()) return;
    std::string lines;
    for (const std::string& name : names) lines += name + "\n";
    if (FILE* const out = std::fopen(file, "a")) {
      std::fwrite(lines.data(), 1, lines.size(), out);
      std::fclose(out);
    }
  }
} log;

uint64_t first_seed() {
  const char* const text = std::getenv("GLASSNET_SIMT_SEED");
  return text == nullptr ? 0 : std::strtoull(text, nullptr, 10);
}

// Never destroyed, as kernels may run until the very end of the program.
Executor& executor = *[] {
  auto* const made = new Executor;
  made->seed = first_seed();
  return made;
}();

Stacks& stacks() {
  static auto& made = *[] {
    call_stack();  // loads what unwinding needs, for which a fiber's stack is small
    return new Stacks(kMostThreads);
  }();
  return made;
}

// --- names for messages --------------------------------------------------------------------------

std::string name_of(const dim3& index) {
  return fmt::format("({}, {}, {})", index.x, index.y, index.z);
}
std::string hex(uint32_t mask) {
  return fmt::format("{:#010x}", mask);
}
std::string at_line(const std::vector<const void*>& addresses) {
  const std::string lines = source_lines(addresses);
  return lines.empty() ? "" : fmt::format(" ({})", lines);
}
[[noreturn]] void fail_thread(int thread, const std::string& what,
                              const std::vector<const void*>& addresses) {
  throw Fault(fmt::format("[{}] block {}, {} {}{}", executor.launch.kernel, name_of(executor.block),
                          name_of_thread(thread), what, at_line(addresses)));
}

// --- turns ---------------------------------------------------------------------------------------

// SplitMix64 (Steele, Lea, Flood 2014).
uint64_t next_random() {
  uint64_t z = executor.random += 0x9e3779b97f4a7c15;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
  z = (z ^ z >> 27) * 0x94d049bb133111eb;
  return z ^ z >> 31;
}
void shuffle_order(std::vector<int>& order) {
  for (size_t left = order.size(); left > 1; --left) {
    const uint64_t pick = (next_random() >> 32) * left >> 32;
    std::swap(order[left - 1], order[pick]);
  }
}

Thread& running() {
  if (executor.current < 0) throw Error("[simt] a word of CUDA was called outside of a kernel");
  return executor.threads[static_cast<size_t>(executor.current)];
}
Warp& warp_of(int thread) {
  return executor.warps[thread / kWarpThreads];
}

// Back to the executor, until it is this thread's turn again.
void end_turn() {
  switch_context(running().context, executor.context);
}
void wake(int thread) {
  executor.threads[static_cast<size_t>(thread)].op = Op::kNone;
  executor.ready.push_back(thread);
}

// The last thread has come to the barrier.
void open_barrier() {
  const Thread& last = running();
  int holds = 0;
  for (int i = 0; i < executor.count; ++i) {
    const Thread& thread = executor.threads[static_cast<size_t>(i)];
    if (thread.op != last.op) {
      fail_thread(executor.current,
                  fmt::format("waits in {}{} and {} in {}", name_of(last.op),
                              at_line({last.called_from}), name_of_thread(i), name_of(thread.op)),
                  {thread.called_from});
    }
    holds += thread.value != 0 ? 1 : 0;
  }
  uint64_t result = 0;
  if (last.op == Op::kBarrierOr) result = holds > 0;
  if (last.op == Op::kBarrierAnd) result = holds == executor.count;
  if (last.op == Op::kBarrierCount) result = static_cast<uint64_t>(holds);
  order().pass_barrier();
  executor.at_barrier = 0;
  for (int i = 0; i < executor.count; ++i) {
    executor.threads[static_cast<size_t>(i)].result = result;
    wake(i);
  }
}

uint64_t wait_for_block(Op op, bool predicate, const void* called_from) {
  const Unwatched unwatched;
  Thread& me = running();
  me.op = op;
  me.value = predicate;
  me.called_from = called_from;
  executor.progress = true;
  if (++executor.at_barrier == executor.count) open_barrier();
  end_turn();
  return me.result;
}

uint64_t shuffled(int thread, uint32_t present) {
  const int first = thread / kWarpThreads * kWarpThreads;
  const Thread& reader = executor.threads[static_cast<size_t>(thread)];
  if (first + reader.source == thread) return reader.value;
  if ((present >> reader.source & 1) == 0) {
    std::string why = "has ended";
    if (first + reader.source >= executor.count) {
      why = fmt::format("its warp of {} threads does not have", executor.count - first);
    } else if ((reader.mask >> reader.source & 1) == 0) {
      why = fmt::format("its mask {} does not name", hex(reader.mask));
    }
    fail_thread(thread, fmt::format("shuffles from lane {}, which {}", reader.source, why),
                {reader.called_from});
  }
  return executor.threads[static_cast<size_t>(first) + static_cast<size_t>(reader.source)].value;
}

// Does the op of the warp that waits with `mask`, if all of its lanes have come. Lanes that have
// ended are not waited for.
void try_to_open(int first, Op op, uint32_t mask) {
  Warp& warp = warp_of(first);
  const uint32_t present = mask & warp.alive;
  if ((warp.waiting & present) != present) return;
  uint32_t holds = 0;
  for (uint32_t lanes = present; lanes != 0; lanes &= lanes - 1) {
    const int lane = std::countr_zero(lanes);
    const Thread& thread = executor.threads[static_cast<size_t>(first) + static_cast<size_t>(lane)];
    if (thread.op != op || thread.mask != mask) return;  // it may come later; else it is stuck
    if (thread.value != 0) holds |= 1U << lane;
  }
  for (uint32_t lanes = present; lanes != 0; lanes &= lanes - 1) {
    const int i = first + std::countr_zero(lanes);
    executor.threads[static_cast<size_t>(i)].result =
        op == Op::kShuffle ? shuffled(i, present) : holds;
    wake(i);
  }
  if (op == Op::kWarpBarrier) order().sync_warp(first / kWarpThreads, present);
  warp.waiting &= ~present;
}

uint64_t wait_for_warp(Op op, uint32_t mask, uint64_t value, int source, const void* called_from) {
  const Unwatched unwatched;
  Thread& me = running();
  const int first = executor.current / kWarpThreads * kWarpThreads,
            my_lane = executor.current - first;
  if ((mask >> my_lane & 1) == 0) {
    fail(fmt::format("takes part in {} whose mask {} does not name its lane {}", name_of(op),
                     hex(mask), my_lane));
  }
  me.op = op;
  me.mask = mask;
  me.value = value;
  me.source = source;
  me.called_from = called_from;
  executor.progress = true;
  warp_of(first).waiting |= 1U << my_lane;
  try_to_open(first, op, mask);
  end_turn();
  return me.result;
}

// The running thread has come to the kernel's end.
void end_thread() {
  Thread& me = running();
  me.op = Op::kEnd;
  ++executor.ended;
  executor.progress = true;
  const int first = executor.current / kWarpThreads * kWarpThreads;
  Warp& warp = warp_of(first);
  warp.alive &= ~(1U << (executor.current - first));
  // Others may have waited for it alone.
  for (uint32_t lanes = warp.waiting; lanes != 0; lanes &= lanes - 1) {
    const Thread& thread =
        executor.threads[static_cast<size_t>(first) + static_cast<size_t>(std::countr_zero(lanes))];
    if (is_of_warp(thread.op)) try_to_open(first, thread.op, thread.mask);
  }
}

// What a fiber does: for every block anew, one thread's work.
void fiber_main() {
  entered_context(executor.context);
  for (;;) {
    bool failed = false;
    try {
      executor.body->call(executor.body->arguments.get());
      const Unwatched unwatched;
      end_thread();
    } catch (const Fault& fault) {
      const Unwatched unwatched;
      keep(fault);
      failed = true;
    } catch (const std::exception& error) {
      const Unwatched unwatched;
      keep(Fault(fmt::format("[{}] block {}, {} throws: {}", executor.launch.kernel,
                             name_of(executor.block), name_of_thread(executor.current),
                             error.what())));
      failed = true;
    }
    if (failed) give_up();
    end_turn();
  }
}

void take_turn(int i) {
  Thread& thread = executor.threads[static_cast<size_t>(i)];
  char* const stack = stacks().at(static_cast<size_t>(i));
  // Stacks begin at different places in their pages, so that they do not all want the same few
  // lines of the cache.
  const size_t bytes = stacks().usable_bytes() - static_cast<size_t>(i) % 61 * 64;
  if (!thread.started) {
    start_context(thread.context, stack, bytes, fiber_main);
    thread.started = true;
  }
  executor.current = simt_thread = i;
  order().resume(i);
  watch = {.on = true, .stack = reinterpret_cast<uintptr_t>(stack), .stack_bytes = bytes};
  thread.atomics = 0;
  switch_context(executor.context, thread.context);
  watch.on = false;
  executor.current = simt_thread = -1;
  if (!executor.failure.empty()) throw Fault(executor.failure);
}

// No thread can go on: says of one what it waits for in vain.
[[noreturn]] void fail_stuck() {
  const auto waiting = [](const Thread& thread) {
    const std::string mask = is_of_warp(thread.op) ? " with mask " + hex(thread.mask) : "";
    return fmt::format("waits in {}{}{}", name_of(thread.op), mask, at_line({thread.called_from}));
  };
  const auto fail_pair = [&](int i, int j) {
    const Thread &me = executor.threads[static_cast<size_t>(i)],
                 &other = executor.threads[static_cast<size_t>(j)];
    fail_thread(i,
                fmt::format("{} for {}, which {}", waiting(me), name_of_thread(j),
                            other.op == Op::kEnd ? "has ended" : waiting(other)),
                {});
  };
  // Whoever waits in a warp keeps a whole block waiting.
  for (int i = 0; i < executor.count; ++i) {
    const Thread& me = executor.threads[static_cast<size_t>(i)];
    if (!is_of_warp(me.op)) continue;
    const int first = i / kWarpThreads * kWarpThreads;
    for (uint32_t lanes = me.mask & warp_of(i).alive; lanes != 0; lanes &= lanes - 1) {
      const int j = first + std::countr_zero(lanes);
      const Thread& other = executor.threads[static_cast<size_t>(j)];
      if (other.op != me.op || other.mask != me.mask) fail_pair(i, j);
    }
  }
  for (int i = 0; i < executor.count; ++i) {
    if (!is_of_block(executor.threads[static_cast<size_t>(i)].op)) continue;
    for (int j = 0; j < executor.count; ++j) {
      if (!is_of_block(executor.threads[static_cast<size_t>(j)].op)) fail_pair(i, j);
    }
  }
  throw Fault(fmt::format("[{}] the executor has lost its threads", executor.launch.kernel));
}

void run_block() {
  begin_block();
  for (int i = 0; i < kMostWarps; ++i) {
    const int lanes = std::clamp(executor.count - i * kWarpThreads, 0, kWarpThreads);
    executor.warps[i] = {.alive = lanes == kWarpThreads ? ~0U : (1U << lanes) - 1, .waiting = 0};
  }
  executor.at_barrier = executor.ended = 0;
  executor.ready.clear();
  for (int i = 0; i < executor.count; ++i) wake(i);

  constexpr size_t kMostIdleTurns = 100'000;
  std::vector<int> round;
  size_t idle_turns = 0;
  while (!executor.ready.empty()) {
    round.clear();
    round.swap(executor.ready);
    shuffle_order(round);
    executor.progress = false;
    for (const int i : round) take_turn(i);
    idle_turns = executor.progress ? 0 : idle_turns + round.size();
    if (idle_turns > kMostIdleTurns) {
      fail_thread(round[0], "waits by atomics for what never comes: all others wait or have ended",
                  {});
    }
  }
  if (executor.ended != executor.count) fail_stuck();
}

// --- launches ------------------------------------------------------------------------------------

void check_shape(const dim3& grid, const dim3& block) {
  const auto is_empty = [](const dim3& d) { return d.x == 0 || d.y == 0 || d.z == 0; };
  if (is_empty(grid)) fail(fmt::format("has a grid {} without blocks", name_of(grid)));
  if (is_empty(block)) fail(fmt::format("has blocks {} without threads", name_of(block)));
  if (grid.x > INT32_MAX || grid.y > 65535 || grid.z > 65535) {
    fail(fmt::format("has a grid {}, the largest is (2147483647, 65535, 65535)", name_of(grid)));
  }
  if (block.z > 64 || block.x > kMostThreads || block.y > kMostThreads ||
      uint64_t{block.x} * block.y * block.z > kMostThreads) {
    fail(fmt::format("has blocks {}, a block has at most 1024 threads, and 64 along z",
                     name_of(block)));
  }
}

void remember(const std::string& kernel) {
  const std::lock_guard lock(log.mutex);
  log.names.insert(kernel);
  log.names.insert(kernel.substr(0, kernel.find('<')));
}

void run_now(const Launch& launch, const Body& body) {
  if (watch.on) throw Error(fmt::format("[{}] is launched by a kernel", launch.kernel));
  const std::lock_guard lock(mutex());
  // Whatever happens, the next launch finds the executor at rest.
  struct Rest {
    ~Rest() {
      end_launch();
      watch.on = false;
      executor.current = simt_thread = -1;
      simt_block = -1;
      executor.body = nullptr;
      if (finished) return;
      for (Thread& thread : executor.threads) thread.started = false;
    }
    bool finished = false;
  } rest;
  executor.launch = launch;
  executor.failure.clear();
  const auto& [kernel, grid, block, shared] = launch;
  check_shape(grid, block);
  begin_launch(body.arguments.get(), body.bytes, shared);
  remember(kernel);
  executor.body = &body;
  executor.count = static_cast<int>(block.x * block.y * block.z);
  for (int i = 0; i < executor.count; ++i) {
    const auto n = static_cast<unsigned>(i);
    executor.threads[n].index = dim3(n % block.x, n / block.x % block.y, n / (block.x * block.y));
  }
  long number = 0;
  for (unsigned z = 0; z < grid.z; ++z) {
    for (unsigned y = 0; y < grid.y; ++y) {
      for (unsigned x = 0; x < grid.x; ++x) {
        executor.block = dim3(x, y, z);
        simt_block = number;
        executor.random = executor.seed ^ static_cast<uint64_t>(number) << 32;
        run_block();
        ++number;
      }
    }
  }
  rest.finished = true;
}

}  // namespace

// --- what executor.h and simt.h promise ----------------------------------------------------------

void set_seed(uint64_t seed) {
  const std::lock_guard lock(mutex());
  executor.seed = seed;
}

void set_recorder(Recorder recorder) {
  const std::lock_guard lock(mutex());
  executor.recorder = std::move(recorder);
}

std::vector<std::string> kernels_run() {
  const std::lock_guard lock(log.mutex);
  return {log.names.begin(), log.names.end()};
}

void run_body(void* stream, const Launch& launch, const Body& body) {
  if (executor.recorder && executor.recorder(stream, [launch, body] { run_now(launch, body); }))
    return;
  run_now(launch, body);
}

void fail(const std::string& what) {
  if (executor.current < 0) throw Fault(fmt::format("[{}] {}", executor.launch.kernel, what));
  fail_thread(executor.current, what, call_stack());
}
void keep(const Fault& fault) {
  executor.failure = fault.what();
}
void give_up() {
  switch_context(running().context, executor.context, true);
  std::abort();  // it is not resumed
}

std::string name_of_thread(int thread) {
  return fmt::format("thread {}", name_of(executor.threads[static_cast<size_t>(thread)].index));
}
int thread_of_stack(const void* address) {
  return stacks().holding(address);
}

dim3 thread_index() {
  return executor.current < 0 ? dim3(0, 0, 0)
                              : executor.threads[static_cast<size_t>(executor.current)].index;
}
dim3 block_index() {
  return executor.block;
}
dim3 block_extent() {
  return executor.launch.block;
}
dim3 grid_extent() {
  return executor.launch.grid;
}
int lane() {
  return executor.current % kWarpThreads;
}

void barrier() {
  wait_for_block(Op::kBarrier, false, __builtin_return_address(0));
}
bool barrier_or(bool predicate) {
  return wait_for_block(Op::kBarrierOr, predicate, __builtin_return_address(0)) != 0;
}
bool barrier_and(bool predicate) {
  return wait_for_block(Op::kBarrierAnd, predicate, __builtin_return_address(0)) != 0;
}
int barrier_count(bool predicate) {
  return static_cast<int>(
      wait_for_block(Op::kBarrierCount, predicate, __builtin_return_address(0)));
}
void warp_barrier(uint32_t mask) {
  wait_for_warp(Op::kWarpBarrier, mask, 0, 0, __builtin_return_address(0));
}
uint64_t exchange(uint32_t mask, uint64_t value, int source) {
  return wait_for_warp(Op::kShuffle, mask, value, source & (kWarpThreads - 1),
                       __builtin_return_address(0));
}
uint32_t ballot(uint32_t mask, bool predicate) {
  return static_cast<uint32_t>(
      wait_for_warp(Op::kBallot, mask, predicate, 0, __builtin_return_address(0)));
}
void fence() {
  const Unwatched unwatched;
  running();
  order().fence();
}

void atomic_access(const void* address, size_t bytes) {
  const Unwatched unwatched;
  Thread& me = running();
  check_atomic(address, bytes);
  // Threads take turns only where they wait. One that waits by atomics lets the others on as well.
  constexpr int kAtomicsPerTurn = 256;
  if (++me.atomics < kAtomicsPerTurn) return;
  executor.ready.push_back(executor.current);
  end_turn();
}

}  // namespace glassnet::simt
