// The safetensors format: eight bytes of header length, a JSON header of names, types, shapes and
// offsets, then the elements.
#pragma once

#include <filesystem>
#include <map>
#include <string>

#include "models/tensor_file.h"
#include "nn/module.h"

namespace glassnet {

// The tensors in the order of their offsets, where they lie in `file`. Throws Error, one sentence
// that begins with `name`, for whatever is not a well-formed file: no length in it is trusted
// before it is checked against the file's size, and every byte belongs to exactly one tensor. A
// tensor may begin at any byte, as the format allows.
TensorFile parse_safetensors(const std::string& name, const SharedBytes& file);
// Wide elements first, from a multiple of eight bytes on, so that every tensor is aligned for
// whoever maps the file. Written to a temporary name, fsync, rename; throws Error and leaves
// nothing behind when it fails.
void save_safetensors(const std::filesystem::path& path, const TensorFile& content);

// The same for tensors of the engine's types, as they are: layouts are the caller's business.
struct SafeTensors {
  StateDict tensors;
  std::map<std::string, std::string> metadata;
};
void save_safetensors(const std::filesystem::path& path, const SafeTensors& content);
SafeTensors load_safetensors(const std::filesystem::path& path);

}  // namespace glassnet
