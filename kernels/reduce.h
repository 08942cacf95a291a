// Sums over axes of a dense tensor.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/device.h"
#include "kernels/dtype.h"

namespace glassnet::kernels {

struct ReduceShape {
  std::vector<int64_t> dims;
  std::vector<bool> reduced;  // one per axis
};

// y = scale * sum of x over the reduced axes; y holds the kept axes in order and is overwritten.
void sum(Cpu, const float* x, float* y, double scale, const ReduceShape& shape);
void sum(Cpu, const double* x, double* y, double scale, const ReduceShape& shape);
void sum(Cpu, const bfloat16* x, bfloat16* y, double scale, const ReduceShape& shape);

// The VJP of `sum`: dx = scale * dy, repeated along the reduced axes.
void sum_backward(Cpu, const float* dy, float* dx, double scale, const ReduceShape& shape);
void sum_backward(Cpu, const double* dy, double* dx, double scale, const ReduceShape& shape);
void sum_backward(Cpu, const bfloat16* dy, bfloat16* dx, double scale, const ReduceShape& shape);

// On a GPU elements are T = float, bfloat16 or float16, and sums are kept in float32.
template <class T>
void sum(Cuda, const T* x, T* y, double scale, const ReduceShape& shape);
template <class T>
void sum_backward(Cuda, const T* dy, T* dx, double scale, const ReduceShape& shape);

}  // namespace glassnet::kernels
