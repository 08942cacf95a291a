// Sums over axes, and their gradient: contract in kernels/reduce.h.
//
// Neighbouring axes of one kind merge, so that a shape is outer axes of both kinds around one
// contiguous run, which is either kept or reduced. Where outputs are few and sums long, a sum is
// cut into parts that are added up in a second launch: the number of parts follows from the shape
// alone and nothing is added by atomics, so that the same bits come out each time.
#include "kernels/reduce.h"

#include <algorithm>

#include "kernels/cuda/block_reduce.h"
#include "kernels/cuda/broadcast_walk.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/scratch.h"
#include "kernels/cuda/vec.h"

namespace glassnet::kernels {
namespace {

struct Axes {
  int count = 0;
  int64_t extent = 1;  // the product of the dims
  int64_t dims[kMostAxes], strides[kMostAxes];
};

struct Walk {
  Axes kept;          // around the run
  Axes reduced;       // likewise, and the run itself at the end when it is reduced
  int64_t width = 1;  // of the run
  bool width_is_kept = true;
  int64_t outputs() const { return kept.extent * (width_is_kept ? width : 1); }
  int64_t summed() const { return reduced.extent; }  // per output
};

__device__ inline int64_t offset_of(int64_t i, const Axes& axes) {
  int64_t offset = 0;
  // The first axis takes what is left: a single one costs no division.
  for (int axis = axes.count - 1; axis > 0; --axis) {
    const int64_t next = i / axes.dims[axis];
    offset += (i - next * axes.dims[axis]) * axes.strides[axis];
    i = next;
  }
  return axes.count > 0 ? offset + i * axes.strides[0] : offset;
}

// The `part`th of `parts` nearly equal pieces of `count` begins here.
__device__ inline int64_t part_begin(int64_t count, int64_t part, int64_t parts) {
  return count * part / parts;
}

constexpr int kColumns = 32, kRows = 8;
constexpr int kDeep =
    4;  // rows that a thread of a column reads at once, each into a sum of its own

// A kept run: threadIdx.x goes along it, threadIdx.y along what is reduced. y (parts, outputs).
template <class T, class Out>
__global__ void sum_columns_kernel(const T* x, Out* y, Walk walk, int64_t tiles, float scale) {
  GLASSNET_SHARED(float, partial, [kRows][kColumns]);
  const int tx = static_cast<int>(threadIdx.x), ty = static_cast<int>(threadIdx.y);
  const int64_t outer = blockIdx.x / tiles, parts = gridDim.y;
  const int64_t column = blockIdx.x % tiles * kColumns + tx;
  const int64_t begin = part_begin(walk.reduced.extent, blockIdx.y, parts);
  const int64_t end = part_begin(walk.reduced.extent, int64_t{blockIdx.y} + 1, parts);
  float sums[kDeep] = {};
  if (column < walk.width) {
    const T* from = x + offset_of(outer, walk.kept) + column;
    for (int64_t i = begin + ty; i < end; i += kRows * kDeep) {
      for (int j = 0; j < kDeep; ++j) {
        const int64_t row = i + j * kRows;
        if (row < end) sums[j] += to_float(from[offset_of(row, walk.reduced)]);
      }
    }
  }
  float sum = 0;
  for (const float one : sums) sum += one;
  partial[ty][tx] = sum;
  __syncthreads();
  if (ty != 0 || column >= walk.width) return;
  for (int row = 1; row < kRows; ++row) sum += partial[row][tx];
  const int64_t outputs = walk.kept.extent * walk.width;
  y[blockIdx.y * outputs + outer * walk.width + column] = from_float<Out>(scale * sum);
}

// A reduced run, `Width` elements at a time: a block to each output and part. y (parts, outputs).
template <int Width, class T, class Out>
__global__ void sum_runs_kernel(const T* x, Out* y, Walk walk, float scale) {
  const int64_t output = blockIdx.x, parts = gridDim.y;
  const int64_t begin = part_begin(walk.reduced.extent, blockIdx.y, parts);
  const int64_t end = part_begin(walk.reduced.extent, int64_t{blockIdx.y} + 1, parts);
  const T* from = x + offset_of(output, walk.kept);
  float sums[Width] = {};
  for (int64_t i = begin + threadIdx.x; i < end; i += blockDim.x) {
    float numbers[Width];
    load_floats(from + offset_of(i, walk.reduced), numbers);
    for (int j = 0; j < Width; ++j) sums[j] += numbers[j];
  }
  float sum = 0;
  for (const float part : sums) sum += part;
  sum = block_sum(sum);
  if (threadIdx.x == 0) y[blockIdx.y * walk.kept.extent + output] = from_float<Out>(scale * sum);
}

// y (outputs) = scale times the sum of partial (parts, outputs) over its parts, in double: they are
// few, and as many roundings again in float32 would cost a digit.
template <class T>
__global__ void add_parts_kernel(const float* partial, T* y, int64_t outputs, int64_t parts,
                                 float scale) {
  const int64_t output = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (output >= outputs) return;
  double sum = 0;
  for (int64_t part = 0; part < parts; ++part) {
    sum += static_cast<double>(partial[part * outputs + output]);
  }
  y[output] = from_float<T>(scale * static_cast<float>(sum));
}

Walk walk_of(const ReduceShape& shape) {
  std::vector<int64_t> dims;
  std::vector<bool> reduced;
  for (size_t i = 0; i < shape.dims.size(); ++i) {
    if (shape.dims[i] == 1) continue;
    if (!dims.empty() && reduced.back() == shape.reduced[i]) {
      dims.back() *= shape.dims[i];
    } else {
      dims.push_back(shape.dims[i]);
      reduced.push_back(shape.reduced[i]);
    }
  }
  require(dims.size() <= kMostAxes,
          [] { return std::string("[sum] expected at most eight axes"); });
  Walk walk;
  if (dims.empty()) return walk;
  walk.width = dims.back();
  walk.width_is_kept = !reduced.back();
  if (!walk.width_is_kept) walk.reduced = {1, walk.width, {walk.width}, {1}};
  int64_t stride = walk.width;
  for (size_t i = dims.size() - 1; i-- > 0; stride *= dims[i]) {
    Axes& axes = reduced[i] ? walk.reduced : walk.kept;
    axes.dims[axes.count] = dims[i];
    axes.strides[axes.count++] = stride;
    axes.extent *= dims[i];
  }
  // They were met from the innermost on.
  for (Axes* axes : {&walk.kept, &walk.reduced}) {
    std::reverse(axes->dims, axes->dims + axes->count);
    std::reverse(axes->strides, axes->strides + axes->count);
  }
  return walk;
}

// Makes elements of the reduced run `width` times as long; false where that is not possible. The
// run's length divides all other strides.
bool take_together(Walk& walk, int width) {
  Axes& reduced = walk.reduced;
  const int last = reduced.count - 1;
  if (reduced.dims[last] % width != 0) return false;
  reduced.dims[last] /= width;
  reduced.strides[last] = width;
  reduced.extent /= width;
  return true;
}

// y (parts, outputs)
template <class T, class Out>
void sum_parts(Cuda device, const T* x, Out* y, float scale, const Walk& walk, int64_t parts) {
  const auto part_grid = static_cast<unsigned>(parts);
  if (walk.width_is_kept) {
    const int64_t tiles = (walk.width + kColumns - 1) / kColumns;
    launch<sum_columns_kernel<T, Out>>(
        device,
        {.grid = dim3(static_cast<unsigned>(walk.kept.extent * tiles), part_grid),
         .block = dim3(kColumns, kRows)},
        x, y, walk, tiles, scale);
  } else {
    Walk wide = walk;
    const bool vectors = are_aligned16(x) && take_together(wide, kVecWidth<T>);
    const int64_t together = (wide.summed() + parts - 1) / parts;
    const unsigned threads = together >= 1024 ? 256 : together >= 256 ? 128 : 32;
    const LaunchShape shape{.grid = dim3(static_cast<unsigned>(walk.kept.extent), part_grid),
                            .block = threads};
    if (vectors) {
      launch<sum_runs_kernel<kVecWidth<T>, T, Out>>(device, shape, x, y, wide, scale);
    } else {
      launch<sum_runs_kernel<1, T, Out>>(device, shape, x, y, walk, scale);
    }
  }
}

}  // namespace

template <class T>
void sum(Cuda device, const T* x, T* y, double scale, const ReduceShape& shape) {
  constexpr int64_t kPart = 1024;  // elements of an output that make a part worth its while
  constexpr int64_t kMostParts = 256, kManyOutputs = 1 << 16;
  const Walk walk = walk_of(shape);
  const int64_t outputs = walk.outputs();
  if (outputs == 0) return;
  const auto factor = static_cast<float>(scale);
  const int64_t parts =
      outputs >= kManyOutputs ? 1 : std::clamp<int64_t>(walk.summed() / kPart, 1, kMostParts);
  if (parts == 1) return sum_parts(device, x, y, factor, walk, 1);
  const Scratch partial(device, static_cast<size_t>(parts * outputs) * sizeof(float));
  sum_parts(device, x, partial.get<float>(), 1.0F, walk, parts);
  launch<add_parts_kernel<T>>(device, {.grid = blocks_for(outputs, 128), .block = 128},
                              partial.get<float>(), y, outputs, parts, factor);
}

namespace {

// dx = scale * dy, repeated: both operands of the walk are dy.
template <class T>
__global__ void spread_kernel(const T* dy, T* dx, float scale, BroadcastWalk walk) {
  constexpr int kWidth = kVecWidth<T>;
  const int64_t threads = int64_t{gridDim.x} * blockDim.x;
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < walk.units; i += threads) {
    const int64_t at = offsets_of(walk, i).a;
    if (walk.width == 1) {
      dx[i] = from_float<T>(scale * to_float(dy[at]));
      continue;
    }
    float v[kWidth];
    load_operand(dy + at, walk.stride_a[walk.axes - 1], v);
    for (int j = 0; j < kWidth; ++j) v[j] *= scale;
    store_floats(dx + i * kWidth, v);
  }
}

}  // namespace

template <class T>
void sum_backward(Cuda device, const T* dy, T* dx, double scale, const ReduceShape& shape) {
  BroadcastShape spread{shape.dims, std::vector<int64_t>(shape.dims.size(), 0), {}};
  int64_t stride = 1;
  for (size_t axis = shape.dims.size(); axis-- > 0;) {
    if (shape.reduced[axis]) continue;
    spread.stride_a[axis] = stride;
    stride *= shape.dims[axis];
  }
  spread.stride_b = spread.stride_a;
  for_each_walk<T>(spread, are_aligned16(dy, dx), [&](const BroadcastWalk& walk, int64_t first) {
    launch<spread_kernel<T>>(device, {.grid = blocks_for(walk.units, 256, 1 << 16), .block = 256},
                             dy + first * walk.stride_a[walk.axes - 1], dx + first,
                             static_cast<float>(scale), walk);
  });
}

#define GLASSNET_INSTANTIATE(T)                                      \
  template void sum(Cuda, const T*, T*, double, const ReduceShape&); \
  template void sum_backward(Cuda, const T*, T*, double, const ReduceShape&);
GLASSNET_INSTANTIATE(float)
GLASSNET_INSTANTIATE(bfloat16)
GLASSNET_INSTANTIATE(float16)
#undef GLASSNET_INSTANTIATE

}  // namespace glassnet::kernels
