// Softmax, log-softmax and cross-entropy over the last axis, x seen as (rows, classes).
// Every one subtracts the row's maximum first. Outputs are overwritten and may alias no input.
#pragma once

#include <cstdint>

#include "kernels/device.h"
#include "kernels/dtype.h"

namespace glassnet::kernels {

struct SoftmaxShape {
  int64_t rows, classes;
};

// y = exp(x) / sum exp(x)
void softmax_forward(Cpu, const float* x, float* y, const SoftmaxShape& shape);
void softmax_forward(Cpu, const double* x, double* y, const SoftmaxShape& shape);
void softmax_forward(Cpu, const bfloat16* x, bfloat16* y, const SoftmaxShape& shape);
// dx = y * (dy - sum(dy * y))
void softmax_backward(Cpu, const float* dy, const float* y, float* dx, const SoftmaxShape& shape);
void softmax_backward(Cpu, const double* dy, const double* y, double* dx,
                      const SoftmaxShape& shape);
void softmax_backward(Cpu, const bfloat16* dy, const bfloat16* y, bfloat16* dx,
                      const SoftmaxShape& shape);

// y = x - log sum exp(x)
void log_softmax_forward(Cpu, const float* x, float* y, const SoftmaxShape& shape);
void log_softmax_forward(Cpu, const double* x, double* y, const SoftmaxShape& shape);
void log_softmax_forward(Cpu, const bfloat16* x, bfloat16* y, const SoftmaxShape& shape);
// dx = dy - exp(y) * sum(dy)
void log_softmax_backward(Cpu, const float* dy, const float* y, float* dx,
                          const SoftmaxShape& shape);
void log_softmax_backward(Cpu, const double* dy, const double* y, double* dx,
                          const SoftmaxShape& shape);
void log_softmax_backward(Cpu, const bfloat16* dy, const bfloat16* y, bfloat16* dx,
                          const SoftmaxShape& shape);

struct CrossEntropyShape {
  int64_t rows, classes;
  double label_smoothing = 0;    // eps: the target is (1 - eps) * onehot + eps / classes
  int64_t ignored_label = -100;  // rows with this label count neither in the sum nor in the mean
};

// loss (1) = mean over the rows that count of -sum_c target_c * log_softmax(x)_c, and
// dx (rows, classes) = d loss / d x, in the same pass; dx may be null. With no row that counts the
// loss is NaN, as in PyTorch. Labels must lie in [0, classes) or equal the ignored one.
void cross_entropy(Cpu, const float* x, const int64_t* labels, float* loss, float* dx,
                   const CrossEntropyShape& shape);
void cross_entropy(Cpu, const double* x, const int64_t* labels, double* loss, double* dx,
                   const CrossEntropyShape& shape);
void cross_entropy(Cpu, const bfloat16* x, const int64_t* labels, float* loss, bfloat16* dx,
                   const CrossEntropyShape& shape);

// On a GPU elements are T = float, bfloat16 or float16, and sums are kept in float32.
template <class T>
void softmax_forward(Cuda, const T* x, T* y, const SoftmaxShape& shape);
template <class T>
void softmax_backward(Cuda, const T* dy, const T* y, T* dx, const SoftmaxShape& shape);
template <class T>
void log_softmax_forward(Cuda, const T* x, T* y, const SoftmaxShape& shape);
template <class T>
void log_softmax_backward(Cuda, const T* dy, const T* y, T* dx, const SoftmaxShape& shape);
// The loss is float32 whatever T. Nothing on a GPU can refuse a label: one out of range makes the
// loss and its row of dx NaN.
template <class T>
void cross_entropy(Cuda, const T* x, const int64_t* labels, float* loss, T* dx,
                   const CrossEntropyShape& shape);

}  // namespace glassnet::kernels
