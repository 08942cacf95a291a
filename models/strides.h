// How the elements of an array in a file follow each other.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "tensor/shape.h"

namespace glassnet {

// Of a dense array, in elements: the last axis fastest. An extent of 0 counts as 1, as PyTorch
// writes it.
inline std::vector<int64_t> dense_strides(const Shape& shape) {
  std::vector<int64_t> strides(static_cast<size_t>(shape.rank()), 1);
  for (int axis = shape.rank() - 1; axis > 0; --axis) {
    strides[static_cast<size_t>(axis - 1)] =
        strides[static_cast<size_t>(axis)] * std::max<int64_t>(shape[axis], 1);
  }
  return strides;
}

}  // namespace glassnet
