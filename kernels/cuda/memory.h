// Memory of CUDA devices, and what there is to know about them. No CUDA header is needed to use
// this; it is built only with GLASSNET_CUDA.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace glassnet::kernels {

// Uninitialised memory on a device; null when the device has too little. Throws Error when the
// device cannot be used at all.
void* cuda_allocate(int index, size_t bytes);
void cuda_free(int index, void* data) noexcept;
// Between any two of host and devices; done when it returns. Throws Error.
void cuda_copy(void* destination, const void* source, size_t bytes);

struct CudaDevice {
  int index = 0;
  std::string name;         // "NVIDIA H100 80GB HBM3"
  size_t memory_bytes = 0;  // in total
  int capability_major = 0, capability_minor = 0;
  int driver_version = 0, runtime_version = 0;  // 1000 * major + 10 * minor
};

struct CudaDevices {
  std::vector<CudaDevice> devices;
  std::string why_none;  // the driver's reason when there is no device to use
};
// Never throws.
CudaDevices cuda_devices();

}  // namespace glassnet::kernels
