// The CUDA runtime's current device, on which libraries make their handles and find their streams.
#pragma once

#include <cuda_runtime_api.h>

#include <string>

#include "kernels/error.h"

namespace glassnet::kernels {

// Makes a device current on this thread, and the former one again at the end. Throws Error when
// the runtime refuses.
class CurrentDevice {
 public:
  explicit CurrentDevice(int index) : index_(index) {
    cudaError_t status = cudaGetDevice(&former_);
    if (status == cudaSuccess && former_ != index) status = cudaSetDevice(index);
    if (status == cudaSuccess) return;
    throw Error(std::string("[cuda] choosing the device failed: ") + cudaGetErrorString(status));
  }
  ~CurrentDevice() {
    if (former_ != index_) cudaSetDevice(former_);
  }
  CurrentDevice(const CurrentDevice&) = delete;
  CurrentDevice& operator=(const CurrentDevice&) = delete;

 private:
  int index_, former_ = 0;
};

// At its end, an error that a library has seen and lived with is gone from the runtime, where the
// next launch would find it. Errors that break the device stay.
struct ForgetErrors {
  ForgetErrors() = default;
  ~ForgetErrors() { cudaGetLastError(); }
  ForgetErrors(const ForgetErrors&) = delete;
  ForgetErrors& operator=(const ForgetErrors&) = delete;
};

}  // namespace glassnet::kernels
