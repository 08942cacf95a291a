// Fill, cast and permute on the CPU.
#include "kernels/copy.h"

#include <algorithm>
#include <cstring>

#include "kernels/convert.h"
#include "kernels/cpu/parallel.h"
#include "kernels/permutation.h"

namespace glassnet::kernels {
void fill(Cpu, void* y, DType type, double value, int64_t count) {
  with_type(type, [&](auto zero) {
    using T = decltype(zero);
    const T element = convert<T>(value);
    T* to = static_cast<T*>(y);
    parallel_ranges(count, kSmall,
                    [=](int64_t begin, int64_t end) { std::fill(to + begin, to + end, element); });
  });
}

void cast(Cpu, const void* x, DType from, void* y, DType to, int64_t count) {
  with_type(from, [&](auto from_zero) {
    with_type(to, [&](auto to_zero) {
      using From = decltype(from_zero);
      using To = decltype(to_zero);
      const auto* source = static_cast<const From*>(x);
      auto* target = static_cast<To*>(y);
      parallel_ranges(count, kSmall, [=](int64_t begin, int64_t end) {
        if constexpr (std::is_same_v<From, To>) {
          std::copy(source + begin, source + end, target + begin);
        } else {
          for (int64_t i = begin; i < end; ++i) target[i] = convert<To>(source[i]);
        }
      });
    });
  });
}

namespace {

// y (columns, rows) with a row length of y_step = transpose of x (rows, columns) with a row length
// of x_step, in tiles that fit the first-level cache.
template <class T>
void transpose(const T* x, int64_t x_step, T* y, int64_t y_step, int64_t rows, int64_t columns) {
  constexpr int64_t kTile = 16;
  for (int64_t c0 = 0; c0 < columns; c0 += kTile) {
    const int64_t c1 = std::min(columns, c0 + kTile);
    for (int64_t r0 = 0; r0 < rows; r0 += kTile) {
      const int64_t r1 = std::min(rows, r0 + kTile);
      for (int64_t c = c0; c < c1; ++c) {
        for (int64_t r = r0; r < r1; ++r) y[c * y_step + r] = x[r * x_step + c];
      }
    }
  }
}

template <class T>
void permute_elements(const T* x, T* y, const std::vector<PermutedAxis>& axes) {
  const auto rank = static_cast<int>(axes.size());
  int64_t count = 1;
  for (const PermutedAxis& axis : axes) count *= axis.dim;
  if (count == 0) return;

  // The result's last axis runs over y; `along` is the one that runs over x. When they differ a
  // task is a band of a 2-D transpose over these two, otherwise it is a contiguous run.
  const PermutedAxis last = axes.back();
  int along = rank - 1;
  for (int i = 0; i < rank; ++i) {
    if (axes[i].step == 1) along = i;
  }
  const bool contiguous = along == rank - 1;
  constexpr int64_t kBand = 64;
  const int64_t bands = contiguous ? 1 : (axes[along].dim + kBand - 1) / kBand;

  std::vector<int64_t> y_steps(rank, 1);
  for (int i = rank - 1; i > 0; --i) y_steps[i - 1] = y_steps[i] * axes[i].dim;
  int64_t outer = 1;
  for (int i = 0; i < rank - 1; ++i) {
    if (contiguous || i != along) outer *= axes[i].dim;
  }
  parallel_tasks(outer * bands, count > 2 * kSmall, [&](int64_t task) {
    int64_t rest = task / bands, x_at = 0, y_at = 0;
    for (int i = rank - 2; i >= 0; --i) {
      if (!contiguous && i == along) continue;
      const int64_t at = rest % axes[i].dim;
      rest /= axes[i].dim;
      x_at += at * axes[i].step;
      y_at += at * y_steps[i];
    }
    if (contiguous) {
      std::memcpy(y + y_at, x + x_at, static_cast<size_t>(last.dim) * sizeof(T));
    } else {
      const int64_t begin = task % bands * kBand, end = std::min(axes[along].dim, begin + kBand);
      transpose(x + x_at + begin, last.step, y + y_at + begin * y_steps[along], y_steps[along],
                last.dim, end - begin);
    }
  });
}

}  // namespace

void permute(Cpu, const void* x, void* y, const std::vector<int64_t>& dims,
             const std::vector<int64_t>& axes, size_t element_bytes) {
  const std::vector<PermutedAxis> order = permuted_axes(dims, axes);
  const auto run = [&](auto zero) {
    using T = decltype(zero);
    permute_elements(static_cast<const T*>(x), static_cast<T*>(y), order);
  };
  switch (element_bytes) {
    case 1:
      return run(uint8_t{});
    case 2:
      return run(uint16_t{});
    case 4:
      return run(uint32_t{});
    default:
      return run(uint64_t{});
  }
}

}  // namespace glassnet::kernels
