// Inference that a GPU repeats from a recorded graph.
#pragma once

#include <map>
#include <memory>

#include "nn/module.h"
#include "tensor/graph.h"

namespace glassnet {

// model(x) without recording gradients. On a CUDA device the first call with a shape runs op by op,
// the second is recorded, and later ones replay it; with a hook anywhere in the model, on the CPU,
// and where a shape cannot be recorded, every call runs op by op. The numbers are the same bits.
//
// CONVENTION: the model stays in evaluation mode, on its device; its weights may change in place.
class GraphedForward {
 public:
  explicit GraphedForward(Module& model) : model_(model) {}
  GraphedForward(const GraphedForward&) = delete;
  GraphedForward& operator=(const GraphedForward&) = delete;

  Tensor operator()(const Tensor& x);

 private:
  struct Recorded {
    Tensor x, y;
    Graph graph;
    int calls = 0;
    bool refused = false;  // could not be recorded, for want of memory as a rule
  };
  Tensor run(const Tensor& x);

  Module& model_;
  std::map<std::pair<std::vector<int64_t>, DType>, std::unique_ptr<Recorded>> recorded_;
};

}  // namespace glassnet
