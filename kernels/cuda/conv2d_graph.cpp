#include "kernels/cuda/conv2d_graph.h"

#include <memory>
#include <string>
#include <utility>

namespace glassnet::kernels::cudnn {

Graph conv2d_graph(const Conv2dKey& key, std::shared_ptr<const Target> target) {
  const Conv2dShape& o = key.shape;
  const cudnnDataType_t type = to_cudnn(key.type);
  const Dims output_dims = {o.n, o.k, o.out_h(), o.out_w()};
  Graph graph(std::move(target));
  const Tensor input = graph.tensor(kInput, type, {o.n, o.c, o.h, o.w}, key.alignment);
  const Tensor weights =
      graph.tensor(kWeights, type, {o.k, o.c / o.groups, o.r, o.s}, key.alignment);
  const Tensor output = graph.tensor(kOutput, type, output_dims, key.alignment);
  if (!key.bias) {
    // A gradient finds z in its result's place and adds to it, which cuDNN's kernels for gradients
    // do. An addition behind the convolution it has to compile, seconds for every shape.
    graph.convolution(key.pass, o, input, weights, output, /*adds=*/key.residual);
    return graph;
  }

  // Convolution, + z, + bias, ReLU, with the bias in the type of the elements: for this, in this
  // order, cuDNN comes with kernels. Any other order, or a float32 bias for 16-bit elements, it has
  // to compile, which takes seconds for every shape.
  Tensor last = graph.between(output_dims);
  graph.convolution(key.pass, o, input, weights, last);
  if (key.residual) {
    const Tensor residual = graph.tensor(kResidual, type, output_dims, key.alignment);
    const Tensor sum = graph.between(output_dims);
    graph.add(last, residual, sum);
    last = sum;
  }
  const Tensor bias = graph.tensor(kBias, type, {1, o.k, 1, 1}, key.alignment);
  const Tensor sum = key.relu ? graph.between(output_dims) : output;
  graph.add(last, bias, sum);
  if (key.relu) graph.relu(sum, output);
  return graph;
}

Rules rules_of(const Conv2dKey& key) {
  return {.reduced_precision = key.type != DType::kFloat32 || key.allow_tf32,
          .repeatable = key.deterministic};
}

}  // namespace glassnet::kernels::cudnn

namespace glassnet::kernels {

std::string conv2d_plan_on(const Conv2dKey& key, const std::string& device_json) {
  const auto target = cudnn::Target::described(device_json);
  return cudnn::make_plan(cudnn::conv2d_graph(key, target), cudnn::rules_of(key))->name();
}

std::vector<std::string> conv2d_plans_on(const Conv2dKey& key, const std::string& device_json,
                                         size_t most, const std::string& identity) {
  const auto target = cudnn::Target::described(device_json);
  std::vector<std::string> identities;
  for (const auto& plan :
       cudnn::make_plans(cudnn::conv2d_graph(key, target), cudnn::rules_of(key), most, identity)) {
    identities.push_back(plan->identity());
  }
  return identities;
}

}  // namespace glassnet::kernels
