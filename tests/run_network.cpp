// Runs a network on what scripts/check-torchvision gives it, and hands back all that came of it.
//
//   glassnet_run_network MODEL FOLDER
//
// FOLDER holds safetensors files. weights.safetensors: the network's tensors. inputs.safetensors:
// images "evaluate/…" to evaluate and "train/images" (N, 3, H, W) with "train/labels" (N) to train
// on. outputs.safetensors is written: "logits/…" of the images, then, of one training step after
// all evaluations, "loss", "gradient/PARAMETER" and "buffer/BUFFER". Shapes are PyTorch's.
#include <cstdio>
#include <filesystem>
#include <map>
#include <string_view>

#include "models/resnet.h"
#include "models/safetensors.h"
#include "models/weights.h"

int main(int argc, char** argv) try {
  using namespace glassnet;
  if (argc != 3) {
    std::fputs("usage: glassnet_run_network MODEL FOLDER\n", stderr);
    return 2;
  }
  const std::filesystem::path folder = argv[2];
  const auto model = make_model(argv[1]);
  load_weights(folder / "weights.safetensors", *model);
  std::map<std::string, Tensor> inputs;
  for (const auto& [name, tensor] : load_safetensors(folder / "inputs.safetensors").tensors) {
    inputs[name] = nchw_to_nhwc(tensor);
  }

  SafeTensors outputs;
  const auto output = [&](const std::string& name, const Tensor& value) {
    outputs.tensors.push_back({name, nhwc_to_nchw(value)});
  };
  model->eval();
  for (const auto& [name, images] : inputs) {
    constexpr std::string_view kEvaluate = "evaluate/";
    if (!name.starts_with(kEvaluate)) continue;
    const NoGrad no_grad;
    output("logits/" + name.substr(kEvaluate.size()), (*model)(Variable(images)).value());
  }

  model->train();
  const Variable loss = cross_entropy((*model)(Variable(inputs.at("train/images"))),
                                      inputs.at("train/labels"), {.label_smoothing = 0.05});
  backward(loss);
  output("loss", loss.value());
  for (const NamedVariable& parameter : model->named_parameters()) {
    output("gradient/" + parameter.name, parameter.variable.grad());
  }
  for (const NamedTensor& buffer : model->named_buffers()) {
    output("buffer/" + buffer.name, buffer.tensor);
  }
  save_safetensors(folder / "outputs.safetensors", outputs);
  return 0;
} catch (const std::exception& error) {
  std::fprintf(stderr, "glassnet_run_network: %s\n", error.what());
  return 1;
}
