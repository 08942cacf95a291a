// The contract of kernels/cuda/runtime.h, on a GPU or on the host executor: copies, streams,
// events, graphs, and what is said when something goes wrong.
#include "tests/device_support.h"

#if defined(GLASSNET_CUDA)

#include <gmock/gmock.h>

#include <cstdlib>
#include <cstring>
#include <thread>

#include "kernels/copy.h"
#include "kernels/cuda/allocator.h"
#include "kernels/cuda/device_facts.h"
#include "kernels/cuda/scratch.h"
#include "kernels/op_scope.h"

namespace glassnet::kernels {
namespace {

using testing::AllOf;
using testing::Each;
using testing::HasSubstr;
using testing::StartsWith;

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

std::vector<float> counting(size_t count) {
  std::vector<float> values(count);
  for (size_t i = 0; i < count; ++i) values[i] = static_cast<float>(i) + 0.5F;
  return values;
}

// Memory of the host that queued copies may use.
class Pinned {
 public:
  explicit Pinned(size_t count)
      : data_(static_cast<float*>(pinned_allocate(count * sizeof(float)))), count_(count) {}
  ~Pinned() { pinned_free(data_); }
  Pinned(const Pinned&) = delete;
  Pinned& operator=(const Pinned&) = delete;
  float* get() const { return data_; }
  std::vector<float> values() const { return {data_, data_ + count_}; }
  void set(const std::vector<float>& values) {
    std::memcpy(data_, values.data(), count_ * sizeof(float));
  }

 private:
  float* data_;
  size_t count_;
};

class DeviceRuntime : public DeviceTest {
 protected:
  void SetUp() override {
    DeviceTest::SetUp();
    if (!IsSkipped()) cuda_ = current_cuda(0);
  }
  void copy(float* y, const float* x, size_t count) {
    cuda_copy_async(cuda_, y, x, count * sizeof(float));
  }
  Cuda cuda_;
};

// --- copies and streams --------------------------------------------------------------------------

TEST_F(DeviceRuntime, CopiesBetweenHostAndDevice) {
  const std::vector<float> values = counting(1000);
  const DeviceArray<float> x(values), y(values.size());
  cuda_copy(cuda_, y.get(), x.get(), values.size() * sizeof(float));
  EXPECT_EQ(y.host(), values);
  cuda_copy(cuda_, y.get() + 10, x.get(), 5 * sizeof(float));
  EXPECT_EQ(y.host()[12], values[2]);
  EXPECT_EQ(y.host()[15], values[15]);
  cuda_copy(cuda_, nullptr, nullptr, 0);
}

TEST_F(DeviceRuntime, SetsToZero) {
  const DeviceArray<float> x(counting(100));
  cuda_set_zero(cuda_, x.get() + 1, 98 * sizeof(float));
  const std::vector<float> values = x.host();
  EXPECT_EQ(values.front(), 0.5F);
  EXPECT_EQ(values.back(), 99.5F);
  EXPECT_THAT(std::vector<float>(values.begin() + 1, values.end() - 1), Each(0.0F));
}

TEST_F(DeviceRuntime, QueuedCopiesNeedPinnedMemory) {
  const std::vector<float> values = counting(64);
  const DeviceArray<float> x(values.size());
  Pinned there(values.size()), back(values.size());
  there.set(values);
  copy(x.get(), there.get(), values.size());
  copy(back.get(), x.get(), values.size());
  synchronize(cuda_);
  EXPECT_EQ(back.values(), values);

  std::vector<float> pageable(values.size());
  EXPECT_THAT(message_of([&] { copy(x.get(), pageable.data(), 64); }), HasSubstr("pinned memory"));
  EXPECT_THAT(message_of([&] { copy(pageable.data(), x.get(), 64); }), HasSubstr("pinned memory"));
}

TEST_F(DeviceRuntime, AStreamIsCurrentOnItsThreadAndInItsScope) {
  void* const compute = current_stream(0);
  EXPECT_NE(compute, nullptr) << "work on the default stream cannot be captured";
  EXPECT_EQ(current_stream(0), compute);
  EXPECT_EQ(cuda_.stream, compute);
  const CudaStream first(0), second(0);
  {
    const StreamScope outer(0, first.get());
    EXPECT_EQ(current_cuda(0).stream, first.get());
    {
      const StreamScope inner(0, second.get());
      EXPECT_EQ(current_stream(0), second.get());
    }
    EXPECT_EQ(current_stream(0), first.get());
    void* other = nullptr;
    std::thread([&] { other = current_stream(0); }).join();
    EXPECT_EQ(other, compute) << "the scope is this thread's";
  }
  EXPECT_EQ(current_stream(0), compute);
}

TEST_F(DeviceRuntime, EventsPutStreamsInOrder) {
  constexpr size_t kCount = size_t{4} << 20;
  Pinned there(kCount), back(kCount);
  there.set(counting(kCount));
  const DeviceArray<float> x(kCount), y(kCount);
  const CudaStream copies(0);
  CudaEvent uploaded(0), computed(0);
  const Cuda other{0, copies.get()};
  for (int round = 0; round < 3; ++round) {
    there.get()[kCount - 1] = static_cast<float>(round);
    cuda_copy_async(other, x.get(), there.get(), kCount * sizeof(float));
    uploaded.record(other.stream);
    uploaded.wait_on(cuda_.stream);
    copy(y.get(), x.get(), kCount);
    computed.record(cuda_.stream);
    computed.wait_on(other.stream);
    cuda_copy_async(other, back.get(), y.get(), kCount * sizeof(float));
    uploaded.record(other.stream);
    uploaded.synchronize();
    EXPECT_TRUE(uploaded.done());
    EXPECT_TRUE(computed.done());
    EXPECT_EQ(back.values(), there.values());
  }
}

// --- graphs --------------------------------------------------------------------------------------

TEST_F(DeviceRuntime, AGraphIsRecordedThenRunAsOftenAsLaunched) {
  const std::vector<float> ones(256, 1.0F);
  const DeviceArray<float> x(counting(256)), y(ones), z(ones);
  CudaGraph graph;
  EXPECT_FALSE(graph.captured());
  EXPECT_THAT(message_of([&] { graph.launch(cuda_); }), HasSubstr("has not been captured"));
  graph.capture(0, [&] {
    EXPECT_TRUE(is_capturing(cuda_));
    copy(y.get(), x.get(), 256);
    fill(current_cuda(0), x.get(), DType::kFloat32, 7, 128);
    cuda_set_zero(cuda_, z.get(), 4 * sizeof(float));
  });
  EXPECT_FALSE(is_capturing(cuda_));
  ASSERT_TRUE(graph.captured());
  EXPECT_EQ(y.host(), ones) << "recorded, and not run";
  EXPECT_EQ(x.host(), counting(256));

  graph.launch(cuda_);
  EXPECT_EQ(y.host(), counting(256));
  EXPECT_EQ(x.host()[127], 7.0F);
  EXPECT_EQ(x.host()[128], 128.5F);
  EXPECT_EQ(z.host()[3], 0.0F);
  EXPECT_EQ(z.host()[4], 1.0F);
  graph.launch(cuda_);
  EXPECT_EQ(y.host()[0], 7.0F) << "the second launch sees what the first one left";
}

TEST_F(DeviceRuntime, AGraphIsCapturedAnew) {
  const DeviceArray<float> x(counting(8));
  CudaGraph graph;
  graph.capture(0, [&] { fill(current_cuda(0), x.get(), DType::kFloat32, 1, 8); });
  graph.capture(0, [&] { fill(current_cuda(0), x.get(), DType::kFloat32, 2, 8); });
  graph.launch(cuda_);
  EXPECT_THAT(x.host(), Each(2.0F));
}

TEST_F(DeviceRuntime, AGraphTakesQueuedCopiesFromTheHost) {
  const DeviceArray<float> x(counting(8));
  Pinned there(8);
  CudaGraph graph;
  graph.capture(0, [&] { copy(x.get(), there.get(), 8); });
  for (const float value : {3.0F, 4.0F}) {
    there.set(std::vector<float>(8, value));
    graph.launch(cuda_);
    EXPECT_THAT(x.host(), Each(value)) << "a launch reads what the host memory holds then";
  }
}

TEST_F(DeviceRuntime, AnExceptionEndsTheCapture) {
  const DeviceArray<float> x(counting(8));
  CudaGraph graph;
  EXPECT_THROW(graph.capture(0,
                             [&] {
                               fill(current_cuda(0), x.get(), DType::kFloat32, 1, 8);
                               throw std::out_of_range("mine");
                             }),
               std::out_of_range);
  EXPECT_FALSE(graph.captured());
  EXPECT_FALSE(is_capturing(cuda_));
  EXPECT_EQ(x.host(), counting(8)) << "what was recorded is forgotten";
  fill(cuda_, x.get(), DType::kFloat32, 2, 8);
  EXPECT_THAT(x.host(), Each(2.0F)) << "the stream is as it was";
  graph.capture(0, [&] { fill(current_cuda(0), x.get(), DType::kFloat32, 3, 8); });
  graph.launch(cuda_);
  EXPECT_THAT(x.host(), Each(3.0F));

  EXPECT_THROW(graph.capture(0, [] { throw Error("again"); }), Error);
  graph.launch(cuda_);
  EXPECT_TRUE(graph.captured()) << "the graph before stays";
}

TEST_F(DeviceRuntime, AGraphRefusesWhatItCannotHold) {
  const DeviceArray<float> x(counting(8));
  std::vector<float> host(8);
  CudaEvent event(0), before(0);
  before.record(cuda_.stream);
  const auto captured = [&](const std::function<void()>& work) {
    CudaGraph graph;
    std::string message = message_of([&] { graph.capture(0, work); });
    EXPECT_FALSE(graph.captured());
    EXPECT_EQ(x.host(), counting(8)) << "the stream works on";
    return message;
  };
  const auto refusal = HasSubstr("cannot be a part of a graph");
  EXPECT_THAT(captured([&] { synchronize(cuda_); }), refusal);
  EXPECT_THAT(captured([&] { cuda_copy(cuda_, host.data(), x.get(), 4); }), refusal);
  EXPECT_THAT(captured([&] { cuda_copy(cuda_, x.get(), host.data(), 4); }), refusal);
  EXPECT_THAT(captured([&] { event.synchronize(); }), refusal);
  EXPECT_THAT(captured([&] { event.done(); }), refusal);
  EXPECT_THAT(captured([&] { CudaGraph().capture(0, [] {}); }), refusal);
  EXPECT_THAT(captured([&] { copy(x.get(), host.data(), 1); }), HasSubstr("pinned memory"));
  EXPECT_THAT(captured([&] { before.wait_on(cuda_.stream); }), StartsWith("[cuda]"));
  EXPECT_THAT(captured([&] { device_allocate(0, 4); }), HasSubstr("PoolScope"));
}

TEST_F(DeviceRuntime, OtherStreamsJoinACaptureAndLeaveIt) {
  const DeviceArray<float> x(counting(8)), y(counting(8));
  const CudaStream side(0);
  CudaEvent fork(0), join(0);
  CudaGraph graph;
  const auto work = [&](bool joined) {
    fork.record(cuda_.stream);
    fork.wait_on(side.get());
    EXPECT_TRUE(is_capturing({0, side.get()}));
    cuda_set_zero({0, side.get()}, y.get(), 8 * sizeof(float));
    join.record(side.get());
    if (joined) join.wait_on(cuda_.stream);
    copy(x.get(), y.get(), 8);
  };
  EXPECT_THAT(message_of([&] { graph.capture(0, [&] { work(false); }); }),
              HasSubstr("capturing a graph failed"));
  graph.capture(0, [&] { work(true); });
  EXPECT_EQ(y.host(), counting(8));
  graph.launch(cuda_);
  EXPECT_THAT(x.host(), Each(0.0F));
}

TEST_F(DeviceRuntime, WorkOfOtherThreadsStaysOutOfACapture) {
  const DeviceArray<float> x(counting(8)), y(counting(8));
  CudaGraph graph;
  graph.capture(0, [&] {
    cuda_set_zero(cuda_, x.get(), 8 * sizeof(float));
    std::thread([&] {
      const CudaStream own(0);
      const Cuda there{0, own.get()};
      const Pinned host(8);
      cuda_copy_async(there, host.get(), y.get(), 8 * sizeof(float));
      synchronize(there);
      EXPECT_EQ(host.values(), counting(8));
    }).join();
  });
  EXPECT_EQ(x.host(), counting(8));
}

TEST_F(DeviceRuntime, AGraphUsesScratchMemoryOfItsPool) {
  const DeviceArray<float> x(counting(64)), y(64);
  MemoryPool pool(0);
  CudaGraph graph;
  {
    const PoolScope scope(pool);
    graph.capture(0, [&] {
      const Cuda device = current_cuda(0);
      for (int i = 0; i < 2; ++i) {
        // The second one lies where the first one lay.
        const Scratch scratch(device, 64 * sizeof(float));
        cuda_copy_async(device, scratch.get<float>(), i == 0 ? x.get() : y.get(),
                        64 * sizeof(float));
        cuda_copy_async(device, y.get(), scratch.get<float>(), 64 * sizeof(float));
      }
    });
  }
  EXPECT_GT(pool.reserved_bytes(), 0u);
  const Scratch other(cuda_, 64 * sizeof(float));
  cuda_set_zero(cuda_, other.get<float>(), 64 * sizeof(float));
  for (int launch = 0; launch < 2; ++launch) {
    cuda_set_zero(cuda_, y.get(), 64 * sizeof(float));
    graph.launch(cuda_);
    EXPECT_EQ(y.host(), counting(64));
  }
  std::vector<float> zeros(64, 1.0F);
  cuda_copy(cuda_, zeros.data(), other.get<float>(), 64 * sizeof(float));
  EXPECT_THAT(zeros, Each(0.0F)) << "the graph writes to nobody's memory but its pool's";
}

// --- errors and devices --------------------------------------------------------------------------

TEST_F(DeviceRuntime, ErrorsNameTheKernelAndTheOp) {
  const OpScope scope("conv2d");
  EXPECT_THAT(message_of([] { fail_launch("scale_kernel", "too many threads"); }),
              AllOf(HasSubstr("scale_kernel"), HasSubstr("conv2d"), HasSubstr("too many threads")));
}

// In a process of its own: a GPU is of no use to a process in which a kernel has failed.
TEST_F(DeviceRuntime, UnderGlassnetSyncAFailureIsToldWhereItArose) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  setenv("GLASSNET_SYNC", "1", 1);
  const auto fails = [this] {
    const DeviceArray<float> x(8);
    fill(cuda_, x.get(), DType::kFloat32, 1, 8);
    const std::string message = message_of([this] { fill(cuda_, nullptr, DType::kFloat32, 1, 8); });
    std::fprintf(stderr, "told: %s\n", message.c_str());
    std::_Exit(synchronous() ? 0 : 1);
  };
  EXPECT_EXIT(fails(), testing::ExitedWithCode(0), "told: \\[[a-z0-9_]*fill");
  unsetenv("GLASSNET_SYNC");
}

TEST_F(DeviceRuntime, KnowsItsDevices) {
  const CudaDevices& found = cuda_devices();
  EXPECT_EQ(&found, &cuda_devices()) << "asked once";
  const CudaDevice& device = cuda_device(0);
  EXPECT_FALSE(device.name.empty());
  EXPECT_GE(10 * device.capability_major + device.capability_minor, kOldestCapability);
  EXPECT_GT(device.multiprocessors, 0);
  const CudaMemory memory = cuda_memory(0);
  EXPECT_LE(memory.free_bytes, memory.total_bytes);
  EXPECT_GT(memory.total_bytes, 0u);
  const int none = static_cast<int>(found.devices.size());
  for (const int index : {none, -1}) {
    EXPECT_THAT(message_of([&] { cuda_device(index); }),
                HasSubstr("no device " + std::to_string(index)));
    EXPECT_THAT(message_of([&] { current_stream(index); }), StartsWith("[cuda]"));
  }
}

// --- sentences about drivers and devices, which need none ----------------------------------------

TEST(CudaFacts, CodeRunsOnItsOwnGenerationAndNoOlderDevice) {
  EXPECT_EQ(code_for(90, {75, 90}), CodeFor::kYes);
  EXPECT_EQ(code_for(89, {80, 90}), CodeFor::kYes);
  EXPECT_EQ(code_for(80, {86, 90}), CodeFor::kNo);
  EXPECT_EQ(code_for(75, {}), CodeFor::kNo);
  EXPECT_EQ(code_for(120, {75, 90}), CodeFor::kTry) << "PTX would run";
}

TEST(CudaFacts, SaysWhyADeviceCannotBeUsed) {
  EXPECT_EQ(why_too_old(61), "compute capability 6.1; Glassnet needs 7.5 or newer");
  EXPECT_EQ(why_no_code(120),
            "this build has no code for compute capability 12.0; build with "
            "-DCMAKE_CUDA_ARCHITECTURES=120");
}

TEST(CudaFacts, FindsTheDriversRelease) {
  EXPECT_EQ(driver_release("NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.159.04  Tue Sep 2\n"
                           "GCC version:  gcc version 12.2.0 (Debian 12.2.0-14)\n"),
            "580.159.04");
  EXPECT_EQ(driver_release("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  "
                           "Release Build  (root@host)\n"),
            "580.65.06");
  EXPECT_EQ(driver_release("NVRM version: unknown\nGCC version: 12.2.0\n"), "");
  EXPECT_EQ(driver_release(""), "");
}

TEST(CudaFacts, SaysWhyThereIsNoDevice) {
  EXPECT_EQ(why_no_device({.runtime_version = 13000}), "no NVIDIA driver is loaded");
  EXPECT_EQ(
      why_no_device({.driver_version = 12080, .runtime_version = 13000, .release = "570.86.10"}),
      "the NVIDIA driver 570.86.10 is for CUDA 12.8 and this build needs CUDA 13.0; install a "
      "newer driver");
  EXPECT_EQ(why_no_device({.driver_version = 13000, .runtime_version = 13000, .visible = ""}),
            "the NVIDIA driver shows no GPU while CUDA_VISIBLE_DEVICES is ''");
  EXPECT_EQ(why_no_device({.driver_version = 13000,
                           .runtime_version = 13000,
                           .release = "580.65.06",
                           .reason = "no CUDA-capable device is detected"}),
            "the NVIDIA driver 580.65.06 shows no GPU (no CUDA-capable device is detected)");
}

}  // namespace
}  // namespace glassnet::kernels

#endif
