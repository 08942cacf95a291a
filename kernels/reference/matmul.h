// The definition of the matrix product as plain loops: contract in kernels/matmul.h.
#pragma once

#include "kernels/matmul.h"

namespace glassnet::kernels::reference {

//   c[i,j] = bias[j] + sum_l a[i,l] * b[l,j]
template <class T>
void matmul(const T* a, const T* b, const T* bias, T* c, const MatmulShape& o) {
#pragma omp parallel for
  for (int64_t i = 0; i < o.m; ++i) {
    for (int64_t j = 0; j < o.n; ++j) {
      double sum = bias != nullptr ? static_cast<double>(bias[j]) : 0.0;
      for (int64_t l = 0; l < o.k; ++l) {
        sum += static_cast<double>(o.transpose_a ? a[l * o.m + i] : a[i * o.k + l]) *
               static_cast<double>(o.transpose_b ? b[j * o.k + l] : b[l * o.n + j]);
      }
      c[i * o.n + j] = static_cast<T>(sum);
    }
  }
}

}  // namespace glassnet::kernels::reference
