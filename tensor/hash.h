// FNV-1a, 64 bits (Fowler, Noll, Vo): to notice that something is not what it was, not to keep
// anybody from making it look so.
#pragma once

#include <cstdint>
#include <string_view>

namespace glassnet {

class Fnv1a {
 public:
  void add(std::string_view bytes) {
    for (const char byte : bytes) {
      value_ = (value_ ^ static_cast<uint8_t>(byte)) * uint64_t{0x100000001b3};
    }
  }
  uint64_t value() const { return value_; }

 private:
  uint64_t value_ = 0xcbf29ce484222325;
};

}  // namespace glassnet
