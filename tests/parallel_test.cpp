// Teams of threads: each task has its turn, and what one throws is not lost.
#include "kernels/cpu/parallel.h"

#include <new>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "kernels/error.h"

namespace glassnet::kernels {
namespace {

TEST(Parallel, WhatAThreadThrowsReachesTheCaller) {
  const int before = omp_get_max_threads();
  for (const int threads : {1, 3}) {
    omp_set_num_threads(threads);
    const auto refuse = [](int64_t at) { require(at != 7, [] { return std::string("seven"); }); };
    EXPECT_THROW(parallel_tasks(20, true, refuse), Error) << threads;
    EXPECT_THROW(parallel_ranges(
                     20, 1,
                     [&](int64_t begin, int64_t end) {
                       for (int64_t i = begin; i < end; ++i) refuse(i);
                     },
                     1),
                 Error)
        << threads;
    EXPECT_THROW(parallel_team([](int64_t, int64_t) { throw std::bad_alloc(); }), std::bad_alloc);
    // The next team is none the worse, and every task has its turn once.
    std::vector<int> turns(20);
    parallel_tasks(20, true, [&](int64_t i) { ++turns[static_cast<size_t>(i)]; });
    EXPECT_EQ(turns, std::vector<int>(20, 1)) << threads;
  }
  omp_set_num_threads(before);
}

}  // namespace
}  // namespace glassnet::kernels
