// Every row of the table of op cases on the CUDA device, in each of its three types, against the
// float64 definitions on the CPU: results and all gradients.
#include <gtest/gtest.h>

#include "tests/device_support.h"
#include "tests/op_harness.h"

namespace glassnet {
namespace {

class DeviceOps : public DeviceTest, public testing::WithParamInterface<OpCase> {
 protected:
  void compare(DType type) { expect_definition(GetParam(), type, device_); }
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
