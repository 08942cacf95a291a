// The part of runtime.h that is the same on the CUDA runtime and on the host executor.
#include <cstdlib>

#include "kernels/cuda/runtime.h"
#include "kernels/error.h"
#include "kernels/op_scope.h"

namespace glassnet::kernels {

void fail_launch(const std::string& kernel, const char* why) {
  const char* op = current_op();
  throw Error("[cuda] launching " + kernel + (op == nullptr ? "" : std::string(" for ") + op) +
              " failed: " + why);
}

bool synchronous() {
  static const bool value = [] {
    const char* text = std::getenv("GLASSNET_SYNC");
    return text != nullptr && std::string(text) == "1";
  }();
  return value;
}

const CudaDevice& cuda_device(int index) {
  const CudaDevices& found = cuda_devices();
  require(!found.devices.empty(), [&] { return "[cuda] there is no device: " + found.why_none; });
  require(index >= 0 && static_cast<size_t>(index) < found.devices.size(), [&] {
    return "[cuda] there is no device " + std::to_string(index) + " among " +
           std::to_string(found.devices.size()) + ", counted from 0";
  });
  return found.devices[static_cast<size_t>(index)];
}

}  // namespace glassnet::kernels
