// Dense matrix product, row-major.
//
//   c (M, N) = a (M, K) * b (K, N),   a or b stored transposed on request; c is overwritten.
#pragma once

#include <cstdint>

#include "kernels/device.h"
#include "kernels/dtype.h"

namespace glassnet::kernels {

struct MatmulShape {
  int64_t m, n, k;
  bool transpose_a = false;  // a is stored (K, M)
  bool transpose_b = false;  // b is stored (N, K)
  bool operator==(const MatmulShape&) const = default;
};

// bias (N) is added to every row of c; it may be null.
void matmul(Cpu, const float* a, const float* b, const float* bias, float* c,
            const MatmulShape& shape);
void matmul(Cpu, const double* a, const double* b, const double* bias, double* c,
            const MatmulShape& shape);
void matmul(Cpu, const bfloat16* a, const bfloat16* b, const bfloat16* bias, bfloat16* c,
            const MatmulShape& shape);

// On a GPU: T = float, bfloat16 or float16, sums in float32; float is true float32 unless
// set_allow_tf32 says otherwise (kernels/policy.h).
template <class T>
void matmul(Cuda, const T* a, const T* b, const T* bias, T* c, const MatmulShape& shape);

}  // namespace glassnet::kernels
