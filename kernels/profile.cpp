#include "kernels/profile.h"

#include <algorithm>
#include <chrono>
#include <unordered_map>
#include <utility>

#include "kernels/error.h"

#if defined(GLASSNET_CUDA)
#include "kernels/cuda/runtime.h"
#endif

namespace glassnet {

std::vector<double> self_times(const std::vector<Span>& spans) {
  std::vector<double> times;
  times.reserve(spans.size());
  for (const Span& span : spans) {
    times.push_back(span.duration());
    if (span.parent >= 0) times[static_cast<size_t>(span.parent)] -= span.duration();
  }
  return times;
}

const Span* nearest(const std::vector<Span>& spans, size_t index, Span::Kind kind) {
  for (int i = spans[index].parent; i >= 0; i = spans[static_cast<size_t>(i)].parent) {
    const Span& span = spans[static_cast<size_t>(i)];
    if (span.kind == kind) return &span;
  }
  return nullptr;
}

const Span* outermost(const std::vector<Span>& spans, size_t index, Span::Kind kind) {
  const Span* found = nullptr;
  for (int i = spans[index].parent; i > 0; i = spans[static_cast<size_t>(i)].parent) {
    const Span& span = spans[static_cast<size_t>(i)];
    if (span.kind == kind) found = &span;
  }
  return found;
}

struct Profile::Impl {
  using Clock = std::chrono::steady_clock;

  std::map<const void*, std::string> layers;
  std::optional<int> cuda_index;
  std::vector<Span> spans;
  std::vector<int> stack;                                // of open spans
  std::unordered_map<uint64_t, std::string> remembered;  // layers by the nodes made in them
  std::vector<std::pair<const void*, bool>> touched;     // by the innermost op
  Clock::time_point start = Clock::now();
#if defined(GLASSNET_CUDA)
  struct Events {
    std::unique_ptr<kernels::CudaEvent> begin, end;
  };
  std::vector<Events> events;  // of each span

  std::unique_ptr<kernels::CudaEvent> event() const {
    auto made = std::make_unique<kernels::CudaEvent>(*cuda_index, /*timed=*/true);
    made->record(kernels::current_stream(*cuda_index));
    return made;
  }
#endif

  double now() const {
    return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
  }
  Span* innermost_op() {
    Span& top = spans[static_cast<size_t>(stack.back())];
    return top.kind == Span::Kind::kOp ? &top : nullptr;
  }
};

Profile::Profile(std::map<const void*, std::string> layers, std::optional<int> cuda_index)
    : impl_(std::make_unique<Impl>()) {
  require(active_ == nullptr,
          [] { return std::string("[profile] this thread's work is being recorded already"); });
  impl_->layers = std::move(layers);
  impl_->cuda_index = cuda_index;
  open(Span::Kind::kPhase, "step");
  active_ = this;
}

Profile::~Profile() {
  if (active_ == this) active_ = nullptr;
}

std::vector<Span> Profile::finish() {
  require(active_ == this && impl_->stack.size() == 1, [] {
    return std::string("[profile] expected to end where it began, outside of any scope");
  });
  close();
  active_ = nullptr;
#if defined(GLASSNET_CUDA)
  if (impl_->cuda_index) {
    const auto& events = impl_->events;
    for (const Impl::Events& pair : events) {
      require(pair.begin != nullptr && pair.end != nullptr,
              [] { return std::string("[profile] the device kept no time of a span"); });
    }
    events.front().end->synchronize();
    const auto since_start = [&](const kernels::CudaEvent& event) {
      return event.milliseconds_since(*events.front().begin);
    };
    for (size_t i = 0; i < events.size(); ++i) {
      impl_->spans[i].begin = since_start(*events[i].begin);
      impl_->spans[i].end = since_start(*events[i].end);
    }
  }
#endif
  return std::move(impl_->spans);
}

void Profile::open(Span::Kind kind, std::string name) {
  const int parent = impl_->stack.empty() ? -1 : impl_->stack.back();
  impl_->stack.push_back(static_cast<int>(impl_->spans.size()));
  impl_->spans.push_back({.kind = kind, .parent = parent, .name = std::move(name)});
  impl_->touched.clear();
#if defined(GLASSNET_CUDA)
  if (impl_->cuda_index) {
    impl_->events.push_back({impl_->event(), nullptr});
    return;
  }
#endif
  impl_->spans.back().begin = impl_->now();
}

void Profile::open_layer(const void* module) {
  const auto found = impl_->layers.find(module);
  const bool known = found != impl_->layers.end();
  if (known && found->second.empty()) return open(Span::Kind::kPhase, "forward");
  open(Span::Kind::kLayer, known ? found->second : "(a layer)");
}

void Profile::close() noexcept {
  Span& span = impl_->spans[static_cast<size_t>(impl_->stack.back())];
#if defined(GLASSNET_CUDA)
  if (impl_->cuda_index) {
    try {
      impl_->events[static_cast<size_t>(impl_->stack.back())].end = impl_->event();
    } catch (const Error&) {  // `finish` finds that it is missing
    }
    impl_->stack.pop_back();
    impl_->touched.clear();
    return;
  }
#endif
  span.end = impl_->now();
  impl_->stack.pop_back();
  impl_->touched.clear();
}

void Profile::remember(uint64_t node) {
  const Span& top = impl_->spans[static_cast<size_t>(impl_->stack.back())];
  impl_->remembered[node] = top.name;
}

void Profile::open_gradient_of(uint64_t node) {
  const auto found = impl_->remembered.find(node);
  open(Span::Kind::kLayer, found != impl_->remembered.end() ? found->second : "(earlier)");
}

void Profile::describe(std::string shape) {
  if (Span* op = impl_->innermost_op(); op != nullptr) op->shape = std::move(shape);
}

void Profile::count_multiply_adds(int64_t count) {
  if (Span* op = impl_->innermost_op(); op != nullptr) op->multiply_adds += count;
}

void Profile::touch(const void* data, size_t bytes, bool written) {
  Span* op = impl_->innermost_op();
  const std::pair entry(data, written);
  if (op == nullptr || std::ranges::count(impl_->touched, entry) > 0) return;
  impl_->touched.push_back(entry);
  op->bytes += static_cast<int64_t>(bytes);
}

}  // namespace glassnet
