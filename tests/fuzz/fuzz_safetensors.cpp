// libFuzzer's way into the reader of safetensors.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "models/safetensors.h"
#include "tests/fuzz/support.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  glassnet::fuzz::expect_tensors_or_a_sentence(glassnet::parse_safetensors, bytes);
  return 0;
}
