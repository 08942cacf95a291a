#include <atomic>

#include "kernels/policy.h"

namespace glassnet::kernels {
namespace {
std::atomic<bool> tf32{false}, same_bits{false};
}  // namespace

void set_allow_tf32(bool allowed) {
  tf32 = allowed;
}
bool allow_tf32() {
  return tf32;
}
void set_deterministic(bool wanted) {
  same_bits = wanted;
}
bool deterministic() {
  return same_bits;
}

}  // namespace glassnet::kernels
