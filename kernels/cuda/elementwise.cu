// Elementwise arithmetic on a GPU: the functors of kernels/elementwise.h, in float32 between loads
// and stores of T. All of it is bound by memory, so that a thread moves sixteen bytes at a time
// where elements lie side by side.
#include "kernels/elementwise.h"

#include "kernels/cuda/broadcast_walk.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/vec.h"

namespace glassnet::kernels {
namespace {

constexpr unsigned kThreads = 256;
constexpr int64_t kMostBlocks = 1 << 16;  // threads stride on beyond them

// Calls f(first, numbers) for the elements of this thread, `numbers` being an array of floats as
// long as what is to be moved at once: a vector for the first `vectors`, one element after them.
template <class T, class F>
__device__ inline void for_my_elements(int64_t count, int64_t vectors, F&& f) {
  constexpr int kWidth = kVecWidth<T>;
  const int64_t thread = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  const int64_t threads = int64_t{gridDim.x} * blockDim.x;
  for (int64_t i = thread; i < vectors; i += threads) {
    float numbers[kWidth];
    f(i * kWidth, numbers);
  }
  for (int64_t i = vectors * kWidth + thread; i < count; i += threads) {
    float number[1];
    f(i, number);
  }
}

// x, y (count)
template <class F, class T>
__global__ void unary_kernel(F f, const T* x, T* y, int64_t count, int64_t vectors) {
  for_my_elements<T>(count, vectors, [&](int64_t at, auto& numbers) {
    load_floats(x + at, numbers);
    for (float& number : numbers) number = f.value(number);
    store_floats(y + at, numbers);
  });
}

// x, y, dy, dx (count)
template <class F, class T>
__global__ void unary_backward_kernel(F f, const T* x, const T* y, const T* dy, T* dx,
                                      int64_t count, int64_t vectors) {
  for_my_elements<T>(count, vectors, [&](int64_t at, auto& dys) {
    constexpr int kCount = static_cast<int>(sizeof(dys) / sizeof(float));
    float xs[kCount] = {}, ys[kCount] = {};
    if constexpr (F::kUsesX) load_floats(x + at, xs);
    if constexpr (F::kUsesY) load_floats(y + at, ys);
    load_floats(dy + at, dys);
    for (int j = 0; j < kCount; ++j) dys[j] = f.vjp(xs[j], ys[j], dys[j]);
    store_floats(dx + at, dys);
  });
}

// Calls f(first in the result, offsets in the operands, numbers) for each of this thread's units.
template <class T, class F>
__device__ inline void for_my_units(const BroadcastWalk& walk, F&& f) {
  const int64_t threads = int64_t{gridDim.x} * blockDim.x;
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < walk.units; i += threads) {
    const Offsets from = offsets_of(walk, i);
    if (walk.width == 1) {
      float number[1];
      f(i, from, number);
    } else {
      float numbers[kVecWidth<T>];
      f(i * kVecWidth<T>, from, numbers);
    }
  }
}

// a, b (as the walk says); y (the walk's result)
template <class F, class T>
__global__ void binary_kernel(F f, const T* a, const T* b, T* y, BroadcastWalk walk) {
  const int64_t stride_a = walk.stride_a[walk.axes - 1], stride_b = walk.stride_b[walk.axes - 1];
  for_my_units<T>(walk, [&](int64_t at, const Offsets& from, auto& as) {
    constexpr int kCount = static_cast<int>(sizeof(as) / sizeof(float));
    float bs[kCount];
    load_operand(a + from.a, stride_a, as);
    load_operand(b + from.b, stride_b, bs);
    for (int j = 0; j < kCount; ++j) as[j] = f.value(as[j], bs[j]);
    store_floats(y + at, as);
  });
}

// a, b (as the walk says); dy, da, db (the walk's result), of which da or db may be null
template <class F, class T>
__global__ void binary_backward_kernel(F f, const T* a, const T* b, const T* dy, T* da, T* db,
                                       BroadcastWalk walk) {
  const int64_t stride_a = walk.stride_a[walk.axes - 1], stride_b = walk.stride_b[walk.axes - 1];
  for_my_units<T>(walk, [&](int64_t at, const Offsets& from, auto& dys) {
    constexpr int kCount = static_cast<int>(sizeof(dys) / sizeof(float));
    float as[kCount], bs[kCount], results[kCount];
    load_operand(a + from.a, stride_a, as);
    load_operand(b + from.b, stride_b, bs);
    load_floats(dy + at, dys);
    if (da != nullptr) {
      for (int j = 0; j < kCount; ++j) results[j] = f.vjp_a(as[j], bs[j], dys[j]);
      store_floats(da + at, results);
    }
    if (db != nullptr) {
      for (int j = 0; j < kCount; ++j) results[j] = f.vjp_b(as[j], bs[j], dys[j]);
      store_floats(db + at, results);
    }
  });
}

LaunchShape shape_for(int64_t units) {
  return {.grid = blocks_for(units, kThreads, kMostBlocks), .block = kThreads};
}

// Null where there is none to move.
template <class T>
T* moved(T* pointer, int64_t elements) {
  return pointer == nullptr ? nullptr : pointer + elements;
}

}  // namespace

template <class F, class T>
void unary(Cuda device, F f, const T* x, T* y, int64_t count) {
  const int64_t vectors = are_aligned16(x, y) ? count / kVecWidth<T> : 0;
  launch<unary_kernel<F, T>>(device, shape_for(vectors > 0 ? vectors : count), f, x, y, count,
                             vectors);
}

template <class F, class T>
void unary_backward(Cuda device, F f, const T* x, const T* y, const T* dy, T* dx, int64_t count) {
  // What the functor does not use may be anything, a misaligned pointer too.
  if constexpr (!F::kUsesX) x = nullptr;
  if constexpr (!F::kUsesY) y = nullptr;
  const int64_t vectors = are_aligned16(x, y, dy, dx) ? count / kVecWidth<T> : 0;
  launch<unary_backward_kernel<F, T>>(device, shape_for(vectors > 0 ? vectors : count), f, x, y, dy,
                                      dx, count, vectors);
}

template <class F, class T>
void binary(Cuda device, F f, const T* a, const T* b, T* y, const BroadcastShape& shape) {
  for_each_walk<T>(shape, are_aligned16(a, b, y), [&](const BroadcastWalk& walk, int64_t first) {
    const int last = walk.axes - 1;
    launch<binary_kernel<F, T>>(device, shape_for(walk.units), f, a + first * walk.stride_a[last],
                                b + first * walk.stride_b[last], y + first, walk);
  });
}

template <class F, class T>
void binary_backward(Cuda device, F f, const T* a, const T* b, const T* dy, T* da, T* db,
                     const BroadcastShape& shape) {
  const bool aligned = are_aligned16(a, b, dy, da, db);
  for_each_walk<T>(shape, aligned, [&](const BroadcastWalk& walk, int64_t first) {
    const int last = walk.axes - 1;
    launch<binary_backward_kernel<F, T>>(
        device, shape_for(walk.units), f, a + first * walk.stride_a[last],
        b + first * walk.stride_b[last], dy + first, moved(da, first), moved(db, first), walk);
  });
}

#define GLASSNET_INSTANTIATE_FOR(F, T)                 \
  template void unary(Cuda, F, const T*, T*, int64_t); \
  template void unary_backward(Cuda, F, const T*, const T*, const T*, T*, int64_t);
#define GLASSNET_INSTANTIATE(F)         \
  GLASSNET_INSTANTIATE_FOR(F, float)    \
  GLASSNET_INSTANTIATE_FOR(F, bfloat16) \
  GLASSNET_INSTANTIATE_FOR(F, float16)
GLASSNET_UNARY_FUNCTORS(GLASSNET_INSTANTIATE)
#undef GLASSNET_INSTANTIATE_FOR

#define GLASSNET_INSTANTIATE_FOR(F, T)                                          \
  template void binary(Cuda, F, const T*, const T*, T*, const BroadcastShape&); \
  template void binary_backward(Cuda, F, const T*, const T*, const T*, T*, T*,  \
                                const BroadcastShape&);
GLASSNET_BINARY_FUNCTORS(GLASSNET_INSTANTIATE)
#undef GLASSNET_INSTANTIATE_FOR
#undef GLASSNET_INSTANTIATE

}  // namespace glassnet::kernels
