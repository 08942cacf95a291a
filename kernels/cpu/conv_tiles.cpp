#include "kernels/cpu/conv_tiles.h"

#include <algorithm>

#if defined(GLASSNET_ONEDNN)
#include <dnnl.hpp>
#endif

namespace glassnet::kernels {
namespace {

enum class Isa { kNone, kAvx2, kAvx512 };

Isa processor_isa() {
  if (__builtin_cpu_supports("avx512f") != 0 && __builtin_cpu_supports("fma") != 0) {
    return Isa::kAvx512;
  }
  if (__builtin_cpu_supports("avx2") != 0 && __builtin_cpu_supports("fma") != 0) return Isa::kAvx2;
  return Isa::kNone;
}

// oneDNN's limit, so that one word of the user's holds for all convolutions.
Isa allowed_isa() {
#if defined(GLASSNET_ONEDNN)
  const auto allowed = static_cast<unsigned>(dnnl::get_effective_cpu_isa());
  const auto has = [&](dnnl::cpu_isa isa) {
    return (allowed & static_cast<unsigned>(isa)) == static_cast<unsigned>(isa);
  };
  if (has(dnnl::cpu_isa::avx512_core)) return Isa::kAvx512;
  return has(dnnl::cpu_isa::avx2) ? Isa::kAvx2 : Isa::kNone;
#else
  return Isa::kAvx512;
#endif
}

const ConvTiles* choose() {
  switch (std::min(processor_isa(), allowed_isa())) {
    case Isa::kAvx512:
      return &kAvx512Tiles;
    case Isa::kAvx2:
      return &kAvx2Tiles;
    case Isa::kNone:
      break;
  }
  return nullptr;
}

}  // namespace

const ConvTiles* conv_tiles() {
  static const ConvTiles* const tiles = choose();
  return tiles;
}

}  // namespace glassnet::kernels
