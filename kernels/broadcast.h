// A broadcast shape with as few axes as possible.
#pragma once

#include "kernels/elementwise.h"

namespace glassnet::kernels {

// Extents of 1 are dropped, and neighbours along which both operands advance evenly become one
// axis. The last axis is the longest run; there is always one.
inline BroadcastShape collapse(const BroadcastShape& shape) {
  BroadcastShape out;
  for (size_t i = 0; i < shape.dims.size(); ++i) {
    const int64_t d = shape.dims[i], a = shape.stride_a[i], b = shape.stride_b[i];
    if (d == 1) continue;
    const bool joins =
        !out.dims.empty() && out.stride_a.back() == a * d && out.stride_b.back() == b * d;
    if (joins) {
      out.dims.back() *= d;
      out.stride_a.back() = a;
      out.stride_b.back() = b;
    } else {
      out.dims.push_back(d);
      out.stride_a.push_back(a);
      out.stride_b.push_back(b);
    }
  }
  if (out.dims.empty()) out = {{1}, {0}, {0}};
  return out;
}

}  // namespace glassnet::kernels
