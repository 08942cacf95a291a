// What the driver says about itself and its devices, put into sentences. Without CUDA, so that the
// sentences can be checked anywhere.
#pragma once

#include <string>
#include <vector>

namespace glassnet::kernels {

// The oldest GPUs that Glassnet runs on: Turing. A compute capability is written 10 * major +
// minor.
inline constexpr int kOldestCapability = 75;

// Whether a build with code for the capabilities `built_for` runs on a device: code for one of the
// same generation, no newer than the device, does. Code for an older generation runs only if it
// came as PTX, which only trying can tell. Newer code never runs.
enum class CodeFor { kNo, kYes, kTry };
CodeFor code_for(int capability, const std::vector<int>& built_for);

// "compute capability 6.1; Glassnet needs 7.5 or newer"
std::string why_too_old(int capability);
// "this build has no code for compute capability 12.0; build with -DCMAKE_CUDA_ARCHITECTURES=120"
std::string why_no_code(int capability);

// The driver's release, "580.159.04", out of what /proc/driver/nvidia/version says; empty when it
// is not in there.
std::string driver_release(const std::string& version_file);

// Why there is no device, when the runtime's own reason is `reason`. Versions are 1000 * major +
// 10 * minor: of CUDA as the driver knows it, 0 without a driver, and as this build needs it.
// `visible` is CUDA_VISIBLE_DEVICES, null when it is not set.
struct DriverFacts {
  int driver_version = 0, runtime_version = 0;
  std::string release, reason;
  const char* visible = nullptr;
};
std::string why_no_device(const DriverFacts& facts);

}  // namespace glassnet::kernels
