#include "kernels/cuda/direct_conv.h"

#include "kernels/cuda/launch.h"
#include "kernels/dtype.h"
#include "kernels/half.h"

namespace glassnet::kernels::direct {
namespace {

constexpr int kBlock = 256;

// A shape with the sizes that follow from it, for kernels.
struct Sizes {
  int64_t n, h, w, c, k, r, s, p, q;
  int64_t stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w;
  int64_t channels, filters;  // of one group
};

Sizes sizes_of(const Conv2dShape& o) {
  return {o.n,           o.h,          o.w,          o.c,
          o.k,           o.r,          o.s,          o.out_h(),
          o.out_w(),     o.stride_h,   o.stride_w,   o.pad_h,
          o.pad_w,       o.dilation_h, o.dilation_w, o.c / o.groups,
          o.k / o.groups};
}

// One thread, one element of y.
template <class T>
__global__ void direct_forward_kernel(const T* x, const T* w, const T* bias, T* y, Sizes o) {
  const int64_t count = o.n * o.p * o.q * o.k, step = int64_t{gridDim.x} * kBlock;
  for (int64_t i = int64_t{blockIdx.x} * kBlock + threadIdx.x; i < count; i += step) {
    const int64_t k = i % o.k, q = i / o.k % o.q, p = i / (o.k * o.q) % o.p;
    const int64_t n = i / (o.k * o.q * o.p);
    float sum = bias != nullptr ? to_float(bias[k]) : 0.0F;
    for (int64_t r = 0; r < o.r; ++r) {
      const int64_t h = p * o.stride_h - o.pad_h + r * o.dilation_h;
      if (h < 0 || h >= o.h) continue;
      for (int64_t s = 0; s < o.s; ++s) {
        const int64_t column = q * o.stride_w - o.pad_w + s * o.dilation_w;
        if (column < 0 || column >= o.w) continue;
        const T* pixel = x + ((n * o.h + h) * o.w + column) * o.c + k / o.filters * o.channels;
        const T* filter = w + ((k * o.r + r) * o.s + s) * o.channels;
        for (int64_t c = 0; c < o.channels; ++c) sum += to_float(pixel[c]) * to_float(filter[c]);
      }
    }
    y[i] = from_float<T>(sum);
  }
}

// One thread, one element of dx: what the outputs took from it.
template <class T>
__global__ void direct_backward_data_kernel(const T* dy, const T* w, const T* z, T* dx, Sizes o) {
  const int64_t count = o.n * o.h * o.w * o.c, step = int64_t{gridDim.x} * kBlock;
  for (int64_t i = int64_t{blockIdx.x} * kBlock + threadIdx.x; i < count; i += step) {
    const int64_t c = i % o.c, column = i / o.c % o.w, h = i / (o.c * o.w) % o.h;
    const int64_t n = i / (o.c * o.w * o.h), group = c / o.channels;
    float sum = z != nullptr ? to_float(z[i]) : 0.0F;
    for (int64_t r = 0; r < o.r; ++r) {
      const int64_t ph = h + o.pad_h - r * o.dilation_h;
      if (ph < 0 || ph % o.stride_h != 0 || ph / o.stride_h >= o.p) continue;
      for (int64_t s = 0; s < o.s; ++s) {
        const int64_t qw = column + o.pad_w - s * o.dilation_w;
        if (qw < 0 || qw % o.stride_w != 0 || qw / o.stride_w >= o.q) continue;
        const T* gradient = dy + ((n * o.p + ph / o.stride_h) * o.q + qw / o.stride_w) * o.k;
        for (int64_t k = group * o.filters; k < (group + 1) * o.filters; ++k) {
          sum += to_float(gradient[k]) *
                 to_float(w[((k * o.r + r) * o.s + s) * o.channels + c % o.channels]);
        }
      }
    }
    dx[i] = from_float<T>(sum);
  }
}

// A block does `lanes` neighbouring channels of one tap (k, r, s) of dw, 256 / lanes threads to a
// channel, which share the pixels of dy among them and add up in order.
template <class T>
__global__ void direct_backward_weight_kernel(const T* dy, const T* x, T* dw, Sizes o, int lanes) {
  GLASSNET_SHARED(float, partial, [kBlock]);
  const int64_t tiles = (o.channels + lanes - 1) / lanes, tap = int64_t{blockIdx.x} / tiles;
  const int64_t s = tap % o.s, r = tap / o.s % o.r, k = tap / (o.s * o.r);
  const int lane = static_cast<int>(threadIdx.x) % lanes, rows = kBlock / lanes;
  const int64_t c = int64_t{blockIdx.x} % tiles * lanes + lane;
  float sum = 0;
  if (c < o.channels) {
    const T* channel = x + k / o.filters * o.channels + c;
    for (int64_t i = static_cast<int>(threadIdx.x) / lanes; i < o.n * o.p * o.q; i += rows) {
      const int64_t h = i / o.q % o.p * o.stride_h - o.pad_h + r * o.dilation_h;
      const int64_t column = i % o.q * o.stride_w - o.pad_w + s * o.dilation_w;
      if (h < 0 || h >= o.h || column < 0 || column >= o.w) continue;
      const int64_t n = i / (o.q * o.p);
      sum += to_float(dy[i * o.k + k]) * to_float(channel[((n * o.h + h) * o.w + column) * o.c]);
    }
  }
  partial[threadIdx.x] = sum;
  __syncthreads();
  if (static_cast<int>(threadIdx.x) >= lanes || c >= o.channels) return;
  for (int row = 1; row < rows; ++row) sum += partial[row * lanes + lane];
  dw[tap * o.channels + c] = from_float<T>(sum);
}

}  // namespace

template <class T>
void conv2d_forward(Cuda device, const T* x, const T* w, const T* bias, T* y,
                    const Conv2dShape& shape) {
  const Sizes o = sizes_of(shape);
  launch<direct_forward_kernel<T>>(
      device, {.grid = blocks_for(o.n * o.p * o.q * o.k, kBlock), .block = kBlock}, x, w, bias, y,
      o);
}

template <class T>
void conv2d_backward_data(Cuda device, const T* dy, const T* w, const T* z, T* dx,
                          const Conv2dShape& shape) {
  const Sizes o = sizes_of(shape);
  launch<direct_backward_data_kernel<T>>(
      device, {.grid = blocks_for(o.n * o.h * o.w * o.c, kBlock), .block = kBlock}, dy, w, z, dx,
      o);
}

template <class T>
void conv2d_backward_weight(Cuda device, const T* dy, const T* x, T* dw, const Conv2dShape& shape) {
  const Sizes o = sizes_of(shape);
  int lanes = 1;
  while (lanes < 32 && lanes < o.channels) lanes *= 2;
  const int64_t blocks = o.k * o.r * o.s * ((o.channels + lanes - 1) / lanes);
  launch<direct_backward_weight_kernel<T>>(
      device, {.grid = static_cast<unsigned>(blocks), .block = kBlock}, dy, x, dw, o, lanes);
}

#define GLASSNET_INSTANTIATE(T)                                                                   \
  template void conv2d_forward(Cuda, const T*, const T*, const T*, T*, const Conv2dShape&);       \
  template void conv2d_backward_data(Cuda, const T*, const T*, const T*, T*, const Conv2dShape&); \
  template void conv2d_backward_weight(Cuda, const T*, const T*, T*, const Conv2dShape&);
GLASSNET_INSTANTIATE(float)
GLASSNET_INSTANTIATE(bfloat16)
GLASSNET_INSTANTIATE(float16)

}  // namespace glassnet::kernels::direct
