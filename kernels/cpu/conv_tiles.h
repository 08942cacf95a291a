// The inner loops of our own convolutions on the CPU, once for each vector instruction set.
//
// A tile is a few output pixels (rows) times a few vectors of filters (columns), whose sums stay in
// registers while the reduction runs. A pixel's part of the input is reached by pointers, one per
// tap of the filter, so that no patches are ever unfolded (Dukhan 2019, "The Indirect Convolution
// Algorithm"). Winograd's convolution F(4x4, 3x3) shares the product: of a tile d of
// 6 x 6 pixels and a filter g of 3 x 3 it makes 4 x 4 outputs,
//
//   Y = A^T [(G g G^T) * (B^T d B)] A      (Lavin and Gray 2016, equation 8)
//
// where * is element by element, summed over channels: a matrix product for each of 36 points.
#pragma once

#include <cstdint>

namespace glassnet::kernels {

// sums[i][j] = bias[j] + z[i][j] + sum over t, k of rows[t * row_count + i][k] * filters[t][k][j]
struct TileProduct {
  const float* const* rows;  // (down * across, row_count) pointers to `inner` floats
  int row_count;             // at most ConvTiles::rows
  int columns;               // filters wanted, at most ConvTiles::columns
  int64_t down, across;      // the taps t, at least 1
  int64_t inner;             // at least 1
  const float* filters;      // (down, across, inner, ConvTiles::columns)
  int64_t filter_gap;        // floats after `across` of them
  const float* bias;         // (columns) or null
  const float* z;            // like y, or null
  float* y;
  const int64_t* at;  // row i begins at y + at[i]
  bool relu;          // a NaN passes
  // What to ask the memory for meanwhile: ahead[i * ahead_step] at step i of the reduction.
  const float* ahead = nullptr;
  int64_t ahead_step = 0;
};

// The product whose reduction runs along both operands' rows:
// y[i][j] = (add ? y[i][j] : 0) + sum over k of strip[k][i] * columns[k][j]
struct StripProduct {
  const float* strip;  // (steps, row_count), steps being strip_step floats apart
  int64_t strip_step;
  int row_count;         // at most ConvTiles::rows
  const float* columns;  // (steps, ConvTiles::columns)
  int column_count;      // wanted, at most ConvTiles::columns
  int64_t steps;         // at least 1
  float* y;              // row i begins at y + i * stride
  int64_t stride;
  bool add;
  // As of a TileProduct.
  const float* ahead = nullptr;
  int64_t ahead_step = 0;
};

// The outputs of a tile of 4 x 4 pixels, or of as many as lie inside of the image.
struct WinogradOutput {
  const float* sums;  // the filters' sums at the 36 points, point e at sums + e * point_stride
  int64_t point_stride;
  int64_t filters;    // a multiple of ConvTiles::lanes
  const float* bias;  // (filters) or null
  const float* z;     // like y, or null
  float* y;           // the first pixel of the tile; pixels are `filters` floats
  int64_t row_stride;
  int height, width;
  bool relu;
};

inline constexpr int kMostRows = 6;  // of any set's tile

struct ConvTiles {
  const char* name;
  int lanes;    // of a vector
  int rows;     // of a tile
  int columns;  // of a tile
  void (*product)(const TileProduct&);
  void (*strip_product)(const StripProduct&);
  // v[e] = (B^T d B)[e] over `channels`, a multiple of lanes, of the 6 x 6 pixels d; point e is
  // written at v + e * point_stride.
  void (*winograd_input)(const float* const* pixels, int64_t channels, float* v,
                         int64_t point_stride);
  // u[e] = (G g G^T)[e] of the 3 x 3 taps g of one block of filters, packed (9, channels, columns);
  // point e is (channels, columns) at u + e * point_stride.
  void (*winograd_filters)(const float* packed, int64_t channels, float* u, int64_t point_stride);
  void (*winograd_output)(const WinogradOutput&);
};

extern const ConvTiles kAvx512Tiles, kAvx2Tiles;

// The widest set that this processor has and ONEDNN_MAX_CPU_ISA allows; null without AVX2 and FMA.
const ConvTiles* conv_tiles();

}  // namespace glassnet::kernels
