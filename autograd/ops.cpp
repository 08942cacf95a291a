// Each op: check, forward, and the VJP beside it. A VJP captures only what it reads.
#include "autograd/ops.h"

#include <algorithm>

#include <fmt/format.h>

#include "autograd/conv2d_shape.h"
#include "kernels/batch_norm.h"
#include "kernels/elementwise.h"
#include "kernels/index.h"
#include "kernels/matmul.h"
#include "kernels/pool.h"
#include "kernels/reduce.h"
#include "kernels/resize.h"
#include "kernels/softmax.h"
#include "kernels/subsample_pad.h"
#include "tensor/math.h"

namespace glassnet {
namespace {

Tensor empty_like(const Tensor& x) {
  return Tensor::empty(x.shape(), x.dtype(), x.device());
}
Tensor empty_as(const Tensor& x, const Shape& shape) {
  return Tensor::empty(shape, x.dtype(), x.device());
}

// The elements, or null for "none".
template <class T>
const T* data_or_null(const Tensor& x) {
  return x.defined() ? x.data<T>() : nullptr;
}
template <class T>
T* data_or_null(Tensor& x) {
  return x.defined() ? x.data<T>() : nullptr;
}

const Tensor& value_or_none(const Variable& x) {
  static const Tensor none;
  return x.defined() ? x.value() : none;
}

void require_rank(const char* op, const Tensor& x, int rank, const char* expected) {
  require(x.defined() && x.rank() == rank, [&] {
    return fmt::format("[{}] expected {}, got {}", op, expected,
                       x.defined() ? x.shape().str() : "none");
  });
}

// `x` takes part with `like`: the same device, the given shape and element type.
void require_typed(const char* op, const char* what, const Tensor& x, const Tensor& like,
                   const Shape& shape, DType type) {
  require(x.defined() && x.shape() == shape, [&] {
    return fmt::format("[{}] expected {} {}, got {}", op, what, shape.str(),
                       x.defined() ? x.shape().str() : "none");
  });
  require(x.dtype() == type && x.device() == like.device(), [&] {
    return fmt::format("[{}] expected {} in {} on {}, got {} on {}", op, what, name_of(type),
                       like.device().str(), name_of(x.dtype()), x.device().str());
  });
}
void require_like(const char* op, const char* what, const Tensor& x, const Tensor& like,
                  const Shape& shape) {
  require_typed(op, what, x, like, shape, like.dtype());
}
// What is kept in the type of statistics, whatever x is in: float32 beside 16-bit floats.
void require_statistic(const char* op, const char* what, const Tensor& x, const Tensor& like,
                       const Shape& shape) {
  require_typed(op, what, x, like, shape, statistic_type(like.dtype()));
}

void require_same_kind(const char* op, const Tensor& a, const Tensor& b) {
  require(a.dtype() == b.dtype() && a.device() == b.device(), [&] {
    return fmt::format(
        "[{}] expected operands of one type on one device, got {} on {} and {} on {}", op,
        name_of(a.dtype()), a.device().str(), name_of(b.dtype()), b.device().str());
  });
}

}  // namespace

// --- convolution ---------------------------------------------------------------------------------

kernels::Conv2dShape conv2d_shape(const char* op, const Tensor& x, const Tensor& weight,
                                  const Conv2dOptions& options) {
  require_rank(op, x, 4, "x (N, H, W, C)");
  require_rank(op, weight, 4, "weight (K, R, S, C / groups)");
  require(options.stride.h > 0 && options.stride.w > 0 && options.dilation.h > 0 &&
              options.dilation.w > 0 && options.padding.h >= 0 && options.padding.w >= 0 &&
              options.groups > 0,
          [&] {
            return fmt::format(
                "[{}] expected stride, dilation and groups of at least 1 and padding of at least 0",
                op);
          });
  const kernels::Conv2dShape shape{.n = x.dim(0),
                                   .h = x.dim(1),
                                   .w = x.dim(2),
                                   .c = x.dim(3),
                                   .k = weight.dim(0),
                                   .r = weight.dim(1),
                                   .s = weight.dim(2),
                                   .stride_h = options.stride.h,
                                   .stride_w = options.stride.w,
                                   .pad_h = options.padding.h,
                                   .pad_w = options.padding.w,
                                   .dilation_h = options.dilation.h,
                                   .dilation_w = options.dilation.w,
                                   .groups = options.groups};
  require(shape.c % shape.groups == 0 && shape.k % shape.groups == 0, [&] {
    return fmt::format("[{}] expected channels divisible by {} groups, got {} in and {} out", op,
                       shape.groups, shape.c, shape.k);
  });
  require_like(op, "weight", weight, x, {shape.k, shape.r, shape.s, shape.c / shape.groups});
  require(x.numel() > 0 && weight.numel() > 0 &&
              shape.h + 2 * shape.pad_h >= shape.dilation_h * (shape.r - 1) + 1 &&
              shape.w + 2 * shape.pad_w >= shape.dilation_w * (shape.s - 1) + 1,
          [&] {
            return fmt::format("[{}] a filter of {}x{} does not fit into x {} padded by {}x{}", op,
                               shape.r, shape.s, x.shape().str(), shape.pad_h, shape.pad_w);
          });
  return shape;
}

void profile_conv2d(const kernels::Conv2dShape& s) {
  Profile* profile = Profile::active();
  if (profile == nullptr) return;
  profile->count_multiply_adds(s.output_size() * s.r * s.s * (s.c / s.groups));
  const std::string stride = s.stride_h * s.stride_w > 1 ? fmt::format("/{}", s.stride_h) : "";
  const std::string groups = s.groups > 1 ? fmt::format(" in {} groups", s.groups) : "";
  profile->describe(fmt::format("{}, {} of {}x{}{}{}", Shape{s.n, s.h, s.w, s.c}.str(), s.k, s.r,
                                s.s, stride, groups));
}

Tensor conv2d_input_gradient(const Tensor& dy, const Tensor& weight,
                             const kernels::Conv2dShape& shape, const Needs& needs) {
  Tensor dx;
  on("conv2d_input_gradient", dy, [&](auto device, auto zero) {
    using T = decltype(zero);
    profile_conv2d(shape);
    const T *from = dy.data<T>(), *filters = weight.data<T>();
    // Not every type of the CPU's has this.
    if constexpr (requires(T * to) {
                    kernels::conv2d_add_backward_data(device, from, filters, from, to, shape);
                  }) {
      if (kernels::conv2d_adds_backward_data(device, dtype_of<T>, shape)) {
        if (const Tensor z = needs.take_sum(0); z.defined()) {
          dx = z.unique() ? z : empty_like(z);
          kernels::conv2d_add_backward_data(device, from, filters, z.data<T>(), dx.data<T>(),
                                            shape);
          return;
        }
      }
    }
    dx = empty_as(dy, {shape.n, shape.h, shape.w, shape.c});
    kernels::conv2d_backward_data(device, from, filters, dx.data<T>(), shape);
  });
  return dx;
}

namespace {

struct Conv2dGradients {
  Tensor x, weight, bias;
};
Conv2dGradients conv2d_gradients(const Tensor& dy, const Tensor& x, const Tensor& weight,
                                 const kernels::Conv2dShape& shape, const Needs& needs) {
  const bool need_weight = needs[1], need_bias = needs[2];
  Conv2dGradients d;
  if (needs[0]) d.x = conv2d_input_gradient(dy, weight, shape, needs);
  if (!need_weight && !need_bias) return d;
  on("conv2d_weight_gradient", x, [&](auto device, auto zero) {
    using T = decltype(zero);
    profile_conv2d(shape);
    if (need_bias) d.bias = empty_as(x, {shape.k});
    d.weight = empty_like(weight);
    kernels::conv2d_backward_weight(device, dy.data<T>(), x.data<T>(), d.weight.data<T>(),
                                    data_or_null<T>(d.bias), shape);
  });
  return d;
}

}  // namespace

Variable conv2d(const Variable& x_, const Variable& weight_, const Variable& bias_,
                const Conv2dOptions& options) {
  const Tensor x = x_.value(), weight = weight_.value(), bias = value_or_none(bias_);
  const kernels::Conv2dShape shape = conv2d_shape("conv2d", x, weight, options);
  if (bias.defined()) require_like("conv2d", "bias", bias, x, {shape.k});
  Tensor y = empty_as(x, {shape.n, shape.out_h(), shape.out_w(), shape.k});
  on("conv2d", x, [&](auto device, auto zero) {
    using T = decltype(zero);
    profile_conv2d(shape);
    kernels::conv2d_forward(device, x.data<T>(), weight.data<T>(), data_or_null<T>(bias),
                            y.data<T>(), shape);
  });
  return record("conv2d", y, {x_, weight_, bias_},
                [x, weight, shape](const Tensor& dy, const Needs& needs) {
                  const Conv2dGradients d = conv2d_gradients(dy, x, weight, shape, needs);
                  return std::vector{d.x, d.weight, d.bias};
                });
}

Variable conv2d_bias_add_relu(const Variable& x_, const Variable& weight_, const Variable& bias_,
                              const Variable& z_, const Conv2dOptions& options, bool rectified) {
  const Tensor x = x_.value(), weight = weight_.value(), bias = bias_.value();
  const Tensor z = value_or_none(z_);
  const kernels::Conv2dShape shape = conv2d_shape("conv2d_bias_add_relu", x, weight, options);
  require_statistic("conv2d_bias_add_relu", "bias", bias, x, {shape.k});
  const Shape out = {shape.n, shape.out_h(), shape.out_w(), shape.k};
  if (z.defined()) require_like("conv2d_bias_add_relu", "z", z, x, out);
  Tensor y = empty_as(x, out);
  on("conv2d_bias_add_relu", x, [&](auto device, auto zero) {
    using T = decltype(zero);
    profile_conv2d(shape);
    kernels::conv2d_bias_add_relu(device, x.data<T>(), weight.data<T>(),
                                  bias.data<statistic_t<T>>(), data_or_null<T>(z), y.data<T>(),
                                  rectified, shape);
  });
  // The ReLU's derivative asks for its output alone.
  const Tensor saved_y = rectified ? y : Tensor{};
  return record("conv2d_bias_add_relu", y, {x_, weight_, bias_, z_},
                [x, weight, saved_y, shape](const Tensor& dy, const Needs& needs) {
                  Tensor d = saved_y.defined() ? in_place_of(dy) : dy;
                  if (saved_y.defined()) {
                    on("relu", dy, [&](auto device, auto zero) {
                      using T = decltype(zero);
                      kernels::unary_backward(device, kernels::Relu{}, dy.data<T>(),
                                              saved_y.data<T>(), dy.data<T>(), d.data<T>(),
                                              dy.numel());
                    });
                  }
                  const Conv2dGradients g = conv2d_gradients(d, x, weight, shape, needs);
                  return std::vector{g.x, g.weight,
                                     needs[2] ? g.bias.to(statistic_type(x.dtype())) : Tensor{},
                                     needs[3] ? d : Tensor{}};
                });
}

// --- matrix products -----------------------------------------------------------------------------

namespace {

Tensor product(const Tensor& a, const Tensor& b, const Tensor& bias,
               const kernels::MatmulShape& shape) {
  Tensor c = empty_as(a, {shape.m, shape.n});
  on("matmul", a, [&](auto device, auto zero) {
    using T = decltype(zero);
    if (Profile* profile = Profile::active()) {
      profile->count_multiply_adds(shape.m * shape.n * shape.k);
    }
    kernels::matmul(device, a.data<T>(), b.data<T>(), data_or_null<T>(bias), c.data<T>(), shape);
  });
  return c;
}

}  // namespace

Variable matmul(const Variable& a_, const Variable& b_) {
  const Tensor a = a_.value(), b = b_.value();
  require_rank("matmul", a, 2, "a (M, K)");
  require_rank("matmul", b, 2, "b (K, N)");
  const int64_t m = a.dim(0), k = a.dim(1), n = b.dim(1);
  require_like("matmul", "b", b, a, {k, n});
  return record("matmul", product(a, b, {}, {m, n, k}), {a_, b_},
                [a, b, m, n, k](const Tensor& dy, const Needs& needs) {
                  Tensor da, db;
                  if (needs[0]) da = product(dy, b, {}, {m, k, n, false, true});
                  if (needs[1]) db = product(a, dy, {}, {k, n, m, true, false});
                  return std::vector{da, db};
                });
}

Variable linear(const Variable& x_, const Variable& weight_, const Variable& bias_) {
  const Tensor x = x_.value(), weight = weight_.value(), bias = value_or_none(bias_);
  require_rank("linear", x, 2, "x (N, in)");
  require_rank("linear", weight, 2, "weight (out, in)");
  const int64_t n = x.dim(0), in = x.dim(1), out = weight.dim(0);
  require_like("linear", "weight", weight, x, {out, in});
  if (bias.defined()) require_like("linear", "bias", bias, x, {out});
  return record("linear", product(x, weight, bias, {n, out, in, false, true}), {x_, weight_, bias_},
                [x, weight, n, in, out](const Tensor& dy, const Needs& needs) {
                  Tensor dx, dw, db;
                  if (needs[0]) dx = product(dy, weight, {}, {n, in, out});
                  if (needs[1]) dw = product(dy, x, {}, {out, in, n, true, false});
                  if (needs[2]) db = sum(dy, {0});
                  return std::vector{dx, dw, db};
                });
}

// --- normalisation -------------------------------------------------------------------------------

namespace {

kernels::BatchNormShape batch_norm_shape(const char* op, const Tensor& x, const Tensor& gamma,
                                         const Tensor& beta, const Tensor& running_mean,
                                         const Tensor& running_var,
                                         const BatchNormOptions& options) {
  require(x.rank() >= 2 && x.numel() > 0, [&] {
    return fmt::format("[{}] expected x (…, C) with elements, got {}", op, x.shape().str());
  });
  const kernels::BatchNormShape shape{x.numel() / x.dim(-1), x.dim(-1), options.eps};
  for (const auto& [name, tensor] :
       {std::pair{"gamma", gamma}, std::pair{"beta", beta}, std::pair{"running_mean", running_mean},
        std::pair{"running_var", running_var}}) {
    require_statistic(op, name, tensor, x, {shape.channels});
  }
  require(!options.training || shape.rows > 1, [&] {
    return fmt::format(
        "[{}] training needs more than one value per channel, got x {}; use a larger batch or "
        "image",
        op, x.shape().str());
  });
  return shape;
}

}  // namespace

Variable batch_norm(const Variable& x_, const Variable& gamma_, const Variable& beta_,
                    Tensor running_mean, Tensor running_var, const BatchNormOptions& options) {
  const Tensor x = x_.value(), gamma = gamma_.value(), beta = beta_.value();
  const kernels::BatchNormShape shape =
      batch_norm_shape("batch_norm", x, gamma, beta, running_mean, running_var, options);
  Tensor y = empty_like(x);

  if (!options.training) {
    on("batch_norm", x, [&](auto device, auto zero) {
      using T = decltype(zero);
      using S = statistic_t<T>;
      kernels::batch_norm_inference(device, x.data<T>(), gamma.data<S>(), beta.data<S>(),
                                    std::as_const(running_mean).data<S>(),
                                    std::as_const(running_var).data<S>(), y.data<T>(), shape);
    });
    return record(
        "batch_norm", y, {x_, gamma_, beta_},
        [x, gamma, running_mean, running_var, shape](const Tensor& dy, const Needs& needs) {
          Tensor dx, dgamma, dbeta;
          if (needs[0]) dx = empty_like(x);
          if (needs[1]) dgamma = empty_like(gamma);
          if (needs[2]) dbeta = empty_like(gamma);
          on("batch_norm", x, [&](auto device, auto zero) {
            using T = decltype(zero);
            using S = statistic_t<T>;
            kernels::batch_norm_inference_backward(
                device, dy.data<T>(), x.data<T>(), gamma.data<S>(), running_mean.data<S>(),
                running_var.data<S>(), data_or_null<T>(dx), data_or_null<S>(dgamma),
                data_or_null<S>(dbeta), shape);
          });
          return std::vector{dx, dgamma, dbeta};
        });
  }

  Tensor mean = empty_like(gamma), inv_std = empty_like(gamma);
  on("batch_norm", x, [&](auto device, auto zero) {
    using T = decltype(zero);
    using S = statistic_t<T>;
    kernels::batch_norm_forward(device, x.data<T>(), gamma.data<S>(), beta.data<S>(), y.data<T>(),
                                mean.data<S>(), inv_std.data<S>(), running_mean.data<S>(),
                                running_var.data<S>(), options.momentum, shape);
  });
  return record("batch_norm", y, {x_, gamma_, beta_},
                [x, gamma, mean, inv_std, shape](const Tensor& dy, const Needs& needs) {
                  Tensor dx, dgamma, dbeta;
                  if (needs[0]) dx = in_place_of(dy);
                  if (needs[1]) dgamma = empty_like(gamma);
                  if (needs[2]) dbeta = empty_like(gamma);
                  on("batch_norm", x, [&](auto device, auto zero) {
                    using T = decltype(zero);
                    using S = statistic_t<T>;
                    kernels::batch_norm_backward(device, dy.data<T>(), x.data<T>(), gamma.data<S>(),
                                                 mean.data<S>(), inv_std.data<S>(),
                                                 data_or_null<T>(dx), data_or_null<S>(dgamma),
                                                 data_or_null<S>(dbeta), shape);
                  });
                  return std::vector{dx, dgamma, dbeta};
                });
}

Variable batch_norm_add_relu(const Variable& x_, const Variable& z_, const Variable& gamma_,
                             const Variable& beta_, Tensor running_mean, Tensor running_var,
                             const BatchNormOptions& options) {
  const Tensor x = x_.value(), z = value_or_none(z_);
  const Tensor gamma = gamma_.value(), beta = beta_.value();
  const kernels::BatchNormShape shape =
      batch_norm_shape("batch_norm_add_relu", x, gamma, beta, running_mean, running_var, options);
  if (z.defined()) require_like("batch_norm_add_relu", "z", z, x, x.shape());
  if (!options.training) {
    const Variable y = batch_norm(x_, gamma_, beta_, running_mean, running_var, options);
    return relu(z.defined() ? add(y, z_) : y);
  }

  Tensor y = empty_like(x), mean = empty_like(gamma), inv_std = empty_like(gamma), mask;
  const std::vector<Variable> inputs = {x_, z_, gamma_, beta_};
  if (will_record(inputs)) {
    mask = Tensor::empty({kernels::mask_bytes(shape)}, DType::kUInt8, x.device());
  }
  on("batch_norm_add_relu", x, [&](auto device, auto zero) {
    using T = decltype(zero);
    using S = statistic_t<T>;
    kernels::batch_norm_add_relu_forward(device, x.data<T>(), data_or_null<T>(z), gamma.data<S>(),
                                         beta.data<S>(), y.data<T>(), data_or_null<uint8_t>(mask),
                                         mean.data<S>(), inv_std.data<S>(), running_mean.data<S>(),
                                         running_var.data<S>(), options.momentum, shape);
  });
  return record("batch_norm_add_relu", y, inputs,
                [x, gamma, mean, inv_std, mask, shape](const Tensor& dy, const Needs& needs) {
                  Tensor dx, dz, dgamma, dbeta;
                  if (needs[1]) dz = in_place_of(dy);
                  if (needs[0]) dx = in_place_of(dy);
                  if (needs[2]) dgamma = empty_like(gamma);
                  if (needs[3]) dbeta = empty_like(gamma);
                  on("batch_norm_add_relu", x, [&](auto device, auto zero) {
                    using T = decltype(zero);
                    using S = statistic_t<T>;
                    kernels::batch_norm_add_relu_backward(
                        device, dy.data<T>(), mask.data<uint8_t>(), x.data<T>(), gamma.data<S>(),
                        mean.data<S>(), inv_std.data<S>(), data_or_null<T>(dx), data_or_null<T>(dz),
                        data_or_null<S>(dgamma), data_or_null<S>(dbeta), shape);
                  });
                  return std::vector{dx, dz, dgamma, dbeta};
                });
}

// --- pooling -------------------------------------------------------------------------------------

namespace {

kernels::Pool2dShape pool_shape(const char* op, const Tensor& x, const PoolOptions& options) {
  require_rank(op, x, 4, "x (N, H, W, C)");
  const Pair window = options.window, stride = options.stride, padding = options.padding;
  require(window.h > 0 && window.w > 0 && stride.h > 0 && stride.w > 0 && padding.h >= 0 &&
              padding.w >= 0 && 2 * padding.h <= window.h && 2 * padding.w <= window.w,
          [&] {
            return fmt::format(
                "[{}] expected a window and stride of at least 1 and padding of at most half the "
                "window, got window {}x{}, stride {}x{}, padding {}x{}",
                op, window.h, window.w, stride.h, stride.w, padding.h, padding.w);
          });
  const kernels::Pool2dShape shape{.n = x.dim(0),
                                   .h = x.dim(1),
                                   .w = x.dim(2),
                                   .c = x.dim(3),
                                   .r = window.h,
                                   .s = window.w,
                                   .stride_h = stride.h,
                                   .stride_w = stride.w,
                                   .pad_h = padding.h,
                                   .pad_w = padding.w};
  require(
      x.numel() > 0 && shape.h + 2 * shape.pad_h >= shape.r && shape.w + 2 * shape.pad_w >= shape.s,
      [&] {
        return fmt::format("[{}] a window of {}x{} does not fit into x {} padded by {}x{}", op,
                           shape.r, shape.s, x.shape().str(), shape.pad_h, shape.pad_w);
      });
  return shape;
}

}  // namespace

Variable max_pool2d(const Variable& x_, const PoolOptions& options) {
  const Tensor& x = x_.value();
  const kernels::Pool2dShape shape = pool_shape("max_pool2d", x, options);
  require(shape.r * shape.s <= 256, [&] {
    return fmt::format("[max_pool2d] expected a window of at most 256 pixels, got {}x{}", shape.r,
                       shape.s);
  });
  Tensor y = empty_as(x, {shape.n, shape.out_h(), shape.out_w(), shape.c});
  Tensor index = Tensor::empty(y.shape(), DType::kUInt8, x.device());
  on("max_pool2d", x, [&](auto device, auto zero) {
    using T = decltype(zero);
    kernels::max_pool2d_forward(device, x.data<T>(), y.data<T>(), index.data<uint8_t>(), shape);
  });
  return record("max_pool2d", y, {x_}, [index, shape](const Tensor& dy, const auto&) {
    Tensor dx = empty_as(dy, {shape.n, shape.h, shape.w, shape.c});
    on("max_pool2d", dy, [&](auto device, auto zero) {
      using T = decltype(zero);
      kernels::max_pool2d_backward(device, dy.data<T>(), index.data<uint8_t>(), dx.data<T>(),
                                   shape);
    });
    return std::vector{dx};
  });
}

Variable avg_pool2d(const Variable& x_, const PoolOptions& options) {
  const Tensor& x = x_.value();
  const kernels::Pool2dShape shape = pool_shape("avg_pool2d", x, options);
  Tensor y = empty_as(x, {shape.n, shape.out_h(), shape.out_w(), shape.c});
  on("avg_pool2d", x, [&](auto device, auto zero) {
    using T = decltype(zero);
    kernels::avg_pool2d_forward(device, x.data<T>(), y.data<T>(), shape);
  });
  return record("avg_pool2d", y, {x_}, [shape](const Tensor& dy, const auto&) {
    Tensor dx = empty_as(dy, {shape.n, shape.h, shape.w, shape.c});
    on("avg_pool2d", dy, [&](auto device, auto zero) {
      using T = decltype(zero);
      kernels::avg_pool2d_backward(device, dy.data<T>(), dx.data<T>(), shape);
    });
    return std::vector{dx};
  });
}

Variable global_avg_pool(const Variable& x) {
  require_rank("global_avg_pool", x.value(), 4, "x (N, H, W, C)");
  return mean(x, {1, 2});
}

Variable subsample_pad(const Variable& x_, const SubsamplePadOptions& options) {
  const Tensor& x = x_.value();
  require_rank("subsample_pad", x, 4, "x (N, H, W, C)");
  require(options.stride.h > 0 && options.stride.w > 0 && options.before >= 0 && options.after >= 0,
          [&] {
            return fmt::format(
                "[subsample_pad] expected a stride of at least 1 and no fewer than 0 channels of "
                "zeros, got stride {}x{}, {} channels before and {} after",
                options.stride.h, options.stride.w, options.before, options.after);
          });
  const kernels::SubsamplePadShape shape{.n = x.dim(0),
                                         .h = x.dim(1),
                                         .w = x.dim(2),
                                         .c = x.dim(3),
                                         .stride_h = options.stride.h,
                                         .stride_w = options.stride.w,
                                         .before = options.before,
                                         .after = options.after};
  Tensor y = empty_as(x, {shape.n, shape.out_h(), shape.out_w(), shape.out_c()});
  on("subsample_pad", x, [&](auto device, auto zero) {
    using T = decltype(zero);
    kernels::subsample_pad_forward(device, x.data<T>(), y.data<T>(), shape);
  });
  return record("subsample_pad", y, {x_}, [shape](const Tensor& dy, const auto&) {
    Tensor dx = empty_as(dy, {shape.n, shape.h, shape.w, shape.c});
    on("subsample_pad", dy, [&](auto device, auto zero) {
      using T = decltype(zero);
      kernels::subsample_pad_backward(device, dy.data<T>(), dx.data<T>(), shape);
    });
    return std::vector{dx};
  });
}

// --- softmax and loss ----------------------------------------------------------------------------

namespace {

kernels::SoftmaxShape softmax_shape(const char* op, const Tensor& x) {
  require(x.rank() >= 1 && x.dim(-1) > 0, [&] {
    return fmt::format("[{}] expected x (…, C) with at least one class, got {}", op,
                       x.shape().str());
  });
  return {x.numel() / x.dim(-1), x.dim(-1)};
}

}  // namespace

Variable softmax(const Variable& x_) {
  const Tensor& x = x_.value();
  const kernels::SoftmaxShape shape = softmax_shape("softmax", x);
  const Tensor y = softmax(x);
  return record("softmax", y, {x_}, [y, shape](const Tensor& dy, const auto&) {
    Tensor dx = empty_like(y);
    on("softmax", y, [&](auto device, auto zero) {
      using T = decltype(zero);
      kernels::softmax_backward(device, dy.data<T>(), y.data<T>(), dx.data<T>(), shape);
    });
    return std::vector{dx};
  });
}

Variable log_softmax(const Variable& x_) {
  const Tensor& x = x_.value();
  const kernels::SoftmaxShape shape = softmax_shape("log_softmax", x);
  Tensor y = empty_like(x);
  on("log_softmax", x, [&](auto device, auto zero) {
    using T = decltype(zero);
    kernels::log_softmax_forward(device, x.data<T>(), y.data<T>(), shape);
  });
  return record("log_softmax", y, {x_}, [y, shape](const Tensor& dy, const auto&) {
    Tensor dx = empty_like(y);
    on("log_softmax", y, [&](auto device, auto zero) {
      using T = decltype(zero);
      kernels::log_softmax_backward(device, dy.data<T>(), y.data<T>(), dx.data<T>(), shape);
    });
    return std::vector{dx};
  });
}

Variable cross_entropy(const Variable& logits, const Tensor& labels,
                       const CrossEntropyOptions& options) {
  const Tensor& x = logits.value();
  require_rank("cross_entropy", x, 2, "logits (N, C)");
  require(labels.defined() && labels.dtype() == DType::kInt64 && labels.shape() == Shape{x.dim(0)},
          [&] {
            return fmt::format("[cross_entropy] expected int64 labels ({},), got {}", x.dim(0),
                               labels.defined() ? labels.shape().str() : "none");
          });
  const kernels::CrossEntropyShape shape{x.dim(0), x.dim(1), options.label_smoothing,
                                         options.ignored_label};
  require(labels.device() == x.device(), [&] {
    return fmt::format("[cross_entropy] expected labels on {}, got them on {}", x.device().str(),
                       labels.device().str());
  });
  // On a GPU nobody waits to look at them: there a wrong label makes the loss NaN.
  if (x.device().type == DeviceType::kCpu) {
    for (const int64_t label : labels.to_vector<int64_t>()) {
      require((label >= 0 && label < shape.classes) || label == shape.ignored_label, [&] {
        return fmt::format("[cross_entropy] expected labels below {}, got {}", shape.classes,
                           label);
      });
    }
  }
  Tensor loss = Tensor::empty({}, statistic_type(x.dtype()), x.device());
  // The gradient comes out of the same pass over the logits as the loss.
  Tensor unit_gradient;
  if (will_record({logits})) unit_gradient = empty_like(x);
  on("cross_entropy", x, [&](auto device, auto zero) {
    using T = decltype(zero);
    kernels::cross_entropy(device, x.data<T>(), labels.data<int64_t>(), loss.data<statistic_t<T>>(),
                           data_or_null<T>(unit_gradient), shape);
  });
  return record("cross_entropy", loss, {logits}, [unit_gradient](const Tensor& dy, const auto&) {
    return std::vector{mul(unit_gradient, dy.to(unit_gradient.dtype()))};
  });
}

// --- shapes and reductions -----------------------------------------------------------------------

Variable reshape(const Variable& x, const Shape& shape) {
  return record(
      "reshape", x.value().reshape(shape), {x},
      [from = x.shape()](const Tensor& dy, const auto&) { return std::vector{dy.reshape(from)}; });
}

Variable cast(const Variable& x, DType type) {
  if (x.value().dtype() == type) return x;
  return record("cast", x.value().to(type), {x},
                [from = x.value().dtype()](const Tensor& dy, const auto&) {
                  return std::vector{dy.to(from)};
                });
}

Variable select(const Variable& x_, const std::vector<int64_t>& index) {
  const Tensor& x = x_.value();
  require_rank("select", x, 2, "x (N, C)");
  const int64_t rows = x.dim(0), columns = x.dim(1);
  std::vector<int64_t> chosen = index;
  if (chosen.size() == 1) chosen.resize(static_cast<size_t>(rows), index[0]);
  require(static_cast<int64_t>(chosen.size()) == rows, [&] {
    return fmt::format("[select] expected 1 or {} indices, got {}", rows, index.size());
  });
  for (const int64_t column : chosen) {
    require(column >= 0 && column < columns, [&] {
      return fmt::format("[select] expected indices below {}, got {}", columns, column);
    });
  }
  const Tensor places = Tensor::from(chosen, {rows}).to(x.device());
  const kernels::RowsShape shape{rows, columns};
  Tensor y = empty_as(x, {rows});
  on("select", x, [&](auto device, auto zero) {
    using T = decltype(zero);
    kernels::select(device, x.data<T>(), places.data<int64_t>(), y.data<T>(), shape);
  });
  return record("select", y, {x_}, [places, shape](const Tensor& dy, const auto&) {
    Tensor dx = empty_as(dy, {shape.rows, shape.columns});
    on("select", dy, [&](auto device, auto zero) {
      using T = decltype(zero);
      kernels::select_backward(device, dy.data<T>(), places.data<int64_t>(), dx.data<T>(), shape);
    });
    return std::vector{dx};
  });
}

namespace {

// The VJP of a sum or mean over `axes`: dy repeated along them, times `factor`.
Vjp repeat_along(const Shape& from, const std::vector<int>& axes, double factor) {
  kernels::ReduceShape shape{from.dims(), std::vector<bool>(from.rank(), axes.empty())};
  for (const int axis : axes) shape.reduced[from.axis(axis)] = true;
  return [from, shape, factor](const Tensor& dy, const Needs&) {
    Tensor dx = empty_as(dy, from);
    on("sum", dy, [&](auto device, auto zero) {
      using T = decltype(zero);
      kernels::sum_backward(device, dy.data<T>(), dx.data<T>(), factor, shape);
    });
    return std::vector{dx};
  };
}

}  // namespace

Variable sum(const Variable& x, const std::vector<int>& axes, bool keep_dims) {
  return record("sum", sum(x.value(), axes, keep_dims), {x}, repeat_along(x.shape(), axes, 1));
}

Variable mean(const Variable& x, const std::vector<int>& axes, bool keep_dims) {
  const Tensor y = mean(x.value(), axes, keep_dims);
  const double factor = static_cast<double>(y.numel()) / static_cast<double>(x.value().numel());
  return record("mean", y, {x}, repeat_along(x.shape(), axes, factor));
}

Variable resize_bilinear(const Variable& x_, int64_t out_h, int64_t out_w) {
  const Tensor& x = x_.value();
  const Tensor y = resize_bilinear(x, out_h, out_w);
  const kernels::ResizeShape shape{x.dim(0), x.dim(1), x.dim(2), x.dim(3), out_h, out_w};
  return record("resize_bilinear", y, {x_}, [shape](const Tensor& dy, const auto&) {
    Tensor dx = empty_as(dy, {shape.n, shape.h, shape.w, shape.c});
    on("resize_bilinear", dy, [&](auto device, auto zero) {
      using T = decltype(zero);
      kernels::resize_bilinear_backward(device, dy.data<T>(), dx.data<T>(), shape);
    });
    return std::vector{dx};
  });
}

// --- elementwise ---------------------------------------------------------------------------------

namespace {

template <class F>
Variable elementwise(const char* name, F f, const Variable& x_) {
  const Tensor& x = x_.value();
  const Tensor y = unary(f, x);
  const Tensor saved_x = F::kUsesX ? x : Tensor{}, saved_y = F::kUsesY ? y : Tensor{};
  return record(name, y, {x_}, [f, saved_x, saved_y](const Tensor& dy, const auto&) {
    Tensor dx = in_place_of(dy);
    on("elementwise", dy, [&](auto device, auto zero) {
      using T = decltype(zero);
      // A functor never looks at what it does not use, so any readable elements do.
      const T* x_data = F::kUsesX ? saved_x.template data<T>() : dy.data<T>();
      const T* y_data = F::kUsesY ? saved_y.template data<T>() : dy.data<T>();
      kernels::unary_backward(device, f, x_data, y_data, dy.data<T>(), dx.data<T>(), dy.numel());
    });
    return std::vector{dx};
  });
}

template <class F>
Variable elementwise(const char* name, F f, const Variable& a_, const Variable& b_) {
  const Tensor a = a_.value(), b = b_.value();
  require_same_kind(name, a, b);
  return record(name, binary(f, a, b), {a_, b_}, [f, a, b](const Tensor& dy, const Needs& needs) {
    Tensor da, db;
    if (needs[0]) da = empty_like(dy);
    if (needs[1]) db = empty_like(dy);
    on("elementwise", dy, [&](auto device, auto zero) {
      using T = decltype(zero);
      kernels::binary_backward(device, f, a.data<T>(), b.data<T>(), dy.data<T>(),
                               data_or_null<T>(da), data_or_null<T>(db), broadcast_shape(a, b));
    });
    if (needs[0]) da = sum_to(da, a.shape());
    if (needs[1]) db = sum_to(db, b.shape());
    return std::vector{da, db};
  });
}

}  // namespace

// A sum's gradient is the gradient itself: nothing is copied, and nothing is saved.
Variable add(const Variable& a, const Variable& b) {
  require_same_kind("add", a.value(), b.value());
  return record("add", add(a.value(), b.value()), {a, b},
                [shape_a = a.shape(), shape_b = b.shape()](const Tensor& dy, const Needs& needs) {
                  return std::vector{needs[0] ? sum_to(dy, shape_a) : Tensor{},
                                     needs[1] ? sum_to(dy, shape_b) : Tensor{}};
                });
}
Variable sub(const Variable& a, const Variable& b) {
  return elementwise("sub", kernels::Sub{}, a, b);
}
Variable mul(const Variable& a, const Variable& b) {
  return elementwise("mul", kernels::Mul{}, a, b);
}
Variable div(const Variable& a, const Variable& b) {
  return elementwise("div", kernels::Div{}, a, b);
}
Variable scale(const Variable& x, double factor, double shift) {
  return elementwise("scale", kernels::Affine{factor, shift}, x);
}
Variable relu(const Variable& x) {
  return elementwise("relu", kernels::Relu{}, x);
}
Variable exp(const Variable& x) {
  return elementwise("exp", kernels::Exp{}, x);
}
Variable log(const Variable& x) {
  return elementwise("log", kernels::Log{}, x);
}
Variable sqrt(const Variable& x) {
  return elementwise("sqrt", kernels::Sqrt{}, x);
}
Variable square(const Variable& x) {
  return elementwise("square", kernels::Square{}, x);
}
Variable abs(const Variable& x) {
  return elementwise("abs", kernels::Abs{}, x);
}
Variable sigmoid(const Variable& x) {
  return elementwise("sigmoid", kernels::Sigmoid{}, x);
}
Variable tanh(const Variable& x) {
  return elementwise("tanh", kernels::Tanh{}, x);
}

}  // namespace glassnet
