// Work on a CUDA device that is recorded once and then queued as one: a CUDA graph.
//
// A training step of a residual network is several hundred kernels; queueing them one by one keeps
// the host busy for milliseconds, a recorded graph of them for microseconds.
#pragma once

#include <functional>
#include <memory>

#include "tensor/device.h"

namespace glassnet {

// CONVENTION: tensors made while recording take their memory from a pool of the graph's own, so
// that nothing else touches what a replay touches. What the work reads from outside has to live as
// long as the graph, and is read anew by each replay.
class Graph {
 public:
  Graph();
  ~Graph();
  Graph(Graph&&) noexcept;
  Graph& operator=(Graph&&) noexcept;

  // Runs `work`, recording what it queues on the device instead of doing it. Throws Error when the
  // work does what a graph cannot hold (waits for the device, reads its memory from the host), and
  // without a CUDA device; nothing is recorded then.
  void record(Device device, const std::function<void()>& work);
  bool recorded() const;
  // Whether this thread is recording one.
  static bool recording();
  // Queues the recorded work.
  void replay() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace glassnet
