#include "models/summary.h"

#include <map>
#include <utility>

#include "nn/layers.h"

namespace glassnet {
namespace {

// Every output element of a convolution sums one product for each tap of its filter, that of a
// linear layer one for each input. Biases, normalisation and pooling are not counted, as is usual.
int64_t multiply_adds_per_output(const Module& module) {
  if (const auto* conv = dynamic_cast<const Conv2d*>(&module)) {
    return conv->layer.kernel.h * conv->layer.kernel.w * (conv->layer.in / conv->layer.groups);
  }
  if (const auto* linear = dynamic_cast<const Linear*>(&module)) return linear->layer.in;
  return 0;
}

// Zeros of the type and on the device that the model computes in.
Tensor blank_image(const Module& model, int image_size) {
  const Shape shape{1, image_size, image_size, 3};
  const std::vector<NamedVariable> parameters = model.named_parameters();
  if (parameters.empty()) return Tensor::zeros(shape);
  const Tensor& like = parameters.front().variable.value();
  return Tensor::zeros(shape, like.dtype()).to(like.device());
}

}  // namespace

ModelSummary summarise(Module& model, int image_size) {
  require(image_size > 0,
          [] { return std::string("[summary] expected an image size of at least 1 pixel"); });
  const Evaluating evaluating(model);

  ModelSummary summary;
  summary.parameters = model.parameter_count();
  std::map<const Module*, size_t> line_of;  // a layer that runs twice has one line
  std::vector<HookHandle> hooks;
  for (const auto& [path, module] : model.named_modules()) {
    if (module->named_modules().size() > 1) continue;
    hooks.push_back(module->on_forward([&, path = path, module = module](const Variable& output) {
      const auto [line, first] = line_of.try_emplace(module, summary.layers.size());
      if (first) {
        summary.layers.push_back(
            {.path = path, .kind = module->kind(), .parameters = module->parameter_count()});
      }
      LayerSummary& layer = summary.layers[line->second];
      layer.output = output.shape();
      layer.multiply_adds += output.value().numel() * multiply_adds_per_output(*module);
      return output;
    }));
  }
  const NoGrad no_grad;
  model(Variable(blank_image(model, image_size)));
  for (const LayerSummary& layer : summary.layers) summary.multiply_adds += layer.multiply_adds;
  return summary;
}

}  // namespace glassnet
