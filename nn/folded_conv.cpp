#include "nn/folded_conv.h"

#include <array>
#include <map>
#include <mutex>
#include <tuple>
#include <utility>

#include "kernels/batch_norm.h"
#include "kernels/elementwise.h"
#include "nn/layers.h"
#include "tensor/graph.h"
#include "tensor/math.h"

namespace glassnet {
namespace {

// What is folded.
struct Layers {
  const Tensor weight, gamma, beta, mean, var;
  double eps;

  Layers(const Conv2d& conv, const BatchNorm2d& bn)
      : weight(conv.weight.value()),
        gamma(bn.weight.value()),
        beta(bn.bias.value()),
        mean(bn.running_mean),
        var(bn.running_var),
        eps(bn.layer.eps) {}
};

struct Folded {
  Tensor weight;  // in the type of the input, or packed
  Tensor bias;    // in the type of statistics
};

Folded fold(const Layers& layers, DType type) {
  const Tensor& w = layers.weight;
  Folded folded{Tensor::empty(w.shape(), type, w.device()),
                Tensor::empty({w.dim(0)}, statistic_type(type), w.device())};
  const kernels::BatchNormShape shape{.rows = 0, .channels = w.dim(0), .eps = layers.eps};
  on("fold_batch_norm", folded.weight, [&](auto device, auto zero) {
    using T = decltype(zero);
    using S = statistic_t<T>;
    kernels::fold_batch_norm(device, w.data<S>(), layers.gamma.data<S>(), layers.beta.data<S>(),
                             layers.mean.data<S>(), layers.var.data<S>(), folded.weight.data<T>(),
                             folded.bias.data<S>(), w.numel() / w.dim(0), shape);
  });
  return folded;
}

thread_local bool weights_are_watched = false;

// What kept filters are for.
enum class Use { kForward, kGradient };

}  // namespace

class FoldedConv::Kept {
 public:
  // packed_size 0: not packed.
  Folded get(const Layers& layers, DType type, Use use, const kernels::Conv2dShape& shape,
             int64_t packed_size) {
    const auto source = [](const Tensor& x) { return Source{x.raw(), x.version()}; };
    const std::array sources = {source(layers.weight), source(layers.gamma), source(layers.beta),
                                source(layers.mean), source(layers.var)};
    if (Graph::recording() && !weights_are_watched) return fold(layers, type);
    const std::lock_guard lock(mutex_);
    if (sources != sources_) {
      kept_.clear();
      sources_ = sources;
    }
    const bool turned = packed_size > 0 && use == Use::kGradient;
    const Key key(type, packed_size, turned ? Use::kGradient : Use::kForward,
                  turned ? std::array{shape.stride_h, shape.stride_w, shape.pad_h, shape.pad_w}
                         : std::array<int64_t, 4>{});
    if (const auto found = kept_.find(key); found != kept_.end()) return found->second;
    Folded folded = fold(layers, type);
    if (Graph::recording()) return folded;  // made in each replay, in the graph's memory
    if (packed_size > 0) {
      const Tensor plain = std::exchange(folded.weight, Tensor::empty({packed_size}));
      const auto pack = use == Use::kForward ? kernels::conv2d_pack : kernels::conv2d_gradient_pack;
      pack(Cpu{}, plain.data<float>(), folded.weight.data<float>(), shape);
    }
    return kept_.emplace(key, folded).first->second;
  }

  // The gradient of x, from that of the convolution's result.
  Tensor input_gradient(const Layers& layers, const Tensor& dz, const kernels::Conv2dShape& shape,
                        const Needs& needs) {
    const bool packs = dz.device().type == DeviceType::kCpu && dz.dtype() == DType::kFloat32;
    const int64_t packed_size = packs ? kernels::conv2d_gradient_packed_size(Cpu{}, shape) : 0;
    const Tensor filters = get(layers, dz.dtype(), Use::kGradient, shape, packed_size).weight;
    if (packed_size == 0) return conv2d_input_gradient(dz, filters, shape, needs);
    const OpScope op("conv2d_input_gradient");
    profile_conv2d(shape);
    const bool adds = shape.stride_h == 1 && shape.stride_w == 1;
    const Tensor sum = adds ? needs.take_sum(0) : Tensor{};
    Tensor dx = sum.unique() ? sum : Tensor::empty({shape.n, shape.h, shape.w, shape.c});
    kernels::conv2d_packed_backward_data(Cpu{}, dz.data<float>(), filters.data<float>(),
                                         sum.defined() ? sum.data<float>() : nullptr,
                                         dx.data<float>(), shape);
    return dx;
  }

 private:
  struct Source {
    const void* data;
    uint64_t version;
    bool operator==(const Source&) const = default;
  };
  std::mutex mutex_;
  std::array<Source, 5> sources_ = {};  // of those below
  // By type and packed size, since they depend on the input, and for gradients by the stride and
  // the padding.
  using Key = std::tuple<DType, int64_t, Use, std::array<int64_t, 4>>;
  std::map<Key, Folded> kept_;
};

namespace {

// The gradient of the convolution's result, from that of y.
Tensor through_relu(const Tensor& dy, const Tensor& y) {
  Tensor d = in_place_of(dy);
  on("relu", dy, [&](auto device, auto zero) {
    using T = decltype(zero);
    kernels::unary_backward(device, kernels::Relu{}, dy.data<T>(), y.data<T>(), dy.data<T>(),
                            d.data<T>(), dy.numel());
  });
  return d;
}

struct ParameterGradients {
  Tensor weight, gamma, beta;
};
ParameterGradients parameter_gradients(const Layers& layers, const Tensor& dz, const Tensor& x,
                                       const kernels::Conv2dShape& shape) {
  const Tensor& w = layers.weight;
  const Shape one_each = {w.dim(0), 1, 1, 1};
  Tensor folded_weight = Tensor::empty(w.shape(), w.dtype(), w.device());
  Tensor beta = Tensor::empty({w.dim(0)}, w.dtype(), w.device());
  on("conv2d_weight_gradient", dz, [&](auto device, auto zero) {
    using T = decltype(zero);
    profile_conv2d(shape);
    kernels::conv2d_backward_weight(device, dz.data<T>(), x.data<T>(), folded_weight.data<T>(),
                                    beta.data<T>(), shape);
  });
  const Tensor std = unary(kernels::Sqrt{}, scale(layers.var, 1, layers.eps));
  const Tensor along = sum(mul(folded_weight, w), {1, 2, 3});
  return {mul(folded_weight, div(layers.gamma, std).reshape(one_each)),
          div(sub(along, mul(beta, layers.mean)), std), beta};
}

}  // namespace

FoldedConv::FoldedConv() : kept_(std::make_shared<Kept>()) {}

bool FoldedConv::differentiates(const Variable& x) {
  const DType type = x.value().dtype();
  return type == DType::kFloat32 || type == DType::kFloat64;
}

Variable FoldedConv::operator()(const Conv2d& conv, const BatchNorm2d& bn,
                                const Conv2dOptions& options, const Variable& x_, Variable z_,
                                bool rectified) {
  const bool last_of_z = z_.unique();
  const Tensor x = x_.value(), z = z_.defined() ? z_.value() : Tensor{};
  const Layers layers(conv, bn);
  const auto convolve = [&](const Folded& folded) {
    return conv2d_bias_add_relu(Variable(x), Variable(folded.weight), Variable(folded.bias),
                                z.defined() ? Variable(z) : Variable{}, options, rectified);
  };
  const bool packs = x.device().type == DeviceType::kCpu && x.dtype() == DType::kFloat32;
  if (!differentiates(x_)) {
    return convolve(kept_->get(layers, x.dtype(), Use::kForward, {}, 0));
  }
  const kernels::Conv2dShape shape = conv2d_shape("conv2d", x, layers.weight, options);
  const Shape out = {shape.n, shape.out_h(), shape.out_w(), shape.k};
  const bool fits = !z.defined() || (z.shape() == out && z.dtype() == x.dtype() &&
                                     z.device() == x.device());  // else the op says what is wrong
  const int64_t packed_size = packs && fits ? kernels::conv2d_packed_size(Cpu{}, shape) : 0;
  const Folded folded = kept_->get(layers, x.dtype(), Use::kForward, shape, packed_size);
  const std::vector<Variable> inputs = {x_, z_, conv.weight, bn.weight, bn.bias};
  Tensor y;
  if (packed_size == 0) {
    y = convolve(folded).value();
  } else {
    const OpScope op("conv2d_bias_add_relu");
    profile_conv2d(shape);
    y = last_of_z && !will_record(inputs) ? z : Tensor::empty(out);
    kernels::conv2d_packed_bias_add_relu(
        Cpu{}, x.data<float>(), folded.weight.data<float>(), folded.bias.data<float>(),
        z.defined() ? z.data<float>() : nullptr, y.data<float>(), rectified, shape);
  }
  if (!will_record(inputs)) return Variable(y);
  const Tensor saved_y = rectified ? y : Tensor{};
  const Tensor saved_x = will_record({conv.weight, bn.weight, bn.bias}) ? x : Tensor{};
  return record(
      "conv_bn_relu", y, inputs,
      [kept = kept_, layers, saved_x, saved_y, shape](const Tensor& dy, const Needs& needs) {
        const Tensor dz = saved_y.defined() ? through_relu(dy, saved_y) : dy;
        Tensor dx;
        if (needs[0]) dx = kept->input_gradient(layers, dz, shape, needs);
        ParameterGradients d;
        if (needs[2] || needs[3] || needs[4]) {
          d = parameter_gradients(layers, dz, saved_x, shape);
        }
        return std::vector{dx, dz, d.weight, d.gamma, d.beta};
      });
}

WatchesWeights::WatchesWeights() : before_(std::exchange(weights_are_watched, true)) {}
WatchesWeights::~WatchesWeights() {
  weights_are_watched = before_;
}

}  // namespace glassnet
