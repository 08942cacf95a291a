// LIME against its reference's numbers (scripts/make-golden-lime) and against what must hold.
#include "xai/lime.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <filesystem>
#include <map>
#include <numeric>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "models/resnet.h"
#include "models/safetensors.h"
#include "nn/layers.h"
#include "tensor/math.h"
#include "tests/data_support.h"
#include "tests/device_support.h"

namespace glassnet {
namespace {

using testing::HasSubstr;

Tensor golden(const std::string& name) {
  static const std::map<std::string, Tensor> tensors = [] {
    std::map<std::string, Tensor> result;
    const auto file =
        load_safetensors(std::filesystem::path(GLASSNET_GOLDEN_DIR) / "lime.safetensors");
    for (const NamedTensor& entry : file.tensors) result[entry.name] = entry.tensor;
    return result;
  }();
  return tensors.at(name);
}

// Masks from rows of zeros and ones (samples, superpixels).
LimeMasks masks_of(const Tensor& rows) {
  LimeMasks masks{.superpixels = rows.dim(1)};
  const std::vector<double> values = rows.to_vector<double>();
  for (int64_t i = 0; i < rows.dim(0); ++i) {
    std::vector<uint32_t> row(static_cast<size_t>(masks.words()));
    for (int64_t j = 0; j < rows.dim(1); ++j) {
      const bool shown = values[static_cast<size_t>(i * rows.dim(1) + j)] != 0;
      row[static_cast<size_t>(j / 32)] |= static_cast<uint32_t>(shown) << (j % 32);
    }
    masks.bits.insert(masks.bits.end(), row.begin(), row.end());
  }
  return masks;
}

void expect_near(const std::vector<double>& got, const std::vector<double>& expected,
                 double tolerance, const std::string& what) {
  ASSERT_EQ(got.size(), expected.size()) << what;
  for (size_t i = 0; i < got.size(); ++i) {
    EXPECT_NEAR(got[i], expected[i], tolerance) << what << " " << i;
  }
}

// --- masks ---------------------------------------------------------------------------------------

TEST(LimeMasks, AreThoseOfNumPy) {
  for (const char* name : {"small", "wide"}) {
    const LimeMasks expected = masks_of(golden(fmt::format("{}/masks", name)));
    const LimeMasks masks = random_lime_masks(expected.samples(), expected.superpixels, 7);
    EXPECT_EQ(masks.bits, expected.bits) << name;
    EXPECT_NE(random_lime_masks(expected.samples(), expected.superpixels, 8).bits, expected.bits);
  }
}

TEST(LimeMasks, GrowWithoutChangingWhatWasThere) {
  LimeMaskStream stream(3);
  LimeMasks masks{.superpixels = 33};
  for (const int64_t more : {1, 0, 5, 94}) stream.append(masks, more);
  EXPECT_EQ(masks.bits, random_lime_masks(100, 33, 3).bits);
  EXPECT_EQ(masks.samples(), 100);
  EXPECT_EQ(masks.shown(0), 33);
  EXPECT_LT(masks.shown(1), 33);
}

TEST(LimeMasks, OfEveryKindAreEachThereOnce) {
  const LimeMasks masks = every_lime_mask(5);
  EXPECT_TRUE(masks.every_mask);
  EXPECT_EQ(masks.shown(0), 5);
  std::vector<uint32_t> bits = masks.bits, expected(32);
  std::sort(bits.begin(), bits.end());
  std::iota(expected.begin(), expected.end(), 0);
  EXPECT_EQ(bits, expected);
  EXPECT_EQ(every_lime_mask(12).samples(), 4096);
}

TEST(LimeMasks, OfEveryKindAreForFewSuperpixels) {
  for (const int64_t superpixels : {0, 13}) {
    try {
      every_lime_mask(superpixels);
      ADD_FAILURE() << superpixels;
    } catch (const UsageError& error) {
      EXPECT_THAT(error.what(), HasSubstr(fmt::format("has {}", superpixels)));
    }
  }
}

// --- the linear model ----------------------------------------------------------------------------

struct Variant {
  std::string name;
  LimeFitOptions options;
};
const std::vector<Variant>& variants() {
  static const std::vector<Variant> all = {
      {"none", {.selection = LimeSelection::kNone}},
      {"highest", {.selection = LimeSelection::kHighest, .features = 5}},
      {"forward", {.selection = LimeSelection::kForward, .features = 4}},
      {"forward_all", {.selection = LimeSelection::kForward, .features = 7}},
      {"auto", {}},
      {"auto_few", {.features = 3}}};
  return all;
}

TEST(LimeFit, WeighsSamplesLikeTheReference) {
  for (const std::string name : {"small", "wide"}) {
    const LimeMasks masks = masks_of(golden(name + "/masks"));
    expect_near(lime_kernel_weights(masks, 0.25),
                golden(name + "/kernel_weights").to_vector<double>(), 1e-12, name);
  }
}

TEST(LimeFit, GivesTheReferencesNumbers) {
  for (const std::string name : {"small", "wide"}) {
    const LimeMasks masks = masks_of(golden(name + "/masks"));
    const Tensor probabilities = golden(name + "/probabilities");
    std::vector<int64_t> classes(static_cast<size_t>(probabilities.dim(1)));
    std::iota(classes.begin(), classes.end(), 0);
    for (const Variant& variant : variants()) {
      const std::string at = name + "/" + variant.name + "/";
      const LimeResult result = fit_lime(masks, probabilities, classes, variant.options);
      const auto expected = [&](const char* what) { return golden(at + what).to_vector<double>(); };
      EXPECT_EQ(result.weights.shape(), golden(at + "weights").shape());
      expect_near(result.weights.to_vector<double>(), expected("weights"), 1e-9, at + "weights");
      expect_near(result.standard_errors.to_vector<double>(), expected("errors"), 1e-9,
                  at + "errors");
      expect_near(result.intercepts, expected("intercepts"), 1e-9, at + "intercepts");
      expect_near(result.scores, expected("scores"), 1e-9, at + "scores");
      expect_near(result.local_predictions, expected("local"), 1e-9, at + "local");
      const std::vector<int64_t> ranking = golden(at + "ranking").to_vector<int64_t>();
      const size_t length = ranking.size() / classes.size();
      for (size_t c = 0; c < classes.size(); ++c) {
        EXPECT_EQ(
            result.rankings[c],
            std::vector<int64_t>(ranking.begin() + static_cast<std::ptrdiff_t>(c * length),
                                 ranking.begin() + static_cast<std::ptrdiff_t>((c + 1) * length)))
            << at << c;
      }
    }
  }
}

TEST(LimeFit, TakesClassesInTheOrderAskedFor) {
  const LimeMasks masks = masks_of(golden("small/masks"));
  const Tensor probabilities = golden("small/probabilities");
  const LimeResult all = fit_lime(masks, probabilities, {0, 1, 2});
  const LimeResult two = fit_lime(masks, probabilities, {1, 0});
  EXPECT_EQ(two.weights.slice(0, 1).to_vector<double>(),
            all.weights.slice(1, 2).to_vector<double>());
  EXPECT_EQ(two.weights.slice(1, 2).to_vector<double>(),
            all.weights.slice(0, 1).to_vector<double>());
  EXPECT_EQ(two.scores, (std::vector<double>{all.scores[1], all.scores[0]}));
  EXPECT_EQ(two.samples, 60);
  EXPECT_FALSE(two.exact);
  EXPECT_EQ(two.prediction, probabilities.slice(0, 1).to_vector<double>());
}

TEST(LimeFit, RenamesSuperpixelsWithThePicture) {
  // The masks of superpixels in reverse order give the weights in reverse order.
  const Tensor rows = golden("small/masks"), probabilities = golden("small/probabilities");
  Tensor reversed = rows.clone();
  const int64_t n = rows.dim(1);
  for (int64_t i = 0; i < rows.numel(); ++i) {
    reversed.data<double>()[i] = rows.data<double>()[i / n * n + n - 1 - i % n];
  }
  const LimeResult forth = fit_lime(masks_of(rows), probabilities, {0});
  const LimeResult back = fit_lime(masks_of(reversed), probabilities, {0});
  std::vector<double> weights = back.weights.to_vector<double>();
  std::reverse(weights.begin(), weights.end());
  expect_near(weights, forth.weights.to_vector<double>(), 1e-12, "weights");
  EXPECT_NEAR(back.scores[0], forth.scores[0], 1e-12);
}

TEST(LimeFit, IsLinearInTheAnswer) {
  const LimeMasks masks = masks_of(golden("small/masks"));
  Tensor answers = golden("small/probabilities").clone();
  for (int64_t i = 0; i < answers.dim(0); ++i) {
    double* const row = answers.data<double>() + 3 * i;
    row[2] = 3 * row[0] - 2 * row[1] + 0.5;
  }
  const LimeResult result = fit_lime(masks, answers, {0, 1, 2});
  const double* const w = result.weights.data<double>();
  for (int64_t j = 0; j < 7; ++j) EXPECT_NEAR(w[14 + j], 3 * w[j] - 2 * w[7 + j], 1e-12);
  EXPECT_NEAR(result.intercepts[2], 3 * result.intercepts[0] - 2 * result.intercepts[1] + 0.5,
              1e-12);
}

TEST(LimeFit, SaysWhatCannotBeFitted) {
  const LimeMasks masks = masks_of(golden("small/masks"));
  const Tensor probabilities = golden("small/probabilities");
  const auto message = [&](const auto& call) -> std::string {
    try {
      call();
    } catch (const Error& error) {
      return error.what();
    }
    return "nothing was thrown";
  };
  EXPECT_THAT(message([&] { fit_lime(masks, probabilities, {3}); }),
              HasSubstr("no class has index 3; the network knows 3 classes"));
  EXPECT_THAT(message([&] { fit_lime(masks, probabilities, {-1}); }), HasSubstr("index -1"));
  EXPECT_THAT(message([&] { fit_lime(masks, probabilities.slice(0, 9), {0}); }),
              HasSubstr("expected probabilities (60, classes), got (9, 3)"));
  EXPECT_THAT(
      message([&] { fit_lime(random_lime_masks(2, 7, 0), probabilities.slice(0, 2), {0}); }),
      HasSubstr("at least 3 samples, got 2"));
  Tensor broken = probabilities.clone();
  broken.data<double>()[5] = std::nan("");
  EXPECT_THAT(message([&] { fit_lime(masks, broken, {0}); }), HasSubstr("not numbers"));
  EXPECT_THAT(message([&] { fit_lime(masks, probabilities, {0}, {.kernel_width = 0}); }),
              HasSubstr("kernel width"));
  EXPECT_THAT(message([&] { fit_lime(masks, probabilities, {0}, {.alpha = -1}); }),
              HasSubstr("penalty"));
  EXPECT_THAT(message([&] { fit_lime(masks, probabilities, {0}, {.features = 0}); }),
              HasSubstr("at least one superpixel"));
}

// --- how sure the weights are --------------------------------------------------------------------

// A network's answer as a function of the superpixels that it sees, bit j of z for superpixel j.
using Answer = std::function<double(uint32_t z)>;
double bit(uint32_t z, int j) {
  return z >> j & 1;
}
const std::vector<std::pair<std::string, Answer>>& answers() {
  static const std::vector<std::pair<std::string, Answer>> all = {
      {"logistic",
       [](uint32_t z) {
         const double x = 2.5 * bit(z, 0) - 1.5 * bit(z, 1) + bit(z, 2) -
                          2 * bit(z, 3) * bit(z, 4) + 0.7 * bit(z, 5) - 1;
         return 1 / (1 + std::exp(-x));
       }},
      {"needs three", [](uint32_t z) { return (z % 8 == 7 ? 0.8 : 0) + 0.1 * bit(z, 3); }},
      {"nearly the whole",
       [](uint32_t z) {
         return std::popcount(z % 128) > 5 ? 0.9 : 0.2 * bit(z, 0) + 0.1 * bit(z, 1);
       }},
      {"linear", [](uint32_t z) { return 0.5 * bit(z, 0) - 0.3 * bit(z, 1) + 0.1 * bit(z, 6); }}};
  return all;
}
// Of every mask of 12 superpixels.
std::vector<double> table_of(const Answer& answer) {
  std::vector<double> table;
  for (uint32_t z = 0; z < 4096; ++z) table.push_back(answer(z));
  return table;
}
Tensor answers_of(const std::vector<double>& table, const LimeMasks& masks) {
  Tensor y = Tensor::empty({masks.samples(), 1}, DType::kFloat64);
  for (int64_t i = 0; i < masks.samples(); ++i) y.data<double>()[i] = table[*masks.row(i)];
  return y;
}

double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + values.size() / 2, values.end());
  return values[values.size() / 2];
}

// The promise of standard errors: one run says how far its weights lie from those of other seeds.
TEST(LimeFit, StandardErrorsAreTheSpreadOverSeeds) {
  constexpr uint32_t kSeeds = 1000;
  for (const auto& [name, answer] : answers()) {
    const std::vector<double> table = table_of(answer);
    for (const auto& [superpixels, samples] : {std::pair{7, 60}, {7, 300}, {12, 150}, {12, 1000}}) {
      std::vector<std::vector<double>> weights(static_cast<size_t>(superpixels));
      std::vector<std::vector<double>> errors(weights.size());
      for (uint32_t seed = 0; seed < kSeeds; ++seed) {
        const LimeMasks masks = random_lime_masks(samples, superpixels, seed);
        const LimeResult result = fit_lime(masks, answers_of(table, masks), {0});
        for (size_t j = 0; j < weights.size(); ++j) {
          weights[j].push_back(result.weights.data<double>()[j]);
          errors[j].push_back(result.standard_errors.data<double>()[j]);
        }
      }
      for (size_t j = 0; j < weights.size(); ++j) {
        const double mean = std::accumulate(weights[j].begin(), weights[j].end(), 0.0) / kSeeds;
        double squares = 0;
        for (const double weight : weights[j]) squares += (weight - mean) * (weight - mean);
        const double ratio = median(errors[j]) / std::sqrt(squares / (kSeeds - 1));
        EXPECT_GT(ratio, 0.9) << name << ", " << samples << " samples, superpixel " << j;
        EXPECT_LT(ratio, 1.1) << name << ", " << samples << " samples, superpixel " << j;
      }
    }
  }
}

// Every mask once is what many samples come to: the mean over seeds lies within its own error.
TEST(LimeFit, OfEveryMaskIsWhatSeedsScatterAround) {
  constexpr uint32_t kSeeds = 400;
  for (const auto& [name, answer] : answers()) {
    const std::vector<double> table = table_of(answer);
    const LimeMasks every = every_lime_mask(7);
    const LimeResult exact = fit_lime(every, answers_of(table, every), {0});
    EXPECT_TRUE(exact.exact);
    EXPECT_EQ(exact.standard_errors.to_vector<double>(), std::vector<double>(7));
    EXPECT_EQ(exact.settled[0], 7);
    std::vector<double> mean(7), spread(7);
    for (uint32_t seed = 0; seed < kSeeds; ++seed) {
      const LimeMasks masks = random_lime_masks(1000, 7, seed);
      const LimeResult result = fit_lime(masks, answers_of(table, masks), {0});
      for (size_t j = 0; j < 7; ++j) {
        mean[j] += result.weights.data<double>()[j] / kSeeds;
        spread[j] += result.standard_errors.data<double>()[j] / kSeeds;
      }
    }
    for (size_t j = 0; j < 7; ++j) {
      // A fifth of one run's error is four of the mean's; the picture itself, which random samples
      // always hold, and the penalty on a varying matrix move it by one in a thousand.
      EXPECT_NEAR(mean[j], exact.weights.data<double>()[j], spread[j] / 5 + 1e-3) << name << j;
    }
  }
}

TEST(LimeFit, KnowsWhichPlacesAreSettled) {
  // Superpixel 0 matters by `first`, 1 and 2 as much as each other, the rest is noise.
  const auto settled = [](double first, int64_t samples) {
    const std::vector<double> table = table_of([&](uint32_t z) {
      const bool odd = std::popcount(z / 8) % 2 == 1;
      return first * bit(z, 0) + 0.2 * bit(z, 1) - 0.2 * bit(z, 2) + (odd ? 0.25 : 0);
    });
    const LimeMasks masks = random_lime_masks(samples, 7, 5);
    return fit_lime(masks, answers_of(table, masks), {0}).settled[0];
  };
  EXPECT_EQ(settled(0.2, 200), 0);
  EXPECT_EQ(settled(0.5, 200), 1);
  // With two errors below 5 % of the largest weight, which of the two is larger no longer matters.
  EXPECT_EQ(settled(0.5, 4000), 7);
}

// Noise where superpixels 0 and 1 are both shown or both hidden moves their weights the same way:
// their difference is surer than each of them, their sum less sure.
TEST(LimeFit, KnowsThatErrorsGoTogether) {
  const auto settled = [](double second) {
    const std::vector<double> table = table_of([&](uint32_t z) {
      const double noise = std::popcount(z / 4) % 2 == 1 ? 0.15 : -0.15;
      return 0.3 * bit(z, 0) + second * bit(z, 1) + (bit(z, 0) == bit(z, 1) ? noise : 0);
    });
    const LimeMasks masks = random_lime_masks(400, 7, 5);
    return fit_lime(masks, answers_of(table, masks), {0}).settled[0];
  };
  EXPECT_GE(settled(0.27), 1);
  EXPECT_EQ(settled(-0.27), 0);
}

// --- pictures ------------------------------------------------------------------------------------

Image image_of(const Tensor& values) {
  Image image(static_cast<int>(values.dim(0)), static_cast<int>(values.dim(1)));
  const std::vector<double> all = values.to_vector<double>();
  std::transform(all.begin(), all.end(), image.rgb.begin(),
                 [](double value) { return static_cast<uint8_t>(value); });
  return image;
}

Superpixels golden_superpixels() {
  return {.labels = golden("picture/segments").to(DType::kInt64), .count = 7};
}

TEST(LimePicture, HidesBehindMeanColoursCutOff) {
  const Image picture = image_of(golden("picture/image"));
  EXPECT_EQ(hide_superpixels(picture, golden_superpixels()).rgb,
            image_of(golden("picture/hidden")).rgb);
}

TEST(LimePicture, HidesBehindOneColour) {
  const Image picture = image_of(golden("picture/image"));
  const Image hidden =
      hide_superpixels(picture, golden_superpixels(), std::array<uint8_t, 3>{9, 0, 255});
  for (size_t i = 0; i < hidden.rgb.size(); i += 3) {
    EXPECT_EQ(hidden.rgb[i], 9);
    EXPECT_EQ(hidden.rgb[i + 1], 0);
    EXPECT_EQ(hidden.rgb[i + 2], 255);
  }
}

TEST(LimePicture, PointsAtTheReferencesRegions) {
  const Image picture = image_of(golden("picture/image"));
  const LimeResult result = fit_lime(masks_of(golden("small/masks")), golden("small/probabilities"),
                                     {1, 0}, {.selection = LimeSelection::kNone});
  const Tensor rows = golden("picture/options");
  for (int64_t i = 0; i < rows.dim(0); ++i) {
    const double* const row = rows.data<double>() + 5 * i;
    const LimeRegions regions = lime_regions(result, 1, picture, golden_superpixels(),
                                             {.positive_only = row[0] != 0,
                                              .negative_only = row[1] != 0,
                                              .hide_rest = row[2] != 0,
                                              .superpixels = static_cast<int64_t>(row[3]),
                                              .min_weight = row[4]});
    const std::string at = fmt::format("picture/{}/", i);
    EXPECT_EQ(regions.mask.to_vector<double>(), golden(at + "mask").to_vector<double>()) << at;
    EXPECT_EQ(regions.picture.rgb, image_of(golden(at + "picture")).rgb) << at;
    EXPECT_EQ(regions.superpixels, golden(at + "superpixels").to_vector<int64_t>()) << at;
  }
}

TEST(LimePicture, SaysWhatCannotBeShown) {
  const Image picture = image_of(golden("picture/image"));
  const LimeResult result =
      fit_lime(masks_of(golden("small/masks")), golden("small/probabilities"), {0});
  const Superpixels superpixels = golden_superpixels();
  EXPECT_THROW(lime_regions(result, 1, picture, superpixels), UsageError);
  EXPECT_THROW(
      lime_regions(result, 0, picture, superpixels, {.positive_only = true, .negative_only = true}),
      UsageError);
  Superpixels more = superpixels;
  more.labels = superpixels.labels.clone();
  more.labels.data<int64_t>()[0] = more.count++;
  EXPECT_THROW(lime_regions(result, 0, picture, more), Error);
}

TEST(LimePicture, SaysWhatIsWrongWithSuperpixels) {
  const auto message = [](const Superpixels& superpixels) -> std::string {
    try {
      require_superpixels(superpixels, 6, 9);
    } catch (const UsageError& error) {
      return error.what();
    }
    return "nothing was thrown";
  };
  const Superpixels good = golden_superpixels();
  EXPECT_EQ(message(good), "nothing was thrown");
  EXPECT_THAT(message({.labels = good.labels, .count = 8}), HasSubstr("no pixel has label 7"));
  EXPECT_THAT(message({.labels = good.labels, .count = 6}), HasSubstr("a pixel has label 6"));
  EXPECT_THAT(message({.labels = good.labels, .count = 0}), HasSubstr("a pixel has label 0"));
  EXPECT_THAT(message({.labels = good.labels.reshape({9, 6}), .count = 7}), HasSubstr("(9, 6)"));
  EXPECT_THAT(message({.labels = good.labels.to(DType::kFloat64), .count = 7}),
              HasSubstr("not float64"));
  // Counted from one, as other programs do.
  Superpixels from_one{.labels = good.labels.clone(), .count = 7};
  for (int64_t i = 0; i < 54; ++i) ++from_one.labels.data<int64_t>()[i];
  EXPECT_THAT(message(from_one), HasSubstr("a pixel has label 7"));
  from_one.count = 8;
  EXPECT_THAT(message(from_one), HasSubstr("no pixel has label 0"));
}

// --- with a network ------------------------------------------------------------------------------

// conv - bn - relu - pool - fc.
class TinyNet : public Module {
 public:
  Conv2d& conv = child<Conv2d>("conv", Conv2dLayer{.in = 3, .out = 8, .kernel = 3, .stride = 2});
  BatchNorm2d& bn = child<BatchNorm2d>("bn", BatchNorm2dLayer{.channels = 8});
  GlobalAvgPool& pool = child<GlobalAvgPool>("pool");
  Linear& fc = child<Linear>("fc", LinearLayer{.in = 8, .out = 4});

  TinyNet() {
    initialise(*this, 7);
    // Far from one class for all.
    Tensor weight = fc.weight.value();
    weight.copy_from(scale(weight, 4));
  }

 protected:
  Variable forward(const Variable& x) override { return fc(pool(relu(bn(conv(x))))); }
};

// A picture of `superpixels` stripes of noise.
LimeJob stripes(int64_t superpixels, uint64_t seed, int height = 13, int width = 18) {
  LimeJob job{.picture = test::noise_image(height, width, seed)};
  job.superpixels = {.labels = Tensor::empty({height, width}, DType::kInt64), .count = superpixels};
  for (int64_t i = 0; i < height * width; ++i) {
    job.superpixels.labels.data<int64_t>()[i] = i * superpixels / (height * width);
    // Stripes of different brightness.
    for (int64_t c = 0; c < 3; ++c) {
      uint8_t& value = job.picture.rgb[static_cast<size_t>(3 * i + c)];
      value = static_cast<uint8_t>(value / 2 + 37 * (i * superpixels / (height * width)) % 128);
    }
  }
  return job;
}

// Whether kAuto takes every mask.
bool takes_every_mask_of(const LimeJob& job, const LimeOptions& options) {
  return options.sampling == LimeSampling::kAuto && job.superpixels.count <= 12 &&
         int64_t{1} << job.superpixels.count <= options.max_samples;
}

void expect_same(const LimeResult& a, const LimeResult& b, double tolerance,
                 const std::string& what = "") {
  EXPECT_EQ(a.classes, b.classes) << what;
  EXPECT_EQ(a.samples, b.samples) << what;
  EXPECT_EQ(a.exact, b.exact) << what;
  expect_near(a.weights.to_vector<double>(), b.weights.to_vector<double>(), tolerance, what);
  expect_near(a.standard_errors.to_vector<double>(), b.standard_errors.to_vector<double>(),
              tolerance, what);
  expect_near(a.intercepts, b.intercepts, tolerance, what);
  expect_near(a.prediction, b.prediction, tolerance, what);
}

TEST(Lime, FitsWhatTheNetworkSaysOfEachSample) {
  TinyNet net;
  LimeJob job = stripes(9, 1);
  job.classes = {2, 0};
  for (const bool grey : {false, true}) {
    LimeOptions options{.samples = 70, .seed = 11, .batch_size = 32, .keep_samples = true};
    options.normalization = {.mean = {0.1F, 0.2F, 0.3F}, .stddev = {0.4F, 0.5F, 0.6F}};
    if (grey) options.color = {128, 128, 128};
    const LimeResult result = lime(net, job, options);
    EXPECT_EQ(result.masks.bits, random_lime_masks(70, 9, 11).bits);
    ASSERT_EQ(result.probabilities.shape(), (Shape{70, 4}));

    const Image hidden = hide_superpixels(job.picture, job.superpixels, options.color);
    const Evaluating evaluating(net);
    for (int64_t i = 0; i < 70; ++i) {
      Image shown = hidden;
      for (size_t p = 0; p < 13 * 18; ++p) {
        if (!result.masks.shows(i, job.superpixels.labels.data<int64_t>()[p])) continue;
        std::copy_n(&job.picture.rgb[3 * p], 3, &shown.rgb[3 * p]);
      }
      const NoGrad guard;
      const Tensor expected =
          softmax(net(Variable(to_input(shown, options.normalization))).value());
      expect_near(result.probabilities.slice(i, i + 1).to_vector<double>(),
                  expected.to_vector<double>(), 1e-6, fmt::format("sample {}", i));
    }
    expect_same(result, fit_lime(result.masks, result.probabilities, {2, 0}), 0);
    EXPECT_NEAR(std::accumulate(result.prediction.begin(), result.prediction.end(), 0.0), 1, 1e-6);
    // Something is at stake.
    const std::vector<double> weights = result.weights.to_vector<double>();
    EXPECT_GT(*std::max_element(weights.begin(), weights.end()), 0.005);
  }
}

TEST(Lime, ExplainsTheMostProbableClasses) {
  TinyNet net;
  const LimeResult result = lime(net, stripes(6, 1), {.samples = 20, .top_classes = 3});
  ASSERT_EQ(result.classes.size(), 3U);
  std::vector<double> sorted = result.prediction;
  std::sort(sorted.rbegin(), sorted.rend());
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(result.prediction[static_cast<size_t>(result.classes[i])], sorted[i]);
  }
  EXPECT_EQ(lime(net, stripes(6, 1), {.samples = 20, .top_classes = 9}).classes.size(), 4U);
  EXPECT_EQ(lime(net, stripes(6, 1), {.samples = 20}).classes.size(), 1U);
  EXPECT_FALSE(result.masks.samples() > 0 || result.probabilities.defined());
}

// Pictures in one batch do not know of each other.
TEST(Lime, IsTheSameWhateverSharesItsBatches) {
  TinyNet net;
  std::vector<LimeJob> jobs;
  for (const int64_t superpixels : {5, 20, 1, 40, 3, 14}) {
    jobs.push_back(stripes(superpixels, static_cast<uint64_t>(superpixels)));
  }
  jobs[3].classes = {1, 2, 3};
  for (const LimeSampling sampling : {LimeSampling::kFixed, LimeSampling::kAuto}) {
    LimeOptions options{
        .sampling = sampling, .samples = 50, .chunk = 40, .max_samples = 200, .seed = 3};
    std::vector<LimeResult> alone;
    for (const LimeJob& job : jobs) alone.push_back(lime(net, job, options));
    for (const int64_t batch_size : {1, 7, 64, 1000}) {
      options.batch_size = batch_size;
      const std::vector<LimeResult> together = lime_many(net, jobs, options);
      ASSERT_EQ(together.size(), jobs.size());
      for (size_t i = 0; i < jobs.size(); ++i) {
        expect_same(together[i], alone[i], 1e-6, fmt::format("job {} by {}", i, batch_size));
      }
    }
  }
}

TEST(Lime, DoesNotAskTwiceAboutAMask) {
  TinyNet net;
  int64_t seen = 0;
  const HookHandle hook = net.on_forward([&](const Variable& y) {
    seen += y.shape().dim(0);
    return y;
  });
  const LimeResult few = lime(net, stripes(3, 2), {.samples = 500, .keep_samples = true});
  EXPECT_EQ(seen, 8);
  EXPECT_EQ(few.samples, 500);
  EXPECT_EQ(few.probabilities.dim(0), 500);
  seen = 0;
  lime(net, stripes(40, 2), {.samples = 100});
  EXPECT_EQ(seen, 100);
}

TEST(Lime, TakesEveryMaskOfFewSuperpixels) {
  TinyNet net;
  const LimeJob job = stripes(5, 4);
  const LimeOptions options{.sampling = LimeSampling::kExact, .keep_samples = true};
  const LimeResult exact = lime(net, job, options);
  EXPECT_TRUE(exact.exact);
  EXPECT_EQ(exact.samples, 32);
  EXPECT_EQ(exact.masks.bits, every_lime_mask(5).bits);
  expect_same(exact, lime(net, job, {.sampling = LimeSampling::kExact, .seed = 9}), 0);
  // By itself where that is no more work.
  expect_same(exact, lime(net, job, {.sampling = LimeSampling::kAuto}), 0);
  EXPECT_TRUE(lime(net, stripes(10, 4), {.sampling = LimeSampling::kAuto}).exact);
  EXPECT_FALSE(
      lime(net, stripes(10, 4), {.sampling = LimeSampling::kAuto, .max_samples = 1023}).exact);
}

TEST(Lime, SamplesUntilTheFirstFiveAreSettled) {
  TinyNet net;
  bool stopped_early = false, ran_out = false;
  for (const int64_t max_samples : {300, 5000}) {
    for (uint64_t seed = 0; seed < 4; ++seed) {
      const LimeJob job = stripes(14, seed);
      const LimeOptions options{
          .sampling = LimeSampling::kAuto, .chunk = 64, .max_samples = max_samples};
      const LimeResult result = lime(net, job, options);
      if (result.samples < max_samples) {
        stopped_early = true;
        EXPECT_EQ(result.samples % 64, 0);
        EXPECT_GE(result.settled[0], 5);
        if (result.samples > 64) {
          EXPECT_LT(lime(net, job, {.samples = result.samples - 64}).settled[0], 5);
        }
      } else {
        ran_out = true;
        EXPECT_EQ(result.samples, max_samples);
      }
      expect_same(result, lime(net, job, {.samples = result.samples}), 1e-6);
    }
  }
  EXPECT_TRUE(stopped_early);
  EXPECT_TRUE(ran_out);
}

TEST(Lime, AsksForPicturesAsItNeedsThem) {
  TinyNet net;
  int64_t given = 0, finished = 0, most_open = 0;
  std::vector<int64_t> numbers, pictures_done, samples_seen;
  lime_stream(
      net,
      [&]() -> std::optional<LimeJob> {
        if (given == 30) return {};
        most_open = std::max(most_open, ++given - finished);
        return stripes(40, static_cast<uint64_t>(given));
      },
      [&](int64_t job, const LimeResult& result) {
        ++finished;
        numbers.push_back(job);
        EXPECT_EQ(result.samples, 20);
      },
      {.samples = 20, .batch_size = 16, .progress = [&](int64_t pictures, int64_t samples) {
         EXPECT_EQ(pictures, finished);
         pictures_done.push_back(pictures);
         samples_seen.push_back(samples);
       }});
  EXPECT_EQ(finished, 30);
  EXPECT_TRUE(std::is_sorted(numbers.begin(), numbers.end()));
  EXPECT_LE(most_open, 4);
  ASSERT_EQ(samples_seen.size(), 38U);  // 600 samples by 16
  EXPECT_EQ(samples_seen[0], 16);
  EXPECT_EQ(samples_seen.back(), 600);
  EXPECT_EQ(pictures_done.back(), 30);
}

TEST(Lime, LeavesTheNetworkAsItWas) {
  TinyNet net;
  net.train();
  net.bn.eval();
  lime(net, stripes(5, 1), {.samples = 10});
  EXPECT_TRUE(net.training() && net.conv.training() && !net.bn.training());
  EXPECT_TRUE(lime_many(net, {}).empty());
}

TEST(Lime, SaysWhatMakesNoSense) {
  TinyNet net;
  const auto message = [&](const std::vector<LimeJob>& jobs, const LimeOptions& options) {
    try {
      lime_many(net, jobs, options);
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string("nothing was thrown");
  };
  const LimeJob job = stripes(13, 1);
  EXPECT_THAT(message({job}, {.samples = 2}), HasSubstr("a number of samples of at least 3"));
  EXPECT_THAT(message({job}, {.sampling = LimeSampling::kAuto, .chunk = 0}), HasSubstr("a chunk"));
  EXPECT_THAT(message({job}, {.sampling = LimeSampling::kAuto, .max_samples = 255}),
              HasSubstr("a limit of samples of at least 256, not 255"));
  EXPECT_THAT(message({job}, {.sampling = LimeSampling::kExact}), HasSubstr("the picture has 13"));
  EXPECT_THAT(message({job}, {.top_classes = 0}), HasSubstr("a number of classes"));
  EXPECT_THAT(message({job}, {.batch_size = 0}), HasSubstr("a batch size"));
  EXPECT_THAT(message({job}, {.fit = {.alpha = 0}}), HasSubstr("penalty"));
  EXPECT_THAT(message({job}, {.precision = DType::kFloat16}), HasSubstr("float16"));
  EXPECT_THAT(message({job}, {.precision = DType::kFloat64}), HasSubstr("float64"));
  EXPECT_THAT(message({job, stripes(13, 1, 14, 18)}, {.samples = 10}),
              HasSubstr("pictures of one size, got (14, 18) after (13, 18)"));
  LimeJob wrong = job;
  wrong.classes = {4};
  EXPECT_THAT(message({wrong}, {.samples = 10}), HasSubstr("no class has index 4"));
  wrong = job;
  wrong.superpixels.count = 14;
  EXPECT_THAT(message({wrong}, {.samples = 10}), HasSubstr("no pixel has label 13"));
}

TEST(Lime, InBFloat16GivesNearlyTheSameNumbers) {
  TinyNet net;
  const std::vector<LimeJob> jobs = {stripes(6, 6), stripes(40, 40)};
  LimeOptions options{.samples = 30, .seed = 2, .batch_size = 16};
  const std::vector<LimeResult> expected = lime_many(net, jobs, options);
  options.precision = DType::kBFloat16;
  const std::vector<LimeResult> results = lime_many(net, jobs, options);
  for (size_t i = 0; i < jobs.size(); ++i) {
    expect_same(results[i], expected[i], 0.02, fmt::format("job {}", i));
    EXPECT_NE(results[i].weights.to_vector<double>(), expected[i].weights.to_vector<double>());
  }
}

// How far few samples in bfloat16 are from the same in float32.
TEST(Lime, KnowsHowFarItsWeightsAreFromThoseInFloat32) {
  TinyNet net;
  const std::vector<LimeJob> jobs = {stripes(6, 6), stripes(40, 40), stripes(3, 3), stripes(8, 8)};
  for (const LimeSampling sampling :
       {LimeSampling::kFixed, LimeSampling::kAuto, LimeSampling::kExact}) {
    std::vector<LimeJob> some = jobs;
    if (sampling == LimeSampling::kExact) some.erase(some.begin() + 1);
    LimeOptions options{.sampling = sampling, .samples = 60, .chunk = 50, .max_samples = 150};
    options.seed = 5;
    options.batch_size = 16;
    options.float32_samples = 20;
    for (const LimeResult& result : lime_many(net, some, options)) {
      EXPECT_FALSE(result.deviation.has_value());
    }
    options.precision = DType::kBFloat16;
    const std::vector<LimeResult> results = lime_many(net, some, options);
    for (size_t i = 0; i < some.size(); ++i) {
      ASSERT_TRUE(results[i].deviation.has_value());
      EXPECT_GT(*results[i].deviation, 0);
      EXPECT_LT(*results[i].deviation, 0.02);
      if (sampling == LimeSampling::kExact) continue;
      // The first samples of a seed are those of fewer.
      if (takes_every_mask_of(some[i], options)) continue;
      LimeOptions few{.samples = 20, .seed = 5};
      const std::vector<double> exact = lime(net, some[i], few).weights.to_vector<double>();
      few.precision = DType::kBFloat16;
      const std::vector<double> low = lime(net, some[i], few).weights.to_vector<double>();
      double largest = 0;
      for (size_t j = 0; j < low.size(); ++j) {
        largest = std::max(largest, std::abs(low[j] - exact[j]));
      }
      EXPECT_NEAR(*results[i].deviation, largest, 1e-6) << "job " << i;
    }
    options.float32_samples = 0;
    EXPECT_FALSE(lime(net, some[0], options).deviation.has_value());
  }
}

// However few of all masks are looked at twice, they tell of every superpixel.
TEST(Lime, WhatIsLookedAtInFloat32TellsOfEverySuperpixel) {
  TinyNet net;
  for (int64_t only = 0; only < 8; ++only) {
    // To hide a superpixel of one colour changes nothing: the network sees one of them alone.
    LimeJob job = stripes(8, 8);
    const int64_t* labels = job.superpixels.labels.data<int64_t>();
    for (size_t i = 0; i < job.picture.rgb.size(); ++i) {
      if (labels[i / 3] != only) job.picture.rgb[i] = 100;
    }
    const LimeOptions options{
        .sampling = LimeSampling::kExact, .precision = DType::kBFloat16, .float32_samples = 20};
    EXPECT_GT(lime(net, job, options).deviation.value_or(0), 1e-6) << "superpixel " << only;
  }
}

// Samples that share pixels, and with a hook in the network, which keeps them apart.
TEST(Lime, OfWhatSamplesShareIsTheSameAsOfEach) {
  class Net : public ResNet {
   public:
    Net() : ResNet({.blocks = {1, 1}, .classes = 4}) { initialise(*this, 3); }
    SharedImages step(size_t index, const SharedImages& x) override {
      ++shared_steps;
      return ResNet::step(index, x);
    }
    int shared_steps = 0;
  };
  Net net;
  const std::vector<LimeJob> jobs = {stripes(6, 6, 40, 48), stripes(40, 40, 40, 48),
                                     stripes(14, 9, 40, 48)};
  for (const LimeSampling sampling : {LimeSampling::kFixed, LimeSampling::kAuto}) {
    for (const auto& [precision, tolerance] :
         {std::pair{DType::kFloat32, 1e-6}, {DType::kBFloat16, 0.01}}) {
      LimeOptions options{.sampling = sampling, .samples = 90, .chunk = 50, .max_samples = 120};
      options.batch_size = 32;
      options.precision = precision;
      net.shared_steps = 0;
      const std::vector<LimeResult> results = lime_many(net, jobs, options);
      EXPECT_GE(net.shared_steps, 3);
      net.shared_steps = 0;
      const HookHandle hook = net.on_forward([](const Variable& y) { return y; });
      const std::vector<LimeResult> expected = lime_many(net, jobs, options);
      EXPECT_EQ(net.shared_steps, 0);
      for (size_t i = 0; i < jobs.size(); ++i) {
        expect_same(results[i], expected[i], tolerance, fmt::format("job {}", i));
      }
    }
  }
}

class DeviceLime : public DeviceTest {};

TEST_F(DeviceLime, GivesTheNumbersOfTheCpu) {
  TinyNet net;
  std::vector<LimeJob> jobs;
  for (const int64_t superpixels : {6, 40, 9}) {
    jobs.push_back(stripes(superpixels, static_cast<uint64_t>(superpixels)));
    jobs.back().classes = {1, 3};
  }
  LimeOptions options{.samples = 30, .seed = 2, .batch_size = 16, .float32_samples = 12};
  const std::vector<LimeResult> expected = lime_many(net, jobs, options);
  net.to(device_);
  for (const auto& [precision, tolerance] :
       {std::pair{DType::kFloat32, 1e-5}, {DType::kBFloat16, 0.02}, {DType::kFloat16, 0.003}}) {
    options.precision = precision;
    const std::vector<LimeResult> results = lime_many(net, jobs, options);
    for (size_t i = 0; i < jobs.size(); ++i) {
      expect_same(results[i], expected[i], tolerance, fmt::format("job {}", i));
      EXPECT_EQ(results[i].deviation.has_value(), precision != DType::kFloat32);
    }
  }
}

// More batches than are queued at once, the last of them filled up.
TEST_F(DeviceLime, KeepsManyBatchesInFlight) {
  TinyNet net;
  std::vector<LimeJob> jobs;
  for (uint64_t i = 0; i < 5; ++i) jobs.push_back(stripes(20, i));
  for (const LimeSampling sampling : {LimeSampling::kFixed, LimeSampling::kAuto}) {
    LimeOptions options{.sampling = sampling, .samples = 21, .chunk = 10, .max_samples = 30};
    options.batch_size = 8;
    net.to(Device{});
    const std::vector<LimeResult> expected = lime_many(net, jobs, options);
    net.to(device_);
    int64_t seen = 0;
    options.progress = [&](int64_t, int64_t samples) { seen = samples; };
    const std::vector<LimeResult> results = lime_many(net, jobs, options);
    int64_t samples = 0;
    for (size_t i = 0; i < jobs.size(); ++i) {
      expect_same(results[i], expected[i], 1e-5, fmt::format("job {}", i));
      samples += results[i].samples;
    }
    EXPECT_EQ(seen, samples);
  }
}

}  // namespace
}  // namespace glassnet
