// Element types, and the storage forms of the two 16-bit floats.
#pragma once

#include <cstddef>
#include <cstdint>

namespace glassnet {

enum class DType : uint8_t { kFloat32, kBFloat16, kFloat16, kFloat64, kUInt8, kInt64 };

// Storage only: 16 bits, which kernels/half.h turns into numbers. Kernels read and write them and
// compute in float32; float16 only on a GPU, the CPU casts it.
struct bfloat16 {
  uint16_t bits;
};
struct float16 {
  uint16_t bits;
};

// Bytes of one element.
constexpr size_t size_of(DType type) {
  switch (type) {
    case DType::kFloat32:
      return 4;
    case DType::kBFloat16:
      return 2;
    case DType::kFloat16:
      return 2;
    case DType::kFloat64:
      return 8;
    case DType::kUInt8:
      return 1;
    case DType::kInt64:
      return 8;
  }
  return 0;
}

constexpr const char* name_of(DType type) {
  switch (type) {
    case DType::kFloat32:
      return "float32";
    case DType::kBFloat16:
      return "bfloat16";
    case DType::kFloat16:
      return "float16";
    case DType::kFloat64:
      return "float64";
    case DType::kUInt8:
      return "uint8";
    case DType::kInt64:
      return "int64";
  }
  return "?";
}

// The type of statistics, losses and other sums of elements of type T: never narrower than float32.
template <class T>
struct Statistic {
  using type = float;
};
template <>
struct Statistic<double> {
  using type = double;
};
template <class T>
using statistic_t = typename Statistic<T>::type;
constexpr DType statistic_type(DType type) {
  return type == DType::kFloat64 ? DType::kFloat64 : DType::kFloat32;
}

template <class T>
inline constexpr DType dtype_of = DType::kFloat32;
template <>
inline constexpr DType dtype_of<bfloat16> = DType::kBFloat16;
template <>
inline constexpr DType dtype_of<float16> = DType::kFloat16;
template <>
inline constexpr DType dtype_of<double> = DType::kFloat64;
template <>
inline constexpr DType dtype_of<uint8_t> = DType::kUInt8;
template <>
inline constexpr DType dtype_of<int64_t> = DType::kInt64;

}  // namespace glassnet
