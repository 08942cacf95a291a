#include "kernels/cpu/weight_gradient.h"

#include <algorithm>

#include "kernels/cpu/conv_tiles.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/scratch.h"
#include "kernels/cpu/shares.h"

namespace glassnet::kernels::weight_gradient {
namespace {

constexpr int64_t kLine = 16;  // floats in a line of memory

// Output pixels: whole images, or rows of a single one.
struct Pixels {
  Range images, rows;
};

// Of each of some pixels, `count` lines side by side; pixels are `step` floats apart.
struct Lines {
  const float* next = nullptr;
  int64_t count = 0, step = 0;
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
    // Few enough that what a tap sees of a block of channels stays in the first level cache; more
    // where many taps see it and dw is too large to be gone through that often.
    const int64_t most = taps_ == 1 ? 160 : 512;
    images_ = std::clamp<int64_t>(most / (height_ * width_), 1, o_.n);
    row_parts_ = images_ > 1 ? 1 : std::min(height_, ceil_div(height_ * width_, most));
    unit_strides_ = o_.stride_h == 1 && o_.stride_w == 1;
    in_place_ =
        taps_ == 1 && unit_strides_ && o_.pad_h == 0 && o_.pad_w == 0 && o_.c == tiles_.columns;
  }

  void run() const {
    const int64_t products = o_.output_size() * taps_ * o_.c;
    if (products < 64 * kSmall || thread_count() == 1) return run_part(0, 1);
    parallel_team([&](int64_t thread, int64_t threads) { run_part(thread, threads); });
  }

 private:
  // Every thread goes through all pixels, for its part of dw: some filters for every tap and block
  // of channels where dy is larger than x, otherwise some taps and blocks for every filter.
  void run_part(int64_t thread, int64_t threads) const {
    const int64_t kinds = taps_ * blocks_;
    const bool some_filters = o_.k > o_.c && strips_ >= 8 * threads;
    const Range own = some_filters ? share_of(strips_, thread, threads) : Range{0, strips_};
    const Range tiles =
        some_filters ? Range{0, kinds * strips_} : share_of(kinds * strips_, thread, threads);
    if (tiles.size() == 0 || own.size() == 0) return;
    const auto strips_of = [&](int64_t kind) {
      return Range{std::max(own.begin, tiles.begin - kind * strips_),
                   std::min(own.end, tiles.end - kind * strips_)};
    };
    const Range mine = {tiles.begin / strips_, ceil_div(tiles.end, strips_)};
    const Range all = mine.size() == 1 ? strips_of(mine.begin) : own;

    struct Columns;
    const int64_t copied = in_place_ ? 0 : images_ * ceil_div(height_, row_parts_) * width_;
    const size_t bytes = static_cast<size_t>(copied * tiles_.columns) * sizeof(float);
    auto* copy = static_cast<float*>(thread_scratch<Columns>().get(bytes));
    for (int64_t image = 0; image < o_.n; image += images_) {
      for (int64_t part = 0; part < row_parts_; ++part) {
        const Pixels pixels = {{image, std::min(o_.n, image + images_)},
                               share_of(height_, part, row_parts_)};
        const bool first = image == 0 && part == 0;
        const int64_t next = first_of(pixels) + count_of(pixels);
        Lines next_dy = dy_lines(next, all), next_x = x_lines(next, mine.begin);
        for (int64_t kind = mine.begin; kind < mine.end; ++kind) {
          Lines x_ahead;
          if (kind + 1 < mine.end && (kind + 1) % taps_ == 0) {
            x_ahead = x_lines(first_of(pixels), kind + 1);
          }
          const float* columns = copy;
          if (in_place_) {
            columns = x_ + first_of(pixels) * o_.c;
          } else {
            copy_columns(pixels, kind % taps_, kind / taps_, copy);
          }
          const Range strips = strips_of(kind);
          for (int64_t strip = strips.begin; strip < strips.end; ++strip) {
            Lines& ahead = x_ahead.count > 0 ? x_ahead : next_x.count > 0 ? next_x : next_dy;
            multiply(pixels, strip, kind % taps_, kind / taps_, columns, !first, ahead);
          }
        }
      }
    }
  }

  int64_t first_of(const Pixels& pixels) const {
    return (pixels.images.begin * height_ + pixels.rows.begin) * width_;
  }
  int64_t count_of(const Pixels& pixels) const {
    return pixels.images.size() * pixels.rows.size() * width_;
  }
  // Strips are equal within a filter.
  Range filters_of(int64_t strip) const { return share_of(o_.k, strip, strips_); }

  // What some strips read, from an output pixel on.
  Lines dy_lines(int64_t pixel, Range strips) const {
    if (pixel >= o_.n * height_ * width_) return {};
    const int64_t begin = filters_of(strips.begin).begin, end = filters_of(strips.end - 1).end;
    return {dy_ + pixel * o_.k + begin, ceil_div(end - begin, kLine), o_.k};
  }
  // What the columns of a kind are copied from. Those of a stride lie too far apart.
  Lines x_lines(int64_t pixel, int64_t kind) const {
    if (!unit_strides_ || pixel >= o_.n * height_ * width_) return {};
    const int64_t first = kind / taps_ * tiles_.columns;
    const int64_t wanted = std::min<int64_t>(tiles_.columns, o_.c - first);
    return {x_ + pixel * o_.c + first, ceil_div(wanted, kLine), o_.c};
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

  void multiply(const Pixels& pixels, int64_t strip, int64_t tap, int64_t block,
                const float* columns, bool add, Lines& ahead) const {
    const Range filters = filters_of(strip);
    const int64_t first = block * tiles_.columns, stride = taps_ * o_.c;
    const bool asks = ahead.count > 0;
    tiles_.strip_product({
        .strip = dy_ + first_of(pixels) * o_.k + filters.begin,
        .strip_step = o_.k,
        .row_count = static_cast<int>(filters.size()),
        .columns = columns,
        .column_count = static_cast<int>(std::min<int64_t>(tiles_.columns, o_.c - first)),
        .steps = count_of(pixels),
        .y = dw_ + filters.begin * stride + tap * o_.c + first,
        .stride = stride,
        .add = add,
        .ahead = asks ? ahead.next : nullptr,
        .ahead_step = ahead.step,
    });
    if (asks) {
      ahead.next += kLine;
      --ahead.count;
    }
  }

  const float *dy_, *x_;
  float* dw_;
  Conv2dShape o_;
  const ConvTiles& tiles_;
  int64_t height_, width_, taps_, strips_, blocks_;
  int64_t images_, row_parts_;  // at a time; of an image
  bool unit_strides_;
  bool in_place_;  // columns as they are in x
};

}  // namespace

bool is_possible(const Conv2dShape& o) {
  return o.groups == 1 && o.c >= 16 && o.k >= 16 && conv_tiles() != nullptr;
}

bool is_quicker(const Conv2dShape& o) {
  const int64_t taps = o.r * o.s;
  if (o.stride_h > 1 || o.stride_w > 1) return taps * o.c >= 512;
  if (conv_tiles()->lanes < 16) return false;
  return taps == 1 ? o.k >= o.c : o.c >= 256 && o.out_h() * o.out_w() <= 64;
}

const char* name() {
  return conv_tiles()->lanes == 16 ? "tiles:avx512" : "tiles:avx2";
}

void run(const float* dy, const float* x, float* dw, const Conv2dShape& o) {
  Run(dy, x, dw, o).run();
}

}  // namespace glassnet::kernels::weight_gradient
