// Where a kernel runs, as a tag: every kernel is an overload set on `Cpu` and `Cuda`.
#pragma once

namespace glassnet {

struct Cpu {};
struct Cuda {
  int index = 0;
  void* stream = nullptr;  // a cudaStream_t; null is the default stream
};

#if defined(GLASSNET_CUDA)
inline constexpr bool kHasCuda = true;  // storage and copies on CUDA devices
#else
inline constexpr bool kHasCuda = false;
#endif

// True once every kernel has its `Cuda` overload; until then `on` never names one.
inline constexpr bool kHasCudaKernels = false;

}  // namespace glassnet
