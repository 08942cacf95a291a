// Runs kernels on the host: each CUDA thread is a fiber, and a block's fibers run one after the
// other, each until it waits for others, in an order that a seed shuffles again at every turn.
//
// Blocks run one after the other, and so do launches, whichever host threads they come from.
// simt.h is what kernels see of it; this is what the simulated runtime and tests do.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace glassnet::simt {

// The order in which threads take turns follows from the seed and the block alone. At first it is
// GLASSNET_SIMT_SEED, or 0.
void set_seed(uint64_t seed);

// Asked before every launch: true says that the stream is being captured, and that `launch`, which
// runs the kernel, has been kept for later.
using Recorder = std::function<bool(void* stream, std::function<void()> launch)>;
void set_recorder(Recorder recorder);

// The kernels that have run in this process, sorted: "scale_kernel" and "scale_kernel<float>".
// With GLASSNET_SIMT_LOG=FILE, a process adds them to that file when it ends, a line each.
std::vector<std::string> kernels_run();

}  // namespace glassnet::simt
