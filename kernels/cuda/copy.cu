// Fill, cast and permute on a GPU: contract in kernels/copy.h.
#include "kernels/copy.h"

#include <algorithm>
#include <type_traits>

#include "kernels/convert.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/vec.h"
#include "kernels/error.h"
#include "kernels/permutation.h"

namespace glassnet::kernels {
namespace {

constexpr unsigned kThreads = 256;
constexpr int64_t kMostBlocks = 1 << 16;  // threads stride on beyond them

// Elements that a thread takes at once: no more than sixteen bytes on either side.
template <class A, class B>
inline constexpr int kTogether = static_cast<int>(16 / std::max(sizeof(A), sizeof(B)));

template <class T>
__global__ void fill_kernel(T* y, T value, int64_t count, int64_t vectors) {
  constexpr int kWidth = kVecWidth<T>;
  const int64_t thread = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  const int64_t threads = int64_t{gridDim.x} * blockDim.x;
  Vec<T, kWidth> vec;
  for (int j = 0; j < kWidth; ++j) vec.v[j] = value;
  for (int64_t i = thread; i < vectors; i += threads) store_vec<kWidth>(y + i * kWidth, vec);
  for (int64_t i = vectors * kWidth + thread; i < count; i += threads) y[i] = value;
}

template <class From, class To>
__global__ void cast_kernel(const From* x, To* y, int64_t count, int64_t vectors) {
  constexpr int kWidth = kTogether<From, To>;
  const int64_t thread = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  const int64_t threads = int64_t{gridDim.x} * blockDim.x;
  for (int64_t i = thread; i < vectors; i += threads) {
    const Vec<From, kWidth> from = load_vec<kWidth>(x + i * kWidth);
    Vec<To, kWidth> to;
    for (int j = 0; j < kWidth; ++j) to.v[j] = convert<To>(from.v[j]);
    store_vec<kWidth>(y + i * kWidth, to);
  }
  for (int64_t i = vectors * kWidth + thread; i < count; i += threads) y[i] = convert<To>(x[i]);
}

// --- permute -------------------------------------------------------------------------------------

constexpr int kMostAxes = 8;
constexpr int kTile = 32, kTileRows = 8;  // a block of 32 x 8 threads moves a tile of 32 x 32

// y[i] = x[where i comes from].
struct Gather {
  int axes;
  int64_t dims[kMostAxes], steps[kMostAxes];
  int64_t count;
};

template <class T>
__global__ void gather_kernel(const T* x, T* y, Gather gather) {
  const int64_t threads = int64_t{gridDim.x} * blockDim.x;
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < gather.count; i += threads) {
    int64_t rest = i, from = 0;
    for (int axis = gather.axes - 1; axis > 0; --axis) {
      const int64_t next = rest / gather.dims[axis];
      from += (rest - next * gather.dims[axis]) * gather.steps[axis];
      rest = next;
    }
    y[i] = x[from + rest * gather.steps[0]];
  }
}

// y (batch, columns, rows) from x (batch, rows, columns), through a tile in shared memory so that
// both sides are read and written along their rows. The grid is (column tiles, row tiles, batch).
template <class T>
__global__ void transpose_kernel(const T* x, T* y, int64_t rows, int64_t columns, int64_t batch) {
  GLASSNET_SHARED(T, tile, [kTile][kTile + 1]);  // the odd length keeps the banks apart
  const int tx = static_cast<int>(threadIdx.x), ty = static_cast<int>(threadIdx.y);
  const int64_t row0 = int64_t{blockIdx.y} * kTile, column0 = int64_t{blockIdx.x} * kTile;
  for (int64_t n = blockIdx.z; n < batch; n += gridDim.z) {
    const T* from = x + n * rows * columns;
    T* to = y + n * rows * columns;
    for (int j = ty; j < kTile; j += kTileRows) {
      if (row0 + j < rows && column0 + tx < columns) {
        tile[j][tx] = from[(row0 + j) * columns + column0 + tx];
      }
    }
    __syncthreads();
    for (int j = ty; j < kTile; j += kTileRows) {
      if (column0 + j < columns && row0 + tx < rows) {
        to[(column0 + j) * rows + row0 + tx] = tile[tx][j];
      }
    }
    __syncthreads();
  }
}

// Whether the permutation swaps the two last axes, and keeps at most one before them in place. A
// matrix a few elements wide would leave most of its tiles empty.
bool is_transpose(const std::vector<PermutedAxis>& order) {
  const size_t n = order.size();
  if (n != 2 && n != 3) return false;
  const PermutedAxis &columns = order[n - 2], &rows = order[n - 1];
  const bool swaps = columns.step == 1 && rows.step == columns.dim;
  if (std::min(rows.dim, columns.dim) < kTile / 4) return false;
  return swaps && (n == 2 || order[0].step == rows.dim * columns.dim);
}

template <class T>
void permute_elements(Cuda device, const T* x, T* y, const std::vector<PermutedAxis>& order) {
  int64_t count = 1;
  for (const PermutedAxis& axis : order) count *= axis.dim;
  if (count == 0) return;
  if (is_transpose(order)) {
    const size_t n = order.size();
    const int64_t columns = order[n - 2].dim, rows = order[n - 1].dim;
    const int64_t batch = n == 3 ? order[0].dim : 1, row_tiles = (rows + kTile - 1) / kTile;
    constexpr int64_t kMostInYAndZ = 65535;
    if (row_tiles <= kMostInYAndZ) {
      return launch<transpose_kernel<T>>(
          device,
          {.grid = dim3(blocks_for(columns, kTile), static_cast<unsigned>(row_tiles),
                        static_cast<unsigned>(std::min(batch, kMostInYAndZ))),
           .block = dim3(kTile, kTileRows)},
          x, y, rows, columns, batch);
    }
  }
  Gather gather{};
  gather.axes = static_cast<int>(order.size());
  gather.count = count;
  require(gather.axes <= kMostAxes,
          [] { return std::string("[permute] expected at most eight axes"); });
  for (int axis = 0; axis < gather.axes; ++axis) {
    gather.dims[axis] = order[static_cast<size_t>(axis)].dim;
    gather.steps[axis] = order[static_cast<size_t>(axis)].step;
  }
  launch<gather_kernel<T>>(
      device, {.grid = blocks_for(count, kThreads, kMostBlocks), .block = kThreads}, x, y, gather);
}

}  // namespace

void fill(Cuda device, void* y, DType type, double value, int64_t count) {
  with_type(type, [&](auto zero) {
    using T = decltype(zero);
    const int64_t vectors = are_aligned16(y) ? count / kVecWidth<T> : 0;
    launch<fill_kernel<T>>(
        device,
        {.grid = blocks_for(vectors > 0 ? vectors : count, kThreads, kMostBlocks),
         .block = kThreads},
        static_cast<T*>(y), convert<T>(value), count, vectors);
  });
}

void cast(Cuda device, const void* x, DType from, void* y, DType to, int64_t count) {
  with_type(from, [&](auto from_zero) {
    with_type(to, [&](auto to_zero) {
      using From = decltype(from_zero);
      using To = decltype(to_zero);
      if constexpr (std::is_same_v<From, To>) {
        return cuda_copy_async(device, y, x, static_cast<size_t>(count) * sizeof(To));
      }
      const int64_t vectors = are_aligned16(x, y) ? count / kTogether<From, To> : 0;
      launch<cast_kernel<From, To>>(
          device,
          {.grid = blocks_for(vectors > 0 ? vectors : count, kThreads, kMostBlocks),
           .block = kThreads},
          static_cast<const From*>(x), static_cast<To*>(y), count, vectors);
    });
  });
}

namespace {

// Elements that are neighbours on both sides are moved as one of up to sixteen bytes: makes `order`
// one of such elements, and returns their size.
size_t merge_neighbours(std::vector<PermutedAxis>& order, size_t bytes, const void* x,
                        const void* y) {
  const auto come_in_pairs = [&] {
    const uintptr_t places = reinterpret_cast<uintptr_t>(x) | reinterpret_cast<uintptr_t>(y);
    return order.back().step == 1 && order.back().dim % 2 == 0 && places % (2 * bytes) == 0;
  };
  // An axis of step 1 is x's last, and its extent divides all other steps.
  while (bytes < 16 && come_in_pairs()) {
    bytes *= 2;
    order.back().dim /= 2;
    for (size_t i = 0; i + 1 < order.size(); ++i) order[i].step /= 2;
  }
  // What was a run may be a single element now.
  if (order.size() > 1 && order.back().dim == 1) order.pop_back();
  return bytes;
}

}  // namespace

void permute(Cuda device, const void* x, void* y, const std::vector<int64_t>& dims,
             const std::vector<int64_t>& axes, size_t element_bytes) {
  std::vector<PermutedAxis> order = permuted_axes(dims, axes);
  const auto run = [&](auto zero) {
    using T = decltype(zero);
    permute_elements(device, static_cast<const T*>(x), static_cast<T*>(y), order);
  };
  switch (merge_neighbours(order, element_bytes, x, y)) {
    case 1:
      return run(uint8_t{});
    case 2:
      return run(uint16_t{});
    case 4:
      return run(uint32_t{});
    case 8:
      return run(uint64_t{});
    default:
      return run(Vec<uint64_t, 2>{});
  }
}

}  // namespace glassnet::kernels
