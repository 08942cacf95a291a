#include "kernels/flush_denormals.h"

#if defined(__SSE2__)
#include <immintrin.h>
#endif

namespace glassnet::kernels {
namespace {

#if defined(__SSE2__)
constexpr unsigned kFlushToZero = 1U << 15, kDenormalsAreZero = 1U << 6;

unsigned control_register() {
  return _mm_getcsr();
}
void set_on_all_threads(unsigned value) {
#pragma omp parallel
  _mm_setcsr(value);
}
#else
constexpr unsigned kFlushToZero = 0, kDenormalsAreZero = 0;

unsigned control_register() {
  return 0;
}
void set_on_all_threads(unsigned) {}
#endif

}  // namespace

FlushDenormals::FlushDenormals() : before_(control_register()) {
  set_on_all_threads(before_ | kFlushToZero | kDenormalsAreZero);
}

FlushDenormals::~FlushDenormals() {
  set_on_all_threads(before_);
}

}  // namespace glassnet::kernels
