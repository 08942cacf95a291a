// Sharing loops among OpenMP threads, with results that do not depend on how many there are.
//
// Elementwise work is cut into one contiguous range per thread (parallel_ranges). Reductions are
// cut into tasks whose number follows from the shape alone (parallel_tasks), and their partial
// results are combined in order. A team is never resized, since libgomp would end and restart
// threads, and never nested. What a thread throws, the caller gets when the team is done.
#pragma once

#include <omp.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>

namespace glassnet::kernels {

// Threads that a parallel region started here would have.
inline int thread_count() {
  return omp_in_parallel() ? 1 : omp_get_max_threads();
}

// The first of a team's exceptions: one that left a parallel region would end the process.
class TeamFailure {
 public:
  template <class F>
  void keep_from(F&& f) noexcept {
    try {
      f();
    } catch (...) {
      if (!taken_.test_and_set()) first_ = std::current_exception();
    }
  }
  // For the caller, after the region, whose end has made every thread's writes seen.
  void rethrow() const {
    if (first_) std::rethrow_exception(first_);
  }

 private:
  std::atomic_flag taken_;
  std::exception_ptr first_;
};

// f(thread, threads) on every thread of a team.
template <class F>
void parallel_team(F&& f) {
  TeamFailure failure;
#pragma omp parallel
  failure.keep_from([&] { f(int64_t{omp_get_thread_num()}, int64_t{omp_get_num_threads()}); });
  failure.rethrow();
}

// f(begin, end) over [0, count): on one thread unless every thread gets at least `grain` items.
// Ranges begin at multiples of `unit`: of elements, so that vector loops leave their remainders at
// the same places however many threads there are.
template <class F>
void parallel_ranges(int64_t count, int64_t grain, F&& f, int64_t unit = 64) {
  if (count <= 0) return;
  if (count < 2 * grain || thread_count() == 1) {
    f(int64_t{0}, count);
    return;
  }
  parallel_team([&](int64_t thread, int64_t threads) {
    const int64_t share = ((count + threads - 1) / threads + unit - 1) / unit * unit;
    const int64_t begin = std::min(count, thread * share), end = std::min(count, begin + share);
    if (begin < end) f(begin, end);
  });
}

// f(task) for every task, on one thread when all of them together are small. Otherwise each
// thread has a run of neighbours, which ends with one that throws.
template <class F>
void parallel_tasks(int64_t tasks, bool worthwhile, F&& f) {
  if (tasks <= 1 || !worthwhile || thread_count() == 1) {
    for (int64_t i = 0; i < tasks; ++i) f(i);
    return;
  }
  parallel_team([&](int64_t thread, int64_t threads) {
    const int64_t share = tasks / threads, larger = tasks % threads;
    const int64_t begin = thread * share + std::min(thread, larger);
    const int64_t end = begin + share + (thread < larger ? 1 : 0);
    for (int64_t i = begin; i < end; ++i) f(i);
  });
}

// Elements below which a loop that streams memory runs on one thread: waking a team costs a few
// microseconds, in which one core moves about this much.
inline constexpr int64_t kSmall = 16384;

}  // namespace glassnet::kernels
