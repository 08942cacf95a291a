// Which op this thread is at work for, so that an error on a device can say so, and a Profile what
// time it took.
#pragma once

#include <utility>

#include "kernels/profile.h"

namespace glassnet {

namespace op_scope_detail {
inline thread_local const char* current = nullptr;
}

// The innermost scope's op ("conv2d"); null outside of any.
inline const char* current_op() {
  return op_scope_detail::current;
}

class OpScope {
 public:
  explicit OpScope(const char* op)
      : before_(std::exchange(op_scope_detail::current, op)),
        span_([&](Profile& p) { p.open(Span::Kind::kOp, op); }) {}
  ~OpScope() { op_scope_detail::current = before_; }
  OpScope(const OpScope&) = delete;
  OpScope& operator=(const OpScope&) = delete;

 private:
  const char* before_;
  SpanScope span_;
};

}  // namespace glassnet
