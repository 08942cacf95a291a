// oneDNN's sgemm, which is row-major.
#include <dnnl.h>

#include "kernels/cpu/gemm.h"
#include "kernels/error.h"

namespace glassnet::kernels {

void gemm(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, const float* a,
          int64_t lda, const float* b, int64_t ldb, bool accumulate, float* c, int64_t ldc) {
  const dnnl_status_t status = dnnl_sgemm(transpose_a ? 'T' : 'N', transpose_b ? 'T' : 'N', m, n, k,
                                          1.0f, a, lda, b, ldb, accumulate ? 1.0f : 0.0f, c, ldc);
  require(status == dnnl_success, [] { return "[matmul] oneDNN could not multiply"; });
}

}  // namespace glassnet::kernels
