// What needs a GPU: suites whose name starts with Gpu. Without one they are skipped, and counted.
#include <gtest/gtest.h>

#include "tensor/device.h"
#include "tensor/tensor.h"

namespace glassnet {
namespace {

class GpuDevices : public testing::Test {
 protected:
  void SetUp() override {
    if (!kHasCuda) GTEST_SKIP() << "this build has no CUDA";
    std::string why_not = "there is no GPU";
    for (const DeviceInfo& info : list_devices()) {
      if (info.device.type != DeviceType::kCuda) continue;
      if (info.usable) return;
      why_not = info.why_not;
    }
    GTEST_SKIP() << why_not;
  }

  const Device gpu_{DeviceType::kCuda, 0};
};

TEST_F(GpuDevices, CarriesATensorThereAndBack) {
  const std::vector<float> values = {1, -2.5F, 3e-20F, 4e20F, 0, -0.0F};
  const Tensor there = Tensor::from(values, {2, 3}).to(gpu_);
  EXPECT_EQ(there.device(), gpu_);
  EXPECT_EQ(there.shape(), Shape({2, 3}));
  EXPECT_EQ(there.to(Device{}).to_vector<float>(), values);
}

TEST_F(GpuDevices, CopiesWithinTheDeviceAreCopies) {
  const Tensor first = Tensor::from<int64_t>({1, 2, 3}, {3}).to(gpu_);
  const Tensor second = first.clone();
  EXPECT_NE(first.raw(), second.raw());
  EXPECT_EQ(second.to(Device{}).to_vector<int64_t>(), (std::vector<int64_t>{1, 2, 3}));
}

TEST_F(GpuDevices, FreedMemoryIsUsedAgain) {
  const Shape shape = {1000, 1000};
  { const Tensor warm = Tensor::empty(shape, DType::kFloat32, gpu_); }
  const uint64_t before = memory_stats(gpu_).system_allocations;
  for (int i = 0; i < 10; ++i) {
    const Tensor again = Tensor::empty(shape, DType::kFloat32, gpu_);
    EXPECT_NE(again.raw(), nullptr);
  }
  EXPECT_EQ(memory_stats(gpu_).system_allocations, before);
}

}  // namespace
}  // namespace glassnet
