// The differentiable ops. Images are NHWC; every op takes float32, bfloat16 or on the CPU float64,
// on a GPU float16, checks its arguments, and returns a new Variable. Broken expectations throw
// Error with the op's name, what it expected and what came.
#pragma once

#include <cstdint>
#include <vector>

#include "autograd/variable.h"

namespace glassnet {

// A height and a width; one number stands for both.
struct Pair {
  int64_t h, w;
  Pair(int64_t both) : h(both), w(both) {}  // NOLINT(google-explicit-constructor)
  Pair(int64_t h_, int64_t w_) : h(h_), w(w_) {}
};

struct Conv2dOptions {
  Pair stride = 1;
  Pair padding = 0;
  Pair dilation = 1;
  int64_t groups = 1;
};
// x (N, H, W, C), weight (K, R, S, C / groups), bias (K) or undefined -> (N, P, Q, K).
Variable conv2d(const Variable& x, const Variable& weight, const Variable& bias = {},
                const Conv2dOptions& options = {});

// relu(conv2d(x, weight) + bias + z), or without the ReLU when not `rectified`: what a convolution
// with folded batch norm is in inference, in one pass where the device has one. bias (K) in the
// type of statistics (float32 beside 16-bit floats); z (N, P, Q, K) or undefined.
Variable conv2d_bias_add_relu(const Variable& x, const Variable& weight, const Variable& bias,
                              const Variable& z = {}, const Conv2dOptions& options = {},
                              bool rectified = true);

// a (M, K), b (K, N) -> (M, N).
Variable matmul(const Variable& a, const Variable& b);
// x (N, in), weight (out, in), bias (out) or undefined -> (N, out): x weight^T + bias.
Variable linear(const Variable& x, const Variable& weight, const Variable& bias = {});

struct BatchNormOptions {
  bool training = true;
  double momentum = 0.1;  // weight of the new batch in the running statistics
  double eps = 1e-5;
};
// Over all axes but the last. x (…, C); gamma, beta (C); running_mean, running_var (C), which
// training updates in place and inference uses; these four are in the type of statistics (float32
// beside 16-bit floats). Either form differentiates x, gamma and beta.
Variable batch_norm(const Variable& x, const Variable& gamma, const Variable& beta,
                    Tensor running_mean, Tensor running_var, const BatchNormOptions& options = {});

// relu(batch_norm(x) + z), z (…, C) or undefined. In training one pass, which keeps a bit an
// element for the ReLU instead of what came before it.
Variable batch_norm_add_relu(const Variable& x, const Variable& z, const Variable& gamma,
                             const Variable& beta, Tensor running_mean, Tensor running_var,
                             const BatchNormOptions& options = {});

struct PoolOptions {
  Pair window = 2;
  Pair stride = 2;
  Pair padding = 0;
};
// x (N, H, W, C) -> (N, P, Q, C).
Variable max_pool2d(const Variable& x, const PoolOptions& options);
// Padding counts as zeros.
Variable avg_pool2d(const Variable& x, const PoolOptions& options);
// x (N, H, W, C) -> (N, C), the mean over space.
Variable global_avg_pool(const Variable& x);

struct SubsamplePadOptions {
  Pair stride = 2;
  int64_t before = 0, after = 0;  // channels of zeros
};
// x (N, H, W, C) -> (N, ceil(H / stride), ceil(W / stride), before + C + after): the pixels at
// multiples of the stride, with channels of zeros around their own. The shortcut without parameters
// ("option A") of He et al. 2016.
Variable subsample_pad(const Variable& x, const SubsamplePadOptions& options);

// Over the last axis.
Variable softmax(const Variable& x);
Variable log_softmax(const Variable& x);

struct CrossEntropyOptions {
  double label_smoothing = 0;
  int64_t ignored_label = -100;
};
// logits (N, C), labels int64 (N) -> scalar in the type of statistics, the mean over rows whose
// label is not ignored.
Variable cross_entropy(const Variable& logits, const Tensor& labels,
                       const CrossEntropyOptions& options = {});

// One extent may be -1.
Variable reshape(const Variable& x, const Shape& shape);
// The same numbers in another type, rounded to nearest; x itself when it is of that type.
Variable cast(const Variable& x, DType type);
// x (N, C), index (one per row) -> (N): x[n, index[n]]. A single index serves every row.
Variable select(const Variable& x, const std::vector<int64_t>& index);
// Over the given axes; none means all.
Variable sum(const Variable& x, const std::vector<int>& axes = {}, bool keep_dims = false);
Variable mean(const Variable& x, const std::vector<int>& axes = {}, bool keep_dims = false);
// x (N, H, W, C) -> (N, out_h, out_w, C), half-pixel centres, no antialiasing.
Variable resize_bilinear(const Variable& x, int64_t out_h, int64_t out_w);

// Elementwise, operands broadcast by NumPy's rule.
Variable add(const Variable& a, const Variable& b);
Variable sub(const Variable& a, const Variable& b);
Variable mul(const Variable& a, const Variable& b);
Variable div(const Variable& a, const Variable& b);
Variable scale(const Variable& x, double factor, double shift = 0);  // factor * x + shift
Variable relu(const Variable& x);
Variable exp(const Variable& x);
Variable log(const Variable& x);
Variable sqrt(const Variable& x);
Variable square(const Variable& x);
Variable abs(const Variable& x);
Variable sigmoid(const Variable& x);
Variable tanh(const Variable& x);

}  // namespace glassnet
