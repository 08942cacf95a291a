// cuDNN's plans for a graph as kernels/plan_choices.h chooses among them: run on a device, on
// memory of their own.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "kernels/cuda/allocator.h"
#include "kernels/cuda/cudnn_graph.h"
#include "kernels/cuda/scratch.h"
#include "kernels/device.h"

namespace glassnet::kernels::cudnn {

class TimedPlans {
 public:
  // For as long as this lives, `graph` has to.
  TimedPlans(Cuda device, const Graph& graph, const Rules& rules)
      : device_(device), graph_(graph), rules_(rules), pool_(device.index) {}

  std::unique_ptr<const Plan> named(const std::string& identity) const;
  // Throws Refusal when there is none. Only one where the device has no memory to run more on.
  std::vector<std::unique_ptr<const Plan>> first(size_t count);
  // The host waits. Operands are zeros.
  double milliseconds(const Plan& plan);

 private:
  Cuda device_;
  const Graph& graph_;
  Rules rules_;
  // Operands and workspaces: whoever runs a convolution first may have a pool open that gives
  // nothing back as long as a training lasts, and a run that is timed needs its memory once.
  MemoryPool pool_;
  std::vector<std::unique_ptr<const Scratch>> memory_;
  std::vector<Plan::Binding> operands_;
};

// "NVIDIA H200, 132 multiprocessors, cuDNN 9.19.0, CUDA 13.0, driver 580.65.06": everything about a
// device that decides which plan is the quickest.
std::string describe_device(int index);

}  // namespace glassnet::kernels::cudnn
