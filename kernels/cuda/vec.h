// Sixteen bytes at a time: the widest access a thread makes, and what memory bandwidth asks for.
#pragma once

#include <cstdint>

#include "kernels/cuda/launch.h"
#include "kernels/half.h"

namespace glassnet::kernels {

// N elements that are read and written at once; the address is a multiple of their size.
template <class T, int N>
struct alignas(sizeof(T) * N) Vec {
  T v[N];
};

// How many elements of T fill sixteen bytes.
template <class T>
inline constexpr int kVecWidth = static_cast<int>(16 / sizeof(T));

template <int N, class T>
__device__ inline Vec<T, N> load_vec(const T* from) {
  return *reinterpret_cast<const Vec<T, N>*>(from);
}
template <int N, class T>
__device__ inline void store_vec(T* to, const Vec<T, N>& value) {
  *reinterpret_cast<Vec<T, N>*>(to) = value;
}

// N elements as float32 numbers, and back.
template <int N, class T>
__device__ inline void load_floats(const T* from, float (&to)[N]) {
  const Vec<T, N> vec = load_vec<N>(from);
  for (int i = 0; i < N; ++i) to[i] = to_float(vec.v[i]);
}
template <int N, class T>
__device__ inline void store_floats(T* to, const float (&from)[N]) {
  Vec<T, N> vec;
  for (int i = 0; i < N; ++i) vec.v[i] = from_float<T>(from[i]);
  store_vec<N>(to, vec);
}

// Whether every pointer is a multiple of sixteen bytes; null is.
template <class... Pointers>
bool are_aligned16(const Pointers*... pointers) {
  return ((reinterpret_cast<uintptr_t>(pointers) % 16 == 0) && ...);
}

}  // namespace glassnet::kernels
