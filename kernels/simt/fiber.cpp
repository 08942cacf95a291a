#include "kernels/simt/fiber.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>

#include "kernels/address_sanitizer.h"
#include "kernels/error.h"

// void glassnet_switch_stack(void** save, void* next): pushes what the calling convention wants
// kept, stores the stack pointer in *save, and pops the same from `next`.
#if defined(__x86_64__)
asm(R"(
  .text
  .p2align 4
  .globl glassnet_switch_stack
  .type glassnet_switch_stack, @function
glassnet_switch_stack:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
  .size glassnet_switch_stack, .-glassnet_switch_stack
)");
#elif defined(__aarch64__)
asm(R"(
  .text
  .p2align 4
  .globl glassnet_switch_stack
  .type glassnet_switch_stack, %function
glassnet_switch_stack:
  sub sp, sp, #160
  stp x19, x20, [sp, #0]
  stp x21, x22, [sp, #16]
  stp x23, x24, [sp, #32]
  stp x25, x26, [sp, #48]
  stp x27, x28, [sp, #64]
  stp x29, x30, [sp, #80]
  stp d8, d9, [sp, #96]
  stp d10, d11, [sp, #112]
  stp d12, d13, [sp, #128]
  stp d14, d15, [sp, #144]
  mov x9, sp
  str x9, [x0]
  mov sp, x1
  ldp x19, x20, [sp, #0]
  ldp x21, x22, [sp, #16]
  ldp x23, x24, [sp, #32]
  ldp x25, x26, [sp, #48]
  ldp x27, x28, [sp, #64]
  ldp x29, x30, [sp, #80]
  ldp d8, d9, [sp, #96]
  ldp d10, d11, [sp, #112]
  ldp d12, d13, [sp, #128]
  ldp d14, d15, [sp, #144]
  add sp, sp, #160
  ret
  .size glassnet_switch_stack, .-glassnet_switch_stack

  .globl glassnet_start_fiber
  .type glassnet_start_fiber, %function
glassnet_start_fiber:
  mov x30, xzr
  br x19
  .size glassnet_start_fiber, .-glassnet_start_fiber
)");
extern "C" void glassnet_start_fiber();
#else
#error "the host executor has no way yet to change stacks on this processor"
#endif
extern "C" void glassnet_switch_stack(void** save, void* next);

namespace glassnet::simt {

void switch_context(Context& from, Context& to, [[maybe_unused]] bool for_good) {
#if defined(GLASSNET_ASAN)
  __sanitizer_start_switch_fiber(for_good ? nullptr : &from.fake_stack, to.stack, to.stack_bytes);
#endif
  glassnet_switch_stack(&from.stack_pointer, to.stack_pointer);
#if defined(GLASSNET_ASAN)
  __sanitizer_finish_switch_fiber(from.fake_stack, nullptr, nullptr);
#endif
}

void entered_context([[maybe_unused]] Context& from) {
#if defined(GLASSNET_ASAN)
  __sanitizer_finish_switch_fiber(nullptr, &from.stack, &from.stack_bytes);
#endif
}

void start_context(Context& context, void* stack, size_t bytes, void (*function)()) {
  context = {.stack_pointer = nullptr, .stack = stack, .stack_bytes = bytes, .fake_stack = nullptr};
#if defined(GLASSNET_ASAN)
  __asan_unpoison_memory_region(stack, bytes);
#endif
  // Registers that are zero, and a return address of zero, where whoever walks the stack stops.
  constexpr size_t kWords = 20;
  auto* const frame = reinterpret_cast<uintptr_t*>(static_cast<char*>(stack) + bytes) - kWords;
  std::memset(frame, 0, kWords * sizeof(uintptr_t));
#if defined(__x86_64__)
  // Six registers, then where to return to. A function expects 16 k + 8.
  frame[8 + 6] = reinterpret_cast<uintptr_t>(function);
  context.stack_pointer = frame + 8;
#else
  frame[0] = reinterpret_cast<uintptr_t>(function);                // x19
  frame[11] = reinterpret_cast<uintptr_t>(&glassnet_start_fiber);  // x30
  context.stack_pointer = frame;
#endif
}

Stacks::Stacks(size_t count) : count_(count), page_(static_cast<size_t>(sysconf(_SC_PAGESIZE))) {
  void* const memory = mmap(nullptr, count * kBytes, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  require(memory != MAP_FAILED, [] { return std::string("[simt] there is no memory for stacks"); });
  memory_ = static_cast<char*>(memory);
  for (size_t i = 0; i < count; ++i) mprotect(memory_ + i * kBytes, page_, PROT_NONE);
}
Stacks::~Stacks() {
  munmap(memory_, count_ * kBytes);
}
char* Stacks::at(size_t i) {
  return memory_ + i * kBytes + page_;
}
size_t Stacks::usable_bytes() const {
  return kBytes - page_;
}
int Stacks::holding(const void* address) const {
  const size_t offset = reinterpret_cast<uintptr_t>(address) - reinterpret_cast<uintptr_t>(memory_);
  return offset < count_ * kBytes ? static_cast<int>(offset / kBytes) : -1;
}

}  // namespace glassnet::simt
