#include "tensor/math.h"

#include <algorithm>

#include <fmt/format.h>

#include "kernels/index.h"
#include "kernels/reduce.h"
#include "kernels/resize.h"
#include "kernels/softmax.h"

namespace glassnet {
namespace {

// The stride of each result axis in an operand of shape `from`: 0 where it is repeated.
std::vector<int64_t> broadcast_strides(const Shape& from, const Shape& to) {
  std::vector<int64_t> strides(to.rank(), 0);
  int64_t stride = 1;
  for (int i = from.rank() - 1; i >= 0; --i) {
    if (from[i] != 1) strides[i + to.rank() - from.rank()] = stride;
    stride *= from[i];
  }
  return strides;
}

kernels::ReduceShape reduce_shape(const Shape& shape, const std::vector<int>& axes) {
  std::vector<bool> reduced(shape.rank(), axes.empty());
  for (const int axis : axes) reduced[shape.axis(axis)] = true;
  return {shape.dims(), reduced};
}

Shape reduced_shape(const kernels::ReduceShape& shape, bool keep_dims) {
  std::vector<int64_t> dims;
  for (size_t i = 0; i < shape.dims.size(); ++i) {
    if (!shape.reduced[i]) {
      dims.push_back(shape.dims[i]);
    } else if (keep_dims) {
      dims.push_back(1);
    }
  }
  return Shape(dims);
}

Tensor scaled_sum(const Tensor& x, double factor, const kernels::ReduceShape& shape,
                  bool keep_dims) {
  Tensor y = Tensor::empty(reduced_shape(shape, keep_dims), x.dtype(), x.device());
  on("sum", x, [&](auto device, auto zero) {
    using T = decltype(zero);
    kernels::sum(device, x.data<T>(), y.data<T>(), factor, shape);
  });
  return y;
}

}  // namespace

kernels::BroadcastShape broadcast_shape(const Tensor& a, const Tensor& b) {
  const Shape shape = broadcast(a.shape(), b.shape());
  return {shape.dims(), broadcast_strides(a.shape(), shape), broadcast_strides(b.shape(), shape)};
}

template <class F>
Tensor unary(F f, const Tensor& x) {
  Tensor y = Tensor::empty(x.shape(), x.dtype(), x.device());
  on("elementwise", x, [&](auto device, auto zero) {
    using T = decltype(zero);
    kernels::unary(device, f, x.data<T>(), y.data<T>(), x.numel());
  });
  return y;
}

template <class F>
Tensor binary(F f, const Tensor& a, const Tensor& b) {
  const kernels::BroadcastShape shape = broadcast_shape(a, b);
  Tensor y = Tensor::empty(Shape(shape.dims), a.dtype(), a.device());
  on("elementwise", a, [&](auto device, auto zero) {
    using T = decltype(zero);
    kernels::binary(device, f, a.data<T>(), b.data<T>(), y.data<T>(), shape);
  });
  return y;
}

#define GLASSNET_INSTANTIATE(F) template Tensor unary(kernels::F, const Tensor&);
GLASSNET_UNARY_FUNCTORS(GLASSNET_INSTANTIATE)
#undef GLASSNET_INSTANTIATE
#define GLASSNET_INSTANTIATE(F) template Tensor binary(kernels::F, const Tensor&, const Tensor&);
GLASSNET_BINARY_FUNCTORS(GLASSNET_INSTANTIATE)
#undef GLASSNET_INSTANTIATE

Tensor add(const Tensor& a, const Tensor& b) {
  return binary(kernels::Add{}, a, b);
}
Tensor sub(const Tensor& a, const Tensor& b) {
  return binary(kernels::Sub{}, a, b);
}
Tensor mul(const Tensor& a, const Tensor& b) {
  return binary(kernels::Mul{}, a, b);
}
Tensor div(const Tensor& a, const Tensor& b) {
  return binary(kernels::Div{}, a, b);
}
Tensor scale(const Tensor& x, double factor, double shift) {
  return unary(kernels::Affine{factor, shift}, x);
}
Tensor relu(const Tensor& x) {
  return unary(kernels::Relu{}, x);
}
Tensor abs(const Tensor& x) {
  return unary(kernels::Abs{}, x);
}

Tensor sum(const Tensor& x, const std::vector<int>& axes, bool keep_dims) {
  return scaled_sum(x, 1, reduce_shape(x.shape(), axes), keep_dims);
}

Tensor mean(const Tensor& x, const std::vector<int>& axes, bool keep_dims) {
  const kernels::ReduceShape shape = reduce_shape(x.shape(), axes);
  const int64_t kept = reduced_shape(shape, false).numel();
  return scaled_sum(x, static_cast<double>(kept) / static_cast<double>(x.numel()), shape,
                    keep_dims);
}

namespace {

// What max_last and argmax_last share: either result may be undefined.
void look_along_last(const char* op, const Tensor& x, Tensor* value, Tensor* index) {
  require(x.rank() > 0 && x.dim(-1) > 0, [&] {
    return fmt::format("[{}] expected a last axis with elements, got {}", op, x.shape().str());
  });
  std::vector<int64_t> dims = x.shape().dims();
  dims.pop_back();
  const kernels::RowsShape shape{x.numel() / x.dim(-1), x.dim(-1)};
  if (value != nullptr) *value = Tensor::empty(Shape(dims), x.dtype(), x.device());
  if (index != nullptr) *index = Tensor::empty(Shape(dims), DType::kInt64, x.device());
  on(op, x, [&](auto device, auto zero) {
    using T = decltype(zero);
    kernels::max_last(device, x.data<T>(), value != nullptr ? value->data<T>() : nullptr,
                      index != nullptr ? index->data<int64_t>() : nullptr, shape);
  });
}

}  // namespace

Tensor max_last(const Tensor& x) {
  Tensor value;
  look_along_last("max_last", x, &value, nullptr);
  return value;
}

Tensor argmax_last(const Tensor& x) {
  Tensor index;
  look_along_last("argmax_last", x, nullptr, &index);
  return index;
}

Tensor count_equal(const Tensor& a, const Tensor& b) {
  require(a.dtype() == DType::kInt64 && b.dtype() == DType::kInt64 && a.shape() == b.shape() &&
              a.device() == b.device(),
          [&] {
            return fmt::format("[count_equal] expected int64 tensors of one shape, got {} and {}",
                               a.shape().str(), b.shape().str());
          });
  Tensor y = Tensor::empty({}, DType::kFloat32, a.device());
  on(a.device(), [&](auto device) {
    kernels::count_equal(device, a.data<int64_t>(), b.data<int64_t>(), y.data<float>(), a.numel());
  });
  return y;
}

Tensor sum_to(const Tensor& x, const Shape& shape) {
  if (x.shape() == shape) return x;
  std::vector<int> axes;
  for (int i = 0; i < x.rank(); ++i) {
    const int j = i - (x.rank() - shape.rank());
    if (j < 0 || shape[j] != x.shape()[i]) axes.push_back(i);
  }
  return (axes.empty() ? x : sum(x, axes)).reshape(shape);
}

void add_in_place(Tensor& a, const Tensor& b) {
  require(a.shape() == b.shape(), [&] {
    return fmt::format("[add] expected shape {}, got {}", a.shape().str(), b.shape().str());
  });
  const kernels::BroadcastShape shape{{a.numel()}, {1}, {1}};
  on("add", a, [&](auto device, auto zero) {
    using T = decltype(zero);
    kernels::binary(device, kernels::Add{}, a.data<T>(), b.data<T>(), a.data<T>(), shape);
  });
}

Tensor softmax(const Tensor& x) {
  Tensor y = Tensor::empty(x.shape(), x.dtype(), x.device());
  const kernels::SoftmaxShape shape{x.numel() / std::max<int64_t>(x.dim(-1), 1), x.dim(-1)};
  on("softmax", x, [&](auto device, auto zero) {
    using T = decltype(zero);
    kernels::softmax_forward(device, x.data<T>(), y.data<T>(), shape);
  });
  return y;
}

Tensor resize_bilinear(const Tensor& x, int64_t out_h, int64_t out_w) {
  require(x.rank() == 4 && x.numel() > 0 && out_h > 0 && out_w > 0, [&] {
    return fmt::format(
        "[resize_bilinear] expected x (N, H, W, C) and a positive size, got {} to "
        "({}, {})",
        x.shape().str(), out_h, out_w);
  });
  const kernels::ResizeShape shape{x.dim(0), x.dim(1), x.dim(2), x.dim(3), out_h, out_w};
  Tensor y = Tensor::empty({shape.n, out_h, out_w, shape.c}, x.dtype(), x.device());
  on("resize_bilinear", x, [&](auto device, auto zero) {
    using T = decltype(zero);
    kernels::resize_bilinear_forward(device, x.data<T>(), y.data<T>(), shape);
  });
  return y;
}

}  // namespace glassnet
