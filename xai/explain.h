// Explanations by name: what the command line and reports ask for.
//
// Each is a map over the network's input that says where the evidence for a class lies. All of them
// are ordinary code on `grad`, `Module::on_forward` and `Variable::on_grad` (xai/cam.h,
// xai/gradients.h); they work on frozen and on trainable networks, leave the network's mode and
// gradients as they were, and run in the type of the image given (float32, or float64 for checks).
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "xai/cam.h"
#include "xai/gradients.h"

namespace glassnet {

struct ExplainOptions {
  Target target = 0;
  std::vector<std::string> layers;  // for methods that look at any; none: a ResNet's last stage
  CamOptions cam;                   // but for its layers
  NoiseOptions noise;
  IntegrationOptions integration;
  OcclusionOptions occlusion;
};

struct Explanation {
  Tensor map;      // (H, W), not coloured, nor scaled but where several layers are averaged
  bool is_signed;  // negative values speak against the class; otherwise there are none
  // What else a method found out, by name: "completeness delta".
  std::vector<std::pair<std::string, double>> figures = {};
};

// The methods of xai/cam.h, rectified and bilinearly enlarged; of several layers `Cam::map`, the
// mean of what is scaled to [0, 1]:
//   gradcam, gradcam++, hirescam, layercam, xgradcam, scorecam, ablationcam, eigencam
// and those of xai/gradients.h:
//   saliency, smoothgrad, vargrad, guided-backprop, guided-gradcam   largest_magnitude of them
//   inputxgradient, ig (integrated gradients)                        sum_of_channels, signed
//   occlusion                                                        signed
const std::vector<std::string>& explanation_methods();
// Throws UsageError, naming the known methods, when there is no such one.
void require_method(const std::string& method);
// Whether a method looks at a layer.
bool looks_at_layer(const std::string& method);
// Throws UsageError when a method that looks at one layer only is given several.
void require_layers(const std::string& method, const std::vector<std::string>& layers);

Explanation explain(Module& model, const Tensor& image, const std::string& method,
                    const ExplainOptions& options);
// Whether it takes one pass over an image: saliency, inputxgradient and, at one layer, gradcam to
// xgradcam.
bool takes_one_pass(const std::string& method, const ExplainOptions& options);
// Of each of several images (N, H, W, 3), with its own target in place of the options'. Methods
// that take one pass see all of them at once; what a network's products round may then depend on
// what is beside an image. The maps are on the CPU, brought there together.
std::vector<Explanation> explain_each(Module& model, const Tensor& images,
                                      const std::string& method, const std::vector<Target>& targets,
                                      const ExplainOptions& options);

}  // namespace glassnet
