// Sixteen rows of the result at a time. Along a column, neighbouring values of a row fill a vector.
// Along a row they do not: a result's weights are not its neighbour's, and its pixels lie at
// any distance from them. So the columns' sums are turned on their side, the rows' sums then
// run over vectors of sixteen rows, and the results are turned back.
#include "kernels/resample.h"

#include <algorithm>
#include <cstddef>
#include <cstring>

#include "kernels/cpu/scratch.h"

namespace glassnet::kernels {
namespace {

constexpr int kRows = 16;
constexpr int kPixel = 3 * kRows;  // what stands between a pixel and the next, turned
constexpr int kTile = 64;  // values of a row that are summed at once: a cache line of the picture

// Sixteen floats or bytes.
template <class T>
using Vector __attribute__((vector_size(kRows * sizeof(T)))) = T;

// to[i][r] = from[r][i] for 16 x 16 values; rows of `from` and `to` are so far apart. Four times
// over, each row of the upper half is interleaved with its fellow of the lower half.
template <class T>
void transpose(const T* from, ptrdiff_t from_pitch, T* to, ptrdiff_t to_pitch) {
  Vector<T> rows[kRows], mixed[kRows];
  for (int r = 0; r < kRows; ++r) std::memcpy(&rows[r], from + r * from_pitch, sizeof rows[r]);
  for (int stage = 0; stage < 4; ++stage) {
    for (int r = 0; r < kRows / 2; ++r) {
      const Vector<T> a = rows[r], b = rows[r + kRows / 2];
      mixed[2 * r] =
          __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
      mixed[2 * r + 1] = __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29,
                                                 14, 30, 15, 31);
    }
    std::copy_n(mixed, kRows, rows);
  }
  for (int r = 0; r < kRows; ++r) std::memcpy(to + r * to_pitch, &rows[r], sizeof rows[r]);
}

// sums (values, kRows) of rows `begin` to `end` of the result, at `values` values from `picture`
// on.
template <int kValues>
void sum_columns(const uint8_t* picture, ptrdiff_t pitch, int values, const ResampleAxis& down,
                 int begin, int end, float* sums) {
  alignas(64) float tile[kRows][kTile];
  for (int i = begin; i < end; ++i) {
    const uint8_t* from = picture + down.first[i] * pitch;
    const float* weight = down.weight + static_cast<ptrdiff_t>(i) * down.stride;
    float* row = tile[i - begin];
    const int n = kValues == 0 ? values : kValues;
    for (int v = 0; v < n; ++v) row[v] = weight[0] * static_cast<float>(from[v]);
    for (int k = 1; k < down.count[i]; ++k) {
      from += pitch;
      for (int v = 0; v < n; ++v) row[v] += weight[k] * static_cast<float>(from[v]);
    }
  }
  for (int i = end - begin; i < kRows; ++i) std::fill_n(tile[i], values, 0.0F);
  for (int v = 0; v < kTile; v += kRows) {
    if (v < values) transpose(&tile[0][v], kTile, sums + v * kRows, kRows);
  }
}

}  // namespace

void resample(Cpu, const uint8_t* picture, int width, const ResampleAxis& down,
              const ResampleAxis& across, uint8_t* y) {
  const int left = *std::min_element(across.first, across.first + across.size);
  int right = 0;
  for (int j = 0; j < across.size; ++j) right = std::max(right, across.first[j] + across.count[j]);
  const int values = (right - left) * 3, results = across.size * 3;
  const ptrdiff_t pitch = ptrdiff_t{width} * 3;

  // Blocks of sixteen are turned whole.
  const auto room = [](int n) { return static_cast<size_t>((n + kRows - 1) / kRows) * kRows; };
  struct Sums;
  struct Turned;
  auto* const sums = static_cast<float*>(  // (values, kRows)
      thread_scratch<Sums>().get(sizeof(float) * kRows * room(values)));
  auto* const turned =  // (results, kRows)
      static_cast<uint8_t*>(thread_scratch<Turned>().get(kRows * room(results)));
  for (int begin = 0; begin < down.size; begin += kRows) {
    const int end = std::min(begin + kRows, down.size);
    const uint8_t* const from = picture + ptrdiff_t{left} * 3;
    if (values < kTile) {
      sum_columns<0>(from, pitch, values, down, begin, end, sums);
    } else {
      for (int v = 0; v < values; v += kTile) {
        const int at = std::min(v, values - kTile);  // the last tile may overlap the one before
        sum_columns<kTile>(from + at, pitch, kTile, down, begin, end, sums + at * kRows);
      }
    }
    for (int j = 0; j < across.size; ++j) {
      const float* weight = across.weight + static_cast<ptrdiff_t>(j) * across.stride;
      const float* const pixel = sums + ptrdiff_t{across.first[j] - left} * kPixel;
      uint8_t* const out = turned + ptrdiff_t{j} * kPixel;
      for (int c = 0; c < kPixel; c += kRows) {
        float sum[kRows];
        std::fill_n(sum, kRows, 0.5F);
        for (int k = 0; k < across.count[j]; ++k) {
          const float* const value = pixel + k * kPixel + c;
#pragma omp simd
          for (int r = 0; r < kRows; ++r) sum[r] += weight[k] * value[r];
        }
#pragma omp simd
        for (int r = 0; r < kRows; ++r) {
          out[c + r] = static_cast<uint8_t>(static_cast<int>(sum[r]));
        }
      }
    }
    for (int v = 0; v < results; v += kRows) {
      uint8_t rows[kRows][kRows];
      transpose(turned + v * kRows, kRows, &rows[0][0], kRows);
      for (int i = begin; i < end; ++i) {
        std::copy_n(rows[i - begin], std::min(kRows, results - v), y + ptrdiff_t{i} * results + v);
      }
    }
  }
}

}  // namespace glassnet::kernels
