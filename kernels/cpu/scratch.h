// Working memory of a kernel call: one buffer per thread that only grows, so that a steady step
// allocates nothing.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdlib>
#include <memory>
#include <new>

namespace glassnet::kernels {

// CONVENTION: at most one user per thread at a time; a second `get` ends the first one's claim.
class ThreadScratch {
 public:
  // At least `bytes` of uninitialised memory, aligned to 64 bytes; valid until the next call.
  void* get(size_t bytes) {
    if (bytes > capacity_) {
      constexpr size_t kPage = size_t{2} << 20;
      const size_t unit = bytes >= kPage ? kPage : 64;
      capacity_ = 0;
      buffer_.reset();  // before the new one, so that both never exist at once
      const size_t rounded = (bytes + unit - 1) / unit * unit;
      buffer_.reset(std::aligned_alloc(unit, rounded));
      if (buffer_ == nullptr) throw std::bad_alloc();
      capacity_ = rounded;
      if (unit == kPage) madvise(buffer_.get(), rounded, MADV_HUGEPAGE);
    }
    return buffer_.get();
  }

 private:
  struct Free {
    void operator()(void* p) const { std::free(p); }
  };
  std::unique_ptr<void, Free> buffer_;
  size_t capacity_ = 0;
};

// This thread's buffer for one kind of use.
template <class Purpose>
ThreadScratch& thread_scratch() {
  thread_local ThreadScratch scratch;
  return scratch;
}

}  // namespace glassnet::kernels
