#include "kernels/cpu/weight_gradient.h"

#include <omp.h>

#include <algorithm>

#include "kernels/cpu/conv_tiles.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/scratch.h"
#include "kernels/cpu/shares.h"

namespace glassnet::kernels::weight_gradient {
namespace {

// So many that adding a tile to dw costs little beside its product, and few enough that what a tap
// sees of a block of channels stays in the second level cache.
constexpr int64_t kPixels = 512;

// Strips are copied in vectors of eight, of which a strip wants up to six: what is too much falls
// on the next pixel, which is copied later, and behind the last into this.
constexpr int64_t kSlack = 8;

// Output pixels: whole images, or rows of a single one.
struct Pixels {
  Range images, rows;
};

class Run {
 public:
  Run(const float* dy, const float* x, float* dw, const Conv2dShape& shape)
      : dy_(dy),
        x_(x),
        dw_(dw),
        o_(shape),
        tiles_(*conv_tiles()),
        height_(o_.out_h()),
        width_(o_.out_w()),
        taps_(o_.r * o_.s),
        strips_(ceil_div(o_.k, tiles_.rows)),
        blocks_(ceil_div(o_.c, tiles_.columns)) {
    images_ = std::clamp<int64_t>(kPixels / (height_ * width_), 1, o_.n);
    row_parts_ = images_ > 1 ? 1 : std::min(height_, ceil_div(height_ * width_, kPixels));
    most_ = images_ * ceil_div(height_, row_parts_) * width_;
    strip_size_ = most_ * tiles_.rows + kSlack;
  }

  void run() const {
    struct Strips;
    const size_t bytes = static_cast<size_t>(strips_ * strip_size_) * sizeof(float);
    auto* strips = static_cast<float*>(thread_scratch<Strips>().get(bytes));
    const int64_t products = o_.output_size() * taps_ * o_.c;
    if (products < 64 * kSmall || thread_count() == 1) return run_part(strips, 0, 1);
#pragma omp parallel
    run_part(strips, omp_get_thread_num(), omp_get_num_threads());
  }

 private:
  // All threads of a team walk through the pixels together: they share the strips. A single one has
  // nobody to wait for, and may be in a team that does something else.
  void run_part(float* strips, int64_t thread, int64_t threads) const {
    struct Columns;
    const size_t bytes = static_cast<size_t>(most_ * tiles_.columns) * sizeof(float);
    auto* columns = static_cast<float*>(thread_scratch<Columns>().get(bytes));
    // Tiles of one tap and block of channels are one task, or several where these are few.
    const int64_t parts = std::min(strips_, ceil_div(4 * threads, taps_ * blocks_));
    const Range tasks = share_of(taps_ * blocks_ * parts, thread, threads);
    for (int64_t image = 0; image < o_.n; image += images_) {
      for (int64_t part = 0; part < row_parts_; ++part) {
        const Pixels pixels = {{image, std::min(o_.n, image + images_)},
                               share_of(height_, part, row_parts_)};
        const bool first = image == 0 && part == 0;
        const Range own = share_of(strips_, thread, threads);
        for (int64_t strip = own.begin; strip < own.end; ++strip) {
          copy_strip(pixels, filters_of(strip), strips + strip * strip_size_);
        }
        wait_for_all(threads);
        for (int64_t task = tasks.begin; task < tasks.end; ++task) {
          const int64_t tap = task / parts % taps_, block = task / parts / taps_;
          if (task == tasks.begin || task % parts == 0) copy_columns(pixels, tap, block, columns);
          const Range some = share_of(strips_, task % parts, parts);
          for (int64_t strip = some.begin; strip < some.end; ++strip) {
            multiply(pixels, strip, tap, block, strips + strip * strip_size_, columns, !first);
          }
        }
        wait_for_all(threads);
      }
    }
  }

  static void wait_for_all(int64_t threads) {
    if (threads == 1) return;
#pragma omp barrier
  }

  int64_t count_of(const Pixels& pixels) const {
    return pixels.images.size() * pixels.rows.size() * width_;
  }
  // Strips are equal within a filter.
  Range filters_of(int64_t strip) const {
    return share_of(o_.k, strip, strips_);
  }

  // (pixels, filters)
  void copy_strip(const Pixels& pixels, Range filters, float* strip) const {
    using Eight = float __attribute__((vector_size(8 * sizeof(float)), aligned(4), may_alias));
    const int64_t wanted = filters.size();
    const int64_t first = (pixels.images.begin * height_ + pixels.rows.begin) * width_;
    const float* from = dy_ + first * o_.k + filters.begin;
    const int64_t count = count_of(pixels);
    for (int64_t i = 0; i + 1 < count; ++i, from += o_.k, strip += wanted) {
      *reinterpret_cast<Eight*>(strip) = *reinterpret_cast<const Eight*>(from);
    }
    std::copy(from, from + wanted, strip);  // eight could lie beyond the end of dy
  }

  // (pixels, ConvTiles::columns): the channels that a tap sees at each, and zeros.
  void copy_columns(const Pixels& pixels, int64_t tap, int64_t block, float* columns) const {
    const int64_t first = block * tiles_.columns;
    const int64_t wanted = std::min<int64_t>(tiles_.columns, o_.c - first);
    const int64_t down = tap / o_.s * o_.dilation_h - o_.pad_h;
    const int64_t right = tap % o_.s * o_.dilation_w - o_.pad_w;
    for (int64_t n = pixels.images.begin; n < pixels.images.end; ++n) {
      for (int64_t p = pixels.rows.begin; p < pixels.rows.end; ++p) {
        const int64_t y = p * o_.stride_h + down;
        const bool inside = y >= 0 && y < o_.h;
        const int64_t row = ((n * o_.h + y) * o_.w + right) * o_.c + first;
        for (int64_t q = 0; q < width_; ++q, columns += tiles_.columns) {
          const int64_t at = q * o_.stride_w, x = at + right;
          if (inside && x >= 0 && x < o_.w) {
            const float* from = x_ + row + at * o_.c;
            std::copy(from, from + wanted, columns);
            std::fill(columns + wanted, columns + tiles_.columns, 0.0f);
          } else {
            std::fill(columns, columns + tiles_.columns, 0.0f);
          }
        }
      }
    }
  }

  void multiply(const Pixels& pixels, int64_t strip, int64_t tap, int64_t block, const float* from,
                const float* columns, bool add) const {
    const Range filters = filters_of(strip);
    const int64_t first = block * tiles_.columns, stride = taps_ * o_.c;
    tiles_.strip_product({
        .strip = from,
        .row_count = static_cast<int>(filters.size()),
        .columns = columns,
        .column_count = static_cast<int>(std::min<int64_t>(tiles_.columns, o_.c - first)),
        .steps = count_of(pixels),
        .y = dw_ + filters.begin * stride + tap * o_.c + first,
        .stride = stride,
        .add = add,
    });
  }

  const float *dy_, *x_;
  float* dw_;
  Conv2dShape o_;
  const ConvTiles& tiles_;
  int64_t height_, width_, taps_, strips_, blocks_;
  int64_t images_, row_parts_;  // at a time; of an image
  int64_t most_, strip_size_;   // the most pixels, and what a strip of them takes
};

}  // namespace

bool is_possible(const Conv2dShape& o) {
  return o.groups == 1 && o.c >= 16 && o.k >= 16 && conv_tiles() != nullptr;
}

bool is_quicker(const Conv2dShape& o) {
  const bool strided = o.stride_h > 1 || o.stride_w > 1;
  const bool many_products = o.r * o.s * o.c >= 512;
  return o.c >= 256 && ((strided && many_products) || o.out_h() * o.out_w() <= 64);
}

const char* name() {
  return conv_tiles()->lanes == 16 ? "tiles:avx512" : "tiles:avx2";
}

void run(const float* dy, const float* x, float* dw, const Conv2dShape& o) {
  Run(dy, x, dw, o).run();
}

}  // namespace glassnet::kernels::weight_gradient
