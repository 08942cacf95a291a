#include "nn/shared_forward.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

namespace glassnet {
namespace {

// Up to which share of pixels in the pool a step is worth taking: laying out windows anew costs
// some of what is saved.
constexpr double kWorthwhileShare = 0.55;

}  // namespace

bool SharedForward::shares(Module& model) {
  return dynamic_cast<Stepwise*>(&model) != nullptr && model.device().type == DeviceType::kCpu &&
         !model.hooked_within();
}

SharedForward::SharedForward(Module& model, SharedImages images, const SharingLimits& limits)
    : model_(model),
      steps_(shares(model) ? dynamic_cast<Stepwise*>(&model) : nullptr),
      limits_(limits),
      left_(images.images()) {
  parts_.push_back({std::move(images), 0});
}

bool SharedForward::halves(const SharedImages& images) const {
  const size_t bytes = images.pool().bytes();
  const bool few = images.images() <= limits_.few_images;
  return images.images() > 1 && bytes > limits_.pool_bytes * (few ? 4 : 1);
}

// Takes the last part as far as it shares.
void SharedForward::advance() {
  while (steps_ != nullptr && parts_.back().next < steps_->steps() &&
         parts_.back().images.share() < kWorthwhileShare) {
    Part& part = parts_.back();
    if (halves(part.images)) {
      const int64_t count = part.images.images();
      const Part whole = std::exchange(part, {part.images.slice(count / 2, count), part.next});
      parts_.push_back({whole.images.slice(0, count / 2), whole.next});
    } else {
      part.images = steps_->step(part.next, part.images);
      ++part.next;
    }
  }
}

Tensor SharedForward::next(int64_t count) {
  require(count >= 1 && count <= left_, [&] {
    return fmt::format("[shared_forward] expected 1 to {} images, got {}", left_, count);
  });
  const NoGrad no_grad;
  Tensor whole;
  for (int64_t done = 0; done < count;) {
    advance();
    Part& part = parts_.back();
    const int64_t some = std::min(count - done, part.images.images() - part.taken);
    const Tensor x = part.images.expand(part.taken, part.taken + some);
    const Tensor y = steps_ != nullptr ? steps_->finish(part.next, Variable(x)).value()
                                       : model_(Variable(x.to(model_.device()))).value();
    part.taken += some;
    left_ -= some;
    if (part.taken == part.images.images()) parts_.pop_back();
    if (some == count) return y;
    if (!whole.defined()) whole = Tensor::empty({count, y.dim(1)}, y.dtype(), y.device());
    whole.slice(done, done + some).copy_from(y);
    done += some;
  }
  return whole;
}

}  // namespace glassnet
