// Fibers: functions with a stack each, between which one host thread changes by hand.
//
// A change saves the registers that a call must preserve on the old stack and takes the new one:
// some nanoseconds and no system call, which swapcontext would make to save the signal mask.
#pragma once

#include <cstddef>
#include <vector>

namespace glassnet::simt {

// What is left of a fiber, or of the thread that started the fibers, while others run.
struct Context {
  void* stack_pointer = nullptr;
  const void* stack = nullptr;  // its lowest address
  size_t stack_bytes = 0;
  void* fake_stack = nullptr;  // AddressSanitizer's, for what it moves off the stack
};

// Saves where the caller is in `from` and goes on in `to`. A caller that will not be resumed says
// so.
void switch_context(Context& from, Context& to, bool for_good = false);
// The first thing a fiber calls: the context that it came from learns where its stack is.
void entered_context(Context& from);

// Makes `context` one that starts `function`, which must never return, on an empty stack.
void start_context(Context& context, void* stack, size_t bytes, void (*function)());

// Stacks that stay for the next launch. Below each lies a page that ends the program when touched.
class Stacks {
 public:
  static constexpr size_t kBytes = size_t{128} << 10;

  explicit Stacks(size_t count);
  ~Stacks();
  Stacks(const Stacks&) = delete;
  Stacks& operator=(const Stacks&) = delete;

  char* at(size_t i);           // the lowest address of stack i
  size_t usable_bytes() const;  // from there on
  // Which stack an address lies on; -1 for none.
  int holding(const void* address) const;

 private:
  size_t count_, page_;
  char* memory_;
};

}  // namespace glassnet::simt
