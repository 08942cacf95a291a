#include "tests/op_cases.h"

#include <cmath>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "tensor/hash.h"
#include "tensor/random.h"

namespace glassnet {
namespace {

constexpr uint64_t kSeed = 20240607;
constexpr uint64_t kUpstream = 1000;  // beyond the number of any input

using Inputs = const std::vector<Variable>&;

// A row's numbers depend on its name, so they stay when rows come and go.
uint64_t stream_of(const std::string& name) {
  Fnv1a hash;
  hash.add(name);
  return hash.value();
}

OpInput positive(const Shape& shape) {
  return {shape, Values::kPositive};
}
OpInput distinct(const Shape& shape) {
  return {shape, Values::kDistinct};
}
OpInput off_zero(const Shape& shape) {
  return {shape, Values::kOffZero};
}
OpInput constant(OpInput input) {
  input.differentiable = false;
  return input;
}

OpInput statistic(OpInput input) {
  input.statistic = true;
  return input;
}

// Beside the logits, on their device.
Tensor labels(const std::vector<int64_t>& values, const Variable& logits) {
  return Tensor::from(values, {static_cast<int64_t>(values.size())}).to(logits.value().device());
}

void add_convolutions(std::vector<OpCase>& rows) {
  const auto conv = [&](const char* name, const Shape& x, const Shape& w, bool bias,
                        const Conv2dOptions& options, const char* torch) {
    std::vector<OpInput> inputs = {{x, Values::kNormal}, {w, Values::kNormal}};
    if (bias) inputs.push_back({w[0]});
    rows.push_back({fmt::format("conv2d/{}", name), inputs,
                    [bias, options](Inputs v) {
                      return conv2d(v[0], v[1], bias ? v[2] : Variable{}, options);
                    },
                    torch});
  };
  // (N, H, W, C), (K, R, S, C / groups), whether there is a bias
  conv("1x1", {2, 4, 5, 3}, {4, 1, 1, 3}, false, {}, "conv2d(a, b)");
  conv("1x1_bias", {2, 4, 5, 3}, {4, 1, 1, 3}, true, {}, "conv2d(a, b, c)");
  conv("1x1_stride2", {2, 5, 6, 3}, {4, 1, 1, 3}, false, {.stride = 2}, "conv2d(a, b, stride=2)");
  conv("1x1_padding1", {1, 3, 4, 2}, {3, 1, 1, 2}, true, {.padding = 1},
       "conv2d(a, b, c, padding=1)");
  conv("3x3", {1, 5, 6, 3}, {4, 3, 3, 3}, false, {}, "conv2d(a, b)");
  conv("3x3_padding1_bias", {2, 4, 5, 3}, {4, 3, 3, 3}, true, {.padding = 1},
       "conv2d(a, b, c, padding=1)");
  conv("3x3_stride2_padding1", {1, 7, 8, 3}, {4, 3, 3, 3}, false, {.stride = 2, .padding = 1},
       "conv2d(a, b, stride=2, padding=1)");
  conv("7x7_stride2_padding3", {1, 11, 12, 3}, {4, 7, 7, 3}, false, {.stride = 2, .padding = 3},
       "conv2d(a, b, stride=2, padding=3)");
  conv("1x3_padding0x1", {1, 4, 5, 2}, {3, 1, 3, 2}, true, {.padding = {0, 1}},
       "conv2d(a, b, c, padding=(0, 1))");
  conv("3x2_stride2x1_padding1x0", {1, 6, 5, 2}, {3, 3, 2, 2}, true,
       {.stride = {2, 1}, .padding = {1, 0}}, "conv2d(a, b, c, stride=(2, 1), padding=(1, 0))");
  conv("2x2_stride3_leaves_pixels_out", {1, 7, 7, 2}, {2, 2, 2, 2}, false, {.stride = 3},
       "conv2d(a, b, stride=3)");
  conv("3x3_padding_wider_than_image", {1, 2, 1, 2}, {2, 3, 3, 2}, true, {.padding = 3},
       "conv2d(a, b, c, padding=3)");
  conv("3x3_dilation2", {1, 7, 6, 2}, {3, 3, 3, 2}, false, {.padding = 2, .dilation = 2},
       "conv2d(a, b, padding=2, dilation=2)");
  conv("3x2_dilation2x3_stride1x2", {1, 6, 9, 2}, {3, 3, 2, 2}, true,
       {.stride = {1, 2}, .dilation = {2, 3}}, "conv2d(a, b, c, stride=(1, 2), dilation=(2, 3))");
  conv("3x3_groups2", {1, 5, 4, 4}, {6, 3, 3, 2}, true, {.padding = 1, .groups = 2},
       "conv2d(a, b, c, padding=1, groups=2)");
  conv("1x1_groups3", {2, 3, 3, 6}, {3, 1, 1, 2}, false, {.groups = 3}, "conv2d(a, b, groups=3)");
  conv("depthwise", {1, 5, 6, 5}, {5, 3, 3, 1}, true, {.padding = 1, .groups = 5},
       "conv2d(a, b, c, padding=1, groups=5)");
  conv("depthwise_stride2_multiplier2", {1, 6, 5, 3}, {6, 3, 3, 1}, false,
       {.stride = 2, .padding = 1, .groups = 3}, "conv2d(a, b, stride=2, padding=1, groups=3)");
  conv("single_pixel", {3, 1, 1, 4}, {5, 1, 1, 4}, true, {}, "conv2d(a, b, c)");
  conv("single_pixel_3x3_padding1", {1, 1, 1, 3}, {2, 3, 3, 3}, false, {.padding = 1},
       "conv2d(a, b, padding=1)");
  conv("single_channel", {2, 4, 4, 1}, {1, 2, 2, 1}, false, {}, "conv2d(a, b)");
  // The shapes of ResNets, where blocked and vectorised code runs.
  conv("stem_3_to_64", {2, 32, 32, 3}, {64, 7, 7, 3}, false, {.stride = 2, .padding = 3}, "");
  conv("3x3_64_to_64", {2, 14, 14, 64}, {64, 3, 3, 64}, false, {.padding = 1}, "");
  conv("3x3_stride2_32_to_48_bias", {2, 15, 13, 32}, {48, 3, 3, 32}, true,
       {.stride = 2, .padding = 1}, "");
  conv("1x1_64_to_256", {2, 7, 7, 64}, {256, 1, 1, 64}, false, {}, "");
  conv("1x1_stride2_64_to_128", {2, 14, 14, 64}, {128, 1, 1, 64}, false, {.stride = 2}, "");
  conv("3x3_17_to_31", {3, 9, 10, 17}, {31, 3, 3, 17}, true, {.padding = 1}, "");
  conv("depthwise_32", {2, 12, 12, 32}, {32, 3, 3, 1}, true, {.padding = 1, .groups = 32}, "");
  conv("groups4_64", {2, 8, 8, 64}, {64, 3, 3, 16}, false, {.padding = 1, .groups = 4}, "");
  // The shapes of ResNeXts: 32 groups of 4 channels and more.
  conv("groups32_of_4", {1, 6, 5, 128}, {128, 3, 3, 4}, false, {.padding = 1, .groups = 32}, "");
  conv("groups32_of_8_stride2", {1, 7, 6, 256}, {256, 3, 3, 8}, false,
       {.stride = 2, .padding = 1, .groups = 32}, "");
  conv("groups64_of_4", {2, 5, 5, 256}, {256, 3, 3, 4}, false, {.padding = 1, .groups = 64}, "");
}

void add_fused_convolutions(std::vector<OpCase>& rows) {
  const auto conv = [&](const char* name, const Shape& x, const Shape& w, const Shape& z,
                        const Conv2dOptions& options, bool rectified, const char* torch) {
    std::vector<OpInput> inputs = {{x, Values::kNormal}, {w, Values::kNormal}};
    inputs.push_back(statistic({Shape{w[0]}, Values::kNormal}));
    if (z.rank() > 0) inputs.emplace_back(z, Values::kNormal);
    rows.push_back({fmt::format("conv2d_bias_add_relu/{}", name), inputs,
                    [options, rectified](Inputs v) {
                      return conv2d_bias_add_relu(
                          v[0], v[1], v[2], v.size() > 3 ? v[3] : Variable{}, options, rectified);
                    },
                    torch});
    // cuDNN adds the bias in the type of the image: some sums near 0 change their sign, and with it
    // the ReLU's derivative.
    if (rectified) rows.back().narrow_tolerance = 0.03;
  };
  conv("1x1", {2, 4, 5, 3}, {4, 1, 1, 3}, {}, {}, true, "conv2d(a, b, c).relu()");
  conv("3x3_added", {2, 4, 5, 3}, {4, 3, 3, 3}, {2, 4, 5, 4}, {.padding = 1}, true,
       "(conv2d(a, b, c, padding=1) + d).relu()");
  conv("3x3_added_no_relu", {1, 4, 5, 3}, {4, 3, 3, 3}, {1, 4, 5, 4}, {.padding = 1}, false,
       "conv2d(a, b, c, padding=1) + d");
  conv("1x1_stride2_no_relu", {2, 5, 6, 3}, {4, 1, 1, 3}, {}, {.stride = 2}, false,
       "conv2d(a, b, c, stride=2)");
  conv("groups4_added", {1, 4, 5, 8}, {8, 3, 3, 2}, {1, 4, 5, 8}, {.padding = 1, .groups = 4}, true,
       "(conv2d(a, b, c, padding=1, groups=4) + d).relu()");
  conv("groups32_of_4", {1, 6, 5, 128}, {128, 3, 3, 4}, {}, {.padding = 1, .groups = 32}, true, "");
  conv("3x3_64_to_64_added", {2, 14, 14, 64}, {64, 3, 3, 64}, {2, 14, 14, 64}, {.padding = 1}, true,
       "");
  conv("3x3_17_to_31", {3, 9, 10, 17}, {31, 3, 3, 17}, {}, {.padding = 1}, true, "");
}

void add_matrix_products(std::vector<OpCase>& rows) {
  const auto product = [](Inputs v) { return matmul(v[0], v[1]); };
  rows.push_back({"matmul/3x4x5", {{3, 4}, {4, 5}}, product, "a @ b"});
  rows.push_back({"matmul/single_row", {{1, 7}, {7, 3}}, product, "a @ b"});
  rows.push_back({"matmul/single_column", {{6, 5}, {5, 1}}, product, "a @ b"});
  rows.push_back({"matmul/outer_product", {{4, 1}, {1, 6}}, product, "a @ b"});
  rows.push_back({"matmul/single_element", {{1, 1}, {1, 1}}, product, "a @ b"});
  rows.push_back({"matmul/64x48x80", {{64, 48}, {48, 80}}, product, ""});
  rows.push_back({"matmul/33x129x17", {{33, 129}, {129, 17}}, product, ""});

  const auto layer = [](Inputs v) { return linear(v[0], v[1], v.size() > 2 ? v[2] : Variable{}); };
  rows.push_back({"linear/bias", {{3, 5}, {4, 5}, {4}}, layer, "F.linear(a, b, c)"});
  rows.push_back({"linear/no_bias", {{3, 5}, {4, 5}}, layer, "F.linear(a, b)"});
  rows.push_back({"linear/single_row", {{1, 6}, {3, 6}, {3}}, layer, "F.linear(a, b, c)"});
  rows.push_back({"linear/single_output", {{4, 3}, {1, 3}, {1}}, layer, "F.linear(a, b, c)"});
  rows.push_back({"linear/512_to_37", {{9, 512}, {37, 512}, {37}}, layer, ""});
}

void add_batch_norms(std::vector<OpCase>& rows) {
  // x, gamma, beta, running mean, running variance. The running statistics are copied, because
  // training writes to them.
  const auto inputs = [](const Shape& x) {
    const Shape c = {x.dim(-1)};
    return std::vector<OpInput>{{x, Values::kNormal},
                                statistic(positive(c)),
                                statistic({c, Values::kNormal}),
                                statistic(constant({c, Values::kNormal})),
                                statistic(constant(positive(c)))};
  };
  enum Result { kOutput, kRunningMean, kRunningVar };
  const auto normalise = [](const BatchNormOptions& options, Result result) {
    return [options, result](Inputs v) {
      const Tensor mean = v[3].value().clone(), var = v[4].value().clone();
      const Variable y = batch_norm(v[0], v[1], v[2], mean, var, options);
      return result == kOutput ? y : Variable(result == kRunningMean ? mean : var);
    };
  };
  const auto training = [&](const char* name, const Shape& x, const BatchNormOptions& options,
                            const char* torch) {
    rows.push_back(
        {fmt::format("batch_norm/{}", name), inputs(x), normalise(options, kOutput), torch});
  };
  training("training", {2, 3, 4, 5}, {}, "batch_norm(a, b, c, d, e, training=True)");
  training("training_flat", {7, 3}, {}, "batch_norm(a, b, c, d, e, training=True)");
  training("training_single_channel", {3, 2, 3, 1}, {}, "batch_norm(a, b, c, d, e, training=True)");
  training("training_eps", {4, 2, 2, 3}, {.eps = 0.1},
           "batch_norm(a, b, c, d, e, training=True, eps=0.1)");
  training("training_64_channels", {4, 9, 7, 64}, {}, "");
  training("training_37_channels", {3, 5, 6, 37}, {}, "");
  training("inference", {2, 3, 4, 5}, {.training = false},
           "batch_norm(a, b, c, d, e, training=False)");
  training("inference_flat", {7, 3}, {.training = false},
           "batch_norm(a, b, c, d, e, training=False)");
  training("inference_single_row", {1, 1, 1, 6}, {.training = false, .eps = 1e-3},
           "batch_norm(a, b, c, d, e, training=False, eps=1e-3)");
  training("inference_64_channels", {4, 9, 7, 64}, {.training = false}, "");

  for (const auto& [momentum, text] : {std::pair{0.1, "0.1"}, std::pair{0.75, "0.75"}}) {
    for (const auto& [result, what] :
         {std::pair{kRunningMean, "running_mean"}, std::pair{kRunningVar, "running_var"}}) {
      std::vector<OpInput> in = inputs({2, 3, 2, 6});
      for (OpInput& input : in) input.differentiable = false;
      rows.push_back(
          {fmt::format("batch_norm/{}_momentum_{}", what, momentum < 0.5 ? "low" : "high"), in,
           normalise({.momentum = momentum}, result),
           fmt::format("{}(a, b, c, d, e, momentum={})", what, text)});
    }
  }
}

void add_fused_batch_norms(std::vector<OpCase>& rows) {
  const auto fused = [&](const char* name, const Shape& x, bool added,
                         const BatchNormOptions& options, const char* torch) {
    const Shape c = {x.dim(-1)};
    std::vector<OpInput> inputs = {{x, Values::kNormal},
                                   statistic(positive(c)),
                                   statistic({c, Values::kNormal}),
                                   statistic(constant({c, Values::kNormal})),
                                   statistic(constant(positive(c)))};
    if (added) inputs.emplace_back(x, Values::kNormal);
    rows.push_back({fmt::format("batch_norm_add_relu/{}", name), inputs,
                    [options, added](Inputs v) {
                      return batch_norm_add_relu(v[0], added ? v[5] : Variable{}, v[1], v[2],
                                                 v[3].value().clone(), v[4].value().clone(),
                                                 options);
                    },
                    torch});
  };
  fused("training", {2, 3, 4, 5}, false, {}, "batch_norm(a, b, c, d, e, training=True).relu()");
  fused("training_added", {2, 3, 4, 5}, true, {},
        "(batch_norm(a, b, c, d, e, training=True) + f).relu()");
  fused("training_flat_eps", {7, 3}, true, {.eps = 0.1},
        "(batch_norm(a, b, c, d, e, training=True, eps=0.1) + f).relu()");
  fused("inference_added", {2, 3, 4, 5}, true, {.training = false},
        "(batch_norm(a, b, c, d, e, training=False) + f).relu()");
  fused("training_64_channels", {4, 9, 7, 64}, false, {}, "");
  fused("training_64_channels_added", {4, 9, 7, 64}, true, {}, "");
  fused("training_37_channels_added", {3, 5, 6, 37}, true, {}, "");
}

void add_pools(std::vector<OpCase>& rows) {
  const auto max_pool = [&](const char* name, const Shape& x, const PoolOptions& options,
                            const char* torch) {
    rows.push_back({fmt::format("max_pool2d/{}", name),
                    {distinct(x)},
                    [options](Inputs v) { return max_pool2d(v[0], options); },
                    torch});
  };
  max_pool("2x2", {2, 4, 6, 3}, {}, "max_pool2d(a, 2, stride=2)");
  max_pool("2x2_odd", {1, 5, 7, 2}, {}, "max_pool2d(a, 2, stride=2)");
  max_pool("3x3_stride2_padding1", {2, 7, 6, 3}, {.window = 3, .stride = 2, .padding = 1},
           "max_pool2d(a, 3, stride=2, padding=1)");
  max_pool("3x3_stride1_overlapping", {1, 5, 6, 2}, {.window = 3, .stride = 1},
           "max_pool2d(a, 3, stride=1)");
  max_pool("3x2_stride1x2_padding1x0", {1, 5, 6, 2},
           {.window = {3, 2}, .stride = {1, 2}, .padding = {1, 0}},
           "max_pool2d(a, (3, 2), stride=(1, 2), padding=(1, 0))");
  max_pool("1x1_stride2", {1, 4, 5, 2}, {.window = 1, .stride = 2}, "max_pool2d(a, 1, stride=2)");
  max_pool("whole_image", {2, 3, 4, 2}, {.window = {3, 4}, .stride = 1},
           "max_pool2d(a, (3, 4), stride=1)");
  max_pool("single_pixel", {1, 1, 1, 3}, {.window = 3, .stride = 2, .padding = 1},
           "max_pool2d(a, 3, stride=2, padding=1)");
  max_pool("stem_64_channels", {2, 16, 16, 64}, {.window = 3, .stride = 2, .padding = 1}, "");

  const auto avg_pool = [&](const char* name, const Shape& x, const PoolOptions& options,
                            const char* torch) {
    rows.push_back({fmt::format("avg_pool2d/{}", name),
                    {{x, Values::kNormal}},
                    [options](Inputs v) { return avg_pool2d(v[0], options); },
                    torch});
  };
  avg_pool("2x2", {2, 4, 6, 3}, {}, "avg_pool2d(a, 2, stride=2)");
  avg_pool("2x2_odd", {1, 5, 7, 2}, {}, "avg_pool2d(a, 2, stride=2)");
  avg_pool("3x3_stride2_padding1", {2, 7, 6, 3}, {.window = 3, .stride = 2, .padding = 1},
           "avg_pool2d(a, 3, stride=2, padding=1)");
  avg_pool("2x3_stride1x2_padding0x1", {1, 5, 6, 2},
           {.window = {2, 3}, .stride = {1, 2}, .padding = {0, 1}},
           "avg_pool2d(a, (2, 3), stride=(1, 2), padding=(0, 1))");
  avg_pool("whole_image", {2, 3, 4, 2}, {.window = {3, 4}, .stride = 1},
           "avg_pool2d(a, (3, 4), stride=1)");
  avg_pool("33_channels", {2, 13, 12, 33}, {.window = 3, .stride = 2, .padding = 1}, "");

  const auto global = [](Inputs v) { return global_avg_pool(v[0]); };
  rows.push_back({"global_avg_pool/2x3x4x5", {{2, 3, 4, 5}}, global, "global_avg_pool(a)"});
  rows.push_back({"global_avg_pool/single_pixel", {{3, 1, 1, 4}}, global, "global_avg_pool(a)"});
  rows.push_back({"global_avg_pool/single_channel", {{1, 5, 3, 1}}, global, "global_avg_pool(a)"});
  rows.push_back({"global_avg_pool/64_channels", {{4, 7, 7, 64}}, global, ""});
}

void add_subsamplings(std::vector<OpCase>& rows) {
  const auto subsample = [&](const char* name, const Shape& x, const SubsamplePadOptions& options,
                             const char* torch) {
    rows.push_back({fmt::format("subsample_pad/{}", name),
                    {{x, Values::kNormal}},
                    [options](Inputs v) { return subsample_pad(v[0], options); },
                    torch});
  };
  subsample("even", {2, 4, 6, 4}, {.before = 2, .after = 2}, "subsample_pad(a, 2, 2, 2, 2)");
  subsample("odd", {1, 5, 7, 3}, {.before = 1, .after = 2}, "subsample_pad(a, 2, 2, 1, 2)");
  subsample("channels_alone", {2, 3, 2, 2}, {.stride = 1, .before = 3, .after = 1},
            "subsample_pad(a, 1, 1, 3, 1)");
  subsample("pixels_alone", {1, 6, 5, 3}, {}, "subsample_pad(a, 2, 2, 0, 0)");
  subsample("stride3x1_after", {1, 7, 3, 2}, {.stride = {3, 1}, .after = 2},
            "subsample_pad(a, 3, 1, 0, 2)");
  subsample("stride_beyond_the_image", {2, 2, 3, 1}, {.stride = 5, .before = 1},
            "subsample_pad(a, 5, 5, 1, 0)");
  subsample("single_pixel", {3, 1, 1, 2}, {.before = 1, .after = 1},
            "subsample_pad(a, 2, 2, 1, 1)");
  // Of CIFAR's ResNets, where sixteen bytes are moved at once.
  subsample("16_to_32", {2, 32, 32, 16}, {.before = 8, .after = 8}, "");
  subsample("32_to_64_odd", {3, 9, 11, 32}, {.before = 16, .after = 16}, "");
}

void add_softmaxes(std::vector<OpCase>& rows) {
  const auto soft = [](Inputs v) { return softmax(v[0]); };
  const auto log_soft = [](Inputs v) { return log_softmax(v[0]); };
  for (const auto& [shape, name, golden] :
       {std::tuple{Shape{3, 5}, "3x5", true}, std::tuple{Shape{1, 1}, "single_element", true},
        std::tuple{Shape{4}, "vector", true}, std::tuple{Shape{2, 3, 2, 4}, "rank4", true},
        std::tuple{Shape{17, 1000}, "17x1000", false}}) {
    const OpInput x = {shape, Values::kNormal};
    rows.push_back({fmt::format("softmax/{}", name), {x}, soft, golden ? "a.softmax(-1)" : ""});
    rows.push_back(
        {fmt::format("log_softmax/{}", name), {x}, log_soft, golden ? "a.log_softmax(-1)" : ""});
  }
  // Logits in the thousands overflow unless the row's maximum is taken off first.
  rows.push_back({"softmax/large_logits",
                  {{3, 4}},
                  [](Inputs v) { return softmax(scale(v[0], 4, 5000)); },
                  "(4 * a + 5000).softmax(-1)",
                  1e-3});
  rows.push_back({"log_softmax/large_logits",
                  {{3, 4}},
                  [](Inputs v) { return log_softmax(scale(v[0], 4, 5000)); },
                  "(4 * a + 5000).log_softmax(-1)",
                  1e-3});

  const auto entropy = [&](const char* name, const Shape& logits,
                           const std::vector<int64_t>& targets, const CrossEntropyOptions& options,
                           const char* torch) {
    rows.push_back({fmt::format("cross_entropy/{}", name),
                    {{logits, Values::kNormal}},
                    [targets, options](Inputs v) {
                      return cross_entropy(v[0], labels(targets, v[0]), options);
                    },
                    torch});
  };
  entropy("plain", {4, 5}, {0, 4, 2, 2}, {}, "cross_entropy(a, [0, 4, 2, 2])");
  entropy("single_row", {1, 3}, {1}, {}, "cross_entropy(a, [1])");
  entropy("smoothing", {4, 5}, {0, 4, 2, 2}, {.label_smoothing = 0.1},
          "cross_entropy(a, [0, 4, 2, 2], label_smoothing=0.1)");
  entropy("ignored", {5, 3}, {2, -100, 1, -100, 0}, {}, "cross_entropy(a, [2, -100, 1, -100, 0])");
  entropy("smoothing_ignored", {5, 3}, {2, -100, 1, 0, -100}, {.label_smoothing = 0.25},
          "cross_entropy(a, [2, -100, 1, 0, -100], label_smoothing=0.25)");
  entropy("ignored_class", {4, 3}, {2, 1, 1, 0}, {.label_smoothing = 0.05, .ignored_label = 1},
          "cross_entropy(a, [2, 1, 1, 0], label_smoothing=0.05, ignore_index=1)");
  std::vector<int64_t> many(33);
  for (size_t i = 0; i < many.size(); ++i) many[i] = static_cast<int64_t>(i * 37 % 101);
  entropy("33x101", {33, 101}, many, {.label_smoothing = 0.05}, "");
}

void add_shape_ops(std::vector<OpCase>& rows) {
  rows.push_back({"reshape/flatten",
                  {{2, 3, 4}},
                  [](Inputs v) {
                    return reshape(v[0], {2, -1});
                  },
                  "a.reshape(2, -1)"});
  rows.push_back({"reshape/add_axes",
                  {{6}},
                  [](Inputs v) {
                    return reshape(v[0], {1, 2, 1, 3});
                  },
                  "a.reshape(1, 2, 1, 3)"});
  rows.push_back(
      {"reshape/to_scalar", {{1, 1}}, [](Inputs v) { return reshape(v[0], {}); }, "a.reshape(())"});
  const auto there_and_back = [](Inputs v) {
    return cast(cast(v[0], DType::kFloat64), v[0].value().dtype());
  };
  rows.push_back({"cast/matrix", {{3, 5}}, there_and_back, "a.to(torch.float64)"});
  rows.push_back({"cast/images", {{2, 3, 2, 3}}, there_and_back, "a.to(torch.float64)"});
  rows.push_back(
      {"cast/scalar", {{Shape{}, Values::kNormal}}, there_and_back, "a.to(torch.float64)"});
  rows.push_back({"select/one_per_row",
                  {{3, 4}},
                  [](Inputs v) {
                    return select(v[0], {3, 0, 3});
                  },
                  "a[[0, 1, 2], [3, 0, 3]]"});
  rows.push_back(
      {"select/shared", {{3, 4}}, [](Inputs v) { return select(v[0], {2}); }, "a[:, 2]"});
  rows.push_back(
      {"select/single_column", {{2, 1}}, [](Inputs v) { return select(v[0], {0}); }, "a[:, 0]"});
}

void add_reductions(std::vector<OpCase>& rows) {
  const auto reductions = [&](const Shape& shape, const std::vector<int>& axes, bool keep_dims,
                              bool golden) {
    const std::string variant = fmt::format(
        "rank{}_{}axes_{}{}", shape.rank(), golden ? "" : "large_",
        axes.empty() ? "all" : fmt::format("{}", fmt::join(axes, "")), keep_dims ? "_keep" : "");
    const auto torch = [&, axes = axes](const char* op) {
      std::vector<int> all = axes;
      for (int axis = 0; axes.empty() && axis < shape.rank(); ++axis) all.push_back(axis);
      return golden ? fmt::format("a.{}(dim=({},), keepdim={})", op, fmt::join(all, ", "),
                                  keep_dims ? "True" : "False")
                    : "";
    };
    const OpInput x = {shape, Values::kNormal};
    rows.push_back({"sum/" + variant,
                    {x},
                    [=](Inputs v) { return sum(v[0], axes, keep_dims); },
                    torch("sum")});
    rows.push_back({"mean/" + variant,
                    {x},
                    [=](Inputs v) { return mean(v[0], axes, keep_dims); },
                    torch("mean")});
  };
  // Every subset of four axes; no axis named means all.
  for (unsigned subset = 0; subset < 16; ++subset) {
    std::vector<int> axes;
    for (int axis = 0; axis < 4; ++axis) {
      if (subset >> axis & 1U) axes.push_back(axis);
    }
    reductions({2, 3, 2, 5}, axes, false, true);
    if (!axes.empty()) reductions({17, 6, 5, 19}, axes, subset % 2 == 0, false);
  }
  reductions({3, 4}, {}, true, true);
  reductions({3, 4}, {1}, true, true);
  reductions({2, 3, 4}, {0, 2}, true, true);
  reductions({1, 1, 5}, {0, 1}, false, true);
  reductions({7}, {0}, false, true);
  rows.push_back(
      {"sum/negative_axis", {{2, 3, 4}}, [](Inputs v) { return sum(v[0], {-1}); }, "a.sum(-1)"});
  rows.push_back({"mean/negative_axes",
                  {{2, 3, 4}},
                  [](Inputs v) {
                    return mean(v[0], {-2, -3});
                  },
                  "a.mean((-2, -3))"});
}

void add_resizes(std::vector<OpCase>& rows) {
  const auto resize = [&](const char* name, const Shape& x, int64_t h, int64_t w, bool golden) {
    rows.push_back({fmt::format("resize_bilinear/{}", name),
                    {{x, Values::kNormal}},
                    [h, w](Inputs v) { return resize_bilinear(v[0], h, w); },
                    golden ? fmt::format("resize_bilinear(a, {}, {})", h, w) : ""});
  };
  resize("identity", {2, 3, 4, 2}, 3, 4, true);
  resize("double", {1, 3, 4, 2}, 6, 8, true);
  resize("half", {1, 6, 8, 2}, 3, 4, true);
  resize("up_odd", {1, 3, 4, 2}, 7, 5, true);
  resize("down_odd", {1, 7, 9, 2}, 3, 5, true);
  resize("up_and_down", {2, 3, 7, 1}, 8, 2, true);
  resize("from_single_pixel", {1, 1, 1, 3}, 3, 4, true);
  resize("to_single_pixel", {1, 4, 5, 3}, 1, 1, true);
  resize("cam_7_to_56", {1, 7, 7, 1}, 56, 56, false);
  resize("64_channels", {2, 7, 7, 64}, 14, 10, false);
}

void add_elementwise(std::vector<OpCase>& rows) {
  struct Binary {
    const char* name;
    Variable (*f)(const Variable&, const Variable&);
    const char* torch;
  };
  struct Pairing {
    const char* name;
    Shape a, b;
    bool golden;
  };
  const std::vector<Pairing> pairings = {
      {"same_shape", {2, 3, 4}, {2, 3, 4}, true},
      {"channels", {2, 3, 2, 4}, {4}, true},
      {"channels_first", {4}, {2, 3, 2, 4}, true},
      {"both_repeat", {3, 1, 4}, {2, 1}, true},
      {"middle_axis", {2, 1, 3}, {2, 4, 3}, true},
      {"scalar", {2, 3}, {}, true},
      {"scalars", {}, {}, true},
      {"images_with_mask", {3, 9, 7, 16}, {3, 9, 7, 1}, false},
      {"large_same_shape", {4, 15, 13, 21}, {4, 15, 13, 21}, false},
  };
  for (const auto& [op, f, torch] : {Binary{"add", add, "a + b"}, Binary{"sub", sub, "a - b"},
                                     Binary{"mul", mul, "a * b"}, Binary{"div", div, "a / b"}}) {
    const bool divides = std::string(op) == "div";
    for (const Pairing& pairing : pairings) {
      rows.push_back({fmt::format("{}/{}", op, pairing.name),
                      {{pairing.a, Values::kNormal},
                       {pairing.b, divides ? Values::kPositive : Values::kNormal}},
                      [f = f](Inputs v) { return f(v[0], v[1]); },
                      pairing.golden ? torch : ""});
    }
  }
  rows.push_back(
      {"add/a_variable_to_itself", {{2, 3}}, [](Inputs v) { return add(v[0], v[0]); }, "a + a"});
  rows.push_back(
      {"mul/a_variable_by_itself", {{2, 3}}, [](Inputs v) { return mul(v[0], v[0]); }, "a * a"});

  rows.push_back(
      {"scale/factor", {{2, 5}}, [](Inputs v) { return scale(v[0], -2.5); }, "-2.5 * a"});
  rows.push_back({"scale/factor_and_shift",
                  {{2, 5}},
                  [](Inputs v) { return scale(v[0], 0.3, 1.7); },
                  "0.3 * a + 1.7"});
  rows.push_back({"scale/by_zero", {{3}}, [](Inputs v) { return scale(v[0], 0, 2); }, "0 * a + 2"});
  rows.push_back({"scale/large", {{7, 11, 13}}, [](Inputs v) { return scale(v[0], 3, -1); }, ""});

  struct Unary {
    const char* name;
    Variable (*f)(const Variable&);
    Values values;
  };
  for (const auto& [op, f, values] :
       {Unary{"relu", relu, Values::kOffZero}, Unary{"exp", exp, Values::kNormal},
        Unary{"log", log, Values::kPositive}, Unary{"sqrt", sqrt, Values::kPositive},
        Unary{"square", square, Values::kNormal}, Unary{"abs", abs, Values::kOffZero},
        Unary{"sigmoid", sigmoid, Values::kNormal}, Unary{"tanh", tanh, Values::kNormal}}) {
    for (const auto& [name, shape, golden] :
         {std::tuple{"matrix", Shape{3, 5}, true}, std::tuple{"images", Shape{2, 3, 2, 3}, true},
          std::tuple{"scalar", Shape{}, true}, std::tuple{"large", Shape{3, 17, 19, 5}, false}}) {
      rows.push_back({fmt::format("{}/{}", op, name),
                      {{shape, values}},
                      [f = f](Inputs v) { return f(v[0]); },
                      golden ? fmt::format("a.{}()", op) : ""});
    }
  }
}

// A few ops in a row, as networks have them: gradients meet where paths part.
void add_compositions(std::vector<OpCase>& rows) {
  rows.push_back(
      {"relu/after_convolution_and_shortcut",
       {{1, 4, 5, 3}, {3, 3, 3, 3}, {3}},
       [](Inputs v) { return relu(add(conv2d(v[0], v[1], v[2], {.padding = 1}), v[0])); },
       "(conv2d(a, b, c, padding=1) + a).relu()"});
  rows.push_back(
      {"linear/head_of_a_classifier",
       {off_zero({2, 3, 4, 5}), {6, 5}, {6}},
       [](Inputs v) { return log_softmax(linear(global_avg_pool(relu(v[0])), v[1], v[2])); },
       "F.linear(global_avg_pool(a.relu()), b, c).log_softmax(-1)"});
}

}  // namespace

const std::vector<OpCase>& op_cases() {
  static const std::vector<OpCase> table = [] {
    std::vector<OpCase> rows;
    add_convolutions(rows);
    add_fused_convolutions(rows);
    add_matrix_products(rows);
    add_batch_norms(rows);
    add_fused_batch_norms(rows);
    add_pools(rows);
    add_subsamplings(rows);
    add_softmaxes(rows);
    add_shape_ops(rows);
    add_reductions(rows);
    add_resizes(rows);
    add_elementwise(rows);
    add_compositions(rows);
    return rows;
  }();
  return table;
}

std::vector<Tensor> make_inputs(const OpCase& row) {
  std::vector<Tensor> inputs;
  for (const OpInput& input : row.inputs) {
    const uint64_t stream = stream_of(row.name) + inputs.size();
    if (input.values == Values::kPositive) {
      inputs.push_back(random_uniform(input.shape, 0.5, 2, kSeed, stream, DType::kFloat64));
      continue;
    }
    Tensor x = random_normal(input.shape, 1, kSeed, stream, DType::kFloat64);
    double* values = x.data<double>();
    if (input.values == Values::kOffZero) {
      for (int64_t i = 0; i < x.numel(); ++i) values[i] += std::copysign(0.1, values[i]);
    } else if (input.values == Values::kDistinct) {
      const std::vector<int64_t> places = permutation(x.numel(), Random(kSeed, stream));
      double step = 0.25;
      while (step * static_cast<double>(x.numel()) > 16) step /= 2;
      for (int64_t i = 0; i < x.numel(); ++i) {
        values[i] = step * static_cast<double>(places[i] - x.numel() / 2);
      }
    }
    inputs.push_back(x);
  }
  return inputs;
}

Tensor make_upstream(const OpCase& row, const Shape& shape) {
  return random_normal(shape, 1, kSeed, stream_of(row.name) + kUpstream, DType::kFloat64);
}

}  // namespace glassnet
