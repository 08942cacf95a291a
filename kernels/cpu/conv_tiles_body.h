// The loops behind kernels/cpu/conv_tiles.h, included by one file for each instruction set, which
// the compiler flags name. Nothing here may call an inline function of another header: the linker
// keeps one copy of those, and it could be this one, on a machine that cannot run it.
#include "kernels/cpu/conv_tiles.h"

namespace glassnet::kernels {
namespace {

#if defined(__AVX512F__)
constexpr int kLanes = 16, kRows = 6,
              kVectors = 4;  // 24 sums, 4 filters and a pixel in 32 registers
#else
constexpr int kLanes = 8, kRows = 6, kVectors = 2;  // 12, 2 and 1 in 16
#endif
constexpr int kColumns = kVectors * kLanes;
static_assert(kRows <= kMostRows);

using Vector = float __attribute__((vector_size(kLanes * sizeof(float)), aligned(4)));

inline Vector load(const float* from) {
  return *reinterpret_cast<const Vector*>(from);
}
inline void store(float* to, Vector v) {
  *reinterpret_cast<Vector*>(to) = v;
}
inline Vector relu(Vector v) {
  return v < 0 ? Vector{} : v;
}

template <int Rows>
struct Sums {
  Vector of[Rows][kVectors];
};

// One step of the reduction.
template <int Rows>
inline void multiply_add(Sums<Rows>& sums, const float* const* rows, int64_t k,
                         const float* filters) {
  Vector w[kVectors];
#pragma GCC unroll 4
  for (int j = 0; j < kVectors; ++j) w[j] = load(filters + j * kLanes);
#pragma GCC unroll 8
  for (int i = 0; i < Rows; ++i) {
    const Vector x = rows[i][k] - Vector{};
#pragma GCC unroll 4
    for (int j = 0; j < kVectors; ++j) sums.of[i][j] += x * w[j];
  }
}

template <int Rows, bool Ahead>
inline void add_products(Sums<Rows>& sums, const TileProduct& o) {
  // Or sums would have to be in memory.
  if (o.down < 1 || o.across < 1 || o.inner < 1) __builtin_unreachable();
  const float *filters = o.filters, *ahead = o.ahead;
  const float* const* rows = o.rows;
  for (int64_t r = 0; r < o.down; ++r, filters += o.filter_gap) {
    for (int64_t s = 0; s < o.across; ++s, rows += Rows) {
      // The compiler's unrolling leaves every sum in its register; steps written out do not.
#pragma GCC unroll 4
      for (int64_t k = 0; k < o.inner; ++k, filters += kColumns) {
        multiply_add<Rows>(sums, rows, k, filters);
        if constexpr (Ahead) {
          __builtin_prefetch(ahead, 0, 2);
          ahead += o.ahead_step;
        }
      }
    }
  }
}

// Asks for rows of outputs. Functions of their own, since otherwise the addresses are kept for
// later in registers that the sums need.
inline void ask_for(const float* row) {
  for (int j = 0; j < kColumns; j += 16) __builtin_prefetch(row + j, 1);
  asm volatile("");  // or the call would be taken for one without effect, and left out
}
[[gnu::noinline]] void ask_for(const float* first, int rows, const int64_t* at) {
  for (int i = 0; i < rows; ++i) ask_for(first + at[i]);
}
[[gnu::noinline]] void ask_for(const float* first, int rows, int64_t stride) {
  for (int i = 0; i < rows; ++i) ask_for(first + i * stride);
}

template <int Rows>
void product_of_whole(const TileProduct& o) {
  // What the last lines of this function touch is far away where outputs are large: ask for it now.
  ask_for(o.y, Rows, o.at);
  if (o.z != nullptr) ask_for(o.z, Rows, o.at);
  Sums<Rows> sums;
#pragma GCC unroll 4
  for (int j = 0; j < kVectors; ++j) {
    const Vector bias = o.bias != nullptr ? load(o.bias + j * kLanes) : Vector{};
#pragma GCC unroll 8
    for (int i = 0; i < Rows; ++i) sums.of[i][j] = bias;
  }
  o.ahead != nullptr ? add_products<Rows, true>(sums, o) : add_products<Rows, false>(sums, o);
  if (o.z != nullptr) {
#pragma GCC unroll 8
    for (int i = 0; i < Rows; ++i) {
      const float* z = o.z + o.at[i];
#pragma GCC unroll 4
      for (int j = 0; j < kVectors; ++j) sums.of[i][j] += load(z + j * kLanes);
    }
  }
  if (o.relu) {
#pragma GCC unroll 8
    for (int i = 0; i < Rows; ++i) {
#pragma GCC unroll 4
      for (int j = 0; j < kVectors; ++j) sums.of[i][j] = relu(sums.of[i][j]);
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < Rows; ++i) {
    float* y = o.y + o.at[i];
#pragma GCC unroll 4
    for (int j = 0; j < kVectors; ++j) store(y + j * kLanes, sums.of[i][j]);
  }
}

// Fewer columns than a whole tile's: in a tile of its own, of which the wanted part is copied.
template <int Rows>
void product_of_part(const TileProduct& o) {
  float bias[kColumns] = {}, z[Rows * kColumns] = {}, y[Rows * kColumns];
  int64_t at[Rows];
  TileProduct whole = o;
  for (int j = 0; j < o.columns && o.bias != nullptr; ++j) bias[j] = o.bias[j];
  for (int i = 0; i < Rows; ++i) {
    at[i] = i * kColumns;
    for (int j = 0; j < o.columns && o.z != nullptr; ++j) z[at[i] + j] = o.z[o.at[i] + j];
  }
  whole.bias = bias;
  whole.z = o.z != nullptr ? z : nullptr;
  whole.y = y;
  whole.at = at;
  product_of_whole<Rows>(whole);
  for (int i = 0; i < Rows; ++i) {
    for (int j = 0; j < o.columns; ++j) o.y[o.at[i] + j] = y[at[i] + j];
  }
}

template <int Rows>
void product_of(const TileProduct& o) {
  if constexpr (Rows > 1) {
    if (o.row_count < Rows) return product_of<Rows - 1>(o);
  }
  o.columns == kColumns ? product_of_whole<Rows>(o) : product_of_part<Rows>(o);
}

void product(const TileProduct& o) {
  product_of<kRows>(o);
}

// ---- Sums over pixels ---------------------------------------------------------------------------

template <int Rows, bool Ahead>
inline void add_products(Sums<Rows>& sums, const StripProduct& o) {
  if (o.steps < 1) __builtin_unreachable();  // or sums would have to be in memory
  const float *strip = o.strip, *columns = o.columns, *ahead = o.ahead;
#pragma GCC unroll 4
  for (int64_t k = 0; k < o.steps; ++k, strip += o.strip_step, columns += kColumns) {
    Vector w[kVectors];
#pragma GCC unroll 4
    for (int j = 0; j < kVectors; ++j) w[j] = load(columns + j * kLanes);
#pragma GCC unroll 8
    for (int i = 0; i < Rows; ++i) {
      const Vector x = strip[i] - Vector{};
#pragma GCC unroll 4
      for (int j = 0; j < kVectors; ++j) sums.of[i][j] += x * w[j];
    }
    if constexpr (Ahead) {
      __builtin_prefetch(ahead, 0, 2);
      ahead += o.ahead_step;
    }
  }
}

template <int Rows>
void strip_product_of_whole(const StripProduct& o) {
  ask_for(o.y, Rows, o.stride);
  Sums<Rows> sums;
#pragma GCC unroll 8
  for (int i = 0; i < Rows; ++i) {
#pragma GCC unroll 4
    for (int j = 0; j < kVectors; ++j) sums.of[i][j] = Vector{};
  }
  o.ahead != nullptr ? add_products<Rows, true>(sums, o) : add_products<Rows, false>(sums, o);
  float* y = o.y;
#pragma GCC unroll 8
  for (int i = 0; i < Rows; ++i, y += o.stride) {
#pragma GCC unroll 4
    for (int j = 0; j < kVectors; ++j) {
      const Vector sum = sums.of[i][j];
      store(y + j * kLanes, o.add ? load(y + j * kLanes) + sum : sum);
    }
  }
}

template <int Rows>
void strip_product_of_part(const StripProduct& o) {
  float y[Rows * kColumns];
  StripProduct whole = o;
  whole.y = y;
  whole.stride = kColumns;
  whole.add = false;
  strip_product_of_whole<Rows>(whole);
  for (int i = 0; i < Rows; ++i) {
    float* to = o.y + i * o.stride;
    for (int j = 0; j < o.column_count; ++j) {
      to[j] = o.add ? to[j] + y[i * kColumns + j] : y[i * kColumns + j];
    }
  }
}

template <int Rows>
void strip_product_of(const StripProduct& o) {
  if constexpr (Rows > 1) {
    if (o.row_count < Rows) return strip_product_of<Rows - 1>(o);
  }
  o.column_count == kColumns ? strip_product_of_whole<Rows>(o) : strip_product_of_part<Rows>(o);
}

void strip_product(const StripProduct& o) {
  strip_product_of<kRows>(o);
}

// ---- Winograd's F(4x4, 3x3), with the matrices of Lavin and Gray 2016, section 4.3 --------------

// B^T d of the six values d at d[0], d[step], ..., in place.
inline void transform_input(Vector* d, int step) {
  const Vector d0 = d[0], d1 = d[step], d2 = d[2 * step], d3 = d[3 * step], d4 = d[4 * step],
               d5 = d[5 * step];
  const Vector even = d4 - 4 * d2, odd = d3 - 4 * d1;
  const Vector even_half = d4 - d2, odd_half = 2 * (d3 - d1);
  d[0] = 4 * d0 - 5 * d2 + d4;
  d[step] = even + odd;
  d[2 * step] = even - odd;
  d[3 * step] = even_half + odd_half;
  d[4 * step] = even_half - odd_half;
  d[5 * step] = 4 * d1 - 5 * d3 + d5;
}

void winograd_input(const float* const* pixels, int64_t channels, float* v, int64_t point_stride) {
  for (int64_t c = 0; c < channels; c += kLanes) {
    Vector d[36];
    for (int column = 0; column < 6; ++column) {
      for (int row = 0; row < 6; ++row) {
        d[row * 6 + column] = load(pixels[row * 6 + column] + c);
      }
      transform_input(d + column, 6);
    }
    for (int row = 0; row < 6; ++row) {
      transform_input(d + row * 6, 1);
      for (int e = row * 6; e < row * 6 + 6; ++e) store(v + e * point_stride + c, d[e]);
    }
  }
}

// G g of the three values g at g[0], g[step], g[2 * step]; result i is written at u[i * u_step].
inline void transform_filter(const Vector* g, int step, Vector* u, int u_step) {
  const Vector outer = g[0] + g[2 * step], middle = g[step];
  const Vector wide = g[0] + 4 * g[2 * step], twice = 2 * middle;
  u[0] = g[0] / 4;
  u[u_step] = (outer + middle) / -6;
  u[2 * u_step] = (outer - middle) / -6;
  u[3 * u_step] = (wide + twice) / 24;
  u[4 * u_step] = (wide - twice) / 24;
  u[5 * u_step] = g[2 * step];
}

void winograd_filters(const float* packed, int64_t channels, float* u, int64_t point_stride) {
  for (int64_t at = 0; at < channels * kColumns; at += kLanes) {
    Vector g[9], half[18], all[36];
    for (int tap = 0; tap < 9; ++tap) g[tap] = load(packed + tap * channels * kColumns + at);
    for (int column = 0; column < 3; ++column) transform_filter(g + column, 3, half + column, 3);
    for (int row = 0; row < 6; ++row) transform_filter(half + row * 3, 1, all + row * 6, 1);
    for (int e = 0; e < 36; ++e) store(u + e * point_stride + at, all[e]);
  }
}

// A^T m of the six values m at m[0], m[step], ...; result i is written at y[i * y_step].
inline void transform_output(const Vector* m, int step, Vector* y, int y_step) {
  const Vector sum = m[step] + m[2 * step], difference = m[step] - m[2 * step];
  const Vector far_sum = m[3 * step] + m[4 * step], far_difference = m[3 * step] - m[4 * step];
  y[0] = m[0] + sum + far_sum;
  y[y_step] = difference + 2 * far_difference;
  y[2 * y_step] = sum + 4 * far_sum;
  y[3 * y_step] = difference + 8 * far_difference + m[5 * step];
}

void winograd_output(const WinogradOutput& o) {
  for (int64_t k = 0; k < o.filters; k += kLanes) {
    Vector m[36], half[24], tile[16];
    for (int e = 0; e < 36; ++e) m[e] = load(o.sums + e * o.point_stride + k);
    for (int column = 0; column < 6; ++column) transform_output(m + column, 6, half + column, 6);
    for (int row = 0; row < 4; ++row) transform_output(half + row * 6, 1, tile + row * 4, 1);
    const Vector bias = o.bias != nullptr ? load(o.bias + k) : Vector{};
    for (int row = 0; row < o.height; ++row) {
      for (int column = 0; column < o.width; ++column) {
        const int64_t at = row * o.row_stride + column * o.filters + k;
        Vector sum = tile[row * 4 + column] + bias;
        if (o.z != nullptr) sum += load(o.z + at);
        store(o.y + at, o.relu ? relu(sum) : sum);
      }
    }
  }
}

}  // namespace
}  // namespace glassnet::kernels
