#include "tensor/storage.h"

#include "kernels/cpu/allocator.h"

#if defined(GLASSNET_CUDA)
#include "kernels/cuda/allocator.h"
#include "kernels/cuda/runtime.h"
#endif

namespace glassnet {

uint64_t Storage::next_version() {
  static std::atomic<uint64_t> last{0};
  return last.fetch_add(1, std::memory_order_relaxed) + 1;
}

Storage::Storage(size_t bytes, Device device) : size_(bytes), device_(device) {
  if (device.type == DeviceType::kCpu) {
    data_ = kernels::cpu_allocator().allocate(bytes);
    return;
  }
#if defined(GLASSNET_CUDA)
  data_ = kernels::device_allocate(device.index, bytes);
#else
  throw Error("[storage] this build of Glassnet has no CUDA; use the CPU");
#endif
}

Storage::~Storage() {
#if defined(GLASSNET_CUDA)
  if (device_.type == DeviceType::kCuda) {
    kernels::device_free(device_.index, data_);
    return;
  }
#endif
  kernels::cpu_allocator().free(data_);
}

size_t free_memory(Device device) {
#if defined(GLASSNET_CUDA)
  if (device.type == DeviceType::kCuda) return kernels::cuda_memory(device.index).free_bytes;
#endif
  (void)device;
  return 0;
}

MemoryStats memory_stats(Device device) {
#if defined(GLASSNET_CUDA)
  if (device.type == DeviceType::kCuda) return kernels::device_memory_stats(device.index);
#endif
  return device.type == DeviceType::kCpu ? kernels::cpu_allocator().stats() : MemoryStats{};
}

void reset_peak_memory(Device device) {
#if defined(GLASSNET_CUDA)
  if (device.type == DeviceType::kCuda) kernels::reset_peak_device_memory(device.index);
#endif
  if (device.type == DeviceType::kCpu) kernels::cpu_allocator().reset_peak();
}

void release_cached_memory(Device device) {
#if defined(GLASSNET_CUDA)
  if (device.type == DeviceType::kCuda) kernels::release_cached_device_memory(device.index);
#endif
  if (device.type == DeviceType::kCpu) kernels::cpu_allocator().release();
}

}  // namespace glassnet
