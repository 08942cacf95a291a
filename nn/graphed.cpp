#include "nn/graphed.h"

#include "nn/folded_conv.h"

namespace glassnet {

GraphedForward::GraphedForward(Module& model) : model_(model), state_(model.state_dict()) {}

std::vector<uint64_t> GraphedForward::versions() const {
  std::vector<uint64_t> result;
  result.reserve(state_.size());
  for (const NamedTensor& entry : state_) result.push_back(entry.tensor.version());
  return result;
}

Tensor GraphedForward::run(const Tensor& x) {
  const NoGrad no_grad;
  return model_(Variable(x)).value();
}

Tensor GraphedForward::operator()(const Tensor& x) {
  if (x.device().type == DeviceType::kCpu || model_.hooked_within()) return run(x);
  auto& entry = recorded_[{x.shape().dims(), x.dtype()}];
  std::vector<uint64_t> weights = versions();
  if (!entry || entry->weights != weights) entry = std::make_unique<Recorded>();
  entry->weights = std::move(weights);
  // What the first call sets up (plans, workspaces) must not happen while recording.
  if (entry->calls++ == 0 || entry->refused) return run(x);
  if (!entry->graph.recorded()) {
    try {
      const WatchesWeights watches;
      entry->x = x.clone();
      entry->graph.record(x.device(), [&] { entry->y = run(entry->x); });
    } catch (const Error&) {  // what is really wrong shows op by op, too
      entry->x = entry->y = {};
      entry->refused = true;
      return run(x);
    }
  } else {
    entry->x.copy_from(x);
  }
  entry->graph.replay();
  ++replayed_;
  return entry->y.clone();  // the next replay writes over it
}

}  // namespace glassnet
