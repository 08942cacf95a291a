// Networks and pictures that tests of explanations share.
#pragma once

#include <memory>
#include <string>

#include "models/resnet.h"
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

// A score that is linear in the picture: the mean over pixels, then "fc".
class LinearNet : public Module {
 public:
  GlobalAvgPool& pool = child<GlobalAvgPool>("pool");
  Linear& fc = child<Linear>("fc", LinearLayer{.in = 3, .out = 3});
  LinearNet() { initialise(*this, 9); }

 protected:
  Variable forward(const Variable& x) override { return fc(pool(x)); }
};

inline Tensor picture(int64_t h, int64_t w, DType type = DType::kFloat32) {
  return random_normal({1, h, w, 3}, 1, 11, 5, type);
}

// One basic block a stage.
inline std::unique_ptr<Module> small_resnet(DType type = DType::kFloat32) {
  auto model = std::make_unique<ResNet>(
      ResNetOptions{.bottleneck = false, .blocks = {1, 1, 1, 1}, .classes = 4});
  initialise(*model, 3);
  model->to(type);
  return model;
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
