// The definition of 2-D convolution and of its two gradients, as plain loops: contract in
// kernels/conv2d.h. Sums are kept in double for every element type.
#pragma once

#include "kernels/conv2d.h"
#include "kernels/elementwise.h"

namespace glassnet::kernels::reference {

//   y[n,p,q,k] = bias[k] + sum_{r,s,c} x[n, p*stride - pad + r*dilation, …, g*C/G + c] * w[k,r,s,c]
template <class T>
void conv2d_forward(const T* x, const T* w, const T* bias, T* y, const Conv2dShape& o) {
  const int64_t out_h = o.out_h(), out_w = o.out_w();
  const int64_t filters = o.k / o.groups, channels = o.c / o.groups;  // of one group
#pragma omp parallel for
  for (int64_t np = 0; np < o.n * out_h; ++np) {
    const int64_t n = np / out_h, p = np % out_h;
    for (int64_t q = 0; q < out_w; ++q) {
      for (int64_t k = 0; k < o.k; ++k) {
        double sum = bias != nullptr ? static_cast<double>(bias[k]) : 0.0;
        for (int64_t r = 0; r < o.r; ++r) {
          const int64_t ih = p * o.stride_h - o.pad_h + r * o.dilation_h;
          if (ih < 0 || ih >= o.h) continue;
          for (int64_t s = 0; s < o.s; ++s) {
            const int64_t iw = q * o.stride_w - o.pad_w + s * o.dilation_w;
            if (iw < 0 || iw >= o.w) continue;
            const T* pixel = x + ((n * o.h + ih) * o.w + iw) * o.c + k / filters * channels;
            const T* filter = w + ((k * o.r + r) * o.s + s) * channels;
            for (int64_t c = 0; c < channels; ++c) {
              sum += static_cast<double>(pixel[c]) * static_cast<double>(filter[c]);
            }
          }
        }
        y[((n * out_h + p) * out_w + q) * o.k + k] = static_cast<T>(sum);
      }
    }
  }
}

//   dx[n,h,w,c] = sum of dy[n,p,q,k] * w[k,r,s,c] over all (p,q,r,s,k) whose tap falls on (h,w)
template <class T>
void conv2d_backward_data(const T* dy, const T* w, T* dx, const Conv2dShape& o) {
  const int64_t out_h = o.out_h(), out_w = o.out_w();
  const int64_t filters = o.k / o.groups, channels = o.c / o.groups;
#pragma omp parallel for
  for (int64_t nh = 0; nh < o.n * o.h; ++nh) {
    const int64_t n = nh / o.h, ih = nh % o.h;
    for (int64_t iw = 0; iw < o.w; ++iw) {
      for (int64_t c = 0; c < o.c; ++c) {
        const int64_t group = c / channels;
        double sum = 0;
        for (int64_t r = 0; r < o.r; ++r) {
          const int64_t ph = ih + o.pad_h - r * o.dilation_h;
          if (ph < 0 || ph % o.stride_h != 0 || ph / o.stride_h >= out_h) continue;
          for (int64_t s = 0; s < o.s; ++s) {
            const int64_t qw = iw + o.pad_w - s * o.dilation_w;
            if (qw < 0 || qw % o.stride_w != 0 || qw / o.stride_w >= out_w) continue;
            const T* gradient =
                dy + ((n * out_h + ph / o.stride_h) * out_w + qw / o.stride_w) * o.k;
            for (int64_t k = group * filters; k < (group + 1) * filters; ++k) {
              sum += static_cast<double>(gradient[k]) *
                     static_cast<double>(w[((k * o.r + r) * o.s + s) * channels + c % channels]);
            }
          }
        }
        dx[(nh * o.w + iw) * o.c + c] = static_cast<T>(sum);
      }
    }
  }
}

//   dw[k,r,s,c] = sum_{n,p,q} dy[n,p,q,k] * x[n, p*stride - pad + r*dilation, …, g*C/G + c]
//   dbias[k]    = sum_{n,p,q} dy[n,p,q,k]
template <class T>
void conv2d_backward_weight(const T* dy, const T* x, T* dw, T* dbias, const Conv2dShape& o) {
  const int64_t out_h = o.out_h(), out_w = o.out_w();
  const int64_t filters = o.k / o.groups, channels = o.c / o.groups;
#pragma omp parallel for
  for (int64_t k = 0; k < o.k; ++k) {
    for (int64_t r = 0; r < o.r; ++r) {
      for (int64_t s = 0; s < o.s; ++s) {
        for (int64_t c = 0; c < channels; ++c) {
          double sum = 0;
          for (int64_t n = 0; n < o.n; ++n) {
            for (int64_t p = 0; p < out_h; ++p) {
              const int64_t ih = p * o.stride_h - o.pad_h + r * o.dilation_h;
              if (ih < 0 || ih >= o.h) continue;
              for (int64_t q = 0; q < out_w; ++q) {
                const int64_t iw = q * o.stride_w - o.pad_w + s * o.dilation_w;
                if (iw < 0 || iw >= o.w) continue;
                sum += static_cast<double>(dy[((n * out_h + p) * out_w + q) * o.k + k]) *
                       static_cast<double>(
                           x[((n * o.h + ih) * o.w + iw) * o.c + k / filters * channels + c]);
              }
            }
          }
          dw[((k * o.r + r) * o.s + s) * channels + c] = static_cast<T>(sum);
        }
      }
    }
    if (dbias == nullptr) continue;
    double sum = 0;
    for (int64_t i = 0; i < o.n * out_h * out_w; ++i) sum += static_cast<double>(dy[i * o.k + k]);
    dbias[k] = static_cast<T>(sum);
  }
}

//   y = act(conv(x, w) + bias + z)
template <class T>
void conv2d_bias_add_relu(const T* x, const T* w, const T* bias, const T* z, T* y, bool relu,
                          const Conv2dShape& o) {
  conv2d_forward(x, w, bias, y, o);
  for (int64_t i = 0; i < o.n * o.out_h() * o.out_w() * o.k; ++i) {
    if (z != nullptr) y[i] += z[i];
    if (relu) y[i] = Relu{}.value(y[i]);
  }
}

}  // namespace glassnet::kernels::reference
