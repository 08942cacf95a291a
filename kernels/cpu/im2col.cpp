#include "kernels/cpu/im2col.h"

#include <algorithm>
#include <cstring>

#include "kernels/cpu/gemm.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/scratch.h"
#include "kernels/matmul.h"

namespace glassnet::kernels::im2col {
namespace {

struct ColumnScratch {};
struct PartialScratch {};

constexpr int64_t kColumnElements = 1 << 17;  // 512 KiB: a quarter of a second-level cache
constexpr int64_t kMaxPartials = 16;

// How a convolution is cut up: bands of output rows of one image, a group at a time.
struct Geometry {
  const Conv2dShape& o;
  int64_t out_h, out_w;
  int64_t filters, channels;  // of one group
  int64_t patch;              // R * S * C/G
  int64_t band;               // output rows
  int64_t bands;              // per image

  explicit Geometry(const Conv2dShape& shape)
      : o(shape),
        out_h(shape.out_h()),
        out_w(shape.out_w()),
        filters(shape.k / shape.groups),
        channels(shape.c / shape.groups),
        patch(shape.r * shape.s * channels) {
    band = std::clamp<int64_t>(kColumnElements / std::max<int64_t>(1, out_w * patch), 1, out_h);
    bands = (out_h + band - 1) / band;
  }
  bool worthwhile() const { return o.n * out_h * out_w * o.k * patch > 1 << 18; }

  // Where output row p (column q) meets filter row r (column s); outside of the image in the
  // padding.
  int64_t input_row(int64_t p, int64_t r) const {
    return p * o.stride_h - o.pad_h + r * o.dilation_h;
  }
  int64_t input_column(int64_t q, int64_t s) const {
    return q * o.stride_w - o.pad_w + s * o.dilation_w;
  }
};

// columns ((p1 - p0) * out_w, patch) of one group of one image.
void unfold(const Geometry& g, const float* image, int64_t group, int64_t p0, int64_t p1,
            float* columns) {
  const Conv2dShape& o = g.o;
  const bool whole_rows = o.groups == 1 && o.dilation_w == 1;  // S taps lie side by side in x
  const size_t pixel_bytes = static_cast<size_t>(g.channels) * sizeof(float);
  for (int64_t p = p0; p < p1; ++p) {
    for (int64_t q = 0; q < g.out_w; ++q) {
      for (int64_t r = 0; r < o.r; ++r) {
        const int64_t ih = g.input_row(p, r);
        float* taps = columns + r * o.s * g.channels;
        if (ih < 0 || ih >= o.h) {
          std::memset(taps, 0, static_cast<size_t>(o.s) * pixel_bytes);
          continue;
        }
        const float* row = image + ih * o.w * o.c + group * g.channels;
        const int64_t first = g.input_column(q, 0);
        if (whole_rows && first >= 0 && first + o.s <= o.w) {
          std::memcpy(taps, row + first * o.c, static_cast<size_t>(o.s) * pixel_bytes);
          continue;
        }
        for (int64_t s = 0; s < o.s; ++s) {
          const int64_t iw = g.input_column(q, s);
          float* tap = taps + s * g.channels;
          if (iw < 0 || iw >= o.w) {
            std::memset(tap, 0, pixel_bytes);
          } else {
            std::memcpy(tap, row + iw * o.c, pixel_bytes);
          }
        }
      }
      columns += g.patch;
    }
  }
}

// The transposed map: adds columns of output rows [p0, p1) to input rows [h0, h1) of the image.
void fold(const Geometry& g, const float* columns, int64_t group, int64_t p0, int64_t p1,
          int64_t h0, int64_t h1, float* image) {
  const Conv2dShape& o = g.o;
  const bool whole_rows = o.groups == 1 && o.dilation_w == 1;
  for (int64_t p = p0; p < p1; ++p) {
    for (int64_t q = 0; q < g.out_w; ++q) {
      for (int64_t r = 0; r < o.r; ++r) {
        const int64_t ih = g.input_row(p, r);
        if (ih < h0 || ih >= h1) continue;
        const float* taps = columns + r * o.s * g.channels;
        float* row = image + ih * o.w * o.c + group * g.channels;
        const int64_t first = g.input_column(q, 0);
        if (whole_rows && first >= 0 && first + o.s <= o.w) {
          float* target = row + first * o.c;
          const int64_t count = o.s * o.c;
          for (int64_t i = 0; i < count; ++i) target[i] += taps[i];
          continue;
        }
        for (int64_t s = 0; s < o.s; ++s) {
          const int64_t iw = g.input_column(q, s);
          if (iw < 0 || iw >= o.w) continue;
          float* pixel = row + iw * o.c;
          for (int64_t c = 0; c < g.channels; ++c) pixel[c] += taps[s * g.channels + c];
        }
      }
      columns += g.patch;
    }
  }
}

}  // namespace

void forward(const float* x, const float* w, const float* bias, float* y, const Conv2dShape& o) {
  if (is_product(o)) {
    matmul(Cpu{}, x, w, bias, y, {o.n * o.h * o.w, o.k, o.c, false, true});
    return;
  }
  const Geometry g(o);
  parallel_tasks(o.n * g.bands, g.worthwhile(), [&](int64_t task) {
    const int64_t n = task / g.bands, p0 = task % g.bands * g.band;
    const int64_t p1 = std::min(g.out_h, p0 + g.band), pixels = (p1 - p0) * g.out_w;
    auto* columns = static_cast<float*>(
        thread_scratch<ColumnScratch>().get(static_cast<size_t>(pixels * g.patch) * sizeof(float)));
    float* out = y + (n * g.out_h + p0) * g.out_w * o.k;
    if (bias != nullptr) {
      for (int64_t i = 0; i < pixels; ++i) std::copy(bias, bias + o.k, out + i * o.k);
    }
    for (int64_t group = 0; group < o.groups; ++group) {
      unfold(g, x + n * o.h * o.w * o.c, group, p0, p1, columns);
      gemm(false, true, pixels, g.filters, g.patch, columns, g.patch,
           w + group * g.filters * g.patch, g.patch, bias != nullptr, out + group * g.filters, o.k);
    }
  });
}

void backward_data(const float* dy, const float* w, float* dx, const Conv2dShape& o) {
  if (is_product(o)) return matmul(Cpu{}, dy, w, nullptr, dx, {o.n * o.h * o.w, o.c, o.k});
  const Geometry g(o);
  // A task owns a strip of input rows and recomputes the columns of the few output rows that reach
  // into two strips, so that nothing is added by two threads.
  const int64_t strip = std::max<int64_t>(g.band * o.stride_h, 4 * o.stride_h);
  const int64_t strips = (o.h + strip - 1) / strip;
  const int64_t reach = (o.r - 1) * o.dilation_h;
  parallel_tasks(o.n * strips, g.worthwhile(), [&](int64_t task) {
    const int64_t n = task / strips, h0 = task % strips * strip, h1 = std::min(o.h, h0 + strip);
    float* image = dx + n * o.h * o.w * o.c;
    std::fill(image + h0 * o.w * o.c, image + h1 * o.w * o.c, 0.0f);
    const int64_t lowest = h0 + o.pad_h - reach;
    const int64_t first = lowest <= 0 ? 0 : (lowest + o.stride_h - 1) / o.stride_h;
    const int64_t last = std::min(g.out_h, (h1 - 1 + o.pad_h) / o.stride_h + 1);
    for (int64_t p0 = first; p0 < last; p0 += g.band) {
      const int64_t p1 = std::min(last, p0 + g.band), pixels = (p1 - p0) * g.out_w;
      auto* columns = static_cast<float*>(thread_scratch<ColumnScratch>().get(
          static_cast<size_t>(pixels * g.patch) * sizeof(float)));
      const float* gradient = dy + (n * g.out_h + p0) * g.out_w * o.k;
      for (int64_t group = 0; group < o.groups; ++group) {
        gemm(false, false, pixels, g.patch, g.filters, gradient + group * g.filters, o.k,
             w + group * g.filters * g.patch, g.patch, false, columns, g.patch);
        fold(g, columns, group, p0, p1, h0, h1, image);
      }
    }
  });
}

void backward_weight(const float* dy, const float* x, float* dw, const Conv2dShape& o) {
  if (is_product(o)) return matmul(Cpu{}, dy, x, nullptr, dw, {o.k, o.c, o.n * o.h * o.w, true});
  const Geometry g(o);
  const int64_t size = o.k * g.patch;
  // Partial sums whose number follows from the shape alone, added in order.
  const int64_t pieces = o.n * g.bands;
  const int64_t partials = std::min(pieces, kMaxPartials);
  auto* partial = static_cast<float*>(
      thread_scratch<PartialScratch>().get(static_cast<size_t>(partials * size) * sizeof(float)));
  parallel_tasks(partials, g.worthwhile(), [&](int64_t part) {
    const int64_t begin = pieces * part / partials, end = pieces * (part + 1) / partials;
    for (int64_t piece = begin; piece < end; ++piece) {
      const int64_t n = piece / g.bands, p0 = piece % g.bands * g.band;
      const int64_t p1 = std::min(g.out_h, p0 + g.band), pixels = (p1 - p0) * g.out_w;
      auto* columns = static_cast<float*>(thread_scratch<ColumnScratch>().get(
          static_cast<size_t>(pixels * g.patch) * sizeof(float)));
      const float* gradient = dy + (n * g.out_h + p0) * g.out_w * o.k;
      for (int64_t group = 0; group < o.groups; ++group) {
        unfold(g, x + n * o.h * o.w * o.c, group, p0, p1, columns);
        gemm(true, false, g.filters, g.patch, pixels, gradient + group * g.filters, o.k, columns,
             g.patch, piece > begin, partial + part * size + group * g.filters * g.patch, g.patch);
      }
    }
  });
  parallel_ranges(size, kSmall / partials, [=](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      float total = partial[i];
      for (int64_t part = 1; part < partials; ++part) total += partial[part * size + i];
      dw[i] = total;
    }
  });
}

}  // namespace glassnet::kernels::im2col
