#include "tests/planted_kernels.h"

#include <stdexcept>

#include "kernels/cuda/block_reduce.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/vec.h"

namespace glassnet::planted {

extern float host_value;  // a variable of the host's, which no GPU sees
float host_value = 1;

namespace {

using kernels::launch;

__device__ unsigned linear_thread() {
  return threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
}
__device__ int lane() {
  return static_cast<int>(threadIdx.x % 32);
}
dim3 dim(Extent e) {
  return {e.x, e.y, e.z};
}

// --- right ---------------------------------------------------------------------------------------

__global__ void scale_kernel(float* y, const float* x, int count) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i < count) y[i] = 2 * x[i];
}

__global__ void coordinates_kernel(int* y) {
  const unsigned block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
  const unsigned threads = blockDim.x * blockDim.y * blockDim.z;
  int* const mine = y + 6 * (block * threads + linear_thread());
  const unsigned values[] = {threadIdx.x, threadIdx.y, threadIdx.z,
                             blockIdx.x,  blockIdx.y,  blockIdx.z};
  for (int i = 0; i < 6; ++i) mine[i] = static_cast<int>(values[i]);
}

__global__ void barrier_votes_kernel(int* y, unsigned special) {
  const int odd = __syncthreads_count(threadIdx.x % 2 == 1);
  const int any = __syncthreads_or(threadIdx.x == special);
  const int all = __syncthreads_and(threadIdx.x < special);
  if (threadIdx.x > 0) return;
  y[0] = odd;
  y[1] = any != 0;
  y[2] = all != 0;
}

__global__ void shuffles_kernel(int* y, int width) {
  const int value = 100 + static_cast<int>(threadIdx.x);
  int* const mine = y + 4 * threadIdx.x;
  mine[0] = __shfl_sync(~0U, value, 3, width);
  mine[1] = __shfl_xor_sync(~0U, value, 1, width);
  mine[2] = __shfl_up_sync(~0U, value, 2, width);
  mine[3] = __shfl_down_sync(~0U, value, 2, width);
}

__global__ void shuffle_double_kernel(double* y) {
  y[threadIdx.x] = __shfl_sync(~0U, 0.1 * threadIdx.x, 31 - lane());
}

__global__ void votes_kernel(int* y) {
  const unsigned rest = blockDim.x - threadIdx.x / 32 * 32;
  const unsigned mask = rest >= 32 ? ~0U : (1U << rest) - 1;
  int* const mine = y + 3 * threadIdx.x;
  mine[0] = static_cast<int>(__ballot_sync(mask, lane() < 5));
  mine[1] = __any_sync(mask, lane() < 5) != 0;
  mine[2] = __all_sync(mask, lane() < 5) != 0;
}

__global__ void half_warps_kernel(int* y) {
  int sum = lane();
  if (lane() % 2 == 0) {
    for (int bits = 16; bits > 1; bits /= 2) sum += __shfl_xor_sync(0x55555555, sum, bits);
  } else {
    for (int bits = 16; bits > 1; bits /= 2) sum += __shfl_xor_sync(0xaaaaaaaa, sum, bits);
  }
  y[threadIdx.x] = sum;
}

__global__ void early_end_kernel(int* y, int from) {
  if (lane() >= from) return;
  int sum = 0;
  for (int i = 0; i < from; ++i) sum += __shfl_sync(~0U, lane(), i);
  y[threadIdx.x] = sum;
}

__global__ void atomics_kernel(int* y, unsigned* bits) {
  const int i = static_cast<int>(threadIdx.x);
  atomicAdd(&y[0], i);
  atomicSub(&y[1], i);
  atomicMax(&y[2], i);
  atomicMin(&y[3], -i);
  atomicExch(&y[4], 7);
  atomicCAS(&y[5], i, i + 1);  // counts on where the order allows it
  atomicOr(&bits[6], 1U << (threadIdx.x % 32));
  atomicAnd(&bits[7], ~(1U << (threadIdx.x % 32)));
  atomicInc(&bits[8], 9);
}

__global__ void tree_sum_kernel(float* y, const float* x, int count) {
  GLASSNET_DYNAMIC_SHARED(float, parts);
  const int i = static_cast<int>(threadIdx.x), threads = static_cast<int>(blockDim.x);
  float sum = 0;
  for (int k = i; k < count; k += threads) sum += x[k];
  parts[i] = sum;
  __syncthreads();
  for (int half = threads / 2; half >= 32; half /= 2) {
    if (i < half) parts[i] += parts[i + half];
    __syncthreads();
  }
  if (i >= 32) return;
  for (int half = 16; half > 0; half /= 2) {
    if (i < half) parts[i] += parts[i + half];
    __syncwarp();
  }
  if (i == 0) *y = parts[0];
}

__global__ void reduce_sum_kernel(float* y, const float* x, int count) {
  float sum = 0;
  for (unsigned k = threadIdx.x; k < static_cast<unsigned>(count); k += blockDim.x) sum += x[k];
  // Twice: the second must not disturb who still reads the first.
  const float total = kernels::block_sum(sum);
  const float again = kernels::block_sum(sum);
  if (threadIdx.x == 0) *y = (total + again) / 2;
}

template <bool Fenced>
__global__ void last_block_sum_kernel(float* y, float* parts, unsigned* done, const float* x,
                                      int count) {
  GLASSNET_SHARED(bool, is_last, [1]);
  float sum = 0;
  const unsigned step = gridDim.x * blockDim.x;
  for (unsigned k = blockIdx.x * blockDim.x + threadIdx.x; k < static_cast<unsigned>(count);
       k += step)
    sum += x[k];
  sum = kernels::block_sum(sum);
  if (threadIdx.x == 0) {
    parts[blockIdx.x] = sum;
    if (Fenced) __threadfence();
    is_last[0] = atomicAdd(done, 1U) == gridDim.x - 1;
  }
  __syncthreads();
  if (!is_last[0]) return;
  const float part = threadIdx.x < gridDim.x ? parts[threadIdx.x] : 0;
  sum = kernels::block_sum(part);
  if (threadIdx.x > 0) return;
  *y = sum;
  *done = 0;
}

__global__ void warp_exchange_kernel(float* y, bool halves) {
  GLASSNET_SHARED(float, box, [1024]);
  const unsigned mask = !halves ? ~0U : lane() < 16 ? 0xffffU : 0xffff0000U;
  const unsigned group = halves ? 16 : 32, first = threadIdx.x / group * group;
  float value = static_cast<float>(threadIdx.x);
  for (int turn = 0; turn < 5; ++turn) {
    box[threadIdx.x] = value;
    __syncwarp(mask);
    value = box[first + (threadIdx.x + 1) % group];
    __syncwarp(mask);
  }
  y[threadIdx.x] = value;
}

__constant__ float table[] = {0, 1, 4, 9, 16, 25, 36, 49};
__global__ void constants_kernel(float* y) {
  y[threadIdx.x] = table[threadIdx.x % 8];
}

__global__ void lock_kernel(int* y, int* taken) {
  while (atomicCAS(taken, 0, 1) != 0) {
  }
  atomicAdd(y, 1);
  atomicExch(taken, 0);
}

__global__ void parameters_kernel(float* y, Parameters given) {
  GLASSNET_SHARED(float, copy, [8]);
  if (threadIdx.x < 8) copy[threadIdx.x] = given.values[threadIdx.x];
  given.values[threadIdx.x % 8] += 1;  // each thread's own
  __syncthreads();
  y[threadIdx.x] = copy[threadIdx.x % 8] + given.values[threadIdx.x % 8];
}

// --- wrong ---------------------------------------------------------------------------------------

__global__ void missing_barrier_kernel(float* y) {
  GLASSNET_SHARED(float, tile, [1024]);
  tile[threadIdx.x] = 1;
  y[threadIdx.x] = tile[blockDim.x - 1 - threadIdx.x];
}
__global__ void write_past_end_kernel(float* y, int count) {
  if (static_cast<int>(threadIdx.x) <= count) y[threadIdx.x] = 0;
}
__global__ void write_before_start_kernel(float* y) {
  y[static_cast<int>(threadIdx.x) - 1] = 0;
}
__global__ void read_past_end_kernel(float* y, const float* x) {
  y[threadIdx.x] = x[threadIdx.x + 1];
}
__global__ void half_outside_kernel(double* y) {
  *y = 1;
}
__global__ void shared_past_end_kernel(float* y) {
  GLASSNET_SHARED(float, tile, [32]);
  GLASSNET_SHARED(float, other, [32]);
  tile[threadIdx.x + 1] = 0;
  other[threadIdx.x] = 0;
  if (threadIdx.x == 0) tile[0] = 0;
  __syncthreads();
  y[threadIdx.x] = tile[threadIdx.x] + other[threadIdx.x];
}
__global__ void dynamic_past_end_kernel(float* y) {
  GLASSNET_DYNAMIC_SHARED(float, tile);
  tile[threadIdx.x] = 0;
  y[threadIdx.x] = tile[threadIdx.x];
}
__global__ void shared_race_kernel(float* y) {
  GLASSNET_SHARED(float, sum, [1]);
  sum[0] = static_cast<float>(threadIdx.x);
  __syncthreads();
  y[threadIdx.x] = sum[0];
}
__global__ void read_write_race_kernel(float* y) {
  GLASSNET_SHARED(float, tile, [1024]);
  tile[threadIdx.x] = 1;
  __syncthreads();
  const float next = tile[(threadIdx.x + 1) % blockDim.x];
  tile[threadIdx.x] = 2 * next;
  __syncthreads();
  y[threadIdx.x] = tile[threadIdx.x];
}
__global__ void global_race_kernel(float* y) {
  y[threadIdx.x / 2] = 1;
}
__global__ void byte_race_kernel(uint8_t* y) {
  y[threadIdx.x] = 1;
  y[threadIdx.x == 7 ? 6 : threadIdx.x] = 2;
}
__global__ void block_write_race_kernel(float* y) {
  y[0] = 1;
}
__global__ void block_read_race_kernel(float* y) {
  y[blockIdx.x] = 1;
  if (blockIdx.x > 0) y[blockIdx.x] = y[blockIdx.x - 1];
}
__global__ void block_overwrite_race_kernel(float* y) {
  const float last = y[gridDim.x - 1];
  y[blockIdx.x] = last + 1;
}
__global__ void atomic_race_kernel(float* y) {
  if (threadIdx.x == 0) {
    y[0] = 1;
  } else {
    atomicAdd(&y[0], 1.0F);
  }
}
__global__ void unsynced_warp_kernel(float* y) {
  GLASSNET_SHARED(float, box, [32]);
  box[threadIdx.x] = 1;
  __syncwarp();
  const float next = box[(threadIdx.x + 1) % 32];
  box[threadIdx.x] = next;
  y[threadIdx.x] = next;
}
__global__ void shuffle_orders_nothing_kernel(float* y) {
  GLASSNET_SHARED(float, box, [32]);
  box[threadIdx.x] = __shfl_xor_sync(~0U, 1.0F, 1);
  __shfl_xor_sync(~0U, 1.0F, 1);
  y[threadIdx.x] = box[threadIdx.x ^ 1];
}
__global__ void other_half_kernel(float* y) {
  GLASSNET_SHARED(float, box, [32]);
  box[threadIdx.x] = 1;
  __syncwarp(threadIdx.x < 16 ? 0xffff : 0xffff0000);
  y[threadIdx.x] = box[(threadIdx.x + 16) % 32];
}
__global__ void unwritten_shared_kernel(float* y) {
  GLASSNET_SHARED(float, tile, [64]);
  if (threadIdx.x != 5) tile[threadIdx.x] = 1;
  __syncthreads();
  y[threadIdx.x] = tile[threadIdx.x];
}
__global__ void shared_of_last_block_kernel(float* y) {
  GLASSNET_SHARED(float, tile, [32]);
  if (blockIdx.x == 0) tile[threadIdx.x] = 1;
  y[blockIdx.x * 32 + threadIdx.x] = tile[threadIdx.x];
}
__global__ void unwritten_atomic_kernel(int* y) {
  atomicAdd(y, 1);
}
__global__ void divergent_barrier_kernel(unsigned until) {
  if (threadIdx.x < until) __syncthreads();
}
__global__ void barrier_or_warp_kernel() {
  if (threadIdx.x == 9) {
    __syncwarp();
  } else {
    __syncthreads();
  }
}
__global__ void two_barriers_kernel(int* y) {
  if (threadIdx.x == 9) {
    y[0] = __syncthreads_or(1);
  } else {
    __syncthreads();
  }
}
__global__ void absent_source_kernel(int* y) {
  y[threadIdx.x] = __shfl_xor_sync(~0U, 1, 16);
}
__global__ void unnamed_source_kernel(int* y) {
  if (threadIdx.x < 16) y[threadIdx.x] = __shfl_sync(0xffff, 1, 20);
}
__global__ void ended_source_kernel(int* y) {
  if (threadIdx.x == 4) return;
  y[threadIdx.x] = __shfl_sync(~0U, 1, 4);
}
__global__ void unnamed_self_kernel() {
  __syncwarp(0xfffffffe);
}
__global__ void two_masks_kernel(int* y) {
  y[threadIdx.x] = __shfl_sync(threadIdx.x == 3 ? 0xffffU : ~0U, 1, 0);
}
__global__ void shuffle_and_ballot_kernel(int* y) {
  if (threadIdx.x == 3) {
    y[3] = __any_sync(~0U, 1);
  } else {
    y[threadIdx.x] = __shfl_sync(~0U, 1, 0);
  }
}
__global__ void misaligned_kernel(float* y, const float* x) {
  kernels::store_vec<4>(y, kernels::load_vec<4>(x));
}
__global__ void misaligned_shared_kernel(float* y) {
  GLASSNET_SHARED(float, tile, [4]);  // a multiple of four is all it promises
  for (int i = 0; i < 4; ++i) tile[i] = 1;
  kernels::store_vec<4>(y, kernels::load_vec<4>(tile));
}
__global__ void other_stack_kernel(float* y) {
  GLASSNET_SHARED(float*, local, [1]);
  float mine[2] = {1, 2};
  if (threadIdx.x == 0) local[0] = mine;
  __syncthreads();
  y[threadIdx.x] = local[0][1];
  __syncthreads();
}
__global__ void write_constant_kernel(float* y) {
  *y = 1;
}
__global__ void host_global_kernel(float* y) {
  *y = host_value;
}
__global__ void too_much_shared_kernel() {
  GLASSNET_SHARED(float, tile, [1024]);
  tile[threadIdx.x] = 0;
}
__global__ void throws_kernel() {
  if (threadIdx.x == 2) throw std::runtime_error("no kernel does this");
  __syncthreads();
}
__global__ void endless_kernel(int* y) {
  while (atomicAdd(y, 0) == 0) {
  }
}
__global__ void shape_kernel() {}

}  // namespace

#define ONE_BLOCK(threads_) \
  { .grid = 1, .block = static_cast<unsigned>(threads_) }
#define BLOCKS(blocks_, threads_) \
  { .grid = static_cast<unsigned>(blocks_), .block = static_cast<unsigned>(threads_) }

void scale(Cuda device, float* y, const float* x, int count, int threads) {
  launch<scale_kernel>(device, BLOCKS((count + threads - 1) / threads, threads), y, x, count);
}
void coordinates(Cuda device, int* y, Extent grid, Extent block) {
  launch<coordinates_kernel>(device, {.grid = dim(grid), .block = dim(block)}, y);
}
void barrier_votes(Cuda device, int* y, int threads, int special) {
  launch<barrier_votes_kernel>(device, ONE_BLOCK(threads), y, static_cast<unsigned>(special));
}
void shuffles(Cuda device, int* y, int threads, int width) {
  launch<shuffles_kernel>(device, ONE_BLOCK(threads), y, width);
}
void shuffle_double(Cuda device, double* y) {
  launch<shuffle_double_kernel>(device, ONE_BLOCK(32), y);
}
void votes(Cuda device, int* y, int threads) {
  launch<votes_kernel>(device, ONE_BLOCK(threads), y);
}
void half_warps(Cuda device, int* y) {
  launch<half_warps_kernel>(device, ONE_BLOCK(32), y);
}
void early_end(Cuda device, int* y, int from) {
  launch<early_end_kernel>(device, ONE_BLOCK(32), y, from);
}
void atomics(Cuda device, int* y, int threads) {
  launch<atomics_kernel>(device, ONE_BLOCK(threads), y, reinterpret_cast<unsigned*>(y));
}
void tree_sum(Cuda device, float* y, const float* x, int count, int threads) {
  launch<tree_sum_kernel>(device,
                          {.grid = 1,
                           .block = static_cast<unsigned>(threads),
                           .shared_bytes = static_cast<size_t>(threads) * sizeof(float)},
                          y, x, count);
}
void reduce_sum(Cuda device, float* y, const float* x, int count, int threads) {
  launch<reduce_sum_kernel>(device, ONE_BLOCK(threads), y, x, count);
}
void last_block_sum(Cuda device, float* y, float* parts, unsigned* done, const float* x, int count,
                    int blocks) {
  launch<last_block_sum_kernel<true>>(device, BLOCKS(blocks, 64), y, parts, done, x, count);
}
void unfenced_sum(Cuda device, float* y, float* parts, unsigned* done, const float* x, int count,
                  int blocks) {
  launch<last_block_sum_kernel<false>>(device, BLOCKS(blocks, 64), y, parts, done, x, count);
}
void warp_exchange(Cuda device, float* y, int threads, bool halves) {
  launch<warp_exchange_kernel>(device, ONE_BLOCK(threads), y, halves);
}
void constants(Cuda device, float* y, int threads) {
  launch<constants_kernel>(device, ONE_BLOCK(threads), y);
}
void lock(Cuda device, int* y, int* taken, int threads) {
  launch<lock_kernel>(device, ONE_BLOCK(threads), y, taken);
}
void parameters(Cuda device, float* y, const Parameters& parameters, int threads) {
  launch<parameters_kernel>(device, ONE_BLOCK(threads), y, parameters);
}

void missing_barrier(Cuda device, float* y, int threads) {
  launch<missing_barrier_kernel>(device, ONE_BLOCK(threads), y);
}
void write_past_end(Cuda device, float* y, int count) {
  launch<write_past_end_kernel>(device, ONE_BLOCK(count + 8), y, count);
}
void write_before_start(Cuda device, float* y, int count) {
  launch<write_before_start_kernel>(device, ONE_BLOCK(count), y);
}
void read_past_end(Cuda device, float* y, const float* x, int count) {
  launch<read_past_end_kernel>(device, ONE_BLOCK(count), y, x);
}
void half_outside(Cuda device, double* y) {
  launch<half_outside_kernel>(device, ONE_BLOCK(1), y);
}
void shared_past_end(Cuda device, float* y) {
  launch<shared_past_end_kernel>(device, ONE_BLOCK(32), y);
}
void dynamic_past_end(Cuda device, float* y) {
  launch<dynamic_past_end_kernel>(device,
                                  {.grid = 1, .block = 32, .shared_bytes = 31 * sizeof(float)}, y);
}
void shared_race(Cuda device, float* y, int threads) {
  launch<shared_race_kernel>(device, ONE_BLOCK(threads), y);
}
void read_write_race(Cuda device, float* y, int threads) {
  launch<read_write_race_kernel>(device, ONE_BLOCK(threads), y);
}
void global_race(Cuda device, float* y, int threads) {
  launch<global_race_kernel>(device, ONE_BLOCK(threads), y);
}
void byte_race(Cuda device, uint8_t* y, int threads) {
  launch<byte_race_kernel>(device, ONE_BLOCK(threads), y);
}
void block_write_race(Cuda device, float* y, int blocks) {
  launch<block_write_race_kernel>(device, BLOCKS(blocks, 1), y);
}
void block_read_race(Cuda device, float* y, int blocks) {
  launch<block_read_race_kernel>(device, BLOCKS(blocks, 1), y);
}
void block_overwrite_race(Cuda device, float* y, int blocks) {
  launch<block_overwrite_race_kernel>(device, BLOCKS(blocks, 1), y);
}
void atomic_race(Cuda device, float* y, int threads) {
  launch<atomic_race_kernel>(device, ONE_BLOCK(threads), y);
}
void unsynced_warp(Cuda device, float* y) {
  launch<unsynced_warp_kernel>(device, ONE_BLOCK(32), y);
}
void shuffle_orders_nothing(Cuda device, float* y) {
  launch<shuffle_orders_nothing_kernel>(device, ONE_BLOCK(32), y);
}
void other_half(Cuda device, float* y) {
  launch<other_half_kernel>(device, ONE_BLOCK(32), y);
}
void unwritten_shared(Cuda device, float* y) {
  launch<unwritten_shared_kernel>(device, ONE_BLOCK(64), y);
}
void shared_of_last_block(Cuda device, float* y) {
  launch<shared_of_last_block_kernel>(device, BLOCKS(2, 32), y);
}
void unwritten_atomic(Cuda device, int* y) {
  launch<unwritten_atomic_kernel>(device, ONE_BLOCK(1), y);
}
void divergent_barrier(Cuda device, int threads, int until) {
  launch<divergent_barrier_kernel>(device, ONE_BLOCK(threads), static_cast<unsigned>(until));
}
void barrier_or_warp(Cuda device) {
  launch<barrier_or_warp_kernel>(device, ONE_BLOCK(32));
}
void two_barriers(Cuda device, int* y) {
  launch<two_barriers_kernel>(device, ONE_BLOCK(32), y);
}
void absent_source(Cuda device, int* y, int threads) {
  launch<absent_source_kernel>(device, ONE_BLOCK(threads), y);
}
void unnamed_source(Cuda device, int* y) {
  launch<unnamed_source_kernel>(device, ONE_BLOCK(32), y);
}
void ended_source(Cuda device, int* y) {
  launch<ended_source_kernel>(device, ONE_BLOCK(32), y);
}
void unnamed_self(Cuda device) {
  launch<unnamed_self_kernel>(device, ONE_BLOCK(1));
}
void two_masks(Cuda device, int* y) {
  launch<two_masks_kernel>(device, ONE_BLOCK(32), y);
}
void shuffle_and_ballot(Cuda device, int* y) {
  launch<shuffle_and_ballot_kernel>(device, ONE_BLOCK(32), y);
}
void misaligned(Cuda device, float* y, const float* x) {
  launch<misaligned_kernel>(device, ONE_BLOCK(1), y, x);
}
void misaligned_shared(Cuda device, float* y) {
  launch<misaligned_shared_kernel>(device, ONE_BLOCK(1), y);
}
void other_stack(Cuda device, float* y) {
  launch<other_stack_kernel>(device, ONE_BLOCK(2), y);
}
void write_constant(Cuda device) {
  launch<write_constant_kernel>(device, ONE_BLOCK(1), const_cast<float*>(table));
}
void host_global(Cuda device, float* y) {
  launch<host_global_kernel>(device, ONE_BLOCK(1), y);
}
void too_much_shared(Cuda device, size_t dynamic_bytes) {
  launch<too_much_shared_kernel>(device, {.grid = 1, .block = 32, .shared_bytes = dynamic_bytes});
}
void throws(Cuda device) {
  launch<throws_kernel>(device, ONE_BLOCK(64));
}
void endless(Cuda device, int* y) {
  launch<endless_kernel>(device, ONE_BLOCK(4), y);
}
void shape(Cuda device, Extent grid, Extent block, size_t shared_bytes) {
  simt::run(device.stream, {"shape_kernel", dim(grid), dim(block), shared_bytes},
            [] { shape_kernel(); });
}

}  // namespace glassnet::planted
