#include "tensor/shape.h"

#include <algorithm>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "kernels/error.h"

namespace glassnet {

Shape::Shape(std::initializer_list<int64_t> dims) : Shape(std::vector<int64_t>(dims)) {}

Shape::Shape(const std::vector<int64_t>& dims) : rank_(static_cast<int>(dims.size())) {
  require(dims.size() <= kMaxRank, [&] {
    return fmt::format("[shape] expected at most {} axes, got {}", kMaxRank, dims.size());
  });
  std::copy(dims.begin(), dims.end(), dims_.begin());
}

int64_t Shape::numel() const {
  int64_t n = 1;
  for (int i = 0; i < rank_; ++i) n *= dims_[i];
  return n;
}

int Shape::axis(int axis) const {
  const int positive = axis < 0 ? axis + rank_ : axis;
  require(positive >= 0 && positive < rank_, [&] {
    return fmt::format("[shape] axis {} does not exist in a tensor of shape {}", axis, str());
  });
  return positive;
}

int64_t Shape::dim(int i) const {
  return dims_[axis(i)];
}

std::string Shape::str() const {
  if (rank_ == 1) return fmt::format("({},)", dims_[0]);
  return fmt::format("({})", fmt::join(dims_.begin(), dims_.begin() + rank_, ", "));
}

Shape broadcast(const Shape& a, const Shape& b) {
  const int rank = std::max(a.rank(), b.rank());
  std::vector<int64_t> dims(rank);
  for (int i = 0; i < rank; ++i) {
    const int ia = i - (rank - a.rank()), ib = i - (rank - b.rank());
    const int64_t da = ia < 0 ? 1 : a[ia], db = ib < 0 ? 1 : b[ib];
    require(da == db || da == 1 || db == 1, [&] {
      return fmt::format("[broadcast] shapes {} and {} do not go together at axis {}", a.str(),
                         b.str(), i);
    });
    dims[i] = da == 1 ? db : da;
  }
  return Shape(dims);
}

}  // namespace glassnet
