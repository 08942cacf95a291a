// What tests of single kernels on the CUDA device share: arrays that start off the sixteen-byte
// grid, with guards around them, and comparisons in each of the three types.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "kernels/half.h"
#include "tests/device_support.h"

namespace glassnet {

using DeviceTypes = testing::Types<float, bfloat16, float16>;
struct DeviceTypeName {
  template <class T>
  static std::string GetName(int) {
    return name_of(dtype_of<T>);
  }
};

template <class T>
class DeviceTypedTest : public DeviceTest {};

#if defined(GLASSNET_CUDA)

inline Cuda cuda() {
  return kernels::current_cuda(0);
}

// `count` elements on the device, `offset` elements behind a multiple of sixteen bytes.
// CONVENTION: kernels write nowhere else; `host` checks that of the elements around them.
template <class T>
class Placed {
 public:
  Placed(const std::vector<T>& values, size_t offset) : count_(values.size()), offset_(offset) {
    std::vector<T> all(count_ + offset_ + kGuard);
    std::memset(static_cast<void*>(all.data()), kFiller, all.size() * sizeof(T));
    std::copy(values.begin(), values.end(), all.begin() + static_cast<std::ptrdiff_t>(offset_));
    array_ = std::make_unique<DeviceArray<T>>(all);
  }
  // For a result.
  Placed(size_t count, size_t offset) : Placed(std::vector<T>(count), offset) {}

  T* get() const { return array_->get() + offset_; }
  std::vector<T> host() const {
    const std::vector<T> all = array_->host();
    const auto begin = all.begin() + static_cast<std::ptrdiff_t>(offset_);
    const auto end = begin + static_cast<std::ptrdiff_t>(count_);
    for (auto at = all.begin(); at != all.end(); ++at) {
      if (at == begin) at = end;
      if (at == all.end()) break;
      std::vector<unsigned char> bytes(sizeof(T));
      std::memcpy(bytes.data(), &*at, sizeof(T));
      EXPECT_EQ(bytes, std::vector<unsigned char>(sizeof(T), kFiller)) << "written outside";
    }
    return {begin, end};
  }

 private:
  static constexpr size_t kGuard = 16;
  static constexpr unsigned char kFiller = 0x5a;
  size_t count_, offset_;
  std::unique_ptr<DeviceArray<T>> array_;
};

template <class T>
std::vector<T> rounded(const std::vector<float>& values) {
  std::vector<T> result;
  result.reserve(values.size());
  for (const float value : values) result.push_back(from_float<T>(value));
  return result;
}
template <class T>
std::vector<float> widened(const std::vector<T>& values) {
  std::vector<float> result;
  result.reserve(values.size());
  for (const T value : values) result.push_back(to_float(value));
  return result;
}

// Numbers of T between `low` and `high`.
template <class T>
std::vector<T> numbers(int64_t count, uint32_t seed, float low = -2, float high = 2) {
  std::mt19937 bits(seed);
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) {
    value = low + (high - low) * static_cast<float>(bits() >> 8) * 0x1p-24F;
  }
  return rounded<T>(values);
}

// What one rounding to T may change, relative to the number.
template <class T>
constexpr double kRounding = 2e-6;
template <>
inline constexpr double kRounding<bfloat16> = 0x1p-8;
template <>
inline constexpr double kRounding<float16> = 0x1p-11;

// Every element within one rounding, or `slack`, of what is expected; NaN where a NaN is.
template <class T>
testing::AssertionResult all_near(const std::vector<T>& actual, const std::vector<double>& expected,
                                  double slack = 1e-6) {
  if (actual.size() != expected.size()) return testing::AssertionFailure() << "another size";
  for (size_t i = 0; i < actual.size(); ++i) {
    const auto got = static_cast<double>(to_float(actual[i]));
    const double want = expected[i];
    if (std::isnan(got) && std::isnan(want)) continue;
    const double limit = 1.001 * kRounding<T> * std::abs(want) + slack;
    if (got == want || std::abs(got - want) <= limit) continue;
    return testing::AssertionFailure() << "element " << i << ": " << got << " for " << want;
  }
  return testing::AssertionSuccess();
}

#endif

}  // namespace glassnet
