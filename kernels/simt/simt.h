// The words that kernels are written in, for the host compiler: what nvcc knows by itself.
//
// A kernel is then an ordinary function, and simt::run calls it once for every thread of the grid,
// each thread a fiber of its own: see kernels/simt/executor.h.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>

// A function that a debugger can stop in.
#define __global__ __attribute__((noinline))
// Inlined, because g++ announces no write of a struct that a call returns straight into memory.
#define __device__ __attribute__((always_inline))
#define __host__
#define __constant__ const
#define __forceinline__ inline
#define __launch_bounds__(...)

struct dim3 {
  unsigned x = 1, y = 1, z = 1;
  constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

namespace glassnet::simt {

struct Launch {
  std::string kernel;
  dim3 grid, block;
  size_t shared_bytes = 0;
};
// The kernel's call, and its arguments, which are what lies in `bytes` bytes there.
struct Body {
  void (*call)(const void* arguments);
  std::shared_ptr<const void> arguments;
  size_t bytes;
};
// Runs `body` for every thread; on a stream that is being captured, records it instead. Throws
// Error for whatever a thread does that CUDA does not allow.
void run_body(void* stream, const Launch& launch, const Body& body);
template <class F>
void run(void* stream, const Launch& launch, F body) {
  run_body(stream, launch,
           {[](const void* f) { (*static_cast<const F*>(f))(); },
            std::make_shared<const F>(std::move(body)), sizeof(F)});
}

// Of the thread that is running, for which they never change.
[[gnu::const]] dim3 thread_index();
[[gnu::const]] dim3 block_index();
[[gnu::const]] dim3 block_extent();
[[gnu::const]] dim3 grid_extent();
[[gnu::const]] int lane();

void barrier();                     // __syncthreads
bool barrier_or(bool predicate);    // __syncthreads_or
bool barrier_and(bool predicate);   // __syncthreads_and
int barrier_count(bool predicate);  // __syncthreads_count
void warp_barrier(uint32_t mask);   // __syncwarp
// Every lane that `mask` names gives a value of at most eight bytes and gets the one of `source`,
// a lane of its warp.
uint64_t exchange(uint32_t mask, uint64_t value, int source);
uint32_t ballot(uint32_t mask, bool predicate);
void fence();  // __threadfence

// Shared memory of the running block. `key` tells the arrays of a kernel apart.
void* shared_bytes(const void* key, const char* name, size_t bytes, size_t alignment);
void* dynamic_shared();

template <class T, class Key>
T& shared_array(Key, const char* name) {
  static constexpr char key = 0;
  return *static_cast<T*>(shared_bytes(&key, name, sizeof(T), alignof(T)));
}

template <class T>
[[gnu::always_inline]] inline T shuffle(uint32_t mask, T value, int source) {
  static_assert(sizeof(T) <= 8 && std::is_trivially_copyable_v<T>);
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(T));
  bits = exchange(mask, bits, source);
  std::memcpy(&value, &bits, sizeof(T));
  return value;
}

// Atomics: the access is checked as one, then done.
void atomic_access(const void* address, size_t bytes);
template <class T, class F>
__attribute__((noinline, no_sanitize("thread"))) T atomic(T* address, F next) {
  atomic_access(address, sizeof(T));
  T old;
  std::memcpy(&old, address, sizeof(T));
  const T value = next(old);
  std::memcpy(static_cast<void*>(address), &value, sizeof(T));
  return old;
}

}  // namespace glassnet::simt

#define GLASSNET_SHARED(type, name, ...) \
  auto& name = ::glassnet::simt::shared_array<type __VA_ARGS__>([] {}, #name)
#define GLASSNET_DYNAMIC_SHARED(type, name) \
  type* const name = static_cast<type*>(::glassnet::simt::dynamic_shared())

#define threadIdx (::glassnet::simt::thread_index())
#define blockIdx (::glassnet::simt::block_index())
#define blockDim (::glassnet::simt::block_extent())
#define gridDim (::glassnet::simt::grid_extent())
inline constexpr int warpSize = 32;

// Always part of their caller, so that messages name the line that calls.
#define GLASSNET_WORD [[gnu::always_inline, gnu::artificial]] inline

GLASSNET_WORD void __syncthreads() {
  glassnet::simt::barrier();
}
GLASSNET_WORD int __syncthreads_or(int predicate) {
  return glassnet::simt::barrier_or(predicate != 0);
}
GLASSNET_WORD int __syncthreads_and(int predicate) {
  return glassnet::simt::barrier_and(predicate != 0);
}
GLASSNET_WORD int __syncthreads_count(int predicate) {
  return glassnet::simt::barrier_count(predicate != 0);
}
GLASSNET_WORD void __syncwarp(uint32_t mask = 0xffffffff) {
  glassnet::simt::warp_barrier(mask);
}
GLASSNET_WORD void __threadfence() {
  glassnet::simt::fence();
}
// Each lane alone: of the answers that CUDA allows the one on which least can be built.
GLASSNET_WORD uint32_t __activemask() {
  return 1U << glassnet::simt::lane();
}

// A source outside of the lane's group of `width` lanes means the lane itself; for the exclusive
// or, earlier groups may be read.
template <class T>
GLASSNET_WORD T __shfl_sync(uint32_t mask, T value, int source, int width = 32) {
  const int lane = glassnet::simt::lane();
  return glassnet::simt::shuffle(mask, value, lane / width * width + (source & (width - 1)));
}
template <class T>
GLASSNET_WORD T __shfl_xor_sync(uint32_t mask, T value, int bits, int width = 32) {
  const int lane = glassnet::simt::lane(), source = lane ^ bits;
  return glassnet::simt::shuffle(mask, value, source / width <= lane / width ? source : lane);
}
template <class T>
GLASSNET_WORD T __shfl_down_sync(uint32_t mask, T value, unsigned delta, int width = 32) {
  const int lane = glassnet::simt::lane(), source = lane + static_cast<int>(delta);
  return glassnet::simt::shuffle(mask, value, source / width == lane / width ? source : lane);
}
template <class T>
GLASSNET_WORD T __shfl_up_sync(uint32_t mask, T value, unsigned delta, int width = 32) {
  const int lane = glassnet::simt::lane(), source = lane - static_cast<int>(delta);
  return glassnet::simt::shuffle(mask, value, source >= lane / width * width ? source : lane);
}
GLASSNET_WORD uint32_t __ballot_sync(uint32_t mask, int predicate) {
  return glassnet::simt::ballot(mask, predicate != 0);
}
GLASSNET_WORD int __any_sync(uint32_t mask, int predicate) {
  return glassnet::simt::ballot(mask, predicate != 0) != 0;
}
GLASSNET_WORD int __all_sync(uint32_t mask, int predicate) {
  return glassnet::simt::ballot(mask, predicate == 0) == 0;
}

template <class T>
T atomicAdd(T* address, T value) {
  return glassnet::simt::atomic(address, [=](T old) { return static_cast<T>(old + value); });
}
template <class T>
T atomicSub(T* address, T value) {
  return glassnet::simt::atomic(address, [=](T old) { return static_cast<T>(old - value); });
}
template <class T>
T atomicMax(T* address, T value) {
  return glassnet::simt::atomic(address, [=](T old) { return std::max(old, value); });
}
template <class T>
T atomicMin(T* address, T value) {
  return glassnet::simt::atomic(address, [=](T old) { return std::min(old, value); });
}
template <class T>
T atomicAnd(T* address, T value) {
  return glassnet::simt::atomic(address, [=](T old) { return old & value; });
}
template <class T>
T atomicOr(T* address, T value) {
  return glassnet::simt::atomic(address, [=](T old) { return old | value; });
}
// Counts up to `limit`, and then from 0 again.
inline unsigned atomicInc(unsigned* address, unsigned limit) {
  return glassnet::simt::atomic(address, [=](unsigned old) { return old >= limit ? 0 : old + 1; });
}
template <class T>
T atomicExch(T* address, T value) {
  return glassnet::simt::atomic(address, [=](T) { return value; });
}
template <class T>
T atomicCAS(T* address, T compare, T value) {
  return glassnet::simt::atomic(address, [=](T old) { return old == compare ? value : old; });
}

inline int __popc(uint32_t x) {
  return __builtin_popcount(x);
}
inline int __ffs(int x) {
  return __builtin_ffs(x);
}
inline int __clz(int x) {
  return x == 0 ? 32 : __builtin_clz(static_cast<unsigned>(x));
}
