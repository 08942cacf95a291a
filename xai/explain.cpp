#include "xai/explain.h"

#include <algorithm>
#include <functional>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "models/resnet.h"
#include "tensor/math.h"

namespace glassnet {
namespace {

enum class Layers { kNone, kOne, kSeveral };

struct Method {
  const char* name;
  Layers looks_at;
  std::function<Explanation(Module&, const Tensor& image, const ExplainOptions&)> explain;
  // Maps (N, H, W) of images (N, H, W, 3) by one pass, at one layer at most, for methods that can.
  std::function<Tensor(Module&, const Tensor& images, const std::vector<Target>&,
                       const ExplainOptions&)>
      maps_of = {};
  bool is_signed = false;
};

std::string only_layer(const ExplainOptions& o) {
  return o.layers.empty() ? "" : o.layers[0];
}

Method cam_method(const char* name, CamMethod method) {
  return {
      name, Layers::kSeveral,
      [method](Module& model, const Tensor& image, const ExplainOptions& o) {
        CamOptions options = o.cam;
        options.layers = o.layers;
        const Cam found = cam(model, image, o.target, method, options);
        if (found.at_layers.size() > 1) return Explanation{found.map, false};
        return Explanation{enlarged(relu(found.at_layers[0]), image.dim(1), image.dim(2)), false};
      }};
}
Method gradient_cam_method(const char* name, CamMethod method) {
  Method result = cam_method(name, method);
  result.maps_of = [method](Module& model, const Tensor& images, const std::vector<Target>& targets,
                            const ExplainOptions& o) {
    const Tensor maps = relu(cam_each(model, images, targets, method, only_layer(o)));
    const int64_t n = maps.dim(0), height = images.dim(1), width = images.dim(2);
    return resize_bilinear(maps.reshape({n, maps.dim(1), maps.dim(2), 1}), height, width)
        .reshape({n, height, width});
  };
  return result;
}

Explanation magnitude(const Tensor& x) {
  return {largest_magnitude(x), false};
}

Explanation integrated(Module& model, const Tensor& image, const ExplainOptions& o) {
  const Integrated result = integrated_gradients(model, image, o.target, o.integration);
  return {sum_of_channels(result.attribution),
          true,
          {{"completeness delta", result.completeness_delta}}};
}

const std::vector<Method>& methods() {
  using Options = const ExplainOptions&;
  static const std::vector<Method> table = {
      gradient_cam_method("gradcam", CamMethod::kGradCam),
      gradient_cam_method("gradcam++", CamMethod::kGradCamPlusPlus),
      gradient_cam_method("hirescam", CamMethod::kHiResCam),
      gradient_cam_method("layercam", CamMethod::kLayerCam),
      gradient_cam_method("xgradcam", CamMethod::kXGradCam),
      cam_method("scorecam", CamMethod::kScoreCam),
      cam_method("ablationcam", CamMethod::kAblationCam),
      cam_method("eigencam", CamMethod::kEigenCam),
      {"saliency", Layers::kNone,
       [](Module& model, const Tensor& image, Options o) {
         return Explanation{saliency(model, image, o.target), false};
       },
       [](Module& model, const Tensor& images, const std::vector<Target>& targets, Options) {
         return max_last(abs(image_gradients_each(model, images, targets)));
       }},
      {"inputxgradient", Layers::kNone,
       [](Module& model, const Tensor& image, Options o) {
         return Explanation{sum_of_channels(input_x_gradient(model, image, o.target)), true};
       },
       [](Module& model, const Tensor& images, const std::vector<Target>& targets, Options) {
         return sum(mul(images, image_gradients_each(model, images, targets)), {3});
       },
       /*is_signed=*/true},
      {"smoothgrad", Layers::kNone,
       [](Module& model, const Tensor& image, Options o) {
         return magnitude(smooth_grad(model, image, o.target, o.noise));
       }},
      {"vargrad", Layers::kNone,
       [](Module& model, const Tensor& image, Options o) {
         return magnitude(var_grad(model, image, o.target, o.noise));
       }},
      {"ig", Layers::kNone, integrated},
      {"guided-backprop", Layers::kNone,
       [](Module& model, const Tensor& image, Options o) {
         return magnitude(guided_backprop(model, image, o.target));
       }},
      {"guided-gradcam", Layers::kOne,
       [](Module& model, const Tensor& image, Options o) {
         return magnitude(guided_grad_cam(model, image, o.target, only_layer(o)));
       }},
      {"occlusion", Layers::kNone,
       [](Module& model, const Tensor& image, Options o) {
         return Explanation{occlusion(model, image, o.target, o.occlusion), true};
       }},
  };
  return table;
}

const Method& find_method(const std::string& name) {
  for (const Method& method : methods()) {
    if (name == method.name) return method;
  }
  // The name in full is as good.
  if (name == "integrated-gradients") return find_method("ig");
  throw UsageError(fmt::format("no method is called '{}'; there are {}", name,
                               fmt::join(explanation_methods(), ", ")));
}

}  // namespace

const std::vector<std::string>& explanation_methods() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> result;
    for (const Method& method : methods()) result.emplace_back(method.name);
    return result;
  }();
  return names;
}

void require_method(const std::string& method) {
  find_method(method);
}

bool looks_at_layer(const std::string& method) {
  return find_method(method).looks_at != Layers::kNone;
}

void require_layers(const std::string& method, const std::vector<std::string>& layers) {
  if (layers.size() <= 1 || find_method(method).looks_at != Layers::kOne) return;
  throw UsageError(
      fmt::format("{} looks at one layer, and was given {}", method, fmt::join(layers, ", ")));
}

Explanation explain(Module& model, const Tensor& image, const std::string& method,
                    const ExplainOptions& options) {
  require_image(image);
  require_layers(method, options.layers);
  return find_method(method).explain(model, image, options);
}

bool takes_one_pass(const std::string& method, const ExplainOptions& options) {
  return find_method(method).maps_of && options.layers.size() <= 1;
}

std::vector<Explanation> explain_each(Module& model, const Tensor& images,
                                      const std::string& method, const std::vector<Target>& targets,
                                      const ExplainOptions& options) {
  require(images.rank() == 4 && images.dim(3) == 3 && images.dim(0) == std::ssize(targets), [&] {
    return fmt::format("[explain] expected images ({}, H, W, 3), one for each target, got {}",
                       targets.size(), images.shape().str());
  });
  require_layers(method, options.layers);
  const Method& by = find_method(method);
  std::vector<Explanation> result;
  if (takes_one_pass(method, options)) {
    const Tensor maps = by.maps_of(model, images, targets, options).to(Device{});
    for (int64_t i = 0; i < images.dim(0); ++i) {
      result.push_back(
          {maps.slice(i, i + 1).reshape({images.dim(1), images.dim(2)}), by.is_signed});
    }
    return result;
  }
  for (int64_t i = 0; i < images.dim(0); ++i) {
    ExplainOptions own = options;
    own.target = targets[static_cast<size_t>(i)];
    result.push_back(by.explain(model, images.slice(i, i + 1), own));
    result.back().map = result.back().map.to(Device{});
  }
  return result;
}

}  // namespace glassnet
