// Where the time of a piece of work goes, as spans that nest: phases (forward, loss, backward,
// update), layers, and the ops that they call.
//
//   Profile profile(paths);              // records what this thread does from now on
//   train.start(batch, 0);
//   train.finish();
//   const std::vector<Span> spans = profile.finish();
//
// Whatever may be recorded stands in a SpanScope (phases, layers) or in an OpScope
// (kernels/op_scope.h), which look for a Profile of their thread and do nothing without one.
//
// Times are the host's, or on a CUDA device those of a pair of events around each span, which are
// looked at when the work is over: then the host need not wait for each op. Work that is replayed
// from a recorded graph shows nothing of its inside.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace glassnet {

struct Span {
  enum class Kind : uint8_t { kPhase, kLayer, kOp };
  Kind kind = Kind::kPhase;
  int parent = -1;            // among the spans
  std::string name;           // "backward", "layer1.0.conv1", "conv2d"
  std::string shape;          // of an op: what it works on, "(32, 38, 38, 64)"
  double begin = 0, end = 0;  // milliseconds since the profile began
  int64_t multiply_adds = 0;  // of convolutions and matrix products, as if none were saved
  // Of the tensors that an op reads and of those that it writes, each counted once.
  int64_t bytes = 0;

  double duration() const { return end - begin; }
};

// What each span has for itself: its duration without that of the spans right below.
std::vector<double> self_times(const std::vector<Span>& spans);
// The span of `kind` around span `index` that is nearest, or that is outermost below the first;
// null where there is none. A span is not around itself.
const Span* nearest(const std::vector<Span>& spans, size_t index, Span::Kind kind);
const Span* outermost(const std::vector<Span>& spans, size_t index, Span::Kind kind);

// CONVENTION: one at a time on a thread, and it begins and ends outside of any scope. Spans stand
// in the order in which they began; the first, "step", is everything from begin to end.
class Profile {
 public:
  // `layers` has the path of each module, by its address; "" is the network itself, whose span is
  // the phase "forward". `cuda_index` is of the device whose time is measured, none the host's.
  explicit Profile(std::map<const void*, std::string> layers = {},
                   std::optional<int> cuda_index = {});
  ~Profile();
  Profile(const Profile&) = delete;
  Profile& operator=(const Profile&) = delete;

  // Ends recording, and waits for the device. Throws Error when a scope is still open.
  std::vector<Span> finish();

  // Of this thread; null when nothing is recorded.
  static Profile* active() { return active_; }

  // For scopes. What is opened is inside of what is open already.
  void open(Span::Kind kind, std::string name);
  void open_layer(const void* module);
  void close() noexcept;
  // A layer's span for the gradients of what was recorded in it: `remember` notes that the
  // autograd node with this number was made in the layer that is open.
  void remember(uint64_t node);
  void open_gradient_of(uint64_t node);
  // Of the innermost span, when that is an op's; else nothing.
  void describe(std::string shape);
  void count_multiply_adds(int64_t count);
  void touch(const void* data, size_t bytes, bool written);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;

  inline static thread_local Profile* active_ = nullptr;
};

// A span for as long as it lives: SpanScope([&](Profile& p) { p.open_layer(this); }).
class [[nodiscard]] SpanScope {
 public:
  template <class Open>
  explicit SpanScope(const Open& open) : profile_(Profile::active()) {
    if (profile_ != nullptr) open(*profile_);
  }
  ~SpanScope() {
    if (profile_ != nullptr) profile_->close();
  }
  SpanScope(const SpanScope&) = delete;
  SpanScope& operator=(const SpanScope&) = delete;

 private:
  Profile* profile_;
};

class [[nodiscard]] PhaseScope : SpanScope {
 public:
  explicit PhaseScope(const char* name)
      : SpanScope([&](Profile& p) { p.open(Span::Kind::kPhase, name); }) {}
};

}  // namespace glassnet
