#include "models/tensor_file.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <numeric>
#include <utility>

#include <fmt/format.h>

#include "kernels/copy.h"
#include "models/safetensors.h"
#include "models/strides.h"
#include "models/torch_file.h"

namespace glassnet {
namespace {

namespace fs = std::filesystem;

static_assert(std::endian::native == std::endian::little, "files of tensors are little-endian");

struct TypeFacts {
  ElementType type;
  size_t bytes;
  const char* name;
  DType engine;
};
constexpr TypeFacts kTypes[] = {
    {ElementType::kFloat64, 8, "float64", DType::kFloat64},
    {ElementType::kFloat32, 4, "float32", DType::kFloat32},
    {ElementType::kFloat16, 2, "float16", DType::kFloat16},
    {ElementType::kBFloat16, 2, "bfloat16", DType::kBFloat16},
    {ElementType::kInt64, 8, "int64", DType::kInt64},
    {ElementType::kInt32, 4, "int32", DType::kInt64},
    {ElementType::kInt16, 2, "int16", DType::kInt64},
    {ElementType::kInt8, 1, "int8", DType::kInt64},
    {ElementType::kUInt8, 1, "uint8", DType::kUInt8},
    {ElementType::kBool, 1, "bool", DType::kInt64},
};
const TypeFacts& facts_of(ElementType type) {
  return kTypes[static_cast<size_t>(type)];
}

// Whether `data` can be read in place as an array of elements.
bool is_plain(const StoredTensor& tensor) {
  return !tensor.swapped && tensor.strides.empty() &&
         reinterpret_cast<uintptr_t>(tensor.data) % size_of(tensor.type) == 0;
}

void copy_strided(const StoredTensor& tensor, std::byte* out) {
  const size_t size = size_of(tensor.type);
  const int rank = tensor.shape.rank();
  const std::vector<int64_t> strides =
      tensor.strides.empty() ? dense_strides(tensor.shape) : tensor.strides;
  std::vector<int64_t> index(static_cast<size_t>(rank), 0);
  int64_t at = 0;  // in elements
  for (int64_t left = tensor.shape.numel(); left > 0; --left, out += size) {
    const std::byte* element = tensor.data + static_cast<size_t>(at) * size;
    if (tensor.swapped) {
      std::reverse_copy(element, element + size, out);
    } else {
      std::memcpy(out, element, size);
    }
    for (int axis = rank - 1; axis >= 0; --axis) {
      const auto a = static_cast<size_t>(axis);
      at += strides[a];
      if (++index[a] < tensor.shape[axis]) break;
      at -= strides[a] * tensor.shape[axis];
      index[a] = 0;
    }
  }
}

template <class Narrow>
void widen(const std::byte* from, Tensor& to) {
  auto* values = to.data<int64_t>();
  for (int64_t i = 0; i < to.numel(); ++i) {
    Narrow value;
    std::memcpy(&value, from + static_cast<size_t>(i) * sizeof(Narrow), sizeof(Narrow));
    values[i] = value;  // NOLINT(bugprone-signed-char-misuse): an int8_t's sign is meant
  }
}

void widen(ElementType type, const std::byte* from, Tensor& to) {
  switch (type) {
    case ElementType::kInt32:
      return widen<int32_t>(from, to);
    case ElementType::kInt16:
      return widen<int16_t>(from, to);
    case ElementType::kInt8:
      return widen<int8_t>(from, to);
    default:
      return widen<uint8_t>(from, to);  // bool: a byte of 0 or 1
  }
}

enum class Extension { kSafeTensors, kTorch };
Extension extension_of(const fs::path& path) {
  std::string extension = path.extension().string();
  std::transform(extension.begin(), extension.end(), extension.begin(),
                 [](unsigned char letter) { return std::tolower(letter); });
  if (extension == ".safetensors") return Extension::kSafeTensors;
  if (extension == ".pth" || extension == ".pt" || extension == ".th") return Extension::kTorch;
  throw UsageError(fmt::format(
      "{}: the name of a weight file that is written must end in .safetensors, or in .pth, .pt or "
      ".th for PyTorch",
      path.string()));
}

}  // namespace

size_t size_of(ElementType type) {
  return facts_of(type).bytes;
}
const char* name_of(ElementType type) {
  return facts_of(type).name;
}
DType engine_type(ElementType type) {
  return facts_of(type).engine;
}
ElementType element_type(DType type) {
  // The first whose engine type it is: int64 stands before the narrow integers.
  return std::find_if(std::begin(kTypes), std::end(kTypes),
                      [&](const TypeFacts& facts) { return facts.engine == type; })
      ->type;
}

TensorFile parse_tensor_file(const std::string& name, const SharedBytes& file) {
  const std::string_view bytes = file.bytes;
  // The upper half of the header's length, and where the header begins.
  const bool safetensors = bytes.size() > 8 && bytes.substr(4).starts_with({"\0\0\0\0{", 5});
  // A zip archive, a pickle, or the tar archive of PyTorch 0.1.
  constexpr size_t kTarMagic = 257;
  const bool torch = bytes.starts_with("PK\x03\x04") || bytes.starts_with("\x80") ||
                     (bytes.size() > kTarMagic && bytes.substr(kTarMagic).starts_with("ustar"));
  return torch && !safetensors ? parse_torch_file(name, file) : parse_safetensors(name, file);
}

TensorFile read_tensor_file(const fs::path& path) {
  return parse_tensor_file(path.string(), map_file(path));
}

void write_tensor_file(const fs::path& path, const TensorFile& content) {
  if (extension_of(path) == Extension::kSafeTensors) return save_safetensors(path, content);
  save_torch_file(path, content);
}

Shape file_shape(const Shape& shape) {
  return shape.rank() == 4 ? Shape{shape[0], shape[3], shape[1], shape[2]} : shape;
}

void copy_elements(const StoredTensor& tensor, std::byte* out) {
  if (tensor.bytes() == 0) return;
  if (!tensor.swapped && tensor.strides.empty()) {
    std::memcpy(out, tensor.data, tensor.bytes());
  } else {
    copy_strided(tensor, out);
  }
}

Tensor to_tensor(const StoredTensor& stored) {
  Tensor tensor = Tensor::empty(stored.shape, engine_type(stored.type));
  if (size_of(stored.type) == size_of(tensor.dtype())) {
    copy_elements(stored, static_cast<std::byte*>(tensor.raw()));
  } else {
    std::vector<std::byte> narrow(stored.bytes());
    copy_elements(stored, narrow.data());
    widen(stored.type, narrow.data(), tensor);
  }
  return tensor;
}

void load_into(const StoredTensor& stored, Tensor& tensor) {
  const Shape wanted = file_shape(tensor.shape());
  require(stored.shape == wanted, [&] {
    return fmt::format("tensor {} is {}, expected {}", stored.name, stored.shape.str(),
                       wanted.str());
  });
  if (stored.bytes() == 0) return;
  const bool same_type =
      engine_type(stored.type) == tensor.dtype() && size_of(stored.type) == size_of(tensor.dtype());
  if (!same_type || !is_plain(stored) || tensor.device().type != DeviceType::kCpu) {
    tensor.copy_from(nchw_to_nhwc(to_tensor(stored)));
    return;
  }
  if (stored.shape.rank() == 4) {
    kernels::permute(Cpu{}, stored.data, tensor.raw(), stored.shape.dims(), {0, 2, 3, 1},
                     size_of(stored.type));
  } else {
    std::memcpy(tensor.raw(), stored.data, stored.bytes());
  }
}

StoredTensor stored_view(const std::string& name, const Tensor& tensor) {
  return {.name = name,
          .type = element_type(tensor.dtype()),
          .shape = tensor.shape(),
          .data = static_cast<const std::byte*>(tensor.raw())};
}

}  // namespace glassnet
