// The safetensors format: eight bytes of header length, a JSON header of names, types, shapes and
// offsets, then the elements. Shapes are kept as they are; layouts are the caller's business.
#pragma once

#include <filesystem>
#include <map>
#include <string>

#include "nn/module.h"

namespace glassnet {

struct SafeTensors {
  StateDict tensors;  // in the order of their offsets
  std::map<std::string, std::string> metadata;
};

// Written to a temporary name, fsync, rename; throws Error and leaves nothing behind when it fails.
void save_safetensors(const std::filesystem::path& path, const SafeTensors& content);
// Throws Error, one sentence that names the file, for whatever is not a well-formed file: no length
// in it is trusted before it is checked against the file's size.
SafeTensors load_safetensors(const std::filesystem::path& path);

}  // namespace glassnet
