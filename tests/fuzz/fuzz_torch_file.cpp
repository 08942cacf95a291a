// libFuzzer's way into the reader of PyTorch's files: the bytes are a file, and unless they are a
// zip archive also the pickle in a sound one, which its checksum would keep a changed one from.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "models/torch_file.h"
#include "tests/fuzz/support.h"
#include "tests/torch_file_support.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace glassnet;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  fuzz::expect_tensors_or_a_sentence(parse_torch_file, bytes);
  if (bytes.starts_with("PK")) return 0;
  // Storages of 1, 2, 4 … 64 bytes.
  test::Storages storages;
  for (int key = 0; key < 7; ++key) {
    storages.emplace_back(std::to_string(key), std::string(size_t{1} << key, '\x3c'));
  }
  fuzz::expect_tensors_or_a_sentence(parse_torch_file,
                                     test::torch_zip(std::string(bytes), storages));
  return 0;
}
