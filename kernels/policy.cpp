#include "kernels/policy.h"

#include <atomic>

#include "kernels/cpu/parallel.h"

namespace glassnet::kernels {
namespace {
std::atomic<bool> tf32{false}, winograd{false}, same_bits{false};
}  // namespace

void set_allow_tf32(bool allowed) {
  tf32 = allowed;
}
bool allow_tf32() {
  return tf32;
}
void set_allow_winograd(bool allowed) {
  winograd = allowed;
}
bool allow_winograd() {
  return winograd;
}
void set_deterministic(bool wanted) {
  same_bits = wanted;
}
bool deterministic() {
  return same_bits;
}

int cpu_threads() {
  return thread_count();
}

}  // namespace glassnet::kernels
