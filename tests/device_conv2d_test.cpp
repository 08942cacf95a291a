// Convolutions and matrix products on the CUDA device against the float64 definitions, over tables
// of odd shapes and in three types: what the libraries compute, what our own kernels compute where
// the libraries refuse, and what they are chosen by.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <ostream>
#include <random>
#include <set>
#include <string>
#include <type_traits>
#include <vector>

#include "kernels/conv2d.h"
#include "kernels/dtype.h"
#include "kernels/error.h"
#include "kernels/half.h"
#include "kernels/matmul.h"
#include "kernels/plan_choices.h"
#include "kernels/policy.h"
#include "tests/device_support.h"

#if defined(GLASSNET_CUDA)
#include "kernels/cuda/allocator.h"
#include "kernels/cuda/conv2d_plan.h"
#include "kernels/cuda/direct_conv.h"
#include "kernels/cuda/epilogue.h"
#include "kernels/cuda/plan_cache.h"
#include "kernels/cuda/runtime.h"
#endif

namespace glassnet::kernels {
namespace {

// Values of T around 0, the same on every machine.
template <class T>
std::vector<T> random_values(int64_t count, uint32_t seed) {
  std::mt19937 bits(seed);
  std::vector<T> values;
  for (int64_t i = 0; i < count; ++i) {
    values.push_back(from_float<T>(static_cast<float>(bits() >> 8) * 0x1p-23F - 1));
  }
  return values;
}

template <class T>
std::vector<double> widened(const std::vector<T>& values) {
  std::vector<double> wide;
  for (const T v : values) wide.push_back(static_cast<double>(to_float(v)));
  return wide;
}

// Largest difference over the largest true magnitude; a NaN is an infinite error.
template <class T>
double error_of(const std::vector<T>& actual, const std::vector<double>& truth) {
  EXPECT_EQ(actual.size(), truth.size());
  double difference = 0, magnitude = 1e-30;
  for (size_t i = 0; i < actual.size(); ++i) {
    const double d = std::abs(static_cast<double>(to_float(actual[i])) - truth[i]);
    difference = std::isnan(d) ? std::numeric_limits<double>::infinity() : std::max(difference, d);
    magnitude = std::max(magnitude, std::abs(truth[i]));
  }
  return difference / magnitude;
}

// What rounding a result to T costs, once, and a little for float32 sums.
template <class T>
double rounding() {
  if (std::is_same_v<T, float>) return 1e-5;
  return std::is_same_v<T, float16> ? 6e-4 : 4.5e-3;
}

// ---- The CPU's fused convolution ----------------------------------------------------------------

TEST(Conv2dBiasAddRelu, TheDefinitionAddsThenClips) {
  const Conv2dShape o = {1, 1, 2, 1, 2, 1, 1};
  const std::vector<double> x = {1, 2}, w = {3, -3}, bias = {0.5, 1}, z = {-10, 4, 1, 5.5};
  std::vector<double> y(4);
  const auto run = [&](const double* residual, bool relu) {
    conv2d_bias_add_relu(Cpu{}, x.data(), w.data(), bias.data(), residual, y.data(), relu, o);
    return y;
  };
  EXPECT_EQ(run(nullptr, false), (std::vector<double>{3.5, -2, 6.5, -5}));
  EXPECT_EQ(run(nullptr, true), (std::vector<double>{3.5, 0, 6.5, 0}));
  EXPECT_EQ(run(z.data(), false), (std::vector<double>{-6.5, 2, 7.5, 0.5}));
  EXPECT_EQ(run(z.data(), true), (std::vector<double>{0, 2, 7.5, 0.5}));
}

TEST(Conv2dBiasAddRelu, Float32MatchesTheDefinition) {
  for (const Conv2dShape& o :
       {Conv2dShape{2, 14, 14, 16, 24, 3, 3, 2, 2, 1, 1}, Conv2dShape{1, 7, 5, 3, 5, 3, 3},
        Conv2dShape{2, 40, 40, 8, 16, 1, 1}, Conv2dShape{0, 8, 8, 4, 6, 3, 3, 1, 1, 1, 1}}) {
    const auto x = random_values<float>(o.input_size(), 1),
               w = random_values<float>(o.weights_size(), 2);
    const auto bias = random_values<float>(o.k, 3), z = random_values<float>(o.output_size(), 4);
    const auto wide_x = widened(x), wide_w = widened(w), wide_bias = widened(bias),
               wide_z = widened(z);
    for (const bool residual : {false, true}) {
      for (const bool relu : {false, true}) {
        std::vector<float> y(z.size(), -77);
        std::vector<double> truth(z.size());
        conv2d_bias_add_relu(Cpu{}, x.data(), w.data(), bias.data(), residual ? z.data() : nullptr,
                             y.data(), relu, o);
        conv2d_bias_add_relu(Cpu{}, wide_x.data(), wide_w.data(), wide_bias.data(),
                             residual ? wide_z.data() : nullptr, truth.data(), relu, o);
        EXPECT_LT(error_of(y, truth), 2e-6) << residual << relu;
      }
    }
  }
}

TEST(Conv2dBiasAddRelu, NanPassesTheRelu) {
  const Conv2dShape o = {1, 1, 1, 1, 1, 1, 1};
  const float x = std::numeric_limits<float>::quiet_NaN(), w = 1, bias = 0, z = 0;
  float y = 0;
  conv2d_bias_add_relu(Cpu{}, &x, &w, &bias, &z, &y, true, o);
  EXPECT_TRUE(std::isnan(y));
  // By the library, which has a ReLU of its own.
  const Conv2dShape large = {2, 40, 40, 16, 32, 3, 3, 1, 1, 1, 1};
  const std::vector<float> values(static_cast<size_t>(large.input_size()), x),
      weights(static_cast<size_t>(large.weights_size()), 1), biases(32);
  for (const bool residual : {false, true}) {
    std::vector<float> made(static_cast<size_t>(large.output_size()));
    const std::vector<float> added(made.size());
    conv2d_bias_add_relu(Cpu{}, values.data(), weights.data(), biases.data(),
                         residual ? added.data() : nullptr, made.data(), true, large);
    EXPECT_TRUE(std::ranges::all_of(made, [](float v) { return std::isnan(v); })) << residual;
  }
}

#if defined(GLASSNET_CUDA)

struct ConvCase {
  const char* name;
  Conv2dShape shape;
};
std::ostream& operator<<(std::ostream& out, const ConvCase& c) {
  return out << c.name;
}

Cuda device() {
  return current_cuda(0);
}

// A result's place, full of a value that no kernel may leave behind.
template <class T>
std::vector<T> space(int64_t count) {
  return std::vector<T>(static_cast<size_t>(count), from_float<T>(-77));
}

bool has_bfloat16() {
  return cuda_device(0).capability_major >= 8;
}

// f.template operator()<T>() for each type that the device computes with.
template <class F>
void for_each_type(F&& f) {
  const auto run = [&]<class T>(T) {
    SCOPED_TRACE(name_of(dtype_of<T>));
    f.template operator()<T>();
  };
  run(float{});
  run(float16{});
  if (has_bfloat16()) run(bfloat16{});
}

// ---- Convolutions, by whatever the device has ---------------------------------------------------

class DeviceConv2d : public DeviceTest, public testing::WithParamInterface<ConvCase> {
 protected:
  const Conv2dShape o_ = GetParam().shape;
};

TEST_P(DeviceConv2d, ForwardMatchesTheDefinition) {
  for_each_type([&]<class T>() {
    const auto x = random_values<T>(o_.input_size(), 1), w = random_values<T>(o_.weights_size(), 2);
    const auto bias = random_values<T>(o_.k, 3);
    const auto wide_x = widened(x), wide_w = widened(w), wide_bias = widened(bias);
    const DeviceArray<T> dx(x), dw(w), dbias(bias);
    for (const bool with_bias : {false, true}) {
      const DeviceArray<T> y(space<T>(o_.output_size()));
      std::vector<double> truth(static_cast<size_t>(o_.output_size()));
      conv2d_forward(device(), dx.get(), dw.get(), with_bias ? dbias.get() : nullptr, y.get(), o_);
      conv2d_forward(Cpu{}, wide_x.data(), wide_w.data(), with_bias ? wide_bias.data() : nullptr,
                     truth.data(), o_);
      EXPECT_LT(error_of(y.host(), truth), 2 * rounding<T>()) << with_bias;
    }
  });
}

TEST_P(DeviceConv2d, GradientsMatchTheDefinition) {
  for_each_type([&]<class T>() {
    const auto x = random_values<T>(o_.input_size(), 1), w = random_values<T>(o_.weights_size(), 2);
    const auto dy = random_values<T>(o_.output_size(), 4);
    const auto wide_x = widened(x), wide_w = widened(w), wide_dy = widened(dy);
    const DeviceArray<T> there_x(x), there_w(w), there_dy(dy);
    const DeviceArray<T> dx(space<T>(o_.input_size())), dw(space<T>(o_.weights_size()));
    const DeviceArray<T> dbias(space<T>(o_.k));
    std::vector<double> true_dx(x.size()), true_dw(w.size()), true_dbias(static_cast<size_t>(o_.k));
    conv2d_backward_data(device(), there_dy.get(), there_w.get(), dx.get(), o_);
    conv2d_backward_data(Cpu{}, wide_dy.data(), wide_w.data(), true_dx.data(), o_);
    EXPECT_LT(error_of(dx.host(), true_dx), rounding<T>());
    // Added to x, there and in another place. Where two kernels do it, two results are rounded.
    for (size_t i = 0; i < x.size(); ++i) true_dx[i] += wide_x[i];
    const DeviceArray<T> sum(x);
    conv2d_add_backward_data(device(), there_dy.get(), there_w.get(), there_x.get(), dx.get(), o_);
    conv2d_add_backward_data(device(), there_dy.get(), there_w.get(), sum.get(), sum.get(), o_);
    EXPECT_LT(error_of(dx.host(), true_dx), 2 * rounding<T>());
    EXPECT_LT(error_of(sum.host(), true_dx), 2 * rounding<T>());
    conv2d_backward_weight(device(), there_dy.get(), there_x.get(), dw.get(), dbias.get(), o_);
    conv2d_backward_weight(Cpu{}, wide_dy.data(), wide_x.data(), true_dw.data(), true_dbias.data(),
                           o_);
    EXPECT_LT(error_of(dw.host(), true_dw), rounding<T>());
    EXPECT_LT(error_of(dbias.host(), true_dbias), rounding<T>());
  });
}

TEST_P(DeviceConv2d, FusedMatchesTheDefinition) {
  for_each_type([&]<class T>() {
    const auto x = random_values<T>(o_.input_size(), 1), w = random_values<T>(o_.weights_size(), 2);
    const auto z = random_values<T>(o_.output_size(), 5);
    const auto bias = random_values<float>(o_.k, 3);
    const auto wide_x = widened(x), wide_w = widened(w), wide_z = widened(z),
               wide_bias = widened(bias);
    const DeviceArray<T> there_x(x), there_w(w), there_z(z);
    const DeviceArray<float> there_bias(bias);
    for (const bool residual : {false, true}) {
      for (const bool relu : {false, true}) {
        const DeviceArray<T> y(space<T>(o_.output_size()));
        std::vector<double> truth(z.size());
        const T* no_residual = nullptr;
        conv2d_bias_add_relu(device(), there_x.get(), there_w.get(), there_bias.get(),
                             residual ? there_z.get() : no_residual, y.get(), relu, o_);
        conv2d_bias_add_relu(Cpu{}, wide_x.data(), wide_w.data(), wide_bias.data(),
                             residual ? wide_z.data() : nullptr, truth.data(), relu, o_);
        // The bias and, where two kernels do it, the sum before them are rounded as well.
        EXPECT_LT(error_of(y.host(), truth), 3 * rounding<T>()) << residual << relu;
      }
    }
  });
}

TEST_P(DeviceConv2d, SaysWhatItRuns) {
  for_each_type([&]<class T>() {
    for (const Conv2dPass pass :
         {Conv2dPass::kForward, Conv2dPass::kBackwardData, Conv2dPass::kBackwardWeight}) {
      const std::string name = conv2d_implementation<T>(device(), pass, o_);
      EXPECT_TRUE(name.starts_with("cudnn:engine ") || name.starts_with("direct")) << name;
      EXPECT_TRUE(!kSimulated || name == "direct") << name;
    }
  });
}

INSTANTIATE_TEST_SUITE_P(
    Shapes, DeviceConv2d,
    testing::Values(ConvCase{"stem", {2, 30, 26, 3, 16, 7, 7, 2, 2, 3, 3}},
                    ConvCase{"one_channel", {2, 9, 8, 1, 5, 3, 3, 1, 1, 1, 1}},
                    ConvCase{"one_filter", {2, 9, 8, 17, 1, 3, 3, 1, 1, 1, 1}},
                    ConvCase{"one_pixel", {1, 1, 1, 5, 7, 1, 1}},
                    ConvCase{"one_row", {2, 1, 19, 17, 9, 1, 3, 1, 2, 0, 1}},
                    ConvCase{"odd_channels", {2, 11, 7, 5, 17, 3, 3, 1, 1, 1, 1}},
                    ConvCase{"usual_3x3", {2, 14, 14, 32, 48, 3, 3, 1, 1, 1, 1}},
                    ConvCase{"usual_stride", {2, 14, 14, 32, 48, 3, 3, 2, 2, 1, 1}},
                    ConvCase{"pointwise", {2, 13, 9, 64, 32, 1, 1}},
                    ConvCase{"pointwise_stride", {2, 15, 14, 32, 64, 1, 1, 2, 2}},
                    ConvCase{"pointwise_padded", {1, 6, 5, 16, 16, 1, 1, 1, 1, 1, 1}},
                    ConvCase{"all_asymmetric", {2, 12, 17, 16, 24, 3, 2, 2, 1, 0, 1, 1, 2}},
                    ConvCase{"stride_past_the_end", {2, 10, 10, 16, 16, 3, 3, 3, 3, 0, 0}},
                    ConvCase{"stride_over_filter", {2, 11, 11, 8, 8, 2, 2, 4, 3}},
                    ConvCase{"dilated", {2, 15, 15, 16, 16, 3, 3, 1, 1, 2, 2, 2, 2}},
                    ConvCase{"dilated_few_channels", {2, 15, 13, 3, 8, 3, 3, 2, 1, 2, 3, 2, 3}},
                    ConvCase{"wide_padding", {1, 5, 5, 3, 8, 5, 5, 1, 1, 4, 4}},
                    ConvCase{"groups", {2, 10, 9, 32, 64, 3, 3, 1, 1, 1, 1, 1, 1, 4}},
                    ConvCase{"groups_of_odd_size", {2, 10, 9, 15, 10, 3, 3, 2, 2, 1, 1, 1, 1, 5}},
                    ConvCase{"pointwise_groups", {2, 10, 9, 12, 18, 1, 1, 1, 1, 0, 0, 1, 1, 3}},
                    ConvCase{"depthwise", {2, 12, 12, 32, 32, 3, 3, 1, 1, 1, 1, 1, 1, 32}},
                    ConvCase{"depthwise_odd", {1, 9, 9, 7, 14, 3, 3, 2, 2, 1, 1, 1, 1, 7}}),
    [](const auto& row) { return std::string(row.param.name); });

using DeviceConv2dEdge = DeviceTest;

// A slice of a tensor may begin at any element.
TEST_F(DeviceConv2dEdge, AddressesNeedNoMoreAlignmentThanAnElement) {
  const Conv2dShape o = {2, 6, 6, 8, 8, 3, 3, 1, 1, 1, 1};
  for_each_type([&]<class T>() {
    const auto x = random_values<T>(o.input_size() + 1, 1),
               w = random_values<T>(o.weights_size() + 1, 2);
    const DeviceArray<T> there_x(x), there_w(w), y(space<T>(o.output_size() + 1));
    const T* none = nullptr;
    conv2d_forward(device(), there_x.get() + 1, there_w.get() + 1, none, y.get() + 1, o);
    const auto wide_x = widened(x), wide_w = widened(w);
    std::vector<double> truth(static_cast<size_t>(o.output_size()));
    conv2d_forward(Cpu{}, wide_x.data() + 1, wide_w.data() + 1, nullptr, truth.data(), o);
    auto got = y.host();
    EXPECT_EQ(to_float(got.front()), -77);
    got.erase(got.begin());
    EXPECT_LT(error_of(got, truth), rounding<T>());
  });
}

TEST_F(DeviceConv2dEdge, EmptyBatchGivesZeroWeightGradients) {
  const Conv2dShape o = {0, 8, 8, 4, 6, 3, 3, 1, 1, 1, 1};
  const DeviceArray<float> w(random_values<float>(o.weights_size(), 1)), none(1);
  const DeviceArray<float> dw(space<float>(o.weights_size())), dbias(space<float>(o.k));
  const float* no_bias = nullptr;
  conv2d_forward(device(), none.get(), w.get(), no_bias, none.get(), o);
  conv2d_backward_data(device(), none.get(), w.get(), none.get(), o);
  conv2d_add_backward_data(device(), none.get(), w.get(), none.get(), none.get(), o);
  conv2d_backward_weight(device(), none.get(), none.get(), dw.get(), dbias.get(), o);
  EXPECT_EQ(dw.host(), std::vector<float>(static_cast<size_t>(o.weights_size()), 0.0F));
  EXPECT_EQ(dbias.host(), std::vector<float>(static_cast<size_t>(o.k), 0.0F));
}

TEST_F(DeviceConv2dEdge, RunsInACapturedGraphOnceItHasRun) {
  // The second shape is one that the executor leaves to the CPU's kernels.
  for (const Conv2dShape& o :
       {Conv2dShape{1, 5, 6, 3, 4, 3, 3}, Conv2dShape{2, 14, 15, 16, 24, 3, 3, 1, 1, 1, 1}}) {
    const auto x = random_values<float>(o.input_size(), 1),
               w = random_values<float>(o.weights_size(), 2);
    const DeviceArray<float> there_x(x), there_w(w), y(space<float>(o.output_size()));
    const auto forward = [&] {
      const float* none = nullptr;
      conv2d_forward(current_cuda(0), there_x.get(), there_w.get(), none, y.get(), o);
    };
    CudaGraph early;
    EXPECT_THROW(early.capture(0, forward), Error);
    forward();
    const auto expected = y.host();
    CudaGraph graph;
    graph.capture(0, forward);
    const auto blank = space<float>(o.output_size());
    cuda_copy(device(), y.get(), blank.data(), blank.size() * sizeof(float));
    graph.launch(device());
    EXPECT_EQ(y.host(), expected);
  }
}

// Plans are timed once, on memory of their own, and what is kept is cuDNN's name for one. The
// executor has no plans to time.
TEST_F(DeviceConv2dEdge, TimingPlansTouchesNobodysTensors) {
  struct Remembered : PlanChoices {
    std::map<std::string, std::string> kept;
    int timings = 0;
    std::string find(const std::string&, const std::string& key) override {
      const auto found = kept.find(key);
      return found != kept.end() ? found->second : "";
    }
    void keep(const std::string&, const std::string& key, const std::string& identity) override {
      kept[key] = identity;
      ++timings;
    }
  };
  const auto remembered = std::make_shared<Remembered>();
  const auto before = plan_choices();
  set_plan_choices(remembered);
  const Conv2dShape o = {3, 13, 17, 32, 40, 3, 3, 1, 1, 1, 1};  // of no other test
  const auto x = random_values<float16>(o.input_size(), 1),
             w = random_values<float16>(o.weights_size(), 2),
             dy = random_values<float16>(o.output_size(), 3);
  const auto wide_x = widened(x), wide_w = widened(w), wide_dy = widened(dy);
  std::vector<double> truth(x.size());
  conv2d_backward_data(Cpu{}, wide_dy.data(), wide_w.data(), truth.data(), o);
  for (size_t i = 0; i < x.size(); ++i) truth[i] += wide_x[i];
  // Returns what a pool holds that is open meanwhile, as a training's is.
  const auto pool_after_run = [&] {
    MemoryPool pool(0);
    const PoolScope scope(pool);
    const DeviceArray<float16> there_w(w), there_dy(dy), dx(x);
    conv2d_add_backward_data(device(), there_dy.get(), there_w.get(), dx.get(), dx.get(), o);
    EXPECT_LT(error_of(dx.host(), truth), 2 * rounding<float16>());
    return pool.reserved_bytes();
  };
  const size_t timed = pool_after_run();
  EXPECT_EQ(timed, pool_after_run());
#if defined(GLASSNET_SIMT)
  EXPECT_EQ(remembered->timings, 0);
#else
  EXPECT_EQ(remembered->timings, 1);
  for (const auto& [key, identity] : std::map(remembered->kept)) {
    EXPECT_TRUE(key.starts_with("conv2d float16 backward data + z of x (3, 13, 17, 32)")) << key;
    EXPECT_TRUE(identity.starts_with("engine ")) << identity;
    remembered->kept[key + ", TF32"] = identity;
  }
  // Means nothing for float16 but that the same plans are chosen among anew, as in another process.
  const bool tf32 = allow_tf32();
  set_allow_tf32(true);
  pool_after_run();
  EXPECT_EQ(remembered->timings, 1);
  set_allow_tf32(tf32);
#endif
  set_plan_choices(before);
}

// ---- Our own kernels ----------------------------------------------------------------------------

class DeviceDirectConv2d : public DeviceTest, public testing::WithParamInterface<ConvCase> {
 protected:
  const Conv2dShape o_ = GetParam().shape;
};

TEST_P(DeviceDirectConv2d, MatchesTheDefinition) {
  for_each_type([&]<class T>() {
    const auto x = random_values<T>(o_.input_size(), 1), w = random_values<T>(o_.weights_size(), 2);
    const auto bias = random_values<T>(o_.k, 3), dy = random_values<T>(o_.output_size(), 4);
    const auto wide_x = widened(x), wide_w = widened(w), wide_bias = widened(bias),
               wide_dy = widened(dy);
    const DeviceArray<T> there_x(x), there_w(w), there_bias(bias), there_dy(dy);

    for (const bool with_bias : {false, true}) {
      const DeviceArray<T> y(space<T>(o_.output_size()));
      std::vector<double> truth(dy.size());
      direct::conv2d_forward(device(), there_x.get(), there_w.get(),
                             with_bias ? there_bias.get() : nullptr, y.get(), o_);
      conv2d_forward(Cpu{}, wide_x.data(), wide_w.data(), with_bias ? wide_bias.data() : nullptr,
                     truth.data(), o_);
      EXPECT_LT(error_of(y.host(), truth), rounding<T>()) << with_bias;
    }
    const DeviceArray<T> dx(space<T>(o_.input_size())), dw(space<T>(o_.weights_size()));
    std::vector<double> true_dx(x.size()), true_dw(w.size());
    const T* nothing = nullptr;
    direct::conv2d_backward_data(device(), there_dy.get(), there_w.get(), nothing, dx.get(), o_);
    conv2d_backward_data(Cpu{}, wide_dy.data(), wide_w.data(), true_dx.data(), o_);
    EXPECT_LT(error_of(dx.host(), true_dx), rounding<T>());
    const DeviceArray<T> sum(x);
    direct::conv2d_backward_data(device(), there_dy.get(), there_w.get(), sum.get(), sum.get(), o_);
    for (size_t i = 0; i < x.size(); ++i) true_dx[i] += wide_x[i];
    EXPECT_LT(error_of(sum.host(), true_dx), rounding<T>());
    direct::conv2d_backward_weight(device(), there_dy.get(), there_x.get(), dw.get(), o_);
    conv2d_backward_weight(Cpu{}, wide_dy.data(), wide_x.data(), true_dw.data(), nullptr, o_);
    EXPECT_LT(error_of(dw.host(), true_dw), rounding<T>());
  });
}

INSTANTIATE_TEST_SUITE_P(
    Shapes, DeviceDirectConv2d,
    testing::Values(ConvCase{"colours", {2, 7, 6, 3, 4, 3, 3, 2, 2, 1, 1}},
                    ConvCase{"one_pixel", {1, 1, 1, 5, 7, 1, 1}},
                    ConvCase{"many_channels", {1, 3, 4, 40, 3, 2, 1}},
                    ConvCase{"many_pixels", {2, 17, 11, 2, 1, 1, 1}},
                    ConvCase{"all_asymmetric", {2, 6, 7, 3, 2, 3, 2, 2, 1, 0, 1, 1, 2}},
                    ConvCase{"stride_over_filter", {1, 9, 8, 2, 3, 2, 2, 4, 3}},
                    ConvCase{"dilated", {1, 7, 7, 2, 3, 3, 3, 1, 1, 2, 2, 2, 2}},
                    ConvCase{"wide_padding", {1, 3, 2, 2, 2, 3, 3, 1, 1, 4, 4}},
                    ConvCase{"groups", {1, 4, 5, 6, 9, 2, 2, 1, 1, 1, 1, 1, 1, 3}},
                    ConvCase{"depthwise", {1, 5, 5, 4, 8, 3, 3, 1, 1, 1, 1, 1, 1, 4}}),
    [](const auto& row) { return std::string(row.param.name); });

using DeviceEpilogue = DeviceTest;

// The bias in float32 and in the type of the elements, with and without whole vectors.
TEST_F(DeviceEpilogue, AddsBiasAndResidualAndClips) {
  const auto check = [&]<class T, class Bias>(T, Bias) {
    for (const int64_t channels : {16, 5}) {
      const int64_t rows = 9, count = rows * channels;
      const auto y = random_values<T>(count, 1), z = random_values<T>(count, 2);
      const auto bias = random_values<Bias>(channels, 3);
      const DeviceArray<T> there_z(z);
      const DeviceArray<Bias> there_bias(bias);
      for (const int options : {0, 1, 2, 3, 4, 5, 6, 7}) {
        const bool with_bias = options & 1, with_z = options & 2, relu = options & 4;
        const DeviceArray<T> there_y(y);
        const Bias* no_bias = nullptr;
        const T* no_z = nullptr;
        add_bias(device(), there_y.get(), with_bias ? there_bias.get() : no_bias,
                 with_z ? there_z.get() : no_z, relu, rows, channels);
        const auto got = there_y.host();
        for (int64_t i = 0; i < count; ++i) {
          float expected = to_float(y[i]);
          if (with_bias) expected += to_float(bias[i % channels]);
          if (with_z) expected += to_float(z[i]);
          if (relu && expected < 0) expected = 0;
          EXPECT_EQ(to_float(got[i]), to_float(from_float<T>(expected))) << channels << " " << i;
        }
      }
    }
  };
  check(float{}, float{});
  check(bfloat16{}, float{});
  check(float16{}, float{});
  check(bfloat16{}, bfloat16{});
  check(float16{}, float16{});
}

// ---- Matrix products ----------------------------------------------------------------------------

using DeviceMatmul = DeviceTest;

TEST_F(DeviceMatmul, MatchesTheDefinition) {
  struct Size {
    int64_t m, n, k;
  };
  for (const auto& [m, n, k] :
       {Size{1, 1, 1}, Size{2, 6, 512}, Size{7, 5, 3}, Size{64, 48, 32}, Size{33, 1000, 17},
        Size{1, 10, 2048}, Size{128, 64, 300}, Size{4, 9, 0}, Size{0, 3, 4}, Size{3, 0, 4}}) {
    for (const int transposes : {0, 1, 2, 3}) {
      const MatmulShape o = {m, n, k, (transposes & 1) != 0, (transposes & 2) != 0};
      for_each_type([&, m = m, n = n, k = k]<class T>() {
        const auto a = random_values<T>(m * k, 1), b = random_values<T>(k * n, 2);
        const auto bias = random_values<T>(n, 3);
        const auto wide_a = widened(a), wide_b = widened(b), wide_bias = widened(bias);
        const DeviceArray<T> there_a(a), there_b(b), there_bias(bias);
        for (const bool with_bias : {false, true}) {
          const DeviceArray<T> c(space<T>(m * n));
          std::vector<double> truth(static_cast<size_t>(m * n));
          const T* none = nullptr;
          matmul(device(), there_a.get(), there_b.get(), with_bias ? there_bias.get() : none,
                 c.get(), o);
          matmul(Cpu{}, wide_a.data(), wide_b.data(), with_bias ? wide_bias.data() : nullptr,
                 truth.data(), o);
          EXPECT_LT(error_of(c.host(), truth), 2 * rounding<T>())
              << m << " x " << n << " x " << k << ", transposes " << transposes;
        }
      });
    }
  }
}

TEST_F(DeviceMatmul, AddressesNeedNoMoreAlignmentThanAnElement) {
  const MatmulShape o = {16, 24, 32};
  for_each_type([&]<class T>() {
    const auto a = random_values<T>(o.m * o.k + 1, 1), b = random_values<T>(o.k * o.n + 1, 2);
    const auto bias = random_values<T>(o.n + 1, 3);
    const DeviceArray<T> there_a(a), there_b(b), there_bias(bias), c(space<T>(o.m * o.n + 1));
    matmul(device(), there_a.get() + 1, there_b.get() + 1, there_bias.get() + 1, c.get() + 1, o);
    const auto wide_a = widened(a), wide_b = widened(b), wide_bias = widened(bias);
    std::vector<double> truth(static_cast<size_t>(o.m * o.n));
    matmul(Cpu{}, wide_a.data() + 1, wide_b.data() + 1, wide_bias.data() + 1, truth.data(), o);
    auto got = c.host();
    EXPECT_EQ(to_float(got.front()), -77);
    got.erase(got.begin());
    EXPECT_LT(error_of(got, truth), rounding<T>());
  });
}

// ---- What plans are kept by ---------------------------------------------------------------------

TEST(Conv2dKey, DiffersInEverythingThatAPlanDependsOn) {
  const Conv2dKey key{.shape = {2, 8, 9, 16, 32, 3, 5, 1, 1, 1, 2, 1, 1, 1}};
  const std::vector<std::function<void(Conv2dKey&)>> changes = {
      [](Conv2dKey& k) { k.pass = Conv2dPass::kBackwardData; },
      [](Conv2dKey& k) { k.pass = Conv2dPass::kBackwardWeight; },
      [](Conv2dKey& k) { k.type = DType::kBFloat16; },
      [](Conv2dKey& k) { k.type = DType::kFloat16; },
      [](Conv2dKey& k) { k.bias = true; },
      [](Conv2dKey& k) { k.residual = true; },
      [](Conv2dKey& k) { k.relu = true; },
      [](Conv2dKey& k) { k.alignment = 4; },
      [](Conv2dKey& k) { k.device = 1; },
      [](Conv2dKey& k) { k.allow_tf32 = true; },
      [](Conv2dKey& k) { k.deterministic = true; },
      [](Conv2dKey& k) { ++k.shape.n; },
      [](Conv2dKey& k) { ++k.shape.h; },
      [](Conv2dKey& k) { ++k.shape.w; },
      [](Conv2dKey& k) { ++k.shape.c; },
      [](Conv2dKey& k) { ++k.shape.k; },
      [](Conv2dKey& k) { ++k.shape.r; },
      [](Conv2dKey& k) { ++k.shape.s; },
      [](Conv2dKey& k) { ++k.shape.stride_h; },
      [](Conv2dKey& k) { ++k.shape.stride_w; },
      [](Conv2dKey& k) { ++k.shape.pad_h; },
      [](Conv2dKey& k) { ++k.shape.pad_w; },
      [](Conv2dKey& k) { ++k.shape.dilation_h; },
      [](Conv2dKey& k) { ++k.shape.dilation_w; },
      [](Conv2dKey& k) { ++k.shape.groups; },
  };
  std::set<size_t> hashes = {Conv2dKeyHash{}(key)};
  std::set<std::string> texts = {describe(key)};
  for (const auto& change : changes) {
    Conv2dKey other = key;
    change(other);
    EXPECT_FALSE(other == key);
    hashes.insert(Conv2dKeyHash{}(other));
    texts.insert(describe(other));
  }
  EXPECT_EQ(hashes.size(), changes.size() + 1) << "two keys that differ in one place collide";
  EXPECT_EQ(texts.size(), changes.size()) << "equal devices share what they know, nothing else";
}

TEST(Conv2dKey, DescribesWhatIsComputed) {
  Conv2dKey key{.shape = {8, 56, 56, 32, 64, 3, 3, 2, 2, 1, 1, 1, 1, 4}, .type = DType::kFloat16};
  EXPECT_EQ(describe(key),
            "float16 forward of x (8, 56, 56, 32), w (64, 3, 3, 8), stride (2, 2), padding (1, 1)");
  key.pass = Conv2dPass::kBackwardData;
  key.residual = key.allow_tf32 = true;
  key.alignment = 2;
  key.shape.dilation_h = 2;
  EXPECT_EQ(describe(key),
            "float16 backward data + z of x (8, 56, 56, 32), w (64, 3, 3, 8), stride (2, 2), "
            "padding (1, 1), dilation (2, 1), at multiples of 2, TF32");
}

TEST(Conv2dKey, KnowsTheAlignmentOfAddresses) {
  alignas(64) char bytes[128] = {};
  EXPECT_EQ(alignment_of<16>(bytes, bytes + 32), 16);
  EXPECT_EQ(alignment_of<256>(bytes + 32), 32);
  EXPECT_EQ(alignment_of<16>(bytes, bytes + 4), 4);
  EXPECT_EQ(alignment_of<16>(bytes + 2, bytes + 4), 2);
  const char* null = nullptr;
  EXPECT_EQ(alignment_of<16>(null), 16);
}

TEST(PlanCache, PreparesOnceAndAgainAfterAFailure) {
  struct Hash {
    size_t operator()(int) const { return 0; }  // all collide
  };
  PlanCache<int, Hash, std::string> cache;
  int made = 0;
  const auto make = [&] { return "plan " + std::to_string(++made); };
  EXPECT_THROW(cache.get(1, []() -> std::string { throw Error("no"); }), Error);
  const std::string& one = cache.get(1, make);
  EXPECT_EQ(one, "plan 1");
  EXPECT_EQ(cache.get(2, make), "plan 2");
  EXPECT_EQ(&cache.get(1, make), &one);
  EXPECT_EQ(made, 2);
}

#if !defined(GLASSNET_SIMT)
// ---- What cuDNN has plans for, on a device that is only described -------------------------------

std::string described_device(int capability) {
  return R"({"maxGridSize":[2147483647,65535,65535],"maxBlockSize":[1024,1024,64],
    "regsPerBlock":65536,"multiProcessorCount":132,"warpSize":32,"maxSharedMemoryPerBlock":49152,
    "maxSharedMemoryPerBlockOptin":)" +
         std::string(capability >= 90 ? "232448" : "65536") + R"(,
    "reservedSharedMemoryPerBlock":1024,"maxRegistersPerSM":65536,"maxCtasPerSM":32,
    "maxThreadsPerBlock":1024,"maxThreadsPerSM":2048,"pciDeviceId":0,"isTccDriver":0,
    "supportCoopLaunch":1,"totalGlobalMem":85000000000,"smClockRateKHz":1980000,
    "memClockRateKHz":2619000,"l2CacheSize":52428800,"cudaDeviceId":0,"deviceVer":)" +
         std::to_string(10 * capability) + R"(,"driverVer":13000,"deviceName":"described"})";
}

class Conv2dPlan : public testing::TestWithParam<ConvCase> {};

// No GPU is needed: every descriptor is checked by cuDNN and every kernel is chosen, none is run.
TEST_P(Conv2dPlan, ExistsOnAHopperGpu) {
  for (const DType type : {DType::kFloat32, DType::kBFloat16, DType::kFloat16}) {
    Conv2dKey key{.shape = GetParam().shape, .type = type};
    const auto expect_plan = [&](const char* what) {
      std::string name;
      try {
        name = conv2d_plan_on(key, described_device(90));
      } catch (const Error& error) {
        if (std::strstr(error.what(), "takes cuDNN 9.8") != nullptr) GTEST_SKIP() << error.what();
        name = error.what();
      }
      EXPECT_TRUE(name.starts_with("cudnn:engine "))
          << name_of(type) << ", " << what << ": " << name;
    };
    for (const Conv2dPass pass :
         {Conv2dPass::kForward, Conv2dPass::kBackwardData, Conv2dPass::kBackwardWeight}) {
      key.pass = pass;
      for (const bool deterministic : {false, true}) {
        key.deterministic = deterministic;
        expect_plan("on its own");
        if (pass != Conv2dPass::kBackwardData) continue;
        key.residual = true;
        expect_plan("added to z");
        key.residual = false;
      }
    }
    key.pass = Conv2dPass::kForward;
    key.bias = true;
    expect_plan("with bias");
    key.relu = true;
    expect_plan("with bias and ReLU");
    key.residual = true;
    expect_plan("with bias, z and ReLU");
  }
}

INSTANTIATE_TEST_SUITE_P(
    Shapes, Conv2dPlan,
    testing::Values(ConvCase{"stem", {32, 224, 224, 3, 64, 7, 7, 2, 2, 3, 3}},
                    ConvCase{"stem_padded", {32, 224, 224, 4, 64, 7, 7, 2, 2, 3, 3}},
                    ConvCase{"bottleneck_in", {32, 56, 56, 256, 64, 1, 1}},
                    ConvCase{"bottleneck_3x3", {32, 56, 56, 64, 64, 3, 3, 1, 1, 1, 1}},
                    ConvCase{"bottleneck_3x3_stride", {32, 28, 28, 256, 256, 3, 3, 2, 2, 1, 1}},
                    ConvCase{"bottleneck_out", {32, 7, 7, 512, 2048, 1, 1}},
                    ConvCase{"shortcut", {32, 14, 14, 1024, 2048, 1, 1, 2, 2}},
                    ConvCase{"one_image", {1, 7, 7, 512, 512, 3, 3, 1, 1, 1, 1}},
                    ConvCase{"odd_channels", {2, 11, 7, 5, 17, 3, 3, 1, 1, 1, 1}},
                    ConvCase{"dilated", {2, 15, 15, 16, 16, 3, 3, 1, 1, 2, 2, 2, 2}},
                    ConvCase{"groups", {2, 10, 9, 32, 64, 3, 3, 1, 1, 1, 1, 1, 1, 4}},
                    ConvCase{"groups_32", {32, 56, 56, 128, 128, 3, 3, 1, 1, 1, 1, 1, 1, 32}},
                    ConvCase{"groups_64", {32, 28, 28, 512, 512, 3, 3, 2, 2, 1, 1, 1, 1, 64}},
                    ConvCase{"depthwise", {2, 12, 12, 32, 32, 3, 3, 1, 1, 1, 1, 1, 1, 32}}),
    [](const auto& row) { return std::string(row.param.name); });

// What is kept of a choice has to lead back to it.
TEST_P(Conv2dPlan, IsFoundAgainByItsIdentity) {
  Conv2dKey key{.shape = GetParam().shape, .type = DType::kBFloat16};
  for (const Conv2dPass pass :
       {Conv2dPass::kForward, Conv2dPass::kBackwardData, Conv2dPass::kBackwardWeight}) {
    key.pass = pass;
    std::vector<std::string> identities;
    try {
      identities = conv2d_plans_on(key, described_device(90), kTimedPlans);
    } catch (const Error& error) {
      if (std::strstr(error.what(), "takes cuDNN 9.8") != nullptr) GTEST_SKIP() << error.what();
      throw;
    }
    EXPECT_FALSE(identities.empty());
    EXPECT_LE(identities.size(), kTimedPlans);
    EXPECT_EQ(std::set(identities.begin(), identities.end()).size(), identities.size());
    for (const std::string& identity : identities) {
      EXPECT_EQ(conv2d_plans_on(key, described_device(90), kTimedPlans, identity),
                std::vector{identity});
    }
    EXPECT_THROW(conv2d_plans_on(key, described_device(90), kTimedPlans, "engine 62 2=-1"), Error);
  }
}

TEST(Conv2dPlanRefused, SaysWhy) {
  const Conv2dKey key{.shape = {2, 8, 8, 16, 16, 3, 3}, .type = DType::kBFloat16};
  try {
    conv2d_plan_on(key, described_device(75));
    ADD_FAILURE() << "Turing has no bfloat16";
  } catch (const Error& error) {
    if (std::strstr(error.what(), "takes cuDNN 9.8") != nullptr) GTEST_SKIP() << error.what();
    EXPECT_STREQ(error.what(), "no engine is proposed");
  }
}
#endif

#endif  // GLASSNET_CUDA

}  // namespace
}  // namespace glassnet::kernels
