// Explanations of one network output, as a map over the network's input.
//
// All of them are ordinary code on `grad` and on `Module::on_forward`; they work on frozen and on
// trainable networks, leave the network's mode and gradients as they were, and run in the type of
// the image given (float32, or float64 for checks).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "nn/module.h"

namespace glassnet {

// Grad-CAM (Selvaraju et al., ICCV 2017). With A (1, h, w, C) the output of `layer` and y the
// logit of class `target`:
//   a_c = mean over space of dy/dA_c,   map = relu(sum_c a_c A_c)
// image (1, H, W, 3) as the network takes it -> (h, w), the layer's own resolution; no ReLU and no
// scaling when `rectified` is false.
// Throws UsageError for a layer that does not exist or has no spatial extent, and for a target that
// is no class.
Tensor grad_cam_at_layer(Module& model, const Tensor& image, int64_t target,
                         const std::string& layer, bool rectified = true);
// The rectified map, bilinearly enlarged (half-pixel centres) to (H, W).
Tensor grad_cam(Module& model, const Tensor& image, int64_t target, const std::string& layer);

// Saliency (Simonyan, Vedaldi, Zisserman 2013): with y the logit of class `target`, the maximum
// over channels of |dy / d image|. image (1, H, W, 3) -> (H, W).
Tensor saliency(Module& model, const Tensor& image, int64_t target);

struct ExplainOptions {
  int64_t target = 0;  // class index
  std::string layer;   // for methods that look at a layer; empty: a ResNet's last stage
};

// "gradcam", "saliency".
const std::vector<std::string>& explanation_methods();
// Throws UsageError, naming the known methods, when there is no such one.
void require_method(const std::string& method);
// The map (H, W) of a method by name.
Tensor explain(Module& model, const Tensor& image, const std::string& method,
               const ExplainOptions& options);

}  // namespace glassnet
