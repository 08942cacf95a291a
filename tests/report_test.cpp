// Pictures and terminal output: colour maps, overlays, text, sheets, progress bars and tables.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <numeric>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include <gtest/gtest.h>

#include "kernels/error.h"
#include "report/colormap.h"
#include "report/confusion_image.h"
#include "report/draw.h"
#include "report/overlay.h"
#include "report/regions.h"
#include "report/sheet.h"
#include "report/terminal.h"
#include "report/text.h"
#include "tensor/utf8.h"

namespace glassnet {

// For messages of failed expectations.
void PrintTo(const Rgb& c, std::ostream* out) {
  *out << hex(c);
}

namespace {

using namespace std::string_literals;

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

Rgb pixel(const Image& image, int y, int x) {
  const uint8_t* p = image.at(y, x);
  return {p[0], p[1], p[2]};
}

// The rectangle of pixels that differ from `background`.
struct Extent {
  int top = 0, left = 0, bottom = 0, right = 0;  // bottom and right are past the end
  bool empty() const { return bottom <= top; }
  int height() const { return bottom - top; }
  int width() const { return right - left; }
};
Extent ink(const Image& image, Rgb background = kWhite) {
  Extent extent{image.height, image.width, 0, 0};
  for (int y = 0; y < image.height; ++y) {
    for (int x = 0; x < image.width; ++x) {
      if (pixel(image, y, x) == background) continue;
      extent = {std::min(extent.top, y), std::min(extent.left, x), std::max(extent.bottom, y + 1),
                std::max(extent.right, x + 1)};
    }
  }
  return extent.bottom > 0 ? extent : Extent{};
}

int count_colour(const Image& image, Rgb wanted) {
  int count = 0;
  for (int y = 0; y < image.height; ++y) {
    for (int x = 0; x < image.width; ++x) count += pixel(image, y, x) == wanted;
  }
  return count;
}

// --- colours

TEST(Colormap, JetIsOpenCvs) {
  EXPECT_EQ(colour(Colormap::kJet, 0.f), (Rgb{0, 0, 128}));
  EXPECT_EQ(colour(Colormap::kJet, 1.f), (Rgb{128, 0, 0}));
  // Entries 32, 96, 128 and 223 of cv2.COLORMAP_JET.
  EXPECT_EQ(colour(Colormap::kJet, 32 / 255.f), (Rgb{0, 0, 255}));
  EXPECT_EQ(colour(Colormap::kJet, 96 / 255.f), (Rgb{2, 255, 254}));
  EXPECT_EQ(colour(Colormap::kJet, 128 / 255.f), (Rgb{130, 255, 126}));
  EXPECT_EQ(colour(Colormap::kJet, 223 / 255.f), (Rgb{255, 0, 0}));
}

TEST(Colormap, ViridisInfernoAndMagmaAreMatplotlibs) {
  const auto expect_near = [](Colormap map, int entry, Rgb expected) {
    const Rgb got = colour(map, static_cast<float>(entry) / 255.f);
    EXPECT_NEAR(got.r, expected.r, 1) << name_of(map) << " " << entry;
    EXPECT_NEAR(got.g, expected.g, 1) << name_of(map) << " " << entry;
    EXPECT_NEAR(got.b, expected.b, 1) << name_of(map) << " " << entry;
  };
  expect_near(Colormap::kViridis, 0, {68, 1, 84});
  expect_near(Colormap::kViridis, 64, {59, 82, 139});
  expect_near(Colormap::kViridis, 128, {33, 145, 140});
  expect_near(Colormap::kViridis, 192, {94, 201, 98});
  expect_near(Colormap::kViridis, 255, {253, 231, 37});
  expect_near(Colormap::kInferno, 0, {0, 0, 4});
  expect_near(Colormap::kInferno, 64, {87, 16, 110});
  expect_near(Colormap::kInferno, 128, {188, 55, 84});
  expect_near(Colormap::kInferno, 192, {249, 142, 9});
  expect_near(Colormap::kInferno, 255, {252, 255, 164});
  expect_near(Colormap::kMagma, 0, {0, 0, 4});
  expect_near(Colormap::kMagma, 64, {81, 18, 124});
  expect_near(Colormap::kMagma, 128, {183, 55, 121});
  expect_near(Colormap::kMagma, 192, {252, 137, 97});
  expect_near(Colormap::kMagma, 255, {252, 253, 191});
}

TEST(Colormap, ClampsAndTakesNaNForTheLowEnd) {
  for (const Colormap map : all_colormaps()) {
    EXPECT_EQ(colour(map, -3.f), colour(map, 0.f)) << name_of(map);
    EXPECT_EQ(colour(map, kNaN), colour(map, 0.f)) << name_of(map);
    EXPECT_EQ(colour(map, 1.5f), colour(map, 1.f)) << name_of(map);
    EXPECT_EQ(colour(map, kInfinity), colour(map, 1.f)) << name_of(map);
  }
}

TEST(Colormap, ClassColoursAreAllDifferent) {
  std::set<std::string> seen;
  for (int i = 0; i < 100; ++i) seen.insert(hex(class_colour(i)));
  EXPECT_EQ(seen.size(), 100u);
  EXPECT_EQ(class_colour(0), (Rgb{0x00, 0x72, 0xb2}));
  EXPECT_THROW(class_colour(-1), Error);
}

TEST(Colormap, WritingIsReadableOnItsBackground) {
  EXPECT_EQ(readable_on(kWhite), kBlack);
  EXPECT_EQ(readable_on(kBlack), kWhite);
  EXPECT_EQ(readable_on({0xf0, 0xe4, 0x42}), kBlack);
  EXPECT_EQ(readable_on({0x08, 0x30, 0x6b}), kWhite);
}

// --- maps

TEST(Overlay, PositiveScalingDividesByTheLargest) {
  EXPECT_EQ(scale_map(std::vector<float>{-4.f, 0.f, 1.f, 2.f}, Scaling::kPositive),
            (std::vector<float>{0.f, 0.f, 0.5f, 1.f}));
  // A constant map is evidence everywhere, not nowhere.
  EXPECT_EQ(scale_map(std::vector<float>(4, 3.f), Scaling::kPositive), std::vector<float>(4, 1.f));
}

TEST(Overlay, MagnitudeScalingClipsAtThe99thPercentile) {
  std::vector<float> map(200);
  std::iota(map.begin(), map.end(), 1.f);  // 99 % of 1 … 200 do not exceed 198
  map[0] = -99.f;
  map[199] = 1e6f;
  const auto scaled = scale_map(map, Scaling::kMagnitude);
  EXPECT_FLOAT_EQ(scaled[0], 99.f / 198.f);
  EXPECT_FLOAT_EQ(scaled[49], 50.f / 198.f);
  EXPECT_FLOAT_EQ(scaled[197], 1.f);
  EXPECT_FLOAT_EQ(scaled[199], 1.f);
  // One pixel among a thousand: the percentile is 0, the map is not blank.
  std::vector<float> sparse(1000, 0.f);
  sparse[7] = 0.25f;
  EXPECT_EQ(scale_map(sparse, Scaling::kMagnitude)[7], 1.f);
  EXPECT_EQ(scale_map(sparse, Scaling::kMagnitude)[8], 0.f);
}

TEST(Overlay, SignedScalingKeepsNothingInTheMiddle) {
  EXPECT_EQ(scale_map(std::vector<float>{-2.f, 0.f, 1.f}, Scaling::kSigned),
            (std::vector<float>{0.f, 0.5f, 0.75f}));
}

TEST(Overlay, NoMapGivesNaN) {
  const std::vector<std::vector<float>> maps = {
      std::vector<float>(6, 0.f),
      std::vector<float>(6, -1.f),
      std::vector<float>(6, 1e-45f),
      std::vector<float>(6, std::numeric_limits<float>::max()),
      {kNaN, kInfinity, -kInfinity, 0.f, 0.f, 0.f},
      {kNaN, 1.f, 2.f, 3.f, -kInfinity, 0.f},
      std::vector<float>(6, kNaN),
  };
  for (size_t i = 0; i < maps.size(); ++i) {
    for (const Scaling scaling : {Scaling::kPositive, Scaling::kMagnitude, Scaling::kSigned}) {
      for (const float v : scale_map(maps[i], scaling)) {
        EXPECT_TRUE(v >= 0 && v <= 1) << "map " << i << " gave " << v;
      }
    }
  }
  EXPECT_TRUE(scale_map({}, Scaling::kMagnitude).empty());
}

TEST(Overlay, BlankMapsStayBlank) {
  const Image base = filled(8, 10, {40, 90, 200});
  for (const float value : {0.f, -2.f, kNaN}) {
    const std::vector<float> map(4, value);
    const Image heat = heatmap(map, 2, 2, Colormap::kJet);
    EXPECT_EQ(count_colour(heat, colour(Colormap::kJet, 0.f)), 4);
    const Image faded = overlay(base, map, 2, 2, {.alpha = 0.8f, .fade = true});
    EXPECT_EQ(faded.rgb, base.rgb);
  }
}

TEST(Overlay, MixesTheMapsColourIntoThePicture) {
  const Image base = filled(2, 2, {100, 100, 100});
  const std::vector<float> map = {0.f, 1.f, 1.f, 0.f};
  const Image half = overlay(base, map, 2, 2, {.alpha = 0.5f, .colormap = Colormap::kGrey});
  EXPECT_EQ(pixel(half, 0, 0), (Rgb{50, 50, 50}));
  EXPECT_EQ(pixel(half, 0, 1), (Rgb{178, 178, 178}));
  EXPECT_EQ(overlay(base, map, 2, 2, {.alpha = 0.f}).rgb, base.rgb);
  const Image whole = overlay(base, map, 2, 2, {.alpha = 1.f, .colormap = Colormap::kGrey});
  EXPECT_EQ(whole.rgb, heatmap(map, 2, 2, Colormap::kGrey).rgb);
  // Signed maps fade where they are 0, not where they are lowest.
  const std::vector<float> both = {0.f, -1.f, 1.f, 0.f};
  const Image faded = overlay(
      base, both, 2, 2,
      {.alpha = 1.f, .colormap = Colormap::kBlueRed, .scaling = Scaling::kSigned, .fade = true});
  EXPECT_EQ(pixel(faded, 0, 0), pixel(base, 0, 0));
  EXPECT_EQ(pixel(faded, 0, 1), colour(Colormap::kBlueRed, 0.f));
  EXPECT_EQ(pixel(faded, 1, 0), colour(Colormap::kBlueRed, 1.f));
}

TEST(Overlay, EnlargesTheMapBilinearlyWithHalfPixelCentres) {
  const std::vector<float> row = {0.f, 1.f};
  EXPECT_EQ(resize_map(row, 1, 2, 1, 4), (std::vector<float>{0.f, 0.25f, 0.75f, 1.f}));
  const Image base = filled(3, 4, kBlack);
  const Image image = overlay(base, row, 1, 2, {.alpha = 1.f, .colormap = Colormap::kGrey});
  EXPECT_EQ(image.height, 3);
  EXPECT_EQ(image.width, 4);
  EXPECT_EQ(pixel(image, 2, 0), (Rgb{0, 0, 0}));
  EXPECT_EQ(pixel(image, 0, 1), (Rgb{64, 64, 64}));
  EXPECT_EQ(pixel(image, 1, 3), (Rgb{255, 255, 255}));
  // What is cut away must not weigh on its neighbours: a very negative cell is a 0.
  const Image cut = overlay(base, std::vector<float>{-1000.f, 1.f}, 1, 2,
                            {.alpha = 1.f, .colormap = Colormap::kGrey});
  EXPECT_EQ(cut.rgb, image.rgb);
}

TEST(Overlay, RefusesWhatDoesNotFit) {
  const Image base = filled(4, 4, kBlack);
  const std::vector<float> map(4, 1.f);
  EXPECT_THROW(overlay(base, map, 2, 3), Error);
  EXPECT_THROW(overlay(base, {}, 0, 0), Error);
  EXPECT_THROW(overlay(Image(), map, 2, 2), Error);
  EXPECT_THROW(overlay(base, map, 2, 2, {.alpha = 1.5f}), Error);
  EXPECT_THROW(overlay(base, map, 2, 2, {.alpha = kNaN}), Error);
  EXPECT_THROW(heatmap(map, -2, -2, Colormap::kJet), Error);
}

// --- UTF-8 and text

TEST(Utf8, DecodesAndRefusesLikeTheStandard) {
  const auto decode = [](std::string_view text) {
    std::u32string result;
    while (!text.empty()) result += take_code_point(text);
    return result;
  };
  EXPECT_EQ(decode("aé→😀"), U"aé→😀");
  EXPECT_EQ(decode("\xff"), U"\uFFFD");
  EXPECT_EQ(decode("\xc3"), U"\uFFFD");                                // cut short
  EXPECT_EQ(decode("\xc0\xaf"), U"\uFFFD\uFFFD");                      // overlong '/'
  EXPECT_EQ(decode("\xed\xa0\x80"), U"\uFFFD\uFFFD\uFFFD");            // a surrogate
  EXPECT_EQ(decode("\xf4\x90\x80\x80"), U"\uFFFD\uFFFD\uFFFD\uFFFD");  // past U+10FFFF
  EXPECT_EQ(decode("\xe2\x82"
                   "a"),
            U"\uFFFD\uFFFDa");
}

TEST(Utf8, WidthsAreThoseOfATerminal) {
  EXPECT_EQ(display_width("sea"), 3);
  EXPECT_EQ(display_width("Bäume"), 5);
  EXPECT_EQ(display_width("Ba\u0308ume"), 5);  // a combining diaeresis
  EXPECT_EQ(display_width("氷河"), 4);
  EXPECT_EQ(fit_columns("glacier", 7), "glacier");
  EXPECT_EQ(fit_columns("glacier", 6), "glaci…");
  EXPECT_EQ(fit_columns("氷河", 3), "氷…");
  EXPECT_EQ(fit_columns("氷河", 2), "…");
  EXPECT_EQ(fit_columns("abc", 0), "");
  EXPECT_EQ(printable("a\x1b[2Jb\nc\xff"), "a\uFFFD[2Jb\uFFFDc\uFFFD");
  EXPECT_EQ(printable("é→"), "é→");
}

TEST(Text, DrawsWithinItsMeasuredBox) {
  for (const std::string text :
       {"Hxg|Å", "predicted glacier 93.1 % · true mountain", "Ünïcode ✓✗"}) {
    for (const double size : {9.0, 14.0, 31.5}) {
      Image image = filled(80, 900, kWhite);
      draw_text(image, 20, 50, text, size, kBlack);
      const Extent extent = ink(image);
      ASSERT_FALSE(extent.empty());
      const FontMetrics metrics = font_metrics(size);
      EXPECT_GE(extent.top, 50 - std::ceil(metrics.ascent));
      EXPECT_LE(extent.bottom, 50 + std::ceil(metrics.descent));
      EXPECT_GE(extent.left, 19);
      EXPECT_LE(extent.right, 20 + std::ceil(text_width(text, size)) + 1);
      EXPECT_GE(extent.width(), 0.8 * text_width(text, size));
    }
  }
}

TEST(Text, CapitalsStandOnTheBaseline) {
  Image image = filled(60, 60, kWhite);
  draw_text(image, 10, 40, "H", 30, kBlack);
  const Extent extent = ink(image);
  EXPECT_EQ(extent.bottom, 40);
  EXPECT_NEAR(extent.height(), font_metrics(30).cap_height, 1);
  // DejaVu Sans' capitals are 1493 of 2048 units high.
  EXPECT_NEAR(font_metrics(2048).cap_height, 1493, 1);
}

TEST(Text, IsAntiAliasedAndOfTheColourAskedFor) {
  Image image = filled(40, 60, kWhite);
  draw_text(image, 5, 30, "O", 30, {200, 0, 0});
  EXPECT_GT(count_colour(image, {200, 0, 0}), 20);
  std::set<uint8_t> greens;
  for (int y = 0; y < 40; ++y) {
    for (int x = 0; x < 60; ++x) greens.insert(pixel(image, y, x).g);
  }
  EXPECT_GT(greens.size(), 10u);
}

TEST(Text, UpwardsIsTheSameTurned) {
  Image flat = filled(50, 200, kWhite);
  draw_text(flat, 10, 35, "glacier", 20, kBlack);
  Image turned = filled(200, 50, kWhite);
  draw_text_upwards(turned, 35, 200 - 10, "glacier", 20, kBlack);
  for (int y = 0; y < 50; ++y) {
    for (int x = 0; x < 200; ++x) {
      ASSERT_EQ(pixel(flat, y, x), pixel(turned, 199 - x, y)) << y << " " << x;
    }
  }
}

TEST(Text, OutsideThePictureIsLeftOut) {
  Image image = filled(10, 20, kWhite);
  for (const double x : {-500.0, -7.3, 15.0, 400.0}) {
    for (const double y : {-50.0, 3.0, 14.0, 300.0}) {
      draw_text(image, x, y, "Wide and long, Å", 24, kBlack);
      draw_text_upwards(image, x, y, "Wide and long, Å", 24, kBlack);
    }
  }
  EXPECT_FALSE(ink(image).empty());
  Image nothing;
  draw_text(nothing, 0, 0, "text", 12, kBlack);
}

TEST(Text, SurvivesAnyBytes) {
  Image image = filled(40, 300, kWhite);
  draw_text(image, 5, 30, "\xff\xfe\x80 \0\n\t 氷河 \xf0\x9f"s, 16, kBlack);
  EXPECT_FALSE(ink(image).empty());
  EXPECT_EQ(text_width("", 16), 0);
}

TEST(Text, FitsWithAnEllipsis) {
  const std::string name = "a_very_long_file_name_with_Ünïcödé_in_it_20057.jpg";
  EXPECT_EQ(fit_text("short.jpg", 12, 500), "short.jpg");
  for (double width = 0; width < 400; width += 7) {
    for (const Cut cut : {Cut::kEnd, Cut::kMiddle}) {
      const std::string fitted = fit_text(name, 12, width, cut);
      EXPECT_LE(text_width(fitted, 12), width);
      EXPECT_EQ(fitted.find("\uFFFD"), std::string::npos);
      std::string_view rest = fitted;
      while (!rest.empty()) EXPECT_NE(take_code_point(rest), kReplacement) << fitted;
    }
  }
  EXPECT_TRUE(fit_text(name, 12, 120).starts_with("a_very_long"));
  EXPECT_TRUE(fit_text(name, 12, 120).ends_with("…"));
  EXPECT_TRUE(fit_text(name, 12, 150, Cut::kMiddle).ends_with("20057.jpg"));
  EXPECT_TRUE(fit_text(name, 12, 150, Cut::kMiddle).starts_with("a_very"));
  EXPECT_EQ(fit_text(name, 12, 3), "");
}

// --- sheets

SheetRow row_of(int height, int width, int panels) {
  SheetRow row{.input = filled(height, width, {10, 120, 30}),
               .panels = {},
               .headline = "predicted glacier 93.1 % · true mountain",
               .correct = false,
               .caption = "20057.jpg"};
  for (int i = 0; i < panels; ++i) {
    row.panels.push_back({"Method " + std::to_string(i), filled(height, width, {200, 30, 30}), {}});
  }
  return row;
}

TEST(Sheet, EnlargesSmallPicturesAndReducesLargeOnes) {
  const Rgb input{10, 120, 30};
  const auto side_of_input = [&](int size) {
    const Image image = sheet(std::vector<SheetRow>{row_of(size, size, 2)});
    return std::sqrt(count_colour(image, input));
  };
  EXPECT_EQ(side_of_input(96), 192);
  EXPECT_EQ(side_of_input(7), 192);
  EXPECT_EQ(side_of_input(224), 224);
  EXPECT_EQ(side_of_input(1000), 320);
}

TEST(Sheet, KeepsProportions) {
  const Image image = sheet(std::vector<SheetRow>{row_of(100, 200, 1)});
  EXPECT_EQ(count_colour(image, {10, 120, 30}), 200 * 100);
  const Image tall = sheet(std::vector<SheetRow>{row_of(900, 300, 1)});
  EXPECT_EQ(count_colour(tall, {10, 120, 30}), 320 * 107);
}

TEST(Sheet, GrowsByRowsAndColumns) {
  const auto size = [](int rows, int panels) {
    const Image image = sheet(std::vector<SheetRow>(rows, row_of(192, 192, panels)));
    EXPECT_EQ(image.rgb.size(), static_cast<size_t>(image.height) * image.width * 3);
    return std::pair{image.height, image.width};
  };
  const auto [h1, w1] = size(1, 2);
  const auto [h2, w2] = size(2, 2);
  const auto [h3, w3] = size(3, 3);
  EXPECT_EQ(w1, w2);
  EXPECT_GE(w3 - w2, 192);
  EXPECT_GE(h2 - h1, 192);
  EXPECT_EQ(h3 - h2, h2 - h1);  // the headings stand there once
}

TEST(Sheet, RepeatsHeadingsWhereTheyChange) {
  std::vector<SheetRow> rows(3, row_of(192, 192, 1));
  const int same = sheet(rows).height;
  rows[2].panels[0].title = "Another";
  EXPECT_GT(sheet(rows).height, same);
}

TEST(Sheet, MarksRightAndWrongByMoreThanColour) {
  SheetRow row = row_of(192, 192, 1);
  const Image wrong = sheet(std::vector<SheetRow>{row});
  row.correct = true;
  const Image right = sheet(std::vector<SheetRow>{row});
  row.correct.reset();
  const Image unknown = sheet(std::vector<SheetRow>{row});
  const Rgb green{0x12, 0x8a, 0x5b}, red{0xc6, 0x34, 0x2c};
  EXPECT_GT(count_colour(right, green), 100);
  EXPECT_EQ(count_colour(right, red), 0);
  EXPECT_GT(count_colour(wrong, red), 100);
  EXPECT_EQ(count_colour(wrong, green), 0);
  EXPECT_EQ(count_colour(unknown, red) + count_colour(unknown, green), 0);
  // The symbols differ in form: other pixels of the discs stay uncovered.
  EXPECT_NE(count_colour(right, green), count_colour(wrong, red));
}

TEST(Sheet, KeepsItsMarginsWhateverTheTexts) {
  std::string endless;
  for (int i = 0; i < 200; ++i) endless += "Ünïcode ";
  SheetRow row = row_of(96, 96, 1);
  row.headline = row.caption = row.panels[0].title = endless;
  row.panels[0].bar = ColourBar{Colormap::kInferno, endless, endless};
  const Image image =
      sheet(std::vector<SheetRow>{row},
            {.title = endless, .subtitle = endless, .note = endless, .input_title = endless});
  const Extent extent = ink(image);
  EXPECT_GE(extent.left, 24);
  EXPECT_LE(extent.right, image.width - 24);
  EXPECT_GE(extent.top, 16);
  EXPECT_LE(extent.bottom, image.height - 16);
}

TEST(Sheet, DrawsAScaleBelowItsColumn) {
  SheetRow row = row_of(192, 192, 2);
  const int without = sheet(std::vector<SheetRow>{row}).height;
  row.panels[1].bar = ColourBar{Colormap::kJet, "none", "strongest"};
  const Image image = sheet(std::vector<SheetRow>{row});
  EXPECT_GT(image.height, without);
  for (const float end : {0.f, 1.f}) {
    EXPECT_GE(count_colour(image, colour(Colormap::kJet, end)), 9);
  }
}

TEST(Sheet, RefusesNothingAndTooMuch) {
  EXPECT_THROW(sheet({}), Error);
  EXPECT_THROW(sheet(std::vector<SheetRow>{SheetRow{}}), Error);
  EXPECT_THROW(sheet(std::vector<SheetRow>{row_of(8, 8, 0)}, {.min_panel = 9, .max_panel = 8}),
               Error);
  EXPECT_THROW(sheet(std::vector<SheetRow>(3000, row_of(4, 4, 2))), Error);
}

TEST(ConfusionMatrixImage, ShowsShadesForEveryNumberOfClasses) {
  for (const int n : {1, 2, 6, 25, 120, 1000}) {
    std::vector<std::string> classes;
    std::vector<int64_t> counts(static_cast<size_t>(n) * n);
    for (int i = 0; i < n; ++i) {
      classes.push_back("class with a rather long name " + std::to_string(i));
      counts[static_cast<size_t>(i) * n + i] = 40;
    }
    const Image image = confusion_matrix_image(classes, counts, "Test set");
    // All on the diagonal: every class's cell has the darkest blue, nothing is orange.
    EXPECT_GE(count_colour(image, colour(Colormap::kBlues, 0.94f)), 4 * n) << n;
    EXPECT_LE(image.width, 3200) << n;
    const Extent extent = ink(image);
    EXPECT_GE(extent.left, 20) << n;
    EXPECT_LE(extent.right, image.width - 20) << n;
  }
}

TEST(ConfusionMatrixImage, MistakesAreOrangeAndEmptyRowsHarmless) {
  const std::vector<std::string> classes = {"forest", "sea", "glacier"};
  const std::vector<int64_t> counts = {3, 1, 0, 0, 4, 0, 0, 0, 0};
  const Image image = confusion_matrix_image(classes, counts);
  EXPECT_GT(count_colour(image, colour(Colormap::kOranges, 0.06f + 0.88f * 0.5f)), 1000);
  EXPECT_THROW(confusion_matrix_image(classes, std::vector<int64_t>(4)), Error);
  EXPECT_THROW(confusion_matrix_image({}, {}), Error);
}

// --- terminals

// Text written to a FILE*, and a clock that a test turns.
class ProgressTest : public ::testing::Test {
 protected:
  ProgressTest() : stream_(open_memstream(&text_, &size_)) {}
  ~ProgressTest() override {
    std::fclose(stream_);
    std::free(text_);
  }
  ProgressOptions options(bool terminal, int width = 80) {
    return {.stream = stream_, .terminal = terminal, .width = width, .utf8 = true, .now = [this] {
              return now_;
            }};
  }
  void wait(double seconds) {
    now_ += std::chrono::microseconds(static_cast<int64_t>(seconds * 1e6));
  }
  std::string written() {
    std::fflush(stream_);
    return {text_, size_};
  }
  // What a terminal shows after the text written so far.
  std::vector<std::string> screen() {
    std::vector<std::string> lines = {""};
    std::string_view text = text_ == nullptr ? std::string_view() : std::string_view(text_, size_);
    while (!text.empty()) {
      if (text.starts_with("\r\x1b[2K")) {
        lines.back().clear();
        text.remove_prefix(5);
      } else if (text.front() == '\n') {
        lines.emplace_back();
        text.remove_prefix(1);
      } else {
        lines.back() += text.front();
        text.remove_prefix(1);
      }
    }
    return lines;
  }

 private:
  char* text_ = nullptr;
  size_t size_ = 0;
  std::FILE* stream_;
  std::chrono::steady_clock::time_point now_{};
};

TEST_F(ProgressTest, ShowsWhatIsDoneTheRateAndTheTimeLeft) {
  Progress progress("epoch 3/50", 400, options(true, 100));
  wait(2);
  progress.update(100, "loss 0.512");
  ASSERT_EQ(screen().size(), 1u);
  const std::string line = screen()[0];
  EXPECT_TRUE(line.starts_with("epoch 3/50  ━━━━━━━╸─")) << line;
  EXPECT_NE(line.find("100/400  50.0 images/s  0:06 left  loss 0.512"), std::string::npos) << line;
}

TEST_F(ProgressTest, IsDrawnAtMostTenTimesASecond) {
  {
    Progress progress("reading", 10000, options(true));
    for (int i = 0; i < 10000; ++i) {
      wait(0.001);
      progress.update(i + 1);
    }
  }
  const std::string text = written();
  int draws = 0;
  for (size_t at = 0; (at = text.find("reading", at)) != std::string::npos; ++at) ++draws;
  EXPECT_GE(draws, 95);
  EXPECT_LE(draws, 101);
}

TEST_F(ProgressTest, NeverTakesMoreThanTheTerminalsWidth) {
  for (const int width : {1, 2, 10, 20, 40, 60, 80, 200}) {
    Progress progress("epoch 12/50 of a run with a long näme 氷河", 1'000'000,
                      options(true, width));
    for (int i = 1; i < 4; ++i) {
      wait(0.4);
      progress.update(i * 300'000, "loss 0.512  accuracy 81.3 %  and much more");
      EXPECT_LE(display_width(screen().back()), std::max(width - 1, 0)) << width;
    }
  }
}

TEST_F(ProgressTest, LeavesTheLineToAnErrorMessage) {
  try {
    Progress progress("epoch 1/1", 100, options(true));
    wait(1);
    progress.update(10);
    EXPECT_NE(screen().back(), "");
    throw Error("out of memory");
  } catch (const Error&) {
    EXPECT_EQ(screen(), std::vector<std::string>{""});
  }
}

TEST_F(ProgressTest, PrintsLinesAboveTheBar) {
  Progress progress("epoch 1/2", 100, options(true));
  progress.print("cat.jpg: cut short");
  ASSERT_EQ(screen().size(), 2u);
  EXPECT_EQ(screen()[0], "cat.jpg: cut short");
  EXPECT_TRUE(screen()[1].starts_with("epoch 1/2"));
  wait(4);
  progress.update(100);
  progress.finish("loss 0.5");
  progress.update(100);
  progress.finish();
  ASSERT_EQ(screen().size(), 3u);
  EXPECT_EQ(screen()[1], "epoch 1/2  100 images  25.0 images/s  0:04  loss 0.5");
  EXPECT_EQ(screen()[2], "");
}

TEST_F(ProgressTest, IsQuietWhereThereIsNoTerminal) {
  {
    Progress progress("epoch 1/2", 6000, options(false));
    for (int i = 0; i < 600; ++i) {
      wait(0.1);
      progress.update(10 * (i + 1), "loss 0.5");
    }
    progress.finish("loss 0.4");
  }
  EXPECT_EQ(written(),
            "epoch 1/2  3000/6000 images  100 images/s  0:30 left  loss 0.5\n"
            "epoch 1/2  6000/6000 images  100 images/s  0:00 left  loss 0.5\n"
            "epoch 1/2  6000 images  100 images/s  1:00  loss 0.4\n");
}

TEST_F(ProgressTest, WorksWithoutATotalAndBeforeAnythingIsDone) {
  Progress progress("scanning", 0, options(true));
  wait(1);
  progress.update(0);
  EXPECT_EQ(screen().back(), "scanning  0 images");
  wait(1);
  progress.update(50);
  EXPECT_EQ(screen().back(), "scanning  50 images  25.0 images/s");
}

TEST_F(ProgressTest, NotesCannotMoveTheCursor) {
  Progress progress("a\nb", 10, options(true));
  wait(1);
  progress.update(1, "loss\r\n\x1b[2J");
  EXPECT_EQ(screen().size(), 1u);
  EXPECT_EQ(screen()[0].find('\x1b'), std::string::npos);
}

TEST(Terminal, Durations) {
  EXPECT_EQ(duration(0), "0:00");
  EXPECT_EQ(duration(7.4), "0:07");
  EXPECT_EQ(duration(59.9), "1:00");
  EXPECT_EQ(duration(754), "12:34");
  EXPECT_EQ(duration(3723), "1:02:03");
  EXPECT_EQ(duration(std::numeric_limits<double>::infinity()), "99:59:59");
  EXPECT_EQ(duration(-5), "0:00");
}

TEST(Terminal, AFileIsNone) {
  std::FILE* file = std::tmpfile();
  ASSERT_NE(file, nullptr);
  EXPECT_FALSE(is_terminal(file));
  EXPECT_GT(terminal_width(file), 0);
  std::fclose(file);
}

TEST(Table, AlignsColumns) {
  Table table({{"class"}, {"images", Align::kRight}, {"recall", Align::kRight}});
  table.add_row({"buildings", "100", "91.0 %"});
  table.add_row({"sea", "7", "100.0 %"});
  table.add_rule();
  table.add_row({"all", "107", ""});
  EXPECT_EQ(table.str(),
            "class      images   recall\n"
            "─────────  ──────  ───────\n"
            "buildings     100   91.0 %\n"
            "sea             7  100.0 %\n"
            "─────────  ──────  ───────\n"
            "all           107\n");
}

TEST(Table, MeasuresWhatTheTerminalShows) {
  Table table({{"Name"}, {"n", Align::kRight}});
  table.add_row({"Bäume", "1"});
  table.add_row({"氷河", "22"});
  table.add_row({"a\x1b[1mb\n", "3"});
  EXPECT_EQ(table.str(false),
            "Name      n\n"
            "-------  --\n"
            "Bäume     1\n"
            "氷河     22\n"
            "a\uFFFD[1mb\uFFFD   3\n");
}

TEST(Table, RefusesRowsOfAnotherLength) {
  Table table({{"a"}, {"b"}});
  EXPECT_THROW(table.add_row({"1"}), Error);
  EXPECT_THROW(table.add_row({"1", "2", "3"}), Error);
  EXPECT_THROW(Table({}), Error);
}

// --- regions -------------------------------------------------------------------------------------

TEST(Regions, AreTintedForAndAgainstAndOutlinedWhereStrong) {
  // Three columns of a grey picture: for, against, and next to nothing.
  const Image base = filled(60, 90, {128, 128, 128});
  std::vector<int64_t> labels;
  for (int i = 0; i < 60 * 90; ++i) labels.push_back(i % 90 / 30);
  const std::vector<RegionWeight> weights = {{1.0}, {-0.5}, {0.0}};
  const Image image = draw_regions(base, labels, weights, {.min_side = 60});
  ASSERT_EQ(image.height, 60);
  const Rgb pro = pixel(image, 30, 15), con = pixel(image, 30, 45);
  EXPECT_GT(pro.r, pro.b + 40);
  EXPECT_GT(con.b, con.r + 20);
  EXPECT_EQ(pixel(image, 30, 75), (Rgb{128, 128, 128}));
  // An unbroken line around the first, a broken one around the second, none around the third.
  const auto runs = [&](int x) {
    int changes = 0;
    for (int y = 5; y < 54; ++y) {
      changes += pixel(image, y, x) == pixel(image, y + 1, x) ? 0 : 1;
    }
    return changes;
  };
  EXPECT_EQ(runs(1), 0);
  EXPECT_EQ(pixel(image, 30, 1), colour(Colormap::kBlueRed, 1));
  EXPECT_GT(runs(31), 4);
  EXPECT_NE(pixel(image, 30, 62), colour(Colormap::kBlueRed, 0));
}

TEST(Regions, WhoseSignIsOpenAreHatched) {
  const Image base = filled(40, 40, {128, 128, 128});
  const std::vector<int64_t> labels(1600, 0);
  const auto colours = [&](bool resolved) {
    const Image image = draw_regions(base, labels, std::vector<RegionWeight>{{1, resolved}},
                                     {.outlined = 0, .min_side = 1});
    std::set<std::tuple<int, int, int>> seen;
    for (int x = 5; x < 35; ++x) {
      const Rgb at = pixel(image, 20, x);
      seen.insert({at.r, at.g, at.b});
    }
    return seen.size();
  };
  EXPECT_EQ(colours(true), 1U);
  EXPECT_EQ(colours(false), 3U);
}

TEST(Regions, EnlargeSmallPicturesAndRefuseStrangeLabels) {
  const Image base = filled(10, 20, kWhite);
  const std::vector<int64_t> labels(200, 0);
  const std::vector<RegionWeight> one = {{1}};
  EXPECT_EQ(draw_regions(base, labels, one).width, 600);
  EXPECT_THROW(draw_regions(base, std::vector<int64_t>(199, 0), one), Error);
  EXPECT_THROW(draw_regions(base, std::vector<int64_t>(200, 1), one), Error);
  EXPECT_THROW(draw_regions(Image(), {}, one), Error);
}

}  // namespace
}  // namespace glassnet
