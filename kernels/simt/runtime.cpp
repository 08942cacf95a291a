// The contract of kernels/cuda/runtime.h without a GPU: one device, whose memory is the host's and
// whose kernels the executor runs.
//
// Whatever is queued is done at once, so that streams and events have nothing to wait for, but it
// refuses what the CUDA runtime refuses. Only a graph keeps its work for later.
#include "kernels/simt/runtime.h"

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <mutex>
#include <utility>

#include "kernels/cuda/runtime.h"
#include "kernels/error.h"
#include "kernels/simt/executor.h"
#include "kernels/simt/memory.h"

namespace glassnet {
namespace {

using Work = std::function<void()>;

// A graph that is being captured. Streams join it by waiting for an event of a stream that is in it
// and have to be waited for before it ends.
struct Capture {
  struct Stream {
    int last = 0;        // the number of the last thing that was queued on it
    int waited_for = 0;  // the number of the last thing on it that another stream waits for
  };
  std::vector<Work> work;
  void* origin = nullptr;
  std::map<void*, Stream> streams;
  int count = 0;

  bool holds(void* stream) const { return streams.contains(stream); }
  void queued(void* stream) { streams[stream].last = ++count; }
};
thread_local std::shared_ptr<Capture> capture;

void refuse_while_capturing(const char* what) {
  if (capture == nullptr) return;
  throw Error(std::string("[cuda] ") + what +
              " cannot be a part of a graph that is being captured");
}

// Keeps `work` if its stream is being captured.
bool record(void* stream, Work work) {
  if (capture == nullptr || !capture->holds(stream)) return false;
  capture->queued(stream);
  capture->work.push_back(std::move(work));
  return true;
}
void queue(void* stream, const Work& work) {
  if (!record(stream, work)) work();
}

// Memory that was asked for, by its address.
class Allocations {
 public:
  void add(void* data, size_t bytes) {
    const std::lock_guard lock(mutex_);
    sizes_[static_cast<char*>(data)] = bytes;
    total_ += bytes;
  }
  void remove(void* data) {
    const std::lock_guard lock(mutex_);
    const auto entry = sizes_.find(static_cast<char*>(data));
    if (entry == sizes_.end()) return;
    total_ -= entry->second;
    sizes_.erase(entry);
  }
  bool holds(const void* data, size_t bytes) const {
    const std::lock_guard lock(mutex_);
    const char* begin = static_cast<const char*>(data);
    auto entry = sizes_.upper_bound(const_cast<char*>(begin));
    if (entry == sizes_.begin()) return false;
    --entry;
    return begin + bytes <= entry->first + entry->second;
  }
  size_t total() const {
    const std::lock_guard lock(mutex_);
    return total_;
  }

 private:
  mutable std::mutex mutex_;
  std::map<char*, size_t> sizes_;
  size_t total_ = 0;
};

// Never destroyed: memory in static objects may be freed later than any other static is.
Allocations& device_allocations() {
  static auto& allocations = *new Allocations;
  return allocations;
}
Allocations& pinned_allocations() {
  static auto& allocations = *new Allocations;
  return allocations;
}

std::atomic<size_t>& device_memory() {
  static std::atomic<size_t> bytes = [] {
    const char* text = std::getenv("GLASSNET_SIMT_MEMORY");
    return text == nullptr ? size_t{64} << 30
                           : static_cast<size_t>(std::strtoull(text, nullptr, 10));
  }();
  return bytes;
}

void copy_now(void* destination, const void* source, size_t bytes) {
  if (simt::is_device_memory(source)) simt::check_read(source, bytes);
  if (simt::is_device_memory(destination)) simt::mark_written(destination, bytes);
  std::memmove(destination, source, bytes);
}

void check_index(int index) {
  kernels::cuda_device(index);
}

char compute_stream;
thread_local void* scoped_stream = nullptr;  // null stands for the compute stream

}  // namespace

namespace simt {

void set_device_memory(size_t bytes) {
  device_memory() = bytes;
}

void queue_library(void* stream, const Work& work) {
  queue(stream, work);
}

void at_launch(Work work) {
  if (capture != nullptr) capture->work.push_back(std::move(work));
}

}  // namespace simt

namespace kernels {

// --- memory --------------------------------------------------------------------------------------

void* cuda_allocate(int index, size_t bytes) {
  check_index(index);
  if (device_allocations().total() + bytes > device_memory()) return nullptr;
  void* data = simt::allocate(bytes);
  if (data != nullptr) device_allocations().add(data, bytes);
  return data;
}

void cuda_free(int, void* data) noexcept {
  if (data == nullptr) return;
  device_allocations().remove(data);
  simt::free(data);
}

void* pinned_allocate(size_t bytes) {
  void* data = std::malloc(bytes);
  require(data != nullptr,
          [] { return std::string("[cuda] allocating pinned memory failed: out of memory"); });
  pinned_allocations().add(data, bytes);
  return data;
}

void pinned_free(void* data) noexcept {
  pinned_allocations().remove(data);
  std::free(data);
}

void cuda_copy(Cuda device, void* destination, const void* source, size_t bytes) {
  if (bytes == 0) return;
  if (!simt::is_device_memory(destination) || !simt::is_device_memory(source)) {
    refuse_while_capturing("a copy that the host waits for");
  }
  queue(device.stream, [=] { copy_now(destination, source, bytes); });
}

void cuda_copy_async(Cuda device, void* destination, const void* source, size_t bytes) {
  if (bytes == 0) return;
  for (const void* data : {static_cast<const void*>(destination), source}) {
    require(simt::is_device_memory(data) || pinned_allocations().holds(data, bytes), [] {
      return std::string("[cuda] a copy that is only queued needs pinned memory on the host");
    });
  }
  queue(device.stream, [=] { copy_now(destination, source, bytes); });
}

void cuda_set_zero(Cuda device, void* data, size_t bytes) {
  if (bytes == 0) return;
  queue(device.stream, [=] {
    simt::mark_written(data, bytes, "cuda_set_zero");
    std::memset(data, 0, bytes);
  });
}

CudaMemory cuda_memory(int index) {
  check_index(index);
  const size_t total = device_memory(), used = device_allocations().total();
  return {used < total ? total - used : 0, total};
}

// --- streams -------------------------------------------------------------------------------------

void* current_stream(int index) {
  check_index(index);
  return scoped_stream != nullptr ? scoped_stream : &compute_stream;
}

Cuda current_cuda(int index) {
  return {index, current_stream(index)};
}

StreamScope::StreamScope(int index, void* stream) : index_(index) {
  check_index(index_);
  before_ = std::exchange(scoped_stream, stream);
}
StreamScope::~StreamScope() {
  scoped_stream = before_;
}

CudaStream::CudaStream(int index) : index_(index) {
  check_index(index_);
  stream_ = new char;
}
CudaStream::~CudaStream() {
  delete static_cast<char*>(stream_);
}

namespace {
// Where an event was recorded last.
struct EventState {
  bool recorded = false, captured = false;
  std::weak_ptr<Capture> in;  // the capture, while it goes on
  void* stream = nullptr;
  int number = 0;
  std::chrono::steady_clock::time_point time;  // of recording: work is done when it is queued

  void check_waitable() const {
    if (!captured) return;
    throw Error(
        "[cuda] an event that was recorded into a graph cannot be waited for outside of it");
  }
};
EventState& state_of(void* event) {
  return *static_cast<EventState*>(event);
}
}  // namespace

CudaEvent::CudaEvent(int index, bool /*timed*/) : index_(index) {
  check_index(index_);
  event_ = new EventState;
}
CudaEvent::~CudaEvent() {
  delete &state_of(event_);
}
void CudaEvent::record(void* stream) {
  EventState& state = state_of(event_);
  state = {.recorded = true, .time = std::chrono::steady_clock::now()};
  if (capture == nullptr || !capture->holds(stream)) return;
  capture->queued(stream);
  state.captured = true;
  state.in = capture;
  state.stream = stream;
  state.number = capture->count;
}
void CudaEvent::wait_on(void* stream) const {
  EventState& state = state_of(event_);
  if (!state.recorded) return;
  const std::shared_ptr<Capture> in = state.in.lock();
  if (in != nullptr && in == capture) {
    capture->streams[state.stream].waited_for = state.number;
    capture->queued(stream);
    return;
  }
  state.check_waitable();
  if (capture != nullptr && capture->holds(stream)) {
    throw Error(
        "[cuda] a graph cannot wait for an event that was recorded before its capture began");
  }
}
void CudaEvent::synchronize() const {
  refuse_while_capturing("a wait for an event");
  state_of(event_).check_waitable();
}
bool CudaEvent::done() const {
  refuse_while_capturing("a look at an event");
  state_of(event_).check_waitable();
  return true;
}
double CudaEvent::milliseconds_since(const CudaEvent& earlier) const {
  return std::chrono::duration<double, std::milli>(state_of(event_).time -
                                                   state_of(earlier.event_).time)
      .count();
}

void synchronize(Cuda) {
  refuse_while_capturing("a wait for the device");
}

// --- graphs --------------------------------------------------------------------------------------

struct CudaGraph::Impl {
  std::shared_ptr<const std::vector<Work>> work;
};

CudaGraph::CudaGraph() = default;
CudaGraph::~CudaGraph() = default;

void CudaGraph::capture(int index, const std::function<void()>& work) {
  static const bool recording = [] {
    simt::set_recorder(record);
    return true;
  }();
  (void)recording;
  refuse_while_capturing("another graph");
  const auto mine = std::make_shared<Capture>();
  mine->origin = current_stream(index);
  mine->streams[mine->origin] = {};
  // Until the end of this function, whether it returns or throws.
  struct Scope {
    ~Scope() { glassnet::capture = nullptr; }
  } const scope;
  glassnet::capture = mine;
  work();
  for (const auto& [stream, state] : mine->streams) {
    require(stream == mine->origin || state.last <= state.waited_for, [] {
      return std::string(
          "[cuda] capturing a graph failed: a stream has joined it and is not waited for at its "
          "end");
    });
  }
  impl_ = std::make_unique<Impl>();
  impl_->work = std::make_shared<const std::vector<Work>>(std::move(mine->work));
}

void CudaGraph::launch(Cuda device) const {
  require(captured(), [] { return std::string("[cuda] the graph has not been captured"); });
  queue(device.stream, [all = impl_->work] {
    for (const Work& work : *all) work();
  });
}

bool CudaGraph::captured() const {
  return impl_ != nullptr;
}

bool is_capturing(Cuda device) {
  return glassnet::capture != nullptr && glassnet::capture->holds(device.stream);
}

// --- errors --------------------------------------------------------------------------------------

// The executor throws what a kernel does wrong when it is launched, whether asked to wait or not.
void check_stream(Cuda, const std::string&) {}

// --- devices -------------------------------------------------------------------------------------

const CudaDevices& cuda_devices() {
  static const CudaDevices& devices = *new CudaDevices{{{.index = 0,
                                                         .name = "host SIMT executor",
                                                         .memory_bytes = device_memory(),
                                                         .capability_major = 9,
                                                         .capability_minor = 0,
                                                         .multiprocessors = 1}},
                                                       ""};
  return devices;
}

}  // namespace kernels
}  // namespace glassnet
