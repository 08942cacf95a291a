// What tests on a CUDA device share. The device is the GPU in a build with GLASSNET_CUDA, and the
// host executor in one with GLASSNET_SIMT; where there is neither, tests are skipped, and counted.
//
// Suites that need the device have names that start with Device. ctest gives them the label `gpu`
// or `simt`.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "kernels/device.h"
#include "tensor/device.h"

#if defined(GLASSNET_CUDA)
#include "kernels/cuda/runtime.h"
#endif

namespace glassnet {

// Why there is no CUDA device to test on; empty when there is one.
inline std::string why_no_device() {
#if defined(GLASSNET_CUDA)
  const kernels::CudaDevices& found = kernels::cuda_devices();
  if (found.devices.empty()) return "no GPU: " + found.why_none;
  return found.devices[0].why_not;
#else
  return "this build has neither CUDA nor the host executor";
#endif
}

class DeviceTest : public testing::Test {
 protected:
  void SetUp() override {
    const std::string why = why_no_device();
    if (!why.empty()) GTEST_SKIP() << why;
  }
  const Device device_{DeviceType::kCuda, 0};
};

#if defined(GLASSNET_CUDA)
// An array in the device's memory, for tests of kernels.
template <class T>
class DeviceArray {
 public:
  explicit DeviceArray(size_t count)
      : data_(static_cast<T*>(kernels::cuda_allocate(0, std::max<size_t>(count, 1) * sizeof(T)))),
        count_(count) {}
  explicit DeviceArray(const std::vector<T>& values) : DeviceArray(values.size()) {
    kernels::cuda_copy(kernels::current_cuda(0), data_, values.data(), count_ * sizeof(T));
  }
  ~DeviceArray() { kernels::cuda_free(0, data_); }
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;

  T* get() const { return data_; }
  std::vector<T> host() const {
    std::vector<T> values(count_);
    kernels::cuda_copy(kernels::current_cuda(0), values.data(), data_, count_ * sizeof(T));
    return values;
  }

 private:
  T* data_;
  size_t count_;
};
#endif

}  // namespace glassnet
