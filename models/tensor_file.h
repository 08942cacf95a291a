// Files of named tensors, whatever their format: safetensors, and PyTorch's .pth in both its forms.
// Names, shapes and layouts are the file's own. Elements stay where they lie, in the mapped file,
// until they are asked for.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "tensor/file.h"
#include "tensor/tensor.h"

namespace glassnet {

// What files store. The engine computes with fewer types: narrow integers and bool become int64.
enum class ElementType : uint8_t {
  kFloat64,
  kFloat32,
  kFloat16,
  kBFloat16,
  kInt64,
  kInt32,
  kInt16,
  kInt8,
  kUInt8,
  kBool,
};
size_t size_of(ElementType type);
const char* name_of(ElementType type);  // "float32", as PyTorch calls it
ElementType element_type(DType type);
DType engine_type(ElementType type);

// A tensor as it lies in a file.
//
// CONVENTION: whoever fills one in has checked that every element that shape and strides reach lies
// within memory that the TensorFile's owners hold, and that the shape's elements can be counted.
struct StoredTensor {
  std::string name;
  ElementType type = ElementType::kFloat32;
  Shape shape;
  std::vector<int64_t> strides =
      {};                           // in elements, at least 0; empty: dense, the last axis fastest
  const std::byte* data = nullptr;  // the first element, at any alignment
  bool swapped = false;             // the bytes of an element are in the other order

  size_t bytes() const { return static_cast<size_t>(shape.numel()) * size_of(type); }
};

struct TensorFile {
  std::vector<StoredTensor> tensors;            // in the file's order
  std::map<std::string, std::string> metadata;  // of safetensors
  std::string format;                           // "safetensors", "PyTorch", "PyTorch before 1.6"
  std::string prefix;                           // that every name had and has lost: "module."
  std::vector<std::shared_ptr<const void>> owners;  // of the memory that the tensors point into
};

// Tells the format by the first bytes. Throws Error, one sentence that names the file, for whatever
// is not a well-formed file of tensors: no length in it is trusted before it is checked against the
// file's size, and nothing in it is ever executed.
TensorFile read_tensor_file(const std::filesystem::path& path);
// The same from memory; `name` stands for the file in messages.
TensorFile parse_tensor_file(const std::string& name, const SharedBytes& file);

// Writes what the path's extension says: .safetensors, or .pth, .pt, .th for PyTorch. To a
// temporary name, fsync, rename; throws UsageError for another extension, and Error, leaving
// nothing behind, when it fails.
void write_tensor_file(const std::filesystem::path& path, const TensorFile& content);

// The shape under which files hold a tensor of this engine: (K, C, R, S) for (K, R, S, C), and that
// of the other ranks.
Shape file_shape(const Shape& shape);
// Copies the elements, dense and in this machine's byte order, to `out` (tensor.bytes() bytes).
void copy_elements(const StoredTensor& tensor, std::byte* out);
// With the file's own axes, as a tensor of engine_type(tensor.type).
Tensor to_tensor(const StoredTensor& tensor);
// Into a tensor of this engine's layout, converting the type; from a mapped file of the same type
// in one pass. Throws Error where the tensor's file_shape is another.
void load_into(const StoredTensor& stored, Tensor& tensor);
// A view of a tensor on the CPU, which must outlive it, with this engine's axes.
StoredTensor stored_view(const std::string& name, const Tensor& tensor);

}  // namespace glassnet
