// What `glassnet trust` is made of: choosing pictures, masks in the network's geometry, and the
// statistics behind its verdict. The command itself is tested with the others, in cli_test.cpp.
#include "cli/network_trust.h"

#include <cmath>
#include <set>

#include "cli/network_input.h"
#include "data/scenes.h"
#include "report/line_chart.h"
#include "tests/data_support.h"

namespace glassnet::cli {
namespace {

using test::error_of;
using test::TempFolder;
using testing::HasSubstr;

TEST(NetworkTrust, TakesPicturesClassAfterClass) {
  std::vector<Sample> samples;
  for (int i = 0; i < 30; ++i)
    samples.push_back({"", std::to_string(i), i < 25 ? 0 : i < 28 ? 1 : 3});
  const std::vector<Sample> chosen = spread_over_classes(samples, 9, 0);
  std::vector<int64_t> labels;
  std::set<std::string> ids;
  for (const Sample& sample : chosen) {
    labels.push_back(sample.label);
    ids.insert(sample.id);
  }
  EXPECT_THAT(labels, testing::ElementsAre(0, 1, 3, 0, 1, 3, 0, 1, 0));
  EXPECT_EQ(ids.size(), 9U);
  EXPECT_EQ(spread_over_classes(samples, 100, 0).size(), 30U);
  EXPECT_EQ(spread_over_classes(samples, 9, 0)[0].id, chosen[0].id);
}

TEST(NetworkTrust, FindsTheMasksOfDrawnScenes) {
  const TempFolder folder;
  write_scenes(folder.path(), {.train_per_class = 1, .test_per_class = 1, .size = 16});
  for (const char* split : {"train", "test"}) {
    const auto masks = masks_beside(folder / split);
    EXPECT_TRUE(std::filesystem::equivalent(masks, folder / "masks" / split));
    EXPECT_EQ(masks_beside((folder / split).string() + "/"), masks);
    for (const Sample& sample : read_image_folder(folder / split).samples) {
      EXPECT_FALSE(mask_of(sample, masks).empty()) << sample.id;
    }
  }
  EXPECT_TRUE(masks_beside(folder / "train/sea").empty());
  const auto sample_of = [&](const std::string& id) {
    return Sample{.path = folder / "test" / id, .id = id};
  };
  EXPECT_TRUE(mask_of(sample_of("sea/2.jpg"), folder / "masks/test").empty());
  EXPECT_TRUE(mask_of(sample_of("sea/00001.jpg"), "").empty());
}

TEST(NetworkTrust, FindsMasksByNamesThatAreNotUtf8) {
  const TempFolder folder;
  write_scenes(folder.path(), {.train_per_class = 1, .test_per_class = 1, .size = 16});
  const auto masks = folder / "masks/test";
  for (const auto& [split, ending] : {std::pair("test", ".jpg"), std::pair("masks/test", ".png")}) {
    const auto renamed = folder / split / "for\xEAt";
    std::filesystem::rename(folder / split / "forest", renamed);
    std::filesystem::rename(renamed / ("00001" + std::string(ending)),
                            renamed / ("ch\xEAne" + std::string(ending)));
  }
  for (const Sample& sample : read_image_folder(folder / "test").samples) {
    EXPECT_FALSE(mask_of(sample, masks).empty()) << sample.id;
  }
}

// A white disc on black is its own mask, whatever is cut off and however it is resized.
TEST(NetworkTrust, MasksAreCutAndResizedAsPicturesAre) {
  const TempFolder folder;
  Image image(40, 70);
  for (int y = 0; y < image.height; ++y) {
    for (int x = 0; x < image.width; ++x) {
      const bool inside = std::hypot(y - 12, x - 30) < 9;
      for (int c = 0; c < 3; ++c) image.at(y, x)[c] = inside ? 255 : 0;
    }
  }
  write_png(folder / "image.png", image);
  for (const char* fit : {"crop", "squash"}) {
    for (const int size : {16, 40, 64}) {
      const ModelCard card{.image_size = size, .fit = fit};
      const Image picture = prepare_picture(folder / "image.png", card);
      const Tensor mask = prepare_mask(folder / "image.png", folder / "image.png", card);
      ASSERT_EQ(mask.shape(), (Shape{size, size}));
      const std::vector<uint8_t> covered = mask.to_vector<uint8_t>();
      for (size_t i = 0; i < covered.size(); ++i) {
        ASSERT_EQ(covered[i], picture.rgb[3 * i] >= 128 ? 1 : 0) << fit << " " << size << " " << i;
      }
      EXPECT_GT(std::count(covered.begin(), covered.end(), 1), 0);
    }
  }
  write_png(folder / "small.png", Image(20, 35));
  EXPECT_THAT(error_of([&] { prepare_mask(folder / "small.png", folder / "image.png", {}); }),
              HasSubstr("35 x 20 pixels"));
}

TEST(NetworkTrust, ComparesPictureByPicture) {
  const Comparison less = compare({0.2, 0.3, NAN, 0.1}, {0.5, 0.5, 0.5, 0.5}, -1);
  EXPECT_EQ(less.images, 3);
  EXPECT_NEAR(less.mean, 0.2, 1e-12);
  EXPECT_NEAR(less.chance, 0.5, 1e-12);
  EXPECT_NEAR(less.gain, 0.3, 1e-12);
  EXPECT_NEAR(less.standard_error, 0.1 / std::sqrt(3), 1e-12);
  EXPECT_TRUE(less.better());
  EXPECT_FALSE(compare({0.2, 0.3, 0.1}, {0.5, 0.5, 0.5}, 1).better());
  EXPECT_FALSE(compare({0, 1}, {0.5, 0.2}, 1).better()) << "within two standard errors";
  EXPECT_FALSE(compare({0.505, 0.506}, {0.5, 0.5}, 1).better()) << "sure, but nothing to see";
  EXPECT_FALSE(compare({1}, {0}, 1).better()) << "one picture tells nothing";
  EXPECT_FALSE(compare({NAN}, {0}, 1).better());
}

TEST(NetworkTrust, KnowsHowOftenGuessingIsRight) {
  EXPECT_DOUBLE_EQ(luck(0, 12, 0.25), 1);
  EXPECT_NEAR(luck(2, 2, 0.25), 0.0625, 1e-12);
  EXPECT_NEAR(luck(1, 2, 0.25), 1 - 0.75 * 0.75, 1e-12);
  EXPECT_NEAR(luck(6, 12, 1.0 / 6), 0.00792, 1e-5);
  EXPECT_DOUBLE_EQ(luck(12, 12, 1), 1);
  EXPECT_LT(luck(900, 1000, 0.5), 1e-100);
}

// --- the chart -----------------------------------------------------------------------------------

TEST(LineChart, NamesEveryLineAndLeavesGaps) {
  const std::string svg =
      line_chart_svg({.title = "a < b & c",
                      .positions = {"one", "two", "three"},
                      .lines = {{"first", {1, 0.5, 0.2}}, {"second", {1, NAN, 0.2}}},
                      .level = {{0.5, "halfway"}}});
  for (const char* text :
       {"a &lt; b &amp; c", ">one<", ">three<", ">first<", ">second<", ">halfway<"}) {
    EXPECT_THAT(svg, HasSubstr(text));
  }
  EXPECT_EQ(svg.find("nan"), std::string::npos);
  // Of the second line two dots without a stroke between them.
  EXPECT_THAT(svg, testing::ContainsRegex("d=\"M[0-9. ]+M[0-9. ]+\""));
  EXPECT_THROW(line_chart_svg({}), Error);
  EXPECT_THROW(line_chart_svg({.positions = {"one"}, .lines = {{"short", {}}}}), Error);
}

}  // namespace
}  // namespace glassnet::cli
