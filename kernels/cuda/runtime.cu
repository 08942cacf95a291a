// The contract of runtime.h on the CUDA runtime.
//
// Work goes to streams that do not wait for the legacy default stream, because nothing on that one
// can be captured into a graph.
#include "kernels/cuda/runtime.h"

#include <cuda_runtime.h>

#include <atomic>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <mutex>
#include <sstream>

#include "kernels/cuda/device_facts.h"
#include "kernels/error.h"
#include "kernels/op_scope.h"

namespace glassnet::kernels {
namespace {

// What the runtime says about a failure, without leaving it for the next call to find.
std::string reason(cudaError_t status) {
  cudaGetLastError();
  return cudaGetErrorString(status);
}

void check(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  throw Error(std::string("[cuda] ") + what + " failed: " + reason(status));
}

// For calls that may be told of a kernel's failure, whichever kernel that was.
void check_earlier(cudaError_t status, const char* what) {
  switch (status) {
    case cudaErrorIllegalAddress:
    case cudaErrorMisalignedAddress:
    case cudaErrorIllegalInstruction:
    case cudaErrorInvalidAddressSpace:
    case cudaErrorInvalidPc:
    case cudaErrorHardwareStackError:
    case cudaErrorLaunchFailure:
    case cudaErrorLaunchTimeout:
    case cudaErrorAssert: {
      std::string message =
          std::string("[cuda] a kernel failed before ") + what + ": " + reason(status);
      if (!synchronous()) message += "; set GLASSNET_SYNC=1 to learn which one";
      throw Error(message);
    }
    default:
      check(status, what);
  }
}

// Makes a device current on this thread, as current_cuda does. It stays so: to make the former one
// current again would set it up, and it may be one that nobody here uses.
class CurrentDevice {
 public:
  explicit CurrentDevice(int index) : status_(cudaSetDevice(index)) {}
  CurrentDevice(const CurrentDevice&) = delete;
  CurrentDevice& operator=(const CurrentDevice&) = delete;
  cudaError_t status() const { return status_; }
  // Throws Error if the device cannot be chosen.
  void check_chosen(int index) const {
    if (status_ == cudaSuccess) return;
    cuda_device(index);  // knows the better reason, if there is no such device
    check(status_, "choosing the device");
  }

 private:
  cudaError_t status_;
};

// For what fails without anybody being told: the next launch must not find the error and take it
// for its own.
void ignore(cudaError_t status) {
  if (status != cudaSuccess) cudaGetLastError();
}

// Lets this thread ask for memory and give it back while it captures a graph. Neither becomes a
// part of the graph.
class RelaxedCapture {
 public:
  RelaxedCapture() { cudaThreadExchangeStreamCaptureMode(&mode_); }
  ~RelaxedCapture() { cudaThreadExchangeStreamCaptureMode(&mode_); }
  RelaxedCapture(const RelaxedCapture&) = delete;
  RelaxedCapture& operator=(const RelaxedCapture&) = delete;

 private:
  cudaStreamCaptureMode mode_ = cudaStreamCaptureModeRelaxed;
};

cudaStream_t as_stream(void* stream) {
  return static_cast<cudaStream_t>(stream);
}
cudaEvent_t as_event(void* event) {
  return static_cast<cudaEvent_t>(event);
}

cudaStream_t new_stream(int index) {
  const CurrentDevice current(index);
  current.check_chosen(index);
  cudaStream_t stream = nullptr;
  check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "making a stream");
  return stream;
}

constexpr int kMaxDevices = 64;

void check_index(int index) {
  cuda_device(index);
  require(index < kMaxDevices, [] { return std::string("[cuda] there are too many devices"); });
}

// Never destroyed: when the program ends, the driver may be gone before the streams.
void* compute_stream(int index) {
  static std::atomic<void*> streams[kMaxDevices];
  static std::mutex mutex;
  check_index(index);
  if (void* stream = streams[index].load(std::memory_order_acquire)) return stream;
  const std::lock_guard lock(mutex);
  if (streams[index] == nullptr) streams[index] = new_stream(index);
  return streams[index];
}

// Null stands for the compute stream.
thread_local void* scoped_streams[kMaxDevices];

// Whether this thread is inside CudaGraph::capture, where waiting would spoil the graph.
thread_local bool capturing = false;

void refuse_while_capturing(const char* what) {
  if (!capturing) return;
  throw Error(std::string("[cuda] ") + what +
              " cannot be a part of a graph that is being captured");
}

bool on_device(const void* data) {
  cudaPointerAttributes attributes;
  check(cudaPointerGetAttributes(&attributes, data), "looking at an address");
  return attributes.type == cudaMemoryTypeDevice;
}
bool pageable(const void* data) {
  cudaPointerAttributes attributes;
  check(cudaPointerGetAttributes(&attributes, data), "looking at an address");
  return attributes.type == cudaMemoryTypeUnregistered;
}

}  // namespace

// --- memory --------------------------------------------------------------------------------------

void* cuda_allocate(int index, size_t bytes) {
  const CurrentDevice current(index);
  current.check_chosen(index);
  const RelaxedCapture relaxed;
  void* data = nullptr;
  const cudaError_t status = cudaMalloc(&data, bytes);
  if (status == cudaErrorMemoryAllocation) {
    cudaGetLastError();  // the caller handles it; later calls must not report it again
    return nullptr;
  }
  check_earlier(status, "allocating memory");
  return data;
}

void cuda_free(int index, void* data) noexcept {
  const CurrentDevice current(index);
  // At the end of the program the driver may be gone, and the memory with it.
  if (current.status() != cudaSuccess) return;
  const RelaxedCapture relaxed;
  ignore(cudaFree(data));
}

void* pinned_allocate(size_t bytes) {
  const RelaxedCapture relaxed;
  void* data = nullptr;
  check_earlier(cudaHostAlloc(&data, bytes, cudaHostAllocPortable), "allocating pinned memory");
  return data;
}

void pinned_free(void* data) noexcept {
  const RelaxedCapture relaxed;
  ignore(cudaFreeHost(data));
}

void cuda_copy(Cuda device, void* destination, const void* source, size_t bytes) {
  if (bytes == 0) return;
  const bool wait = !on_device(destination) || !on_device(source);
  if (wait) refuse_while_capturing("a copy that the host waits for");
  check_earlier(
      cudaMemcpyAsync(destination, source, bytes, cudaMemcpyDefault, as_stream(device.stream)),
      "copying memory");
  if (wait) check_earlier(cudaStreamSynchronize(as_stream(device.stream)), "copying memory");
}

void cuda_copy_async(Cuda device, void* destination, const void* source, size_t bytes) {
  if (bytes == 0) return;
  require(!pageable(destination) && !pageable(source), [] {
    return std::string("[cuda] a copy that is only queued needs pinned memory on the host");
  });
  check_earlier(
      cudaMemcpyAsync(destination, source, bytes, cudaMemcpyDefault, as_stream(device.stream)),
      "queueing a copy");
  check_async(device, [] { return std::string("cuda_copy_async"); });
}

void cuda_set_zero(Cuda device, void* data, size_t bytes) {
  if (bytes == 0) return;
  check_earlier(cudaMemsetAsync(data, 0, bytes, as_stream(device.stream)),
                "setting memory to zero");
  check_async(device, [] { return std::string("cuda_set_zero"); });
}

CudaMemory cuda_memory(int index) {
  const CurrentDevice current(index);
  current.check_chosen(index);
  CudaMemory memory;
  check_earlier(cudaMemGetInfo(&memory.free_bytes, &memory.total_bytes), "asking for free memory");
  return memory;
}

// --- streams -------------------------------------------------------------------------------------

void* current_stream(int index) {
  if (index >= 0 && index < kMaxDevices && scoped_streams[index] != nullptr) {
    return scoped_streams[index];
  }
  return compute_stream(index);
}

Cuda current_cuda(int index) {
  void* stream = current_stream(index);
  // A launch fails on a stream of another device than the current one.
  check(cudaSetDevice(index), "choosing the device");
  return {index, stream};
}

StreamScope::StreamScope(int index, void* stream) : index_(index) {
  check_index(index);
  before_ = scoped_streams[index];
  scoped_streams[index] = stream;
}
StreamScope::~StreamScope() {
  scoped_streams[index_] = before_;
}

CudaStream::CudaStream(int index) : index_(index), stream_(new_stream(index)) {}
CudaStream::~CudaStream() {
  const CurrentDevice current(index_);
  ignore(cudaStreamDestroy(as_stream(stream_)));
}

CudaEvent::CudaEvent(int index, bool timed) : index_(index) {
  const CurrentDevice current(index);
  current.check_chosen(index);
  cudaEvent_t event = nullptr;
  check(cudaEventCreateWithFlags(&event, timed ? cudaEventDefault : cudaEventDisableTiming),
        "making an event");
  event_ = event;
}
CudaEvent::~CudaEvent() {
  const CurrentDevice current(index_);
  ignore(cudaEventDestroy(as_event(event_)));
}
void CudaEvent::record(void* stream) {
  check_earlier(cudaEventRecord(as_event(event_), as_stream(stream)), "recording an event");
}
void CudaEvent::wait_on(void* stream) const {
  check_earlier(cudaStreamWaitEvent(as_stream(stream), as_event(event_), 0),
                "waiting for an event");
}
void CudaEvent::synchronize() const {
  refuse_while_capturing("a wait for an event");
  check_earlier(cudaEventSynchronize(as_event(event_)), "waiting for an event");
}
bool CudaEvent::done() const {
  refuse_while_capturing("a look at an event");
  const cudaError_t status = cudaEventQuery(as_event(event_));
  if (status == cudaErrorNotReady) {
    cudaGetLastError();
    return false;
  }
  check_earlier(status, "asking for an event");
  return true;
}
double CudaEvent::milliseconds_since(const CudaEvent& earlier) const {
  float milliseconds = 0;
  check_earlier(cudaEventElapsedTime(&milliseconds, as_event(earlier.event_), as_event(event_)),
                "reading an event's time");
  return static_cast<double>(milliseconds);
}

void synchronize(Cuda device) {
  refuse_while_capturing("a wait for the device");
  check_earlier(cudaStreamSynchronize(as_stream(device.stream)), "waiting for the device");
}

// --- graphs --------------------------------------------------------------------------------------

struct CudaGraph::Impl {
  int index = 0;
  cudaGraphExec_t exec = nullptr;
  ~Impl() {
    const CurrentDevice current(index);
    if (exec != nullptr) ignore(cudaGraphExecDestroy(exec));
  }
};

CudaGraph::CudaGraph() = default;
CudaGraph::~CudaGraph() = default;

void CudaGraph::capture(int index, const std::function<void()>& work) {
  refuse_while_capturing("another graph");
  const Cuda device = current_cuda(index);
  auto impl = std::make_unique<Impl>();
  impl->index = index;
  // Thread-local: what other threads ask of the driver meanwhile, such as pinned memory, is their
  // own business.
  check_earlier(cudaStreamBeginCapture(as_stream(device.stream), cudaStreamCaptureModeThreadLocal),
                "beginning a graph");
  capturing = true;
  std::exception_ptr thrown;
  try {
    work();
  } catch (...) {
    thrown = std::current_exception();
  }
  capturing = false;
  cudaGraph_t graph = nullptr;
  const cudaError_t ended = cudaStreamEndCapture(as_stream(device.stream), &graph);
  cudaError_t made = cudaSuccess;
  if (thrown == nullptr && ended == cudaSuccess) made = cudaGraphInstantiate(&impl->exec, graph, 0);
  if (graph != nullptr) ignore(cudaGraphDestroy(graph));
  if (thrown != nullptr) {
    cudaGetLastError();
    std::rethrow_exception(thrown);
  }
  check(ended, "capturing a graph");
  check(made, "making a graph");
  impl_ = std::move(impl);
}

void CudaGraph::launch(Cuda device) const {
  require(captured(), [] { return std::string("[cuda] the graph has not been captured"); });
  check_earlier(cudaGraphLaunch(impl_->exec, as_stream(device.stream)), "launching a graph");
  check_async(device, [] { return std::string("graph"); });
}

bool CudaGraph::captured() const {
  return impl_ != nullptr;
}

bool is_capturing(Cuda device) {
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  check_earlier(cudaStreamIsCapturing(as_stream(device.stream), &status), "asking for a capture");
  return status != cudaStreamCaptureStatusNone;
}

// --- errors --------------------------------------------------------------------------------------

void check_stream(Cuda device, const std::string& what) {
  if (is_capturing(device)) return;
  const cudaError_t status = cudaStreamSynchronize(as_stream(device.stream));
  if (status == cudaSuccess) return;
  const char* op = current_op();
  throw Error("[" + what + "]" + (op == nullptr ? "" : std::string(" for ") + op) +
              " failed on the device: " + reason(status));
}

// --- devices -------------------------------------------------------------------------------------

namespace {

// The driver finds code that a device can run, or fails, when a kernel is first asked about.
__global__ void probe_kernel() {}

// Why a device cannot be used; empty when it can. Only a doubt about the code makes the driver set
// the device up, which takes time and some of its memory.
std::string why_not(int index, int capability) {
  if (capability < kOldestCapability) return why_too_old(capability);
  int mode = cudaComputeModeDefault;
  if (cudaDeviceGetAttribute(&mode, cudaDevAttrComputeMode, index) == cudaSuccess &&
      mode == cudaComputeModeProhibited) {
    return "its compute mode is 'prohibited'; nvidia-smi --compute-mode=0 allows its use";
  }
#if defined(__CUDA_ARCH_LIST__)
  std::vector<int> built_for = {__CUDA_ARCH_LIST__};  // 750, 900
  for (int& code : built_for) code /= 10;
#else
  const std::vector<int> built_for = {0};
#endif
  switch (code_for(capability, built_for)) {
    case CodeFor::kYes:
      return {};
    case CodeFor::kNo:
      return why_no_code(capability);
    case CodeFor::kTry:
      break;
  }
  const CurrentDevice current(index);
  cudaError_t status = current.status();
  cudaFuncAttributes attributes;
  if (status == cudaSuccess) status = cudaFuncGetAttributes(&attributes, probe_kernel);
  switch (status) {
    case cudaSuccess:
      return {};
    case cudaErrorNoKernelImageForDevice:
    case cudaErrorInvalidDeviceFunction:
    case cudaErrorInvalidPtx:
    case cudaErrorUnsupportedPtxVersion:
    case cudaErrorJitCompilerNotFound:
      cudaGetLastError();
      return why_no_code(capability);
    default:
      return "the driver cannot set it up: " + reason(status);
  }
}

CudaDevices ask_driver() {
  CudaDevices result;
  std::ostringstream version_file;
  version_file << std::ifstream("/proc/driver/nvidia/version").rdbuf();
  const std::string release = driver_release(version_file.str());
  int driver_version = 0, runtime_version = 0, count = 0;
  cudaDriverGetVersion(&driver_version);
  cudaRuntimeGetVersion(&runtime_version);
  cudaError_t status = cudaGetDeviceCount(&count);
  for (int index = 0; index < count && status == cudaSuccess; ++index) {
    cudaDeviceProp properties;
    status = cudaGetDeviceProperties(&properties, index);
    if (status != cudaSuccess) break;
    CudaDevice device;
    device.index = index;
    device.name = properties.name;
    device.memory_bytes = properties.totalGlobalMem;
    device.capability_major = properties.major;
    device.capability_minor = properties.minor;
    device.multiprocessors = properties.multiProcessorCount;
    device.driver_version = driver_version;
    device.runtime_version = runtime_version;
    device.driver = release;
    device.why_not = why_not(index, 10 * properties.major + properties.minor);
    result.devices.push_back(device);
  }
  if (result.devices.empty()) {
    result.why_none = why_no_device({.driver_version = driver_version,
                                     .runtime_version = runtime_version,
                                     .release = release,
                                     .reason = reason(status),
                                     .visible = std::getenv("CUDA_VISIBLE_DEVICES")});
  }
  return result;
}

}  // namespace

const CudaDevices& cuda_devices() {
  static const CudaDevices& devices = *new CudaDevices([] {
    try {
      return ask_driver();
    } catch (const std::exception& error) {
      return CudaDevices{{}, error.what()};
    }
  }());
  return devices;
}

}  // namespace glassnet::kernels
