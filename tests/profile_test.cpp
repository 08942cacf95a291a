// Spans nest, add up, and change nothing of what they look at.
#include "kernels/profile.h"

#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "models/resnet.h"
#include "models/summary.h"
#include "report/timeline.h"
#include "tensor/math.h"
#include "tensor/random.h"
#include "tests/device_support.h"
#include "training/train_step.h"
#include "xai/explain.h"

namespace glassnet {
namespace {

using testing::HasSubstr;

constexpr int kSize = 32;

std::unique_ptr<Module> network() {
  auto model =
      std::make_unique<ResNet>(ResNetOptions{.bottleneck = false, .blocks = {1, 1}, .classes = 5});
  initialise(*model, /*seed=*/3);
  return model;
}

std::map<const void*, std::string> paths_of(Module& model) {
  std::map<const void*, std::string> paths;
  for (const auto& [path, module] : model.named_modules()) paths[module] = path;
  return paths;
}

Tensor images(int64_t count) {
  return random_normal({count, kSize, kSize, 3}, 1, /*seed=*/1, /*stream=*/7);
}

Batch batch_of(int64_t count) {
  Batch batch;
  batch.images = images(count);
  std::vector<int64_t> labels(static_cast<size_t>(count));
  for (size_t i = 0; i < labels.size(); ++i) labels[i] = static_cast<int64_t>(i) % 5;
  batch.labels = Tensor::from(labels, {count});
  return batch;
}

std::vector<Span> profile_training(Module& model) {
  const auto sgd = make_sgd(model.named_parameters());
  TrainStep step(model, *sgd, {});
  Profile profile(paths_of(model));
  step.start(batch_of(4), 0.1);
  step.finish();
  return profile.finish();
}

int64_t multiply_adds(const std::vector<Span>& spans, const std::string& op) {
  int64_t sum = 0;
  for (const Span& span : spans) sum += span.name == op ? span.multiply_adds : 0;
  return sum;
}

TEST(Profile, SpansNestAndSelfTimesAddUp) {
  const auto model = network();
  const std::vector<Span> spans = profile_training(*model);
  ASSERT_GT(spans.size(), 50u);
  EXPECT_EQ(spans[0].name, "step");
  EXPECT_EQ(spans[0].parent, -1);
  std::set<std::string> phases;
  for (size_t i = 1; i < spans.size(); ++i) {
    ASSERT_GE(spans[i].parent, 0);
    ASSERT_LT(spans[i].parent, static_cast<int>(i));
    const Span& around = spans[static_cast<size_t>(spans[i].parent)];
    EXPECT_GE(spans[i].begin, around.begin);
    EXPECT_LE(spans[i].begin, spans[i].end);
    EXPECT_LE(spans[i].end, around.end);
    if (spans[i].parent == 0 && spans[i].kind == Span::Kind::kPhase) phases.insert(spans[i].name);
  }
  EXPECT_THAT(phases, testing::ElementsAre("backward", "forward", "loss", "update"));
  double sum = 0;
  for (const double self : self_times(spans)) {
    EXPECT_GE(self, -1e-9);
    sum += self;
  }
  EXPECT_NEAR(sum, spans[0].duration(), 1e-6 * spans[0].duration());
}

TEST(Profile, AnOpWithinAnOpIsNotCountedTwice) {
  Profile profile;
  {
    const OpScope outer("outer");
    { const OpScope inner("inner"); }
    { const OpScope inner("inner"); }
  }
  const std::vector<Span> spans = profile.finish();
  ASSERT_EQ(spans.size(), 4u);
  EXPECT_EQ(spans[2].parent, 1);
  EXPECT_EQ(spans[3].parent, 1);
  EXPECT_EQ(nearest(spans, 3, Span::Kind::kOp), &spans[1]);
  EXPECT_EQ(nearest(spans, 1, Span::Kind::kOp), nullptr);
  EXPECT_NEAR(self_times(spans)[1], spans[1].duration() - spans[2].duration() - spans[3].duration(),
              1e-12);
}

TEST(Profile, GradientsBearTheLayerOfTheirForward) {
  const auto model = network();
  const std::vector<Span> spans = profile_training(*model);
  std::map<std::string, std::set<std::string>> layers;  // by "phase op"
  for (size_t i = 1; i < spans.size(); ++i) {
    const Span* phase = outermost(spans, i, Span::Kind::kPhase);
    const Span* layer = nearest(spans, i, Span::Kind::kLayer);
    if (spans[i].kind != Span::Kind::kOp || phase == nullptr || layer == nullptr) continue;
    layers[phase->name + " " + spans[i].name].insert(layer->name);
  }
  const std::set<std::string>& convolutions = layers["forward conv2d"];
  EXPECT_EQ(convolutions.size(), 6u);
  EXPECT_TRUE(convolutions.contains("layer2.0.downsample.0"));
  EXPECT_EQ(layers["backward conv2d_weight_gradient"], convolutions);
  EXPECT_EQ(layers["backward conv2d_input_gradient"].size(), 5u) << "images want no gradient";
  EXPECT_TRUE(layers["backward batch_norm_add_relu"].contains("layer2.0.bn2"));
  EXPECT_TRUE(layers["backward max_pool2d"].contains("maxpool"));
}

TEST(Profile, CountsTheMultiplyAddsOfTheSummary) {
  const auto model = network();
  const ModelSummary summary = summarise(*model, kSize);
  const int64_t stem = summary.layers.front().multiply_adds;
  const int64_t linear = summary.layers.back().multiply_adds;
  const int64_t convolutions = summary.multiply_adds - linear;
  const std::vector<Span> spans = profile_training(*model);
  EXPECT_EQ(multiply_adds(spans, "conv2d"), 4 * convolutions);
  EXPECT_EQ(multiply_adds(spans, "conv2d_weight_gradient"), 4 * convolutions);
  EXPECT_EQ(multiply_adds(spans, "conv2d_input_gradient"), 4 * (convolutions - stem));
  EXPECT_EQ(multiply_adds(spans, "matmul"), 3 * 4 * linear);

  // In evaluation the batch norms are folded in, and a few images at a time pass the first stages.
  model->eval();
  const NoGrad no_grad;
  Profile profile(paths_of(*model));
  (*model)(Variable(images(5)));
  const std::vector<Span> answered = profile.finish();
  std::map<std::string, int64_t> by_layer;
  for (size_t i = 1; i < answered.size(); ++i) {
    const Span* layer = nearest(answered, i, Span::Kind::kLayer);
    if (layer != nullptr) by_layer[layer->name] += answered[i].multiply_adds;
  }
  for (const LayerSummary& layer : summary.layers) {
    EXPECT_EQ(by_layer[layer.path], 5 * layer.multiply_adds) << layer.path;
  }
}

TEST(Profile, CountsTheBytesOfOperandsOnce) {
  const Tensor x = images(1);
  Profile profile;
  relu(x);
  const std::vector<Span> spans = profile.finish();
  ASSERT_EQ(spans.size(), 2u);
  EXPECT_EQ(spans[1].shape, "(1, 32, 32, 3)");
  EXPECT_EQ(spans[1].bytes, static_cast<int64_t>(2 * x.bytes()));
  EXPECT_EQ(spans[1].multiply_adds, 0);
}

TEST(Profile, ChangesNoBit) {
  const auto watched = network(), alone = network();
  const std::vector<Span> spans = profile_training(*watched);
  const auto sgd = make_sgd(alone->named_parameters());
  TrainStep step(*alone, *sgd, {});
  step.start(batch_of(4), 0.1);
  step.finish();
  const StateDict expected = alone->state_dict(), actual = watched->state_dict();
  for (size_t i = 0; i < expected.size(); ++i) {
    EXPECT_EQ(actual[i].tensor.to_vector<double>(), expected[i].tensor.to_vector<double>())
        << expected[i].name;
  }

  const auto maps = [&] {
    return explain(*alone, images(1), "gradcam", {.target = 2}).map.to_vector<float>();
  };
  const std::vector<float> before = maps();
  Profile profile(paths_of(*alone));
  EXPECT_EQ(maps(), before);
  profile.finish();
}

TEST(Profile, EndsWhereItBegan) {
  Profile profile;
  EXPECT_THROW(Profile second, Error) << "one at a time";
  {
    const OpScope op("open");
    EXPECT_THROW(profile.finish(), Error);
  }
  EXPECT_EQ(profile.finish().size(), 2u);
  EXPECT_EQ(Profile::active(), nullptr);
  { const OpScope op("unseen"); }
  {
    Profile dropped;
    EXPECT_EQ(Profile::active(), &dropped);
  }
  EXPECT_EQ(Profile::active(), nullptr);
}

class DeviceProfile : public DeviceTest {};

TEST_F(DeviceProfile, IsMeasuredByEvents) {
  const Tensor x = Tensor::full({64, 64}, -1).to(device_);
  Profile profile({}, device_.index);
  const Tensor y = relu(x);
  const std::vector<Span> spans = profile.finish();
  ASSERT_EQ(spans.size(), 2u);
  EXPECT_GT(spans[1].duration(), 0);
  EXPECT_LE(spans[1].end, spans[0].end);
  EXPECT_EQ(y.to(Device{}).to_vector<float>(), std::vector<float>(64 * 64, 0));
}

TEST(Timeline, DrawsALaneForEachPhase) {
  using Kind = Span::Kind;
  const auto span = [](Kind kind, int parent, const char* name, double begin, double end) {
    return Span{.kind = kind, .parent = parent, .name = name, .begin = begin, .end = end};
  };
  const std::vector<Span> spans = {
      span(Kind::kPhase, -1, "step", 0, 100),
      span(Kind::kPhase, 0, "forward", 0, 40),
      span(Kind::kLayer, 1, "layer1", 0, 38),
      span(Kind::kOp, 2, "conv2d", 0, 30),
      span(Kind::kPhase, 0, "backward", 40, 90),
      span(Kind::kLayer, 4, "layer1", 40, 90),
      span(Kind::kOp, 5, "conv2d_weight_gradient", 40, 80),
      span(Kind::kPhase, 0, "update", 90, 99),
      span(Kind::kOp, 7, "sgd", 90, 98),
  };
  const TimelineOptions words{.title = "a & b", .subtitle = "4 images"};
  const std::string svg = timeline_svg(spans, words);
  for (const char* word : {"forward", "backward", "update", "between ops", "layer1", "a &amp; b",
                           "their weight gradients", "4 images. "}) {
    EXPECT_THAT(svg, HasSubstr(word));
  }
  const Image picture = timeline(spans, words), twice = timeline(spans, {.scale = 2});
  EXPECT_EQ(picture.width, 1000);
  EXPECT_EQ(twice.width, 2000);
  EXPECT_THROW(timeline({}), Error);
}

}  // namespace
}  // namespace glassnet
