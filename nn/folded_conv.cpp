#include "nn/folded_conv.h"

#include <utility>

#include "kernels/batch_norm.h"
#include "nn/layers.h"

namespace glassnet {

FoldedConv::Folded FoldedConv::fold(const Conv2d& conv, const BatchNorm2d& bn, DType type) {
  const Tensor& w = conv.weight.value();
  Folded folded{Tensor::empty(w.shape(), type, w.device()),
                Tensor::empty({w.dim(0)}, statistic_type(type), w.device())};
  const kernels::BatchNormShape shape{.rows = 0, .channels = w.dim(0), .eps = bn.layer.eps};
  on("fold_batch_norm", folded.weight, [&](auto device, auto zero) {
    using T = decltype(zero);
    using S = statistic_t<T>;
    kernels::fold_batch_norm(
        device, w.data<S>(), bn.weight.value().data<S>(), bn.bias.value().data<S>(),
        std::as_const(bn.running_mean).template data<S>(),
        std::as_const(bn.running_var).template data<S>(), folded.weight.data<T>(),
        folded.bias.data<S>(), w.numel() / w.dim(0), shape);
  });
  return folded;
}

FoldedConv::Folded FoldedConv::kept(const Conv2d& conv, const BatchNorm2d& bn, DType type,
                                    const kernels::Conv2dShape& shape, int64_t packed_size) {
  const auto source = [](const Tensor& x) { return Source{x.raw(), x.version()}; };
  const std::array sources = {source(conv.weight.value()), source(bn.weight.value()),
                              source(bn.bias.value()), source(bn.running_mean),
                              source(bn.running_var)};
  const std::lock_guard lock(mutex_);
  if (sources != sources_) {
    kept_.clear();
    sources_ = sources;
  }
  const std::pair key(type, packed_size);
  if (const auto found = kept_.find(key); found != kept_.end()) return found->second;
  Folded folded = fold(conv, bn, type);
  if (packed_size > 0) {
    const Tensor plain = std::exchange(folded.weight, Tensor::empty({packed_size}));
    kernels::conv2d_pack(Cpu{}, plain.data<float>(), folded.weight.data<float>(), shape);
  }
  return kept_.emplace(key, folded).first->second;
}

Variable FoldedConv::operator()(const Conv2d& conv, const BatchNorm2d& bn,
                                const Conv2dOptions& options, const Variable& x_,
                                const Variable& z_, bool rectified) {
  const Tensor x = x_.value(), z = z_.defined() ? z_.value() : Tensor{};
  const auto convolve = [&](const Folded& folded) {
    return conv2d_bias_add_relu(x_, Variable(folded.weight), Variable(folded.bias), z_, options,
                                rectified);
  };
  if (x.device().type != DeviceType::kCpu) return convolve(fold(conv, bn, x.dtype()));
  if (x.dtype() != DType::kFloat32) return convolve(kept(conv, bn, x.dtype(), {}, 0));

  const kernels::Conv2dShape shape = conv2d_shape("conv2d", x, conv.weight.value(), options);
  const Shape out = {shape.n, shape.out_h(), shape.out_w(), shape.k};
  const bool fits = !z.defined() || (z.shape() == out && z.dtype() == x.dtype() &&
                                     z.device() == x.device());  // else the op says what is wrong
  const int64_t packed_size = fits ? kernels::conv2d_packed_size(Cpu{}, shape) : 0;
  const Folded folded = kept(conv, bn, x.dtype(), shape, packed_size);
  if (packed_size == 0) return convolve(folded);
  Tensor y = Tensor::empty(out);
  kernels::conv2d_packed_bias_add_relu(
      Cpu{}, x.data<float>(), folded.weight.data<float>(), folded.bias.data<float>(),
      z.defined() ? z.data<float>() : nullptr, y.data<float>(), rectified, shape);
  return Variable(y);
}

}  // namespace glassnet
