#include "kernels/cuda/memory.h"

#include <cuda_runtime.h>

#include "kernels/error.h"

namespace glassnet::kernels {
namespace {

void check(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  throw Error(std::string("[cuda] ") + what + " failed: " + cudaGetErrorString(status));
}

// Makes a device current and the former one again at the end.
class CurrentDevice {
 public:
  explicit CurrentDevice(int index) {
    status_ = cudaGetDevice(&former_);
    if (status_ == cudaSuccess) status_ = cudaSetDevice(index);
  }
  ~CurrentDevice() {
    if (status_ == cudaSuccess) cudaSetDevice(former_);
  }
  CurrentDevice(const CurrentDevice&) = delete;
  CurrentDevice& operator=(const CurrentDevice&) = delete;
  cudaError_t status() const { return status_; }

 private:
  int former_ = 0;
  cudaError_t status_;
};

}  // namespace

void* cuda_allocate(int index, size_t bytes) {
  const CurrentDevice current(index);
  check(current.status(), "choosing the device");
  void* data = nullptr;
  const cudaError_t status = cudaMalloc(&data, bytes);
  if (status == cudaErrorMemoryAllocation) {
    cudaGetLastError();  // the caller handles it; later calls must not report it again
    return nullptr;
  }
  check(status, "allocating memory");
  return data;
}

void cuda_free(int index, void* data) noexcept {
  const CurrentDevice current(index);
  // At the end of the program the driver may be gone, and the memory with it.
  if (current.status() == cudaSuccess) cudaFree(data);
}

void cuda_copy(void* destination, const void* source, size_t bytes) {
  if (bytes == 0) return;
  check(cudaMemcpy(destination, source, bytes, cudaMemcpyDefault), "copying memory");
  // Copies between two places on devices return before they are done.
  check(cudaStreamSynchronize(nullptr), "copying memory");
}

CudaDevices cuda_devices() {
  CudaDevices result;
  int count = 0;
  cudaError_t status = cudaGetDeviceCount(&count);
  for (int index = 0; index < count && status == cudaSuccess; ++index) {
    cudaDeviceProp properties;
    status = cudaGetDeviceProperties(&properties, index);
    if (status != cudaSuccess) break;
    CudaDevice device;
    device.index = index;
    device.name = properties.name;
    device.memory_bytes = properties.totalGlobalMem;
    device.capability_major = properties.major;
    device.capability_minor = properties.minor;
    cudaDriverGetVersion(&device.driver_version);
    cudaRuntimeGetVersion(&device.runtime_version);
    result.devices.push_back(device);
  }
  if (status != cudaSuccess) {
    cudaGetLastError();
    result.why_none = cudaGetErrorString(status);
  } else if (count == 0) {
    result.why_none = "the driver reports no device";
  }
  return result;
}

}  // namespace glassnet::kernels
