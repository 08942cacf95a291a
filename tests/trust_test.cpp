// The measures of trust, on networks and maps whose answers follow by hand.
#include "xai/trust.h"

#include <cmath>
#include <limits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "models/resnet.h"
#include "tensor/math.h"
#include "tensor/random.h"
#include "xai/explain.h"

namespace glassnet {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

// The mean of all numbers: each pixel counts by its own value.
std::vector<double> mean_of_each(const Tensor& images) {
  std::vector<double> means;
  for (int64_t i = 0; i < images.dim(0); ++i) {
    means.push_back(mean(images.slice(i, i + 1)).item());
  }
  return means;
}

Tensor grey(const std::vector<float>& pixels, int64_t height, int64_t width) {
  std::vector<float> values;
  for (const float pixel : pixels) values.insert(values.end(), 3, pixel);
  return Tensor::from(values, {1, height, width, 3});
}

// --- deletion and insertion ----------------------------------------------------------------------

TEST(Trust, DeletionTakesTheHighestFirst) {
  const Tensor image = grey({4, 2, 1, 3}, 2, 2);
  const Tensor map = Tensor::from<float>({0.4F, 0.2F, 0.1F, 0.3F}, {2, 2});
  const Curve curve = deletion(image, map, mean_of_each, {.steps = 4});
  EXPECT_THAT(curve.probabilities, testing::ElementsAre(2.5, 1.5, 0.75, 0.25, 0));
  EXPECT_DOUBLE_EQ(curve.area, (1.25 + 1.5 + 0.75 + 0.25) / 4);
  std::vector<int64_t> passes;
  deletion(image, map, mean_of_each,
           {.steps = 4, .batch_size = 3, .progress = [&](int64_t n) { passes.push_back(n); }});
  EXPECT_THAT(passes, testing::ElementsAre(3, 2));
  // The other way round it is as slow as can be.
  const Curve slow = deletion(image, scale(map, -1), mean_of_each, {.steps = 4});
  EXPECT_THAT(slow.probabilities, testing::ElementsAre(2.5, 2.25, 1.75, 1, 0));
}

TEST(Trust, StepsAreEqualPartsWhateverTheBatch) {
  const Tensor image = grey(std::vector<float>(35, 1.0F), 5, 7);
  const Tensor map = random_uniform({5, 7}, 0, 1, 1, static_cast<uint64_t>(Stream::kUser));
  for (const int batch : {1, 2, 3, 100}) {
    const Curve curve = deletion(image, map, mean_of_each, {.steps = 5, .batch_size = batch});
    ASSERT_EQ(curve.probabilities.size(), 6U);
    for (int i = 0; i <= 5; ++i) EXPECT_NEAR(curve.probabilities[i], 1 - i / 5.0, 1e-6);
    EXPECT_NEAR(curve.area, 0.5, 1e-6);
  }
  // No more steps than pixels.
  EXPECT_EQ(deletion(image, map, mean_of_each, {.steps = 100}).probabilities.size(), 36U);
}

TEST(Trust, InsertionGoesFromTheBlurredImageToTheImage) {
  std::vector<float> pixels(15 * 15, 0.0F);
  pixels[7 * 15 + 7] = 1;
  const Tensor image = grey(pixels, 15, 15);
  // Looks at the middle alone.
  const ClassProbability middle = [](const Tensor& images) {
    std::vector<double> result;
    for (int64_t i = 0; i < images.dim(0); ++i) {
      result.push_back(images.slice(i, i + 1).to_vector<double>()[(7 * 15 + 7) * 3]);
    }
    return result;
  };
  const Tensor map = Tensor::from(pixels, {15, 15});
  const Curve curve = insertion(image, map, middle, {.steps = 225});
  double weights = 0;
  for (int d = -5; d <= 5; ++d) weights += std::exp(-0.5 * d * d / 25.0);
  EXPECT_NEAR(curve.probabilities[0], 1 / (weights * weights), 1e-6);
  EXPECT_EQ(curve.probabilities[1], 1);
  EXPECT_EQ(curve.probabilities.back(), 1);
  // What is the same everywhere stays so when it is blurred, at the edges too.
  const Tensor plain = grey(std::vector<float>(81, 0.5F), 9, 9);
  EXPECT_NEAR(insertion(plain, Tensor::zeros({9, 9}), mean_of_each).probabilities[0], 0.5, 1e-6);
}

TEST(Trust, RandomMapsLieBetweenTheBestAndTheWorst) {
  std::vector<float> pixels(32 * 32, 0.0F);
  for (size_t y = 4; y < 12; ++y) {
    for (size_t x = 4; x < 12; ++x) pixels[y * 32 + x] = 1;
  }
  const Tensor image = grey(pixels, 32, 32), map = Tensor::from(pixels, {32, 32});
  const RandomMaps random = random_maps(image, mean_of_each);
  EXPECT_LT(deletion(image, map, mean_of_each).area, random.deletion);
  EXPECT_GT(deletion(image, scale(map, -1), mean_of_each).area, random.deletion);
  EXPECT_LE(random.best_deletion, random.deletion);
  EXPECT_GE(random.best_insertion, random.insertion);
  EXPECT_LT(deletion(image, map, mean_of_each).area, random.best_deletion);
  EXPECT_EQ(random_maps(image, mean_of_each).insertion, random.insertion);
  EXPECT_NE(random_maps(image, mean_of_each, 3, 1).deletion, random.deletion);
}

// --- sensitivity and infidelity ------------------------------------------------------------------

TEST(Trust, MaxSensitivityIsTheLargestRelativeChange) {
  const Tensor image = grey({1, 1, 1, 0.9F}, 2, 2);
  const Tensor fixed = Tensor::from<float>({1, 2, 3, 4}, {2, 2});
  EXPECT_EQ(max_sensitivity(image, [&](const Tensor&) { return fixed; }), 0);
  // Of the image itself: at most 0.02 of 1, and nearly so in ten draws of twelve numbers.
  const double own = max_sensitivity(image, [](const Tensor& x) { return x; });
  EXPECT_GT(own, 0.008);
  EXPECT_LE(own, 0.02);
  EXPECT_NEAR(max_sensitivity(
                  image, [](const Tensor& x) { return x; }, 0.2),
              10 * own, 1e-6);
}

TEST(Trust, ABlankMapHasNoNumber) {
  const Tensor image =
      random_uniform({1, 16, 16, 3}, 0, 1, 5, static_cast<uint64_t>(Stream::kUser));
  for (const float value : {0.0F, 2.0F, NAN}) {
    const Tensor blank = Tensor::full({16, 16}, value);
    EXPECT_TRUE(is_blank(blank));
    EXPECT_TRUE(std::isnan(deletion(image, blank, mean_of_each).area));
    EXPECT_TRUE(std::isnan(insertion(image, blank, mean_of_each).area));
    EXPECT_TRUE(std::isnan(max_sensitivity(image, [&](const Tensor&) { return blank; })));
  }
  EXPECT_TRUE(std::isnan(infidelity(image, Tensor::zeros({16, 16}), mean_of_each)));
  // Nor has a good map where there is nothing to foretell.
  const ClassProbability sure = [](const Tensor& images) {
    return std::vector<double>(static_cast<size_t>(images.dim(0)), 1.0);
  };
  EXPECT_TRUE(std::isnan(infidelity(image, sum(image, {0, 3}), sure)));
  EXPECT_FALSE(is_blank(Tensor::from<float>({NAN, 1, 2}, {3})));
}

TEST(Trust, InfidelityIsZeroForAMapThatForetellsEveryDrop) {
  const Tensor image =
      random_uniform({1, 16, 16, 3}, 0, 1, 5, static_cast<uint64_t>(Stream::kUser));
  const Tensor truth = sum(image, {0, 3});
  EXPECT_NEAR(infidelity(image, truth, mean_of_each), 0, 1e-9);
  EXPECT_NEAR(infidelity(image, scale(truth, 100), mean_of_each), 0, 1e-9);
  EXPECT_EQ(infidelity(image, scale(truth, -1), mean_of_each), 1);
  std::vector<float> corner(256, 0.0F);
  corner[0] = 1;
  EXPECT_GT(infidelity(image, Tensor::from(corner, {16, 16}), mean_of_each), 0.5);
}

// --- parameter randomisation ---------------------------------------------------------------------

TEST(Trust, SpearmanSharesRanks) {
  const auto of = [](const std::vector<double>& a, const std::vector<double>& b) {
    const auto n = static_cast<int64_t>(a.size());
    return spearman(Tensor::from(a, {n}), Tensor::from(b, {n}));
  };
  EXPECT_NEAR(of({1, 2, 2, 3}, {1, 3, 2, 4}), 4.5 / std::sqrt(4.5 * 5), 1e-15);
  EXPECT_DOUBLE_EQ(of({1, 2, 3}, {10, 200, 3000}), 1);
  EXPECT_DOUBLE_EQ(of({1, 2, 3}, {3, 2, 1}), -1);
  EXPECT_EQ(of({1, 1, 1}, {3, 2, 1}), 0);
  EXPECT_TRUE(std::isnan(of({1, 2, 3, 4}, {1, kNan, 3, 4})));
  EXPECT_TRUE(std::isnan(of({kNan, kNan}, {1, 2})));
}

TEST(Trust, RandomisationTellsMapsOfTheNetworkFromMapsOfThePicture) {
  const auto model = make_model("resnet20");
  initialise(*model, 3);
  model->eval();
  const Tensor image = random_normal({1, 32, 32, 3}, 1, 9, static_cast<uint64_t>(Stream::kUser));
  const StateDict before = model->state_dict();
  std::vector<std::vector<float>> values;
  for (const NamedTensor& entry : before) values.push_back(entry.tensor.to_vector<float>());
  const std::vector<std::string> layers = {"conv1", "layer1", "layer2", "layer3", "fc"};

  const auto of_picture = randomise_parameters(*model, layers, {image}, [](const Tensor& x) {
    return max_last(abs(x)).reshape({32, 32});
  });
  ASSERT_EQ(of_picture.size(), layers.size());
  EXPECT_EQ(of_picture[0].layer, "fc");
  EXPECT_EQ(of_picture[4].layer, "conv1");
  for (const RandomisedLayer& row : of_picture) EXPECT_DOUBLE_EQ(row.correlation, 1);

  const auto of_network = randomise_parameters(
      *model, layers, {image}, [&](const Tensor& x) { return saliency(*model, x, 2); });
  EXPECT_LT(of_network.back().correlation, 0.5);
  // The network was drawn from this seed and never trained: drawing anew draws something else.
  const auto same_seed = randomise_parameters(
      *model, layers, {image}, [&](const Tensor& x) { return saliency(*model, x, 2); }, 3);
  EXPECT_LT(same_seed.back().correlation, 0.5);
  // A picture whose map is blank is left out; of none but such there is no number.
  int calls = 0;
  const auto blank_once = randomise_parameters(*model, {"fc"}, {image, image}, [&](const Tensor&) {
    return ++calls == 1 ? Tensor::zeros({32, 32}) : max_last(image).reshape({32, 32});
  });
  EXPECT_DOUBLE_EQ(blank_once[0].correlation, 1);
  EXPECT_TRUE(std::isnan(randomise_parameters(*model, {"fc"}, {image},
                                              [](const Tensor&) {
                                                return Tensor::zeros({32, 32});
                                              })[0]
                             .correlation));
  // A map that has become NaN all over counts as 0; of numbers and NaN there is no correlation.
  const auto after_one = [&](const std::vector<double>& map) {
    int explained = 0;
    const auto rows = randomise_parameters(*model, {"fc"}, {image}, [&](const Tensor&) {
      return Tensor::from(++explained == 1 ? std::vector<double>{1, 2, 3} : map, {1, 3});
    });
    return rows[0].correlation;
  };
  EXPECT_EQ(after_one({kNan, kNan, kNan}), 0);
  EXPECT_TRUE(std::isnan(after_one({kNan, 2, 3})));
  calls = 0;
  EXPECT_THROW(randomise_parameters(*model, {"fc"}, {image},
                                    [&](const Tensor&) {
                                      if (++calls == 2) throw Error("no map");
                                      return max_last(image).reshape({32, 32});
                                    }),
               Error);
  // All that was drawn anew is back.
  const StateDict after = model->state_dict();
  for (size_t i = 0; i < after.size(); ++i) {
    ASSERT_EQ(after[i].tensor.to_vector<float>(), values[i]) << after[i].name;
  }
}

// --- masks ---------------------------------------------------------------------------------------

TEST(Trust, ThePointingGameLooksAtTheHighestPixelAndAtTheEnergy) {
  const Tensor mask = Tensor::from<float>({1, 1, 0, 0}, {2, 2});
  const PointingGame hit = pointing_game(Tensor::from<float>({3, 1, 2, -5}, {2, 2}), mask);
  EXPECT_EQ(hit.hit, 1);
  EXPECT_DOUBLE_EQ(hit.energy, 4.0 / 6);
  EXPECT_DOUBLE_EQ(hit.area, 0.5);
  EXPECT_EQ(pointing_game(Tensor::from<float>({0, 1, 2, 0}, {2, 2}), mask).hit, 0);
  // A highest superpixel that only touches the object.
  EXPECT_DOUBLE_EQ(pointing_game(Tensor::from<float>({0, 2, 2, 2}, {2, 2}), mask).hit, 1.0 / 3);
  const PointingGame blank = pointing_game(Tensor::zeros({2, 2}), mask);
  EXPECT_EQ(blank.hit, 0);
  EXPECT_TRUE(std::isnan(blank.energy));
}

TEST(Trust, RefusesMapsOfAnotherSize) {
  const Tensor image = grey({1, 1, 1, 1}, 2, 2);
  EXPECT_THROW(deletion(image, Tensor::zeros({3, 2}), mean_of_each), Error);
  EXPECT_THROW(infidelity(image, Tensor::zeros({4}), mean_of_each), Error);
  EXPECT_THROW(pointing_game(Tensor::zeros({2, 2}), Tensor::zeros({2, 3})), Error);
  EXPECT_THROW(spearman(Tensor::zeros({2, 2}), Tensor::zeros({4})), Error);
}

}  // namespace
}  // namespace glassnet
