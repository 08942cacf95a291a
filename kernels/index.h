// Looking along the last axis of x (rows, columns): the largest element, and chosen ones.
// Outputs are overwritten and may alias no input.
#pragma once

#include <cstdint>

#include "kernels/device.h"
#include "kernels/dtype.h"

namespace glassnet::kernels {

struct RowsShape {
  int64_t rows, columns;  // columns > 0
};

// index (rows): the first of the largest elements of each row; a NaN is larger than all, and the
// first one wins. value (rows), the element itself, may be null, and so may index.
void max_last(Cpu, const float* x, float* value, int64_t* index, const RowsShape& shape);
void max_last(Cpu, const double* x, double* value, int64_t* index, const RowsShape& shape);
void max_last(Cpu, const bfloat16* x, bfloat16* value, int64_t* index, const RowsShape& shape);
template <class T>  // float, bfloat16, float16
void max_last(Cuda, const T* x, T* value, int64_t* index, const RowsShape& shape);

// y[i] = x[i, index[i]]; index (rows) lies in [0, columns).
void select(Cpu, const float* x, const int64_t* index, float* y, const RowsShape& shape);
void select(Cpu, const double* x, const int64_t* index, double* y, const RowsShape& shape);
void select(Cpu, const bfloat16* x, const int64_t* index, bfloat16* y, const RowsShape& shape);
template <class T>
void select(Cuda, const T* x, const int64_t* index, T* y, const RowsShape& shape);
// dx[i, index[i]] = dy[i], 0 elsewhere.
void select_backward(Cpu, const float* dy, const int64_t* index, float* dx, const RowsShape& shape);
void select_backward(Cpu, const double* dy, const int64_t* index, double* dx,
                     const RowsShape& shape);
void select_backward(Cpu, const bfloat16* dy, const int64_t* index, bfloat16* dx,
                     const RowsShape& shape);
template <class T>
void select_backward(Cuda, const T* dy, const int64_t* index, T* dx, const RowsShape& shape);

// y (1) = the number of i with a[i] == b[i], as float32: exact up to 2^24.
void count_equal(Cpu, const int64_t* a, const int64_t* b, float* y, int64_t count);
void count_equal(Cuda, const int64_t* a, const int64_t* b, float* y, int64_t count);

}  // namespace glassnet::kernels
