// Images that share pixels, and networks that look at them, against the same images one by one.
#include "tensor/shared_images.h"

#include <set>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "kernels/gather.h"
#include "kernels/policy.h"
#include "models/resnet.h"
#include "nn/shared_forward.h"
#include "tensor/random.h"
#include "tests/drawn_network.h"

namespace glassnet {
namespace {

using testing::HasSubstr;

Tensor normal(const Shape& shape, uint64_t seed) {
  return random_normal(shape, 1, seed, static_cast<uint64_t>(Stream::kUser));
}

// Mosaics of three sources in patches of `patch` pixels, and the same images one by one.
struct Mosaics {
  Mosaics(int64_t images, int64_t height, int64_t width, int64_t channels, int64_t patch)
      : sources(normal({3, height, width, channels}, 1)) {
    const int64_t across = (width + patch - 1) / patch, down = (height + patch - 1) / patch;
    for (int64_t p = 0; p < height * width; ++p) {
      part_of.push_back(static_cast<int32_t>(p / width / patch * across + p % width / patch));
    }
    Random random(5, Stream::kUser);
    source_of.resize(static_cast<size_t>(across * down));
    for (auto& part : source_of) {
      for (int64_t i = 0; i < images; ++i) part.push_back(static_cast<int32_t>(random.next() % 3));
    }
    shared = SharedImages::mosaics(sources, part_of, source_of);
    plain = Tensor::empty({images, height, width, channels});
    for (int64_t i = 0; i < images; ++i) {
      for (size_t p = 0; p < part_of.size(); ++p) {
        const int32_t source = source_of[static_cast<size_t>(part_of[p])][static_cast<size_t>(i)];
        const int64_t pixel = static_cast<int64_t>(p), pixels = height * width;
        std::copy_n(std::as_const(sources).data<float>() + (source * pixels + pixel) * channels,
                    channels, plain.data<float>() + (i * pixels + pixel) * channels);
      }
    }
  }

  Tensor sources;
  std::vector<int32_t> part_of;
  std::vector<std::vector<int32_t>> source_of;
  SharedImages shared;
  Tensor plain;
};

void expect_equal(const Tensor& got, const Tensor& expected, double tolerance,
                  const std::string& what) {
  ASSERT_EQ(got.shape(), expected.shape()) << what;
  const std::vector<double> a = got.to_vector<double>(), b = expected.to_vector<double>();
  double magnitude = 0, difference = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    magnitude = std::max(magnitude, std::abs(b[i]));
    difference = std::max(difference, std::abs(a[i] - b[i]));
  }
  EXPECT_LE(difference, tolerance * magnitude) << what;
}

TEST(GatherRows, TakesRowsAndZeros) {
  const std::vector<float> x = {1, 2, 3, 4, 5, 6};
  const std::vector<int32_t> index = {2, -1, 0, 2};
  std::vector<float> y(8, 9);
  kernels::gather_rows(Cpu{}, x.data(), index.data(), y.data(), 4, 2 * sizeof(float));
  EXPECT_EQ(y, (std::vector<float>{5, 6, 0, 0, 1, 2, 5, 6}));
}

TEST(SharedImages, AreTheImagesOneByOne) {
  const Mosaics m(20, 7, 9, 2, 3);
  EXPECT_EQ(m.shared.images(), 20);
  EXPECT_EQ(m.shared.height(), 7);
  EXPECT_EQ(m.shared.width(), 9);
  // Three sources of which some image has each: three pixels are there instead of twenty.
  EXPECT_EQ(m.shared.pool().shape(), (Shape{7 * 9 * 3, 1, 1, 2}));
  EXPECT_DOUBLE_EQ(m.shared.share(), 3.0 / 20);
  expect_equal(m.shared.expand(0, 20), m.plain, 0, "all");
  expect_equal(m.shared.expand(4, 5), m.plain.slice(4, 5), 0, "one");
  const SharedImages some = m.shared.slice(5, 9);
  EXPECT_EQ(some.images(), 4);
  expect_equal(some.expand(1, 3), m.plain.slice(6, 8), 0, "some");
  // Of four images less than three sources each, but no pixel that none of them has.
  EXPECT_LT(some.pool().dim(0), m.shared.pool().dim(0));
  EXPECT_EQ(m.shared.slice(7, 8).pool().dim(0), 7 * 9);
}

// Sources of noise: windows are equal only where images agree in all of them.
TEST(SharedImages, HaveEachDistinctWindowOnce) {
  const Mosaics m(50, 8, 10, 1, 3);
  const Windows windows{
      .height = 3, .width = 2, .stride_h = 2, .stride_w = 3, .pad_h = 1, .pad_w = 1};
  int64_t seen = 0;
  std::set<std::vector<float>> everywhere;
  const SharedImages y =
      m.shared.map(windows, Outside::kZeros, {}, [&](const Tensor& some, const Tensor& z) {
        EXPECT_FALSE(z.defined());
        seen += some.dim(0);
        const std::vector<float> values = some.to_vector<float>();
        for (size_t i = 0; i < values.size(); i += 6) {
          everywhere.emplace(values.begin() + static_cast<std::ptrdiff_t>(i),
                             values.begin() + static_cast<std::ptrdiff_t>(i) + 6);
        }
        return Tensor::full({some.dim(0), 1, 1, 1}, 1);
      });
  std::set<std::vector<float>> expected;
  const auto* x = std::as_const(m.plain).data<float>();
  for (int64_t i = 0; i < 50 * 4 * 4; ++i) {
    const int64_t n = i / 16, p = i / 4 % 4, q = i % 4;
    std::vector<float> window;
    for (int64_t r = 0; r < 3; ++r) {
      for (int64_t s = 0; s < 2; ++s) {
        const int64_t v = 2 * p - 1 + r, u = 3 * q - 1 + s;
        const bool inside = v >= 0 && v < 8 && u >= 0 && u < 10;
        window.push_back(inside ? x[(n * 8 + v) * 10 + u] : 0);
      }
    }
    expected.insert(window);
  }
  EXPECT_EQ(y.height(), 4);
  EXPECT_EQ(y.width(), 4);
  EXPECT_EQ(everywhere, expected);
  EXPECT_EQ(seen, static_cast<int64_t>(expected.size()));
  EXPECT_EQ(y.pool().dim(0), seen);
}

TEST(SharedImages, PoolAsTheImagesDo) {
  const Mosaics m(30, 9, 9, 3, 2);
  MaxPool2d pool(PoolOptions{.window = 3, .stride = 2, .padding = 1});
  // Where zeros around the image would be the largest.
  Tensor low = m.sources.clone(), plain = m.plain.clone();
  for (int64_t i = 0; i < low.numel(); ++i) low.data<float>()[i] -= 10;
  for (int64_t i = 0; i < plain.numel(); ++i) plain.data<float>()[i] -= 10;
  const SharedImages y = pool(SharedImages::mosaics(low, m.part_of, m.source_of));
  expect_equal(y.expand(0, 30), pool(Variable(plain)).value(), 0, "pool");
}

TEST(SharedImages, AddWhatAgreesElsewhere) {
  // Of z's images others agree than of x's, and windows of one pixel need not be looked at.
  const Mosaics x(25, 6, 6, 16, 6), z(25, 6, 6, 16, 2);
  for (const int64_t kernel : {1, 3}) {
    Conv2d conv({.in = 16, .out = 16, .kernel = kernel, .padding = kernel / 2, .bias = false});
    BatchNorm2d bn({.channels = 16});
    ReLU relu;
    draw_weights(conv);
    draw_weights(bn);
    bn.eval();
    const NoGrad no_grad;
    const SharedImages y = conv_bn_relu(conv, bn, &relu, x.shared, z.shared);
    expect_equal(y.expand(0, 25),
                 conv_bn_relu(conv, bn, &relu, Variable(x.plain), Variable(z.plain)).value(), 1e-6,
                 fmt::format("kernel {}", kernel));
  }
}

TEST(SharedImages, SayWhatIsWrong) {
  const Mosaics m(4, 4, 4, 1, 2);
  const auto message = [](auto&& f) -> std::string {
    try {
      f();
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  const auto mosaics = [&](auto&& change) {
    auto part_of = m.part_of;
    auto source_of = m.source_of;
    change(part_of, source_of);
    return message([&] { SharedImages::mosaics(m.sources, part_of, source_of); });
  };
  EXPECT_EQ(mosaics([](auto&, auto&) {}), "");
  EXPECT_THAT(mosaics([](auto& parts, auto&) { parts.pop_back(); }),
              HasSubstr("16 pixels, got 15"));
  EXPECT_THAT(mosaics([](auto& parts, auto&) { parts[0] = 4; }),
              HasSubstr("4 parts, got number 4"));
  EXPECT_THAT(mosaics([](auto&, auto& sources) { sources[1][2] = 3; }), HasSubstr("3 sources"));
  EXPECT_THAT(mosaics([](auto&, auto& sources) { sources[1].pop_back(); }), HasSubstr("4 images"));
  EXPECT_THAT(mosaics([](auto&, auto& sources) { sources.clear(); }), HasSubstr("expected images"));
  Linear linear({.in = 1, .out = 1});
  EXPECT_THAT(message([&] { linear(m.shared); }), HasSubstr("a Linear takes images one by one"));
  Conv2d conv({.in = 1, .out = 1, .bias = false});
  BatchNorm2d bn({.channels = 1});
  EXPECT_THAT(message([&] { conv_bn_relu(conv, bn, nullptr, m.shared); }),
              HasSubstr("in evaluation"));
}

// --- networks ------------------------------------------------------------------------------------

struct Network {
  const char* name;
  ResNetOptions options;
};
const std::vector<Network>& networks() {
  static const std::vector<Network> all = {
      {"basic", {.bottleneck = false, .blocks = {1, 2}, .classes = 5}},
      {"bottleneck", {.blocks = {2, 1}, .classes = 5}},
      {"groups", {.blocks = {1, 1}, .groups = 32, .width_per_group = 4, .classes = 5}},
      {"cifar", {.bottleneck = false, .blocks = {1, 1, 1}, .cifar = true, .classes = 5}},
  };
  return all;
}

TEST(SharedForward, GivesTheNetworksAnswers) {
  const Mosaics m(24, 40, 44, 3, 14);
  for (const auto& [name, options] : networks()) {
    ResNet net(options);
    draw_weights(net);
    const Evaluating evaluating(net);
    const NoGrad no_grad;
    ASSERT_TRUE(SharedForward::shares(net));
    SharedForward forward(net, m.shared);
    const Tensor expected = net(Variable(m.plain)).value();
    for (const auto& [begin, end] : {std::pair{0, 13}, {13, 14}, {14, 24}}) {
      expect_equal(forward.next(end - begin), expected.slice(begin, end), 1e-5, name);
    }
    // Step by step, as far as they go.
    SharedImages x = m.shared;
    for (size_t i = 0; i < net.steps(); ++i) {
      x = net.step(i, x);
      expect_equal(net.finish(i + 1, Variable(x.expand(0, 24))).value(), expected, 1e-5,
                   fmt::format("{} after {}", name, i));
    }
    EXPECT_LE(x.share(), 1);
  }
}

// Parts of at most so many bytes, however the images are asked for.
TEST(SharedForward, TakesImagesInPartsWhereTheyAreMuchToKeep) {
  class Net : public ResNet {
   public:
    Net() : ResNet({.blocks = {2, 1}, .width_per_group = 16, .classes = 3}) { draw_weights(*this); }
    SharedImages step(size_t index, const SharedImages& x) override {
      images_of_steps.push_back(x.images());
      return ResNet::step(index, x);
    }
    std::vector<int64_t> images_of_steps;
  };
  Net net;
  const Mosaics m(150, 32, 32, 3, 16);
  const Evaluating evaluating(net);
  const NoGrad no_grad;
  const Tensor expected = net(Variable(m.plain)).value();
  const auto all = [&](const SharingLimits& limits, int64_t count) {
    net.images_of_steps.clear();
    SharedForward forward(net, m.shared, limits);
    for (int64_t begin = 0; begin < 150; begin += count) {
      const int64_t end = std::min(begin + count, int64_t{150});
      expect_equal(forward.next(end - begin), expected.slice(begin, end), 1e-5,
                   fmt::format("{} at {}", count, begin));
    }
    EXPECT_THROW(forward.next(1), Error);
    return net.images_of_steps;
  };
  EXPECT_THAT(all({}, 40), testing::Each(150));
  for (const int64_t count : {40, 150}) {
    const std::vector<int64_t> images = all({.pool_bytes = 100'000, .few_images = 40}, count);
    EXPECT_EQ(images.front(), 150);
    EXPECT_THAT(images, testing::Contains(37)) << count;
  }
  // Few images, of which even two are too much: nothing is shared.
  EXPECT_THAT(all({.pool_bytes = 1, .few_images = 200}, 7), testing::IsEmpty());
}

TEST(SharedForward, TakesDoublePrecision) {
  const Mosaics m(12, 24, 24, 3, 8);
  ResNet net({.blocks = {1}, .classes = 3});
  draw_weights(net);
  net.to(DType::kFloat64);
  const Evaluating evaluating(net);
  const NoGrad no_grad;
  SharedForward forward(
      net, SharedImages::mosaics(m.sources.to(DType::kFloat64), m.part_of, m.source_of));
  expect_equal(forward.next(12), net(Variable(m.plain.to(DType::kFloat64))).value(), 1e-12, "all");
}

TEST(SharedForward, GivesNearlyTheSameByWinograd) {
  const Mosaics m(24, 40, 44, 3, 14);
  ResNet net({.bottleneck = false, .blocks = {2, 1}, .classes = 5});
  draw_weights(net);
  const Evaluating evaluating(net);
  const NoGrad no_grad;
  const bool before = kernels::allow_winograd();
  kernels::set_allow_winograd(true);
  SharedForward forward(net, m.shared);
  expect_equal(forward.next(24), net(Variable(m.plain)).value(), 1e-4, "all");
  kernels::set_allow_winograd(before);
}

TEST(SharedForward, SharesWhereItCan) {
  ResNet net(networks()[0].options);
  EXPECT_TRUE(SharedForward::shares(net));
  {
    const HookHandle hook = net.on_forward("layer1.0.bn1", [](const Variable& y) { return y; });
    EXPECT_FALSE(SharedForward::shares(net));
  }
  EXPECT_TRUE(SharedForward::shares(net));
  Sequential other;
  EXPECT_FALSE(SharedForward::shares(other));
}

}  // namespace
}  // namespace glassnet
