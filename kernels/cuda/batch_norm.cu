// Batch normalisation on a GPU. All of it is bound by memory, so that what counts is how often x is
// read: twice forward (statistics, y), twice backward (sums, dx).
//
// x (rows, channels) is cut into chunks of rows. A block takes one chunk and up to 32 * 8 channels:
// its threads stand in a grid of lanes along the channels and rows along the rows, and a thread
// walks down its chunk with eight channels at a time, sixteen bytes for a 16-bit type and twice
// that for float32. Where channels is no multiple of eight it takes one channel.
//
// Reductions have two phases, so that the result never varies:
//   1. each block leaves two numbers per channel for its chunk in scratch memory, in float32;
//   2. one small kernel merges the chunks in float64 and turns them into what the pass over the
//      elements multiplies with.
// Statistics are kept as count, mean and centred square sum, merged by the pairwise formula of
// Chan, Golub & LeVeque (1979). Means count from the channel's first element, which costs nothing
// and keeps them exact where the mean is far larger than the deviation.
#include "kernels/batch_norm.h"

#include <cmath>

#include "kernels/cuda/launch.h"
#include "kernels/cuda/scratch.h"
#include "kernels/cuda/vec.h"

namespace glassnet::kernels {
namespace {

constexpr int kThreads = 256;
constexpr int kWidth = 8;  // channels of a thread, and elements of a byte of the mask
constexpr int64_t kLeastRowsOfThread = 4;
// One wave of four blocks on each of the H100's 132 multiprocessors. A constant, so that the order
// of additions, and with it the result, is the same on every device.
constexpr int64_t kWantedBlocks = 512;
// Additions in a row in float32, before the tree begins.
constexpr int64_t kMostRowsOfThread = 128;

// ---- How the work is cut ------------------------------------------------------------------------

struct Extent {
  int64_t rows, channels;
  int64_t chunk_rows;  // rows of a block
};

struct Layout {
  Extent extent;
  int64_t chunks;
  LaunchShape launch;  // blocks along (chunks, channels), threads along (channels, rows)

  Layout(const BatchNormShape& o, int width) {
    const int64_t groups = (o.channels + width - 1) / width;
    unsigned lanes = 1;
    while (lanes < 32 && lanes < groups) lanes *= 2;
    const int64_t block_rows = kThreads / lanes, columns = (groups + lanes - 1) / lanes;
    const int64_t wanted = columns < kWantedBlocks ? kWantedBlocks / columns : 1;
    int64_t rows_of_thread = (o.rows + block_rows * wanted - 1) / (block_rows * wanted);
    if (rows_of_thread < kLeastRowsOfThread) rows_of_thread = kLeastRowsOfThread;
    // Where that is too much for a thread: as many whole waves as it takes, for a wave that is half
    // empty lasts as long as a full one.
    const int64_t waves = (rows_of_thread + kMostRowsOfThread - 1) / kMostRowsOfThread;
    rows_of_thread = (rows_of_thread + waves - 1) / waves;
    extent = {o.rows, o.channels, rows_of_thread * block_rows};
    chunks = (o.rows + extent.chunk_rows - 1) / extent.chunk_rows;
    launch.grid = {static_cast<unsigned>(chunks), static_cast<unsigned>(columns)};
    launch.block = {lanes, kThreads / lanes};
  }
};

// What a thread works on: channels from `channel` on, and every step-th row from `row` to `end`.
struct Tile {
  int64_t channel, row, end, step;
};
template <int W>
__device__ inline Tile tile_of(const Extent& o) {
  const int64_t begin = int64_t{blockIdx.x} * o.chunk_rows, end = begin + o.chunk_rows;
  Tile tile = {(int64_t{blockIdx.y} * blockDim.x + threadIdx.x) * W, begin + threadIdx.y,
               end < o.rows ? end : o.rows, blockDim.y};
  if (tile.channel >= o.channels) tile.end = 0;  // nothing to do
  return tile;
}

// Calls use(row, load(row)) for the rows of a tile. The loads of a few rows, about 64 bytes, are
// under way at once: enough to keep the memory busy, and no more than fits into registers.
template <class Load, class Use>
__device__ inline void for_each_row(const Tile& tile, Load load, Use use) {
  using Loaded = decltype(load(tile.row));
  constexpr int kFit = static_cast<int>(80 / sizeof(Loaded));
  constexpr int kAtOnce = kFit < 1 ? 1 : (kFit > 3 ? 3 : kFit);
  for (int64_t first = tile.row; first < tile.end; first += kAtOnce * tile.step) {
    Loaded loaded[kAtOnce];
    for (int i = 0; i < kAtOnce; ++i) {
      const int64_t row = first + i * tile.step;
      // Rows past the end read the first one again, so that no load waits for a branch.
      loaded[i] = load(row < tile.end ? row : first);
    }
    for (int i = 0; i < kAtOnce; ++i) {
      const int64_t row = first + i * tile.step;
      if (row < tile.end) use(row, loaded[i]);
    }
  }
}

// ---- W elements at once -------------------------------------------------------------------------

// W elements in accesses of at most sixteen bytes.
template <class T, int W>
struct Wide {
  static constexpr int kPart = W < kVecWidth<T> ? W : kVecWidth<T>;
  Vec<T, kPart> part[W / kPart];

  __device__ float operator[](int i) const { return to_float(part[i / kPart].v[i % kPart]); }
  __device__ void set(int i, float value) { part[i / kPart].v[i % kPart] = from_float<T>(value); }
};
template <int W, class T>
__device__ inline Wide<T, W> load_wide(const T* from) {
  constexpr int kPart = Wide<T, W>::kPart;
  Wide<T, W> wide;
  for (int i = 0; i < W / kPart; ++i) wide.part[i] = load_vec<kPart>(from + i * kPart);
  return wide;
}
template <int W, class T>
__device__ inline void store_wide(T* to, const Wide<T, W>& wide) {
  constexpr int kPart = Wide<T, W>::kPart;
  for (int i = 0; i < W / kPart; ++i) store_vec(to + i * kPart, wide.part[i]);
}

// The mask's bits for W elements from `at` on.
template <int W>
__device__ inline uint32_t load_bits(const uint8_t* mask, int64_t at) {
  const uint32_t byte = mask[at / 8];
  return W == 8 ? byte : byte >> (at % 8) & 1;
}

// ---- Sums and moments ---------------------------------------------------------------------------

template <class F>
struct alignas(2 * sizeof(F)) Sums {  // one access to memory
  F first, second;
  __device__ void merge(const Sums& other) {
    first += other.first;
    second += other.second;
  }
};

struct Moments {
  float count, mean, squares;  // squares = sum (x - mean)^2
  __device__ void merge(const Moments& other) {
    if (other.count == 0) return;
    const float total = count + other.count, share = other.count / total;
    const float delta = other.mean - mean;
    mean += delta * share;
    squares += other.squares + delta * delta * count * share;
    count = total;
  }
};

// Merges what the rows of threads hold, in a tree; the threads of the first row get the result.
// All threads take part; blockDim.y is a power of two.
template <class A, int W>
__device__ inline void merge_rows(A (&mine)[W]) {
  GLASSNET_SHARED(A, given, [W][kThreads / 2]);
  for (unsigned half = blockDim.y / 2; half > 0; half /= 2) {
    const unsigned at = threadIdx.y % half * blockDim.x + threadIdx.x;
    if (threadIdx.y >= half && threadIdx.y < 2 * half) {
      for (int i = 0; i < W; ++i) given[i][at] = mine[i];
    }
    __syncthreads();
    if (threadIdx.y < half) {
      for (int i = 0; i < W; ++i) mine[i].merge(given[i][at]);
    }
    __syncthreads();
  }
}

// First phase of the statistics. partial (chunks, 2, channels): the mean, counted from the
// channel's first element, and the centred square sum.
template <class T, int W>
__global__ void __launch_bounds__(kThreads, 4)
    moments_kernel(const T* __restrict__ x, float* __restrict__ partial, Extent o) {
  const Tile tile = tile_of<W>(o);
  Moments moments[W] = {};
  if (tile.row < tile.end) {
    const Wide<T, W> origin = load_wide<W>(x + tile.channel);
    // Sums of x - shift, where the shift is the thread's own first element: it is then among what
    // is added up, and so squares cannot lose more than a factor of the count to cancellation.
    const Wide<T, W> shift = load_wide<W>(x + tile.row * o.channels + tile.channel);
    Sums<float> sums[W] = {};
    float count = 0;
    for_each_row(
        tile, [&](int64_t row) { return load_wide<W>(x + row * o.channels + tile.channel); },
        [&](int64_t, const Wide<T, W>& value) {
          for (int i = 0; i < W; ++i) {
            const float d = value[i] - shift[i];
            sums[i].first += d;
            sums[i].second += d * d;
          }
          count += 1;
        });
    for (int i = 0; i < W; ++i) {
      const float mean = sums[i].first / count;
      const float squares = sums[i].second - sums[i].first * mean;
      moments[i] = {count, shift[i] - origin[i] + mean, squares < 0 ? 0 : squares};
    }
  }
  merge_rows(moments);
  if (threadIdx.y != 0 || tile.channel >= o.channels) return;
  float* to = partial + 2 * blockIdx.x * o.channels + tile.channel;
  for (int i = 0; i < W; ++i) {
    to[i] = moments[i].mean;
    to[o.channels + i] = moments[i].squares;
  }
}

// First phase of the gradients, with d = dy where the mask lets it through. partial (chunks, 2,
// channels): sum d and sum d * (x - mean). mask may be null, for d = dy.
template <class T, int W, bool kMasked>
__global__ void __launch_bounds__(kThreads, 4)
    gradient_sums_kernel(const T* __restrict__ dy, const uint8_t* __restrict__ mask,
                         const T* __restrict__ x, const float* __restrict__ mean,
                         float* __restrict__ partial, Extent o) {
  struct Loaded {
    Wide<T, W> dy, x;
    uint32_t bits;
  };
  const Tile tile = tile_of<W>(o);
  Sums<float> sums[W] = {};
  if (tile.row < tile.end) {
    const Wide<float, W> centre = load_wide<W>(mean + tile.channel);
    for_each_row(
        tile,
        [&](int64_t row) {
          const int64_t at = row * o.channels + tile.channel;
          return Loaded{load_wide<W>(dy + at), load_wide<W>(x + at),
                        kMasked ? load_bits<W>(mask, at) : 0xff};
        },
        [&](int64_t, const Loaded& loaded) {
          for (int i = 0; i < W; ++i) {
            const float d = (loaded.bits >> i & 1) != 0 ? loaded.dy[i] : 0;
            sums[i].first += d;
            sums[i].second += d * (loaded.x[i] - centre[i]);
          }
        });
  }
  merge_rows(sums);
  if (threadIdx.y != 0 || tile.channel >= o.channels) return;
  float* to = partial + 2 * blockIdx.x * o.channels + tile.channel;
  for (int i = 0; i < W; ++i) {
    to[i] = sums[i].first;
    to[o.channels + i] = sums[i].second;
  }
}

// Second phase: blocks of 8 channels, the least that fills a 32-byte sector, by 32 chunks at a
// time.
const LaunchShape kFinishBlock = {.grid = 0, .block = {8, 32}};
LaunchShape finish_shape(int64_t channels) {
  LaunchShape shape = kFinishBlock;
  shape.grid = blocks_for(channels, shape.block.x);
  return shape;
}

// Adds up terms(chunk) over the chunks; the threads of the first row get the result.
template <class Terms>
__device__ inline Sums<double> sum_chunks(int64_t chunks, Terms terms) {
  Sums<double> sums[1] = {};
  for (int64_t chunk = threadIdx.y; chunk < chunks; chunk += blockDim.y) {
    sums[0].merge(terms(chunk));
  }
  merge_rows(sums);
  return sums[0];
}

// Everything (channels); running_mean and running_var may be null. The pass over the elements is
// y = (x - mean) * scale + shift.
struct BatchStatistics {
  const float *gamma, *beta;
  float *mean, *inv_std, *running_mean, *running_var;
  float *scale, *shift;
};

template <class T>
__global__ void finish_moments_kernel(const T* __restrict__ x, const float* __restrict__ partial,
                                      BatchStatistics s, int64_t chunks, Extent o, double momentum,
                                      double eps) {
  const int64_t c = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  // Mean and square sum about the channel's first element, which float64 has digits enough for.
  const Sums<double> sums = sum_chunks(c < o.channels ? chunks : 0, [&](int64_t chunk) {
    const int64_t left = o.rows - chunk * o.chunk_rows;
    const auto count = static_cast<double>(left < o.chunk_rows ? left : o.chunk_rows);
    const double mean = partial[2 * chunk * o.channels + c];
    const double squares = partial[(2 * chunk + 1) * o.channels + c];
    return Sums<double>{count * mean, squares + count * mean * mean};
  });
  if (threadIdx.y != 0 || c >= o.channels) return;

  const auto rows = static_cast<double>(o.rows);
  const double from_first = sums.first / rows;
  const double mean = static_cast<double>(to_float(x[c])) + from_first;
  double squares = sums.second - sums.first * from_first;
  if (squares < 0) squares = 0;
  const double inv_std = 1 / sqrt(squares / rows + eps);
  s.mean[c] = static_cast<float>(mean);
  s.inv_std[c] = static_cast<float>(inv_std);
  if (s.running_mean != nullptr) {
    s.running_mean[c] = static_cast<float>((1 - momentum) * s.running_mean[c] + momentum * mean);
  }
  if (s.running_var != nullptr) {
    const double unbiased = squares / (o.rows > 1 ? rows - 1 : 1);
    s.running_var[c] = static_cast<float>((1 - momentum) * s.running_var[c] + momentum * unbiased);
  }
  // What the mean lost when it became a float is made up for in the shift.
  const double scale = s.gamma[c] * inv_std, lost = mean - static_cast<double>(s.mean[c]);
  s.scale[c] = static_cast<float>(scale);
  s.shift[c] = static_cast<float>(s.beta[c] - lost * scale);
}

// Everything (channels). The deviation is given by inv_std, or where that is null by variance.
// dgamma and dbeta may be null; so may scale, slope and shift, all three: the pass over the
// elements is dx = d * scale + (x - mean) * slope + shift.
struct Gradients {
  const float *gamma, *inv_std, *variance;
  float *dgamma, *dbeta;
  float *scale, *slope, *shift;
};

__global__ void finish_gradients_kernel(const float* __restrict__ partial, Gradients g,
                                        int64_t chunks, Extent o, double eps) {
  const int64_t c = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  const Sums<double> sums = sum_chunks(c < o.channels ? chunks : 0, [&](int64_t chunk) {
    return Sums<double>{partial[2 * chunk * o.channels + c],
                        partial[(2 * chunk + 1) * o.channels + c]};
  });
  if (threadIdx.y != 0 || c >= o.channels) return;

  const double inv_std = g.inv_std != nullptr ? static_cast<double>(g.inv_std[c])
                                              : 1 / sqrt(static_cast<double>(g.variance[c]) + eps);
  if (g.dgamma != nullptr) g.dgamma[c] = static_cast<float>(sums.second * inv_std);
  if (g.dbeta != nullptr) g.dbeta[c] = static_cast<float>(sums.first);
  if (g.scale == nullptr) return;
  const auto rows = static_cast<double>(o.rows);
  const double scale = g.gamma[c] * inv_std;
  g.scale[c] = static_cast<float>(scale);
  g.slope[c] = static_cast<float>(-scale * inv_std * inv_std * sums.second / rows);
  g.shift[c] = static_cast<float>(-scale * sums.first / rows);
}

// ---- Passes over the elements -------------------------------------------------------------------

// y = (x - mean) * scale + shift, for W channels.
template <int W>
struct Affine {
  Wide<float, W> mean, scale, shift;
};
// The three as they stand in memory,
struct StoredAffine {
  const float *mean, *scale, *shift;  // (channels)
  template <int W>
  __device__ Affine<W> load(int64_t c) const {
    return {load_wide<W>(mean + c), load_wide<W>(scale + c), load_wide<W>(shift + c)};
  }
};
// from running statistics,
struct RunningAffine {
  const float *mean, *variance, *gamma, *beta;  // (channels)
  float eps;
  template <int W>
  __device__ Affine<W> load(int64_t c) const {
    Affine<W> a = {load_wide<W>(mean + c), load_wide<W>(gamma + c), load_wide<W>(beta + c)};
    const Wide<float, W> v = load_wide<W>(variance + c);
    for (int i = 0; i < W; ++i) a.scale.set(i, a.scale[i] / sqrtf(v[i] + eps));
    return a;
  }
};
// and for its derivative.
struct RunningSlope {
  const float *variance, *gamma;  // (channels)
  float eps;
  template <int W>
  __device__ Affine<W> load(int64_t c) const {
    Affine<W> a = {{}, load_wide<W>(gamma + c), {}};
    const Wide<float, W> v = load_wide<W>(variance + c);
    for (int i = 0; i < W; ++i) a.scale.set(i, a.scale[i] / sqrtf(v[i] + eps));
    return a;
  }
};

enum class Then { kNothing, kRelu, kAddRelu };

template <int W, Then kThen>
__device__ inline float normalised(const Affine<W>& a, int i, float x, float z) {
  const float y = (x - a.mean[i]) * a.scale[i] + a.shift[i];
  return kThen == Then::kAddRelu ? y + z : y;
}
// A NaN passes through, as in kernels/elementwise.h.
__device__ inline bool relu_passes(float x) {
  return !(x <= 0);
}

// Channels a multiple of eight: a thread writes whole bytes of the mask, which may be null.
template <class T, class From, Then kThen>
__global__ void __launch_bounds__(kThreads, 4)
    normalise_kernel(const T* __restrict__ x, const T* __restrict__ z, From from, T* __restrict__ y,
                     uint8_t* __restrict__ mask, Extent o) {
  constexpr int W = kWidth, kInputs = kThen == Then::kAddRelu ? 2 : 1;
  struct Loaded {
    Wide<T, W> input[kInputs];  // x, and z where it is added
  };
  const Tile tile = tile_of<W>(o);
  if (tile.row >= tile.end) return;
  const Affine<W> affine = from.template load<W>(tile.channel);
  for_each_row(
      tile,
      [&](int64_t row) {
        const int64_t at = row * o.channels + tile.channel;
        Loaded loaded;
        loaded.input[0] = load_wide<W>(x + at);
        if (kThen == Then::kAddRelu) loaded.input[kInputs - 1] = load_wide<W>(z + at);
        return loaded;
      },
      [&](int64_t row, const Loaded& loaded) {
        const int64_t at = row * o.channels + tile.channel;
        Wide<T, W> result;
        uint32_t bits = 0;
        for (int i = 0; i < W; ++i) {
          float value =
              normalised<W, kThen>(affine, i, loaded.input[0][i], loaded.input[kInputs - 1][i]);
          if (kThen != Then::kNothing) {
            if (relu_passes(value))
              bits |= 1U << i;
            else
              value = 0;
          }
          result.set(i, value);
        }
        store_wide(y + at, result);
        if (mask != nullptr) mask[at / 8] = static_cast<uint8_t>(bits);
      });
}

// Any number of channels: a thread takes the eight elements of a byte of the mask, one by one.
template <class T, class From, Then kThen>
__global__ void normalise_bytes_kernel(const T* __restrict__ x, const T* __restrict__ z, From from,
                                       T* __restrict__ y, uint8_t* __restrict__ mask,
                                       int64_t channels, int64_t count) {
  const int64_t byte = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (byte * 8 >= count) return;
  int64_t channel = byte * 8 % channels;
  uint32_t bits = 0;
  for (int i = 0; i < 8 && byte * 8 + i < count; ++i) {
    const int64_t at = byte * 8 + i;
    const float added = kThen == Then::kAddRelu ? to_float(z[at]) : 0;
    float value = normalised<1, kThen>(from.template load<1>(channel), 0, to_float(x[at]), added);
    if (kThen != Then::kNothing) {
      if (relu_passes(value))
        bits |= 1U << i;
      else
        value = 0;
    }
    y[at] = from_float<T>(value);
    if (++channel == channels) channel = 0;
  }
  if (mask != nullptr) mask[byte] = static_cast<uint8_t>(bits);
}

template <class T, class From, Then kThen>
void normalise(Cuda device, const T* x, const T* z, const From& from, T* y, uint8_t* mask,
               bool wide, const BatchNormShape& o) {
  if (o.rows == 0 || o.channels == 0) return;
  if (wide) {
    const Layout layout(o, kWidth);
    launch<normalise_kernel<T, From, kThen>>(device, layout.launch, x, z, from, y, mask,
                                             layout.extent);
  } else {
    const int64_t count = o.rows * o.channels;
    launch<normalise_bytes_kernel<T, From, kThen>>(
        device, {.grid = blocks_for(count, kThreads * 8), .block = kThreads}, x, z, from, y, mask,
        o.channels, count);
  }
}

// dx = d * scale + (x - mean) * slope + shift and dz = d; each of the two may be null.
struct InputGradient {
  const float *mean, *scale, *slope, *shift;  // (channels)
};
template <class T, int W, bool kMasked>
__global__ void __launch_bounds__(kThreads, 4)
    input_gradient_kernel(const T* __restrict__ dy, const uint8_t* __restrict__ mask,
                          const T* __restrict__ x, InputGradient g, T* __restrict__ dx,
                          T* __restrict__ dz, Extent o) {
  struct Loaded {
    Wide<T, W> dy, x;
    uint32_t bits;
  };
  const Tile tile = tile_of<W>(o);
  if (tile.row >= tile.end) return;
  Wide<float, W> mean = {}, scale = {}, slope = {}, shift = {};
  if (dx != nullptr) {
    mean = load_wide<W>(g.mean + tile.channel);
    scale = load_wide<W>(g.scale + tile.channel);
    slope = load_wide<W>(g.slope + tile.channel);
    shift = load_wide<W>(g.shift + tile.channel);
  }
  for_each_row(
      tile,
      [&](int64_t row) {
        const int64_t at = row * o.channels + tile.channel;
        return Loaded{load_wide<W>(dy + at), load_wide<W>(x + at),
                      kMasked ? load_bits<W>(mask, at) : 0xff};
      },
      [&](int64_t row, const Loaded& loaded) {
        const int64_t at = row * o.channels + tile.channel;
        Wide<T, W> to_x, to_z;
        for (int i = 0; i < W; ++i) {
          const float d = (loaded.bits >> i & 1) != 0 ? loaded.dy[i] : 0;
          to_x.set(i, d * scale[i] + ((loaded.x[i] - mean[i]) * slope[i] + shift[i]));
          to_z.set(i, d);
        }
        if (dx != nullptr) store_wide(dx + at, to_x);
        if (dz != nullptr) store_wide(dz + at, to_z);
      });
}

// ---- Putting them together ----------------------------------------------------------------------

template <class... Pointers>
bool can_go_wide(const BatchNormShape& o, const Pointers*... pointers) {
  return o.channels % kWidth == 0 && are_aligned16(pointers...);
}

// Calls run<W, kMasked>().
template <class Run>
void by_width_and_mask(bool wide, bool masked, Run run) {
  if (wide && masked) run.template operator()<kWidth, true>();
  if (wide && !masked) run.template operator()<kWidth, false>();
  if (!wide && masked) run.template operator()<1, true>();
  if (!wide && !masked) run.template operator()<1, false>();
}

// Floats for `partial` and `extra` arrays of (channels) behind it.
size_t scratch_bytes(const Layout& layout, int64_t extra) {
  return static_cast<size_t>((2 * layout.chunks + extra) * layout.extent.channels) * sizeof(float);
}

template <class T, Then kThen>
void forward(Cuda device, const T* x, const T* z, const float* gamma, const float* beta, T* y,
             uint8_t* mask, float* mean, float* inv_std, float* running_mean, float* running_var,
             double momentum, const BatchNormShape& o) {
  if (o.rows == 0 || o.channels == 0) return;
  const bool wide = can_go_wide(o, x, z, y, mean);
  const Layout layout(o, wide ? kWidth : 1);
  const Scratch scratch(device, scratch_bytes(layout, 2));
  float* partial = scratch.get<float>();
  float* scale = partial + 2 * layout.chunks * o.channels;
  float* shift = scale + o.channels;
  if (wide) {
    launch<moments_kernel<T, kWidth>>(device, layout.launch, x, partial, layout.extent);
  } else {
    launch<moments_kernel<T, 1>>(device, layout.launch, x, partial, layout.extent);
  }
  const BatchStatistics statistics = {gamma,        beta,        mean,  inv_std,
                                      running_mean, running_var, scale, shift};
  launch<finish_moments_kernel<T>>(device, finish_shape(o.channels), x, partial, statistics,
                                   layout.chunks, layout.extent, momentum, o.eps);
  normalise<T, StoredAffine, kThen>(device, x, z, {mean, scale, shift}, y, mask, wide, o);
}

// First phase of the gradients, with or without a mask.
template <class T>
void sum_gradients(Cuda device, const T* dy, const uint8_t* mask, const T* x, const float* mean,
                   float* partial, const Layout& layout, bool wide) {
  by_width_and_mask(wide, mask != nullptr, [&]<int W, bool kMasked>() {
    launch<gradient_sums_kernel<T, W, kMasked>>(device, layout.launch, dy, mask, x, mean, partial,
                                                layout.extent);
  });
}

// mask and each of the outputs may be null.
template <class T>
void backward(Cuda device, const T* dy, const uint8_t* mask, const T* x, const float* gamma,
              const float* mean, const float* inv_std, T* dx, T* dz, float* dgamma, float* dbeta,
              const BatchNormShape& o) {
  if (o.rows == 0 || o.channels == 0) return;
  const bool wide = can_go_wide(o, dy, x, mean, dx, dz);
  const Layout layout(o, wide ? kWidth : 1);
  const Scratch scratch(device, scratch_bytes(layout, 3));
  float* partial = scratch.get<float>();
  float* scale = partial + 2 * layout.chunks * o.channels;
  float *slope = scale + o.channels, *shift = slope + o.channels;
  if (dx != nullptr || dgamma != nullptr || dbeta != nullptr) {
    sum_gradients(device, dy, mask, x, mean, partial, layout, wide);
    const Gradients gradients = {gamma, inv_std, nullptr, dgamma, dbeta, scale, slope, shift};
    launch<finish_gradients_kernel>(device, finish_shape(o.channels), partial, gradients,
                                    layout.chunks, layout.extent, o.eps);
  }
  if (dx == nullptr && dz == nullptr) return;
  const InputGradient gradient = {mean, scale, slope, shift};
  by_width_and_mask(wide, mask != nullptr, [&]<int W, bool kMasked>() {
    launch<input_gradient_kernel<T, W, kMasked>>(device, layout.launch, dy, mask, x, gradient, dx,
                                                 dz, layout.extent);
  });
}

// A block for each filter. w, folded (channels, per_filter), the rest (channels).
template <class T>
__global__ void fold_batch_norm_kernel(const float* __restrict__ w, RunningAffine norm,
                                       T* __restrict__ folded, float* __restrict__ bias,
                                       int64_t per_filter) {
  const int64_t k = blockIdx.x;
  const Affine<1> affine = norm.load<1>(k);
  const float scale = affine.scale[0];
  for (int64_t i = threadIdx.x; i < per_filter; i += blockDim.x) {
    folded[k * per_filter + i] = from_float<T>(scale * w[k * per_filter + i]);
  }
  if (threadIdx.x == 0) bias[k] = affine.shift[0] - scale * affine.mean[0];
}

}  // namespace

template <class T>
void batch_norm_forward(Cuda device, const T* x, const float* gamma, const float* beta, T* y,
                        float* mean, float* inv_std, float* running_mean, float* running_var,
                        double momentum, const BatchNormShape& o) {
  const T* z = nullptr;
  forward<T, Then::kNothing>(device, x, z, gamma, beta, y, nullptr, mean, inv_std, running_mean,
                             running_var, momentum, o);
}

template <class T>
void batch_norm_backward(Cuda device, const T* dy, const T* x, const float* gamma,
                         const float* mean, const float* inv_std, T* dx, float* dgamma,
                         float* dbeta, const BatchNormShape& o) {
  T* dz = nullptr;
  backward(device, dy, nullptr, x, gamma, mean, inv_std, dx, dz, dgamma, dbeta, o);
}

template <class T>
void batch_norm_inference(Cuda device, const T* x, const float* gamma, const float* beta,
                          const float* running_mean, const float* running_var, T* y,
                          const BatchNormShape& o) {
  const T* z = nullptr;
  const RunningAffine from = {running_mean, running_var, gamma, beta, static_cast<float>(o.eps)};
  const bool wide = can_go_wide(o, x, y, gamma, beta, running_mean, running_var);
  normalise<T, RunningAffine, Then::kNothing>(device, x, z, from, y, nullptr, wide, o);
}

template <class T>
void batch_norm_inference_backward(Cuda device, const T* dy, const T* x, const float* gamma,
                                   const float* running_mean, const float* running_var, T* dx,
                                   float* dgamma, float* dbeta, const BatchNormShape& o) {
  if (o.rows == 0 || o.channels == 0) return;
  const bool wide = can_go_wide(o, dy, x, gamma, running_mean, running_var, dx);
  if (dgamma != nullptr || dbeta != nullptr) {
    const Layout layout(o, wide ? kWidth : 1);
    const Scratch scratch(device, scratch_bytes(layout, 0));
    float* partial = scratch.get<float>();
    sum_gradients(device, dy, nullptr, x, running_mean, partial, layout, wide);
    const Gradients gradients = {gamma, nullptr, running_var, dgamma,
                                 dbeta, nullptr, nullptr,     nullptr};
    launch<finish_gradients_kernel>(device, finish_shape(o.channels), partial, gradients,
                                    layout.chunks, layout.extent, o.eps);
  }
  if (dx == nullptr) return;
  const T* z = nullptr;
  const RunningSlope from = {running_var, gamma, static_cast<float>(o.eps)};
  normalise<T, RunningSlope, Then::kNothing>(device, dy, z, from, dx, nullptr, wide, o);
}

template <class T>
void batch_norm_add_relu_forward(Cuda device, const T* x, const T* z, const float* gamma,
                                 const float* beta, T* y, uint8_t* mask, float* mean,
                                 float* inv_std, float* running_mean, float* running_var,
                                 double momentum, const BatchNormShape& o) {
  const auto run = z != nullptr ? forward<T, Then::kAddRelu> : forward<T, Then::kRelu>;
  run(device, x, z, gamma, beta, y, mask, mean, inv_std, running_mean, running_var, momentum, o);
}

template <class T>
void batch_norm_add_relu_backward(Cuda device, const T* dy, const uint8_t* mask, const T* x,
                                  const float* gamma, const float* mean, const float* inv_std,
                                  T* dx, T* dz, float* dgamma, float* dbeta,
                                  const BatchNormShape& o) {
  backward(device, dy, mask, x, gamma, mean, inv_std, dx, dz, dgamma, dbeta, o);
}

template <class T>
void fold_batch_norm(Cuda device, const float* w, const float* gamma, const float* beta,
                     const float* running_mean, const float* running_var, T* folded, float* bias,
                     int64_t per_filter, const BatchNormShape& o) {
  const RunningAffine norm = {running_mean, running_var, gamma, beta, static_cast<float>(o.eps)};
  launch<fold_batch_norm_kernel<T>>(device,
                                    {.grid = static_cast<unsigned>(o.channels), .block = kThreads},
                                    w, norm, folded, bias, per_filter);
}

#define GLASSNET_BATCH_NORM(T)                                                                     \
  template void batch_norm_forward(Cuda, const T*, const float*, const float*, T*, float*, float*, \
                                   float*, float*, double, const BatchNormShape&);                 \
  template void batch_norm_backward(Cuda, const T*, const T*, const float*, const float*,          \
                                    const float*, T*, float*, float*, const BatchNormShape&);      \
  template void batch_norm_inference(Cuda, const T*, const float*, const float*, const float*,     \
                                     const float*, T*, const BatchNormShape&);                     \
  template void batch_norm_inference_backward(Cuda, const T*, const T*, const float*,              \
                                              const float*, const float*, T*, float*, float*,      \
                                              const BatchNormShape&);                              \
  template void batch_norm_add_relu_forward(Cuda, const T*, const T*, const float*, const float*,  \
                                            T*, uint8_t*, float*, float*, float*, float*, double,  \
                                            const BatchNormShape&);                                \
  template void batch_norm_add_relu_backward(Cuda, const T*, const uint8_t*, const T*,             \
                                             const float*, const float*, const float*, T*, T*,     \
                                             float*, float*, const BatchNormShape&);               \
  template void fold_batch_norm(Cuda, const float*, const float*, const float*, const float*,      \
                                const float*, T*, float*, int64_t, const BatchNormShape&);
GLASSNET_BATCH_NORM(float)
GLASSNET_BATCH_NORM(bfloat16)
GLASSNET_BATCH_NORM(float16)
#undef GLASSNET_BATCH_NORM

}  // namespace glassnet::kernels
