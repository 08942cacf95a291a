#include "tensor/device.h"

#include <sched.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

#include <fmt/format.h>

#if defined(GLASSNET_CUDA)
#include "kernels/cuda/memory.h"
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
void add_cuda_devices(std::vector<DeviceInfo>& devices) {
  const kernels::CudaDevices found = kernels::cuda_devices();
  const auto version = [](int number) {
    return fmt::format("{}.{}", number / 1000, number % 1000 / 10);
  };
  for (const kernels::CudaDevice& cuda : found.devices) {
    DeviceInfo info;
    info.device = {DeviceType::kCuda, cuda.index};
    info.name = cuda.name;
    info.details = fmt::format(
        "{:.1f} GiB, compute capability {}.{}, driver for CUDA {}, runtime {}",
        static_cast<double>(cuda.memory_bytes) / (1 << 30), cuda.capability_major,
        cuda.capability_minor, version(cuda.driver_version), version(cuda.runtime_version));
    if (!kHasCudaKernels) {
      info.usable = false;
      info.why_not = "this version of Glassnet stores tensors on it but computes on the CPU only";
    }
    devices.push_back(info);
  }
  if (!found.devices.empty()) return;
  DeviceInfo none;
  none.device = {DeviceType::kCuda, 0};
  none.name = "CUDA";
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
  return type == DeviceType::kCpu ? "cpu" : fmt::format("cuda:{}", index);
}

void refuse_dtype(const char* op, DType type) {
  throw Error(
      fmt::format("[{}] the CPU does not compute in {}; convert the tensor to float32 first", op,
                  name_of(type)));
}

std::vector<DeviceInfo> list_devices() {
  std::vector<DeviceInfo> devices = {cpu_info()};
  add_cuda_devices(devices);
  return devices;
}

}  // namespace glassnet
