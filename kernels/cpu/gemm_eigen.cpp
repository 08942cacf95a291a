// Eigen's product, in tiles of c: how Eigen would share the work itself, and with it the order of
// its sums, depends on the number of threads; that of tiles follows from the shape alone.
#define EIGEN_DONT_PARALLELIZE
#include <Eigen/Core>

#include <algorithm>

#include "kernels/cpu/gemm.h"
#include "kernels/cpu/parallel.h"

namespace glassnet::kernels {
namespace {

constexpr int64_t kTileRows = 64, kTileColumns = 128;

using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using Block = Eigen::Map<Matrix, Eigen::Unaligned, Eigen::OuterStride<>>;
using ConstBlock = Eigen::Map<const Matrix, Eigen::Unaligned, Eigen::OuterStride<>>;

template <class A, class B>
void multiply(const A& a, const B& b, bool accumulate, Block& c) {
  if (accumulate) {
    c.noalias() += a * b;
  } else {
    c.noalias() = a * b;
  }
}

}  // namespace

void gemm(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, const float* a,
          int64_t lda, const float* b, int64_t ldb, bool accumulate, float* c, int64_t ldc) {
  const int64_t tiles_down = (m + kTileRows - 1) / kTileRows;
  const int64_t tiles_across = (n + kTileColumns - 1) / kTileColumns;
  parallel_tasks(tiles_down * tiles_across, m * n * k > 1 << 18, [&](int64_t tile) {
    const int64_t i = tile / tiles_across * kTileRows, rows = std::min(kTileRows, m - i);
    const int64_t j = tile % tiles_across * kTileColumns, columns = std::min(kTileColumns, n - j);
    Block out(c + i * ldc + j, rows, columns, Eigen::OuterStride<>(ldc));
    const ConstBlock left(transpose_a ? a + i : a + i * lda, transpose_a ? k : rows,
                          transpose_a ? rows : k, Eigen::OuterStride<>(lda));
    const ConstBlock right(transpose_b ? b + j * ldb : b + j, transpose_b ? columns : k,
                           transpose_b ? k : columns, Eigen::OuterStride<>(ldb));
    if (transpose_a && transpose_b) {
      multiply(left.transpose(), right.transpose(), accumulate, out);
    } else if (transpose_a) {
      multiply(left.transpose(), right, accumulate, out);
    } else if (transpose_b) {
      multiply(left, right.transpose(), accumulate, out);
    } else {
      multiply(left, right, accumulate, out);
    }
  });
}

}  // namespace glassnet::kernels
