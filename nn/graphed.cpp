#include "nn/graphed.h"

namespace glassnet {

Tensor GraphedForward::run(const Tensor& x) {
  const NoGrad no_grad;
  return model_(Variable(x)).value();
}

Tensor GraphedForward::operator()(const Tensor& x) {
  if (x.device().type == DeviceType::kCpu || model_.hooked_within()) return run(x);
  auto& entry = recorded_[{x.shape().dims(), x.dtype()}];
  if (!entry) entry = std::make_unique<Recorded>();
  // What the first call sets up (plans, workspaces) must not happen while recording.
  if (entry->calls++ == 0 || entry->refused) return run(x);
  if (!entry->graph.recorded()) {
    try {
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
  return entry->y.clone();  // the next replay writes over it
}

}  // namespace glassnet
