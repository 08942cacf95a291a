// Softmax, log-softmax and cross-entropy on the CPU: a row at a time, sums in double. The matrices
// are small (a batch by its classes), so that these are the definitions with rows shared out.
#include "kernels/softmax.h"

#include <cmath>
#include <limits>
#include <vector>

#include "kernels/cpu/parallel.h"
#include "kernels/reference/softmax.h"

namespace glassnet::kernels {
namespace {

// An exponential costs about as much as streaming ten elements.
template <class F>
void for_each_row(int64_t rows, int64_t classes, F&& f) {
  parallel_tasks(rows, rows * classes > kSmall / 5, f);
}

float maximum(const float* x, int64_t count) {
  float peak = -std::numeric_limits<float>::infinity();
#pragma omp simd reduction(max : peak)
  for (int64_t i = 0; i < count; ++i) peak = x[i] > peak ? x[i] : peak;
  return peak;
}

double sum_of_exponentials(const float* x, int64_t count, float peak) {
  double sum = 0;
  for (int64_t i = 0; i < count; ++i) sum += static_cast<double>(std::exp(x[i] - peak));
  return sum;
}

}  // namespace

void softmax_forward(Cpu, const float* x, float* y, const SoftmaxShape& o) {
  for_each_row(o.rows, o.classes, [&](int64_t i) {
    const float* from = x + i * o.classes;
    float* to = y + i * o.classes;
    const float peak = maximum(from, o.classes);
    double sum = 0;
    for (int64_t c = 0; c < o.classes; ++c) {
      to[c] = std::exp(from[c] - peak);
      sum += static_cast<double>(to[c]);
    }
    const auto scale = static_cast<float>(1 / sum);
    for (int64_t c = 0; c < o.classes; ++c) to[c] *= scale;
  });
}

void softmax_backward(Cpu, const float* dy, const float* y, float* dx, const SoftmaxShape& o) {
  for_each_row(o.rows, o.classes, [&](int64_t i) {
    const int64_t at = i * o.classes;
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t j = at; j < at + o.classes; ++j) sum += static_cast<double>(dy[j]) * y[j];
    const auto mean = static_cast<float>(sum);
    for (int64_t j = at; j < at + o.classes; ++j) dx[j] = y[j] * (dy[j] - mean);
  });
}

void log_softmax_forward(Cpu, const float* x, float* y, const SoftmaxShape& o) {
  for_each_row(o.rows, o.classes, [&](int64_t i) {
    const float* from = x + i * o.classes;
    const float peak = maximum(from, o.classes);
    const double log_sum = std::log(sum_of_exponentials(from, o.classes, peak));
    for (int64_t c = 0; c < o.classes; ++c) {
      y[i * o.classes + c] = static_cast<float>(static_cast<double>(from[c] - peak) - log_sum);
    }
  });
}

void log_softmax_backward(Cpu, const float* dy, const float* y, float* dx, const SoftmaxShape& o) {
  for_each_row(o.rows, o.classes, [&](int64_t i) {
    const int64_t at = i * o.classes;
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t j = at; j < at + o.classes; ++j) sum += static_cast<double>(dy[j]);
    const auto total = static_cast<float>(sum);
    for (int64_t j = at; j < at + o.classes; ++j) dx[j] = dy[j] - std::exp(y[j]) * total;
  });
}

void cross_entropy(Cpu, const float* x, const int64_t* labels, float* loss, float* dx,
                   const CrossEntropyShape& o) {
  reference::check_labels(labels, o);
  const auto counted =
      static_cast<double>(o.rows - std::count(labels, labels + o.rows, o.ignored_label));
  const double eps = o.label_smoothing, uniform = eps / static_cast<double>(o.classes);
  std::vector<double> losses(static_cast<size_t>(o.rows), 0.0);
  for_each_row(o.rows, o.classes, [&](int64_t i) {
    const float* row = x + i * o.classes;
    float* gradient = dx != nullptr ? dx + i * o.classes : nullptr;
    if (labels[i] == o.ignored_label) {
      if (gradient != nullptr) std::fill(gradient, gradient + o.classes, 0.0f);
      return;
    }
    // -sum_c t_c log p_c = log_sum - (1 - eps) * x_label - eps * mean(x), relative to the maximum.
    const float peak = maximum(row, o.classes);
    double sum = 0, shifted = 0;
    for (int64_t c = 0; c < o.classes; ++c) {
      const float power = std::exp(row[c] - peak);
      sum += static_cast<double>(power);
      shifted += static_cast<double>(row[c] - peak);
      if (gradient != nullptr) gradient[c] = power;
    }
    const auto at_label = static_cast<double>(row[labels[i]] - peak);
    // With no smoothing the mean must not count, not even an infinite one.
    const double smoothed = eps != 0 ? uniform * shifted : 0;
    losses[i] = std::log(sum) - (1 - eps) * at_label - smoothed;
    if (gradient == nullptr) return;
    for (int64_t c = 0; c < o.classes; ++c) {
      const double target = (c == labels[i] ? 1 - eps : 0) + uniform;
      gradient[c] = static_cast<float>((static_cast<double>(gradient[c]) / sum - target) / counted);
    }
  });
  double total = 0;
  for (const double one : losses) total += one;
  *loss = static_cast<float>(total / counted);
}

}  // namespace glassnet::kernels
