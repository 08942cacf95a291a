// Host and GPU at work at the same time. On the CPU everything here is done at once.
//
//   Staging staging(device);
//   const Tensor x = staging.upload(values.data(), bytes);  // queued
//   const Download y = staging.download(forward(x));        // queued
//   ...                                                     // the host does something else
//   use(y.wait());                                          // waits for y and nothing after it
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "tensor/tensor.h"

namespace glassnet {

// A tensor on its way to the host. Copies stand for the same one.
class Download {
 public:
  // The elements, on the CPU.
  Tensor wait() const;

 private:
  friend class Staging;
  struct Block;
  Tensor host_;                   // there already, or to be filled
  std::shared_ptr<Block> block_;  // where they arrive; null: they are in host_
};

// Pinned memory through which copies to and from a device pass, and which is used again and again:
// to ask the driver for some takes longer than most copies.
class Staging {
 public:
  explicit Staging(Device device);
  ~Staging();
  Staging(const Staging&) = delete;
  Staging& operator=(const Staging&) = delete;

  // Bytes of the host's memory, which may change as soon as this returns, as uint8 (bytes) on the
  // device, where what is queued from now on finds them.
  Tensor upload(const void* data, size_t bytes);
  template <class T>
  Tensor upload(const std::vector<T>& values) {
    return upload(values.data(), values.size() * sizeof(T));
  }
  // What x, on the device, will be when all that is queued now is done.
  Download download(const Tensor& x);

 private:
  std::shared_ptr<Download::Block> block_of(size_t bytes);

  Device device_;
  std::vector<std::shared_ptr<Download::Block>> blocks_;
};

// A second queue of work on a GPU, with memory of its own: while a Scope lives, this thread's work
// does not wait for what the device's usual stream is at, nor that for it.
//
// CONVENTION: what a scope leaves in the device's memory is touched in scopes of the same queue
// only; results go home through the host.
class SideQueue {
 public:
  explicit SideQueue(Device device);
  ~SideQueue();
  SideQueue(const SideQueue&) = delete;
  SideQueue& operator=(const SideQueue&) = delete;

  class Scope {
   public:
    explicit Scope(SideQueue& queue);
    ~Scope();
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
  };

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;  // null on the CPU
};

}  // namespace glassnet
