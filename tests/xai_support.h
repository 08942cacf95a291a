// Networks and pictures that tests of explanations share.
#pragma once

#include "nn/layers.h"
#include "tensor/random.h"

namespace glassnet {

// conv - bn - relu ("features"), then pooling and a linear classifier ("fc"): small enough to do by
// hand.
class TinyNet : public Module {
 public:
  Sequential& features = child<Sequential>("features");
  GlobalAvgPool& pool = child<GlobalAvgPool>("pool");
  Linear& fc = child<Linear>("fc", LinearLayer{.in = 5, .out = 3});

  TinyNet() {
    features.add<Conv2d>(Conv2dLayer{.in = 3, .out = 5, .kernel = 3, .stride = 2, .padding = 1});
    features.add<BatchNorm2d>(BatchNorm2dLayer{.channels = 5});
    features.add<ReLU>();
    initialise(*this, 7);
  }

 protected:
  Variable forward(const Variable& x) override { return fc(pool(features(x))); }
};

inline Tensor picture(int64_t h, int64_t w, DType type = DType::kFloat32) {
  return random_normal({1, h, w, 3}, 1, 11, 5, type);
}

// What a layer gives in evaluation, (1, h, w, C).
inline Tensor activation_of(Module& model, const std::string& layer, const Tensor& image) {
  const Evaluating evaluating(model);
  Tensor seen;
  const HookHandle hook = model.on_forward(layer, [&](const Variable& y) {
    seen = y.value();
    return y;
  });
  const NoGrad guard;
  model(Variable(image));
  return seen;
}

}  // namespace glassnet
