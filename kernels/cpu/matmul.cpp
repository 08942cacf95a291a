// Matrix product on the CPU.
#include "kernels/matmul.h"

#include <algorithm>

#include "kernels/cpu/gemm.h"
#include "kernels/cpu/parallel.h"

namespace glassnet::kernels {

void matmul(Cpu, const float* a, const float* b, const float* bias, float* c,
            const MatmulShape& o) {
  if (o.m == 0 || o.n == 0) return;
  if (bias != nullptr || o.k == 0) {
    parallel_ranges(o.m, std::max<int64_t>(1, kSmall / o.n), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        if (bias != nullptr) {
          std::copy(bias, bias + o.n, c + i * o.n);
        } else {
          std::fill(c + i * o.n, c + (i + 1) * o.n, 0.0f);
        }
      }
    });
  }
  if (o.k == 0) return;
  gemm(o.transpose_a, o.transpose_b, o.m, o.n, o.k, a, o.transpose_a ? o.m : o.k, b,
       o.transpose_b ? o.k : o.n, bias != nullptr, c, o.n);
}

}  // namespace glassnet::kernels
