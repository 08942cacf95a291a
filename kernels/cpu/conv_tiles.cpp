#include "kernels/cpu/conv_tiles.h"

#include <algorithm>

#if defined(GLASSNET_ONEDNN)
#include <dnnl.hpp>
#endif

namespace glassnet::kernels {
namespace {

#if defined(GLASSNET_CONV_TILES)
enum class Isa { kNone, kAvx2, kAvx512 };

// The instructions of x86-64-v3 and v4, as the compiler is told for the files of the two sets.
Isa processor_isa() {
  const bool v3 = __builtin_cpu_supports("avx2") != 0 && __builtin_cpu_supports("fma") != 0 &&
                  __builtin_cpu_supports("bmi") != 0 && __builtin_cpu_supports("bmi2") != 0;
  const bool v4 =
      __builtin_cpu_supports("avx512f") != 0 && __builtin_cpu_supports("avx512bw") != 0 &&
      __builtin_cpu_supports("avx512cd") != 0 && __builtin_cpu_supports("avx512dq") != 0 &&
      __builtin_cpu_supports("avx512vl") != 0;
  if (!v3) return Isa::kNone;
  return v4 ? Isa::kAvx512 : Isa::kAvx2;
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
  const Isa isa = std::min(processor_isa(), allowed_isa());
  if (isa == Isa::kAvx512) return &kAvx512Tiles;
  return isa == Isa::kAvx2 ? &kAvx2Tiles : nullptr;
}
#else
const ConvTiles* choose() {
  return nullptr;
}
#endif

}  // namespace

const ConvTiles* conv_tiles() {
  static const ConvTiles* const tiles = choose();
  return tiles;
}

}  // namespace glassnet::kernels
