// Every row of the table of op cases on the CUDA device, in each of its three types, against the
// float64 definitions on the CPU: results and all gradients.
#include <gtest/gtest.h>

#include "tests/device_support.h"
#include "tests/op_harness.h"

namespace glassnet {
namespace {

// What rounding to the type costs, and a little for sums: relative to the norm.
double tolerance_of(DType type) {
  if (type == DType::kFloat32) return 1e-5;
  return type == DType::kFloat16 ? 2e-3 : 1e-2;
}

class DeviceOps : public DeviceTest, public testing::WithParamInterface<OpCase> {
 protected:
  void compare(DType type) {
    const OpCase& row = GetParam();
    if (type != DType::kFloat32 && row.float32_tolerance > 0) {
      return;  // numbers in the thousands, whose differences 16 bits do not hold
    }
    const double tolerance = std::max(
        tolerance_of(type), type == DType::kFloat32 ? row.float32_tolerance : row.narrow_tolerance);
    // Both sides start from the same rounded numbers.
    std::vector<Tensor> narrow, wide;
    for (const Tensor& input : make_inputs(row)) {
      const bool statistic = row.inputs[narrow.size()].statistic;
      narrow.push_back(input.to(statistic ? DType::kFloat32 : type));
      wide.push_back(narrow.back().to(DType::kFloat64));
    }
    std::vector<Tensor> there;
    for (const Tensor& input : narrow) there.push_back(input.to(device_));

    const std::vector<bool> wanted = differentiable_inputs(row), none(wanted.size());
    const Tensor y = run_row(row, there, {}, none).y;
    EXPECT_EQ(y.device(), device_);
    const Tensor upstream = make_upstream(row, y.shape()).to(y.dtype());
    const Outcome expected = run_row(row, wide, upstream.to(DType::kFloat64), wanted);
    const Outcome actual = run_row(row, there, upstream.to(device_), wanted);
    EXPECT_TRUE(near_normwise(actual.y, expected.y, tolerance));
    for (size_t i = 0; i < wanted.size(); ++i) {
      if (!wanted[i]) continue;
      EXPECT_EQ(actual.gradients[i].dtype(), there[i].dtype());
      EXPECT_TRUE(near_normwise(actual.gradients[i], expected.gradients[i], tolerance))
          << "gradient of input " << i;
    }
    for (size_t i = 0; i < wanted.size(); ++i) {
      EXPECT_TRUE(same_elements(there[i], narrow[i])) << "input " << i << " was written to";
    }
  }
};

class DeviceOpFloat32 : public DeviceOps {};
class DeviceOpBFloat16 : public DeviceOps {};
class DeviceOpFloat16 : public DeviceOps {};

TEST_P(DeviceOpFloat32, AgreesWithTheDefinition) {
  compare(DType::kFloat32);
}
TEST_P(DeviceOpBFloat16, AgreesWithTheDefinition) {
  if (!supports_bfloat16(device_)) GTEST_SKIP() << "this GPU has no bfloat16";
  compare(DType::kBFloat16);
}
TEST_P(DeviceOpFloat16, AgreesWithTheDefinition) {
  compare(DType::kFloat16);
}

INSTANTIATE_TEST_SUITE_P(Rows, DeviceOpFloat32, testing::ValuesIn(op_cases()), test_name);
INSTANTIATE_TEST_SUITE_P(Rows, DeviceOpBFloat16, testing::ValuesIn(op_cases()), test_name);
INSTANTIATE_TEST_SUITE_P(Rows, DeviceOpFloat16, testing::ValuesIn(op_cases()), test_name);

}  // namespace
}  // namespace glassnet
