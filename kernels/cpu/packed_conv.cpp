#include "kernels/cpu/packed_conv.h"

#include <algorithm>
#include <vector>

#include "kernels/cpu/conv_tiles.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/scratch.h"
#include "kernels/cpu/shares.h"
#include "kernels/policy.h"

namespace glassnet::kernels::packed {
namespace {

// What of a processor's second level cache one operand of a product may fill.
constexpr int64_t kCacheBytes = int64_t{1} << 20;

// For so few tiles a block of filters is multiplied in not much more time than the memory takes to
// bring it.
constexpr int64_t kFewTiles = 32;

// Few channels make short products, of which a row of the filter is one long one: in NHWC its
// pixels lie side by side, once the image has its padding around it.
bool by_rows(const Conv2dShape& o) {
  return o.c < 16 && o.s > 1 && o.dilation_w == 1;
}
int64_t taps_of(const Conv2dShape& o) {
  return by_rows(o) ? o.r : o.r * o.s;
}
int64_t inner_of(const Conv2dShape& o) {
  return by_rows(o) ? o.s * o.c : o.c;
}

// Tiles of 4 x 4 pixels.
struct WinogradGrid {
  int64_t down, across, tiles;
};
WinogradGrid winograd_grid(const Conv2dShape& o) {
  const int64_t down = ceil_div(o.out_h(), 4), across = ceil_div(o.out_w(), 4);
  return {down, across, o.n * down * across};
}

// Where the pixels of an image fill the tiles: 36 products for 16 outputs instead of 9 for each,
// at 1.6 times the price of a product for the transforms. Images do not count, so that an image's
// numbers do not depend on the images beside it.
bool pays_by_winograd(const Conv2dShape& o) {
  if (o.r != 3 || o.s != 3 || o.stride_h != 1 || o.stride_w != 1) return false;
  if (o.dilation_h != 1 || o.dilation_w != 1 || o.c % 16 != 0 || o.k % 16 != 0) return false;
  Conv2dShape one = o;
  one.n = 1;
  return 58 * winograd_grid(one).tiles <= 9 * o.out_h() * o.out_w();
}

// Filter j, tap (r, s) and channel i lie at
// j * filter_step + r * row_step + s * tap_step + i * inner_step.
struct FilterLayout {
  int64_t filters, down, across, inner;
  int64_t filter_step, row_step, tap_step, inner_step;
  int64_t taps() const { return down * across; }
};
FilterLayout layout_of(const Conv2dShape& o) {
  const int64_t taps = taps_of(o), inner = inner_of(o);
  return {o.k, 1, taps, inner, taps * inner, 0, inner, 1};
}

// One block (taps, inner, columns).
void pack_block(const float* w, const FilterLayout& f, int64_t block, int columns, float* packed) {
  const int64_t first = block * columns;
  const int64_t wanted = std::min<int64_t>(columns, f.filters - first);
  for (int64_t t = 0; t < f.taps(); ++t) {
    const float* tap =
        w + first * f.filter_step + t / f.across * f.row_step + t % f.across * f.tap_step;
    for (int64_t i = 0; i < f.inner; ++i, packed += columns) {
      for (int64_t j = 0; j < wanted; ++j) packed[j] = tap[j * f.filter_step + i * f.inner_step];
      std::fill(packed + wanted, packed + columns, 0.0f);
    }
  }
}

void pack(const float* w, const FilterLayout& f, Form form, float* packed) {
  const ConvTiles& tiles = *conv_tiles();
  const int64_t blocks = ceil_div(f.filters, tiles.columns);
  const int64_t block_size = f.taps() * f.inner * tiles.columns;
  const int64_t point_block = f.inner * tiles.columns;
  struct Block;
  parallel_tasks(blocks, blocks * block_size > kSmall, [&](int64_t block) {
    if (form == Form::kDirect) {
      return pack_block(w, f, block, tiles.columns, packed + block * block_size);
    }
    const size_t bytes = static_cast<size_t>(block_size) * sizeof(float);
    auto* taps = static_cast<float*>(thread_scratch<Block>().get(bytes));
    pack_block(w, f, block, tiles.columns, taps);
    tiles.winograd_filters(taps, f.inner, packed + block * point_block, blocks * point_block);
  });
}

// ---- Direct -------------------------------------------------------------------------------------

struct Operands {
  const float* x;
  const float* packed;
  const float* bias;
  const float* z;
  float* y;
  bool relu;
};

struct Extent {
  int64_t h, w;
};

// Neighbouring outputs along an axis that meet the same taps of the filter inside of the image.
struct Band {
  Range outputs, taps;
};

struct Axis {
  int64_t outputs, inputs, taps, stride, dilation, pad;
};

// Where the filter lies outside altogether, a tap is left, to meet zeros.
std::vector<Band> bands_of(const Axis& axis) {
  std::vector<Band> bands;
  for (int64_t i = 0; i < axis.outputs; ++i) {
    const int64_t first = i * axis.stride - axis.pad;
    Range taps = {std::max<int64_t>(0, ceil_div(-first, axis.dilation)),
                  std::min(axis.taps, ceil_div(axis.inputs - first, axis.dilation))};
    if (taps.begin >= taps.end) taps = {0, 1};
    if (bands.empty() || bands.back().taps != taps) bands.push_back({{i, i}, taps});
    bands.back().outputs.end = i + 1;
  }
  return bands;
}

// A rectangle of every image, and its tiles.
struct Zone {
  Band down, across;
  int64_t first_tile, tiles;
  int64_t tile_pixels;   // of a tile, or one more:
  int64_t larger_tiles;  // the first of them
  int64_t tile_work;

  int64_t end_tile() const { return first_tile + tiles; }
  int64_t taps() const { return down.taps.size() * across.taps.size(); }
  int64_t work() const { return tiles * tile_work; }
  // Of the zone's pixels: without dividing, which would take longer than a step of a product.
  Range pixels_of(int64_t tile) const {
    const auto begin = [this](int64_t i) { return i * tile_pixels + std::min(i, larger_tiles); };
    return {begin(tile - first_tile), begin(tile - first_tile + 1)};
  }
};

class Zones {
 public:
  Zones(int64_t images, int rows, const std::vector<Band>& down, const std::vector<Band>& across) {
    for (const Band& d : down) {
      for (const Band& a : across) {
        const int64_t pixels = images * d.outputs.size() * a.outputs.size();
        const int64_t tiles = ceil_div(pixels, rows), taps = d.taps.size() * a.taps.size();
        // The filters of a tile of few pixels take longer to read than to multiply.
        const int64_t most = ceil_div(pixels, tiles);
        zones_.push_back({.down = d,
                          .across = a,
                          .first_tile = tiles_,
                          .tiles = tiles,
                          .tile_pixels = pixels / tiles,
                          .larger_tiles = pixels % tiles,
                          .tile_work = taps * std::max<int64_t>(most, 2 * rows / 3)});
        tiles_ += tiles;
        work_ += zones_.back().work();
      }
    }
  }

  int64_t tiles() const { return tiles_; }
  int64_t work() const { return work_; }
  const Zone& of_tile(int64_t tile) const {
    return *std::find_if(zones_.begin(), zones_.end() - 1,
                         [&](const Zone& zone) { return tile < zone.end_tile(); });
  }
  // Tiles that are as much work as those of any other part, but for one.
  Range share(int64_t part, int64_t parts) const {
    return {tile_after(work_ * part / parts), tile_after(work_ * (part + 1) / parts)};
  }

 private:
  int64_t tile_after(int64_t work) const {
    for (const Zone& zone : zones_) {
      if (work < zone.work()) return zone.first_tile + work / zone.tile_work;
      work -= zone.work();
    }
    return tiles_;
  }

  std::vector<Zone> zones_;
  int64_t tiles_ = 0, work_ = 0;
};

// Pixels at the edge see a part of the filter only, so that a zone for each part is less work, as
// long as zones fill their tiles.
Zones zones_of(const Conv2dShape& o, Extent out, int rows) {
  const Range down = {0, o.r}, across = {0, by_rows(o) ? 1 : o.s};
  const Zones whole(o.n, rows, {{{0, out.h}, down}}, {{{0, out.w}, across}});
  if (by_rows(o) || (o.r == 1 && o.s == 1)) return whole;
  const Zones parts(o.n, rows, bands_of({out.h, o.h, o.r, o.stride_h, o.dilation_h, o.pad_h}),
                    bands_of({out.w, o.w, o.s, o.stride_w, o.dilation_w, o.pad_w}));
  return parts.work() < whole.work() ? parts : whole;
}

// The tiles of output pixels and blocks of filters of a convolution, and a thread's part in them.
class DirectRun {
 public:
  DirectRun(const Operands& operands, const Conv2dShape& shape)
      : DirectRun(operands, shape, {shape.out_h(), shape.out_w()}) {}
  // With the output's first pixels alone, or with more of them, which see zeros beyond the padding.
  DirectRun(const Operands& operands, const Conv2dShape& shape, Extent out)
      : operands_(operands),
        o_(shape),
        out_(out),
        tiles_(*conv_tiles()),
        taps_(taps_of(shape)),
        row_taps_(taps_ / shape.r),
        inner_(inner_of(shape)),
        zones_(zones_of(shape, out, tiles_.rows)),
        blocks_(ceil_div(o_.k, tiles_.columns)) {
    // Filters that fit into the cache stay there for all pixels. Larger ones, or those of few
    // pixels, are read once for as many pixels as fit.
    filters_stay_ = zones_.tiles() > kFewTiles && taps_ * inner_ * o_.k * 4 <= kCacheBytes;
    const int64_t tile_bytes = tiles_.rows * inner_ * o_.stride_h * o_.stride_w * 4;
    panel_ =
        filters_stay_ ? 16 : std::clamp<int64_t>(kCacheBytes / 2 / tile_bytes, 1, zones_.tiles());
  }

  void run() const {
    const bool small = o_.n * out_.h * out_.w * o_.k * taps_ * inner_ < 64 * kSmall;
    if (small || thread_count() == 1) return run_part({0, zones_.tiles()}, {0, blocks_});
    parallel_team([&](int64_t thread, int64_t threads) {
      if (shares_blocks(threads)) {
        run_part({0, zones_.tiles()}, share_of(blocks_, thread, threads));
      } else {
        run_part(zones_.share(thread, threads), {0, blocks_});
      }
    });
  }

 private:
  // A thread reads all filters, or all pixels: whichever is less, if the shares are as even.
  bool shares_blocks(int64_t threads) const {
    const int64_t filters = taps_ * o_.k, pixels = o_.n * o_.h * o_.w, tiles = zones_.tiles();
    const int64_t most_of_tiles = ceil_div(tiles, threads) * blocks_;
    const int64_t most_of_blocks = ceil_div(blocks_, threads) * tiles;
    return filters > pixels && most_of_blocks <= most_of_tiles;
  }

  struct Tile {
    const Zone* zone;
    const float** pointers;  // (the zone's taps, count)
    int64_t count;           // of pixels
    int64_t at[kMostRows];   // their places in y
  };

  void run_part(Range tiles, Range blocks) const {
    struct Panel;
    const int64_t tile_pointers = taps_ * tiles_.rows;
    const size_t tile_bytes = static_cast<size_t>(panel_) * sizeof(Tile);
    const size_t pointer_bytes = static_cast<size_t>(panel_ * tile_pointers) * sizeof(float*);
    const size_t zero_bytes = static_cast<size_t>(inner_) * sizeof(float);
    auto* scratch =
        static_cast<char*>(thread_scratch<Panel>().get(tile_bytes + pointer_bytes + zero_bytes));
    auto* panel = reinterpret_cast<Tile*>(scratch);
    auto* pointers = reinterpret_cast<const float**>(scratch + tile_bytes);
    auto* zeros = reinterpret_cast<float*>(scratch + tile_bytes + pointer_bytes);
    std::fill(zeros, zeros + inner_, 0.0f);
    for (int64_t begin = tiles.begin; begin < tiles.end; begin += panel_) {
      const int64_t count = std::min(panel_, tiles.end - begin);
      const Zone* zone = &zones_.of_tile(begin);
      for (int64_t i = 0; i < count; ++i) {
        if (begin + i == zone->end_tile()) ++zone;
        panel[i].zone = zone;
        panel[i].pointers = pointers + i * tile_pointers;
        point(zone->pixels_of(begin + i), zeros, panel[i]);
      }
      const auto step = [&](int64_t i, int64_t block, Ahead ahead) {
        if (block == blocks.begin && i + 1 < count) fetch(panel[i + 1]);
        multiply(panel[i], block, ahead);
      };
      if (filters_stay_) {
        for (int64_t i = 0; i < count; ++i) {
          for (int64_t block = blocks.begin; block < blocks.end; ++block) step(i, block, {});
        }
      } else {
        for (int64_t block = blocks.begin; block < blocks.end; ++block) {
          const bool last = block + 1 == blocks.end;
          for (int64_t i = 0; i < count; ++i) {
            step(i, block, last ? Ahead{} : part_of(block + 1, i, count));
          }
        }
      }
    }
  }

  const float* filters_of(int64_t block) const {
    return operands_.packed + block * taps_ * inner_ * tiles_.columns;
  }

  struct Ahead {
    const float* from = nullptr;
    int64_t step = 0;
  };

  // What the tile at `index` of a panel's asks for of the block that is the next: some of its
  // columns' worth, a few floats at each step.
  Ahead part_of(int64_t block, int64_t index, int64_t tiles) const {
    const int64_t steps = taps_ * inner_;
    const int64_t each = ceil_div(tiles_.columns, tiles), before = index * each;
    const bool fits = steps * tiles_.columns * 4 <= kCacheBytes / 2;
    if (tiles > kFewTiles || !fits || before >= tiles_.columns) return {};
    return {filters_of(block) + before * steps, std::min(each, tiles_.columns - before)};
  }

  // Asks for what a tile is the first to read: the input at the last tap.
  void fetch(const Tile& tile) const {
    const float* const* last = tile.pointers + (tile.zone->taps() - 1) * tile.count;
    for (int64_t i = 0; i < tile.count; ++i) {
      for (int64_t k = 0; k < inner_; k += 16) __builtin_prefetch(last[i] + k, 0, 2);
    }
  }

  // Where each of the zone's taps finds each pixel's input, and where its outputs are.
  void point(Range pixels, const float* zeros, Tile& tile) const {
    const Zone& zone = *tile.zone;
    const Range rows = zone.down.outputs, columns = zone.across.outputs;
    const Range down = zone.down.taps, across = zone.across.taps;
    const int64_t h = o_.h, w = o_.w, down_step = o_.dilation_h, across_step = o_.dilation_w;
    const int64_t height = down_step * (down.size() - 1) + 1;
    const int64_t width = by_rows(o_) ? o_.s : across_step * (across.size() - 1) + 1;
    const int64_t row_step = down_step * w * o_.c, step = across_step * o_.c;
    const int64_t row = pixels.begin / columns.size();
    int64_t q = columns.begin + pixels.begin % columns.size(), p = rows.begin + row % rows.size(),
            n = row / rows.size();
    tile.count = pixels.size();
    for (int64_t i = 0; i < tile.count; ++i) {
      tile.at[i] = ((n * out_.h + p) * out_.w + q) * o_.k;
      const int64_t top = p * o_.stride_h - o_.pad_h + down.begin * down_step;
      const int64_t left = q * o_.stride_w - o_.pad_w + across.begin * across_step;
      const float* from = operands_.x + ((n * h + top) * w + left) * o_.c;
      const float** out = tile.pointers + i;
      if (top >= 0 && left >= 0 && top + height <= h && left + width <= w) {
        for (int64_t r = 0; r < down.size(); ++r, from += row_step) {
          const float* tap = from;
          for (int64_t s = 0; s < across.size(); ++s, tap += step, out += tile.count) *out = tap;
        }
      } else {
        for (int64_t r = 0; r < down.size(); ++r, from += row_step) {
          const int64_t y = top + r * down_step;
          for (int64_t s = 0; s < across.size(); ++s, out += tile.count) {
            const int64_t tap = left + s * across_step;
            *out = y >= 0 && y < h && tap >= 0 && tap < w ? from + s * step : zeros;
          }
        }
      }
      if (++q < columns.end) continue;
      q = columns.begin;
      if (++p < rows.end) continue;
      p = rows.begin;
      ++n;
    }
  }

  void multiply(const Tile& tile, int64_t block, Ahead ahead) const {
    const Range down = tile.zone->down.taps, across = tile.zone->across.taps;
    const int64_t first = block * tiles_.columns, tap_filters = inner_ * tiles_.columns;
    tiles_.product({
        .rows = tile.pointers,
        .row_count = static_cast<int>(tile.count),
        .columns = static_cast<int>(std::min<int64_t>(tiles_.columns, o_.k - first)),
        .down = down.size(),
        .across = across.size(),
        .inner = inner_,
        .filters = filters_of(block) + (down.begin * row_taps_ + across.begin) * tap_filters,
        .filter_gap = (row_taps_ - across.size()) * tap_filters,
        .bias = operands_.bias != nullptr ? operands_.bias + first : nullptr,
        .z = operands_.z != nullptr ? operands_.z + first : nullptr,
        .y = operands_.y + first,
        .at = tile.at,
        .relu = operands_.relu,
        .ahead = ahead.from,
        .ahead_step = ahead.step,
    });
  }

  Operands operands_;
  Conv2dShape o_;
  Extent out_;
  const ConvTiles& tiles_;
  int64_t taps_, row_taps_, inner_;
  Zones zones_;
  int64_t blocks_;
  bool filters_stay_;
  int64_t panel_;  // tiles
};

// A few images at a time get their padding around them.
void run_by_rows(const Operands& operands, const Conv2dShape& o) {
  const int64_t h = o.h + 2 * o.pad_h, w = o.w + 2 * o.pad_w, image = h * w * o.c;
  const int64_t together = std::clamp<int64_t>(4 * kCacheBytes / (image * 4), 1, o.n);
  struct Padded;
  const size_t bytes = static_cast<size_t>(together * image) * sizeof(float);
  auto* padded = static_cast<float*>(thread_scratch<Padded>().get(bytes));
  const int64_t row = o.w * o.c, out = o.out_h() * o.out_w() * o.k;
  for (int64_t first = 0; first < o.n; first += together) {
    const int64_t count = std::min(together, o.n - first);
    parallel_tasks(count * h, count * image > kSmall, [&](int64_t i) {
      float *to = padded + i * w * o.c, *end = to + w * o.c;
      const int64_t y = i % h - o.pad_h;
      if (y < 0 || y >= o.h) return std::fill(to, end, 0.0f);
      const float* from = operands.x + ((first + i / h) * o.h + y) * row;
      std::fill(to, to + o.pad_w * o.c, 0.0f);
      std::fill(std::copy(from, from + row, to + o.pad_w * o.c), end, 0.0f);
    });
    Operands some = operands;
    some.x = padded;
    some.y += first * out;
    if (some.z != nullptr) some.z += first * out;
    Conv2dShape within = o;
    within.n = count;
    within.h = h;
    within.w = w;
    within.pad_h = within.pad_w = 0;
    DirectRun(some, within).run();
  }
}

// ---- The input's gradient -----------------------------------------------------------------------

bool strideless(const Conv2dShape& o) {
  return o.stride_h == 1 && o.stride_w == 1;
}

// Of stride 1, the convolution of dy with turned filters.
Conv2dShape transposed(const Conv2dShape& o) {
  Conv2dShape t = o;
  t.h = o.out_h();
  t.w = o.out_w();
  std::swap(t.c, t.k);
  t.pad_h = o.dilation_h * (o.r - 1) - o.pad_h;
  t.pad_w = o.dilation_w * (o.s - 1) - o.pad_w;
  return t;
}

// Filter c at a tap and channel k is filter k at the opposite tap and channel c.
FilterLayout turned_layout(const Conv2dShape& o) {
  return {.filters = o.c,
          .down = o.r,
          .across = o.s,
          .inner = o.k,
          .filter_step = 1,
          .row_step = -o.s * o.c,
          .tap_step = -o.c,
          .inner_step = o.r * o.s * o.c};
}

// A stride leaves so many kinds of pixels along an axis, by their place between two multiples of
// it. Those of a kind meet every stride-th tap of the filter, at neighbouring pixels of dy, so that
// their gradient is a convolution of stride 1 with these taps, turned.
struct AxisPhase {
  int64_t place;
  int64_t pixels;  // of x; a small one may have none
  int64_t taps;    // there may be none
  int64_t last;    // of the taps, in the filter
  int64_t pad;     // of dy; negative where its first pixels are not met
};
AxisPhase axis_phase(int64_t place, int64_t size, int64_t window, int64_t stride, int64_t pad) {
  const int64_t first = (place + pad) % stride;
  const int64_t taps = first < window ? ceil_div(window - first, stride) : 0;
  return {.place = place,
          .pixels = place < size ? ceil_div(size - place, stride) : 0,
          .taps = taps,
          .last = first + (taps - 1) * stride,
          .pad = taps - 1 - (place + pad) / stride};
}

struct Phase {
  AxisPhase down, across;

  int64_t taps() const { return down.taps * across.taps; }
  Extent extent() const { return {down.pixels, across.pixels}; }
  int64_t last_tap(const Conv2dShape& o) const { return down.last * o.s + across.last; }
  Conv2dShape convolution(const Conv2dShape& o) const {
    return {.n = o.n,
            .h = o.out_h(),
            .w = o.out_w(),
            .c = o.k,
            .k = o.c,
            .r = down.taps,
            .s = across.taps,
            .pad_h = down.pad,
            .pad_w = across.pad};
  }
  FilterLayout layout(const Conv2dShape& o) const {
    FilterLayout layout = turned_layout(o);
    layout.down = down.taps;
    layout.across = across.taps;
    layout.row_step *= o.stride_h;
    layout.tap_step *= o.stride_w;
    return layout;
  }
};

template <class F>
void for_each_phase(const Conv2dShape& o, F&& f) {
  for (int64_t y = 0; y < o.stride_h; ++y) {
    for (int64_t x = 0; x < o.stride_w; ++x) {
      f(Phase{axis_phase(y, o.h, o.r, o.stride_h, o.pad_h),
              axis_phase(x, o.w, o.s, o.stride_w, o.pad_w)});
    }
  }
}

// A phase's pixels (n, down, across, c) to their places in dx, or zeros.
void scatter(const float* pixels, const Phase& phase, float* dx, const Conv2dShape& o) {
  const int64_t rows = phase.down.pixels, columns = phase.across.pixels;
  parallel_tasks(o.n * rows, o.n * rows * columns * o.c > kSmall, [&](int64_t task) {
    const int64_t n = task / rows, h = task % rows * o.stride_h + phase.down.place;
    float* to = dx + ((n * o.h + h) * o.w + phase.across.place) * o.c;
    for (int64_t i = 0; i < columns; ++i, to += o.stride_w * o.c) {
      if (pixels == nullptr) {
        std::fill(to, to + o.c, 0.0f);
      } else {
        const float* from = pixels + (task * columns + i) * o.c;
        std::copy(from, from + o.c, to);
      }
    }
  });
}

// ---- Winograd -----------------------------------------------------------------------------------

class WinogradRun {
 public:
  WinogradRun(const Operands& operands, const Conv2dShape& shape)
      : operands_(operands),
        o_(shape),
        tiles_(*conv_tiles()),
        grid_(winograd_grid(shape)),
        blocks_(ceil_div(o_.k, tiles_.columns)) {
    // The more filters there are to read, the more tiles at a time.
    together_ = 18 * std::clamp<int64_t>(o_.c * o_.k / 16384, 1, 8);
  }

  void run() const {
    if (thread_count() == 1) return run_part({0, grid_.tiles});
    parallel_team(
        [&](int64_t thread, int64_t threads) { run_part(share_of(grid_.tiles, thread, threads)); });
  }

 private:
  void run_part(Range tiles) const {
    struct Points;
    const int64_t columns = blocks_ * tiles_.columns;
    const int64_t inputs = 36 * together_ * o_.c, sums = 36 * together_ * columns;
    const size_t bytes = static_cast<size_t>(inputs + sums + o_.c) * sizeof(float);
    auto* v = static_cast<float*>(thread_scratch<Points>().get(bytes));
    float* m = v + inputs;
    float* zeros = m + sums;
    std::fill(zeros, zeros + o_.c, 0.0f);
    for (int64_t first = tiles.begin; first < tiles.end; first += together_) {
      const int64_t count = std::min(together_, tiles.end - first);
      for (int64_t i = 0; i < count; ++i) read(first + i, zeros, v + i * o_.c);
      for (int64_t e = 0; e < 36; ++e) {
        multiply(v + e * together_ * o_.c, count,
                 operands_.packed + e * blocks_ * o_.c * tiles_.columns,
                 m + e * together_ * columns);
      }
      for (int64_t i = 0; i < count; ++i) write(first + i, m + i * columns, together_ * columns);
    }
  }

  struct Corner {
    int64_t n, y, x;  // of a tile's first output pixel
  };
  Corner corner_of(int64_t tile) const {
    return {tile / grid_.across / grid_.down, tile / grid_.across % grid_.down * 4,
            tile % grid_.across * 4};
  }

  void read(int64_t tile, const float* zeros, float* v) const {
    const Corner corner = corner_of(tile);
    const float* pixels[36];
    for (int64_t i = 0; i < 36; ++i) {
      const int64_t y = corner.y - o_.pad_h + i / 6, x = corner.x - o_.pad_w + i % 6;
      const bool inside = y >= 0 && y < o_.h && x >= 0 && x < o_.w;
      pixels[i] = inside ? operands_.x + ((corner.n * o_.h + y) * o_.w + x) * o_.c : zeros;
    }
    tiles_.winograd_input(pixels, o_.c, v, together_ * o_.c);
  }

  // m (count, columns) = v (count, c) times the filters of one point.
  void multiply(const float* v, int64_t count, const float* filters, float* m) const {
    const int64_t columns = blocks_ * tiles_.columns;
    const float* rows[kMostRows];
    int64_t at[kMostRows];
    for (int64_t j = 0; j < tiles_.rows; ++j) at[j] = j * columns;
    for (int64_t i = 0; i < count; i += tiles_.rows) {
      const int64_t some = std::min<int64_t>(tiles_.rows, count - i);
      for (int64_t j = 0; j < some; ++j) rows[j] = v + (i + j) * o_.c;
      for (int64_t block = 0; block < blocks_; ++block) {
        tiles_.product({
            .rows = rows,
            .row_count = static_cast<int>(some),
            .columns = tiles_.columns,
            .down = 1,
            .across = 1,
            .inner = o_.c,
            .filters = filters + block * o_.c * tiles_.columns,
            .filter_gap = 0,
            .bias = nullptr,
            .z = nullptr,
            .y = m + i * columns + block * tiles_.columns,
            .at = at,
            .relu = false,
        });
      }
    }
  }

  void write(int64_t tile, const float* m, int64_t point_stride) const {
    const Corner corner = corner_of(tile);
    const int64_t h = o_.out_h(), w = o_.out_w();
    const int64_t at = ((corner.n * h + corner.y) * w + corner.x) * o_.k;
    tiles_.winograd_output({
        .sums = m,
        .point_stride = point_stride,
        .filters = o_.k,
        .bias = operands_.bias,
        .z = operands_.z != nullptr ? operands_.z + at : nullptr,
        .y = operands_.y + at,
        .row_stride = w * o_.k,
        .height = static_cast<int>(std::min<int64_t>(4, h - corner.y)),
        .width = static_cast<int>(std::min<int64_t>(4, w - corner.x)),
        .relu = operands_.relu,
    });
  }

  Operands operands_;
  Conv2dShape o_;
  const ConvTiles& tiles_;
  WinogradGrid grid_;
  int64_t blocks_, together_;
};

Form for_once(Form form, const Conv2dShape& o) {
  return form == Form::kWinograd && winograd_grid(o).tiles < 128 ? Form::kDirect : form;
}

}  // namespace

Form form_of(const Conv2dShape& o) {
  if (o.groups != 1 || o.c == 0 || conv_tiles() == nullptr) return Form::kNone;
  return allow_winograd() && pays_by_winograd(o) ? Form::kWinograd : Form::kDirect;
}

Form form_for_once(const Conv2dShape& o) {
  return for_once(form_of(o), o);
}

Form gradient_form_of(const Conv2dShape& o) {
  const bool dilated = o.dilation_h != 1 || o.dilation_w != 1;
  if (o.k < 16 || o.c < 16 || (!strideless(o) && dilated)) return Form::kNone;
  return form_of(transposed(o));
}

Form gradient_form_for_once(const Conv2dShape& o) {
  return for_once(gradient_form_of(o), transposed(o));
}

const char* name_of(Form form) {
  const bool wide = conv_tiles()->lanes == 16;
  if (form == Form::kWinograd) return wide ? "winograd:avx512" : "winograd:avx2";
  return wide ? "direct:avx512" : "direct:avx2";
}

int64_t packed_size(const Conv2dShape& o, Form form) {
  const int64_t columns = conv_tiles()->columns;
  const int64_t taps = form == Form::kWinograd ? 36 : o.r * o.s;
  return ceil_div(o.k, columns) * columns * taps * o.c;
}

void pack(const float* w, float* packed, const Conv2dShape& o, Form form) {
  pack(w, layout_of(o), form, packed);
}

int64_t gradient_packed_size(const Conv2dShape& o, Form form) {
  if (strideless(o)) return packed_size(transposed(o), form);
  int64_t size = 0;
  for_each_phase(o, [&](const Phase& phase) { size += packed_size(phase.convolution(o), form); });
  return size;
}

void pack_gradient(const float* w, float* packed, const Conv2dShape& o, Form form) {
  if (strideless(o)) return pack(w + (o.r * o.s - 1) * o.c, turned_layout(o), form, packed);
  for_each_phase(o, [&](const Phase& phase) {
    if (phase.taps() == 0) return;
    pack(w + phase.last_tap(o) * o.c, phase.layout(o), form, packed);
    packed += packed_size(phase.convolution(o), form);
  });
}

void run_gradient(const float* dy, const float* packed, const float* z, float* dx,
                  const Conv2dShape& o, Form form) {
  if (strideless(o)) {
    return run(dy, packed, nullptr, z, dx, false, transposed(o), form);
  }
  struct Pixels;
  for_each_phase(o, [&](const Phase& phase) {
    if (phase.taps() == 0) return scatter(nullptr, phase, dx, o);
    const Extent out = phase.extent();
    const size_t bytes = static_cast<size_t>(o.n * out.h * out.w * o.c) * sizeof(float);
    auto* pixels = static_cast<float*>(thread_scratch<Pixels>().get(bytes));
    const Conv2dShape convolution = phase.convolution(o);
    if (out.h > 0 && out.w > 0) {
      DirectRun({dy, packed, nullptr, nullptr, pixels, false}, convolution, out).run();
      scatter(pixels, phase, dx, o);
    }
    packed += packed_size(convolution, form);
  });
}

void run(const float* x, const float* packed, const float* bias, const float* z, float* y,
         bool relu, const Conv2dShape& o, Form form) {
  const Operands operands = {x, packed, bias, z, y, relu};
  if (form == Form::kWinograd) return WinogradRun(operands, o).run();
  by_rows(o) ? run_by_rows(operands, o) : DirectRun(operands, o).run();
}

}  // namespace glassnet::kernels::packed
