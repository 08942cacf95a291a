// Hands explanations of one picture to scripts/check-explanations, as they are before any map is
// coloured.
//
//   glassnet_dump_explanations MODEL CLASSES WEIGHTS PICTURE OUT.safetensors
//
// MODEL is an architecture, CLASSES their number. Everything is of the predicted class unless its
// name says otherwise; images are (1, H, W, 3). float64 throughout, converted from float32 but for
// what is called "…_float64".
#include <algorithm>
#include <cstdio>
#include <string>
#include <vector>

#include "data/image.h"
#include "data/input.h"
#include "models/resnet.h"
#include "models/safetensors.h"
#include "models/weights.h"
#include "tensor/math.h"
#include "xai/cam.h"
#include "xai/gradients.h"

namespace {

using namespace glassnet;

// What `to_input` gives, in the order of operations of torchvision's transforms: with the same
// rounding, float64 explanations agree to the last digits also where a ReLU's input is next to 0.
Tensor input_as_torchvision(const Image& picture) {
  const Normalization imagenet;
  std::vector<float> values(picture.rgb.size());
  for (size_t i = 0; i < values.size(); ++i) {
    values[i] =
        (static_cast<float>(picture.rgb[i]) / 255 - imagenet.mean[i % 3]) / imagenet.stddev[i % 3];
  }
  return Tensor::from(values, {1, picture.height, picture.width, 3});
}

// The middle of an image, at most `side` pixels high and wide.
Tensor middle_of(const Tensor& image, int64_t side) {
  const int64_t rows = std::min(side, image.dim(1)), columns = std::min(side, image.dim(2));
  const int64_t top = (image.dim(1) - rows) / 2, left = (image.dim(2) - columns) / 2;
  const std::vector<double> whole = image.to_vector<double>();
  std::vector<double> part;
  for (int64_t y = top; y < top + rows; ++y) {
    const auto begin = whole.begin() + (y * image.dim(2) + left) * 3;
    part.insert(part.end(), begin, begin + columns * 3);
  }
  return Tensor::from(part, {1, rows, columns, 3});
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc != 6) {
    std::fputs("usage: glassnet_dump_explanations MODEL CLASSES WEIGHTS PICTURE OUT.safetensors\n",
               stderr);
    return 2;
  }
  const auto model = make_model(argv[1], {.classes = std::stoll(argv[2])});
  load_weights(argv[3], *model);
  model->eval();
  const Image picture = read_image(argv[4]);
  const Tensor image = to_input(picture);

  SafeTensors content;
  const auto output = [&](const std::string& name, const Tensor& value) {
    content.tensors.push_back({name, value.to(DType::kFloat64)});
  };
  Tensor logits;
  {
    const NoGrad guard;
    logits = (*model)(Variable(image)).value();
  }
  output("logits", logits.reshape({-1}));
  std::vector<float> others = logits.to_vector<float>();
  const auto highest = [&] { return std::max_element(others.begin(), others.end()); };
  const int64_t predicted = highest() - others.begin();
  *highest() = -1e30F;
  const int64_t runner_up = highest() - others.begin();

  for (const auto& [name, method] :
       {std::pair{"gradcam", CamMethod::kGradCam},
        std::pair{"gradcam_plus_plus", CamMethod::kGradCamPlusPlus},
        std::pair{"hirescam", CamMethod::kHiResCam}, std::pair{"layercam", CamMethod::kLayerCam},
        std::pair{"xgradcam", CamMethod::kXGradCam}}) {
    const Cam result = cam(*model, image, predicted, method);
    output(std::string(name) + "_raw", result.at_layers[0]);
    output(std::string(name) + "_scaled", result.map);
  }
  output("gradcam_raw_runner_up", cam(*model, image, runner_up, CamMethod::kGradCam).at_layers[0]);
  output("gradcam_raw_against_runner_up",
         cam(*model, image, {predicted, runner_up}, CamMethod::kGradCam).at_layers[0]);

  output("saliency", saliency(*model, image, predicted));
  output("input_x_gradient", input_x_gradient(*model, image, predicted));
  output("guided_backprop", guided_backprop(*model, image, predicted));
  const Integrated integrated = integrated_gradients(*model, image, predicted);
  output("integrated_gradients", integrated.attribution);
  output("integrated_gradients_delta",
         Tensor::from(std::vector{integrated.completeness_delta}, {1}));
  const Quadrature rule = gauss_legendre(50);
  output("nodes", Tensor::from(rule.nodes, {50}));
  output("node_weights", Tensor::from(rule.weights, {50}));

  model->to(DType::kFloat64);
  const Tensor exact = input_as_torchvision(picture).to(DType::kFloat64);
  output("saliency_float64", saliency(*model, exact, predicted));
  // float64 runs on plain loops: all of the picture would take minutes.
  const Tensor middle = middle_of(exact, 32);
  const Integrated of_middle = integrated_gradients(*model, middle, predicted);
  output("middle_float64", middle);
  output("middle_integrated_gradients_float64", of_middle.attribution);
  output("middle_integrated_gradients_delta_float64",
         Tensor::from(std::vector{of_middle.completeness_delta}, {1}));
  save_safetensors(argv[5], content);
  return 0;
} catch (const std::exception& error) {
  std::fprintf(stderr, "glassnet_dump_explanations: %s\n", error.what());
  return 1;
}
