#include "xai/explain.h"

#include <algorithm>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "models/resnet.h"
#include "tensor/math.h"

namespace glassnet {
namespace {

void require_image(const Tensor& image) {
  require(image.rank() == 4 && image.dim(0) == 1, [&] {
    return fmt::format("[explain] expected an image (1, H, W, 3), got {}", image.shape().str());
  });
}

// The logit of one class, a scalar.
Variable class_score(const Variable& logits, int64_t target) {
  if (target < 0 || target >= logits.shape().dim(-1)) {
    throw UsageError(fmt::format("no class has index {}; the network knows {} classes", target,
                                 logits.shape().dim(-1)));
  }
  return sum(select(logits, {target}));
}

}  // namespace

Tensor grad_cam_at_layer(Module& model, const Tensor& image, int64_t target,
                         const std::string& layer, bool rectified) {
  require_image(image);
  const Evaluating evaluating(model);
  Variable activation;
  const HookHandle hook =
      model.on_forward(layer, [&](const Variable& out) { return activation = leaf(out.value()); });
  const Variable score = class_score(model(Variable(image)), target);
  if (!activation.defined() || activation.value().rank() != 4) {
    throw UsageError(
        fmt::format("Grad-CAM needs a layer whose output has height and width; '{}' has {}", layer,
                    activation.defined() ? "shape " + activation.shape().str() : "none"));
  }
  const Tensor gradient = grad(score, {activation})[0];
  const Tensor weights = mean(gradient, {1, 2}, /*keep_dims=*/true);  // (1, 1, 1, C)
  const Tensor map = sum(mul(weights, activation.value()), {0, 3});   // (h, w)
  return rectified ? relu(map) : map;
}

Tensor grad_cam(Module& model, const Tensor& image, int64_t target, const std::string& layer) {
  const Tensor map = grad_cam_at_layer(model, image, target, layer);
  const int64_t height = image.dim(1), width = image.dim(2);
  return resize_bilinear(map.reshape({1, map.dim(0), map.dim(1), 1}), height, width)
      .reshape({height, width});
}

Tensor saliency(Module& model, const Tensor& image, int64_t target) {
  require_image(image);
  const Evaluating evaluating(model);
  const Variable x = leaf(image);
  const Tensor gradient = grad(class_score(model(x), target), {x})[0];
  return max_last(abs(gradient)).reshape({image.dim(1), image.dim(2)});
}

const std::vector<std::string>& explanation_methods() {
  static const std::vector<std::string> methods = {"gradcam", "saliency"};
  return methods;
}

void require_method(const std::string& method) {
  const auto& known = explanation_methods();
  if (std::find(known.begin(), known.end(), method) == known.end()) {
    throw UsageError(
        fmt::format("no method is called '{}'; there are {}", method, fmt::join(known, ", ")));
  }
}

Tensor explain(Module& model, const Tensor& image, const std::string& method,
               const ExplainOptions& options) {
  require_method(method);
  if (method == "gradcam") {
    return grad_cam(model, image, options.target,
                    options.layer.empty() ? last_stage(model) : options.layer);
  }
  return saliency(model, image, options.target);
}

}  // namespace glassnet
