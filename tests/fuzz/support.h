// What every reader of files of tensors promises, held against bytes that libFuzzer makes up.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <set>
#include <string>
#include <string_view>

#include "kernels/error.h"
#include "models/tensor_file.h"

namespace glassnet::fuzz {

inline void demand(bool kept, const char* promise, const std::string& instead) {
  if (kept) return;
  std::fprintf(stderr, "Not kept: %s, but: %s\n", promise, instead.c_str());
  std::abort();
}

// The bytes are refused in one printable sentence that begins with the file's name, or they are
// tensors of different names, every element of which can be read. Sanitizers watch over the rest.
template <class Parse>
void expect_tensors_or_a_sentence(const Parse& parse, std::string_view bytes) {
  const std::string name = "file";
  try {
    const TensorFile content = parse(name, SharedBytes{bytes, nullptr});
    std::set<std::string> names;
    for (const StoredTensor& tensor : content.tensors) {
      demand(names.insert(tensor.name).second, "no name occurs twice", tensor.name);
      constexpr size_t kMostBytes = 1 << 16;  // more of an expanded tensor is but slow
      if (tensor.bytes() <= kMostBytes) to_tensor(tensor);
    }
  } catch (const Error& error) {
    const std::string message = error.what();
    demand(message.starts_with(name + ": "), "a message begins with the file's name", message);
    demand(message.size() < 1000, "a message is a sentence", message);
    for (const char letter : message) {
      demand(static_cast<unsigned char>(letter) >= ' ', "a message is one line", message);
    }
  }
}

}  // namespace glassnet::fuzz
