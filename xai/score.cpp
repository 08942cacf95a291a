#include "xai/score.h"

#include <fmt/format.h>

namespace glassnet {
namespace {

Variable logit(const Variable& logits, int64_t index) {
  if (index < 0 || index >= logits.shape().dim(-1)) {
    throw UsageError(fmt::format("no class has index {}; the network knows {} classes", index,
                                 logits.shape().dim(-1)));
  }
  return select(logits, {index});
}

}  // namespace

Variable score(const Variable& logits, const Target& target) {
  const Variable own = logit(logits, target.of);
  if (!target.against) return own;
  if (*target.against == target.of) {
    throw UsageError(
        fmt::format("class {} is to be explained against itself; name another one", target.of));
  }
  return sub(own, logit(logits, *target.against));
}

std::vector<double> scores(Module& model, const Tensor& images, const Target& target) {
  const Evaluating evaluating(model);
  const NoGrad guard;
  return score(model(Variable(images)), target).value().to_vector<double>();
}

void require_image(const Tensor& image) {
  require(image.rank() == 4 && image.dim(0) == 1 && image.dim(3) == 3, [&] {
    return fmt::format("[explain] expected an image (1, H, W, 3), got {}", image.shape().str());
  });
}

}  // namespace glassnet
