// Copies that nobody waits for, and a second queue: on the CPU, and on the CUDA device.
#include "tensor/overlap.h"

#include <gtest/gtest.h>

#include <numeric>
#include <vector>

#include "tensor/math.h"
#include "tests/device_support.h"
#include "tests/superpixel_images.h"
#include "xai/superpixels.h"

namespace glassnet {
namespace {

std::vector<float> counting(size_t count, float from) {
  std::vector<float> values(count);
  std::iota(values.begin(), values.end(), from);
  return values;
}

// Copies of many sizes there and back, of which some are under way at once.
void expect_copies_arrive(Device device) {
  Staging staging(device);
  std::vector<Download> arriving;
  std::vector<std::vector<float>> sent;
  const auto check_all = [&] {
    for (size_t i = 0; i < sent.size(); ++i) {
      const Tensor host = arriving[i].wait();
      EXPECT_EQ(host.device(), Device{});
      EXPECT_EQ(host.to_vector<uint8_t>().size(), sent[i].size() * sizeof(float));
      const auto* values = static_cast<const float*>(host.raw());
      EXPECT_EQ(std::vector<float>(values, values + sent[i].size()), sent[i]);
    }
  };
  for (int round = 0; round < 3; ++round) {
    for (const size_t count : {size_t{1}, size_t{5000}, size_t{0}, size_t{300}}) {
      std::vector<float> values = counting(count, static_cast<float>(100 * round));
      const Tensor there = staging.upload(values);
      EXPECT_EQ(there.device(), device);
      sent.push_back(values);
      // What it was copied from may change at once, and so may what it is copied into.
      std::fill(values.begin(), values.end(), -1.0F);
      arriving.push_back(staging.download(there));
    }
    if (round == 1) check_all();
  }
  check_all();
  check_all();  // once more: they are there
}

TEST(Staging, CopiesAtOnceOnTheCpu) {
  expect_copies_arrive({});
}

TEST(SideQueue, IsNothingOnTheCpu) {
  SideQueue queue({});
  const SideQueue::Scope scope(queue);
  EXPECT_EQ(Tensor::from(std::vector<float>{1, 2}, {2}).to_vector<float>(),
            (std::vector<float>{1, 2}));
}

class DeviceOverlap : public DeviceTest {};

TEST_F(DeviceOverlap, CopiesArrive) {
  expect_copies_arrive(device_);
}

TEST_F(DeviceOverlap, ADownloadIsOfWhatWasThereWhenItWasAskedFor) {
  Staging staging(device_);
  Tensor x = Tensor::full({50}, 3, DType::kFloat32, device_);
  const Download before = staging.download(x);
  x.fill(4);
  const Download after = staging.download(x);
  x = {};
  EXPECT_EQ(after.wait().to_vector<float>(), std::vector<float>(50, 4));
  EXPECT_EQ(before.wait().to_vector<float>(), std::vector<float>(50, 3));
}

TEST_F(DeviceOverlap, ADownloadMayOutliveItsStaging) {
  Download download;
  {
    Staging staging(device_);
    download = staging.download(Tensor::full({3}, 2, DType::kFloat32, device_));
  }
  EXPECT_EQ(download.wait().to_vector<float>(), std::vector<float>(3, 2));
}

#if defined(GLASSNET_CUDA)

TEST_F(DeviceOverlap, ASideQueueHasAStreamAndMemoryOfItsOwn) {
  SideQueue queue(device_);
  void* const usual = kernels::current_stream(0);
  const void* block = nullptr;
  for (int i = 0; i < 2; ++i) {
    const SideQueue::Scope scope(queue);
    EXPECT_NE(kernels::current_stream(0), usual);
    const Tensor x = Tensor::full({1000}, 1 + i, DType::kFloat32, device_);
    if (i == 1) {
      EXPECT_EQ(x.raw(), block) << "what was freed is used again";
    }
    block = x.raw();
    EXPECT_EQ(sum(x).item(), 1000 * (1 + i));
  }
  EXPECT_EQ(kernels::current_stream(0), usual);
  // The block was freed, but not for what runs on the usual stream.
  EXPECT_NE(Tensor::empty({1000}, DType::kFloat32, device_).raw(), block);

  const Tensor image = test::noisy_image(21, 30, 1);
  const SideQueue::Scope scope(queue);
  EXPECT_EQ(quickshift(image, {.kernel_size = 1.5}, device_).labels.to_vector<int64_t>(),
            quickshift(image, {.kernel_size = 1.5}).labels.to_vector<int64_t>());
}

#endif

}  // namespace
}  // namespace glassnet
