// Denormal numbers taken for zero, on every thread that computes.
//
// A network that has learnt its images by heart has gradients below 1e-38, and arithmetic on such
// numbers costs an x86 processor a hundred times as much: a step of 0.1 s was seen to take 10 s.
#pragma once

namespace glassnet::kernels {

// For as long as it lives, on the calling thread and on the workers of its OpenMP pool. Does
// nothing on processors other than x86.
class FlushDenormals {
 public:
  FlushDenormals();
  ~FlushDenormals();
  FlushDenormals(const FlushDenormals&) = delete;
  FlushDenormals& operator=(const FlushDenormals&) = delete;

 private:
  unsigned before_;  // the calling thread's control register, which the workers had too
};

}  // namespace glassnet::kernels
