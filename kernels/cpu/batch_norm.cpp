// Batch normalisation on the CPU.
//
// Rows are cut into chunks whose number follows from the shape alone. In a chunk the sums
//   s1 = sum (x - shift),  s2 = sum (x - shift)^2
// run along rows, for all channels at once, about a shift taken from the chunk's first rows: no
// cancellation even when the mean is far larger than the deviation. They give the chunk's mean and
// centred square sum, and those of all chunks are merged in order by the pairwise formula of Chan,
// Golub & LeVeque (1979). Forward reads x twice and writes y; backward reads dy and x twice and
// writes dx.
//
// bfloat16 is read and written as it is; everything between is float32 and double.
//
// Few channels would leave vector lanes idle: `fold` rows then count as one row of fold * channels
// columns, and the columns of one channel are added up at the end of a chunk.
#include "kernels/batch_norm.h"

#include <cmath>
#include <vector>

#include "kernels/convert.h"
#include "kernels/cpu/parallel.h"

namespace glassnet::kernels {
namespace {

constexpr int64_t kChunkElements = 1 << 16;
constexpr int64_t kChunkRows = 128;  // fewer would be spent on merging many channels
constexpr int64_t kMaxChunks = 64;
constexpr int64_t kRun = 64;  // rows added up in float before they go into a double
constexpr int64_t kWideColumns = 64;

struct Layout {
  int64_t channels, fold, columns;  // columns = fold * channels
  int64_t rows;                     // wide rows; the last one may be shorter than `columns`
  int64_t elements;
  int64_t chunks;

  explicit Layout(const BatchNormShape& o) : channels(o.channels) {
    fold = std::max<int64_t>(1, kWideColumns / std::max<int64_t>(1, channels));
    columns = fold * channels;
    elements = o.rows * channels;
    rows = (o.rows + fold - 1) / fold;
    chunks = std::min({elements / kChunkElements, rows / kChunkRows, kMaxChunks});
    chunks = std::max<int64_t>(chunks, 1);
  }
  int64_t chunk_begin(int64_t chunk) const { return rows * chunk / chunks; }
  // Elements of wide row `row`.
  int64_t width(int64_t row) const { return std::min(columns, elements - row * columns); }
  bool worthwhile() const { return elements > kSmall; }
};

// Per-channel values, repeated for every folded row.
std::vector<float> repeat(const Layout& layout, const float* values) {
  std::vector<float> wide;
  wide.reserve(static_cast<size_t>(layout.columns));
  for (int64_t i = 0; i < layout.fold; ++i) {
    wide.insert(wide.end(), values, values + layout.channels);
  }
  return wide;
}

// Two sums per channel over rows [begin, end): add(element index, column, first, second) adds one
// element's terms. Results in double, (2, channels).
template <class AddRow>
void sum_rows(const Layout& layout, int64_t begin, int64_t end, double* result, AddRow&& add_row) {
  const int64_t columns = layout.columns;
  std::vector<float> run(static_cast<size_t>(2 * columns));
  std::vector<double> wide(static_cast<size_t>(2 * columns), 0.0);
  for (int64_t row = begin; row < end;) {
    std::fill(run.begin(), run.end(), 0.0f);
    for (const int64_t stop = std::min(end, row + kRun); row < stop; ++row) {
      add_row(row * columns, layout.width(row), run.data(), run.data() + columns);
    }
    for (int64_t i = 0; i < 2 * columns; ++i) wide[i] += static_cast<double>(run[i]);
  }
  std::fill(result, result + 2 * layout.channels, 0.0);
  for (int64_t i = 0; i < layout.fold; ++i) {
    const double* first = wide.data() + i * layout.channels;
    for (int64_t c = 0; c < layout.channels; ++c) {
      result[c] += first[c];
      result[layout.channels + c] += first[columns + c];
    }
  }
}

struct Statistics {
  std::vector<double> mean, squares;  // squares = sum (x - mean)^2
};

template <class T>
Statistics statistics(const T* x, const BatchNormShape& o, const Layout& layout) {
  const int64_t channels = o.channels, columns = layout.columns;
  std::vector<double> means(static_cast<size_t>(layout.chunks * channels));
  std::vector<double> squares(means.size());
  // Rows of x, not wide ones, that a chunk holds.
  const auto row_count = [&](int64_t chunk) {
    return std::min(layout.chunk_begin(chunk + 1) * layout.fold, o.rows) -
           layout.chunk_begin(chunk) * layout.fold;
  };
  parallel_tasks(layout.chunks, layout.worthwhile(), [&](int64_t chunk) {
    const int64_t begin = layout.chunk_begin(chunk), end = layout.chunk_begin(chunk + 1);
    const int64_t count = row_count(chunk);
    const int64_t sampled = std::min<int64_t>(count, 4);
    std::vector<float> shift(static_cast<size_t>(channels), 0.0f);
    for (int64_t i = 0; i < sampled; ++i) {
      const T* row = x + begin * columns + i * channels;
      const float share = 1.0f / static_cast<float>(sampled);
      for (int64_t c = 0; c < channels; ++c) shift[c] += widen(row[c]) * share;
    }
    const std::vector<float> wide_shift = repeat(layout, shift.data());
    std::vector<double> sums(static_cast<size_t>(2 * channels));
    sum_rows(layout, begin, end, sums.data(),
             [&, shifts = wide_shift.data()](int64_t at, int64_t width, float* s1, float* s2) {
               const T* row = x + at;
#pragma omp simd
               for (int64_t i = 0; i < width; ++i) {
                 const float d = widen(row[i]) - shifts[i];
                 s1[i] += d;
                 s2[i] += d * d;
               }
             });
    const double share = 1 / static_cast<double>(count);
    for (int64_t c = 0; c < channels; ++c) {
      const double s1 = sums[c], s2 = sums[channels + c];
      means[chunk * channels + c] = shift[c] + s1 * share;
      squares[chunk * channels + c] = s2 - s1 * s1 * share;
    }
  });
  Statistics total{std::vector<double>(static_cast<size_t>(channels), 0.0),
                   std::vector<double>(static_cast<size_t>(channels), 0.0)};
  double seen = 0;
  for (int64_t chunk = 0; chunk < layout.chunks; ++chunk) {
    const auto n = static_cast<double>(row_count(chunk));
    const double share = n / (seen + n);
    for (int64_t c = 0; c < channels; ++c) {
      const double delta = means[chunk * channels + c] - total.mean[c];
      total.mean[c] += delta * share;
      total.squares[c] += squares[chunk * channels + c] + delta * delta * seen * share;
    }
    seen += n;
  }
  for (double& s : total.squares) s = std::max(s, 0.0) + 0 * s;  // a NaN stays one
  return total;
}

// Bit i of the mask for each of elements [begin, end): whether y[i] is not 0. begin is a multiple
// of eight.
template <class T>
void write_mask(const T* y, uint8_t* mask, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; i += 8) {
    uint32_t bits = 0;
    const int64_t count = std::min<int64_t>(8, end - i);
    for (int64_t k = 0; k < count; ++k) bits |= static_cast<uint32_t>(widen(y[i + k]) != 0) << k;
    mask[i / 8] = static_cast<uint8_t>(bits);
  }
}

// y = finish((x - mean) * scale + beta, element), per channel. mask may be null.
template <class T, class Finish>
void normalise(const T* x, const float* mean, const float* scale, const float* beta, T* y,
               uint8_t* mask, const Layout& layout, Finish finish) {
  const std::vector<float> means = repeat(layout, mean), scales = repeat(layout, scale),
                           betas = repeat(layout, beta);
  const float *m = means.data(), *a = scales.data(), *b = betas.data();
  const int64_t eights = (layout.rows + 7) / 8;  // eight rows begin at a whole byte of the mask
  parallel_tasks(layout.chunks, layout.worthwhile(), [&](int64_t chunk) {
    for (int64_t eight = eights * chunk / layout.chunks;
         eight < eights * (chunk + 1) / layout.chunks; ++eight) {
      const int64_t begin = eight * 8, end = std::min(begin + 8, layout.rows);
      for (int64_t row = begin; row < end; ++row) {
        const int64_t at = row * layout.columns, width = layout.width(row);
        const T* from = x + at;
        T* to = y + at;
#pragma omp simd
        for (int64_t i = 0; i < width; ++i) {
          to[i] = convert<T>(finish((widen(from[i]) - m[i]) * a[i] + b[i], at + i));
        }
      }
      if (mask == nullptr) continue;
      write_mask(y, mask, begin * layout.columns, std::min(end * layout.columns, layout.elements));
    }
  });
}
template <class T>
void normalise(const T* x, const float* mean, const float* scale, const float* beta, T* y,
               const Layout& layout) {
  normalise(x, mean, scale, beta, y, nullptr, layout, [](float value, int64_t) { return value; });
}

// sum dy and sum dy * (x - mean) over the rows, (2, channels). `before(element, width)` comes
// before each row is read.
template <class T, class Before>
std::vector<double> gradient_sums(const T* dy, const T* x, const float* mean, const Layout& layout,
                                  Before&& before) {
  const int64_t channels = layout.channels;
  const std::vector<float> means = repeat(layout, mean);
  const float* m = means.data();
  std::vector<double> partial(static_cast<size_t>(layout.chunks * 2 * channels));
  parallel_tasks(layout.chunks, layout.worthwhile(), [&](int64_t chunk) {
    sum_rows(layout, layout.chunk_begin(chunk), layout.chunk_begin(chunk + 1),
             partial.data() + chunk * 2 * channels,
             [&](int64_t at, int64_t width, float* s1, float* s2) {
               before(at, width);
               const T *gradient = dy + at, *row = x + at;
#pragma omp simd
               for (int64_t i = 0; i < width; ++i) {
                 s1[i] += widen(gradient[i]);
                 s2[i] += widen(gradient[i]) * (widen(row[i]) - m[i]);
               }
             });
  });
  std::vector<double> total(static_cast<size_t>(2 * channels), 0.0);
  for (int64_t chunk = 0; chunk < layout.chunks; ++chunk) {
    for (int64_t i = 0; i < 2 * channels; ++i) total[i] += partial[chunk * 2 * channels + i];
  }
  return total;
}

template <class T>
std::vector<double> gradient_sums(const T* dy, const T* x, const float* mean,
                                  const Layout& layout) {
  return gradient_sums(dy, x, mean, layout, [](int64_t, int64_t) {});
}

// d = dy where the mask's bits, from bit `at` on, are set, and 0 elsewhere.
template <class T>
void masked(const T* dy, const uint8_t* mask, int64_t at, int64_t count, T* d) {
  const bool whole_bytes = at % 8 == 0;
  int64_t i = 0;
  for (; whole_bytes && i + 8 <= count; i += 8) {
    const uint32_t bits = mask[(at + i) / 8];
#pragma omp simd
    for (int k = 0; k < 8; ++k) d[i + k] = (bits & (1U << k)) != 0 ? dy[i + k] : T{};
  }
  for (; i < count; ++i) d[i] = (mask[(at + i) / 8] >> (at + i) % 8 & 1) != 0 ? dy[i] : T{};
}

void store_parameter_gradients(const std::vector<double>& sums, const float* inv_std, float* dgamma,
                               float* dbeta, int64_t channels) {
  for (int64_t c = 0; c < channels; ++c) {
    if (dbeta != nullptr) dbeta[c] = static_cast<float>(sums[c]);
    if (dgamma != nullptr) dgamma[c] = static_cast<float>(sums[channels + c] * inv_std[c]);
  }
}

std::vector<float> running_inv_std(const float* running_var, const BatchNormShape& o) {
  std::vector<float> inv_std(static_cast<size_t>(o.channels));
  for (int64_t c = 0; c < o.channels; ++c) {
    inv_std[c] = static_cast<float>(1 / std::sqrt(static_cast<double>(running_var[c]) + o.eps));
  }
  return inv_std;
}

std::vector<float> product(const float* a, const float* b, int64_t count) {
  std::vector<float> result(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) result[i] = a[i] * b[i];
  return result;
}

// The training form; `finish` and mask as in `normalise`.
template <class T, class Finish>
void forward(const T* x, const float* gamma, const float* beta, T* y, uint8_t* mask, float* mean,
             float* inv_std, float* running_mean, float* running_var, double momentum,
             const BatchNormShape& o, Finish finish) {
  if (o.rows == 0 || o.channels == 0) return;
  const Layout layout(o);
  const Statistics batch = statistics(x, o, layout);
  const auto rows = static_cast<double>(o.rows);
  const auto blend = [&](float& running, double now) {
    running = static_cast<float>((1 - momentum) * running + momentum * now);
  };
  std::vector<float> shift(static_cast<size_t>(o.channels));
  for (int64_t c = 0; c < o.channels; ++c) {
    mean[c] = static_cast<float>(batch.mean[c]);
    inv_std[c] = static_cast<float>(1 / std::sqrt(batch.squares[c] / rows + o.eps));
    if (running_mean != nullptr) blend(running_mean[c], batch.mean[c]);
    if (running_var != nullptr) blend(running_var[c], batch.squares[c] / std::max(rows - 1, 1.0));
    // What the mean lost when it became a float is made up for in the shift.
    const double lost = batch.mean[c] - static_cast<double>(mean[c]);
    shift[c] = static_cast<float>(beta[c] - lost * gamma[c] * inv_std[c]);
  }
  normalise(x, mean, product(gamma, inv_std, o.channels).data(), shift.data(), y, mask, layout,
            finish);
}

float rectified(float x) {
  return x <= 0 ? 0.0f : x;  // a NaN passes
}

template <class T>
void add_relu_forward(const T* x, const T* z, const float* gamma, const float* beta, T* y,
                      uint8_t* mask, float* mean, float* inv_std, float* running_mean,
                      float* running_var, double momentum, const BatchNormShape& o) {
  const auto run = [&](auto finish) {
    forward(x, gamma, beta, y, mask, mean, inv_std, running_mean, running_var, momentum, o, finish);
  };
  if (z == nullptr) return run([](float value, int64_t) { return rectified(value); });
  run([z](float value, int64_t i) { return rectified(value + widen(z[i])); });
}

// `before` as in gradient_sums.
template <class T, class Before>
void backward(const T* dy, const T* x, const float* gamma, const float* mean, const float* inv_std,
              T* dx, float* dgamma, float* dbeta, const BatchNormShape& o, Before&& before) {
  if (o.rows == 0 || o.channels == 0) return;
  const Layout layout(o);
  const std::vector<double> sums = gradient_sums(dy, x, mean, layout, before);
  store_parameter_gradients(sums, inv_std, dgamma, dbeta, o.channels);
  if (dx == nullptr) return;

  // dx = scale * (dy - offset - (x - mean) * slope)
  const auto rows = static_cast<double>(o.rows);
  std::vector<float> offset(static_cast<size_t>(o.channels)), slope(offset.size());
  for (int64_t c = 0; c < o.channels; ++c) {
    offset[c] = static_cast<float>(sums[c] / rows);
    const double inv = inv_std[c];
    slope[c] = static_cast<float>(sums[o.channels + c] * inv * inv / rows);
  }
  const std::vector<float> means = repeat(layout, mean), offsets = repeat(layout, offset.data()),
                           slopes = repeat(layout, slope.data()),
                           scales = repeat(layout, product(gamma, inv_std, o.channels).data());
  const float *m = means.data(), *b = offsets.data(), *k = slopes.data(), *a = scales.data();
  parallel_tasks(layout.chunks, layout.worthwhile(), [&](int64_t chunk) {
    for (int64_t row = layout.chunk_begin(chunk); row < layout.chunk_begin(chunk + 1); ++row) {
      const int64_t at = row * layout.columns, width = layout.width(row);
      const T *gradient = dy + at, *from = x + at;
      T* to = dx + at;
#pragma omp simd
      for (int64_t i = 0; i < width; ++i) {
        const float d = widen(gradient[i]) - b[i] - (widen(from[i]) - m[i]) * k[i];
        to[i] = convert<T>(a[i] * d);
      }
    }
  });
}

template <class T>
void add_relu_backward(const T* dy, const uint8_t* mask, const T* x, const float* gamma,
                       const float* mean, const float* inv_std, T* dx, T* dz, float* dgamma,
                       float* dbeta, const BatchNormShape& o) {
  const int64_t count = o.rows * o.channels;
  if (dx == nullptr && dgamma == nullptr && dbeta == nullptr) {
    if (dz == nullptr) return;
    return parallel_ranges(count, kSmall, [&](int64_t begin, int64_t end) {
      masked(dy + begin, mask, begin, end - begin, dz + begin);
    });
  }
  // dx may hold what comes through the mask until each of its elements is computed from that.
  T* d = dz != nullptr ? dz : dx;
  std::vector<T> own(d == nullptr ? static_cast<size_t>(count) : 0);
  if (d == nullptr) d = own.data();
  backward(d, x, gamma, mean, inv_std, dx, dgamma, dbeta, o,
           [=](int64_t at, int64_t width) { masked(dy + at, mask, at, width, d + at); });
}

template <class T>
void inference(const T* x, const float* gamma, const float* beta, const float* running_mean,
               const float* running_var, T* y, const BatchNormShape& o) {
  if (o.rows == 0 || o.channels == 0) return;
  const std::vector<float> inv_std = running_inv_std(running_var, o);
  normalise(x, running_mean, product(gamma, inv_std.data(), o.channels).data(), beta, y, Layout(o));
}

template <class T>
void inference_backward(const T* dy, const T* x, const float* gamma, const float* running_mean,
                        const float* running_var, T* dx, float* dgamma, float* dbeta,
                        const BatchNormShape& o) {
  if (o.rows == 0 || o.channels == 0) return;
  const Layout layout(o);
  const std::vector<float> inv_std = running_inv_std(running_var, o);
  if (dgamma != nullptr || dbeta != nullptr) {
    const std::vector<double> sums = gradient_sums(dy, x, running_mean, layout);
    store_parameter_gradients(sums, inv_std.data(), dgamma, dbeta, o.channels);
  }
  if (dx == nullptr) return;
  const std::vector<float> zeros(static_cast<size_t>(o.channels), 0.0f);
  normalise(dy, zeros.data(), product(gamma, inv_std.data(), o.channels).data(), zeros.data(), dx,
            layout);
}

template <class T>
void fold(const float* w, const float* gamma, const float* beta, const float* running_mean,
          const float* running_var, T* folded, float* bias, int64_t per_filter,
          const BatchNormShape& o) {
  const std::vector<float> inv_std = running_inv_std(running_var, o);
  for (int64_t k = 0; k < o.channels; ++k) {
    const float s = gamma[k] * inv_std[k];
    const float* from = w + k * per_filter;
    T* to = folded + k * per_filter;
#pragma omp simd
    for (int64_t i = 0; i < per_filter; ++i) to[i] = convert<T>(s * from[i]);
    bias[k] = beta[k] - s * running_mean[k];
  }
}

}  // namespace

#define GLASSNET_DEFINE(T)                                                                        \
  void batch_norm_forward(Cpu, const T* x, const float* gamma, const float* beta, T* y,           \
                          float* mean, float* inv_std, float* running_mean, float* running_var,   \
                          double momentum, const BatchNormShape& o) {                             \
    forward(x, gamma, beta, y, nullptr, mean, inv_std, running_mean, running_var, momentum, o,    \
            [](float value, int64_t) { return value; });                                          \
  }                                                                                               \
  void batch_norm_backward(Cpu, const T* dy, const T* x, const float* gamma, const float* mean,   \
                           const float* inv_std, T* dx, float* dgamma, float* dbeta,              \
                           const BatchNormShape& o) {                                             \
    backward(dy, x, gamma, mean, inv_std, dx, dgamma, dbeta, o, [](int64_t, int64_t) {});         \
  }                                                                                               \
  void batch_norm_inference(Cpu, const T* x, const float* gamma, const float* beta,               \
                            const float* running_mean, const float* running_var, T* y,            \
                            const BatchNormShape& o) {                                            \
    inference(x, gamma, beta, running_mean, running_var, y, o);                                   \
  }                                                                                               \
  void batch_norm_inference_backward(Cpu, const T* dy, const T* x, const float* gamma,            \
                                     const float* running_mean, const float* running_var, T* dx,  \
                                     float* dgamma, float* dbeta, const BatchNormShape& o) {      \
    inference_backward(dy, x, gamma, running_mean, running_var, dx, dgamma, dbeta, o);            \
  }                                                                                               \
  void batch_norm_add_relu_forward(Cpu, const T* x, const T* z, const float* gamma,               \
                                   const float* beta, T* y, uint8_t* mask, float* mean,           \
                                   float* inv_std, float* running_mean, float* running_var,       \
                                   double momentum, const BatchNormShape& o) {                    \
    add_relu_forward(x, z, gamma, beta, y, mask, mean, inv_std, running_mean, running_var,        \
                     momentum, o);                                                                \
  }                                                                                               \
  void batch_norm_add_relu_backward(                                                              \
      Cpu, const T* dy, const uint8_t* mask, const T* x, const float* gamma, const float* mean,   \
      const float* inv_std, T* dx, T* dz, float* dgamma, float* dbeta, const BatchNormShape& o) { \
    add_relu_backward(dy, mask, x, gamma, mean, inv_std, dx, dz, dgamma, dbeta, o);               \
  }                                                                                               \
  void fold_batch_norm(Cpu, const float* w, const float* gamma, const float* beta,                \
                       const float* running_mean, const float* running_var, T* folded,            \
                       float* bias, int64_t per_filter, const BatchNormShape& o) {                \
    fold(w, gamma, beta, running_mean, running_var, folded, bias, per_filter, o);                 \
  }
GLASSNET_DEFINE(float)
GLASSNET_DEFINE(bfloat16)
#undef GLASSNET_DEFINE

}  // namespace glassnet::kernels
