// The convolutions of kernels/conv2d.h as graphs for cuDNN.
#pragma once

#include "kernels/cuda/conv2d_plan.h"
#include "kernels/cuda/cudnn_graph.h"

namespace glassnet::kernels::cudnn {

// The names of a graph's tensors: x or dx, w or dw, bias, z, y or dy.
enum TensorId : int64_t { kInput = 1, kWeights = 2, kBias = 3, kResidual = 4, kOutput = 5 };

// Throws Refusal when cuDNN finds fault with the shape.
Graph conv2d_graph(const Conv2dKey& key, std::shared_ptr<const Target> target);
Rules rules_of(const Conv2dKey& key);

}  // namespace glassnet::kernels::cudnn
