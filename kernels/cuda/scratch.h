// Memory of a device for as long as a few kernels need it, from the caching allocator.
#pragma once

#include <cstddef>

#include "kernels/device.h"

namespace glassnet::kernels {

// Uninitialised, aligned to 256 bytes. Giving it back does not wait for the kernels that use it:
// work queued later on the same stream comes after them.
// Throws Error when the device has too little.
class Scratch {
 public:
  Scratch(Cuda device, size_t bytes);
  ~Scratch();
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  template <class T>
  T* get() const {
    return static_cast<T*>(data_);
  }

 private:
  int index_;
  void* data_ = nullptr;
};

}  // namespace glassnet::kernels
