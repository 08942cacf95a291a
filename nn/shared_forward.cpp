#include "nn/shared_forward.h"

#include <algorithm>
#include <utility>

namespace glassnet {
namespace {

// Windows are laid out anew where pixels are shared, which costs some of what is saved.
constexpr double kWorthwhileShare = 0.55;
constexpr size_t kPoolBytes = size_t{3} << 27;
constexpr int64_t kPixels = 24 << 20;  // of all images

}  // namespace

bool SharedForward::shares(Module& model) {
  return dynamic_cast<Stepwise*>(&model) != nullptr && model.device().type == DeviceType::kCpu &&
         !model.hooked_within();
}

int64_t SharedForward::most_images(int64_t height, int64_t width) {
  return std::max<int64_t>(kPixels / (height * width), 64);
}

SharedForward::SharedForward(Module& model, SharedImages images)
    : model_(model),
      steps_(shares(model) ? dynamic_cast<Stepwise*>(&model) : nullptr),
      x_(std::move(images)) {
  const NoGrad no_grad;
  while (steps_ != nullptr && next_ < steps_->steps() && x_.share() < kWorthwhileShare &&
         x_.pool().bytes() < kPoolBytes) {
    x_ = steps_->step(next_++, x_);
  }
}

Tensor SharedForward::operator()(int64_t begin, int64_t end) {
  const NoGrad no_grad;
  const Tensor x = x_.expand(begin, end);
  if (steps_ == nullptr) return model_(Variable(x.to(model_.device()))).value();
  return steps_->finish(next_, Variable(x)).value();
}

}  // namespace glassnet
