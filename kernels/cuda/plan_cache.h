// Where libraries' prepared work is kept, by everything that it depends on. Without CUDA, so that
// it can be tested anywhere.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>

#include "kernels/cuda/runtime.h"
#include "kernels/device.h"
#include "kernels/error.h"

namespace glassnet::kernels {

inline size_t hash_of(std::initializer_list<int64_t> values) {
  size_t hash = 0;
  for (const int64_t value : values) {
    hash = std::rotl(hash, 7) * 0x9E3779B97F4A7C15U ^ std::hash<int64_t>{}(value);
  }
  return hash;
}

// Preparing loads code and asks for memory, which a graph that is being captured cannot hold.
inline void require_no_capture(Cuda device, const char* op) {
  require(!is_capturing(device), [&] {
    return std::string("[") + op +
           "] has to run once with the same shapes before it is captured into a graph";
  });
}

// The largest power of two, up to `Most`, that divides every address, in bytes.
template <int Most, class... Pointers>
int alignment_of(const Pointers*... pointers) {
  const uintptr_t bits = (uintptr_t{Most} | ... | reinterpret_cast<uintptr_t>(pointers));
  return 1 << std::countr_zero(bits);
}

// Nothing ever leaves: graphs that have been captured go on using the code that a plan has loaded.
// May be used from any thread; one prepares at a time.
template <class Key, class Hash, class Plan>
class PlanCache {
 public:
  // What `make()` gave when the key was first asked for. When it throws, the next call tries again.
  template <class Make>
  const Plan& get(const Key& key, Make&& make) {
    const std::lock_guard lock(mutex_);
    const auto found = plans_.find(key);
    if (found != plans_.end()) return *found->second;
    auto plan = std::make_unique<const Plan>(make());
    return *plans_.emplace(key, std::move(plan)).first->second;
  }

 private:
  std::mutex mutex_;
  std::unordered_map<Key, std::unique_ptr<const Plan>, Hash> plans_;
};

}  // namespace glassnet::kernels
