#include "tensor/device.h"

#include <sched.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

#include <fmt/format.h>

#include "kernels/cpu/bf16_units.h"

#if defined(GLASSNET_CUDA)
#include "kernels/cuda/runtime.h"
#endif

namespace glassnet {
namespace {

// The value of a field of /proc/cpuinfo ("model name", "flags") for the first CPU; empty when the
// system has no such file or field.
std::string cpu_fact(const std::string& field) {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    const size_t colon = line.find(':');
    if (colon == std::string::npos || line.compare(0, field.size(), field) != 0) continue;
    const size_t value = line.find_first_not_of(" \t", colon + 1);
    return value == std::string::npos ? std::string() : line.substr(value);
  }
  return {};
}

// CPUs that this process may run on, which is what counts in a container.
int usable_cpus() {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) == 0) return CPU_COUNT(&set);
  return static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
}

// The instruction sets that decide how quick the kernels are.
std::string instruction_sets() {
  struct Set {
    const char *flag, *name;
  };
  constexpr Set kSets[] = {{"avx2", "AVX2"},
                           {"avx512f", "AVX-512"},
                           {"avx512_vnni", "AVX-512 VNNI"},
                           {"avx512_bf16", "AVX-512 BF16"},
                           {"avx512_fp16", "AVX-512 FP16"},
                           {"amx_tile", "AMX"},
                           {"asimd", "NEON"},
                           {"sve", "SVE"}};
  std::istringstream words(cpu_fact("flags") + " " + cpu_fact("Features"));
  std::vector<std::string> flags;
  for (std::string word; words >> word;) flags.push_back(word);
  std::string result;
  for (const Set& set : kSets) {
    if (std::find(flags.begin(), flags.end(), set.flag) == flags.end()) continue;
    result += result.empty() ? "" : ", ";
    result += set.name;
  }
  return result;
}

DeviceInfo cpu_info() {
  DeviceInfo info;
  info.name = cpu_fact("model name");
  if (info.name.empty()) info.name = "CPU";
  const int cpus = usable_cpus();
  const std::string sets = instruction_sets();
  info.details = fmt::format("{} core{}", cpus, cpus == 1 ? "" : "s");
  if (!sets.empty()) info.details += ", " + sets;
  return info;
}

#if defined(GLASSNET_CUDA)
std::string version(int number) {
  return fmt::format("{}.{}", number / 1000, number % 1000 / 10);
}

void add_cuda_devices(std::vector<DeviceInfo>& devices) {
  const kernels::CudaDevices& found = kernels::cuda_devices();
  for (const kernels::CudaDevice& cuda : found.devices) {
    DeviceInfo info;
    info.device = {DeviceType::kCuda, cuda.index};
    info.name = cuda.name;
    if (!kSimulated) {
      info.details = fmt::format(
          "{:.1f} GiB, compute capability {}.{}, {} multiprocessors, driver {} for CUDA {}, "
          "runtime "
          "{}",
          static_cast<double>(cuda.memory_bytes) / (1 << 30), cuda.capability_major,
          cuda.capability_minor, cuda.multiprocessors, cuda.driver.empty() ? "?" : cuda.driver,
          version(cuda.driver_version), version(cuda.runtime_version));
    } else {
      info.details = "runs the GPU's kernels on the CPU to test and to debug them, very slowly";
    }
    info.why_not = cuda.why_not;
    info.usable = info.why_not.empty();
    devices.push_back(info);
  }
  if (!found.devices.empty()) return;
  DeviceInfo none;
  none.device = {DeviceType::kCuda, 0};
  none.name = "NVIDIA GPU";
  none.usable = false;
  none.why_not = found.why_none;
  devices.push_back(none);
}
#else
// A build without CUDA cannot ask the driver, but it can see that there is one.
void add_cuda_devices(std::vector<DeviceInfo>& devices) {
  std::error_code ignored;
  const bool present = std::filesystem::exists("/dev/nvidiactl", ignored) ||
                       std::filesystem::exists("/dev/nvidia0", ignored) ||
                       std::filesystem::exists("/dev/dxg", ignored);  // WSL
  if (!present) return;
  DeviceInfo info;
  info.device = {DeviceType::kCuda, 0};
  info.name = "NVIDIA GPU";
  info.usable = false;
  info.why_not = "Glassnet was built without CUDA; build it with -DGLASSNET_CUDA=ON to see it";
  devices.push_back(info);
}
#endif

}  // namespace

std::string Device::str() const {
  if (type == DeviceType::kCpu) return "cpu";
  return kSimulated ? "simt" : fmt::format("cuda:{}", index);
}

bool supports_bfloat16(Device device) {
  if (device.type == DeviceType::kCpu) return kernels::bf16_units::present();
#if defined(GLASSNET_CUDA)
  return kernels::cuda_device(device.index).capability_major >= 8;
#else
  return false;
#endif
}

Cuda cuda_tag(Device device) {
#if defined(GLASSNET_CUDA)
  return kernels::current_cuda(device.index);
#else
  return {device.index};
#endif
}

void refuse_dtype(const char* op, DType type, Device device) {
  throw Error(fmt::format("[{}] {} does not compute in {}; convert the tensor to float32 first", op,
                          device.type == DeviceType::kCpu ? "the CPU" : "a GPU", name_of(type)));
}

std::vector<DeviceInfo> list_devices() {
  std::vector<DeviceInfo> devices = {cpu_info()};
  add_cuda_devices(devices);
  return devices;
}

ChosenDevice choose_device(const std::string& name) {
  if (name == "cpu") return {};
  if (name == "simt") {
    if (!kSimulated) {
      throw UsageError(
          "--device simt is for builds with the host executor (cmake -DGLASSNET_SIMT=ON); this one "
          "has none");
    }
    return {{DeviceType::kCuda, 0}, {}};
  }
  const bool any = name == "auto" || name == "cuda";
  int index = -1;
  if (name.starts_with("cuda:") && name.size() > 5 && name.size() < 9 &&
      name.find_first_not_of("0123456789", 5) == std::string::npos) {
    index = std::stoi(name.substr(5));
  }
  if (!any && index < 0) {
    throw UsageError(fmt::format("--device must be auto, cpu, cuda or cuda:0, got '{}'", name));
  }
  std::string why_not;
  if constexpr (!kSimulated) {
    for (const DeviceInfo& info : list_devices()) {
      if (info.device.type != DeviceType::kCuda) continue;
      if (index >= 0 && info.device.index != index) continue;
      if (info.usable) return {info.device, {}};
      why_not = info.why_not;
      if (index >= 0) break;
    }
  }
  if (name == "auto") return {{}, why_not};
  if (why_not.empty()) {
    why_not = kSimulated ? "this build has GPU kernels for the host executor only (--device simt)"
              : kHasCuda ? "there is no such GPU"
                         : "Glassnet was built without CUDA (cmake -DGLASSNET_CUDA=ON)";
    if (kSimulated || !kHasCuda) {
      throw UsageError(
          fmt::format("--device {} cannot be used: {}; use --device cpu, or auto", name, why_not));
    }
  }
  throw Error(
      fmt::format("--device {} cannot be used: {}; use --device cpu, or auto", name, why_not));
}

}  // namespace glassnet
