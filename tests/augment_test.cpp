// Variations of pictures: what they keep, how far they go, and that counters alone decide.
#include "data/augment.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "tests/data_support.h"

namespace glassnet {
namespace {

using test::noise_image;

// Smooth enough that a part can be told from another after resampling.
Image ramp(int height, int width) {
  Image image(height, width);
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      image.at(y, x)[0] = static_cast<uint8_t>(255 * x / std::max(1, width - 1));
      image.at(y, x)[1] = static_cast<uint8_t>(255 * y / std::max(1, height - 1));
      image.at(y, x)[2] = 128;
    }
  }
  return image;
}

double luma(const uint8_t* p) {
  return 0.299 * p[0] + 0.587 * p[1] + 0.114 * p[2];
}

TEST(Augment, DependsOnSeedEpochAndPictureAlone) {
  AugmentOptions options{.crop = Crop::kRandomResized, .jitter = true, .erase = 0.5};
  const Image image = noise_image(30, 40, 1);
  const auto vary = [&](uint64_t seed, uint64_t epoch, uint64_t index) {
    return augment(image, 16, options, Random(seed, Stream::kAugment, epoch, index)).rgb;
  };
  std::set<std::vector<uint8_t>> distinct;
  for (uint64_t seed = 0; seed < 2; ++seed) {
    for (uint64_t epoch = 0; epoch < 3; ++epoch) {
      for (uint64_t index = 0; index < 3; ++index) {
        EXPECT_EQ(vary(seed, epoch, index), vary(seed, epoch, index));
        distinct.insert(vary(seed, epoch, index));
      }
    }
  }
  EXPECT_EQ(distinct.size(), 18u);
}

TEST(Augment, OfNothingIsTheFittedPicture) {
  const AugmentOptions none = parse_augment("none");
  const Image image = noise_image(20, 30, 2);
  const Image reduced = reduce_for_augment(image, 12, Fit::kCrop, none);
  EXPECT_EQ(reduced.rgb, fit_image(image, 12, Fit::kCrop).rgb);
  EXPECT_EQ(augment(reduced, 12, none, Random(0, Stream::kAugment)).rgb, reduced.rgb);
}

TEST(Augment, ReducesForRandomCropsToTwiceTheSize) {
  const AugmentOptions crops{.crop = Crop::kRandomResized};
  const auto size_of_reduced = [&](int height, int width, Fit fit) {
    const Image reduced = reduce_for_augment(Image(height, width), 10, fit, crops);
    return std::pair(reduced.height, reduced.width);
  };
  EXPECT_EQ(size_of_reduced(15, 90, Fit::kCrop), std::pair(15, 90));
  EXPECT_EQ(size_of_reduced(40, 90, Fit::kCrop), std::pair(20, 45));
  EXPECT_EQ(size_of_reduced(40, 15, Fit::kSquash), std::pair(20, 15));
}

TEST(Shift, MirrorsAboutTheBorderPixels) {
  const Image image = noise_image(5, 7, 3);
  const auto mirror = [](int i, int n) { return i < 0 ? -i : i >= n ? 2 * n - 2 - i : i; };
  for (int dy = -4; dy <= 4; ++dy) {
    for (int dx = -6; dx <= 6; ++dx) {
      const Image moved = shifted(image, dy, dx);
      for (int y = 0; y < 5; ++y) {
        for (int x = 0; x < 7; ++x) {
          const uint8_t* expected = image.at(mirror(y + dy, 5), mirror(x + dx, 7));
          ASSERT_TRUE(std::equal(expected, expected + 3, moved.at(y, x))) << dy << " " << dx;
        }
      }
    }
  }
  EXPECT_THROW(shifted(image, 5, 0), Error);
}

TEST(Shift, ReachesEveryPlaceWithinItsShare) {
  // 1/8 of 16 is 2 pixels: 25 places. A noise picture tells them apart.
  const AugmentOptions options{.crop = Crop::kShift, .shift = 0.125, .flip = false};
  const Image image = noise_image(16, 16, 4);
  std::set<std::vector<uint8_t>> seen, expected;
  for (uint64_t i = 0; i < 600; ++i) {
    seen.insert(augment(image, 16, options, Random(0, Stream::kAugment, 0, i)).rgb);
  }
  for (int dy = -2; dy <= 2; ++dy) {
    for (int dx = -2; dx <= 2; ++dx) expected.insert(shifted(image, dy, dx).rgb);
  }
  EXPECT_EQ(seen, expected);
}

TEST(Flip, MirrorsHalfOfThePictures) {
  Image image = noise_image(4, 5, 5);
  const Image original = image;
  flip_left_right(image);
  for (int y = 0; y < 4; ++y) {
    for (int x = 0; x < 5; ++x) {
      EXPECT_TRUE(std::equal(image.at(y, x), image.at(y, x) + 3, original.at(y, 4 - x)));
    }
  }
  const AugmentOptions options = parse_augment("flip");
  int flips = 0;
  for (uint64_t i = 0; i < 1000; ++i) {
    flips += augment(original, 5, options, Random(1, Stream::kAugment, 0, i)).rgb == image.rgb;
  }
  EXPECT_NEAR(flips, 500, 80);  // five standard deviations
}

TEST(RandomResizedCrop, KeepsToItsAreaAndRatio) {
  const AugmentOptions options{.crop = Crop::kRandomResized, .scale_low = 0.2, .scale_high = 0.8};
  Random random(0, Stream::kAugment);
  double least = 1, most = 0;
  for (int i = 0; i < 2000; ++i) {
    const Box box = random_resized_crop(150, 200, options, random);
    EXPECT_GE(box.y, 0);
    EXPECT_GE(box.x, 0);
    EXPECT_LE(box.y + box.height, 150);
    EXPECT_LE(box.x + box.width, 200);
    const double area = box.height * box.width / (150 * 200), ratio = box.width / box.height;
    least = std::min(least, area);
    most = std::max(most, area);
    // Whole pixels move both a little.
    EXPECT_NEAR(ratio, std::clamp(ratio, 0.75, 4 / 3.), 0.03);
  }
  EXPECT_NEAR(least, 0.2, 0.02);
  EXPECT_NEAR(most, 0.8, 0.02);
}

TEST(RandomResizedCrop, FallsBackToTheMiddleOfAStrip) {
  const AugmentOptions options{.scale_low = 0.9};
  Random random(0, Stream::kAugment);
  const Box tall = random_resized_crop(100, 6, options, random);
  EXPECT_EQ(tall.width, 6);
  EXPECT_EQ(tall.height, 8);  // 6 / (3/4)
  EXPECT_EQ(tall.y, 46);
  const Box wide = random_resized_crop(6, 100, options, random);
  EXPECT_EQ(wide.height, 6);
  EXPECT_EQ(wide.width, 8);
  EXPECT_EQ(wide.x, 46);
}

TEST(RandomResizedCrop, ShowsAPartOfThePicture) {
  const AugmentOptions options{
      .crop = Crop::kRandomResized, .scale_low = 0.25, .scale_high = 0.25, .flip = false};
  const Image image = augment(ramp(64, 64), 32, options, Random(3, Stream::kAugment));
  // A quarter of the area: half of each ramp, give or take the ratio.
  EXPECT_NEAR(image.at(16, 31)[0] - image.at(16, 0)[0], 128, 25);
  EXPECT_NEAR(image.at(31, 16)[1] - image.at(0, 16)[1], 128, 25);
}

Image jittered(const Image& image, const ColorJitter& colors, uint64_t seed) {
  return augment(image, image.width,
                 {.crop = Crop::kNone, .flip = false, .jitter = true, .colors = colors},
                 Random(seed, Stream::kAugment));
}

TEST(Jitter, OfNoStrengthChangesNothing) {
  const Image original = noise_image(9, 9, 6);
  const Image image =
      jittered(original, {.brightness = 0, .contrast = 0, .saturation = 0, .hue = 0}, 0);
  EXPECT_EQ(image.rgb, original.rgb);
}

TEST(Jitter, BrightnessScales) {
  for (uint64_t i = 0; i < 20; ++i) {
    const Image original = ramp(8, 8);
    const Image image =
        jittered(original, {.brightness = 0.4, .contrast = 0, .saturation = 0, .hue = 0}, i);
    const double factor = image.at(0, 0)[2] / 128.;
    EXPECT_NEAR(factor, 1, 0.405);
    for (size_t k = 0; k < image.rgb.size(); ++k) {
      EXPECT_NEAR(image.rgb[k], std::min(255., original.rgb[k] * factor), 1.6);
    }
  }
}

TEST(Jitter, ContrastKeepsTheMean) {
  const ColorJitter options{.brightness = 0, .contrast = 0.4, .saturation = 0, .hue = 0};
  const auto spread = [](const Image& image) {
    const auto [low, high] = std::minmax_element(image.rgb.begin(), image.rgb.end());
    return std::pair(*high - *low, (*high + *low) / 2.);
  };
  Image grey(1, 61);  // 100 … 160, mean 130
  for (int x = 0; x < 61; ++x) std::fill_n(grey.at(0, x), 3, static_cast<uint8_t>(100 + x));
  bool changed = false;
  for (uint64_t i = 0; i < 20; ++i) {
    const Image image = jittered(grey, options, i);
    EXPECT_NEAR(spread(image).second, 130, 1);
    EXPECT_NEAR(spread(image).first, 60, 0.4 * 60 + 1);
    changed |= std::abs(spread(image).first - 60) > 5;
  }
  EXPECT_TRUE(changed);
}

TEST(Jitter, SaturationKeepsLuma) {
  Image original(1, 3);
  original.rgb = {120, 100, 90, 80, 110, 100, 128, 128, 128};
  bool changed = false;
  for (uint64_t i = 0; i < 20; ++i) {
    const Image image =
        jittered(original, {.brightness = 0, .contrast = 0, .saturation = 0.9, .hue = 0}, i);
    for (int x = 0; x < 3; ++x) EXPECT_NEAR(luma(image.at(0, x)), luma(original.at(0, x)), 0.6);
    EXPECT_EQ(image.at(0, 2)[0], 128);
    changed |= image.rgb != original.rgb;
  }
  EXPECT_TRUE(changed);
}

TEST(Jitter, HueKeepsValueAndChroma) {
  const Image original = noise_image(6, 6, 7);
  double farthest = 0;
  for (uint64_t i = 0; i < 50; ++i) {
    const ColorJitter turned = {.brightness = 0, .contrast = 0, .saturation = 0, .hue = 0.5};
    const Image image = jittered(original, turned, i);
    for (int k = 0; k < 36; ++k) {
      const auto [low, high] = std::minmax_element(image.at(0, k), image.at(0, k) + 3);
      const auto [old_low, old_high] =
          std::minmax_element(original.at(0, k), original.at(0, k) + 3);
      EXPECT_NEAR(*low, *old_low, 1);
      EXPECT_NEAR(*high, *old_high, 1);
    }
    // Pure red travels all the way to cyan.
    Image red(1, 1);
    red.rgb = {200, 0, 0};
    red = jittered(red, turned, i);
    farthest = std::max(farthest, red.rgb[1] / 200. + red.rgb[2] / 200. + 1 - red.rgb[0] / 200.);
  }
  EXPECT_GT(farthest, 2.5);
}

TEST(Erase, PaintsOneRectangleInTheMeanColour) {
  AugmentOptions options = parse_augment("erase");
  options.erase = 1;
  for (uint64_t i = 0; i < 20; ++i) {
    const Image original = ramp(40, 40);
    const Image image = augment(original, 40, options, Random(i, Stream::kAugment));
    int top = 40, left = 40, bottom = -1, right = -1, changed = 0;
    for (int y = 0; y < 40; ++y) {
      for (int x = 0; x < 40; ++x) {
        if (std::equal(image.at(y, x), image.at(y, x) + 3, original.at(y, x))) continue;
        EXPECT_NEAR(image.at(y, x)[0], 127, 1);
        EXPECT_NEAR(image.at(y, x)[1], 127, 1);
        top = std::min(top, y), bottom = std::max(bottom, y);
        left = std::min(left, x), right = std::max(right, x);
        ++changed;
      }
    }
    const int area = (bottom - top + 1) * (right - left + 1);
    EXPECT_GE(changed, area - 1);  // the middle has the mean colour already
    EXPECT_NEAR(area / 1600., 0.175, 0.175);
  }
}

TEST(Augment, IsNamedOnTheCommandLine) {
  const AugmentOptions some = parse_augment("flip,shift");
  EXPECT_TRUE(some.flip);
  EXPECT_EQ(some.crop, Crop::kShift);
  EXPECT_FALSE(some.jitter);
  EXPECT_EQ(describe(some), "shifts of up to 12.5 %, flips");
  const AugmentOptions more = parse_augment("rrc,jitter,erase");
  EXPECT_FALSE(more.flip);
  EXPECT_EQ(more.crop, Crop::kRandomResized);
  EXPECT_EQ(describe(more),
            "random crops of 8 to 100 % of the area, colour jitter, a rectangle erased from 25 %");
  EXPECT_EQ(describe(parse_augment("none")), "none");
  for (const char* wrong : {"", "flop", "flip,", "none,flip", "shift,rrc"}) {
    EXPECT_THROW(parse_augment(wrong), UsageError) << wrong;
  }
}

}  // namespace
}  // namespace glassnet
