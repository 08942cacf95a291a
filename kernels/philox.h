// Philox 4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011), for host
// and GPU alike: the same numbers on both, bit for bit.
#pragma once

#include <cstdint>

#include "kernels/host_device.h"

namespace glassnet::kernels {

struct PhiloxBlock {
  uint32_t words[4];
};

// A pure function of (seed, stream, index).
GLASSNET_HOST_DEVICE inline PhiloxBlock philox(uint64_t seed, uint64_t stream, uint64_t index) {
  constexpr uint32_t kMultiplierA = 0xD2511F53, kMultiplierB = 0xCD9E8D57;
  constexpr uint32_t kWeylA = 0x9E3779B9, kWeylB = 0xBB67AE85;
  uint32_t c0 = static_cast<uint32_t>(index), c1 = static_cast<uint32_t>(index >> 32);
  uint32_t c2 = static_cast<uint32_t>(stream), c3 = static_cast<uint32_t>(stream >> 32);
  uint32_t ka = static_cast<uint32_t>(seed), kb = static_cast<uint32_t>(seed >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t a = uint64_t{kMultiplierA} * c0, b = uint64_t{kMultiplierB} * c2;
    c0 = static_cast<uint32_t>(b >> 32) ^ c1 ^ ka;
    c1 = static_cast<uint32_t>(b);
    c2 = static_cast<uint32_t>(a >> 32) ^ c3 ^ kb;
    c3 = static_cast<uint32_t>(a);
    ka += kWeylA;
    kb += kWeylB;
  }
  return {{c0, c1, c2, c3}};
}

// The stream of item (a, b) of a stream, for example of picture `b` in epoch `a`.
GLASSNET_HOST_DEVICE inline uint64_t philox_item_stream(uint64_t stream, uint64_t a, uint64_t b) {
  const PhiloxBlock mixed = philox(a, stream, b);
  return uint64_t{mixed.words[0]} << 32 | mixed.words[1];
}

// Two words as a number in [0, 1) with 53 bits.
GLASSNET_HOST_DEVICE inline double philox_uniform(uint32_t high, uint32_t low) {
  return static_cast<double>((uint64_t{high} << 32 | low) >> 11) * 0x1p-53;
}

// Draws one after the other from (seed, stream).
class PhiloxStream {
 public:
  GLASSNET_HOST_DEVICE PhiloxStream(uint64_t seed, uint64_t stream)
      : seed_(seed), stream_(stream) {}

  GLASSNET_HOST_DEVICE uint32_t next() {  // 32 random bits
    if (used_ == 4) {
      block_ = philox(seed_, stream_, index_++);
      used_ = 0;
    }
    return block_.words[used_++];
  }
  GLASSNET_HOST_DEVICE double uniform() {  // [0, 1)
    const uint32_t high = next();
    return philox_uniform(high, next());
  }
  GLASSNET_HOST_DEVICE double uniform(double low, double high) {
    return low + rounded_product(high - low, uniform());
  }
  GLASSNET_HOST_DEVICE int64_t below(int64_t n) {  // 0 … n-1, unbiased
    // Values over the largest multiple of n would favour small results.
    const auto range = static_cast<uint64_t>(n);
    const uint64_t limit = ~uint64_t{0} - ~uint64_t{0} % range;
    for (;;) {
      const uint64_t high = next();
      const uint64_t value = high << 32 | next();
      if (value < limit) return static_cast<int64_t>(value % range);
    }
  }

 private:
  uint64_t seed_, stream_, index_ = 0;
  PhiloxBlock block_ = {};
  int used_ = 4;
};

}  // namespace glassnet::kernels
