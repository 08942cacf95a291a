#include "tensor/tensor.h"

#include <cstring>

#include <fmt/format.h>

#include "kernels/copy.h"

#if defined(GLASSNET_CUDA)
#include "kernels/cuda/runtime.h"
#endif

namespace glassnet {

Tensor Tensor::empty(const Shape& shape, DType type, Device device) {
  for (int i = 0; i < shape.rank(); ++i) {
    require(shape[i] >= 0, [&] {
      return fmt::format("[tensor] expected extents of at least 0, got {}", shape.str());
    });
  }
  Tensor result;
  result.shape_ = shape;
  result.dtype_ = type;
  result.storage_ = std::make_shared<Storage>(result.bytes(), device);
  return result;
}

Tensor Tensor::zeros(const Shape& shape, DType type, Device device) {
  return full(shape, 0, type, device);
}

Tensor Tensor::full(const Shape& shape, double value, DType type, Device device) {
  Tensor result = empty(shape, type, device);
  result.fill(value);
  return result;
}

template <class T>
Tensor Tensor::from(const std::vector<T>& values, const Shape& shape) {
  require(static_cast<int64_t>(values.size()) == shape.numel(), [&] {
    return fmt::format("[tensor] expected {} values for shape {}, got {}", shape.numel(),
                       shape.str(), values.size());
  });
  Tensor result = empty(shape, dtype_of<T>);
  if (!values.empty()) std::memcpy(result.raw(), values.data(), result.bytes());
  return result;
}
template Tensor Tensor::from(const std::vector<float>&, const Shape&);
template Tensor Tensor::from(const std::vector<double>&, const Shape&);
template Tensor Tensor::from(const std::vector<uint8_t>&, const Shape&);
template Tensor Tensor::from(const std::vector<int64_t>&, const Shape&);

void Tensor::check_type(DType wanted) const {
  require(defined(), [] { return std::string("[tensor] expected a defined tensor, got none"); });
  require(dtype_ == wanted, [&] {
    return fmt::format("[tensor] expected {} elements, got {} of shape {}", name_of(wanted),
                       name_of(dtype_), shape_.str());
  });
}

Tensor Tensor::reshape(const Shape& shape) const {
  std::vector<int64_t> dims = shape.dims();
  int64_t known = 1;
  int inferred = -1;
  for (size_t i = 0; i < dims.size(); ++i) {
    if (dims[i] != -1) {
      known *= dims[i];
      continue;
    }
    require(inferred < 0,
            [&] { return fmt::format("[reshape] expected at most one -1, got {}", shape.str()); });
    inferred = static_cast<int>(i);
  }
  if (inferred >= 0 && known > 0) dims[inferred] = numel() / known;
  Tensor result = *this;
  result.shape_ = Shape(dims);
  require(result.shape_.numel() == numel(), [&] {
    return fmt::format("[reshape] expected {} elements, got shape {}", numel(), shape.str());
  });
  return result;
}

Tensor Tensor::slice(int64_t begin, int64_t end) const {
  require(rank() > 0 && 0 <= begin && begin <= end && end <= shape_[0], [&] {
    return fmt::format("[slice] expected rows within shape {}, got [{}, {})", shape_.str(), begin,
                       end);
  });
  std::vector<int64_t> dims = shape_.dims();
  const int64_t row = shape_[0] > 0 ? numel() / shape_[0] : 0;
  dims[0] = end - begin;
  Tensor result = *this;
  result.shape_ = Shape(dims);
  result.offset_ += static_cast<size_t>(begin * row) * size_of(dtype_);
  return result;
}

Tensor Tensor::clone() const {
  if (!defined()) return {};
  Tensor result = empty(shape_, dtype_, device());
  result.copy_from(*this);
  return result;
}

Tensor Tensor::to(DType type) const {
  if (!defined() || type == dtype_) return *this;
  Tensor result = empty(shape_, type, device());
  result.copy_from(*this);
  return result;
}

Tensor Tensor::to(Device target) const {
  if (!defined() || target == device()) return *this;
  Tensor result = empty(shape_, dtype_, target);
  result.copy_from(*this);
  return result;
}

void Tensor::copy_from(const Tensor& other) {
  require(shape_ == other.shape_, [&] {
    return fmt::format("[copy] expected shape {}, got {}", shape_.str(), other.shape_.str());
  });
  if (dtype_ != other.dtype_ && device() != other.device()) return copy_from(other.to(dtype_));
  const SpanScope span([&](Profile& p) {
    p.open(Span::Kind::kOp, dtype_ != other.dtype_ ? "cast" : "copy");
    p.describe(shape_.str());
  });
  if (dtype_ != other.dtype_) {
    on(device(),
       [&](auto tag) { kernels::cast(tag, other.raw(), other.dtype_, raw(), dtype_, numel()); });
    return;
  }
  if (bytes() == 0) return;
  if (device().type == DeviceType::kCpu && other.device().type == DeviceType::kCpu) {
    std::memmove(raw(), other.raw(), bytes());
    return;
  }
#if defined(GLASSNET_CUDA)
  const Device queue = device().type == DeviceType::kCuda ? device() : other.device();
  // Every device has an order of work of its own.
  const bool between = other.device().type == DeviceType::kCuda && other.device() != queue;
  if (between) kernels::synchronize(cuda_tag(other.device()));
  kernels::cuda_copy(cuda_tag(queue), raw(), other.raw(), bytes());
  if (between) kernels::synchronize(cuda_tag(queue));
#endif
}

void Tensor::fill(double value) {
  on(device(), [&](auto tag) { kernels::fill(tag, raw(), dtype_, value, numel()); });
}

Tensor Tensor::permute(const std::vector<int64_t>& axes) const {
  require(static_cast<int>(axes.size()) == rank(),
          [&] { return fmt::format("[permute] expected {} axes, got {}", rank(), axes.size()); });
  std::vector<int64_t> dims;
  std::vector<bool> seen(axes.size(), false);
  for (const int64_t axis : axes) {
    require(axis >= 0 && axis < rank() && !seen[axis], [&] {
      return fmt::format("[permute] expected each axis of {} once, got axis {}", shape_.str(),
                         axis);
    });
    seen[axis] = true;
    dims.push_back(shape_[static_cast<int>(axis)]);
  }
  Tensor result = empty(Shape(dims), dtype_, device());
  on(device(), [&](auto tag) {
    kernels::permute(tag, raw(), result.raw(), shape_.dims(), axes, size_of(dtype_));
  });
  return result;
}

double Tensor::item() const {
  require(defined() && numel() == 1, [&] {
    return fmt::format("[item] expected a single element, got shape {}", shape_.str());
  });
  return to_vector<double>()[0];
}

template <class T>
std::vector<T> Tensor::to_vector() const {
  const Tensor host = to(Device{}).to(dtype_of<T>);
  std::vector<T> values(static_cast<size_t>(numel()));
  if (!values.empty()) std::memcpy(values.data(), host.raw(), host.bytes());
  return values;
}
template std::vector<float> Tensor::to_vector() const;
template std::vector<double> Tensor::to_vector() const;
template std::vector<uint8_t> Tensor::to_vector() const;
template std::vector<int64_t> Tensor::to_vector() const;

Tensor nchw_to_nhwc(const Tensor& x) {
  return x.rank() == 4 ? x.permute({0, 2, 3, 1}) : x;
}
Tensor nhwc_to_nchw(const Tensor& x) {
  return x.rank() == 4 ? x.permute({0, 3, 1, 2}) : x;
}

}  // namespace glassnet
