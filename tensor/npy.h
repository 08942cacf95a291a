// NumPy's .npy files: one array, a short text header, then the elements as they lie in memory.
// Format: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "tensor/tensor.h"

namespace glassnet {

// Writes `tensor` so that `numpy.load(path)` gives an array of the same shape and element type:
// version 1.0, C order, little endian, elements from a multiple of 64 bytes on. The file appears
// whole or not at all. Throws Error for bfloat16, which NumPy does not know, and for what
// write_file_atomically refuses.
void save_npy(const std::filesystem::path& path, const Tensor& tensor);

// Reads versions 1 to 3 with elements float16, float32, float64, uint8 and int64; int32 becomes
// int64 and bool becomes uint8. Throws Error, a sentence that names the file, for anything else:
// Fortran order, big endian, more than Shape::kMaxRank axes, bytes missing or too many.
Tensor load_npy(const std::filesystem::path& path);

// The same from memory; `name` stands in messages.
Tensor parse_npy(std::string_view bytes, const std::string& name);

}  // namespace glassnet
