// Updates of all parameters in a few launches: contract in kernels/optimizer.h.
//
// A table of parameters travels as the kernel's argument, as many as fit into its 4 KiB. A block
// takes one chunk of one parameter: it finds which by counting chunks along the table.
#include "kernels/optimizer.h"

#include <algorithm>

#include "kernels/cuda/block_reduce.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/scratch.h"
#include "kernels/cuda/vec.h"
#include "kernels/reference/optimizer.h"

namespace glassnet::kernels {
namespace {

constexpr unsigned kThreads = 256;
constexpr int64_t kChunk = 1 << 12;  // elements of a block, so that blocks are many; whole vectors
constexpr int kMostParameters = 64;
constexpr int kVec = 4;

struct Table {
  ParameterUpdate parameters[kMostParameters];
  int count = 0;
};
static_assert(sizeof(Table) <= 3840, "the other arguments of a kernel need room too");

// The part of a parameter that a block works on; all of it, [begin, end).
struct Chunk {
  int parameter;
  int64_t begin, end;
};

__device__ inline int64_t chunks_of(const ParameterUpdate& parameter) {
  return (parameter.count + kChunk - 1) / kChunk;
}

__device__ inline Chunk chunk_of_block(const Table& table) {
  int64_t chunk = blockIdx.x;
  int parameter = 0;
  while (chunk >= chunks_of(table.parameters[parameter])) {
    chunk -= chunks_of(table.parameters[parameter++]);
  }
  const int64_t begin = chunk * kChunk, count = table.parameters[parameter].count;
  return {parameter, begin, begin + kChunk < count ? begin + kChunk : count};
}

// Calls f(i) for each element of the chunk that is this thread's, four neighbours at a time where
// every pointer permits: f4(i) for those.
template <class F4, class F>
__device__ inline void for_chunk(const Chunk& chunk, bool vectors, F4 f4, F f) {
  const int64_t whole =
      vectors ? chunk.begin + (chunk.end - chunk.begin) / kVec * kVec : chunk.begin;
  for (int64_t i = chunk.begin + int64_t{threadIdx.x} * kVec; i < whole; i += kThreads * kVec)
    f4(i);
  for (int64_t i = whole + threadIdx.x; i < chunk.end; i += kThreads) f(i);
}

__device__ inline bool aligned16(const void* pointer) {
  return reinterpret_cast<uintptr_t>(pointer) % 16 == 0;  // null is
}

// partial (blocks): each block's sum of squares.
__global__ void square_sum_kernel(Table table, float* partial) {
  const Chunk chunk = chunk_of_block(table);
  const float* g = table.parameters[chunk.parameter].g;
  float sum = 0;
  for_chunk(
      chunk, aligned16(g),
      [&](int64_t i) {
        float x[kVec];
        load_floats(g + i, x);
        for (int j = 0; j < kVec; ++j) sum += x[j] * x[j];
      },
      [&](int64_t i) { sum += g[i] * g[i]; });
  sum = block_sum(sum);
  if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

// One block. Sums of large gradients overflow float32 where their norm would not, as does a scaled
// loss: then the step is skipped, as it should be.
__global__ void decide_step_kernel(const float* partial, int64_t count, StepControl* control) {
  double sum = 0;
  for (int64_t i = threadIdx.x; i < count; i += blockDim.x) sum += static_cast<double>(partial[i]);
  sum = block_sum(sum);
  if (threadIdx.x == 0) decide_step(std::sqrt(sum), *control);
}

__global__ void sgd_kernel(Table table, float momentum, bool nesterov, const StepControl* control) {
  if (control->skip != 0) return;
  const Chunk chunk = chunk_of_block(table);
  const ParameterUpdate& p = table.parameters[chunk.parameter];
  const SgdElement element{.rate = control->learning_rate * p.rate_factor,
                           .momentum = momentum,
                           .decay = p.decay,
                           .gradient_scale = control->gradient_scale,
                           .nesterov = nesterov};
  for_chunk(
      chunk, aligned16(p.w) && aligned16(p.g) && aligned16(p.v),
      [&](int64_t i) {
        float w[kVec], g[kVec], v[kVec] = {};
        load_floats(p.w + i, w);
        load_floats(p.g + i, g);
        if (p.v != nullptr) load_floats(p.v + i, v);
        for (int j = 0; j < kVec; ++j) element.update(w[j], g[j], p.v != nullptr ? v + j : nullptr);
        store_floats(p.w + i, w);
        if (p.v != nullptr) store_floats(p.v + i, v);
      },
      [&](int64_t i) { element.update(p.w[i], p.g[i], p.v != nullptr ? p.v + i : nullptr); });
}

// One thread to a parameter.
__global__ void count_steps_kernel(Table table, const StepControl* control) {
  const int parameter = static_cast<int>(threadIdx.x);
  if (control->skip == 0 && parameter < table.count) ++*table.parameters[parameter].steps;
}

__global__ void adam_kernel(Table table, AdamRule rule, const StepControl* control) {
  if (control->skip != 0) return;
  const Chunk chunk = chunk_of_block(table);
  const ParameterUpdate& p = table.parameters[chunk.parameter];
  // The powers in double, once for the block.
  GLASSNET_SHARED(AdamElement, shared, [1]);
  if (threadIdx.x == 0) {
    const AdamElement element = adam_element(
        rule, static_cast<double>(control->learning_rate) * static_cast<double>(p.rate_factor),
        static_cast<double>(p.decay), static_cast<double>(control->gradient_scale),
        static_cast<double>(*p.steps));
    shared[0] = element;
  }
  __syncthreads();
  const AdamElement element = shared[0];
  for_chunk(
      chunk, aligned16(p.w) && aligned16(p.g) && aligned16(p.m) && aligned16(p.v),
      [&](int64_t i) {
        float w[kVec], g[kVec], m[kVec], v[kVec];
        load_floats(p.w + i, w);
        load_floats(p.g + i, g);
        load_floats(p.m + i, m);
        load_floats(p.v + i, v);
        for (int j = 0; j < kVec; ++j) element.update(w[j], g[j], m[j], v[j]);
        store_floats(p.w + i, w);
        store_floats(p.m + i, m);
        store_floats(p.v + i, v);
      },
      [&](int64_t i) { element.update(p.w[i], p.g[i], p.m[i], p.v[i]); });
}

int64_t chunks_in(const ParameterUpdate& parameter) {
  return (parameter.count + kChunk - 1) / kChunk;
}

// Calls f(table, chunks) for the parameters, as many at a time as a table holds.
template <class F>
void for_each_table(const std::vector<ParameterUpdate>& parameters, F&& f) {
  Table table;
  int64_t chunks = 0;
  for (const ParameterUpdate& parameter : parameters) {
    table.parameters[table.count++] = parameter;
    chunks += chunks_in(parameter);
    if (table.count < kMostParameters) continue;
    f(table, chunks);
    table.count = 0;
    chunks = 0;
  }
  if (table.count > 0) f(table, chunks);
}

unsigned grid_of(int64_t chunks) {
  return static_cast<unsigned>(chunks);
}

}  // namespace

void gradient_control(Cuda device, const std::vector<ParameterUpdate>& parameters,
                      StepControl* control) {
  int64_t all = 0;
  for (const ParameterUpdate& parameter : parameters) all += chunks_in(parameter);
  const Scratch partial(device, static_cast<size_t>(std::max<int64_t>(all, 1)) * sizeof(float));
  int64_t done = 0;
  for_each_table(parameters, [&](const Table& table, int64_t chunks) {
    launch<square_sum_kernel>(device, {.grid = grid_of(chunks), .block = kThreads}, table,
                              partial.get<float>() + done);
    done += chunks;
  });
  launch<decide_step_kernel>(device, {.grid = 1, .block = kThreads}, partial.get<float>(), done,
                             control);
}

void sgd_step(Cuda device, const std::vector<ParameterUpdate>& parameters, const SgdRule& rule,
              const StepControl* control) {
  for_each_table(parameters, [&](const Table& table, int64_t chunks) {
    launch<sgd_kernel>(device, {.grid = grid_of(chunks), .block = kThreads}, table,
                       static_cast<float>(rule.momentum), rule.nesterov, control);
  });
}

void adam_step(Cuda device, const std::vector<ParameterUpdate>& parameters, const AdamRule& rule,
               const StepControl* control) {
  for_each_table(parameters, [&](const Table& table, int64_t chunks) {
    launch<count_steps_kernel>(device, {.grid = 1, .block = kMostParameters}, table, control);
    launch<adam_kernel>(device, {.grid = grid_of(chunks), .block = kThreads}, table, rule, control);
  });
}

}  // namespace glassnet::kernels
