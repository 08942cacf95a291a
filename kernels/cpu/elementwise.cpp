// Elementwise arithmetic on the CPU: the functors of kernels/elementwise.h in vector loops, of
// bfloat16 in float32.
#include "kernels/elementwise.h"

#include "kernels/convert.h"
#include "kernels/cpu/broadcast.h"
#include "kernels/cpu/parallel.h"

namespace glassnet::kernels {

template <class F, class T>
void unary(Cpu, F f, const T* x, T* y, int64_t count) {
  parallel_ranges(count, kSmall, [=](int64_t begin, int64_t end) {
#pragma omp simd
    for (int64_t i = begin; i < end; ++i) y[i] = convert<T>(f.value(widen(x[i])));
  });
}

template <class F, class T>
void unary_backward(Cpu, F f, const T* x, const T* y, const T* dy, T* dx, int64_t count) {
  // What the functor does not use may be null.
  if constexpr (!F::kUsesX) x = dy;
  if constexpr (!F::kUsesY) y = dy;
  parallel_ranges(count, kSmall, [=](int64_t begin, int64_t end) {
#pragma omp simd
    for (int64_t i = begin; i < end; ++i) {
      dx[i] = convert<T>(f.vjp(widen(x[i]), widen(y[i]), widen(dy[i])));
    }
  });
}

namespace {

// Calls f(a index, b index, i) for i = 0 … length-1; strides of 0 and 1 are compiled in, so that
// the loops vectorise.
template <class F>
void for_each_pair(int64_t stride_a, int64_t stride_b, int64_t length, F&& f) {
  if (stride_a == 1 && stride_b == 1) {
#pragma omp simd
    for (int64_t i = 0; i < length; ++i) f(i, i, i);
  } else if (stride_a == 1 && stride_b == 0) {
#pragma omp simd
    for (int64_t i = 0; i < length; ++i) f(i, int64_t{0}, i);
  } else if (stride_a == 0 && stride_b == 1) {
#pragma omp simd
    for (int64_t i = 0; i < length; ++i) f(int64_t{0}, i, i);
  } else {
    for (int64_t i = 0; i < length; ++i) f(i * stride_a, i * stride_b, i);
  }
}

}  // namespace

template <class F, class T>
void binary(Cpu, F f, const T* a, const T* b, T* y, const BroadcastShape& shape) {
  const BroadcastShape o = collapse(shape);
  for_each_row(o, [&](int64_t y_at, int64_t a_at, int64_t b_at, int64_t length) {
    const T *row_a = a + a_at, *row_b = b + b_at;
    T* row_y = y + y_at;
    for_each_pair(o.stride_a.back(), o.stride_b.back(), length,
                  [=](int64_t ia, int64_t ib, int64_t i) {
                    row_y[i] = convert<T>(f.value(widen(row_a[ia]), widen(row_b[ib])));
                  });
  });
}

template <class F, class T>
void binary_backward(Cpu, F f, const T* a, const T* b, const T* dy, T* da, T* db,
                     const BroadcastShape& shape) {
  const BroadcastShape o = collapse(shape);
  for_each_row(o, [&](int64_t y_at, int64_t a_at, int64_t b_at, int64_t length) {
    const T *row_a = a + a_at, *row_b = b + b_at, *row_dy = dy + y_at;
    const int64_t stride_a = o.stride_a.back(), stride_b = o.stride_b.back();
    if (da != nullptr) {
      T* row = da + y_at;
      for_each_pair(stride_a, stride_b, length, [=](int64_t ia, int64_t ib, int64_t i) {
        row[i] = convert<T>(f.vjp_a(widen(row_a[ia]), widen(row_b[ib]), widen(row_dy[i])));
      });
    }
    if (db != nullptr) {
      T* row = db + y_at;
      for_each_pair(stride_a, stride_b, length, [=](int64_t ia, int64_t ib, int64_t i) {
        row[i] = convert<T>(f.vjp_b(widen(row_a[ia]), widen(row_b[ib]), widen(row_dy[i])));
      });
    }
  });
}

#define GLASSNET_INSTANTIATE_T(F, T)                  \
  template void unary(Cpu, F, const T*, T*, int64_t); \
  template void unary_backward(Cpu, F, const T*, const T*, const T*, T*, int64_t);
#define GLASSNET_INSTANTIATE(F)     \
  GLASSNET_INSTANTIATE_T(F, float)  \
  GLASSNET_INSTANTIATE_T(F, double) \
  GLASSNET_INSTANTIATE_T(F, bfloat16)
GLASSNET_UNARY_FUNCTORS(GLASSNET_INSTANTIATE)
#undef GLASSNET_INSTANTIATE_T

#define GLASSNET_INSTANTIATE_T(F, T)                                           \
  template void binary(Cpu, F, const T*, const T*, T*, const BroadcastShape&); \
  template void binary_backward(Cpu, F, const T*, const T*, const T*, T*, T*,  \
                                const BroadcastShape&);
GLASSNET_BINARY_FUNCTORS(GLASSNET_INSTANTIATE)
#undef GLASSNET_INSTANTIATE_T
#undef GLASSNET_INSTANTIATE

}  // namespace glassnet::kernels
