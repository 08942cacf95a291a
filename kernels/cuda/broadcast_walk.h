// Walking over a result into which two operands are broadcast, sixteen bytes at a time where that
// is possible.
#pragma once

#include "kernels/broadcast.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/vec.h"
#include "kernels/error.h"

namespace glassnet::kernels {

inline constexpr int kMostAxes = 8;

// A collapsed broadcast in units of `width` elements along the last axis.
struct BroadcastWalk {
  int axes;
  int width;
  int64_t units;                // in the result
  int64_t dims[kMostAxes];      // the last one in units
  int64_t stride_a[kMostAxes];  // in elements; of the last axis, from element to element: 0 or 1
  int64_t stride_b[kMostAxes];  // when the width is more than one
};

struct Offsets {
  int64_t a, b;
};

__device__ inline Offsets offsets_of(const BroadcastWalk& walk, int64_t unit) {
  Offsets at{0, 0};
  const auto advance = [&](int axis, int64_t by) {
    const int64_t step = by * (axis == walk.axes - 1 ? walk.width : 1);
    at.a += step * walk.stride_a[axis];
    at.b += step * walk.stride_b[axis];
  };
  // The first axis takes what is left: a single one costs no division.
  for (int axis = walk.axes - 1; axis > 0; --axis) {
    const int64_t next = unit / walk.dims[axis];
    advance(axis, unit - next * walk.dims[axis]);
    unit = next;
  }
  advance(0, unit);
  return at;
}

// An operand's elements of one unit: as many neighbours, or one repeated.
template <int N, class T>
__device__ inline void load_operand(const T* from, int64_t stride, float (&to)[N]) {
  if (stride == 1) {
    load_floats(from, to);
  } else {
    const float value = to_float(*from);
    for (int j = 0; j < N; ++j) to[j] = value;
  }
}

inline BroadcastWalk walk_of(const BroadcastShape& shape, int width) {
  BroadcastWalk walk{.axes = static_cast<int>(shape.dims.size()), .width = width, .units = 1};
  require(walk.axes <= kMostAxes,
          [] { return std::string("[elementwise] expected at most eight axes"); });
  for (int axis = 0; axis < walk.axes; ++axis) {
    walk.dims[axis] = shape.dims[axis] / (axis == walk.axes - 1 ? width : 1);
    walk.stride_a[axis] = shape.stride_a[axis];
    walk.stride_b[axis] = shape.stride_b[axis];
    walk.units *= walk.dims[axis];
  }
  return walk;
}

// Whether units of `width` along the last axis never straddle a row and always start at a multiple
// of sixteen bytes.
inline bool goes_in_vectors(const BroadcastShape& shape, int width) {
  const size_t last = shape.dims.size() - 1;
  const auto fits = [&](const std::vector<int64_t>& strides) {
    if (strides[last] != 0 && strides[last] != 1) return false;
    for (size_t axis = 0; axis < last; ++axis) {
      if (strides[last] == 1 && strides[axis] % width != 0) return false;
    }
    return true;
  };
  return shape.dims[last] % width == 0 && fits(shape.stride_a) && fits(shape.stride_b);
}

// Calls f(walk, first) for walks that together cover the broadcast, each with the first element of
// the result that it covers: one walk, or two when a single row has a tail.
template <class T, class F>
void for_each_walk(const BroadcastShape& given, bool aligned, F&& f) {
  constexpr int kWidth = kVecWidth<T>;
  if (given.numel() == 0) return;
  BroadcastShape shape = collapse(given);
  const int64_t length = shape.dims.back();
  if (aligned && goes_in_vectors(shape, kWidth)) return f(walk_of(shape, kWidth), int64_t{0});
  if (aligned && shape.dims.size() == 1 && length > kWidth) {
    const int64_t whole = length / kWidth * kWidth;
    shape.dims[0] = whole;
    if (goes_in_vectors(shape, kWidth)) {
      f(walk_of(shape, kWidth), int64_t{0});
      shape.dims[0] = length - whole;
      return f(walk_of(shape, 1), whole);
    }
    shape.dims[0] = length;
  }
  f(walk_of(shape, 1), int64_t{0});
}

}  // namespace glassnet::kernels
