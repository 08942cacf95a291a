// Logs of predictions from other programs, InstanceFlow's JSON and tables, and what is written for
// them: what is read comes back, and what is none is refused in a sentence that says where.
#include "training/history.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "tensor/file.h"
#include "tests/data_support.h"
#include "training/csv.h"
#include "training/evolution_files.h"
#include "training/instanceflow.h"
#include "training/prediction_table.h"

namespace glassnet {
namespace {

using nlohmann::json;
using test::error_of;
using test::TempFolder;
using testing::HasSubstr;

void expect_same(const History& a, const History& b) {
  EXPECT_EQ(a.classes, b.classes);
  EXPECT_EQ(a.images, b.images);
  EXPECT_EQ(a.epoch_names, b.epoch_names);
  EXPECT_EQ(a.predicted, b.predicted);
}

// Names that a careless writer or reader would trip over.
std::vector<std::string> awkward_names() {
  return {"<script>alert(1)</script>",
          "\"quoted\", and 'more'",
          "two\nlines\r\n and a\ttab",
          "back\\slash",
          std::string("\0\x01\x7f", 3),
          "ä 海 🌊",
          std::string(10000, 'x'),
          "",
          ",",
          "\"",
          "=1+1"};
}

History awkward_history() {
  History history{.classes = awkward_names(), .epoch_names = {"0", "</script>", "0"}};
  for (const std::string& name : awkward_names()) {
    history.images.push_back({name, static_cast<int32_t>(history.images.size()), name + ".png"});
  }
  const auto count = static_cast<int32_t>(history.images.size());
  for (int32_t t = 0; t < 3; ++t) {
    for (int32_t i = 0; i < count; ++i) history.predicted.push_back((i * (t + 1)) % count);
  }
  return history;
}

// --- InstanceFlow --------------------------------------------------------------------------------

json good_instanceflow() {
  return json::parse(R"({
    "name": "left alone",
    "labels": ["cat", "dog"],
    "instances": [{"id": "0000", "actual": 1, "image": "a.png", "more": {}},
                  {"id": "0001", "actual": 0, "image": "b.png"}],
    "epochs": [{"id": "0", "classifications": [1, 1]}, {"id": "1", "classifications": [1, 0.0]}]})");
}

TEST(InstanceFlow, IsRead) {
  const History history = parse_instanceflow(good_instanceflow().dump(), "log.json");
  EXPECT_EQ(history.classes, (std::vector<std::string>{"cat", "dog"}));
  EXPECT_EQ(history.images[0], (HistoryImage{"0000", 1, "a.png"}));
  EXPECT_EQ(history.images[1], (HistoryImage{"0001", 0, "b.png"}));
  EXPECT_EQ(history.epoch_names, (std::vector<std::string>{"0", "1"}));
  EXPECT_EQ(history.predicted, (std::vector<int32_t>{1, 1, 1, 0}));
  EXPECT_TRUE(history.loss.empty());
  EXPECT_TRUE(history.true_probability.empty());
}

TEST(InstanceFlow, ComesBackAsItWasWritten) {
  const TempFolder folder;
  const History history = awkward_history();
  save_instanceflow(folder / "log.json", history);
  expect_same(read_history(folder / "log.json"), history);
  save_instanceflow(folder / "log.json", history, {2, 2});
  const History part = read_history(folder / "log.json");
  EXPECT_EQ(part.epoch_names, std::vector<std::string>{"</script>"});
  EXPECT_EQ(part.predicted, std::vector<int32_t>(history.row(2), history.row(3)));
}

TEST(InstanceFlow, TakesBytesThatAreNoUtf8ForWhatABrowserShows) {
  const TempFolder folder;
  std::string text = good_instanceflow().dump();
  text.replace(text.find("\"cat\"") + 1, 3, "c\xff\xc3(");
  EXPECT_EQ(parse_instanceflow(text, "log.json").classes[0], "c\uFFFD\uFFFD(");
  History history = parse_instanceflow(good_instanceflow().dump(), "log.json");
  history.images[0].id = "\xfe.jpg";
  save_instanceflow(folder / "log.json", history);
  EXPECT_EQ(read_history(folder / "log.json").images[0].id, "\uFFFD.jpg");
  history.classes = {"\xff", "\xfe"};  // become equal, which the format does not allow
  EXPECT_THAT(error_of([&] { save_instanceflow(folder / "other.json", history); }),
              HasSubstr("no two equal labels"));
  EXPECT_FALSE(std::filesystem::exists(folder / "other.json"));
}

TEST(InstanceFlow, SaysWhatIsWrongAndWhere) {
  const auto refusal = [](auto&& change) {
    json log = good_instanceflow();
    change(log);
    return error_of([&] { parse_instanceflow(log.dump(), "log.json"); });
  };
  EXPECT_EQ(refusal([](json& log) { log = json::array(); }),
            "log.json: expected an object, got a list");
  EXPECT_EQ(refusal([](json& log) { log.erase("labels"); }),
            "log.json: expected an object with the key \"labels\"");
  EXPECT_EQ(refusal([](json& log) { log["labels"] = "cat"; }),
            "log.json: labels: expected a list, got \"cat\"");
  EXPECT_EQ(refusal([](json& log) { log["labels"] = json::array(); }),
            "log.json: labels: expected a list that is not empty");
  EXPECT_EQ(refusal([](json& log) { log["labels"][1] = 7; }),
            "log.json: labels[1]: expected a string, got 7");
  EXPECT_EQ(refusal([](json& log) { log["labels"][1] = "cat"; }),
            "log.json: labels[1]: expected another label than labels[0], got \"cat\"");
  EXPECT_EQ(refusal([](json& log) { log["labels"] = json(70000, "x"); }),
            "log.json: labels: expected at most 65536 labels, got 70000");
  EXPECT_EQ(refusal([](json& log) { log["instances"] = json::object(); }),
            "log.json: instances: expected a list, got an object");
  EXPECT_EQ(refusal([](json& log) { log["instances"][1] = nullptr; }),
            "log.json: instances[1]: expected an object, got null");
  EXPECT_EQ(refusal([](json& log) { log["instances"][1].erase("image"); }),
            "log.json: instances[1]: expected an object with the key \"image\"");
  EXPECT_EQ(refusal([](json& log) { log["instances"][1]["id"] = 1; }),
            "log.json: instances[1].id: expected a string, got 1");
  EXPECT_EQ(refusal([](json& log) { log["instances"][1] = log["instances"][0]; }),
            "log.json: instances[1]: expected another instance than instances[0]");
  for (const json& actual : {json(2), json(-1), json(0.5), json("1"), json(1e300), json(true),
                             json(18446744073709551615ULL), json::array()}) {
    EXPECT_THAT(refusal([&](json& log) { log["instances"][1]["actual"] = actual; }),
                HasSubstr("log.json: instances[1].actual: expected a class from 0 to 1, got "));
    EXPECT_THAT(
        refusal([&](json& log) { log["epochs"][1]["classifications"][0] = actual; }),
        HasSubstr("log.json: epochs[1].classifications[0]: expected a class from 0 to 1, got "));
  }
  EXPECT_EQ(refusal([](json& log) { log["epochs"] = json::array(); }),
            "log.json: epochs: expected a list that is not empty");
  EXPECT_EQ(
      refusal([](json& log) { log["epochs"][0]["classifications"].push_back(0); }),
      "log.json: epochs[0].classifications: expected 2 classes, one for each instance, got 3");
  EXPECT_EQ(refusal([](json& log) { log["epochs"][1] = log["epochs"][0]; }),
            "log.json: epochs[1]: expected another epoch than epochs[0]");
  EXPECT_EQ(refusal([](json& log) { log["epochs"][1]["id"] = "0"; }), "")
      << "two epochs may have a name in common";
}

TEST(InstanceFlow, HostileTextIsRefusedInASentence) {
  const std::string good = good_instanceflow().dump();
  for (size_t size = 0; size < good.size(); ++size) {
    EXPECT_THAT(error_of([&] { parse_instanceflow(good.substr(0, size), "log.json"); }),
                HasSubstr("log.json: is no JSON, from byte "));
  }
  const std::string nested(1 << 20, '[');
  EXPECT_THAT(error_of([&] { parse_instanceflow(nested, "log.json"); }), HasSubstr("is no JSON"));
  const std::string closed = nested + std::string(1 << 20, ']');
  EXPECT_THAT(error_of([&] { parse_instanceflow(closed, "log.json"); }),
              HasSubstr("expected an object, got a list"));
  const std::string loud = error_of([&] {
    parse_instanceflow(R"({"labels": ")" + std::string(100000, '\x1b') + "\"}", "log.json");
  });
  EXPECT_LT(loud.size(), 200U);
  EXPECT_EQ(loud.find('\x1b'), std::string::npos);
  EXPECT_LT(error_of([] {
              parse_instanceflow(R"({"labels": ")" + std::string(100000, 'x') + "\"}", "log.json");
            }).size(),
            200U);
}

// --- tables --------------------------------------------------------------------------------------

TEST(PredictionTable, IsReadWithNamesAndWithIndices) {
  const History expected{.classes = {"forest", "sea"},
                         .images = {{"1.jpg", 1, "1.jpg"}, {"2.jpg", 0, "2.jpg"}},
                         .epoch_names = {"1", "2", "3"},
                         .predicted = {1, 1, 0, 0, 1, 1}};
  expect_same(parse_prediction_table("image,true class,1,2,3\n"
                                     "1.jpg,sea,sea,forest,sea\n"
                                     "2.jpg,forest,sea,forest,sea\n",
                                     "log.csv"),
              expected);
  // Without header, without last line end, with empty lines and the line ends of Windows.
  expect_same(parse_prediction_table("\xEF\xBB\xBF"
                                     "1.jpg,sea,sea,forest,sea\r\n\r\n"
                                     "\"2.jpg\",\"forest\",sea,forest,sea",
                                     "log.csv"),
              expected);
  const std::string indices = "1.jpg,1,1,0,1\n2.jpg,0,1,0,1\n";
  History by_index = expected;
  by_index.classes = {"0", "1"};
  expect_same(parse_prediction_table(indices, "log.csv"), by_index);
  for (const char* header :
       {"id,Label,1,2,3\n", "x,TRUE_CLASS,1,2,3\n", "\"x\",actual,1,2,3\r\n"}) {
    expect_same(parse_prediction_table(header + indices, "log.csv"), by_index);
  }
  const History named = parse_prediction_table("image,class,0,10,\"best, 20\"\n" + indices, "x");
  EXPECT_EQ(named.epoch_names, (std::vector<std::string>{"0", "10", "best, 20"}));
  EXPECT_EQ(parse_prediction_table("a,3,1\n", "log.csv").classes.size(), 4U)
      << "classes that never occur";
  const TempFolder folder;
  expect_same(read_history(folder.write("log.CSV", indices)), by_index);
}

TEST(PredictionTable, KeepsAnyBytesOfANameInQuotes) {
  std::vector<std::string> names = awkward_names();
  names.emplace_back("\xff\xfe");
  std::erase(names, "");
  std::string table = "image,true class,1\n";
  for (const std::string& name : names) {
    table += fmt::format("{0},{0},{1}\n", csv_cell(name), csv_cell(names[0]));
  }
  const History history = parse_prediction_table(table, "log.csv");
  ASSERT_EQ(history.images.size(), names.size());
  for (size_t i = 0; i < names.size(); ++i) {
    EXPECT_EQ(history.images[i].id, names[i]);
    EXPECT_EQ(history.classes[static_cast<size_t>(history.images[i].true_class)], names[i]);
    EXPECT_EQ(history.classes[static_cast<size_t>(history.predicted[i])], names[0]);
  }
  EXPECT_TRUE(std::is_sorted(history.classes.begin(), history.classes.end()));
}

TEST(PredictionTable, SaysWhatIsWrongAndWhere) {
  const auto refusal = [](const std::string& text) {
    return error_of([&] { parse_prediction_table(text, "log.csv"); });
  };
  EXPECT_EQ(refusal(""), "log.csv: holds no image");
  EXPECT_EQ(refusal("\n\n\r\n"), "log.csv: holds no image");
  EXPECT_EQ(refusal("image,true class,1,2\n"), "log.csv: holds no image");
  EXPECT_EQ(refusal("\na;1;1;0\n"),
            "log.csv: line 2: expected an image, its true class and its predicted class in each "
            "epoch, separated by commas");
  EXPECT_EQ(refusal("\"two\nlines\",1,1,0\nb,1,1\n"),
            "log.csv: line 3: expected 4 cells as in the first line, got 3");
  EXPECT_EQ(refusal("a,1,1,0\nb,1,,1\n"), "log.csv: line 2: cell 3 is empty, expected a class");
  EXPECT_EQ(refusal("a,1,1\nb,,1\n"), "log.csv: line 2: cell 2 is empty, expected a class");
  EXPECT_EQ(refusal("a,1,1\n\"b,1,1\nc,1,1\n"), "log.csv: line 2: a quote is never closed");
  EXPECT_EQ(refusal("a,1,1\n\"b\"c,1,1\n"),
            "log.csv: line 2: expected a comma or the line's end after a closing quote");
  EXPECT_EQ(refusal("a,1,4000000000\n"), "log.csv: expected classes below 65536, got 4000000000");
  EXPECT_EQ(refusal("picture,y,e1\na.jpg,sea,sea\n"),
            "log.csv: line 1: no other class in the file is that of its second cell; call the cell "
            "'true class' if this is a header, else put a header above it");
  std::string many = "a,x";
  for (int64_t i = 0; i < kMostClasses; ++i) many += fmt::format(",c{}", i);
  EXPECT_EQ(refusal(many), "log.csv: line 1: expected at most 65536 classes in the file");
}

// --- what is written -----------------------------------------------------------------------------

TEST(EvolutionFiles, HoldEveryDigit) {
  const TempFolder folder;
  History history = awkward_history();
  history.loss = {1.0 / 3, std::nan(""), 2};
  history.images[0].id = "\xff";
  for (size_t i = 0; i < history.predicted.size(); ++i) {
    history.true_probability.push_back(1.0F / static_cast<float>(i + 1));
  }
  const Evolution evolution = evolve(history);
  save_evolution_json(folder / "metrics.json", history, evolution);
  const json metrics = json::parse(read_file(folder / "metrics.json"));
  EXPECT_EQ(metrics["window"], json({{"first", 1}, {"last", 3}}));
  EXPECT_EQ(metrics["classes"].get<std::vector<std::string>>(), history.classes);
  ASSERT_EQ(metrics["epochs"].size(), 3U);
  EXPECT_EQ(metrics["epochs"][0]["loss"], 1.0 / 3);
  EXPECT_TRUE(metrics["epochs"][1]["loss"].is_null());
  EXPECT_TRUE(metrics["epochs"][0]["flux"].is_null());
  EXPECT_EQ(metrics["epochs"][1]["flux"], *evolution.epochs[1].flux);
  EXPECT_EQ(metrics["epochs"][1]["name"], "</script>");
  EXPECT_EQ(metrics["images"][0]["id"], "\uFFFD");

  save_evolution_csv(folder / "images.csv", history, evolution);
  const std::string text = read_file(folder / "images.csv"), name = "images.csv";
  CsvReader reader(text, name);
  std::vector<std::string> header, cells;
  ASSERT_TRUE(reader.next(header));
  for (size_t i = 0; i < history.images.size(); ++i) {
    ASSERT_TRUE(reader.next(cells));
    ASSERT_EQ(cells.size(), header.size());
    const ImageEvolution& of = evolution.images[i];
    const json& image = metrics["images"][i];
    EXPECT_EQ(cells[0], history.images[i].id) << "not byte for byte";
    EXPECT_EQ(cells[1], history.classes[i]);
    EXPECT_EQ(image["true_class"], static_cast<int>(i));
    EXPECT_EQ(image["frequency"], of.frequency);
    EXPECT_EQ(image["variability"], of.variability);
    EXPECT_EQ(image["misclassification_rate"], of.misclassification_rate);
    EXPECT_EQ(image["confidence"], *of.confidence);
    for (size_t column = 3; column < header.size(); ++column) {
      const json& value = image[header[column]];
      EXPECT_EQ(cells[column], value.is_null() ? "" : fmt::format("{}", value.get<double>()))
          << header[column];
    }
  }
  EXPECT_FALSE(reader.next(cells));
}

TEST(EvolutionFiles, AClassWithoutImagesHasNoMeans) {
  const TempFolder folder;
  const History history = parse_prediction_table("a,2,1\nb,1,1\n", "log.csv");
  save_evolution_json(folder / "metrics.json", history, evolve(history));
  const json metrics = json::parse(read_file(folder / "metrics.json"));
  EXPECT_TRUE(metrics["class_means"][0]["frequency"].is_null());
  EXPECT_EQ(metrics["class_means"][0]["images"], 0);
  EXPECT_EQ(metrics["class_means"][1]["frequency"], 0);
  EXPECT_EQ(metrics["epochs"][0]["confusion"], json::parse("[[1, 1, 1], [2, 1, 1]]"));
}

}  // namespace
}  // namespace glassnet
