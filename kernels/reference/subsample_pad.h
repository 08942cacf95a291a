// The definition of subsampling with channels of zeros, as plain loops: contract in
// kernels/subsample_pad.h.
#pragma once

#include <algorithm>

#include "kernels/subsample_pad.h"

namespace glassnet::kernels::reference {

// Calls f(output element, input element) for every element that is taken over.
template <class F>
void for_each_taken(const SubsamplePadShape& o, F&& f) {
  for (int64_t n = 0; n < o.n; ++n) {
    for (int64_t p = 0; p < o.out_h(); ++p) {
      for (int64_t q = 0; q < o.out_w(); ++q) {
        for (int64_t c = 0; c < o.c; ++c) {
          f(((n * o.out_h() + p) * o.out_w() + q) * o.out_c() + o.before + c,
            ((n * o.h + p * o.stride_h) * o.w + q * o.stride_w) * o.c + c);
        }
      }
    }
  }
}

//   y[out] = x[in], 0 elsewhere
template <class T>
void subsample_pad_forward(const T* x, T* y, const SubsamplePadShape& o) {
  std::fill(y, y + o.n * o.out_h() * o.out_w() * o.out_c(), T(0));
  for_each_taken(o, [&](int64_t out, int64_t in) { y[out] = x[in]; });
}

//   dx[in] = dy[out], 0 elsewhere
template <class T>
void subsample_pad_backward(const T* dy, T* dx, const SubsamplePadShape& o) {
  std::fill(dx, dx + o.n * o.h * o.w * o.c, T(0));
  for_each_taken(o, [&](int64_t out, int64_t in) { dx[in] = dy[out]; });
}

}  // namespace glassnet::kernels::reference
