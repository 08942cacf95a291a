// The Confusion Evolution page as a file: what is in it, that names cannot leave their place, how
// large it gets, what is refused. How it behaves is tested in a browser, by tests/web/run.
#include "report/evolution_page.h"

#include <functional>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "data/image.h"
#include "report/base64.h"
#include "tests/data_support.h"

namespace glassnet {
namespace {

using nlohmann::json;
using test::error_of;
using testing::HasSubstr;

EvolutionRun small_run() {
  return {.name = "seed 0",
          .classes = {"forest", "sea", "street"},
          .split = "validation",
          .images = {{"forest/1.jpg", 0}, {"sea/2.jpg", 1}},
          .first_epoch = 5,
          .epochs = 3,
          .predicted = {1, 1, 0, 1, 0, 2}};
}

std::string page_of(EvolutionRun run) {
  EvolutionPageData data;
  data.runs.push_back(std::move(run));
  return evolution_page(data);
}

size_t count(std::string_view text, std::string_view part) {
  size_t found = 0;
  for (size_t at = text.find(part); at != std::string_view::npos; at = text.find(part, at + 1)) {
    ++found;
  }
  return found;
}

constexpr std::string_view kDataBegins = R"(<script type="application/json" id="data">)";

json data_of(const std::string& page) {
  const size_t begin = page.find(kDataBegins) + kDataBegins.size();
  return json::parse(page.substr(begin, page.find("</script>", begin) - begin));
}

class EvolutionPage : public testing::Test {
 protected:
  void SetUp() override {
    const std::string error = error_of([] { page_of(small_run()); });
    if (error.empty()) return;
    EXPECT_THAT(error, HasSubstr("install Debian's packages esbuild and node-d3"));
    GTEST_SKIP() << error;
  }
};

TEST(Base64, IsThatOfRfc4648) {
  const std::vector<std::pair<std::string, std::string>> pairs = {{"", ""},
                                                                  {"f", "Zg=="},
                                                                  {"fo", "Zm8="},
                                                                  {"foo", "Zm9v"},
                                                                  {"foob", "Zm9vYg=="},
                                                                  {"fooba", "Zm9vYmE="},
                                                                  {"foobar", "Zm9vYmFy"},
                                                                  {"\xff\xfe\xfb", "//77"}};
  for (const auto& [bytes, text] : pairs) EXPECT_EQ(base64(bytes), text);
}

TEST_F(EvolutionPage, HoldsEachRunInTheOrderOfItsImages) {
  EvolutionRun run = small_run();
  constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
  run.probability = {0, 1, 0.5F, kNaN, 2, 0.25F};
  run.test_loss = {1.5, std::numeric_limits<double>::quiet_NaN(), 0.25};
  run.thumbnails = {encode_png(test::noise_image(3, 3, 1), "thumbnail"), ""};
  const json data = data_of(evolution_page({.title = "Two runs", .runs = {run, small_run()}}));
  EXPECT_EQ(data["title"], "Two runs");
  ASSERT_EQ(data["runs"].size(), 2U);
  const json& first = data["runs"][0];
  EXPECT_EQ(first["name"], "seed 0");
  EXPECT_EQ(first["split"], "validation");
  EXPECT_EQ(first["classes"], json({"forest", "sea", "street"}));
  EXPECT_EQ(first["ids"], json({"forest/1.jpg", "sea/2.jpg"}));
  EXPECT_EQ(first["firstEpoch"], 5);
  EXPECT_EQ(first["epochs"], 3);
  const auto bytes = [](std::string_view values) {
    return json{{"bytes", 1}, {"data", base64(values)}};
  };
  using namespace std::string_view_literals;
  EXPECT_EQ(first["truth"], bytes("\0\1"sv));
  EXPECT_EQ(first["predicted"], bytes("\1\0\0\1\1\2"sv));
  // In steps of 1/254, the largest byte for not known.
  EXPECT_EQ(first["probability"], bytes("\0\x7f\xfe\xfe\xff\x40"sv));
  EXPECT_EQ(first["testLoss"], json({1.5, nullptr, 0.25}));
  EXPECT_THAT(first["thumbnails"][0].get<std::string>(),
              testing::StartsWith("data:image/png;base64,iVBOR"));
  EXPECT_EQ(first["thumbnails"][1], "");
  for (const char* unknown :
       {"probability", "trueProbability", "testLoss", "trainLoss", "trainAccuracy", "thumbnails"}) {
    EXPECT_FALSE(data["runs"][1].contains(unknown)) << unknown;
  }
}

TEST_F(EvolutionPage, TakesTwoBytesAboveAByteOfClasses) {
  EvolutionRun run = small_run();
  run.classes.assign(256, "class");
  EXPECT_EQ(data_of(page_of(run))["runs"][0]["predicted"]["bytes"], 1);
  run.classes.emplace_back("one more");
  run.predicted[0] = 256;
  const json predicted = data_of(page_of(run))["runs"][0]["predicted"];
  EXPECT_EQ(predicted["bytes"], 2);
  EXPECT_EQ(predicted["data"], base64({"\0\1\0\0\0\0\1\0\1\0\2\0", 12}));
}

TEST_F(EvolutionPage, LoadsNothingAndCarriesItsLicences) {
  const std::string page = page_of(small_run());
  EXPECT_THAT(page, testing::StartsWith("<!DOCTYPE html>"));
  EXPECT_THAT(page, HasSubstr("Content-Security-Policy\" content=\"default-src 'none';"));
  for (const char* loading : {" src=\"", "@import", "url(", "<link"}) {
    EXPECT_EQ(count(page, loading), 0U) << loading;
  }
  EXPECT_THAT(page, HasSubstr("Copyright 2010-2020 Mike Bostock"));
  EXPECT_EQ(page, page_of(small_run()));
}

TEST_F(EvolutionPage, NamesCannotLeaveTheirPlace) {
  const std::vector<std::string> names = {
      "</script><script>alert(1)</script>",
      "<!--<script>",
      "]]>",
      "\"',\\",
      "@data@ @script@",
      "line\u2028and\u2029paragraph",
      "\u202Eright to left",
      std::string("\0\x01\n\x7f", 4),
      std::string(10000, '<'),
  };
  const std::string innocent = page_of(small_run());
  for (const std::string& name : names) {
    EvolutionRun run = small_run();
    run.name = run.split = name;
    run.classes.assign(3, name);
    for (LoggedImage& image : run.images) image.id = name;
    const std::string page = evolution_page({.title = name, .runs = {run}});
    for (const char* tag : {"<script", "</script", "<!--", "</title"}) {
      EXPECT_EQ(count(page, tag), count(innocent, tag)) << tag << " by " << name.substr(0, 40);
    }
    const json data = data_of(page);
    EXPECT_EQ(data["title"], name);
    EXPECT_EQ(data["runs"][0]["name"], name);
    EXPECT_EQ(data["runs"][0]["classes"][2], name);
    EXPECT_EQ(data["runs"][0]["ids"][1], name);
  }
}

TEST_F(EvolutionPage, RepairsInvalidUtf8) {
  EvolutionRun run = small_run();
  run.classes[1] = "a\xff\xc0\xaf\xed\xa0\x80z";
  EXPECT_EQ(data_of(page_of(run))["runs"][0]["classes"][1],
            "a\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFDz");
}

TEST_F(EvolutionPage, StaysBelow30MegabytesFor50000ImagesOver100Epochs) {
  EvolutionRun run;
  constexpr int64_t kImages = 50000, kEpochs = 100, kClasses = 1000;
  run.epochs = kEpochs;
  for (int64_t c = 0; c < kClasses; ++c) run.classes.push_back("class " + std::to_string(c));
  for (int64_t i = 0; i < kImages; ++i) {
    run.images.push_back({"n01440764/ILSVRC2012_val_" + std::to_string(i) + ".JPEG", i % kClasses});
  }
  run.predicted.assign(kImages * kEpochs, 999);
  run.probability.assign(kImages * kEpochs, 0.5F);
  run.true_probability = run.probability;
  EXPECT_LT(page_of(run).size(), 30'000'000U);
  run.classes.resize(10);
  for (LoggedImage& image : run.images) image.true_class %= 10;
  run.predicted.assign(kImages * kEpochs, 9);
  EXPECT_LT(page_of(run).size(), 23'000'000U);
}

TEST_F(EvolutionPage, SaysWhatDoesNotFit) {
  const std::vector<std::pair<std::function<void(EvolutionRun&)>, std::string>> cases = {
      {[](auto& run) { run.images.clear(); }, "at least an image and an epoch"},
      {[](auto& run) { run.epochs = 0; }, "at least an image and an epoch"},
      {[](auto& run) { run.epochs = -1; }, "at least an image and an epoch"},
      {[](auto& run) { run.predicted.pop_back(); }, "a prediction for each image and epoch"},
      {[](auto& run) { run.predicted[3] = 3; }, "predictions that are classes"},
      {[](auto& run) { run.predicted[3] = -1; }, "predictions that are classes"},
      {[](auto& run) { run.images[1].true_class = 3; }, "true classes that are classes"},
      {[](auto& run) { run.probability = {0.5F}; }, "a probability for each prediction"},
      {[](auto& run) { run.train_loss = {0.5}; }, "a loss and an accuracy for each epoch"},
      {[](auto& run) { run.thumbnails = {""}; }, "a thumbnail for each image"},
      {[](auto& run) {
         run.thumbnails = {"GIF89a", ""};
       },
       "neither JPEG nor PNG"},
  };
  for (const auto& [spoil, expected] : cases) {
    EvolutionRun run = small_run();
    spoil(run);
    const std::string error = error_of([&] { page_of(run); });
    EXPECT_THAT(error, testing::StartsWith("[evolution_page] "));
    EXPECT_THAT(error, HasSubstr(expected));
  }
  EXPECT_THAT(error_of([] { evolution_page({}); }), HasSubstr("at least one run"));
}

}  // namespace
}  // namespace glassnet
