// Fill, cast and permute: moving elements without computing with them.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/device.h"
#include "kernels/dtype.h"

namespace glassnet::kernels {

// y[i] = value, converted to `type`.
void fill(Cpu, void* y, DType type, double value, int64_t count);

// y[i] = x[i] converted: round to nearest even into 16-bit floats, truncation towards zero (and
// saturation) into integers. x and y do not overlap.
void cast(Cpu, const void* x, DType from, void* y, DType to, int64_t count);

// y = x with its axes in the order `axes`: y.dims[i] = x.dims[axes[i]]. Elements of 1, 2, 4 or 8
// bytes; x and y do not overlap.
void permute(Cpu, const void* x, void* y, const std::vector<int64_t>& dims,
             const std::vector<int64_t>& axes, size_t element_bytes);

// The same on a GPU; `dims` has at most eight axes.
void fill(Cuda, void* y, DType type, double value, int64_t count);
void cast(Cuda, const void* x, DType from, void* y, DType to, int64_t count);
void permute(Cuda, const void* x, void* y, const std::vector<int64_t>& dims,
             const std::vector<int64_t>& axes, size_t element_bytes);

}  // namespace glassnet::kernels
