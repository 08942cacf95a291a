// The shape of a dense tensor: up to eight extents, outermost first.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <vector>

namespace glassnet {

class Shape {
 public:
  static constexpr int kMaxRank = 8;

  Shape() = default;  // a scalar: rank 0, one element
  Shape(std::initializer_list<int64_t> dims);
  explicit Shape(const std::vector<int64_t>& dims);

  int rank() const { return rank_; }
  int64_t numel() const;
  // Axis -1 is the last one. Throws when the axis does not exist.
  int64_t dim(int axis) const;
  int64_t operator[](int axis) const { return dims_[axis]; }
  // A negative axis counted from the end; throws when it does not exist.
  int axis(int axis) const;

  std::vector<int64_t> dims() const { return {dims_.begin(), dims_.begin() + rank_}; }
  std::string str() const;  // "(2, 3, 4)"
  bool operator==(const Shape& other) const = default;

 private:
  std::array<int64_t, kMaxRank> dims_ = {};  // zero past rank_
  int rank_ = 0;
};

// NumPy's broadcasting rule; throws when the shapes do not go together.
Shape broadcast(const Shape& a, const Shape& b);

}  // namespace glassnet
