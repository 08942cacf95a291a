// Between the executor and its checks of memory; for no one else.
#pragma once

#include <cstdint>
#include <mutex>
#include <string>

#include "kernels/error.h"
#include "kernels/simt/shadow.h"

namespace glassnet::simt {

// --- what memory.cpp knows -----------------------------------------------------------------------

// What this host thread announces is checked while a fiber runs on it, and not while it does the
// executor's own work: that calls functions of the standard library, of which the linker may have
// kept the copy that announces.
struct Watch {
  bool on = false;
  uintptr_t stack = 0;  // the running fiber's own
  size_t stack_bytes = 0;
};
[[gnu::tls_model("initial-exec")]] extern thread_local constinit Watch watch;

class Unwatched {
 public:
  Unwatched() : before_(watch.on) { watch.on = false; }
  ~Unwatched() { watch.on = before_; }
  Unwatched(const Unwatched&) = delete;
  Unwatched& operator=(const Unwatched&) = delete;

 private:
  bool before_;
};

// Held by a launch from its first block to its last, and by whoever changes what is device memory.
std::recursive_mutex& mutex();

Order& order();

// A launch whose arguments, all threads may read, lie in `bytes` bytes from `arguments` on.
void begin_launch(const void* arguments, size_t bytes, size_t dynamic_shared_bytes);
void end_launch();
// The block's shared memory is uninitialised.
void begin_block();
void check_atomic(const void* address, size_t bytes);

// --- what executor.cpp knows ---------------------------------------------------------------------

// What a thread must not do: throws a Fault that names the kernel, the block, the thread that runs,
// what it does, and where.
struct Fault : Error {
  using Error::Error;
};
[[noreturn]] void fail(const std::string& what_it_does);
// Ends the launch with a fault, for those who may not throw: the compiler believes that what it
// announces throws nothing. The thread is left where it is and does not run again.
[[noreturn]] void give_up();
void keep(const Fault& fault);
// "thread (3, 0, 0)".
std::string name_of_thread(int thread);
// The thread whose stack holds an address, or -1.
int thread_of_stack(const void* address);

}  // namespace glassnet::simt
