#include "tensor/graph.h"

#if defined(GLASSNET_CUDA)
#include "kernels/cuda/allocator.h"
#include "kernels/cuda/runtime.h"
#endif

namespace glassnet {

namespace {

thread_local bool is_recording = false;

#if defined(GLASSNET_CUDA)
struct RecordingScope {
  RecordingScope() { is_recording = true; }
  ~RecordingScope() { is_recording = false; }
  RecordingScope(const RecordingScope&) = delete;
  RecordingScope& operator=(const RecordingScope&) = delete;
};
#endif

}  // namespace

#if defined(GLASSNET_CUDA)

struct Graph::Impl {
  explicit Impl(int index_) : index(index_), pool(index_) {}
  int index;
  kernels::MemoryPool pool;
  kernels::CudaGraph graph;  // goes before the pool, whose memory it touches
};

void Graph::record(Device device, const std::function<void()>& work) {
  require(device.type == DeviceType::kCuda,
          [] { return std::string("[graph] expected a CUDA device, got the CPU"); });
  auto impl = std::make_unique<Impl>(device.index);
  impl->graph.capture(device.index, [&] {
    const kernels::PoolScope scope(impl->pool);
    const RecordingScope recording;
    work();
  });
  impl_ = std::move(impl);
}

void Graph::replay() const {
  require(recorded(), [] { return std::string("[graph] nothing was recorded"); });
  impl_->graph.launch(kernels::current_cuda(impl_->index));
}

#else

struct Graph::Impl {};
void Graph::record(Device, const std::function<void()>&) {
  throw Error("[graph] this build of Glassnet has no CUDA");
}
void Graph::replay() const {
  throw Error("[graph] nothing was recorded");
}

#endif

Graph::Graph() = default;
Graph::~Graph() = default;
Graph::Graph(Graph&&) noexcept = default;
Graph& Graph::operator=(Graph&&) noexcept = default;
bool Graph::recording() {
  return is_recording;
}
bool Graph::recorded() const {
  return impl_ != nullptr;
}

}  // namespace glassnet
