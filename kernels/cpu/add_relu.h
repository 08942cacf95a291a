// What follows a convolution of inference where it is not part of it.
#pragma once

#include <cstdint>
#include <type_traits>

#include "kernels/convert.h"
#include "kernels/cpu/parallel.h"
#include "kernels/elementwise.h"

namespace glassnet::kernels {

// y = act(sums + z) with act the ReLU or nothing, computed in float32; z may be null, and sums may
// be y.
template <class From, class T>
void add_relu(const From* sums, const T* z, T* y, bool relu, int64_t count) {
  const auto run = [&](auto residual, auto rectified) {
    parallel_ranges(count, kSmall, [=](int64_t begin, int64_t end) {
#pragma omp simd
      for (int64_t i = begin; i < end; ++i) {
        const float sum = residual ? widen(sums[i]) + widen(z[i]) : widen(sums[i]);
        y[i] = convert<T>(rectified ? Relu{}.value(sum) : sum);
      }
    });
  };
  using True = std::true_type;
  using False = std::false_type;
  if (z != nullptr) {
    relu ? run(True{}, True{}) : run(True{}, False{});
  } else {
    relu ? run(False{}, True{}) : run(False{}, False{});
  }
}

}  // namespace glassnet::kernels
