// Tensor: a dense array, a handle on shared storage. No strides and no gradients: the only views
// are reshape and a slice of the first axis. Images are NHWC, convolution weights (K, R, S, C).
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "tensor/device.h"
#include "tensor/shape.h"
#include "tensor/storage.h"

namespace glassnet {

// CONVENTION: copies of a Tensor share their elements; `clone` does not. An undefined Tensor (the
// default) has no storage and stands for "none".
class Tensor {
 public:
  Tensor() = default;
  static Tensor empty(const Shape& shape, DType type = DType::kFloat32, Device device = {});
  static Tensor zeros(const Shape& shape, DType type = DType::kFloat32, Device device = {});
  static Tensor full(const Shape& shape, double value, DType type = DType::kFloat32,
                     Device device = {});
  // A copy of `values`, whose number must be shape.numel(); its type decides the tensor's.
  template <class T>
  static Tensor from(const std::vector<T>& values, const Shape& shape);

  bool defined() const { return storage_ != nullptr; }
  const Shape& shape() const { return shape_; }
  int64_t dim(int axis) const { return shape_.dim(axis); }
  int rank() const { return shape_.rank(); }
  int64_t numel() const { return shape_.numel(); }
  DType dtype() const { return dtype_; }
  Device device() const { return storage_ ? storage_->device() : Device{}; }
  size_t bytes() const { return static_cast<size_t>(numel()) * size_of(dtype_); }
  // True when no other Tensor shares the storage, so that writing in place is seen by nobody.
  bool unique() const { return storage_ && storage_.use_count() == 1; }

  // Changes whenever a tensor of the same storage is asked for elements to write (`data` and `raw`
  // of one that is not const): at the same address, equal numbers mean equal elements, unless
  // somebody kept the pointer and wrote later. No two storages share a number. 0 for none.
  uint64_t version() const { return defined() ? storage_->version() : 0; }

  // The elements, checked against the element type. Host pointers only on the CPU.
  template <class T>
  T* data() {
    check_type(dtype_of<T>);
    return static_cast<T*>(raw());
  }
  template <class T>
  const T* data() const {
    check_type(dtype_of<T>);
    return static_cast<const T*>(raw());
  }
  void* raw() {
    if (!defined()) return nullptr;
    storage_->touch();
    char* elements = static_cast<char*>(storage_->data()) + offset_;
    if (Profile* profile = Profile::active()) profile->touch(elements, bytes(), /*written=*/true);
    return elements;
  }
  const void* raw() const {
    if (!defined()) return nullptr;
    const char* elements = static_cast<const char*>(storage_->data()) + offset_;
    if (Profile* profile = Profile::active()) profile->touch(elements, bytes(), /*written=*/false);
    return elements;
  }

  // The same elements under another shape; one extent may be -1.
  Tensor reshape(const Shape& shape) const;
  // Rows [begin, end) of the first axis, sharing the elements.
  Tensor slice(int64_t begin, int64_t end) const;

  Tensor clone() const;
  Tensor to(DType type) const;     // this tensor itself when nothing changes
  Tensor to(Device device) const;  // likewise
  // A copy with axes reordered: result.dim(i) = dim(axes[i]).
  Tensor permute(const std::vector<int64_t>& axes) const;
  void copy_from(const Tensor& other);  // same shape; converts the type
  void fill(double value);

  // The only element, as a double.
  double item() const;
  // All elements, converted to T.
  template <class T>
  std::vector<T> to_vector() const;

 private:
  void check_type(DType wanted) const;

  std::shared_ptr<Storage> storage_;
  size_t offset_ = 0;  // bytes
  Shape shape_;
  DType dtype_ = DType::kFloat32;
};

// The door between layouts: images (N, C, H, W) <-> (N, H, W, C) and convolution weights
// (K, C, R, S) <-> (K, R, S, C) are the same permutation. Other ranks pass unchanged.
Tensor nchw_to_nhwc(const Tensor& x);
Tensor nhwc_to_nchw(const Tensor& x);

}  // namespace glassnet
