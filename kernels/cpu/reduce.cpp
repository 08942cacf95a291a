// Sums over axes on the CPU, and their gradient.
//
// Neighbouring axes of one kind merge, so that a shape becomes an alternation of kept and reduced
// axes. A task owns a block of outputs and a part of what is reduced into it; the number of parts
// follows from the shape alone and they are added in order, so that the result depends neither on
// the number of threads nor on their timing. Sums are kept in double.
#include "kernels/reduce.h"

#include "kernels/convert.h"
#include "kernels/cpu/broadcast.h"
#include "kernels/cpu/parallel.h"

namespace glassnet::kernels {
namespace {

struct Axis {
  int64_t dim, stride;
};

// Where element `i` of a row-major walk over `axes` lies.
int64_t offset_of(int64_t i, const std::vector<Axis>& axes) {
  int64_t offset = 0;
  for (size_t axis = axes.size(); axis-- > 0; i /= axes[axis].dim) {
    offset += i % axes[axis].dim * axes[axis].stride;
  }
  return offset;
}

int64_t extent(const std::vector<Axis>& axes) {
  int64_t n = 1;
  for (const Axis& axis : axes) n *= axis.dim;
  return n;
}

// x seen as outer axes of both kinds around a contiguous run of `width` elements, which is either
// reduced to one output or kept as `width` outputs.
struct Walk {
  std::vector<Axis> kept, reduced;
  int64_t width = 1;
  bool width_is_kept = true;
};

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
  Walk walk;
  if (dims.empty()) return walk;
  walk.width = dims.back();
  walk.width_is_kept = !reduced.back();
  std::vector<int64_t> strides(dims.size(), 1);
  for (size_t i = dims.size() - 1; i-- > 0;) strides[i] = strides[i + 1] * dims[i + 1];
  for (size_t i = 0; i + 1 < dims.size(); ++i) {
    (reduced[i] ? walk.reduced : walk.kept).push_back({dims[i], strides[i]});
  }
  return walk;
}

// Calls f(offset) for elements [begin, end) of a walk over `axes`, the last axis in a plain loop.
template <class F>
void for_each_offset(int64_t begin, int64_t end, const std::vector<Axis>& axes, F&& f) {
  if (axes.empty()) {
    if (begin < end) f(int64_t{0});
    return;
  }
  const Axis last = axes.back();
  while (begin < end) {
    const int64_t run = std::min(end - begin, last.dim - begin % last.dim);
    int64_t offset = offset_of(begin, axes);
    for (int64_t i = 0; i < run; ++i, offset += last.stride) f(offset);
    begin += run;
  }
}

template <class T>
void sum_of(const T* x, T* y, double scale, const ReduceShape& shape) {
  constexpr int64_t kBlock = 256;   // outputs of one task when the run is kept
  constexpr int64_t kPiece = 4096;  // elements of a reduced run that are added in one go
  constexpr int64_t kPartElements = 1 << 15;
  constexpr int64_t kParts = 16;  // enough work to share when there are few outputs

  Walk walk = walk_of(shape);
  const int64_t outer = extent(walk.kept);
  if (!walk.width_is_kept && walk.width > kPiece) {
    // A long reduced run becomes one more reduced axis over pieces, and a shorter last piece.
    const int64_t pieces = (walk.width + kPiece - 1) / kPiece;
    walk.reduced.push_back({pieces, kPiece});
  }
  const bool in_pieces = !walk.width_is_kept && walk.width > kPiece;
  const int64_t width = walk.width_is_kept ? walk.width : 1;  // outputs of one run
  const int64_t blocks = (width + kBlock - 1) / kBlock;
  const int64_t reduced = extent(walk.reduced);
  const int64_t outputs = outer * width;
  const int64_t run = walk.width_is_kept ? std::min(width, kBlock) : std::min(walk.width, kPiece);
  if (outputs == 0) return;

  int64_t parts = 1;
  if (outer * blocks < kParts) {
    parts = std::clamp<int64_t>(reduced * run / kPartElements, 1, kParts);
  }
  std::vector<double> partial(static_cast<size_t>(outputs * parts), 0.0);  // (parts, outputs)
  const int64_t total = outer * blocks * reduced * run;
  parallel_tasks(outer * blocks * parts, total > 2 * kSmall, [&](int64_t task) {
    const int64_t part = task % parts, block = task / parts % blocks, at = task / parts / blocks;
    const int64_t begin = reduced * part / parts, end = reduced * (part + 1) / parts;
    const T* base = x + offset_of(at, walk.kept) + block * kBlock;
    double* sums = partial.data() + part * outputs + at * width + block * kBlock;
    if (walk.width_is_kept) {
      const int64_t columns = std::min(kBlock, width - block * kBlock);
      double block_sums[kBlock] = {};
      for_each_offset(begin, end, walk.reduced, [&](int64_t offset) {
        const T* row = base + offset;
#pragma omp simd
        for (int64_t c = 0; c < columns; ++c) block_sums[c] += static_cast<double>(widen(row[c]));
      });
      std::copy(block_sums, block_sums + columns, sums);
    } else {
      double whole = 0;
      int64_t piece = begin;
      const int64_t pieces = in_pieces ? walk.reduced.back().dim : 1;
      for_each_offset(begin, end, walk.reduced, [&](int64_t offset) {
        const int64_t skipped = in_pieces ? piece++ % pieces * kPiece : 0;
        const int64_t length = in_pieces ? std::min(kPiece, walk.width - skipped) : walk.width;
        const T* row = base + offset;
        double row_sum = 0;
#pragma omp simd reduction(+ : row_sum)
        for (int64_t i = 0; i < length; ++i) row_sum += static_cast<double>(widen(row[i]));
        whole += row_sum;
      });
      *sums = whole;
    }
  });
  for (int64_t j = 0; j < outputs; ++j) {
    double whole = 0;
    for (int64_t part = 0; part < parts; ++part) whole += partial[part * outputs + j];
    y[j] = convert<T>(scale * whole);
  }
}

template <class T>
void spread(const T* dy, T* dx, double scale, const ReduceShape& shape) {
  // dx broadcasts dy: along a reduced axis dy repeats.
  BroadcastShape repeated{shape.dims, std::vector<int64_t>(shape.dims.size(), 0), {}};
  int64_t stride = 1;
  for (size_t axis = shape.dims.size(); axis-- > 0;) {
    if (shape.reduced[axis]) continue;
    repeated.stride_a[axis] = stride;
    stride *= shape.dims[axis];
  }
  repeated.stride_b = repeated.stride_a;
  const BroadcastShape o = collapse(repeated);
  const auto factor = static_cast<float>(scale);
  for_each_row(o, [&](int64_t dx_at, int64_t dy_at, int64_t, int64_t length) {
    const T* from = dy + dy_at;
    T* to = dx + dx_at;
    if (o.stride_a.back() == 0) {
      std::fill(to, to + length, convert<T>(factor * widen(*from)));
    } else {
#pragma omp simd
      for (int64_t i = 0; i < length; ++i) to[i] = convert<T>(factor * widen(from[i]));
    }
  });
}

}  // namespace

#define GLASSNET_DEFINE(T)                                                             \
  void sum(Cpu, const T* x, T* y, double scale, const ReduceShape& shape) {            \
    sum_of(x, y, scale, shape);                                                        \
  }                                                                                    \
  void sum_backward(Cpu, const T* dy, T* dx, double scale, const ReduceShape& shape) { \
    spread(dy, dx, scale, shape);                                                      \
  }
GLASSNET_DEFINE(float)
GLASSNET_DEFINE(bfloat16)
#undef GLASSNET_DEFINE

}  // namespace glassnet::kernels
