// What this machine could do at most, as a measure for what it does.
#pragma once

namespace glassnet {

// float32 operations per second that all of OpenMP's threads reach together in multiply-adds that
// stay in registers (a multiply-add counts as two). The best of several measurements of about
// 0.1 s each, after the cores have warmed up.
double measure_peak_flops();

}  // namespace glassnet
