// The definition of softmax, log-softmax and cross-entropy as plain loops, row by row: contract in
// kernels/softmax.h. Sums are kept in double.
#pragma once

#include <algorithm>
#include <cmath>
#include <string>

#include "kernels/error.h"
#include "kernels/softmax.h"

namespace glassnet::kernels::reference {

// Labels are data, so that nothing before this point has looked at them.
inline void check_labels(const int64_t* labels, const CrossEntropyShape& o) {
  for (int64_t i = 0; i < o.rows; ++i) {
    const bool valid = labels[i] == o.ignored_label || (labels[i] >= 0 && labels[i] < o.classes);
    require(valid, [&] {
      return "[cross_entropy] expected labels from 0 to " + std::to_string(o.classes - 1) +
             ", got " + std::to_string(labels[i]) + " in row " + std::to_string(i);
    });
  }
}

// log sum exp(x), the maximum taken out first so that nothing overflows.
template <class T>
double log_sum_exp(const T* x, int64_t classes) {
  const double peak = *std::max_element(x, x + classes);
  double sum = 0;
  for (int64_t c = 0; c < classes; ++c) sum += std::exp(x[c] - peak);
  return peak + std::log(sum);
}

//   y = exp(x) / sum exp(x)
template <class T>
void softmax_forward(const T* x, T* y, const SoftmaxShape& o) {
#pragma omp parallel for
  for (int64_t i = 0; i < o.rows; ++i) {
    const T* row = x + i * o.classes;
    const double total = log_sum_exp(row, o.classes);
    for (int64_t c = 0; c < o.classes; ++c) {
      y[i * o.classes + c] = static_cast<T>(std::exp(row[c] - total));
    }
  }
}

//   dx = y * (dy - sum(dy * y))
template <class T>
void softmax_backward(const T* dy, const T* y, T* dx, const SoftmaxShape& o) {
#pragma omp parallel for
  for (int64_t i = 0; i < o.rows; ++i) {
    double sum = 0;
    for (int64_t j = i * o.classes; j < (i + 1) * o.classes; ++j) {
      sum += static_cast<double>(dy[j]) * y[j];
    }
    for (int64_t j = i * o.classes; j < (i + 1) * o.classes; ++j) {
      dx[j] = static_cast<T>(y[j] * (dy[j] - sum));
    }
  }
}

//   y = x - log sum exp(x)
template <class T>
void log_softmax_forward(const T* x, T* y, const SoftmaxShape& o) {
#pragma omp parallel for
  for (int64_t i = 0; i < o.rows; ++i) {
    const double total = log_sum_exp(x + i * o.classes, o.classes);
    for (int64_t j = i * o.classes; j < (i + 1) * o.classes; ++j) {
      y[j] = static_cast<T>(x[j] - total);
    }
  }
}

//   dx = dy - exp(y) * sum(dy)
template <class T>
void log_softmax_backward(const T* dy, const T* y, T* dx, const SoftmaxShape& o) {
#pragma omp parallel for
  for (int64_t i = 0; i < o.rows; ++i) {
    double sum = 0;
    for (int64_t j = i * o.classes; j < (i + 1) * o.classes; ++j) sum += dy[j];
    for (int64_t j = i * o.classes; j < (i + 1) * o.classes; ++j) {
      dx[j] = static_cast<T>(dy[j] - std::exp(static_cast<double>(y[j])) * sum);
    }
  }
}

// With p = softmax(x), target t_c = (1 - eps) * [c == label] + eps / classes and `counted` rows:
//   loss = -1/counted * sum_rows sum_c t_c log p_c        dx = (p - t) / counted
template <class T>
void cross_entropy(const T* x, const int64_t* labels, T* loss, T* dx, const CrossEntropyShape& o) {
  check_labels(labels, o);
  const double eps = o.label_smoothing, uniform = eps / static_cast<double>(o.classes);
  const auto ignored = std::count(labels, labels + o.rows, o.ignored_label);
  const auto counted = static_cast<double>(o.rows - ignored);
  double total = 0;
  for (int64_t i = 0; i < o.rows; ++i) {
    const bool counts = labels[i] != o.ignored_label;
    const T* row = x + i * o.classes;
    const double log_sum = log_sum_exp(row, o.classes);
    for (int64_t c = 0; c < o.classes; ++c) {
      const double log_p = row[c] - log_sum;
      const double target = (c == labels[i] ? 1 - eps : 0) + uniform;
      if (counts) total -= target * log_p;
      if (dx != nullptr) {
        dx[i * o.classes + c] =
            counts ? static_cast<T>((std::exp(log_p) - target) / counted) : T(0);
      }
    }
  }
  *loss = static_cast<T>(total / counted);
}

}  // namespace glassnet::kernels::reference
