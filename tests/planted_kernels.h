// Kernels for the tests of the host executor: right ones, and ones with a fault each.
//
// Device pointers throughout. Every function launches the kernel of its own name and "_kernel", on
// one block unless it says otherwise.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "kernels/device.h"

namespace glassnet::planted {

// A block of threads along x, y and z.
struct Extent {
  unsigned x = 1, y = 1, z = 1;
};

// --- right ---------------------------------------------------------------------------------------

// y[i] = 2 x[i] for i < count, in blocks of `threads`.
void scale(Cuda device, float* y, const float* x, int count, int threads);
// For every thread of the grid, counted x first, its thread's and its block's coordinates: (n, 6).
void coordinates(Cuda device, int* y, Extent grid, Extent block);
// In y: how many threads have an odd index, whether any has index `special`, whether all are less.
void barrier_votes(Cuda device, int* y, int threads, int special);
// For every thread: __shfl_sync from lane 3, _xor 1, _up 2, _down 2, of 100 + its index, within
// groups of `width`: (threads, 4).
void shuffles(Cuda device, int* y, int threads, int width);
// A shuffle of an 8-byte type.
void shuffle_double(Cuda device, double* y);
// For every thread: __ballot_sync, __any_sync, __all_sync of "the lane is less than five":
// (threads, 3).
void votes(Cuda device, int* y, int threads);
// The even and the odd lanes each sum their indices by shuffles with a mask of their own.
void half_warps(Cuda device, int* y);
// Lanes from `from` on end at once; the others sum their lanes by a shuffle.
void early_end(Cuda device, int* y, int from);
// y: the results of one call of every atomic by every thread: (9).
void atomics(Cuda device, int* y, int threads);
// The sum of x (count), three times: by a tree in dynamic shared memory, with __syncwarp for the
// last warp; by block_reduce.h; and by the last of several blocks, with __threadfence.
void tree_sum(Cuda device, float* y, const float* x, int count, int threads);
void reduce_sum(Cuda device, float* y, const float* x, int count, int threads);
void last_block_sum(Cuda device, float* y, float* parts, unsigned* done, const float* x, int count,
                    int blocks);
// Each warp hands values from lane to lane through shared memory, ordered by __syncwarp.
void warp_exchange(Cuda device, float* y, int threads, bool halves);
// y[i] = a constant of the program.
void constants(Cuda device, float* y, int threads);
// Threads take a lock in turn, and count.
void lock(Cuda device, int* y, int* taken, int threads);
// Every launch writes the same local array, static shared array and parameter by value.
struct Parameters {
  float values[8];
};
void parameters(Cuda device, float* y, const Parameters& parameters, int threads);

// --- wrong ---------------------------------------------------------------------------------------

void missing_barrier(Cuda device, float* y, int threads);
void write_past_end(Cuda device, float* y, int count);
void write_before_start(Cuda device, float* y, int count);
void read_past_end(Cuda device, float* y, const float* x, int count);
void half_outside(Cuda device, double* y);
void shared_past_end(Cuda device, float* y);
void dynamic_past_end(Cuda device, float* y);
void shared_race(Cuda device, float* y, int threads);
void read_write_race(Cuda device, float* y, int threads);
void global_race(Cuda device, float* y, int threads);
void byte_race(Cuda device, uint8_t* y, int threads);
void block_write_race(Cuda device, float* y, int blocks);
void block_read_race(Cuda device, float* y, int blocks);
void block_overwrite_race(Cuda device, float* y, int blocks);
void unfenced_sum(Cuda device, float* y, float* parts, unsigned* done, const float* x, int count,
                  int blocks);
void atomic_race(Cuda device, float* y, int threads);
void unsynced_warp(Cuda device, float* y);
void shuffle_orders_nothing(Cuda device, float* y);
void other_half(Cuda device, float* y);
void unwritten_shared(Cuda device, float* y);
void shared_of_last_block(Cuda device, float* y);
void unwritten_atomic(Cuda device, int* y);
void divergent_barrier(Cuda device, int threads, int until);
void barrier_or_warp(Cuda device);
void two_barriers(Cuda device, int* y);
void absent_source(Cuda device, int* y, int threads);
void unnamed_source(Cuda device, int* y);
void ended_source(Cuda device, int* y);
void unnamed_self(Cuda device);
void two_masks(Cuda device, int* y);
void shuffle_and_ballot(Cuda device, int* y);
void misaligned(Cuda device, float* y, const float* x);
void misaligned_shared(Cuda device, float* y);
void other_stack(Cuda device, float* y);
void write_constant(Cuda device);
void host_global(Cuda device, float* y);
void too_much_shared(Cuda device, size_t dynamic_bytes);
void throws(Cuda device);
void endless(Cuda device, int* y);
void shape(Cuda device, Extent grid, Extent block, size_t shared_bytes);

}  // namespace glassnet::planted
