// The definition of a sum over axes, and of its gradient, as one plain loop over x: contract in
// kernels/reduce.h. Sums are kept in double.
#pragma once

#include "kernels/reduce.h"

namespace glassnet::kernels::reference {

// The element of y that element i of x is added to.
inline int64_t reduced_index(int64_t i, const ReduceShape& shape) {
  int64_t index = 0, stride = 1;
  for (size_t axis = shape.dims.size(); axis-- > 0; i /= shape.dims[axis]) {
    if (shape.reduced[axis]) continue;
    index += i % shape.dims[axis] * stride;
    stride *= shape.dims[axis];
  }
  return index;
}

//   y[kept] = scale * sum_{reduced} x[kept, reduced]
template <class T>
void sum(const T* x, T* y, double scale, const ReduceShape& shape) {
  int64_t count = 1, outputs = 1;
  for (size_t axis = 0; axis < shape.dims.size(); ++axis) {
    count *= shape.dims[axis];
    if (!shape.reduced[axis]) outputs *= shape.dims[axis];
  }
  std::vector<double> sums(static_cast<size_t>(outputs), 0.0);
  for (int64_t i = 0; i < count; ++i) sums[reduced_index(i, shape)] += x[i];
  for (int64_t j = 0; j < outputs; ++j) y[j] = static_cast<T>(scale * sums[j]);
}

//   dx[kept, reduced] = scale * dy[kept]
template <class T>
void sum_backward(const T* dy, T* dx, double scale, const ReduceShape& shape) {
  int64_t count = 1;
  for (const int64_t d : shape.dims) count *= d;
  for (int64_t i = 0; i < count; ++i) {
    dx[i] = static_cast<T>(scale * dy[reduced_index(i, shape)]);
  }
}

}  // namespace glassnet::kernels::reference
