#include "xai/cam.h"

#include <optional>

#include <fmt/format.h>

#include "models/resnet.h"
#include "tensor/math.h"

namespace glassnet {
namespace {

// What a network did with one image, at some layers: outputs (1, h, w, K), and the score's gradient
// with respect to them.
struct Observation {
  std::vector<Tensor> activations, gradients;
};

Observation observe(Module& model, const Tensor& image, const Target& target,
                    const std::vector<std::string>& layers) {
  std::vector<Variable> outputs(layers.size());
  std::vector<HookHandle> hooks;
  // Nothing needs to be recorded before the first of the layers.
  std::optional<NoGrad> before_layers(std::in_place);
  for (size_t i = 0; i < layers.size(); ++i) {
    hooks.push_back(model.on_forward(layers[i], [&, i](const Variable& out) {
      before_layers.reset();
      // A layer after another one stays on that one's path.
      return outputs[i] = out.requires_grad() ? out : leaf(out.value());
    }));
  }
  const Variable y = score(model(Variable(image)), target);
  Observation seen;
  for (size_t i = 0; i < layers.size(); ++i) {
    if (!outputs[i].defined() || outputs[i].value().rank() != 4) {
      throw UsageError(fmt::format(
          "a class activation map needs a layer whose output has height and width; '{}' has {}",
          layers[i], outputs[i].defined() ? "shape " + outputs[i].shape().str() : "none"));
    }
    seen.activations.push_back(outputs[i].value());
  }
  seen.gradients = grad(sum(y), outputs);
  return seen;
}

// sum_k weights_k A_k: weights (1, 1, 1, K) or (1, h, w, K), A (1, h, w, K) -> (h, w).
Tensor weighted_sum(const Tensor& weights, const Tensor& activation) {
  return sum(mul(weights, activation), {0, 3});
}

Tensor sum_over_space(const Tensor& x) {
  return sum(x, {1, 2}, /*keep_dims=*/true);
}

// Only positive gradients count, so that the quotient is needed for those alone.
Tensor grad_cam_plus_plus_weights(const Tensor& a, const Tensor& gradient) {
  const Tensor g = relu(gradient), g2 = mul(g, g), g3 = mul(g2, g);
  const Tensor denominator = add(scale(g2, 2, 1e-6), mul(g3, sum_over_space(a)));
  return sum_over_space(div(g3, denominator));
}

Tensor xgrad_cam_weights(const Tensor& a, const Tensor& gradient) {
  return div(sum_over_space(mul(gradient, a)), scale(sum_over_space(a), 1, 1e-7));
}

// L, from A and dy/dA (1, h, w, K).
Tensor map_of(CamMethod method, const Tensor& a, const Tensor& gradient) {
  switch (method) {
    case CamMethod::kGradCam:
      return weighted_sum(mean(gradient, {1, 2}, /*keep_dims=*/true), a);
    case CamMethod::kGradCamPlusPlus:
      return weighted_sum(grad_cam_plus_plus_weights(a, gradient), a);
    case CamMethod::kHiResCam:
      return weighted_sum(gradient, a);
    case CamMethod::kLayerCam:
      return weighted_sum(relu(gradient), a);
    case CamMethod::kXGradCam:
      return weighted_sum(xgrad_cam_weights(a, gradient), a);
  }
  throw Error("[cam] this method is not known");
}

}  // namespace

Cam cam(Module& model, const Tensor& image, const Target& target, CamMethod method,
        const CamOptions& options) {
  require_image(image);
  const Evaluating evaluating(model);
  const std::vector<std::string> layers =
      options.layers.empty() ? std::vector{last_stage(model)} : options.layers;
  const Observation seen = observe(model, image, target, layers);

  Cam result;
  Tensor total = Tensor::zeros({image.dim(1), image.dim(2)}, image.dtype(), image.device());
  for (size_t i = 0; i < layers.size(); ++i) {
    result.at_layers.push_back(map_of(method, seen.activations[i], seen.gradients[i]));
    add_in_place(total, enlarged(scaled(relu(result.at_layers[i])), image.dim(1), image.dim(2)));
  }
  result.map = scaled(scale(total, 1.0 / static_cast<double>(layers.size())));
  return result;
}

Tensor scaled(const Tensor& map) {
  const Tensor flat = map.reshape({1, map.numel()});
  const double low = -max_last(scale(flat, -1)).item();
  const Tensor risen = scale(map, 1, -low);
  const double high = max_last(risen.reshape(flat.shape())).item();
  return scale(risen, 1 / (1e-7 + high));
}

Tensor enlarged(const Tensor& map, int64_t height, int64_t width) {
  return resize_bilinear(map.reshape({1, map.dim(0), map.dim(1), 1}), height, width)
      .reshape({height, width});
}

}  // namespace glassnet
