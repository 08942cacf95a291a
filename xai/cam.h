// Class activation maps: where in a layer's output the evidence for a class lies.
//
// With A (h, w, K) the output of a layer for one image, y the score and g = dy/dA, a map L (h, w)
// is a sum over channels, where A_k and g_k stand for one channel (h, w):
//   Grad-CAM      L = sum_k a_k A_k,  a_k = mean of g_k              Selvaraju et al., ICCV 2017
//   Grad-CAM++    a_k = sum relu(g_k) g_k^2 / (2 g_k^2 + g_k^3 S_k + 1e-6),  S_k = sum A_k
//                                                               Chattopadhay et al., WACV 2018
//   HiResCAM      L = sum_k g_k A_k, elementwise                      Draelos and Carin 2020
//   LayerCAM      L = sum_k relu(g_k) A_k, elementwise                Jiang et al., TIP 2021
//   XGrad-CAM     a_k = sum g_k A_k / (S_k + 1e-7)                    Fu et al., BMVC 2020
// and without gradients
//   Score-CAM     a = softmax over k of y(image * mask_k), with mask_k = A_k enlarged bilinearly,
//                 corners on corners, and scaled to [0, 1]           Wang et al., CVPRW 2020
//   Ablation-CAM  a_k = (y - y without channel k) / |y|     Desai and Ramaswamy, WACV 2020
//                 In place of a channel stand zeros where min A = 0, as after a ReLU, and
//                 min A - 1e7 elsewhere.
//   Eigen-CAM     L = A' v, A' (h w, K) the activations less each channel's mean, v its first right
//                 singular vector, with the sign that correlates L with the mean over channels; the
//                 score plays no part                               Muhammad and Yeasin, IJCNN 2020
// The constants, and how a map is scaled, are those of the library pytorch-grad-cam. It divides by
// y itself in Ablation-CAM, so that a negative one turns the map around, and leaves Eigen-CAM's
// sign open.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "xai/score.h"

namespace glassnet {

enum class CamMethod {
  kGradCam,
  kGradCamPlusPlus,
  kHiResCam,
  kLayerCam,
  kXGradCam,
  kScoreCam,
  kAblationCam,
  kEigenCam
};

struct CamOptions {
  std::vector<std::string> layers;  // none: a ResNet's last stage
  // Score-CAM and Ablation-CAM evaluate the network for every channel: so many at a time, telling
  // after each batch how many are done, and of how many.
  int64_t batch = 32;
  std::function<void(int64_t done, int64_t total)> progress;
};

struct Cam {
  std::vector<Tensor> at_layers;  // L of each layer, (h, w): signed, neither rectified nor scaled
  // (H, W) in [0, 1]: of each layer relu(L), scaled, then bilinearly enlarged (half-pixel centres);
  // the mean over layers, scaled again. All zeros where nothing is positive.
  Tensor map;
};

// image (1, H, W, 3), as the network takes it. Throws UsageError for a layer that does not exist or
// has no spatial extent, and for a target that is no class.
Cam cam(Module& model, const Tensor& image, const Target& target, CamMethod method,
        const CamOptions& options = {});

// L at one layer (none: a ResNet's last stage) of several images (N, H, W, 3), each with its own
// target: (N, h, w). For the methods that differentiate, Grad-CAM to XGrad-CAM, which take one pass
// for all of them; throws Error for another.
Tensor cam_each(Module& model, const Tensor& images, const std::vector<Target>& targets,
                CamMethod method, const std::string& layer = "");

// (x - min) / (1e-7 + max - min), of a map (H, W).
Tensor scaled(const Tensor& map);
// A map (h, w), bilinearly enlarged (half-pixel centres) to (height, width).
Tensor enlarged(const Tensor& map, int64_t height, int64_t width);

}  // namespace glassnet
