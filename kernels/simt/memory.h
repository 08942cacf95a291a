// What the executor knows of memory: which of it a kernel may touch, what was written, and by whom.
//
// Kernel files are compiled with -fsanitize=thread, so that the compiler announces every access to
// memory; memory.cpp receives the announcements and throws what is wrong with one.
//
// The simulated runtime tells what is device memory. All of it is for any host thread; while a
// kernel runs on another one, a call waits.
#pragma once

#include <cstddef>

namespace glassnet::simt {

// What cudaMalloc gives: `bytes` of device memory, a live buffer of its own, uninitialised, aligned
// to 256 bytes, with guard zones on both sides; null when there is too little.
void* allocate(size_t bytes);
void free(void* data) noexcept;

// A stretch of device memory that came from elsewhere. All of it is one live buffer until the first
// part is marked live or free.
void add_segment(const void* data, size_t bytes);
void remove_segment(const void* data) noexcept;

// For an allocator that hands out parts of segments. A live part is uninitialised (filled with
// 0xFF: NaNs, in every floating-point type); of a segment that has been parted, only the parts
// marked live may be touched.
void mark_live(void* data, size_t bytes);
void mark_free(const void* data, size_t bytes) noexcept;

// A copy or a library, which `what` names, writes or reads. Throw Error unless all of it is live
// device memory and, for a read, written.
void mark_written(void* data, size_t bytes, const char* what = "a copy");
void check_read(const void* data, size_t bytes, const char* what = "a copy");
bool is_device_memory(const void* data);

}  // namespace glassnet::simt
