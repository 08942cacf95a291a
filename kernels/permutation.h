// A permutation of axes in as few axes as possible, for every backend.
#pragma once

#include <cstdint>
#include <vector>

namespace glassnet::kernels {

// The axes of a permutation in the order of the result: extent, and step in x.
struct PermutedAxis {
  int64_t dim, step;
};

// As few axes as possible: extents of 1 are dropped and neighbours that x holds in the same order
// become one.
inline std::vector<PermutedAxis> permuted_axes(const std::vector<int64_t>& dims,
                                               const std::vector<int64_t>& axes) {
  std::vector<int64_t> steps(dims.size(), 1);
  for (size_t i = dims.size(); i-- > 1;) steps[i - 1] = steps[i] * dims[i];
  std::vector<PermutedAxis> result;
  for (const int64_t axis : axes) {
    const PermutedAxis next{dims[axis], steps[axis]};
    if (next.dim == 1) continue;
    if (!result.empty() && result.back().step == next.step * next.dim) {
      result.back() = {result.back().dim * next.dim, next.step};
    } else {
      result.push_back(next);
    }
  }
  if (result.empty()) result.push_back({1, 1});
  return result;
}

}  // namespace glassnet::kernels
