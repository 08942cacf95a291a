// The matrix product that matmul and the convolutions are made of: oneDNN's (gemm_onednn.cpp), or
// in a build without oneDNN Eigen's (gemm_eigen.cpp).
#pragma once

#include <cstdint>

namespace glassnet::kernels {

// c (m, n) = op(a) * op(b), or with `accumulate` c += op(a) * op(b). Row-major, with rows that
// begin `lda`, `ldb` and `ldc` elements apart; op(a) is (m, k), and a is stored (k, m) when it is
// transposed, likewise b. Shares its work among OpenMP's threads; inside a parallel region it runs
// on one.
void gemm(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, const float* a,
          int64_t lda, const float* b, int64_t ldb, bool accumulate, float* c, int64_t ldc);

}  // namespace glassnet::kernels
