// Walking over two operands of a broadcast operation row by row.
#pragma once

#include "kernels/broadcast.h"
#include "kernels/cpu/parallel.h"

namespace glassnet::kernels {

// Calls f(result offset, a offset, b offset, length) for pieces of rows of a collapsed shape, in
// parallel. Within a piece the result advances by 1 and the operands by their last strides.
template <class F>
void for_each_row(const BroadcastShape& shape, F&& f) {
  constexpr int64_t kPiece = 1 << 14;
  const int64_t count = shape.numel();
  if (count == 0) return;
  const int last = static_cast<int>(shape.dims.size()) - 1;
  const int64_t length = shape.dims[last];
  const int64_t pieces = (length + kPiece - 1) / kPiece;  // of one row
  const int64_t rows = count / length;
  const auto run = [&](int64_t begin, int64_t end) {
    // The position of row `begin` along every outer axis, then counted on like an odometer.
    std::vector<int64_t> at(last, 0);
    int64_t row = begin / pieces, piece = begin % pieces, a = 0, b = 0;
    for (int64_t axis = last - 1, rest = row; axis >= 0; rest /= shape.dims[axis], --axis) {
      at[axis] = rest % shape.dims[axis];
      a += at[axis] * shape.stride_a[axis];
      b += at[axis] * shape.stride_b[axis];
    }
    for (int64_t i = begin; i < end; ++i) {
      const int64_t start = piece * kPiece;
      f(row * length + start, a + start * shape.stride_a[last], b + start * shape.stride_b[last],
        std::min(kPiece, length - start));
      if (++piece < pieces) continue;
      piece = 0;
      ++row;
      for (int axis = last - 1; axis >= 0; --axis) {
        a += shape.stride_a[axis];
        b += shape.stride_b[axis];
        if (++at[axis] < shape.dims[axis]) break;
        a -= shape.dims[axis] * shape.stride_a[axis];
        b -= shape.dims[axis] * shape.stride_b[axis];
        at[axis] = 0;
      }
    }
  };
  parallel_ranges(rows * pieces, std::max<int64_t>(1, kSmall / std::min(length, kPiece)), run,
                  /*unit=*/1);
}

}  // namespace glassnet::kernels
