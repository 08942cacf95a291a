// What the CUDA runtime is needed for, without its headers: memory, streams, events, graphs, and
// what there is to know about the devices. Built with GLASSNET_CUDA, on the CUDA runtime
// (kernels/cuda/runtime.cu) or, in a build with GLASSNET_SIMT, on the host executor
// (kernels/simt/runtime.cpp).
//
// Streams are cudaStream_t, passed as void*. Everything here throws Error, a sentence that starts
// with "[cuda]", when the driver refuses; what is noexcept stays silent.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "kernels/device.h"

namespace glassnet::kernels {

// --- memory --------------------------------------------------------------------------------------

// Uninitialised memory on a device; null when the device has too little. Tensors and kernels take
// theirs from the caching allocator above it (kernels/cuda/allocator.h).
void* cuda_allocate(int index, size_t bytes);
void cuda_free(int index, void* data) noexcept;
// Host memory that a device copies from and to while the host goes on.
void* pinned_allocate(size_t bytes);
void pinned_free(void* data) noexcept;

// Between any two of host and devices, in the order of the stream; done when it returns, unless
// both places are on devices.
void cuda_copy(Cuda device, void* destination, const void* source, size_t bytes);
// The same, only queued: host memory must be pinned, or Error is thrown, and left alone until the
// stream has passed it.
void cuda_copy_async(Cuda device, void* destination, const void* source, size_t bytes);
void cuda_set_zero(Cuda device, void* data, size_t bytes);  // queued

struct CudaMemory {
  size_t free_bytes = 0, total_bytes = 0;
};
CudaMemory cuda_memory(int index);

// --- streams -------------------------------------------------------------------------------------

// The stream that this thread's work on a device is queued on: the device's compute stream, unless
// a StreamScope says otherwise.
void* current_stream(int index);
// Cuda{index, current_stream(index)}; makes the device the one that this thread's launches go to.
Cuda current_cuda(int index);

// Makes a stream current on this thread for as long as it lives.
class StreamScope {
 public:
  StreamScope(int index, void* stream);
  ~StreamScope();
  StreamScope(const StreamScope&) = delete;
  StreamScope& operator=(const StreamScope&) = delete;

 private:
  int index_;
  void* before_;
};

// A stream of its own, beside the compute stream.
class CudaStream {
 public:
  explicit CudaStream(int index);
  ~CudaStream();
  CudaStream(const CudaStream&) = delete;
  CudaStream& operator=(const CudaStream&) = delete;
  void* get() const { return stream_; }

 private:
  int index_;
  void* stream_ = nullptr;
};

// A point in a stream's work, which the host or another stream can wait for.
class CudaEvent {
 public:
  // Events that keep the time are slower to wait for.
  explicit CudaEvent(int index, bool timed = false);
  ~CudaEvent();
  CudaEvent(const CudaEvent&) = delete;
  CudaEvent& operator=(const CudaEvent&) = delete;
  void record(void* stream);
  void wait_on(void* stream) const;  // work queued on `stream` from now on comes after the event
  void synchronize() const;          // the host waits
  bool done() const;
  // From the one event to the other; both are timed, and the host has waited for them.
  double milliseconds_since(const CudaEvent& earlier) const;

 private:
  int index_;
  void* event_ = nullptr;
};

// The host waits until all that was queued on the stream is done; throws what went wrong there.
void synchronize(Cuda device);

// --- graphs --------------------------------------------------------------------------------------

// Work that is recorded once and then queued as one: `capture` runs `work`, whose launches and
// asynchronous copies on the device's current stream are recorded instead of run. Throws Error when
// `work` does what a graph cannot hold: waits for the device, or copies from memory that is not
// pinned. The memory that the recorded work touches has to live as long as the graph.
class CudaGraph {
 public:
  CudaGraph();
  ~CudaGraph();
  CudaGraph(const CudaGraph&) = delete;
  CudaGraph& operator=(const CudaGraph&) = delete;
  void capture(int index, const std::function<void()>& work);
  void launch(Cuda device) const;
  bool captured() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};
// Whether the current stream of this thread's device is being captured.
bool is_capturing(Cuda device);

// --- errors --------------------------------------------------------------------------------------

[[noreturn]] void fail_launch(const std::string& kernel, const char* reason);

// Whether GLASSNET_SYNC=1 asks to wait for every kernel, so that an error is told where it arose.
bool synchronous();
// Waits for the stream and throws an Error that starts with "[what]" if that shows a failure. Never
// while a graph is being captured.
void check_stream(Cuda device, const std::string& what);
// The same, under GLASSNET_SYNC=1 only.
template <class Name>
void check_async(Cuda device, Name&& name) {
  if (synchronous()) check_stream(device, name());
}

// --- devices -------------------------------------------------------------------------------------

struct CudaDevice {
  int index = 0;
  std::string name;         // "NVIDIA H100 80GB HBM3"
  size_t memory_bytes = 0;  // in total
  int capability_major = 0, capability_minor = 0;
  int multiprocessors = 0;
  int driver_version = 0, runtime_version = 0;  // of CUDA: 1000 * major + 10 * minor
  std::string driver;                           // its release, "580.159.04", if it can be told
  std::string why_not;                          // why it cannot be used; empty when it can
};

struct CudaDevices {
  std::vector<CudaDevice> devices;
  std::string why_none;  // the driver's reason when there is no device to use
};
// Never throws. Asked of the driver once.
const CudaDevices& cuda_devices();
const CudaDevice& cuda_device(int index);  // throws Error for a device that is not there

}  // namespace glassnet::kernels
