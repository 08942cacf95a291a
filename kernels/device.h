// Where a kernel runs, as a tag: every kernel is an overload set on `Cpu` and `Cuda`.
#pragma once

namespace glassnet {

struct Cpu {};
struct Cuda {
  int index = 0;
  void* stream = nullptr;  // a cudaStream_t: kernels are queued on it and run in its order
};

// Whether kernels have their `Cuda` overloads in this build, and whether those run on the host: a
// build with GLASSNET_SIMT compiles the very same __global__ functions with the host compiler and
// runs them in the executor of kernels/simt, to test and to step through them without a GPU.
#if defined(GLASSNET_CUDA)
inline constexpr bool kHasCuda = true;
#else
inline constexpr bool kHasCuda = false;
#endif
#if defined(GLASSNET_SIMT)
inline constexpr bool kSimulated = true;
#else
inline constexpr bool kSimulated = false;
#endif

}  // namespace glassnet
