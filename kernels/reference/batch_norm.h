// The definition of batch normalisation and its gradients as plain loops, channel by channel:
// contract in kernels/batch_norm.h. Statistics are kept in double.
#pragma once

#include <algorithm>
#include <cmath>

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

}  // namespace glassnet::kernels::reference
