// Inference that a GPU repeats from a recorded graph.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "nn/module.h"
#include "tensor/graph.h"

namespace glassnet {

// model(x) without recording gradients. On a CUDA device the first call with a shape runs op by op,
// the second is recorded, and later ones replay it, until weights change, when that begins again;
// with a hook anywhere in the model, on the CPU, and where a shape cannot be recorded, every call
// runs op by op. The numbers are the same bits.
//
// CONVENTION: the model stays in evaluation mode, on its device; its weights may change in place.
class GraphedForward {
 public:
  explicit GraphedForward(Module& model);
  GraphedForward(const GraphedForward&) = delete;
  GraphedForward& operator=(const GraphedForward&) = delete;

  Tensor operator()(const Tensor& x);
  // Calls that were answered by a replay so far.
  int64_t replayed() const { return replayed_; }

 private:
  struct Recorded {
    Tensor x, y;
    Graph graph;
    std::vector<uint64_t> weights;  // their versions: the graph reads what was folded from them
    int calls = 0;
    bool refused = false;  // could not be recorded, for want of memory as a rule
  };
  Tensor run(const Tensor& x);
  std::vector<uint64_t> versions() const;

  Module& model_;
  const StateDict state_;
  std::map<std::pair<std::vector<int64_t>, DType>, std::unique_ptr<Recorded>> recorded_;
  int64_t replayed_ = 0;
};

}  // namespace glassnet
