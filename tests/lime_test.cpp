// LIME against its reference's numbers (scripts/make-golden-lime) and against what must hold.
#include "xai/lime_fit.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <numeric>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "models/safetensors.h"
#include "xai/lime_picture.h"

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
  EXPECT_THAT(message([&] { fit_lime(masks, probabilities, {0}, {.kernel_width = 0}); }),
              HasSubstr("kernel width"));
  EXPECT_THAT(message([&] { fit_lime(masks, probabilities, {0}, {.alpha = -1}); }),
              HasSubstr("penalty"));
  EXPECT_THAT(message([&] { fit_lime(masks, probabilities, {0}, {.features = 0}); }),
              HasSubstr("at least one superpixel"));
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
      check(superpixels, 6, 9);
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

}  // namespace
}  // namespace glassnet
