// A device as a value, and the one visible line that chooses it.
#pragma once

#include <string>
#include <type_traits>
#include <vector>

#include "kernels/device.h"
#include "kernels/dtype.h"
#include "kernels/error.h"
#include "kernels/op_scope.h"

namespace glassnet {

enum class DeviceType : uint8_t { kCpu, kCuda };

struct Device {
  DeviceType type = DeviceType::kCpu;
  int index = 0;
  bool operator==(const Device&) const = default;
  std::string str() const;  // "cpu", "cuda:0"
};

// Whether a device multiplies bfloat16 at speed: a GPU from compute capability 8.0 on, a CPU with
// AVX-512 BF16 or AMX. Every CPU computes in it.
bool supports_bfloat16(Device device);

// The tag of a CUDA device, with the stream that this thread's work goes to.
Cuda cuda_tag(Device device);

// Calls `f` with the device's tag:
//   on(x.device(), [&](auto device) { kernels::permute(device, ...); });
template <class F>
decltype(auto) on(Device device, F&& f) {
  if (device.type == DeviceType::kCpu) return f(Cpu{});
  if constexpr (kHasCuda) {
    return f(cuda_tag(device));
  } else {
    throw Error("this build of Glassnet computes on the CPU only; move the tensor there first");
  }
}

[[noreturn]] void refuse_dtype(const char* op, DType type, Device device);

// Calls `f` with the device's tag and a zero of the element type, float, bfloat16 or double on the
// CPU, float, bfloat16 or float16 on a GPU:
//   on("conv2d", x, [&](auto device, auto zero) { using T = decltype(zero); ... });
// Throws for types that nothing computes in on that device.
template <class TensorLike, class F>
decltype(auto) on(const char* op, const TensorLike& x, F&& f) {
  const OpScope scope(op);
  if (Profile* profile = Profile::active()) profile->describe(x.shape().str());
  return on(x.device(), [&](auto device) {
    constexpr bool kOnCpu = std::is_same_v<decltype(device), Cpu>;
    switch (x.dtype()) {
      case DType::kFloat32:
        return f(device, float{});
      case DType::kFloat64:
        if constexpr (kOnCpu) return f(device, double{});
        break;
      case DType::kBFloat16:
        return f(device, bfloat16{});
      case DType::kFloat16:
        if constexpr (!kOnCpu) return f(device, float16{});
        break;
      default:
        break;
    }
    refuse_dtype(op, x.dtype(), x.device());
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

// The device that a user asked for: "cpu", "cuda", "cuda:1"; "auto", the first usable GPU or else
// the CPU; "simt", the host executor of a build that has it. Throws UsageError for a word that is
// none of these, and Error, saying why, for a device that cannot be used.
struct ChosenDevice {
  Device device;
  // With "auto": why not the GPU that this build or this machine is meant for, in a sentence.
  std::string why_cpu;
};
ChosenDevice choose_device(const std::string& name);

}  // namespace glassnet
