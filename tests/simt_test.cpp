// The host executor: what CUDA's words mean in it, what it reports, and that it reports nothing
// where nothing is wrong. And that the tests on the device run every kernel there is.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#if defined(GLASSNET_SIMT)

#include <atomic>
#include <cctype>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <numeric>
#include <set>
#include <sstream>
#include <thread>

#include "kernels/error.h"
#include "kernels/simt/executor.h"
#include "kernels/simt/memory.h"
#include "kernels/simt/shadow.h"
#include "tests/planted_kernels.h"

namespace glassnet {
namespace {

using testing::AllOf;
using testing::AnyOf;
using testing::ContainsRegex;
using testing::Each;
using testing::ElementsAre;
using testing::ElementsAreArray;
using testing::HasSubstr;
using testing::StartsWith;

const Cuda kDevice{};

// Device memory, which on the executor the host can read and write.
template <class T>
class Array {
 public:
  explicit Array(size_t count)
      : data_(static_cast<T*>(simt::allocate(count * sizeof(T)))), count_(count) {}
  explicit Array(const std::vector<T>& values) : Array(values.size()) {
    std::copy(values.begin(), values.end(), data_);
    simt::mark_written(data_, count_ * sizeof(T));
  }
  ~Array() { simt::free(data_); }
  Array(const Array&) = delete;
  Array& operator=(const Array&) = delete;
  T* get() const { return data_; }
  std::vector<T> host() const {
    simt::check_read(data_, count_ * sizeof(T));
    return {data_, data_ + count_};
  }

 private:
  T* data_;
  size_t count_;
};

std::vector<float> counting(int count) {
  std::vector<float> values(static_cast<size_t>(count));
  std::iota(values.begin(), values.end(), 0.F);
  return values;
}

// What is thrown; empty when nothing is.
template <class F>
std::string message_of(F&& f) {
  try {
    f();
  } catch (const Error& error) {
    return error.what();
  }
  return {};
}

// The message under each of a few seeds has to match: what is found may not hang on the order.
template <class F, class Matcher>
void expect_fault(F&& f, const Matcher& matcher) {
  for (const uint64_t seed : {0, 1, 2, 3, 4, 5}) {
    simt::set_seed(seed);
    EXPECT_THAT(message_of(f), matcher) << "with seed " << seed;
  }
  simt::set_seed(0);
}
// `f` throws nothing under any of many seeds.
template <class F>
void expect_right(F&& f) {
  for (uint64_t seed = 0; seed < 50; ++seed) {
    simt::set_seed(seed);
    ASSERT_EQ(message_of(f), "") << "with seed " << seed;
  }
  simt::set_seed(0);
}

// --- what CUDA's words mean ----------------------------------------------------------------------

TEST(SimtExecutor, KnowsWhereEachThreadIs) {
  const planted::Extent grid{2, 3, 2}, block{5, 2, 4};
  Array<int> y(12 * 40 * 6);
  planted::coordinates(kDevice, y.get(), grid, block);
  std::vector<int> expected;
  for (int bz = 0; bz < 2; ++bz) {
    for (int by = 0; by < 3; ++by) {
      for (int bx = 0; bx < 2; ++bx) {
        for (int tz = 0; tz < 4; ++tz) {
          for (int ty = 0; ty < 2; ++ty) {
            for (int tx = 0; tx < 5; ++tx)
              expected.insert(expected.end(), {tx, ty, tz, bx, by, bz});
          }
        }
      }
    }
  }
  EXPECT_EQ(y.host(), expected);
}

TEST(SimtExecutor, BarriersCountVotes) {
  for (const int threads : {1, 32, 45, 1024}) {
    Array<int> y(3);
    expect_right([&] {
      planted::barrier_votes(kDevice, y.get(), threads, threads - 1);
      ASSERT_THAT(y.host(), ElementsAre(threads / 2, 1, 0)) << threads;
      planted::barrier_votes(kDevice, y.get(), threads, threads);
      ASSERT_THAT(y.host(), ElementsAre(threads / 2, 0, 1)) << threads;
    });
  }
}

TEST(SimtExecutor, ShufflesWithinGroups) {
  for (const int width : {32, 16, 4}) {
    const int threads = 96;
    Array<int> y(threads * 4);
    planted::shuffles(kDevice, y.get(), threads, width);
    const std::vector<int> got = y.host();
    for (int i = 0; i < threads; ++i) {
      const int first = i / width * width;
      const int up = i - 2 >= first ? i - 2 : i, down = i + 2 < first + width ? i + 2 : i;
      const std::vector<int> mine(got.begin() + 4 * i, got.begin() + 4 * i + 4);
      EXPECT_THAT(mine, ElementsAre(100 + first + 3, 100 + (i ^ 1), 100 + up, 100 + down))
          << width << " " << i;
    }
  }
  Array<double> doubles(32);
  planted::shuffle_double(kDevice, doubles.get());
  for (int i = 0; i < 32; ++i) EXPECT_EQ(doubles.host()[static_cast<size_t>(i)], 0.1 * (31 - i));
}

TEST(SimtExecutor, VotesInPartialWarps) {
  Array<int> y(3 * 36);
  planted::votes(kDevice, y.get(), 36);  // the second warp has four lanes
  const std::vector<int> got = y.host();
  EXPECT_THAT(std::vector<int>(got.begin(), got.begin() + 3), ElementsAre(0x1f, 1, 0));
  EXPECT_THAT(std::vector<int>(got.end() - 3, got.end()), ElementsAre(0x0f, 1, 1));
}

TEST(SimtExecutor, PartsOfAWarpWorkBySelf) {
  Array<int> y(32);
  expect_right([&] {
    planted::half_warps(kDevice, y.get());
    for (int i = 0; i < 32; ++i)
      ASSERT_EQ(y.host()[static_cast<size_t>(i)], i % 2 == 0 ? 240 : 256);
  });
  Array<int> z(std::vector<int>(32, -1));
  expect_right([&] {
    planted::early_end(kDevice, z.get(), 7);
    ASSERT_EQ(z.host()[6], 21);
    ASSERT_EQ(z.host()[7], -1);
  });
}

TEST(SimtExecutor, Atomics) {
  const int threads = 200;
  expect_right([&] {
    Array<int> y(std::vector<int>{0, 0, 0, 0, 0, 0, 0, -1, 0});
    planted::atomics(kDevice, y.get(), threads);
    const std::vector<int> got = y.host();
    ASSERT_EQ(got[0], 199 * 100);
    ASSERT_EQ(got[1], -199 * 100);
    ASSERT_EQ(got[2], 199);
    ASSERT_EQ(got[3], -199);
    ASSERT_EQ(got[4], 7);
    ASSERT_GE(got[5], 1);
    ASSERT_EQ(got[6], -1);
    ASSERT_EQ(got[7], 0);
    ASSERT_EQ(got[8], 0);  // 200 steps of ten
  });
}

TEST(SimtExecutor, ThreadsWaitForALock) {
  Array<int> y(std::vector<int>{0}), taken(std::vector<int>{0});
  planted::lock(kDevice, y.get(), taken.get(), 64);
  EXPECT_EQ(y.host()[0], 64);
}

TEST(SimtExecutor, ArgumentsAreEachThreadsOwn) {
  Array<float> y(64);
  const planted::Parameters given{{0, 1, 2, 3, 4, 5, 6, 7}};
  for (int launch = 0; launch < 2; ++launch) {
    planted::parameters(kDevice, y.get(), given, 64);
    for (size_t i = 0; i < 64; ++i) EXPECT_EQ(y.host()[i], 2 * static_cast<float>(i % 8) + 1);
  }
}

TEST(SimtExecutor, TheSeedChoosesTheOrder) {
  // The last to write wins: allowed by atomics, and different from order to order.
  std::set<int> results;
  std::vector<int> first;
  for (const uint64_t seed : {1, 2, 3, 4, 1, 2, 3, 4}) {
    simt::set_seed(seed);
    Array<int> y(std::vector<int>(9, 0));
    planted::atomics(kDevice, y.get(), 64);
    first.push_back(y.host()[5]);
  }
  simt::set_seed(0);
  EXPECT_THAT(std::vector<int>(first.begin(), first.begin() + 4),
              ElementsAreArray(std::vector<int>(first.begin() + 4, first.end())));
  EXPECT_GT(std::set<int>(first.begin(), first.end()).size(), 1U);
}

TEST(SimtExecutor, HostThreadsTakeTurns) {
  std::atomic<int> wrong = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&wrong, t] {
      for (int i = 0; i < 20; ++i) {
        const Array<float> x(std::vector<float>(300, static_cast<float>(t))), y(300);
        planted::scale(kDevice, y.get(), x.get(), 300, 128);
        for (const float value : y.host()) wrong += value != static_cast<float>(2 * t);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

TEST(SimtExecutor, ARecorderKeepsLaunches) {
  std::vector<std::function<void()>> kept;
  int stream = 0;
  simt::set_recorder([&](void* on, std::function<void()> launch) {
    if (on != &stream) return false;
    kept.push_back(std::move(launch));
    return true;
  });
  Array<float> x({1, 2, 3}), y({0, 0, 0});
  planted::scale({0, &stream}, y.get(), x.get(), 3, 32);
  EXPECT_THAT(y.host(), Each(0.F));
  ASSERT_EQ(kept.size(), 1U);
  for (int i = 0; i < 2; ++i) {
    kept[0]();
    EXPECT_THAT(y.host(), ElementsAre(2, 4, 6));
    x.get()[0] = 1;
  }
  simt::set_recorder(nullptr);
  planted::scale({0, &stream}, x.get(), y.get(), 3, 32);
  EXPECT_THAT(x.host(), ElementsAre(4, 8, 12));
}

TEST(SimtExecutor, RemembersWhatHasRun) {
  Array<float> x(std::vector<float>{1}), y(1), parts(2);
  Array<unsigned> done(std::vector<unsigned>{0});
  planted::last_block_sum(kDevice, y.get(), parts.get(), done.get(), x.get(), 1, 2);
  EXPECT_THAT(simt::kernels_run(), testing::Contains("last_block_sum_kernel"));
#if !defined(__clang__)  // which does not say what a kernel's template arguments are
  EXPECT_THAT(simt::kernels_run(), testing::Contains("last_block_sum_kernel<true>"));
#endif
}

// --- nothing is reported where nothing is wrong
// ----------------------------------------------------

TEST(SimtRight, Sums) {
  const int count = 1000, blocks = 7;
  const Array<float> x(counting(count));
  Array<float> y(1), parts(blocks);
  Array<unsigned> done(std::vector<unsigned>{0});
  expect_right([&] {
    planted::tree_sum(kDevice, y.get(), x.get(), count, 256);
    ASSERT_EQ(y.host()[0], 499500.F);
    planted::reduce_sum(kDevice, y.get(), x.get(), count, 96);
    ASSERT_EQ(y.host()[0], 499500.F);
    planted::last_block_sum(kDevice, y.get(), parts.get(), done.get(), x.get(), count, blocks);
    ASSERT_EQ(y.host()[0], 499500.F);
    ASSERT_EQ(done.host()[0], 0U);
  });
}

TEST(SimtRight, WarpsExchange) {
  Array<float> y(96);
  for (const bool halves : {false, true}) {
    expect_right([&] {
      planted::warp_exchange(kDevice, y.get(), 96, halves);
      const size_t group = halves ? 16 : 32;
      for (size_t i = 0; i < 96; ++i) {
        ASSERT_EQ(y.host()[i], static_cast<float>(i / group * group + (i + 5) % group));
      }
    });
  }
}

TEST(SimtRight, ConstantsOfTheProgram) {
  Array<float> y(64);
  expect_right([&] { planted::constants(kDevice, y.get(), 64); });
  EXPECT_EQ(y.host()[63], 49.F);
}

TEST(SimtRight, AfterAFaultTheNextLaunchWorks) {
  Array<float> x(counting(64)), y(64);
  for (int i = 0; i < 3; ++i) {
    EXPECT_NE(message_of([&] { planted::missing_barrier(kDevice, y.get(), 64); }), "");
    EXPECT_NE(message_of([&] { planted::divergent_barrier(kDevice, 64, 40); }), "");
    EXPECT_NE(message_of([&] { planted::throws(kDevice); }), "");
    planted::scale(kDevice, y.get(), x.get(), 64, 32);
    EXPECT_EQ(y.host()[63], 126.F);
  }
}

// --- access to memory
// ------------------------------------------------------------------------------

constexpr const char* kLine = R"(\(tests/planted_kernels\.cu:[0-9]+\)$)";

TEST(SimtMemory, AccessOutside) {
  const Array<float> x(counting(32));
  Array<float> y(32);
  expect_fault(
      [&] { planted::write_past_end(kDevice, y.get(), 32); },
      AllOf(StartsWith(
                "[write_past_end_kernel] block (0, 0, 0), thread (32, 0, 0) writes 4 bytes at "
                "offset 128 of a device buffer of 128 bytes, past its end (tests/planted_kernels"),
            ContainsRegex(kLine)));
  expect_fault(
      [&] { planted::write_before_start(kDevice, y.get(), 8); },
      AllOf(
          HasSubstr("thread (0, 0, 0) writes 4 bytes 4 bytes before a device buffer of 128 bytes"),
          ContainsRegex(kLine)));
  expect_fault([&] { planted::read_past_end(kDevice, y.get(), x.get(), 32); },
               HasSubstr("thread (31, 0, 0) reads 4 bytes at offset 128 of a device buffer of 128 "
                         "bytes, past its end"));
  // Of eight bytes only four are there.
  Array<uint8_t> odd(12);
  expect_fault(
      [&] { planted::half_outside(kDevice, reinterpret_cast<double*>(odd.get() + 8)); },
      HasSubstr("writes 8 bytes at offset 8 of a device buffer of 12 bytes, past its end"));
}

TEST(SimtMemory, AccessToWhatIsNoDeviceMemory) {
  Array<float> y(32);
  std::vector<float> host(32);
  expect_fault(
      [&] { planted::scale(kDevice, y.get(), host.data(), 32, 32); },
      HasSubstr(
          "reads 4 bytes in host memory, which a GPU cannot reach (tests/planted_kernels.cu"));
  expect_fault([&] { planted::scale(kDevice, y.get(), nullptr, 1, 1); },
               HasSubstr("reads 4 bytes through a null pointer"));
  expect_fault([&] { planted::host_global(kDevice, y.get()); },
               HasSubstr("reads 4 bytes in host memory"));
  expect_fault([&] { planted::write_constant(kDevice); },
               HasSubstr("writes 4 bytes in constant data of the program"));
  expect_fault([&] { planted::other_stack(kDevice, y.get()); },
               HasSubstr("thread (1, 0, 0) reads 4 bytes in a local variable of thread (0, 0, 0)"));
}

TEST(SimtMemory, AccessAfterFree) {
  Array<float> y(32);
  float* freed = nullptr;
  {
    const Array<float> x(counting(32));
    freed = x.get();
  }
  expect_fault([&] { planted::scale(kDevice, y.get(), freed, 32, 32); },
               HasSubstr("of a device buffer of 128 bytes that has been freed"));
}

TEST(SimtMemory, PartsOfASegment) {
  const size_t bytes = 1 << 20;
  char* const segment = static_cast<char*>(simt::allocate(bytes));
  const auto part = [&](size_t i) { return reinterpret_cast<float*>(segment + 512 * i); };
  const auto run = [&](size_t to, size_t from) {
    return message_of([&] { planted::scale(kDevice, part(to), part(from), 25, 32); });
  };
  simt::mark_live(part(1), 100);
  EXPECT_TRUE(std::isnan(*part(1)));
  simt::mark_live(part(3), 100);
  simt::mark_written(part(1), 100);
  EXPECT_EQ(run(3, 1), "");
  EXPECT_EQ(run(1, 3), "");
  EXPECT_THAT(run(2, 1), AnyOf(HasSubstr("past its end"), HasSubstr(" before a device buffer")));
  simt::mark_free(part(1), 512);
  EXPECT_THAT(run(3, 1), HasSubstr("a device buffer of 100 bytes that has been freed"));
  simt::mark_live(part(1), 100);
  EXPECT_THAT(run(3, 1), HasSubstr("which nothing has written"));
  EXPECT_THAT(message_of([&] { simt::mark_live(part(1), 4); }), HasSubstr("overlaps"));
  EXPECT_THAT(
      message_of([&] { simt::mark_written(part(1), 101); }),
      StartsWith(
          "[a copy] writes 101 bytes at offset 0 of a device buffer of 100 bytes, past its end"));
  simt::mark_written(part(1), 99);
  EXPECT_THAT(message_of([&] { simt::check_read(part(1), 100, "cuDNN"); }),
              StartsWith("[cuDNN] reads 100 bytes at offset 0 of a device buffer of 100 bytes, of "
                         "which nothing has "
                         "written byte 99"));
  EXPECT_TRUE(simt::is_device_memory(segment + bytes - 1));
  EXPECT_FALSE(simt::is_device_memory(segment + bytes));
  simt::free(segment);
  EXPECT_FALSE(simt::is_device_memory(segment));
  EXPECT_THAT(message_of([&] { simt::mark_live(segment, 4); }), HasSubstr("lies in no segment"));
}

TEST(SimtMemory, SharedArrays) {
  Array<float> y(64);
  expect_fault([&] { planted::shared_past_end(kDevice, y.get()); },
               HasSubstr("thread (31, 0, 0) writes 4 bytes at offset 128 of shared array `tile` of "
                         "128 bytes, past its end"));
  expect_fault(
      [&] { planted::dynamic_past_end(kDevice, y.get()); },
      HasSubstr(
          "writes 4 bytes at offset 124 of the dynamic shared memory of 124 bytes, past its end"));
  const auto too_much = [](size_t bytes) {
    return message_of([&] { planted::too_much_shared(kDevice, bytes); });
  };
  EXPECT_EQ(too_much((227 << 10) - 4096), "");
  EXPECT_THAT(too_much((227 << 10) - 4095),
              HasSubstr("needs 232449 bytes of shared memory, a block can have 232448 bytes"));
  EXPECT_THAT(too_much((227 << 10) + 1),
              StartsWith("[too_much_shared_kernel] asks for 232449 bytes of shared memory, a block "
                         "can have 232448"));
}

TEST(SimtMemory, ReadsOfWhatWasNeverWritten) {
  Array<float> x(32), y(64);
  expect_fault([&] { planted::scale(kDevice, y.get(), x.get(), 1, 1); },
               HasSubstr("thread (0, 0, 0) reads 4 bytes at offset 0 of a device buffer of 128 "
                         "bytes, which nothing has "
                         "written (tests/planted_kernels.cu:"));
  expect_fault([&] { planted::unwritten_shared(kDevice, y.get()); },
               HasSubstr("thread (5, 0, 0) reads 4 bytes at offset 20 of shared array `tile` of "
                         "256 bytes, which this "
                         "block has not written"));
  expect_fault([&] { planted::shared_of_last_block(kDevice, y.get()); },
               AllOf(HasSubstr("block (1, 0, 0)"), HasSubstr("which this block has not written")));
  Array<int> counter(1);
  EXPECT_THAT(message_of([&] { planted::unwritten_atomic(kDevice, counter.get()); }),
              HasSubstr("atomically updates 4 bytes at offset 0 of a device buffer of 4 bytes, "
                        "which nothing has written"));
}

#if !defined(__clang__)  // which takes sixteen bytes apart
TEST(SimtMemory, MisalignedVectors) {
  const Array<float> x(counting(8));
  Array<float> y(8);
  planted::misaligned(kDevice, y.get(), x.get());
  EXPECT_EQ(y.get()[3], 3.F);
  expect_fault([&] { planted::misaligned(kDevice, y.get(), x.get() + 1); },
               HasSubstr("reads 16 bytes at offset 4 of a device buffer of 32 bytes, whose address "
                         "is not a multiple of "
                         "16 (kernels/cuda/vec.h:"));
  expect_fault([&] { planted::misaligned(kDevice, y.get() + 2, x.get()); },
               HasSubstr("writes 16 bytes at offset 8 of a device buffer of 32 bytes, whose "
                         "address is not a multiple"));
  expect_fault([&] { planted::misaligned_shared(kDevice, y.get()); },
               HasSubstr("is not a multiple of 16"));
}
#endif

// --- races
// -----------------------------------------------------------------------------------------

TEST(SimtRaces, BetweenThreads) {
  Array<float> y(256);
  const auto race = [](const std::string& what) {
    return AllOf(HasSubstr(what), HasSubstr(": a data race (tests/planted_kernels.cu:"));
  };
  for (const int threads : {2, 32, 64, 256}) {
    expect_fault([&] { planted::shared_race(kDevice, y.get(), threads); },
                 race("writes 4 bytes at offset 0 of shared array `sum` of 4 bytes, which thread"));
    expect_fault([&] { planted::read_write_race(kDevice, y.get(), threads); },
                 race(", with no barrier in between"));
    expect_fault([&] { planted::global_race(kDevice, y.get(), threads); },
                 race(" has written, with no barrier in between"));
    expect_fault(
        [&] { planted::atomic_race(kDevice, y.get(), threads); },
        AnyOf(race(", with no barrier in between"), HasSubstr("which nothing has written")));
  }
  // Whoever reads first finds nothing written; whoever comes later finds a race.
  expect_fault(
      [&] { planted::missing_barrier(kDevice, y.get(), 64); },
      AllOf(StartsWith("[missing_barrier_kernel] block (0, 0, 0), thread ("),
            AnyOf(HasSubstr("which this block has not written"), HasSubstr("a data race"))));
  // Bytes of one word.
  Array<uint8_t> bytes(64);
  expect_fault([&] { planted::byte_race(kDevice, bytes.get(), 64); },
               race("1 byte at offset 6 of a device buffer of 64 bytes, which thread"));
}

TEST(SimtRaces, BetweenLanes) {
  Array<float> y(32);
  expect_fault([&] { planted::unsynced_warp(kDevice, y.get()); }, HasSubstr("a data race"));
  expect_fault([&] { planted::shuffle_orders_nothing(kDevice, y.get()); },
               HasSubstr("has written, with no barrier in between: a data race"));
  expect_fault([&] { planted::other_half(kDevice, y.get()); },
               AnyOf(HasSubstr("has written, with no barrier in between: a data race"),
                     HasSubstr("has not written")));
}

TEST(SimtRaces, BetweenBlocks) {
  Array<float> y(std::vector<float>(8, 0));
  expect_fault([&] { planted::block_write_race(kDevice, y.get(), 3); },
               HasSubstr("block (1, 0, 0), thread (0, 0, 0) writes 4 bytes at offset 0 of a device "
                         "buffer of 32 bytes, which "
                         "thread (0, 0, 0) of an earlier block has written in this launch, with no "
                         "__threadfence after it: a data race"));
  EXPECT_EQ(message_of([&] { planted::block_write_race(kDevice, y.get(), 1); }), "");
  expect_fault([&] { planted::block_read_race(kDevice, y.get(), 3); },
               HasSubstr("reads 4 bytes at offset 0 of a device buffer of 32 bytes, which thread "
                         "(0, 0, 0) of an earlier block has written"));
  expect_fault(
      [&] {
        y.get()[2] = 0;
        planted::block_overwrite_race(kDevice, y.get(), 3);
      },
      AllOf(HasSubstr("block (2, 0, 0)"), HasSubstr("of an earlier block has read")));
  const Array<float> x(counting(100));
  Array<float> sum(1), parts(4);
  Array<unsigned> done(std::vector<unsigned>{0});
  expect_fault(
      [&] {
        done.get()[0] = 0;
        planted::unfenced_sum(kDevice, sum.get(), parts.get(), done.get(), x.get(), 100, 4);
      },
      HasSubstr("of an earlier block has written in this launch, with no __threadfence after it"));
}

// What kernels cannot easily be made to do.
TEST(SimtRaces, TheClockStartsAgainBeforeItEnds) {
  simt::Order order(UINT32_MAX / 4 * 3);
  simt::Cell written, never;
  simt::Conflict conflict;
  order.begin_launch();
  order.begin_block();
  order.resume(3);
  order.access(written, simt::Access::kWrite, order.launch(), conflict);
  ASSERT_TRUE(order.is_late());
  simt::Order::forget(written);
  simt::Order::forget(never);
  order.restart();
  EXPECT_FALSE(order.is_late());
  order.begin_launch();
  order.begin_block();
  order.resume(4);
  EXPECT_LT(written.written, order.launch());
  EXPECT_GT(written.written, 0U);
  EXPECT_EQ(never.written, 0U);
  order.access(written, simt::Access::kWrite, order.launch(), conflict);
  EXPECT_FALSE(conflict.found);
  order.resume(5);
  order.access(written, simt::Access::kRead, order.launch(), conflict);
  EXPECT_TRUE(conflict.found);
  EXPECT_EQ(conflict.thread, 4);
}

// --- waiting
// ---------------------------------------------------------------------------------------

TEST(SimtBarriers, Divergent) {
  expect_fault(
      [] { planted::divergent_barrier(kDevice, 64, 40); },
      AllOf(
          StartsWith(
              "[divergent_barrier_kernel] block (0, 0, 0), thread (0, 0, 0) waits in __syncthreads "
              "(tests/planted_kernels.cu:"),
          HasSubstr(" for thread (40, 0, 0), which has ended")));
  expect_fault(
      [] { planted::barrier_or_warp(kDevice); },
      ContainsRegex(
          R"(thread \(9, 0, 0\) waits in __syncwarp with mask 0xffffffff \(tests/.*\) for )"
          R"(thread \(0, 0, 0\), which waits in __syncthreads \(tests/.*:[0-9]+\)$)"));
  Array<int> y(32);
  expect_fault([&] { planted::two_barriers(kDevice, y.get()); },
               AllOf(HasSubstr("waits in __syncthreads"), HasSubstr("__syncthreads_or")));
}

TEST(SimtBarriers, Shuffles) {
  Array<int> y(32);
  expect_fault(
      [&] { planted::absent_source(kDevice, y.get(), 20); },
      ContainsRegex(
          R"(thread \(.*, 0, 0\) shuffles from lane 2[0-9], which its warp of 20 threads does not have \(tests/)"));
  expect_fault([&] { planted::unnamed_source(kDevice, y.get()); },
               HasSubstr("shuffles from lane 20, which its mask 0x0000ffff does not name (tests/"));
  expect_fault([&] { planted::ended_source(kDevice, y.get()); },
               HasSubstr("shuffles from lane 4, which has ended (tests/"));
  expect_fault(
      [&] { planted::unnamed_self(kDevice); },
      HasSubstr("takes part in __syncwarp whose mask 0xfffffffe does not name its lane 0 (tests/"));
  expect_fault([&] { planted::two_masks(kDevice, y.get()); },
               HasSubstr("for thread (3, 0, 0), which waits in a shuffle with mask 0x0000ffff"));
  expect_fault([&] { planted::shuffle_and_ballot(kDevice, y.get()); },
               HasSubstr("for thread (3, 0, 0), which waits in a ballot with mask 0xffffffff"));
}

TEST(SimtBarriers, WhatNeverComes) {
  Array<int> y(std::vector<int>{0});
  EXPECT_THAT(message_of([&] { planted::endless(kDevice, y.get()); }),
              HasSubstr("waits by atomics for what never comes"));
}

TEST(SimtLaunch, Refused) {
  const auto shape = [](planted::Extent grid, planted::Extent block, size_t shared) {
    return message_of([&] { planted::shape(kDevice, grid, block, shared); });
  };
  EXPECT_EQ(shape({1, 1, 1}, {32, 32, 1}, 227 << 10), "");
  EXPECT_EQ(
      shape({1, 1, 1}, {33, 32, 1}, 0),
      "[shape_kernel] has blocks (33, 32, 1), a block has at most 1024 threads, and 64 along z");
  EXPECT_THAT(shape({1, 1, 1}, {1, 1, 65}, 0), HasSubstr("64 along z"));
  EXPECT_EQ(shape({1, 1, 1}, {32, 0, 1}, 0),
            "[shape_kernel] has blocks (32, 0, 1) without threads");
  EXPECT_EQ(shape({0, 1, 1}, {32, 1, 1}, 0), "[shape_kernel] has a grid (0, 1, 1) without blocks");
  EXPECT_THAT(shape({1, 65536, 1}, {1, 1, 1}, 0),
              HasSubstr("has a grid (1, 65536, 1), the largest is"));
  EXPECT_THAT(shape({1, 1, 1}, {1, 1, 1}, (227 << 10) + 1),
              HasSubstr("a block can have 232448 bytes"));
}

TEST(SimtLaunch, WhatKernelsThrow) {
  expect_fault(
      [] { planted::throws(kDevice); },
      testing::StrEq(
          "[throws_kernel] block (0, 0, 0), thread (2, 0, 0) throws: no kernel does this"));
}

// --- every kernel runs in a test
// ---------------------------------------------------------------------

constexpr const char* kDone = "# the suite has ended";

// Each process that ctest starts for a suite on the device begins its log anew; that it ends with a
// line says that the suite has come to its end.
class LogEnvironment : public testing::Environment {
 public:
  void SetUp() override {
    if (log_ != nullptr) std::filesystem::remove(log_);
  }
  void TearDown() override {
    if (log_ != nullptr) std::ofstream(log_, std::ios::app) << kDone << "\n";
  }

 private:
  const char* log_ = std::getenv("GLASSNET_SIMT_LOG");
};
const auto* const kLogEnvironment = testing::AddGlobalTestEnvironment(new LogEnvironment);

std::string text_of(const std::filesystem::path& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

// The names of the __global__ functions that a source defines.
std::set<std::string> kernels_in(const std::string& source) {
  std::string code;
  std::istringstream lines(source);
  for (std::string line; std::getline(lines, line);) code += line.substr(0, line.find("//")) + "\n";
  const std::string word = "__global__", bounds = "__launch_bounds__";
  std::set<std::string> names;
  for (size_t at = code.find(word); at != std::string::npos; at = code.find(word, at)) {
    at += word.size();
    size_t open = code.find('(', at);
    if (const size_t found = code.find(bounds, at); found < open) {  // past its own parentheses
      int depth = 1;
      for (at = open + 1; depth > 0; ++at)
        depth += code.at(at) == '(' ? 1 : code.at(at) == ')' ? -1 : 0;
      open = code.find('(', at);
    }
    size_t begin = open;
    while (std::isalnum(static_cast<unsigned char>(code.at(begin - 1))) != 0 ||
           code[begin - 1] == '_')
      --begin;
    names.insert(code.substr(begin, open - begin));
  }
  return names;
}

TEST(SimtLaunch, SourcesAreSearchedForKernels) {
  EXPECT_THAT(
      kernels_in(
          "template <class T>\n__global__ void __launch_bounds__(kThreads(2)) a_kernel(T* y) {}\n"
          "// __global__ void none(\n"
          "__global__ __launch_bounds__(256)\nvoid b_kernel(\n"
          "__global__ void c_kernel(int) {}"),
      ElementsAre("a_kernel", "b_kernel", "c_kernel"));
}

TEST(KernelCoverage, TestsOnTheDeviceRunEveryKernel) {
  namespace fs = std::filesystem;
  const char* const logs = std::getenv("GLASSNET_SIMT_LOGS");
  if (logs == nullptr) GTEST_SKIP() << "only ctest knows what the other suites have run";
  std::set<std::string> run;
  const testing::UnitTest& tests = *testing::UnitTest::GetInstance();
  for (int i = 0; i < tests.total_test_suite_count(); ++i) {
    std::string suite = tests.GetTestSuite(i)->name();
    if (("/" + suite).find("/Device") == std::string::npos) continue;
    std::replace(suite.begin(), suite.end(), '/', '_');
    const fs::path log = fs::path(logs) / (suite + ".log");
    const bool is_new =
        fs::exists(log) && fs::last_write_time(log) >= fs::last_write_time("/proc/self/exe");
    std::istringstream lines(is_new ? text_of(log) : "");
    bool ended = false;
    for (std::string line; std::getline(lines, line);) {
      if (line == kDone) ended = true;
      run.insert(line);
    }
    if (!ended)
      GTEST_SKIP() << "the suite " << suite << " has not run to its end since the tests were built";
  }
  size_t count = 0;
  for (const auto& file :
       fs::directory_iterator(fs::path(GLASSNET_SOURCE_DIR) / "kernels" / "cuda")) {
    const fs::path& path = file.path();
    if (path.extension() != ".cu" && path.extension() != ".h") continue;
    if (path.filename() == "runtime.cu") continue;  // its empty kernel asks what a GPU has code for
    for (const std::string& kernel : kernels_in(text_of(path))) {
      ++count;
      EXPECT_TRUE(run.count(kernel) != 0)
          << kernel << " in " << path.filename() << " is run by no test";
    }
  }
  EXPECT_GT(count, 0U);
}

}  // namespace
}  // namespace glassnet

#endif
