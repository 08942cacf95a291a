// Looking along the last axis on the CPU: little work, for which the definitions are quick enough.
#include "kernels/index.h"

#include <algorithm>

#include "kernels/cpu/parallel.h"
#include "kernels/reference/index.h"

namespace glassnet::kernels {

void max_last(Cpu, const float* x, float* value, int64_t* index, const RowsShape& o) {
  const int64_t grain = std::max<int64_t>(1, kSmall / std::max<int64_t>(1, o.columns));
  parallel_ranges(o.rows, grain, [=](int64_t begin, int64_t end) {
    reference::max_last(x + begin * o.columns, value != nullptr ? value + begin : nullptr,
                        index != nullptr ? index + begin : nullptr, {end - begin, o.columns});
  });
}
void max_last(Cpu, const double* x, double* value, int64_t* index, const RowsShape& shape) {
  reference::max_last(x, value, index, shape);
}

void select(Cpu, const float* x, const int64_t* index, float* y, const RowsShape& shape) {
  reference::select(x, index, y, shape);
}
void select(Cpu, const double* x, const int64_t* index, double* y, const RowsShape& shape) {
  reference::select(x, index, y, shape);
}
void select_backward(Cpu, const float* dy, const int64_t* index, float* dx,
                     const RowsShape& shape) {
  reference::select_backward(dy, index, dx, shape);
}
void select_backward(Cpu, const double* dy, const int64_t* index, double* dx,
                     const RowsShape& shape) {
  reference::select_backward(dy, index, dx, shape);
}

void count_equal(Cpu, const int64_t* a, const int64_t* b, float* y, int64_t count) {
  int64_t equal = 0;
  for (int64_t i = 0; i < count; ++i) equal += a[i] == b[i];
  *y = static_cast<float>(equal);
}

}  // namespace glassnet::kernels
