// A device as a value, and the one visible line that chooses it.
#pragma once

#include <string>
#include <vector>

#include "kernels/device.h"
#include "kernels/dtype.h"
#include "kernels/error.h"

namespace glassnet {

enum class DeviceType : uint8_t { kCpu, kCuda };

struct Device {
  DeviceType type = DeviceType::kCpu;
  int index = 0;
  bool operator==(const Device&) const = default;
  std::string str() const;  // "cpu", "cuda:0"
};

// Calls `f` with the device's tag:
//   on(x.device(), [&](auto device) { kernels::max_pool2d_backward(device, ...); });
template <class F>
decltype(auto) on(Device device, F&& f) {
  if (device.type == DeviceType::kCpu) return f(Cpu{});
  if constexpr (kHasCudaKernels) {
    return f(Cuda{device.index});
  } else {
    throw Error("this build of Glassnet computes on the CPU only; move the tensor there first");
  }
}

[[noreturn]] void refuse_dtype(const char* op, DType type);

// Calls `f` with the device's tag and a zero of the element type, float or double:
//   on("conv2d", x, [&](auto device, auto zero) { using T = decltype(zero); ... });
// Throws for types that nothing computes in on that device.
template <class TensorLike, class F>
decltype(auto) on(const char* op, const TensorLike& x, F&& f) {
  return on(x.device(), [&](auto device) {
    switch (x.dtype()) {
      case DType::kFloat32:
        return f(device, float{});
      case DType::kFloat64:
        return f(device, double{});
      default:
        refuse_dtype(op, x.dtype());
    }
  });
}

// What `glassnet devices` prints: a line of facts for each device, or why one cannot be used.
struct DeviceInfo {
  Device device;
  std::string name;     // "Intel(R) Xeon(R) Processor"
  std::string details;  // cores and instruction sets, or driver, memory, compute capability
  bool usable = true;
  std::string why_not;  // one sentence when it is not usable
};
std::vector<DeviceInfo> list_devices();

}  // namespace glassnet
