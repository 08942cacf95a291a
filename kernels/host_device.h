// Marks a function that both the host and a GPU compute with.
#pragma once

#if defined(__CUDACC__)
#define GLASSNET_HOST_DEVICE __host__ __device__
#elif defined(__SANITIZE_THREAD__)
// In kernels for the host executor: g++ announces no write of what a call returns into memory.
#define GLASSNET_HOST_DEVICE __attribute__((always_inline))
#else
#define GLASSNET_HOST_DEVICE
#endif

namespace glassnet {

// a * b rounded by itself. A GPU's compiler fuses a product with the sum that follows, which rounds
// once; where host and GPU have to agree to the last bit, this keeps it from doing so.
GLASSNET_HOST_DEVICE inline float rounded_product(float a, float b) {
#if defined(__CUDA_ARCH__)
  return __fmul_rn(a, b);
#else
  return a * b;
#endif
}
GLASSNET_HOST_DEVICE inline double rounded_product(double a, double b) {
#if defined(__CUDA_ARCH__)
  return __dmul_rn(a, b);
#else
  return a * b;
#endif
}

}  // namespace glassnet
