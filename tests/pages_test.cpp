// Pages on both canvases: what the SVGs of sheets and contact sheets say, and contact sheets
// themselves. (How sheets look as pictures is report_test.cpp's.)
#include <algorithm>
#include <iterator>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "kernels/error.h"
#include "report/contact_sheet.h"
#include "report/draw.h"
#include "report/sheet.h"
#include "report/svg_canvas.h"
#include "report/text.h"
#include "tests/svg_support.h"

namespace glassnet {
namespace {

using test::attribute;
using test::decoded;
using test::Element;
using test::expect_size_of;
using test::named;
using test::parse;
using test::rgb_of;
using test::texts;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

// Every pixel another colour, so that one out of place shows.
Image gradient(int height, int width) {
  Image image(height, width);
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      uint8_t* pixel = image.at(y, x);
      pixel[0] = static_cast<uint8_t>(x), pixel[1] = static_cast<uint8_t>(y), pixel[2] = 90;
    }
  }
  return image;
}

SheetRow row_of(int height, int width) {
  return {.input = gradient(height, width),
          .panels = {{"Grad-CAM", filled(height, width, {200, 30, 30}), ColourBar{}},
                     {"Saliency", filled(height, width, {30, 30, 30}),
                      ColourBar{Colormap::kInferno, "0", "max"}}},
          .headline = "predicted glacier 93.1 % · true mountain",
          .correct = false,
          .caption = "20057.jpg"};
}

// --- the canvas

TEST(SvgCanvas, EscapesAndMakesAnyBytesHarmless) {
  EXPECT_EQ(xml_escaped("a < b & \"c\" > 'd'"), "a &lt; b &amp; &quot;c&quot; &gt; 'd'");
  EXPECT_EQ(xml_escaped("Ünï → 氷河 😀"), "Ünï → 氷河 😀");
  EXPECT_EQ(xml_escaped("a\nb\tc\x1b\x7f\u0085"), "a b c   ");
  EXPECT_EQ(xml_escaped("\xff\xc0\xaf"), "\uFFFD\uFFFD\uFFFD");
  // Valid UTF-8 that XML forbids.
  EXPECT_EQ(xml_escaped("\uFFFE\uFFFF\U0001FFFF"), "\uFFFD\uFFFD\uFFFD");
  std::string every;
  for (int i = 0; i < 256; ++i) every += static_cast<char>(i);
  SvgCanvas canvas(10, 10, every, every);
  canvas.text(0, 0, every, {});
  canvas.picture(0, 0, 5, 5, filled(2, 2, kBlack), every);
  parse(canvas.document());
}

TEST(SvgCanvas, TextIsHeldToALengthOnlyWhereItsRoomIsTight) {
  const std::string text = "predicted glacier";
  const double width = text_width(text, 14);
  const auto written = [&](const std::string& what, double room) {
    SvgCanvas canvas(10, 10, "", "");
    canvas.text(3, 8.25, what, {.size = 14, .colour = {1, 2, 255}, .room = room});
    const auto elements = named(parse(canvas.document()), "text");
    EXPECT_EQ(elements.size(), 1U);
    return elements.at(0);
  };
  const Element loose = written(text, 2 * width);
  EXPECT_EQ(loose.text, text);
  EXPECT_EQ(attribute(loose, "x"), "3");
  EXPECT_EQ(attribute(loose, "y"), "8.25");
  EXPECT_EQ(attribute(loose, "font-size"), "14");
  EXPECT_EQ(attribute(loose, "fill"), "#0102ff");
  EXPECT_EQ(loose.attributes.count("textLength"), 0U);

  const Element tight = written(text, width + 1);
  EXPECT_EQ(tight.text, text);
  EXPECT_NEAR(std::stod(attribute(tight, "textLength")), width, 0.01);
  EXPECT_EQ(attribute(tight, "lengthAdjust"), "spacingAndGlyphs");

  const Element cut = written(text, width / 2);
  EXPECT_EQ(cut.text, fit_text(text, 14, width / 2));
  EXPECT_TRUE(cut.text.ends_with("…"));

  // A viewer's font has these, an em wide each; ours has boxes, which are narrower.
  const std::string wide = "氷河氷河氷河";
  const Element boxes = written(wide, text_width(wide, 14) + 1);
  EXPECT_EQ(boxes.text, wide);
  EXPECT_NEAR(std::stod(attribute(boxes, "textLength")), text_width(wide, 14) + 1, 0.01);
}

TEST(SvgCanvas, SpacesStayAndNothingIsWrittenWithoutRoom) {
  SvgCanvas canvas(10, 10, "", "");
  canvas.text(0, 0, "a  b", {});
  canvas.text(0, 0, "a b", {.anchor = Anchor::kEnd});
  canvas.text(0, 0, "glacier", {.room = 2});
  canvas.text(0, 0, "", {});
  const auto elements = named(parse(canvas.document()), "text");
  ASSERT_EQ(elements.size(), 2U);
  EXPECT_EQ(attribute(elements[0], "xml:space"), "preserve");
  EXPECT_EQ(attribute(elements[0], "text-anchor"), "");
  EXPECT_EQ(attribute(elements[1], "xml:space"), "");
  EXPECT_EQ(attribute(elements[1], "text-anchor"), "end");
}

TEST(SvgCanvas, EmbedsPicturesUpToTwiceTheirPlace) {
  const Image small = gradient(7, 5), large = gradient(200, 100);
  SvgCanvas canvas(100, 100, "", "");
  canvas.picture(2, 1, 70, 50, small, "small & sharp");
  canvas.picture(2, 60, 20, 10, large, "large");
  const auto elements = parse(canvas.document());
  const auto images = named(elements, "image");
  ASSERT_EQ(images.size(), 2U);
  EXPECT_EQ(attribute(images[0], "x"), "1");
  EXPECT_EQ(attribute(images[0], "y"), "2");
  EXPECT_EQ(attribute(images[0], "width"), "50");
  EXPECT_EQ(attribute(images[0], "height"), "70");
  EXPECT_EQ(decoded(images[0]).rgb, small.rgb);
  EXPECT_EQ(decoded(images[1]).rgb, resize(large, 40, 20).rgb);
  const auto titles = named(elements, "title");
  ASSERT_EQ(titles.size(), 3U);  // the page's first
  EXPECT_EQ(titles[1].text, "small & sharp");
  EXPECT_EQ(titles[1].parent, "image");
}

TEST(SvgCanvas, DefinesEachMapsColoursOnce) {
  SvgCanvas canvas(100, 100, "", "");
  for (const Colormap map : {Colormap::kJet, Colormap::kViridis, Colormap::kJet}) {
    canvas.colours(0, 0, 9, 50, map);
  }
  const auto elements = parse(canvas.document());
  const auto gradients = named(elements, "linearGradient");
  ASSERT_EQ(gradients.size(), 2U);
  std::set<std::string> paints;
  for (const Element& gradient : gradients)
    paints.insert("url(#" + attribute(gradient, "id") + ")");
  const auto rectangles = named(elements, "rect");
  ASSERT_EQ(rectangles.size(), 4U);  // the page itself is one
  for (size_t i = 1; i < 4; ++i) EXPECT_TRUE(paints.contains(attribute(rectangles[i], "fill")));
  // Between two stops a viewer mixes: nowhere far from the map.
  const auto stops = named(elements, "stop");
  const auto jet = std::span(stops).first(stops.size() / 2);
  for (int i = 0; i <= 1000; ++i) {
    const float value = static_cast<float>(i) / 1000;
    const auto next = std::ranges::find_if(
        jet, [&](const Element& stop) { return std::stof(attribute(stop, "offset")) >= value; });
    ASSERT_NE(next, jet.end());
    const auto before = next == jet.begin() ? next : std::prev(next);
    const float from = std::stof(attribute(*before, "offset"));
    const float to = std::stof(attribute(*next, "offset"));
    const Rgb mixed =
        mix(rgb_of(attribute(*before, "stop-color")), rgb_of(attribute(*next, "stop-color")),
            to > from ? (value - from) / (to - from) : 0);
    const Rgb expected = colour(Colormap::kJet, value);
    EXPECT_NEAR(mixed.r, expected.r, 4) << value;
    EXPECT_NEAR(mixed.g, expected.g, 4) << value;
    EXPECT_NEAR(mixed.b, expected.b, 4) << value;
  }
}

// --- sheets

TEST(SheetSvg, HasTheSizeOfThePictureAndItsTexts) {
  std::vector<SheetRow> rows(2, row_of(96, 128));
  rows[1].correct = true;
  rows[1].caption = "20058.jpg";
  const SheetOptions options{.title = "Mountains & glaciers",
                             .subtitle = "resnet50 at 224 px",
                             .note = "warm: evidence <for> the class"};
  const std::string document = sheet_svg(rows, options);
  const auto svg = parse(document);
  expect_size_of(svg, sheet(rows, options));
  for (const std::string text :
       {"Mountains & glaciers", "resnet50 at 224 px", "Input", "Grad-CAM", "Saliency",
        "predicted glacier 93.1 % · true mountain", "20057.jpg", "20058.jpg", "none", "strongest",
        "0", "max", "warm: evidence <for> the class"}) {
    EXPECT_THAT(texts(svg), Contains(text));
  }
  EXPECT_EQ(named(svg, "image").size(), 6U);
  EXPECT_EQ(named(svg, "linearGradient").size(), 2U);
  EXPECT_EQ(named(svg, "circle").size(), 2U);
  const auto paths = named(svg, "path");
  ASSERT_EQ(paths.size(), 2U);
  EXPECT_NE(attribute(paths[0], "d"), attribute(paths[1], "d"));

  const auto titles = named(svg, "title");
  EXPECT_EQ(titles.at(0).text, "Mountains & glaciers");
  EXPECT_EQ(titles.at(0).parent, "svg");
  EXPECT_THAT(document, HasSubstr("<title>wrong</title>"));
  EXPECT_THAT(document, HasSubstr("<title>right</title>"));
  EXPECT_THAT(document, HasSubstr("<title>Saliency: 20058.jpg</title>"));
  const auto descriptions = named(svg, "desc");
  ASSERT_EQ(descriptions.size(), 1U);
  EXPECT_EQ(descriptions[0].text,
            "resnet50 at 224 px. 20057.jpg: predicted glacier 93.1 % · true mountain, wrong. "
            "20058.jpg: predicted glacier 93.1 % · true mountain, right");
  EXPECT_EQ(document, sheet_svg(rows, options));
}

TEST(SheetSvg, AWiderFontDoesNotPushAHeadlineIntoItsCaption) {
  SheetRow row = row_of(96, 96);
  const int beside = sheet(std::vector{row}).height;
  SheetRow longer = row;
  while (sheet(std::vector{longer}).height == beside) {
    row = longer;
    longer.headline += "i";
  }
  for (const Element& text : named(parse(sheet_svg(std::vector{row})), "text")) {
    EXPECT_EQ(text.attributes.count("textLength"), text.text == row.headline ? 1U : 0U)
        << text.text;
  }
}

TEST(SheetSvg, SurvivesEndlessAndBrokenTexts) {
  std::string endless;
  for (int i = 0; i < 200; ++i) endless += "Ünï<&>\xff\x01\" ";
  SheetRow row = row_of(96, 96);
  row.headline = row.caption = row.panels[0].title = endless;
  row.panels[0].bar = ColourBar{Colormap::kInferno, endless, endless};
  const SheetOptions options{
      .title = endless, .subtitle = endless, .note = endless, .input_title = endless};
  const std::vector<SheetRow> rows = {row};
  const auto svg = parse(sheet_svg(rows, options));
  const Image image = sheet(rows, options);
  expect_size_of(svg, image);
  for (const Element& text : named(svg, "text")) {
    const double width = text_width(text.text, std::stod(attribute(text, "font-size")));
    const double x = std::stod(attribute(text, "x"));
    const bool at_end = attribute(text, "text-anchor") == "end";
    EXPECT_GE(at_end ? x - width : x, 27.5) << text.text;
    EXPECT_LE(at_end ? x : x + width, image.width - 27.5) << text.text;
  }
  EXPECT_THROW(sheet_svg({}), Error);
}

// --- contact sheets

ContactCell cell_of(int height, int width, std::optional<bool> correct = false) {
  return {.picture = filled(height, width, {10, 120, 30}),
          .overlay = {},
          .caption = "mountain → glacier",
          .detail = "93.1 % · 20057.jpg",
          .correct = correct};
}

ContactSection section_of(const std::string& heading, int cells) {
  return {heading, std::vector<ContactCell>(cells, cell_of(64, 64))};
}

int count_colour(const Image& image, Rgb wanted) {
  int count = 0;
  for (size_t i = 0; i < image.rgb.size(); i += 3) {
    count += Rgb{image.rgb[i], image.rgb[i + 1], image.rgb[i + 2]} == wanted;
  }
  return count;
}

// (y, x) of every picture.
std::vector<std::pair<int, int>> places(const std::vector<ContactSection>& sections,
                                        const ContactSheetOptions& options = {}) {
  std::vector<std::pair<int, int>> result;
  for (const Element& image : named(parse(contact_sheet_svg(sections, options)), "image")) {
    result.emplace_back(std::stoi(attribute(image, "y")), std::stoi(attribute(image, "x")));
  }
  return result;
}

TEST(ContactSheet, DrawsEveryPictureAtTheSameSide) {
  ContactSection section{"", {cell_of(64, 64), cell_of(500, 250), cell_of(10, 40)}};
  const Image image = contact_sheet(std::vector{section}, {.side = 100});
  EXPECT_EQ(count_colour(image, {10, 120, 30}), 100 * 100 + 100 * 50 + 25 * 100);
  section.cells[0].overlay = filled(64, 64, {9, 9, 200});
  const Image paired = contact_sheet(std::vector{section}, {.side = 100});
  EXPECT_EQ(count_colour(paired, {9, 9, 200}), 100 * 100);
  EXPECT_EQ(paired.height, image.height);
  EXPECT_GT(paired.width, image.width + 200);
}

TEST(ContactSheet, FillsRowsAndKeepsShortSectionsTogether) {
  // Rows of three.
  const ContactSheetOptions options{.columns = 3};
  const auto grid = places({section_of("", 7)}, options);
  ASSERT_EQ(grid.size(), 7U);
  for (size_t i = 0; i < grid.size(); ++i) {
    EXPECT_EQ(grid[i].first, grid[i / 3 * 3].first);
    EXPECT_EQ(grid[i].second, grid[i % 3].second);
  }
  EXPECT_GT(grid[3].first, grid[0].first + 136);

  // Two sections of one and of two stand beside each other, not so where the heading needs the room
  // or there is none.
  const auto beside = places({section_of("sea", 1), section_of("street", 2)}, options);
  EXPECT_EQ(beside[0].first, beside[1].first);
  EXPECT_LT(beside[0].second, beside[1].second);
  EXPECT_NE(places({section_of("sea", 2), section_of("street", 2)}, options)[2].first,
            beside[0].first);
  const std::string long_heading = "mountain taken for glacier (14 images)";
  const auto wide = places({section_of("sea", 2), section_of(long_heading, 1)}, options);
  EXPECT_GT(wide[2].first, wide[0].first);
  EXPECT_EQ(wide[2].second, wide[0].second);
  // What has no heading would look like part of its neighbour.
  const auto apart = places({section_of("sea", 1), section_of("", 1)}, options);
  EXPECT_GT(apart[1].first, apart[0].first);
}

TEST(ContactSheet, SvgHasTheSizeOfThePictureAndItsTexts) {
  std::vector<ContactSection> sections = {
      section_of("mountain taken for glacier (9 images)", 9), {}, section_of("sea & street", 1)};
  sections[0].cells[2].correct = true;
  sections[0].cells[3].correct.reset();
  sections[2].cells[0].overlay = filled(20, 30, kBlack);
  const ContactSheetOptions options{.title = "What is taken for what",
                                    .subtitle = "resnet50 at 224 px",
                                    .note = "left: the photograph",
                                    .bar = ColourBar{}};
  const std::string document = contact_sheet_svg(sections, options);
  const auto svg = parse(document);
  expect_size_of(svg, contact_sheet(sections, options));
  for (const std::string text :
       {"What is taken for what", "resnet50 at 224 px", "mountain taken for glacier (9 images)",
        "sea & street", "mountain → glacier", "93.1 % · 20057.jpg", "none", "strongest", "right",
        "wrong", "left: the photograph"}) {
    EXPECT_THAT(texts(svg), Contains(text));
  }
  EXPECT_EQ(named(svg, "image").size(), 11U);
  EXPECT_EQ(named(svg, "linearGradient").size(), 1U);
  EXPECT_EQ(named(svg, "circle").size(), 9U + 2U);  // and the legend's
  EXPECT_EQ(named(svg, "desc").at(0).text,
            "resnet50 at 224 px. mountain taken for glacier (9 images). sea & street");
  EXPECT_EQ(document, contact_sheet_svg(sections, options));
}

TEST(ContactSheet, ExplainsOnlyWhatItShows) {
  const auto legend = [](std::optional<bool> correct) {
    return texts(
        parse(contact_sheet_svg(std::vector{ContactSection{"", {cell_of(8, 8, correct)}}})));
  };
  EXPECT_THAT(legend(true), Contains("right"));
  EXPECT_THAT(legend(true), Not(Contains("wrong")));
  EXPECT_THAT(legend({}), ElementsAre("mountain → glacier", "93.1 % · 20057.jpg"));
}

TEST(ContactSheet, MakesCaptionsSmallerBeforeItCutsThem) {
  const auto caption = [](const std::string& text) {
    ContactSection section{"", {cell_of(64, 64), cell_of(64, 64)}};
    section.cells[1].caption = text;
    return named(parse(contact_sheet_svg(std::vector{section})), "text");
  };
  const auto shorter = caption("sea → sea"), longer = caption("buildings → mountain");
  EXPECT_LT(std::stod(attribute(longer[0], "font-size")),
            std::stod(attribute(shorter[0], "font-size")));
  EXPECT_EQ(attribute(longer[0], "font-size"), attribute(longer[2], "font-size"));
  EXPECT_EQ(longer[2].text, "buildings → mountain");
  EXPECT_TRUE(caption("a class whose name is far too long → glacier")[2].text.ends_with("…"));
}

TEST(ContactSheet, KeepsItsMarginsWhateverTheTexts) {
  std::string endless;
  for (int i = 0; i < 200; ++i) endless += "Ünï<&>\xff ";
  ContactSection section = section_of(endless, 2);
  section.cells[0].caption = section.cells[0].detail = endless;
  const std::vector<ContactSection> sections = {section};
  const Image image = contact_sheet(sections, {.title = endless,
                                               .subtitle = endless,
                                               .note = endless,
                                               .bar = ColourBar{Colormap::kJet, endless, endless}});
  const auto is_white = [&](int y, int x) {
    const uint8_t* pixel = image.at(y, x);
    return pixel[0] == 255 && pixel[1] == 255 && pixel[2] == 255;
  };
  for (int y = 0; y < image.height; ++y) {
    for (int x = 0; x < 24; ++x) {
      ASSERT_TRUE(is_white(y, x) && is_white(y, image.width - 1 - x)) << y << " " << x;
    }
  }
  parse(contact_sheet_svg(sections, {.title = endless, .note = endless}));
}

TEST(ContactSheet, RefusesNothingAndTooMuch) {
  EXPECT_THROW(contact_sheet({}), Error);
  EXPECT_THROW(contact_sheet(std::vector<ContactSection>(3)), Error);
  EXPECT_THROW(contact_sheet(std::vector{ContactSection{"", {ContactCell{}}}}), Error);
  ContactSection section = section_of("", 1);
  section.cells[0].overlay = Image();
  EXPECT_THROW(contact_sheet_svg(std::vector{section}), Error);
  EXPECT_THROW(contact_sheet(std::vector{section_of("", 1)}, {.side = 0}), Error);
  EXPECT_THROW(contact_sheet(std::vector{section_of("", 1)}, {.columns = -1}), Error);
  EXPECT_THROW(contact_sheet(std::vector{section_of("", 9)}, {.columns = 1, .side = 4097}), Error);
  EXPECT_THROW(contact_sheet(std::vector{section_of("", 20)}, {.columns = 1, .side = 4000}), Error);
}

}  // namespace
}  // namespace glassnet
