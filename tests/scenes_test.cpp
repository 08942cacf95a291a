// Drawn landscapes: the same for the same arguments, told apart by their objects and not by their
// colours, and a folder of them that is whole or not there.
#include "data/scenes.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <fstream>
#include <numeric>
#include <set>

#include "data/canvas.h"
#include "data/folder.h"
#include "data_support.h"

namespace glassnet {
namespace {

namespace fs = std::filesystem;
using test::error_of;
using test::TempFolder;

const int kClasses = static_cast<int>(scene_classes().size());

double covered(const Scene& scene) {
  const auto on = std::count(scene.mask.begin(), scene.mask.end(), 255);
  return static_cast<double>(on) / static_cast<double>(scene.mask.size());
}

std::string read_bytes(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::set<std::string> names_in(const fs::path& dir) {
  std::set<std::string> names;
  for (const auto& entry : fs::directory_iterator(dir))
    names.insert(entry.path().filename().string());
  return names;
}

TEST(Canvas, CoverageOfAPolygonIsItsArea) {
  drawing::Canvas canvas(64);
  canvas.polygon({{0.21f, 0.13f}, {0.83f, 0.33f}, {0.40f, 0.91f}}, drawing::Layer::kObject,
                 drawing::Color{1, 1, 1});
  double area = 0, light = 0;
  for (int y = 0; y < 64; ++y)
    for (int x = 0; x < 64; ++x) {
      area += canvas.object(y, x) / (64.0 * 64);
      light += canvas.color(y, x).g / (64.0 * 64);
    }
  const double exact =
      0.5 * std::abs((0.83 - 0.21) * (0.91 - 0.13) - (0.40 - 0.21) * (0.33 - 0.13));
  EXPECT_NEAR(area, exact, 1e-3);
  EXPECT_NEAR(light, exact, 1e-3);
}

TEST(Canvas, WhatStandsBeforeTheObjectHidesIt) {
  drawing::Canvas canvas(32);
  const auto square = [&](float low, float high, drawing::Layer layer) {
    canvas.polygon({{low, low}, {high, low}, {high, high}, {low, high}}, layer,
                   drawing::Color{0.5f, 0.5f, 0.5f});
  };
  square(0, 1, drawing::Layer::kObject);
  square(0.25f, 0.75f, drawing::Layer::kBackdrop);
  EXPECT_EQ(canvas.object(16, 16), 0);
  EXPECT_EQ(canvas.object(2, 2), 1);
}

TEST(Canvas, NoiseIsSmoothCentredAndNeverTheSameTwice) {
  const drawing::Noise noise(1), other(2);
  double sum = 0, square = 0, product = 0;
  constexpr int kSide = 100;
  for (int i = 0; i < kSide * kSide; ++i) {
    const float x = 0.37f * static_cast<float>(i % kSide) - 15;
    const float y = 0.37f * static_cast<float>(i / kSide) - 15;
    const float v = noise.at(x, y);
    sum += v;
    square += v * v;
    product += v * other.at(x, y);
    ASSERT_LE(std::abs(v), 1.7f);
    ASSERT_NEAR(v, noise.at(x + 1e-3f, y), 0.01f);
  }
  const double count = kSide * kSide, deviation = std::sqrt(square / count);
  EXPECT_NEAR(sum / count, 0, 0.05);
  EXPECT_GT(deviation, 0.2);
  EXPECT_LT(std::abs(product / count), 0.15 * deviation * deviation);
}

TEST(Scenes, AreAPureFunctionOfTheirArguments) {
  for (int label = 0; label < kClasses; ++label) {
    const Scene a = draw_scene(label, 7, 3, 64), b = draw_scene(label, 7, 3, 64);
    EXPECT_EQ(a.label, label);
    EXPECT_EQ(a.image.rgb, b.image.rgb) << scene_classes()[label];
    EXPECT_EQ(a.mask, b.mask);
    EXPECT_NE(a.image.rgb, draw_scene(label, 7, 4, 64).image.rgb);
    EXPECT_NE(a.image.rgb, draw_scene(label, 8, 3, 64).image.rgb);
    EXPECT_NE(a.image.rgb, draw_scene((label + 1) % kClasses, 7, 3, 64).image.rgb);
  }
}

TEST(Scenes, ShowTheirObjectAtEverySize) {
  for (int label = 0; label < kClasses; ++label)
    for (const int size : {32, 64, 150, 300}) {
      const Scene scene = draw_scene(label, 0, static_cast<uint64_t>(size), size);
      EXPECT_EQ(scene.image.height, size);
      EXPECT_EQ(scene.image.width, size);
      ASSERT_EQ(scene.mask.size(), static_cast<size_t>(size) * size);
      EXPECT_TRUE(std::all_of(scene.mask.begin(), scene.mask.end(),
                              [](uint8_t m) { return m == 0 || m == 255; }));
      EXPECT_GT(covered(scene), 0.03) << scene_classes()[label] << " at " << size;
      EXPECT_LT(covered(scene), 0.85) << scene_classes()[label] << " at " << size;
    }
}

// The mask of a small picture is the mask of a large one, made smaller.
TEST(Scenes, KeepTheirCompositionAtAnotherSize) {
  for (int label = 0; label < kClasses; ++label) {
    const Scene small = draw_scene(label, 0, 11, 75), large = draw_scene(label, 0, 11, 225);
    int agree = 0;
    for (int y = 0; y < 75; ++y)
      for (int x = 0; x < 75; ++x)
        agree += small.mask[y * 75 + x] == large.mask[(3 * y + 1) * 225 + 3 * x + 1];
    EXPECT_GT(agree, 0.9 * 75 * 75) << scene_classes()[label];
  }
}

// Neither the mean colour nor where the light is may say what a picture shows; the object moves.
TEST(Scenes, TellNothingByColourAlone) {
  constexpr int kCount = 48, kSize = 32;
  std::vector<std::array<double, 4>> means(kClasses);  // R, G, B, standard deviation
  for (int label = 0; label < kClasses; ++label) {
    std::vector<double> centre_x, centre_y;
    for (int i = 0; i < kCount; ++i) {
      const Scene scene = draw_scene(label, 1, static_cast<uint64_t>(i), kSize);
      double sum = 0, square = 0, x_sum = 0, y_sum = 0, on = 0;
      for (int y = 0; y < kSize; ++y)
        for (int x = 0; x < kSize; ++x) {
          const uint8_t* p = scene.image.at(y, x);
          for (int c = 0; c < 3; ++c) means[label][c] += p[c] / (255.0 * kSize * kSize * kCount);
          const double grey = (p[0] + p[1] + p[2]) / 765.0;
          sum += grey;
          square += grey * grey;
          if (scene.mask[y * kSize + x] == 0) continue;
          on += 1;
          x_sum += x;
          y_sum += y;
        }
      const double n = kSize * kSize;
      means[label][3] += std::sqrt(square / n - sum * sum / (n * n)) / kCount;
      centre_x.push_back(x_sum / on / kSize);
      centre_y.push_back(y_sum / on / kSize);
    }
    for (const auto& centres : {centre_x, centre_y}) {
      const auto [low, high] = std::minmax_element(centres.begin(), centres.end());
      EXPECT_GT(*high - *low, 0.15) << scene_classes()[label];
    }
  }
  for (int channel = 0; channel < 4; ++channel) {
    const auto [low, high] =
        std::minmax_element(means.begin(), means.end(),
                            [&](const auto& a, const auto& b) { return a[channel] < b[channel]; });
    EXPECT_LT((*high)[channel] - (*low)[channel], 0.06) << "channel " << channel;
  }
}

TEST(Scenes, RefuseWhatCannotBeDrawn) {
  EXPECT_THROW(draw_scene(-1, 0, 0), UsageError);
  EXPECT_THROW(draw_scene(kClasses, 0, 0), UsageError);
  EXPECT_THROW(draw_scene(0, 0, 0, 15), UsageError);
  EXPECT_THROW(draw_scene(0, 0, 0, 100000), UsageError);
}

TEST(ScenesFolder, HoldsADataSetAndItsMasks) {
  const TempFolder folder;
  const fs::path dir = folder / "new/scenes";
  std::vector<int64_t> seen;
  const ScenesOptions options{.train_per_class = 3, .test_per_class = 2, .size = 48, .seed = 5};
  write_scenes(dir, options, [&](int64_t done, int64_t total) {
    EXPECT_EQ(total, 5 * kClasses);
    seen.push_back(done);
  });
  std::vector<int64_t> expected(5 * kClasses);
  std::iota(expected.begin(), expected.end(), 1);
  EXPECT_EQ(seen, expected);
  EXPECT_EQ(names_in(dir), (std::set<std::string>{"masks", "scenes.json", "test", "train"}));

  const DataSet data = read_data_set(dir);
  EXPECT_EQ(data.classes, scene_classes());
  EXPECT_EQ(data.train.size(), 3u * kClasses);
  EXPECT_EQ(data.test.size(), 2u * kClasses);
  EXPECT_TRUE(data.warnings.empty());

  const Scene scene = draw_scene(2, 5, 1, 48);
  const Image picture = read_image(dir / "train/glacier/00002.jpg");
  ASSERT_EQ(picture.rgb.size(), scene.image.rgb.size());
  double difference = 0;
  for (size_t i = 0; i < picture.rgb.size(); ++i)
    difference += std::abs(picture.rgb[i] - scene.image.rgb[i]);
  EXPECT_LT(difference / static_cast<double>(picture.rgb.size()), 8);  // what JPEG loses
  const Image mask = read_image(dir / "masks/train/glacier/00002.png");
  for (size_t i = 0; i < scene.mask.size(); ++i) ASSERT_EQ(mask.rgb[3 * i], scene.mask[i]);

  // No test picture is a training picture.
  for (const std::string& name : scene_classes())
    for (const char* train : {"00001.jpg", "00002.jpg", "00003.jpg"})
      for (const char* held_out : {"00001.jpg", "00002.jpg"})
        EXPECT_NE(read_bytes(dir / "train" / name / train),
                  read_bytes(dir / "test" / name / held_out));
}

TEST(ScenesFolder, OfItsOwnIsReplacedAndOtherFilesStay) {
  const TempFolder folder;
  write_scenes(folder.path(), {.train_per_class = 2, .test_per_class = 1, .size = 32});
  const std::string before = read_bytes(folder / "train/sea/00001.jpg");
  folder.write("notes.txt", "mine");
  fs::create_directories(folder / ".scenes-unfinished/train/sea");  // as a killed run leaves it
  ScenesOptions other{.train_per_class = 1, .test_per_class = 1, .size = 32};
  EXPECT_THROW(write_scenes(folder.path(), other), UsageError);
  EXPECT_EQ(names_in(folder / "train/sea").size(), 2u);
  other.replace = true;
  write_scenes(folder.path(), other);
  other.replace = false;
  write_scenes(folder.path(), other);
  EXPECT_EQ(names_in(folder.path()),
            (std::set<std::string>{"masks", "notes.txt", "scenes.json", "test", "train"}));
  EXPECT_EQ(names_in(folder / "train/sea"), (std::set<std::string>{"00001.jpg"}));
  EXPECT_EQ(read_bytes(folder / "train/sea/00001.jpg"), before);
}

TEST(ScenesFolder, OfOthersIsRefused) {
  const TempFolder folder;
  folder.write("thesis.txt", "years of work");
  ScenesOptions options{.train_per_class = 1, .test_per_class = 1, .size = 32};
  EXPECT_THROW(write_scenes(folder.path(), options), UsageError);
  EXPECT_NE(error_of([&] { write_scenes(folder.path(), options); }).find("thesis.txt"),
            std::string::npos);
  EXPECT_THROW(write_scenes(folder / "thesis.txt", options), UsageError);
  EXPECT_EQ(names_in(folder.path()), (std::set<std::string>{"thesis.txt"}));

  options.beside_others = true;
  folder.write("train/cat/1.txt", "not drawn");
  EXPECT_THROW(write_scenes(folder.path(), options), UsageError);
  EXPECT_EQ(names_in(folder.path()), (std::set<std::string>{"thesis.txt", "train"}));
  fs::remove_all(folder / "train");
  write_scenes(folder.path(), options);
  EXPECT_TRUE(fs::exists(folder / "test/street/00001.jpg"));
  EXPECT_EQ(read_bytes(folder / "thesis.txt"), "years of work");
}

TEST(ScenesFolder, IsLeftAsItWasWhenTheWorkIsCutShort) {
  const TempFolder folder;
  const ScenesOptions options{.train_per_class = 2, .test_per_class = 1, .size = 32};
  const auto stop = [](int64_t done, int64_t) {
    if (done == 4) throw Error("stopped");
  };
  EXPECT_EQ(error_of([&] { write_scenes(folder / "new", options, stop); }), "stopped");
  EXPECT_FALSE(fs::exists(folder / "new"));

  write_scenes(folder / "old", options);
  const std::string before = read_bytes(folder / "old/test/forest/00001.jpg");
  ScenesOptions other = options;
  other.seed = 9;
  other.replace = true;
  EXPECT_EQ(error_of([&] { write_scenes(folder / "old", other, stop); }), "stopped");
  EXPECT_EQ(read_bytes(folder / "old/test/forest/00001.jpg"), before);
  EXPECT_EQ(names_in(folder / "old"),
            (std::set<std::string>{"masks", "scenes.json", "test", "train"}));
}

TEST(ScenesFolder, NeedsSomethingToDraw) {
  const TempFolder folder;
  EXPECT_THROW(write_scenes(folder / "a", {.train_per_class = 0, .test_per_class = 0}), UsageError);
  EXPECT_THROW(write_scenes(folder / "b", {.train_per_class = -1, .test_per_class = 3}),
               UsageError);
  EXPECT_THROW(write_scenes(folder / "c", {.train_per_class = 1, .test_per_class = 1, .size = 5}),
               UsageError);
  EXPECT_TRUE(names_in(folder.path()).empty());
}

}  // namespace
}  // namespace glassnet
