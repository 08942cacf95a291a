// How the libraries behind convolutions and matrix products may compute, for the whole process.
#pragma once

namespace glassnet::kernels {

// Whether float32 products may round their operands to TF32 (10 bits of fraction) for the tensor
// cores. Off unless --tf32 asks for it.
void set_allow_tf32(bool allowed);
bool allow_tf32();

// Whether float32 convolutions on the CPU may take Winograd's way, with fewer products and a larger
// rounding error (--winograd).
void set_allow_winograd(bool allowed);
bool allow_winograd();

// Whether only algorithms may be chosen that give the same bits each time (--deterministic).
void set_deterministic(bool wanted);
bool deterministic();

// Threads that share the work of a CPU kernel called here.
int cpu_threads();

}  // namespace glassnet::kernels
