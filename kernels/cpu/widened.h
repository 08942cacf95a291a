// bfloat16 through copies in float32.
#pragma once

#include "kernels/copy.h"
#include "kernels/cpu/scratch.h"

namespace glassnet::kernels {

// `count` elements in float32, in this thread's buffer for `Purpose`; null stays null.
template <class Purpose>
const float* widened(const bfloat16* x, int64_t count) {
  if (x == nullptr) return nullptr;
  void* wide = thread_scratch<Purpose>().get(static_cast<size_t>(count) * sizeof(float));
  cast(Cpu{}, x, DType::kBFloat16, wide, DType::kFloat32, count);
  return static_cast<const float*>(wide);
}

// Computes float32 results, which f(float*) writes, and rounds them into y; null stays null.
template <class Purpose, class F>
void rounded(bfloat16* y, int64_t count, F&& f) {
  if (y == nullptr) return f(static_cast<float*>(nullptr));
  auto* wide = static_cast<float*>(
      thread_scratch<Purpose>().get(static_cast<size_t>(count) * sizeof(float)));
  f(wide);
  cast(Cpu{}, wide, DType::kFloat32, y, DType::kBFloat16, count);
}

}  // namespace glassnet::kernels
