// The simulated runtime beyond the contract of kernels/cuda/runtime.h.
#pragma once

#include <cstddef>
#include <functional>

namespace glassnet::simt {

// How much memory the device has, to see what happens when it runs out. At first it is
// GLASSNET_SIMT_MEMORY bytes, or 64 GiB.
void set_device_memory(size_t bytes);

// Does `work` in every launch of the graph that this thread captures, at this place in it; nothing
// when it captures none. For the caching allocator: memory that is taken and freed during a capture
// is alive between the same two kernels of each launch.
void at_launch(std::function<void()> work);

// Does `work`, which touches device memory on the host as a library's kernels would on a GPU, in
// the order of the stream; while the stream is captured, in every launch of the graph instead.
void queue_library(void* stream, const std::function<void()>& work);

}  // namespace glassnet::simt
