#include "kernels/gather.h"

#include <cstring>

#include "kernels/cpu/parallel.h"

namespace glassnet::kernels {

void gather_rows(Cpu, const void* x, const int32_t* index, void* y, int64_t count,
                 int64_t row_bytes) {
  const auto size = static_cast<size_t>(row_bytes);
  const auto gather = [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      void* to = static_cast<char*>(y) + i * row_bytes;
      if (index[i] < 0) {
        std::memset(to, 0, size);
      } else {
        std::memcpy(to, static_cast<const char*>(x) + index[i] * row_bytes, size);
      }
    }
  };
  parallel_ranges(count, kSmall * 4 / (row_bytes + 1), gather, /*unit=*/1);
}

}  // namespace glassnet::kernels
