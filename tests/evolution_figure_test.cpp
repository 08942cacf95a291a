// The figure of confusion evolution: the right colour at the right place, on both canvases, and a
// page of a paper whatever the log.
#include "report/evolution_figure.h"

#include <cmath>
#include <limits>
#include <set>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "kernels/error.h"
#include "report/canvas.h"
#include "report/svg_canvas.h"
#include "report/text.h"
#include "tests/svg_support.h"

namespace glassnet {
namespace {

using test::attribute;
using test::Element;
using test::named;
using test::parse;
using test::texts;
using testing::Contains;
using testing::HasSubstr;
using testing::Not;

// `predicted` is (epochs, images).
History history_of(int classes, const std::vector<int32_t>& truth, std::vector<int32_t> predicted) {
  History history;
  for (int c = 0; c < classes; ++c) history.classes.push_back(fmt::format("class {}", c));
  for (const int32_t t : truth) history.images.push_back({"", t, ""});
  for (size_t e = 0; e < predicted.size() / truth.size(); ++e) {
    history.epoch_names.push_back(fmt::format("{}", e + 1));
  }
  history.predicted = std::move(predicted);
  return history;
}

// Of many images and epochs, with a few mistakes.
History long_history(int classes, int images, int epochs) {
  std::vector<int32_t> truth, predicted;
  for (int i = 0; i < images; ++i) truth.push_back(i * 7 % classes);
  for (int t = 0; t < epochs; ++t) {
    for (int i = 0; i < images; ++i) predicted.push_back((truth[i] + ((i + t) % 5 == 0)) % classes);
  }
  return history_of(classes, truth, std::move(predicted));
}

std::string svg_of(const History& history, const EpochRange& window = {}) {
  return evolution_figure_svg(history, evolve(history, window));
}

Image image_of(const History& history, const EpochRange& window = {}, int scale = 1) {
  return evolution_figure(history, evolve(history, window), {.scale = scale});
}

struct Place {
  int y = 0, x = 0, height = 0, width = 0;
};

Place place_of(const Element& element) {
  const auto number = [&](const char* name) { return std::stoi(attribute(element, name)); };
  return {number("y"), number("x"), number("height"), number("width")};
}

Place heatmap_place(const std::string& svg) {
  return place_of(named(parse(svg), "image").at(0));
}

Rgb pixel(const Image& image, int y, int x) {
  const uint8_t* at = image.at(y, x);
  return {at[0], at[1], at[2]};
}

// Three classes of which the last has no image; sorted, the images are 2, 1 | 3, 0.
History small_history() {
  return history_of(3, {1, 0, 0, 1},
                    {2, 0, 0, 1,  //
                     2, 1, 0, 1,  //
                     1, 0, 0, 1});
}

TEST(EvolutionFigure, ColoursEachCellByTheClassPredicted) {
  const History history = small_history();
  const Place place = heatmap_place(svg_of(history));
  const std::vector<std::vector<int>> expected = {{0, 0, 0}, {0, 1, 0}, {1, 1, 1}, {2, 2, 1}};
  constexpr int kRow = 14, kGap = 3;
  ASSERT_EQ(place.height, 4 * kRow + kGap);
  ASSERT_EQ(place.width % 3, 0);
  for (const int scale : {1, 2}) {
    const Image image = image_of(history, {}, scale);
    EXPECT_EQ(image.width, 1000 * scale);
    for (int row = 0; row < 4; ++row) {
      for (int y = 0; y < kRow; ++y) {
        const int top = place.y + row * kRow + (row >= 2 ? kGap : 0) + y;
        for (int x = 0; x < place.width; ++x) {
          const int label = expected[row][x / (place.width / 3)];
          ASSERT_EQ(pixel(image, top * scale, (place.x + x) * scale), class_colour(label, 3))
              << row << ' ' << x;
        }
      }
    }
    EXPECT_EQ(pixel(image, (place.y + 2 * kRow + 1) * scale, (place.x + 9) * scale), kWhite);
    // The strip of true classes.
    EXPECT_EQ(pixel(image, (place.y + 2) * scale, (place.x - 5) * scale), class_colour(0, 3));
    EXPECT_EQ(pixel(image, (place.y + 50) * scale, (place.x - 5) * scale), class_colour(1, 3));
  }
}

TEST(EvolutionFigure, IsTheSamePictureInSvg) {
  const History history = long_history(5, 300, 20);
  const std::string svg = svg_of(history);
  const auto elements = parse(svg);
  const Image image = image_of(history);
  test::expect_size_of(elements, image);
  const auto pictures = named(elements, "image");
  ASSERT_EQ(pictures.size(), 2u) << "the heatmap and the strip beside it";
  for (const Element& picture : pictures) {
    EXPECT_THAT(attribute(picture, "style"), HasSubstr("pixelated"));
    const Place place = place_of(picture);
    const Image embedded = test::decoded(picture);
    ASSERT_EQ(embedded.height, place.height);
    ASSERT_EQ(embedded.width, place.width);
    for (int y = 0; y < place.height; ++y) {
      for (int x = 0; x < place.width; ++x) {
        ASSERT_EQ(pixel(embedded, y, x), pixel(image, place.y + y, place.x + x));
      }
    }
  }
  EXPECT_EQ(svg, svg_of(history));
}

TEST(EvolutionFigure, BarsAreAsLongAsTheNumbers) {
  const auto elements = parse(svg_of(small_history()));
  std::vector<std::string> paths;
  for (const Element& path : named(elements, "path")) {
    if (attribute(path, "fill") != "none") paths.push_back(attribute(path, "d"));
  }
  ASSERT_EQ(paths.size(), 6u) << "three measures of two groups";
  // Of the first: frequencies 0 and 1, variabilities 1 and 2 (the largest), rates 0 and 1/3.
  const auto lengths = [&](const std::string& path) {
    std::vector<double> result;
    const double x = std::stod(path.substr(1));
    for (size_t at = path.find('H'); at != std::string::npos; at = path.find('H', at + 1)) {
      result.push_back(std::stod(path.substr(at + 1)) - x);
    }
    return result;
  };
  const double width = lengths(paths[0])[1];
  EXPECT_GT(width, 80);
  EXPECT_THAT(lengths(paths[0]), testing::ElementsAre(0, width, 0));
  EXPECT_THAT(lengths(paths[2]), testing::ElementsAre(width / 2, width, 0));
  EXPECT_THAT(lengths(paths[4]), testing::ElementsAre(0, testing::DoubleNear(width / 3, 0.01), 0));
  EXPECT_THAT(lengths(paths[5]),
              testing::ElementsAre(0, testing::DoubleNear(width * 2 / 3, 0.01), 0));
}

TEST(EvolutionFigure, SaysWhatIsToBeSeen) {
  History history = small_history();
  const auto words = [&](const EpochRange& window = {}) {
    return texts(parse(svg_of(history, window)));
  };
  for (const std::string text :
       {"Confusion evolution", "4 images of 3 classes, epochs 1 to 3 of 3", "accuracy", "100.0 %",
        "prediction flux", "50.0 %", "frequency", "variability", "misclassified", "class 2",
        "epoch", "Predicted in epoch 3", "Classes"}) {
    EXPECT_THAT(words(), Contains(text));
  }
  EXPECT_THAT(words(), Not(Contains("test loss")));
  history.loss = {0.5, std::nan(""), 0.25};
  EXPECT_THAT(words(), Contains("test loss"));
  EXPECT_THAT(words(), Contains("0.25"));
  EXPECT_THAT(words({2, 2}), Contains("4 images of 3 classes, epoch 2 of 3"));
  EXPECT_THAT(words({2, 2}), Not(Contains("test loss"))) << "not known in that epoch";
  EXPECT_THAT(words({2, 3}), Contains("Predicted in epoch 3"));
}

TEST(EvolutionFigure, SharesPixelsAmongManyImagesAndEpochs) {
  // All wrong, so the 2000 taken for class 1 come first, then the 1000 taken for class 2.
  std::vector<int32_t> predicted;
  for (int i = 0; i < 3000; ++i) predicted.push_back(i % 3 == 0 ? 2 : 1);
  const History images = history_of(3, std::vector<int32_t>(3000, 0), predicted);
  const Place place = heatmap_place(svg_of(images));
  EXPECT_LT(place.height, 700);
  const Image picture = image_of(images);
  const auto at = [&](double share) {
    return pixel(picture, place.y + static_cast<int>(share * place.height), place.x + 3);
  };
  EXPECT_EQ(at(0), class_colour(1, 3));
  EXPECT_EQ(at(0.66), class_colour(1, 3));
  EXPECT_EQ(at(0.67), class_colour(2, 3));
  EXPECT_EQ(at(0.999), class_colour(2, 3));

  // As often one as the other in each pixel: the lower.
  predicted.clear();
  for (int t = 0; t < 920; ++t) predicted.push_back(t % 2 == 0 ? 2 : 1);
  const History epochs = history_of(3, {0}, predicted);
  const Place row = heatmap_place(svg_of(epochs));
  ASSERT_EQ(row.width, 460);
  const Image line = image_of(epochs);
  for (int x = 0; x < row.width; ++x) {
    ASSERT_EQ(pixel(line, row.y, row.x + x), class_colour(1, 3));
  }
}

TEST(EvolutionFigure, FitsAPageWhateverTheLog) {
  for (const int classes : {1, 2, 7, 12, 13, 24, 25, 119, 121, 1000}) {
    for (const int images : {1, 30, 640, 3000}) {
      for (const int epochs : {1, 2, 500}) {
        if (images * epochs > 400000) continue;
        SCOPED_TRACE(fmt::format("{} classes, {} images, {} epochs", classes, images, epochs));
        History history = long_history(classes, images, epochs);
        for (std::string& name : history.classes) name += " with a name far too long for a figure";
        history.loss.assign(static_cast<size_t>(epochs), 0.5);
        // One class with nearly all images.
        for (size_t i = 0; i < history.images.size(); ++i) {
          if (i >= history.classes.size()) history.images[i].true_class = 0;
        }
        const std::string svg = svg_of(history);
        const auto elements = parse(svg);
        EXPECT_LT(std::stoi(attribute(elements[0], "height")), 1400);
        EXPECT_LT(elements.size(), 2000u);
        for (const Element& text : named(elements, "text")) {
          EXPECT_LT(std::stod(attribute(text, "y")), std::stod(attribute(elements[0], "height")));
        }
      }
    }
  }
}

TEST(EvolutionFigure, StaysWellFormedAndInsideItsMarginsWithAnyNames) {
  std::string every;
  for (int i = 0; i < 256; ++i) every += static_cast<char>(i);
  History history = small_history();
  history.classes = {every, "</text><script>\"&", "\xff\xfe\n\x1b[31m"};
  history.loss = {std::numeric_limits<double>::infinity(), 1e308, -1e200};
  const auto elements = parse(evolution_figure_svg(history, evolve(history), {.title = every}));
  EXPECT_TRUE(named(elements, "script").empty());
  EXPECT_THAT(texts(elements), Contains("</text><script>\"&"));
  for (const Element& text : named(elements, "text")) {
    const double width = text_width(text.text, std::stod(attribute(text, "font-size")));
    const double x = std::stod(attribute(text, "x"));
    const std::string anchor = attribute(text, "text-anchor");
    const double start = anchor == "end" ? x - width : anchor == "middle" ? x - width / 2 : x;
    EXPECT_GE(start, 27) << text.text;
    EXPECT_LE(start + width, 973) << text.text;
  }
  image_of(history);
  history.loss = {-2, 0, 1e99};
  parse(svg_of(history));
  image_of(history);
}

TEST(EvolutionFigure, DrawsASingleImageInASingleEpoch) {
  const History history = history_of(1, {0}, {0});
  const auto words = texts(parse(svg_of(history)));
  EXPECT_THAT(words, Contains("1 image of 1 class, epoch 1 of 1"));
  EXPECT_THAT(words, Not(Contains("prediction flux")));
  const Place place = heatmap_place(svg_of(history));
  EXPECT_EQ(pixel(image_of(history), place.y, place.x), class_colour(0, 1));
}

TEST(EvolutionFigure, LeavesOutTheMatrixOfManyClassesAndSaysSo) {
  const auto words = [](int classes) {
    std::string all;
    for (const std::string& text : texts(parse(svg_of(long_history(classes, 60, 4))))) {
      all += text + "\n";
    }
    return all;
  };
  EXPECT_THAT(words(12), HasSubstr("Predicted in epoch 4"));
  EXPECT_THAT(words(12), Not(HasSubstr("left out")));
  EXPECT_THAT(words(13), Not(HasSubstr("Predicted in epoch 4")));
  EXPECT_THAT(words(13), HasSubstr("matrix is left out"));
  EXPECT_THAT(words(13), Not(HasSubstr("legend is left out")));
  EXPECT_THAT(words(25), HasSubstr("legend is left out"));
  EXPECT_THAT(words(1000), HasSubstr("1000 classes"));
}

TEST(EvolutionFigure, RefusesAnotherLogsEvolution) {
  const History history = small_history();
  EXPECT_THROW(evolution_figure(history, evolve(long_history(3, 5, 3))), Error);
  EXPECT_THROW(evolution_figure_svg(history, Evolution()), Error);
  EXPECT_THROW(image_of(history, {}, 0), Error);
  EXPECT_THROW(image_of(history, {}, 9), Error);
}

TEST(ClassColour, TellsTenClassesApartAndAThousandMostly) {
  std::set<std::string> seen;
  for (int c = 0; c < 10; ++c) seen.insert(hex(class_colour(c, 10)));
  EXPECT_EQ(seen.size(), 10u);
  EXPECT_EQ(class_colour(3, 4), class_colour(3, 10)) << "whatever the other classes";
  seen.clear();
  for (int c = 0; c < 1000; ++c) seen.insert(hex(class_colour(c, 1000)));
  EXPECT_GT(seen.size(), 900u);
  EXPECT_EQ(hex(class_colour(0, 11)), "#398ad6");
  EXPECT_THROW(class_colour(-1, 3), Error);
  EXPECT_THROW(class_colour(3, 3), Error);
}

TEST(Canvas, BarsAndLinesCoverWhatTheyShould) {
  RasterCanvas canvas(20, 40);
  canvas.bars(2, 3, 2, std::vector<double>{4, 0, 2.5}, kBlack);
  canvas.line(std::vector<Point>{{15, 5}, {15, 30}, {15, 5}}, 2, kBlack);
  canvas.line(std::vector<Point>{{-5, -5}}, 3, kBlack);
  canvas.line({}, 3, kBlack);
  const Image image = std::move(canvas).image();
  EXPECT_EQ(pixel(image, 3, 6), kBlack);
  EXPECT_EQ(pixel(image, 3, 7), kWhite);
  EXPECT_EQ(pixel(image, 4, 3), kWhite);
  EXPECT_EQ(pixel(image, 6, 4), kBlack);
  EXPECT_NEAR(pixel(image, 7, 5).r, 128, 1);
  for (int x = 5; x < 30; ++x) {
    EXPECT_EQ(pixel(image, 14, x), kBlack);
    EXPECT_EQ(pixel(image, 15, x), kBlack);
    EXPECT_EQ(pixel(image, 13, x), kWhite);
    EXPECT_EQ(pixel(image, 16, x), kWhite);
  }
  EXPECT_EQ(pixel(image, 15, 33), kWhite);

  SvgCanvas svg(20, 40, "", "");
  svg.line(std::vector<Point>{{1, 2}}, 3, kBlack);
  svg.line({}, 3, kBlack);
  const auto paths = named(parse(svg.document()), "path");
  ASSERT_EQ(paths.size(), 1u);
  EXPECT_EQ(attribute(paths[0], "d"), "M2 1h0");
}

}  // namespace
}  // namespace glassnet
