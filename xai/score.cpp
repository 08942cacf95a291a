#include "xai/score.h"

#include <algorithm>

#include <fmt/format.h>

namespace glassnet {
namespace {

Variable logits_of(const Variable& logits, const std::vector<int64_t>& classes) {
  for (const int64_t index : classes) {
    if (index >= 0 && index < logits.shape().dim(-1)) continue;
    throw UsageError(fmt::format("no class has index {}; the network knows {} classes", index,
                                 logits.shape().dim(-1)));
  }
  return select(logits, classes);
}

}  // namespace

Variable score(const Variable& logits, const Target& target) {
  return score_each(logits, {target});
}

// A single target serves all images.
Variable score_each(const Variable& logits, const std::vector<Target>& targets) {
  std::vector<int64_t> own, others;
  std::vector<float> counts;  // of the other class's logit: 1, or 0 where there is none
  for (const Target& target : targets) {
    if (target.against && *target.against == target.of) {
      throw UsageError(
          fmt::format("class {} is to be explained against itself; name another one", target.of));
    }
    own.push_back(target.of);
    others.push_back(target.against.value_or(target.of));
    counts.push_back(target.against ? 1 : 0);
  }
  const Variable y = logits_of(logits, own);
  const auto with_other = std::ranges::count(counts, 1.0F);
  if (with_other == 0) return y;
  const Variable other = logits_of(logits, others);
  if (with_other == std::ssize(targets)) return sub(y, other);
  const Tensor where = Tensor::from(counts, {std::ssize(counts)});
  return sub(y, mul(Variable(where.to(y.value().dtype()).to(y.value().device())), other));
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
