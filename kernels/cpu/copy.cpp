// Fill, cast and permute on the CPU.
#include "kernels/copy.h"

#include <Eigen/Core>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/cpu/parallel.h"

namespace glassnet::kernels {
namespace {

// Rounding twice (double to float to 16 bits) can end on the wrong side of a tie. Rounding to odd
// first keeps "was inexact" in the last bit, so that the second rounding is the only one.
float to_float_odd(double value) {
  const auto nearest = static_cast<float>(value);
  if (static_cast<double>(nearest) == value || value != value) return nearest;
  auto bits = std::bit_cast<uint32_t>(nearest);
  if (std::abs(static_cast<double>(nearest)) > std::abs(value)) --bits;
  return std::bit_cast<float>(bits | 1);
}

double to_double_odd(int64_t value) {
  constexpr int64_t kExact = int64_t{1} << 53, kLow = 0x7ff;
  if (value > -kExact && value < kExact) return static_cast<double>(value);
  const int64_t cut = value & ~kLow;
  return static_cast<double>(value == cut ? cut : cut | (kLow + 1));
}

float to_float_odd(float value) {
  return value;
}
float to_float_odd(uint8_t value) {
  return value;
}
float to_float_odd(int64_t value) {
  return to_float_odd(to_double_odd(value));
}

uint16_t half_bits(float value) {
  return Eigen::half_impl::float_to_half_rtne(value).x;
}
float half_value(uint16_t bits) {
  return Eigen::half_impl::half_to_float(Eigen::half_impl::raw_uint16_to_half(bits));
}

// Both 16-bit floats widen to float exactly; every other type stays what it is.
float widen(bfloat16 x) {
  return std::bit_cast<float>(static_cast<uint32_t>(x.bits) << 16);
}
float widen(float16 x) {
  return half_value(x.bits);
}
template <class T>
T widen(T x) {
  return x;
}

template <class To, class From>
To convert(From x) {
  const auto value = widen(x);
  using Value = decltype(value);
  if constexpr (std::is_same_v<To, bfloat16>) {
    return {Eigen::bfloat16_impl::float_to_bfloat16_rtne<false>(to_float_odd(value)).value};
  } else if constexpr (std::is_same_v<To, float16>) {
    return {half_bits(to_float_odd(value))};
  } else if constexpr (std::is_integral_v<To> &&
                       std::is_floating_point_v<std::remove_cv_t<Value>>) {
    // The bounds are powers of two, exact in every type; the upper one is the first that is out.
    constexpr auto kLow = static_cast<double>(std::numeric_limits<To>::min());
    constexpr double kEnd = std::is_same_v<To, uint8_t> ? 256.0 : 0x1p63;
    const auto wide = static_cast<double>(value);
    if (wide != wide) return 0;
    if (wide <= kLow) return std::numeric_limits<To>::min();
    if (wide >= kEnd) return std::numeric_limits<To>::max();
    return static_cast<To>(wide);
  } else if constexpr (std::is_same_v<To, uint8_t>) {
    return static_cast<uint8_t>(std::clamp<int64_t>(value, 0, 255));
  } else {
    return static_cast<To>(value);
  }
}

// Calls f with a value of the element type.
template <class F>
void with_type(DType type, F&& f) {
  switch (type) {
    case DType::kFloat32:
      return f(float{});
    case DType::kBFloat16:
      return f(bfloat16{});
    case DType::kFloat16:
      return f(float16{});
    case DType::kFloat64:
      return f(double{});
    case DType::kUInt8:
      return f(uint8_t{});
    case DType::kInt64:
      return f(int64_t{});
  }
}

}  // namespace

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

// The axes of a permutation in the order of the result: extent, and step in x.
struct Axis {
  int64_t dim, step;
};

// As few axes as possible: extents of 1 are dropped and neighbours that x holds in the same order
// become one.
std::vector<Axis> permuted_axes(const std::vector<int64_t>& dims,
                                const std::vector<int64_t>& axes) {
  std::vector<int64_t> steps(dims.size(), 1);
  for (size_t i = dims.size(); i-- > 1;) steps[i - 1] = steps[i] * dims[i];
  std::vector<Axis> result;
  for (const int64_t axis : axes) {
    const Axis next{dims[axis], steps[axis]};
    if (next.dim == 1) continue;
    if (!result.empty() && result.back().step == next.step * next.dim) {
      result.back() = {result.back().dim * next.dim, next.step};
    } else {
      result.push_back(next);
    }
  }
  if (result.empty()) result.push_back({1, 1});
  return result;
}

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
void permute_elements(const T* x, T* y, const std::vector<Axis>& axes) {
  const auto rank = static_cast<int>(axes.size());
  int64_t count = 1;
  for (const Axis& axis : axes) count *= axis.dim;
  if (count == 0) return;

  // The result's last axis runs over y; `along` is the one that runs over x. When they differ a
  // task is a band of a 2-D transpose over these two, otherwise it is a contiguous run.
  const Axis last = axes.back();
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
  const std::vector<Axis> order = permuted_axes(dims, axes);
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
