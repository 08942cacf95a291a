// The definition of batch normalisation and its gradients as plain loops, channel by channel:
// contract in kernels/batch_norm.h. Statistics are kept in double.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/batch_norm.h"

namespace glassnet::kernels::reference {

//   y = gamma * (x - mean) * inv_std + beta
template <class T>
void batch_norm_forward(const T* x, const T* gamma, const T* beta, T* y, T* mean, T* inv_std,
                        T* running_mean, T* running_var, double momentum, const BatchNormShape& o) {
  const auto rows = static_cast<double>(o.rows);
#pragma omp parallel for
  for (int64_t c = 0; c < o.channels; ++c) {
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < o.rows; ++i) sum += static_cast<double>(x[i * o.channels + c]);
    const double m = sum / rows;
    for (int64_t i = 0; i < o.rows; ++i) {
      const double d = static_cast<double>(x[i * o.channels + c]) - m;
      squares += d * d;
    }
    const double scale = 1 / std::sqrt(squares / rows + o.eps);
    for (int64_t i = 0; i < o.rows; ++i) {
      const double d = static_cast<double>(x[i * o.channels + c]) - m;
      y[i * o.channels + c] = static_cast<T>(gamma[c] * d * scale + beta[c]);
    }
    mean[c] = static_cast<T>(m);
    inv_std[c] = static_cast<T>(scale);
    if (running_mean != nullptr) {
      running_mean[c] = static_cast<T>((1 - momentum) * running_mean[c] + momentum * m);
    }
    if (running_var != nullptr) {
      const double unbiased = squares / std::max(rows - 1, 1.0);
      running_var[c] = static_cast<T>((1 - momentum) * running_var[c] + momentum * unbiased);
    }
  }
}

// With xhat = (x - mean) * inv_std, mean() over the rows:
//   dgamma = sum(dy * xhat)    dbeta = sum(dy)
//   dx = gamma * inv_std * (dy - mean(dy) - xhat * mean(dy * xhat))
template <class T>
void batch_norm_backward(const T* dy, const T* x, const T* gamma, const T* mean, const T* inv_std,
                         T* dx, T* dgamma, T* dbeta, const BatchNormShape& o) {
  const auto rows = static_cast<double>(o.rows);
#pragma omp parallel for
  for (int64_t c = 0; c < o.channels; ++c) {
    const auto normalised = [&](int64_t i) {
      return (static_cast<double>(x[i * o.channels + c]) - mean[c]) * inv_std[c];
    };
    double sum = 0, product = 0;
    for (int64_t i = 0; i < o.rows; ++i) {
      sum += dy[i * o.channels + c];
      product += dy[i * o.channels + c] * normalised(i);
    }
    if (dgamma != nullptr) dgamma[c] = static_cast<T>(product);
    if (dbeta != nullptr) dbeta[c] = static_cast<T>(sum);
    if (dx == nullptr) continue;
    const double scale = static_cast<double>(gamma[c]) * inv_std[c];
    for (int64_t i = 0; i < o.rows; ++i) {
      const double d = dy[i * o.channels + c] - sum / rows - normalised(i) * product / rows;
      dx[i * o.channels + c] = static_cast<T>(scale * d);
    }
  }
}

template <class T>
void batch_norm_inference(const T* x, const T* gamma, const T* beta, const T* running_mean,
                          const T* running_var, T* y, const BatchNormShape& o) {
#pragma omp parallel for
  for (int64_t i = 0; i < o.rows; ++i) {
    for (int64_t c = 0; c < o.channels; ++c) {
      const double d = static_cast<double>(x[i * o.channels + c]) - running_mean[c];
      y[i * o.channels + c] =
          static_cast<T>(gamma[c] * d / std::sqrt(running_var[c] + o.eps) + beta[c]);
    }
  }
}

//   dx = gamma * inv_std * dy    dgamma = sum(dy * xhat)    dbeta = sum(dy)
template <class T>
void batch_norm_inference_backward(const T* dy, const T* x, const T* gamma, const T* running_mean,
                                   const T* running_var, T* dx, T* dgamma, T* dbeta,
                                   const BatchNormShape& o) {
#pragma omp parallel for
  for (int64_t c = 0; c < o.channels; ++c) {
    const double inv_std = 1 / std::sqrt(running_var[c] + o.eps);
    double sum = 0, product = 0;
    for (int64_t i = 0; i < o.rows; ++i) {
      const double d = static_cast<double>(x[i * o.channels + c]) - running_mean[c];
      sum += dy[i * o.channels + c];
      product += dy[i * o.channels + c] * d * inv_std;
      if (dx != nullptr) {
        dx[i * o.channels + c] = static_cast<T>(gamma[c] * inv_std * dy[i * o.channels + c]);
      }
    }
    if (dgamma != nullptr) dgamma[c] = static_cast<T>(product);
    if (dbeta != nullptr) dbeta[c] = static_cast<T>(sum);
  }
}

//   y = relu(gamma * (x - mean) * inv_std + beta + z)    mask = y was let through
template <class T>
void batch_norm_add_relu_forward(const T* x, const T* z, const T* gamma, const T* beta, T* y,
                                 uint8_t* mask, T* mean, T* inv_std, T* running_mean,
                                 T* running_var, double momentum, const BatchNormShape& o) {
  batch_norm_forward(x, gamma, beta, y, mean, inv_std, running_mean, running_var, momentum, o);
  if (mask != nullptr) std::fill(mask, mask + mask_bytes(o), uint8_t{0});
  for (int64_t i = 0; i < o.rows * o.channels; ++i) {
    if (z != nullptr) y[i] += z[i];
    const bool passes = !(y[i] <= 0);  // a NaN passes
    if (!passes) y[i] = 0;
    if (passes && mask != nullptr) mask[i / 8] |= static_cast<uint8_t>(1 << i % 8);
  }
}

//   d = mask ? dy : 0    dz = d    dx, dgamma, dbeta of batch_norm_backward for d
template <class T>
void batch_norm_add_relu_backward(const T* dy, const uint8_t* mask, const T* x, const T* gamma,
                                  const T* mean, const T* inv_std, T* dx, T* dz, T* dgamma,
                                  T* dbeta, const BatchNormShape& o) {
  std::vector<T> d(static_cast<size_t>(o.rows * o.channels));
  for (int64_t i = 0; i < o.rows * o.channels; ++i) {
    d[i] = (mask[i / 8] >> i % 8 & 1) != 0 ? dy[i] : T(0);
  }
  if (dz != nullptr) std::copy(d.begin(), d.end(), dz);
  batch_norm_backward(d.data(), x, gamma, mean, inv_std, dx, dgamma, dbeta, o);
}

//   folded = s * w    bias = beta - s * running_mean    s = gamma / sqrt(running_var + eps)
template <class T>
void fold_batch_norm(const T* w, const T* gamma, const T* beta, const T* running_mean,
                     const T* running_var, T* folded, T* bias, int64_t per_filter,
                     const BatchNormShape& o) {
  for (int64_t k = 0; k < o.channels; ++k) {
    const double s = gamma[k] / std::sqrt(running_var[k] + o.eps);
    for (int64_t i = k * per_filter; i < (k + 1) * per_filter; ++i) {
      folded[i] = static_cast<T>(s * w[i]);
    }
    bias[k] = static_cast<T>(beta[k] - s * running_mean[k]);
  }
}

}  // namespace glassnet::kernels::reference
