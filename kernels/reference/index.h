// The definition of looking along the last axis: contract in kernels/index.h.
#pragma once

#include "kernels/index.h"

namespace glassnet::kernels::reference {

template <class T>
void max_last(const T* x, T* value, int64_t* index, const RowsShape& o) {
  for (int64_t row = 0; row < o.rows; ++row) {
    const T* from = x + row * o.columns;
    int64_t best = 0;
    for (int64_t c = 1; c < o.columns && from[best] == from[best]; ++c) {
      if (from[c] > from[best] || from[c] != from[c]) best = c;
    }
    if (value != nullptr) value[row] = from[best];
    if (index != nullptr) index[row] = best;
  }
}

template <class T>
void select(const T* x, const int64_t* index, T* y, const RowsShape& o) {
  for (int64_t row = 0; row < o.rows; ++row) y[row] = x[row * o.columns + index[row]];
}

template <class T>
void select_backward(const T* dy, const int64_t* index, T* dx, const RowsShape& o) {
  for (int64_t i = 0; i < o.rows * o.columns; ++i) dx[i] = 0;
  for (int64_t row = 0; row < o.rows; ++row) dx[row * o.columns + index[row]] = dy[row];
}

}  // namespace glassnet::kernels::reference
