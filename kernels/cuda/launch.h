// The one place where a kernel is launched, and what kernels are written with.
//
// Every kernel file includes this and no CUDA header. nvcc compiles it for the GPU; in a build with
// GLASSNET_SIMT the host compiler compiles the same file for the executor of kernels/simt. Three
// rules keep that possible: launches go through `launch`, shared memory is declared by the two
// macros below, and PTX stands inside a function with a C++ twin (kernels/half.h shows how).
//
//   template <class T>
//   __global__ void negate_kernel(T* y, const T* x, int64_t count) {...}
//
//   launch<negate_kernel<T>>(device, {.grid = blocks, .block = 256}, y, x, count);
//
//   GLASSNET_SHARED(float, partial, [32]);        // __shared__ float partial[32];
//   GLASSNET_DYNAMIC_SHARED(float, tile);         // float* tile, LaunchShape::shared_bytes long
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#if defined(__CUDACC__)
#include <cuda_runtime.h>
#define GLASSNET_SHARED(type, name, ...) __shared__ type name __VA_ARGS__
#define GLASSNET_DYNAMIC_SHARED(type, name)                                \
  extern __shared__ __align__(16) unsigned char glassnet_dynamic_shared[]; \
  type* const name = reinterpret_cast<type*>(glassnet_dynamic_shared)
#else
#include "kernels/simt/simt.h"
#endif

#include "kernels/cuda/runtime.h"
#include "kernels/device.h"
#include "kernels/error.h"

namespace glassnet::kernels {

struct LaunchShape {
  dim3 grid, block;
  size_t shared_bytes = 0;  // dynamic shared memory
};

// "batch_norm_kernel<float>": what the compiler calls a kernel, for messages.
template <auto Kernel>
std::string kernel_name() {
  const std::string_view all = __PRETTY_FUNCTION__;
  const std::string_view start = "Kernel = ";
  const size_t begin = all.find(start) + start.size();
  const size_t end = all.find_first_of(";]", begin);
  std::string_view name = all.substr(begin, end - begin);
  // Namespaces in front of the kernel's own name say nothing; those of its arguments stay.
  const size_t arguments = name.find('<');
  const size_t space = name.rfind("::", arguments);
  if (space != std::string_view::npos) name.remove_prefix(space + 2);
  return std::string(name);
}

// Queues a kernel on the device's stream. A grid without blocks is no launch. Throws Error, naming
// the kernel, when the driver refuses it.
template <auto Kernel, class... Args>
void launch(Cuda device, const LaunchShape& shape, Args... args) {
  if (shape.grid.x == 0 || shape.grid.y == 0 || shape.grid.z == 0) return;
#if defined(__CUDACC__)
  // More than 48 KiB have to be asked for.
  if (shape.shared_bytes > (size_t{48} << 10)) {
    cudaFuncSetAttribute(Kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                         static_cast<int>(shape.shared_bytes));
  }
  Kernel<<<shape.grid, shape.block, shape.shared_bytes, static_cast<cudaStream_t>(device.stream)>>>(
      args...);
  const cudaError_t status = cudaGetLastError();
  if (status != cudaSuccess) fail_launch(kernel_name<Kernel>(), cudaGetErrorString(status));
  check_async(device, [] { return kernel_name<Kernel>(); });
#else
  simt::run(device.stream, {kernel_name<Kernel>(), shape.grid, shape.block, shape.shared_bytes},
            [=] { Kernel(args...); });
#endif
}

// Blocks of `per_block` that cover `count`, at most `limit`: for kernels whose threads stride on.
inline unsigned blocks_for(int64_t count, int64_t per_block, int64_t limit = INT32_MAX) {
  const int64_t blocks = (count + per_block - 1) / per_block;
  return static_cast<unsigned>(blocks < limit ? blocks : limit);
}

}  // namespace glassnet::kernels
