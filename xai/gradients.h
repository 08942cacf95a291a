// Explanations by the gradient of a score with respect to the image, and by covering parts of it.
//
// x is the image (1, H, W, 3) as the network takes it, y its score (xai/score.h), g = dy/dx. What
// is (1, H, W, 3) is signed; `largest_magnitude` and `sum_of_channels` make maps (H, W) of it.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "xai/score.h"

namespace glassnet {

// (1, H, W, 3) -> (H, W): max over channels of |x|, how strongly a pixel acts whichever way; and
// the sum over channels, for attributions that add up to the score.
Tensor largest_magnitude(const Tensor& x);
Tensor sum_of_channels(const Tensor& x);

// dy/dx of each image by itself (N, H, W, 3).
Tensor image_gradients(Module& model, const Tensor& images, const Target& target);
// The same with a target for each of them.
Tensor image_gradients_each(Module& model, const Tensor& images,
                            const std::vector<Target>& targets);

// largest_magnitude(g) (Simonyan, Vedaldi, Zisserman 2013): (H, W).
Tensor saliency(Module& model, const Tensor& image, const Target& target);

// x g (Shrikumar et al. 2016): (1, H, W, 3). Its sum is y for a network of ReLUs without
// biases.
Tensor input_x_gradient(Module& model, const Tensor& image, const Target& target);

struct NoiseOptions {
  int64_t samples = 25;
  double level = 0.15;  // the noise's standard deviation, in units of max x - min x
  uint64_t seed = 0;
  Tensor noise;       // (samples, H, W, 3) to add instead of drawing; `samples` is then its extent
  int64_t batch = 8;  // images at a time
};
// The mean of g over images x + noise (SmoothGrad; Smilkov et al. 2017), and its variance, the mean
// square minus the square of the mean (VarGrad; Adebayo et al. 2018): (1, H, W, 3).
Tensor smooth_grad(Module& model, const Tensor& image, const Target& target,
                   const NoiseOptions& options = {});
Tensor var_grad(Module& model, const Tensor& image, const Target& target,
                const NoiseOptions& options = {});

struct IntegrationOptions {
  int64_t nodes = 50;
  Tensor baseline;    // (1, H, W, 3); none: zeros, which is the mean colour of normalised images
  int64_t batch = 8;  // images at a time
};
struct Integrated {
  Tensor attribution;  // (1, H, W, 3)
  // sum of the attribution - (y(x) - y(baseline)), which is 0 for the integral itself: what the
  // nodes, and kinks of ReLUs between them, have cost.
  double completeness_delta;
};
// Integrated gradients (Sundararajan, Taly, Yan, ICML 2017), by Gauss-Legendre quadrature:
//   (x - baseline) integral over t from 0 to 1 of g(baseline + t (x - baseline))
Integrated integrated_gradients(Module& model, const Tensor& image, const Target& target,
                                const IntegrationOptions& options = {});

// Nodes, ascending, and weights of Gauss-Legendre quadrature on [0, 1]: exact for polynomials of a
// degree below 2 count.
struct Quadrature {
  std::vector<double> nodes, weights;
};
Quadrature gauss_legendre(int64_t count);

// The gradient that is left when every ReLU passes on positive gradients alone, besides those where
// its input was positive (Springenberg et al. 2015): (1, H, W, 3). Throws UsageError for a network
// without modules of the kind ReLU.
Tensor guided_backprop(Module& model, const Tensor& image, const Target& target);
// Guided backpropagation times the rectified Grad-CAM map at `layer` (none: a ResNet's last stage),
// bilinearly enlarged (Selvaraju et al., ICCV 2017, section 3.2): (1, H, W, 3).
Tensor guided_grad_cam(Module& model, const Tensor& image, const Target& target,
                       const std::string& layer = "");

struct OcclusionOptions {
  Pair window = 0;     // pixels; 0: an eighth of the image's side
  Pair stride = 0;     // at most the window; 0: half of it, rounded up
  Tensor baseline;     // (1, H, W, 3), what covers the window; none: zeros
  int64_t batch = 32;  // images at a time
  // After each batch: windows done, and of how many.
  std::function<void(int64_t done, int64_t total)> progress;
};
// How far the score falls when a window is covered (Zeiler and Fergus, ECCV 2014); a pixel under
// several windows has their mean. Windows that reach over the right and lower border are cut off.
// (H, W), signed.
Tensor occlusion(Module& model, const Tensor& image, const Target& target,
                 const OcclusionOptions& options = {});

}  // namespace glassnet
