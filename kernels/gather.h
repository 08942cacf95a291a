// Rows of a table, put side by side. On the CPU alone.
#pragma once

#include <cstdint>

#include "kernels/device.h"

namespace glassnet::kernels {

// y[i] = x[index[i]] for rows of `row_bytes` bytes, zeros where the index is negative. y (count
// rows) is overwritten and may not alias x.
void gather_rows(Cpu, const void* x, const int32_t* index, void* y, int64_t count,
                 int64_t row_bytes);

}  // namespace glassnet::kernels
