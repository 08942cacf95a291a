#include "cli/network_input.h"

#include "autograd/variable.h"
#include "data/input.h"
#include "tensor/math.h"

namespace glassnet::cli {

Image prepare_picture(const std::filesystem::path& path, const ModelCard& card) {
  return fit_image(read_image(path), card.image_size, parse_fit(card.fit));
}

Tensor network_input(const Image& picture, const ModelCard& card) {
  return to_input(picture, {.mean = card.mean, .stddev = card.std});
}

Tensor logits(Module& model, const Tensor& inputs) {
  const NoGrad guard;
  return model(Variable(inputs.to(model.device()))).value();
}

Tensor probabilities(Module& model, const Tensor& inputs) {
  return softmax(logits(model, inputs));
}

}  // namespace glassnet::cli
