// The program as a user meets it: commands on small data, and one clear sentence for bad input.
#include <dlfcn.h>
#include <sys/auxv.h>
#include <sys/wait.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <limits>
#include <map>
#include <set>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "cli/command.h"
#include "cli/run_explanations.h"
#include "data/jpeg_decoder.h"
#include "report/draw.h"
#include "tensor/math.h"
#include "tensor/npy.h"
#include "tensor/utf8.h"
#include "tests/data_support.h"

namespace glassnet {
namespace {

namespace fs = std::filesystem;
using test::TempFolder;
using testing::HasSubstr;

struct Outcome {
  int code = -1;
  std::string out, err;
};

std::string contents(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// A trained network and the scenes it was trained on, made once for all tests.
class CommandLine : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = new TempFolder;
    ASSERT_EQ(run("scenes {}/scenes --train 6 --test 2 --size 48").code, 0);
    const Outcome trained =
        run("train {0}/scenes --model resnet18 --image-size 32 --epochs 2 --batch-size 12 "
            "--keep-epochs all --precision fp32 --out {0}/run");
    ASSERT_EQ(trained.code, 0) << trained.err;
  }
  static void TearDownTestSuite() {
    delete folder_;
    folder_ = nullptr;
  }

  // `{0}` in the arguments stands for the tests' folder.
  static Outcome run(const std::string& arguments, const std::string& before = "") {
    const std::string folder = folder_->path().string();
    const std::string out = folder + "/stdout", err = folder + "/stderr";
    const std::string command =
        fmt::format("{} '{}' {} >'{}' 2>'{}' </dev/null", before, GLASSNET_PROGRAM,
                    fmt::format(fmt::runtime(arguments), folder), out, err);
    const int status = std::system(("bash -c \"" + command + "\"").c_str());
    return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, contents(out), contents(err)};
  }

  // Refused with `code`, and one line that says `what`.
  static void refuses(const std::string& arguments, int code, const std::string& what) {
    const Outcome outcome = run(arguments);
    EXPECT_EQ(outcome.code, code) << arguments << "\n" << outcome.err;
    EXPECT_THAT(outcome.err, HasSubstr(what)) << arguments;
    EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1) << arguments << "\n"
                                                                           << outcome.err;
  }

  static fs::path path(const std::string& name) { return *folder_ / name; }
  static size_t files_below(const fs::path& folder) {
    if (!fs::exists(folder)) return 0;
    return static_cast<size_t>(std::distance(fs::recursive_directory_iterator(folder),
                                             fs::recursive_directory_iterator()));
  }

  static inline TempFolder* folder_ = nullptr;
};

TEST_F(CommandLine, EveryCommandHasHelpWithAnExample) {
  for (const char* command : {"train", "predict", "evaluate", "evolve", "watch", "explain",
                              "report", "trust", "scenes", "summary", "profile", "devices", "demo",
                              "weights", "weights inspect", "weights convert", "weights diff"}) {
    const Outcome outcome = run(std::string(command) + " --help");
    EXPECT_EQ(outcome.code, 0) << command;
    EXPECT_THAT(outcome.out, HasSubstr("Example")) << command;
  }
  EXPECT_THAT(run("--version").out, testing::StartsWith("glassnet "));
}

TEST_F(CommandLine, KeepsTheNormalisationItWasTrainedWith) {
  ASSERT_EQ(run("train {0}/scenes --image-size 32 --epochs 1 --batch-size 12 --mean 0.5,0.4,0.3 "
                "--std 0.25,0.25,0.25 --precision fp32 --out {0}/normalised")
                .code,
            0);
  const auto config = nlohmann::json::parse(contents(path("normalised/config.json")));
  EXPECT_EQ(config["mean"], (std::vector<float>{0.5F, 0.4F, 0.3F}));
  const std::string weights = contents(path("normalised/best.safetensors"));
  EXPECT_NE(weights.find("[0.25, 0.25, 0.25]"), std::string::npos);
  const Outcome outcome = run("evaluate {0}/normalised {0}/scenes --json");
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const auto epoch = nlohmann::json::parse(contents(path("normalised/metrics.jsonl")));
  EXPECT_NEAR(nlohmann::json::parse(outcome.out)["loss"].get<double>(),
              epoch["test_loss"].get<double>(), 1e-6 * epoch["test_loss"].get<double>());
}

TEST_F(CommandLine, DecodesAsTheNetworkWasTrained) {
  ASSERT_EQ(run("train {0}/scenes --model resnet18 --image-size 32 --epochs 1 --batch-size 12 "
                "--decoder stb --winograd --out {0}/stb")
                .code,
            0);
  EXPECT_EQ(nlohmann::json::parse(contents(path("stb/config.json")))["winograd"], true);
  EXPECT_EQ(nlohmann::json::parse(contents(path("stb/config.json")))["decoder"], "stb");
  const std::string usual = name_of(parse_jpeg_decoder("auto"));
  EXPECT_EQ(nlohmann::json::parse(contents(path("run/config.json")))["decoder"], usual);

  const std::string told = "and were by stb when the network was trained";
  const Outcome followed = run(
      "explain {0}/stb {0}/scenes/test/sea/00001.jpg --trust none --save json --out {0}/by-stb");
  EXPECT_EQ(followed.code, 0) << followed.err;
  EXPECT_THAT(followed.err, testing::Not(HasSubstr(told)));
  const auto record = nlohmann::json::parse(contents(path("by-stb/00001.gradcam.json")));
  EXPECT_EQ(record["decoder"], "stb");
  if (has_turbo()) {
    const Outcome other = run("evaluate {0}/stb {0}/scenes --decoder turbo");
    EXPECT_EQ(other.code, 0) << other.err;
    EXPECT_THAT(other.err, HasSubstr("JPEGs are decoded by turbo, " + told));
  } else {
    refuses("evaluate {0}/stb {0}/scenes --decoder turbo", 2, "without libjpeg-turbo");
  }
  refuses("predict {0}/run {0}/scenes/test/sea --decoder fast", 2, "choose auto, turbo or stb");
}

TEST_F(CommandLine, AnswersInBFloat16NearlyAsInFloat32) {
  const auto probabilities = [](const std::string& precision) {
    const Outcome outcome =
        run("predict {0}/run {0}/scenes/test/sea/00001.jpg --device cpu --json " + precision);
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    return nlohmann::json::parse(outcome.out)[0]["probabilities"]
        .get<std::map<std::string, double>>();
  };
  const auto wide = probabilities(""), narrow = probabilities("--precision bf16");
  EXPECT_NE(narrow, wide);
  for (const auto& [name, probability] : wide) EXPECT_NEAR(narrow.at(name), probability, 0.05);

  const auto loss = [](const std::string& precision) {
    const Outcome outcome = run("evaluate {0}/run {0}/scenes --device cpu --json " + precision);
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    return nlohmann::json::parse(outcome.out)["loss"].get<double>();
  };
  const double exact = loss("--precision fp32");
  EXPECT_NEAR(loss("--precision bf16"), exact, 0.02 * exact);
  for (const std::string command :
       {"predict {0}/run {0}/scenes/test/sea", "evaluate {0}/run {0}/scenes"}) {
    refuses(command + " --device cpu --precision fp16", 2, "--precision fp16 needs a GPU");
  }
}

TEST_F(CommandLine, TakesNoNanForAnAnswer) {
  // The last class's bias alone: every probability is NaN then.
  std::string bytes = contents(path("run/best.safetensors"));
  uint64_t header = 0;
  std::memcpy(&header, bytes.data(), sizeof header);
  const auto tensors = nlohmann::json::parse(bytes.substr(8, header));
  const auto end = tensors["fc.bias"]["data_offsets"][1].get<uint64_t>();
  const float nan = std::numeric_limits<float>::quiet_NaN();
  std::memcpy(bytes.data() + 8 + header + end - sizeof nan, &nan, sizeof nan);
  std::ofstream(path("nan.safetensors"), std::ios::binary) << bytes;

  const std::string what = "sea/00001.jpg: the network's answers are not all numbers; its weights";
  const std::string picture = "{0}/nan.safetensors {0}/scenes/test/sea/00001.jpg ";
  refuses("predict " + picture, 1, what);
  EXPECT_EQ(run("predict " + picture).out, "");
  refuses("explain --method gradcam --out {0}/nan " + picture, 1, what);
  const Outcome evaluated = run("evaluate {0}/nan.safetensors {0}/scenes");
  EXPECT_EQ(evaluated.code, 1);
  EXPECT_THAT(evaluated.err, HasSubstr("answers are not all numbers"));
  EXPECT_EQ(evaluated.out, "");
}

TEST_F(CommandLine, PredictsWithProbabilitiesThatSumToOne) {
  const Outcome outcome = run("predict {0}/run {0}/scenes/test/sea --json");
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const auto list = nlohmann::json::parse(outcome.out);
  ASSERT_EQ(list.size(), 2u);
  for (const auto& entry : list) {
    double sum = 0, highest = 0;
    std::string best;
    for (const auto& [name, share] : entry["probabilities"].items()) {
      sum += share.get<double>();
      if (share.get<double>() > highest) {
        highest = share;
        best = name;
      }
    }
    EXPECT_NEAR(sum, 1, 1e-5);
    EXPECT_EQ(entry["predicted"], best);
    EXPECT_EQ(entry["logits"].size(), 6u);
  }
  EXPECT_THAT(run("predict {0}/run {0}/scenes/test/sea").out, HasSubstr("00001.jpg"));
}

TEST_F(CommandLine, EvaluatesAsTheRunRecorded) {
  const Outcome outcome = run("evaluate {0}/run {0}/scenes --json");
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const auto result = nlohmann::json::parse(outcome.out);
  EXPECT_EQ(result["images"], 12);
  // The best epoch's line in the run's log says the same.
  double best = -1, best_loss = 0;
  std::ifstream lines(path("run/metrics.jsonl"));
  for (std::string line; std::getline(lines, line);) {
    const auto epoch = nlohmann::json::parse(line);
    const double accuracy = epoch["test_accuracy"], loss = epoch["test_loss"];
    if (accuracy > best || (accuracy == best && loss < best_loss)) {
      best = accuracy;
      best_loss = loss;
    }
  }
  EXPECT_EQ(result["accuracy"].get<double>(), best);
  EXPECT_NEAR(result["loss"].get<double>(), best_loss, 1e-6);
  int total = 0;
  for (const auto& row : result["confusion_matrix"]) {
    for (const auto& count : row) total += count.get<int>();
  }
  EXPECT_EQ(total, 12);
  EXPECT_THAT(run("evaluate {0}/run {0}/scenes").out, HasSubstr("precision"));
  EXPECT_THAT(run("evaluate {0}/run {0}/scenes --split train").out, HasSubstr("of 36 images"));
  refuses("evaluate {0}/run {0}/scenes --split validation", 2, "--split");
}

TEST_F(CommandLine, ExplainsIntoFilesThatNeverCollide) {
  // Two pictures of one name in folders of different names, and one in a folder of the same name.
  fs::create_directories(path("a/sea"));
  fs::create_directories(path("b/sea"));
  fs::create_directories(path("b/forest"));
  const auto picture = path("scenes/test/sea/00001.jpg");
  for (const char* copy : {"a/sea/x.jpg", "b/sea/x.jpg", "b/forest/x.jpg"}) {
    fs::copy_file(picture, path(copy), fs::copy_options::overwrite_existing);
  }
  const Outcome outcome =
      run("explain {0}/run {0}/a/sea/x.jpg {0}/b/sea/x.jpg {0}/b/forest/x.jpg --save png,npy,json "
          "--trust none --out {0}/maps --json");
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  for (const char* stem : {"sea-x", "sea-x-2", "forest-x"}) {
    for (const char* method : {"gradcam", "saliency"}) {
      const std::string name = fmt::format("maps/{}.{}", stem, method);
      EXPECT_TRUE(fs::exists(path(name + ".png"))) << name;
      const Tensor map = load_npy(path(name + ".npy"));
      EXPECT_EQ(map.shape(), (Shape{32, 32}));
      EXPECT_EQ(map.dtype(), DType::kFloat32);
      const auto record = nlohmann::json::parse(contents(path(name + ".json")));
      EXPECT_EQ(record["method"], method);
      EXPECT_EQ(record["map"][31][7].get<float>(), map.to_vector<float>()[31 * 32 + 7]);
    }
  }
  EXPECT_TRUE(fs::exists(path("maps/sheet.png")));
  const auto list = nlohmann::json::parse(outcome.out);
  EXPECT_EQ(list.size(), 3u);
  EXPECT_EQ(list[0]["true_class"], "sea");
}

TEST_F(CommandLine, ExplainsByLimeAndSaysHowFarItCanBeTrusted) {
  const std::string ask =
      "explain {0}/run {0}/scenes/test/sea/00001.jpg --method lime,gradcam --superpixels grid:2 "
      "--samples auto --trust all --save png,npy,json --out {0}/";
  const Outcome first = run(ask + "lime");
  ASSERT_EQ(first.code, 0) << first.err;
  EXPECT_THAT(first.out, HasSubstr("of 4 superpixels  every mask, 16"));
  EXPECT_THAT(first.out, HasSubstr("(random "));

  const auto record = nlohmann::json::parse(contents(path("lime/00001.lime.json")));
  EXPECT_EQ(record["exact"], true);
  ASSERT_EQ(record["weights"].size(), 4u);
  for (const char* measure : {"deletion", "insertion", "deletion of random maps", "infidelity"}) {
    EXPECT_TRUE(record["trust"].contains(measure)) << measure;
  }
  const auto cam = nlohmann::json::parse(contents(path("lime/00001.gradcam.json")));
  // The last stage has one pixel at 32 px, and so the map one value, of which nothing is measured.
  for (const char* measure : {"deletion", "insertion", "infidelity", "max-sensitivity"}) {
    EXPECT_TRUE(cam["trust"][measure].is_null()) << measure;
  }
  EXPECT_EQ(cam["no_better_than_random"].size(), 2u);
  EXPECT_THAT(first.out, HasSubstr("max-sensitivity -  SAYS NO MORE THAN RANDOM MAPS"));
  // The map has each superpixel's weight where that lies.
  const auto map = load_npy(path("lime/00001.lime.npy")).to_vector<float>();
  const auto labels = load_npy(path("lime/00001.lime.labels.npy")).to_vector<int64_t>();
  for (const auto& row : record["weights"]) {
    EXPECT_EQ(row["standard_error"].get<double>(), 0);
    const auto at = std::find(labels.begin(), labels.end(), row["superpixel"].get<int64_t>());
    EXPECT_EQ(map[static_cast<size_t>(at - labels.begin())], row["weight"].get<float>());
  }
  // Again, and with the labels of before: the same bytes.
  ASSERT_EQ(run(ask + "again").code, 0);
  ASSERT_EQ(run("explain {0}/run {0}/scenes/test/sea/00001.jpg --method lime --samples exact "
                "--superpixels {0}/lime/00001.lime.labels.npy --save npy --out {0}/own")
                .code,
            0);
  for (const char* name : {"00001.lime.png", "00001.gradcam.npy", "00001.lime.json"}) {
    EXPECT_EQ(contents(path("lime") / name), contents(path("again") / name)) << name;
  }
  EXPECT_EQ(contents(path("own/00001.lime.npy")), contents(path("lime/00001.lime.npy")));
  EXPECT_THAT(first.out, testing::Not(HasSubstr("TOO FEW")));
  EXPECT_THAT(run("explain {0}/run {0}/scenes/test/sea/00001.jpg --method lime --trust none "
                  "--superpixels grid:1 --out {0}/few")
                  .out,
              HasSubstr("use --superpixels grid:8"));
}

TEST_F(CommandLine, SaysHowFarLimeInLessPrecisionIsFromFloat32) {
  const std::string ask =
      "explain {0}/run {0}/scenes/test/sea/00001.jpg --method lime --superpixels grid:2 "
      "--samples exact --trust none --save json --out {0}/bf16 --lime-precision ";
  for (const std::string device : {"cpu", "simt"}) {
    if (device == "simt" && !kSimulated) continue;
    ASSERT_EQ(run(std::string(ask).append("bf16 --device ").append(device)).code, 0);
    const auto record = nlohmann::json::parse(contents(path("bf16/00001.lime.json")));
    const double deviation = record["figures"]["deviation of bf16"];
    EXPECT_GT(deviation, 0);
    EXPECT_LT(deviation, 0.05);
  }
  refuses(ask + "fp16 --device cpu", 2, "--lime-precision fp16 needs a GPU");
}

TEST_F(CommandLine, ContrastsAWrongAnswerWithTheTrueOne) {
  // The same picture in the folder of a class that is not predicted.
  const auto predicted = nlohmann::json::parse(
      run("predict {0}/run {0}/scenes/test/sea/00001.jpg --json").out)[0]["predicted"];
  const std::string other = predicted == "street" ? "forest" : "street";
  fs::create_directories(path("wrong") / other);
  fs::copy_file(path("scenes/test/sea/00001.jpg"), path("wrong") / other / "x.jpg");
  const auto against = [&](const std::string& arguments) {
    const Outcome outcome = run(fmt::format(
        "explain {{0}}/run {{0}}/wrong/{}/x.jpg --method saliency --trust none --json --out "
        "{{0}}/contrast {}",
        other, arguments));
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    return nlohmann::json::parse(outcome.out)[0]["against"];
  };
  EXPECT_EQ(against(""), other);
  EXPECT_TRUE(against("--against none").is_null());
  EXPECT_EQ(against("--class sea --against glacier"), "glacier");
  EXPECT_TRUE(against("--class sea").is_null());
}

std::vector<nlohmann::json> lines_in(const fs::path& path) {
  std::vector<nlohmann::json> lines;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) lines.push_back(nlohmann::json::parse(line));
  return lines;
}

TEST_F(CommandLine, ExplainsADataSetIntoArrays) {
  const Outcome outcome =
      run("explain {0}/run --data {0}/scenes --method gradcam,lime --superpixels grid:2 "
          "--samples exact --out {0}/split --json");
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const auto said = nlohmann::json::parse(outcome.out);
  EXPECT_EQ(said["explained"], 12);

  const auto index = lines_in(path("split/index.jsonl"));
  ASSERT_EQ(index.size(), 12u);
  EXPECT_EQ(index[0]["image"], "buildings/00001.jpg");
  EXPECT_EQ(index[11]["true_class"], "street");
  const Tensor maps = load_npy(path("split/gradcam.npy"));
  const Tensor labels = load_npy(path("split/lime.labels.npy"));
  const Tensor weights = load_npy(path("split/lime.npy"));
  ASSERT_EQ(maps.shape(), (Shape{12, 32, 32}));
  ASSERT_EQ(labels.shape(), (Shape{12, 32, 32}));
  ASSERT_EQ(weights.shape(), (Shape{12, 32, 32}));

  // A row is what the picture by itself gets.
  const int64_t row = 8;
  ASSERT_EQ(index[row]["image"], "sea/00001.jpg");
  ASSERT_EQ(
      run("explain {0}/run {0}/scenes/test/sea/00001.jpg --method gradcam,lime "
          "--superpixels grid:2 --samples exact --trust none --save npy,json --out {0}/single")
          .code,
      0);
  EXPECT_EQ(maps.slice(row, row + 1).to_vector<float>(),
            load_npy(path("single/00001.gradcam.npy")).to_vector<float>());
  const auto record = nlohmann::json::parse(contents(path("single/00001.lime.json")));
  const auto alone = load_npy(path("single/00001.lime.npy")).to_vector<float>();
  const auto among = weights.slice(row, row + 1).to_vector<float>();
  for (size_t i = 0; i < alone.size(); ++i) ASSERT_NEAR(alone[i], among[i], 1e-5);
  EXPECT_EQ(index[row]["predicted"], record["predicted"]);
  EXPECT_EQ(index[row]["methods"]["lime"]["weights"].size(), 4u);

  // The mean over each confusion cell, in which every map's largest value is 1.
  const auto cells = nlohmann::json::parse(contents(path("split/cells.json")));
  const Tensor means = load_npy(path("split/gradcam.cells.npy"));
  ASSERT_EQ(means.shape(), (Shape{static_cast<int64_t>(cells.size()), 32, 32}));
  EXPECT_EQ(said["cells"], cells);
  for (size_t c = 0; c < cells.size(); ++c) {
    std::vector<double> mean(32 * 32, 0.0);
    int64_t images = 0;
    for (size_t i = 0; i < index.size(); ++i) {
      if (index[i]["true_class"] != cells[c]["true_class"] ||
          index[i]["predicted"] != cells[c]["predicted"]) {
        continue;
      }
      ++images;
      const auto at = static_cast<int64_t>(i);
      const auto map = maps.slice(at, at + 1).to_vector<float>();
      const float largest = *std::max_element(map.begin(), map.end());
      for (size_t j = 0; j < mean.size(); ++j) mean[j] += largest > 0 ? map[j] / largest : 0;
    }
    EXPECT_EQ(cells[c]["images"], images);
    const auto at = static_cast<int64_t>(c);
    const auto written = means.slice(at, at + 1).to_vector<float>();
    for (size_t j = 0; j < mean.size(); ++j) {
      ASSERT_NEAR(written[j], mean[j] / static_cast<double>(images), 1e-6);
    }
  }
}

TEST_F(CommandLine, GoesOnWithADataSetAfterAKill) {
  const std::string ask =
      "explain {0}/run --data {0}/scenes --method saliency,lime --superpixels grid:2 --samples 20 "
      "--seed 3 --out {0}/";
  ASSERT_EQ(run(ask + "whole").code, 0);
  // Killed while the sixth line was written, when one array had counted more rows than the other.
  ASSERT_EQ(run(ask + "killed").code, 0);
  const std::string index = contents(path("killed/index.jsonl"));
  size_t end = 0;
  for (int line = 0; line < 5; ++line) end = index.find('\n', end) + 1;
  fs::resize_file(path("killed/index.jsonl"), end + 20);
  fs::remove(path("killed/cells.json"));
  for (const char* name : {"lime.npy", "saliency.npy"}) {
    const std::string array = contents(path("killed") / name);
    const size_t count = array.find("(12, "), line_end = array.find('\n');
    std::ofstream(path("killed") / name, std::ios::binary)
        << array.substr(0, count) << (name[0] == 'l' ? "(7, " : "(6, ")
        << array.substr(count + 5, line_end - count - 5) << ' ' << array.substr(line_end);
  }
  const Outcome outcome = run(ask + "killed");
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(outcome.err, HasSubstr("5 of 12 images are explained already"));
  const auto equals_whole = [&](const char* name) {
    return contents(path("killed") / name) == contents(path("whole") / name);
  };
  for (const char* name : {"explanations.json", "saliency.npy", "saliency.cells.npy", "cells.json",
                           "lime.labels.npy"}) {
    EXPECT_TRUE(equals_whole(name)) << name;
  }
  const auto lines = lines_in(path("killed/index.jsonl"));
  ASSERT_EQ(lines.size(), 12u);
  EXPECT_EQ(lines[5]["image"], lines_in(path("whole/index.jsonl"))[5]["image"]);
  // Other batches of LIME's samples, which may round otherwise.
  const auto lime = load_npy(path("killed/lime.npy")).to_vector<float>();
  const auto expected = load_npy(path("whole/lime.npy")).to_vector<float>();
  ASSERT_EQ(lime.size(), expected.size());
  for (size_t i = 0; i < lime.size(); ++i) ASSERT_NEAR(lime[i], expected[i], 1e-5);

  // Complete: nothing is left to do, and nothing changes.
  const std::string before = contents(path("killed/index.jsonl"));
  EXPECT_THAT(run(ask + "killed").err, HasSubstr("12 of 12 images are explained already"));
  refuses(ask + "killed --hide 0,0,0", 2, "their hide is \"mean\", now it is \"0,0,0\"");
  refuses(ask + "killed --only right", 2, "something else");
  EXPECT_TRUE(contents(path("killed/index.jsonl")) == before);
  EXPECT_TRUE(equals_whole("saliency.npy"));
}

TEST_F(CommandLine, ExplainsOnlyWhatIsAskedForOfADataSet) {
  const auto explained = [&](const std::string& options, const std::string& out) {
    const Outcome outcome = run("explain {0}/run --data {0}/scenes --method saliency --json " +
                                options + " --out {0}/" + out);
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    return nlohmann::json::parse(outcome.out);
  };
  const auto wrong = explained("--only wrong", "wrong_ones");
  const auto right = explained("--only right", "right_ones");
  EXPECT_EQ(wrong["explained"].get<int>() + right["explained"].get<int>(), 12);
  EXPECT_EQ(right["explained"], right["right"]);
  for (const auto& cell : wrong["cells"]) EXPECT_NE(cell["true_class"], cell["predicted"]);
  for (const auto& cell : right["cells"]) EXPECT_EQ(cell["true_class"], cell["predicted"]);
  EXPECT_EQ(explained("--limit 3 --trust curves", "three")["explained"], 3);
  const auto three = lines_in(path("three/index.jsonl"));
  EXPECT_TRUE(three[0]["methods"]["saliency"]["trust"].contains("deletion"));
  EXPECT_EQ(three[1]["true_class"], "glacier");  // spread over the classes
  EXPECT_EQ(explained("--split train --limit 6", "six")["images"], 36);

  refuses("explain {0}/run --out {0}/no", 2, "--data");
  refuses("explain {0}/run {0}/broken.jpg --data {0}/scenes --out {0}/no", 2, "not both");
  refuses("explain {0}/run {0}/scenes/test --only wrong --out {0}/no", 2, "--only needs --data");
  refuses("explain {0}/run --data {0}/scenes --save npy --out {0}/no", 2, "--save");
  refuses("explain {0}/run --data {0}/scenes --out {0}/scenes/maps", 2, "outside");
  refuses("explain {0}/run --data {0}/scenes/test/sea --out {0}/no", 1, "sea");
}

TEST_F(CommandLine, TellsHowPredictionsEvolved) {
  const Outcome told =
      run("evolve {0}/run --out {0}/evolved.json --out {0}/evolved.csv --out "
          "{0}/evolved.instanceflow.json");
  ASSERT_EQ(told.code, 0) << told.err;
  EXPECT_THAT(told.out, HasSubstr("12 images of 6 classes, epochs 1 to 2 of 2\n"));
  for (const char* part : {"first", "best", "last", "true class", "glacier", "all"}) {
    EXPECT_THAT(told.out, HasSubstr(part));
  }
  const std::string text = contents(path("evolved.json"));
  const auto metrics = nlohmann::json::parse(text);
  const std::string lines = contents(path("run/metrics.jsonl"));
  const auto first = nlohmann::json::parse(lines.substr(0, lines.find('\n')));
  const auto second = nlohmann::json::parse(lines.substr(lines.find('\n') + 1));
  EXPECT_FALSE(first.contains("flux"));
  EXPECT_TRUE(metrics["epochs"][0]["flux"].is_null());
  EXPECT_EQ(metrics["epochs"][1]["flux"], second["flux"]);
  EXPECT_EQ(metrics["epochs"][1]["accuracy"], second["test_accuracy"]);
  EXPECT_EQ(metrics["epochs"][1]["loss"], second["test_loss"]);
  EXPECT_EQ(metrics["epochs"][1]["recall"], second["test_recall"]);
  EXPECT_EQ(metrics["epochs"][1]["f1"], second["test_f1"]);
  ASSERT_EQ(metrics["images"].size(), 12u);
  EXPECT_EQ(metrics["images"][0]["id"], "buildings/00001.jpg");
  EXPECT_TRUE(metrics["images"][0]["confidence"].is_number());
  EXPECT_THAT(contents(path("evolved.csv")),
              testing::StartsWith("image,true_class,last_predicted,changes,frequency,"));

  // The log goes through InstanceFlow's format, which knows neither losses nor probabilities.
  const Outcome again = run("evolve {0}/evolved.instanceflow.json --json");
  ASSERT_EQ(again.code, 0) << again.err;
  auto read = nlohmann::json::parse(again.out), expected = metrics;
  for (auto& epoch : expected["epochs"]) epoch["loss"] = nullptr;
  for (auto& image : expected["images"]) {
    image["confidence"] = image["confidence_variance"] = nullptr;
  }
  EXPECT_EQ(read, expected);
  ASSERT_EQ(run("evolve {0}/run --to 1 --out {0}/part.json --format instanceflow").code, 0);
  EXPECT_EQ(nlohmann::json::parse(contents(path("part.json")))["epochs"].size(), 1u);

  // Names that are no names fit a terminal and stay data.
  std::ofstream(path("odd.csv"), std::ios::binary)
      << "a,class,1\n<b>\x1b[31m," << std::string(10000, 'x') << ",\"y\n\"\"\"\n";
  const Outcome odd = run("evolve {0}/odd.csv");
  ASSERT_EQ(odd.code, 0) << odd.err;
  EXPECT_LT(odd.out.size(), 3000u);
  EXPECT_EQ(odd.out.find('\x1b'), std::string::npos);

  refuses("evolve {0}/run --out {0}/page.pdf", 2, "must end in one of .html, ");
  refuses("evolve {0}/run --from 3", 2, "epoch 3 is none of the log's, which are 1 to 2");
  refuses("evolve {0}/run --to 3", 2, "1 to 2");
  refuses("evolve {0}/evolved.instanceflow.json --out {0}/./evolved.instanceflow.json", 2,
          "written over the log itself");
  refuses("evolve {0}/run/best.safetensors", 2, "expected a run's folder");
  refuses("evolve {0}/no-such-run", 1, "no-such-run");
  refuses("evolve {0}/scenes", 1, "test_images.json");
  refuses("evolve {0}/evolved.json", 1, "these are metrics; give the run");
  refuses("evolve {0}/evolved.csv", 1, "these are metrics; give the run");
  refuses("evolve {0}/run --format instanceflow --out {0}/x.csv", 2, "add --out FILE.json");
  EXPECT_FALSE(fs::exists(path("page.pdf")));

  ASSERT_EQ(run("evolve {0}/run --out {0}/figure.svg --out {0}/figure.png").code, 0);
  EXPECT_THAT(contents(path("figure.svg")), HasSubstr("12 images of 6 classes"));
  EXPECT_EQ(read_image_size(path("figure.png")).second, 2000);
}

TEST_F(CommandLine, DrawsThePageOfOneRunAndOfTwo) {
  ASSERT_EQ(run("evolve {0}/run --out {0}/run.html").code, 0);
  const std::string page = contents(path("run.html"));
  EXPECT_THAT(page, HasSubstr("Confusion Evolution: run"));
  EXPECT_THAT(page, HasSubstr("data:image/jpeg;base64,"));
  EXPECT_THAT(page, testing::Not(HasSubstr("src=\"http")));
  ASSERT_EQ(run("evolve {0}/run --to 1 --thumbnails 0 --out {0}/epoch.html").code, 0);
  EXPECT_THAT(contents(path("epoch.html")), testing::Not(HasSubstr("data:image/jpeg")));

  // Thumbnails that are too large for the page lie beside it, whatever it is called.
  const Outcome large = run("evolve {0}/run --thumbnails 1 --out '{0}/50% #1.html'");
  ASSERT_EQ(large.code, 0) << large.err;
  EXPECT_THAT(large.out, HasSubstr("50% #1_files, thumbnails of 12 images"));
  const std::string beside = contents(path("50% #1.html"));
  EXPECT_THAT(beside, HasSubstr("\"50%25%20%231_files/thumbnails/0/11.jpg\""));
  EXPECT_THAT(beside, HasSubstr("img-src data: file: 'self';"));
  EXPECT_THAT(page, HasSubstr("img-src data:;"));
  EXPECT_EQ(read_image_size(path("50% #1_files/thumbnails/0/11.jpg")), std::pair(64, 64));
  EXPECT_EQ(files_below(path("50% #1_files")), 14u);

  // However many pages there are, images are explained once.
  const Outcome twice =
      run("evolve {0}/run --explain 1 --threads 1 --out {0}/explained.html --out {0}/again.html");
  ASSERT_EQ(twice.code, 0) << twice.err;
  const std::string of_kept = "explaining the kept epochs";
  EXPECT_THAT(twice.err, HasSubstr(of_kept));
  EXPECT_EQ(twice.err.find(of_kept), twice.err.rfind(of_kept)) << twice.err;
  EXPECT_THAT(twice.out, HasSubstr("explanations of 1 image"));
  EXPECT_EQ(contents(path("explained.html")), contents(path("again.html")));

  // Another log of the same images, whose photographs nobody knows.
  ASSERT_EQ(run("evolve {0}/run --out {0}/other.instanceflow.json").code, 0);
  const Outcome both =
      run("evolve {0}/run --beside {0}/other.instanceflow.json --out {0}/both.html");
  ASSERT_EQ(both.code, 0) << both.err;
  EXPECT_THAT(contents(path("both.html")), HasSubstr("other.instanceflow.json"));
  refuses("evolve {0}/run --beside {0}/run", 2, "--out FILE.html");
  refuses("evolve {0}/run --beside {0}/nowhere --out {0}/no.html", 1, "nowhere");
  EXPECT_FALSE(fs::exists(path("no.html")));
}

TEST_F(CommandLine, KeepsNoEpochThatThereIsNot) {
  refuses("train {0}/scenes --out {0}/no --epochs 3 --keep-epochs 2,4", 2, "asks for epoch 4");
  EXPECT_FALSE(fs::exists(path("no")));
  // A run that is asked for it keeps its configuration.
  const std::string before = contents(path("run/config.json"));
  refuses("train --resume {0}/scenes --out {0}/run --keep-epochs 999", 2, "asks for epoch 999");
  EXPECT_EQ(contents(path("run/config.json")), before);
}

TEST_F(CommandLine, WatchesUntilItIsTold) {
  const Outcome outcome =
      run("watch {0}/run --port 0", "timeout --preserve-status --signal TERM 3");
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, testing::MatchesRegex("http://127\\.0\\.0\\.1:[0-9]+/\n"));
  EXPECT_THAT(outcome.err, HasSubstr("watching "));
  refuses("watch {0}/run/config.json", 2, "is no run's folder");
  refuses("watch {0}/run --port 65536", 2, "--port");
  refuses("train {0}/scenes --out {0}/no --port 1", 2, "--watch");
}

TEST_F(CommandLine, TrainsWatched) {
  const Outcome outcome =
      run("train {0}/scenes --image-size 32 --epochs 1 --batch-size 12 --out {0}/watched --watch "
          "--port 0");
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(outcome.err, testing::MatchesRegex("watch it at http://127\\.0\\.0\\.1:[0-9]+/\n"));
  EXPECT_TRUE(fs::exists(path("watched/best.safetensors")));
}

TEST_F(CommandLine, TrainsNotWhereItCannotBeWatched) {
  // Started by the dynamic loader, the program starts that, which knows no `watch`, in place of
  // itself.
  Dl_info loader{};
  const auto* base =
      reinterpret_cast<void*>(getauxval(AT_BASE));  // NOLINT(performance-no-int-to-ptr)
  ASSERT_NE(dladdr(base, &loader), 0);
  const Outcome outcome =
      run("train {0}/scenes --out {0}/unwatched --watch --port 0", loader.dli_fname);
  EXPECT_EQ(outcome.code, 1) << outcome.err;
  EXPECT_THAT(outcome.err,
              HasSubstr("--watch: the page cannot be served: its process has ended\n"));
  EXPECT_FALSE(fs::exists(path("unwatched")));
}

TEST_F(CommandLine, TellsHowToGoOnInWordsForAShell) {
  const Outcome stopped =
      run("train {0}/scenes --image-size 32 --epochs 9999 --batch-size 12 --out '{0}/my run'",
          "timeout --preserve-status --signal INT 6");
  EXPECT_EQ(stopped.code, 130) << stopped.err;
  EXPECT_THAT(stopped.err, HasSubstr("/scenes --out '" + path("my run").string() + "' --resume"));
}

// The data that a page carries.
nlohmann::json data_in(const std::string& page) {
  const std::string begins = R"(<script type="application/json" id="data">)";
  const size_t begin = page.find(begins) + begins.size();
  return nlohmann::json::parse(page.substr(begin, page.find("</script>", begin) - begin));
}

TEST_F(CommandLine, ReportsARunInOnePage) {
  const Outcome outcome =
      run("report {0}/run --explain 3 --samples 64 --threads 1 --out {0}/report.html");
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("explanations of 3 images"));
  const std::string page = contents(path("report.html"));
  EXPECT_THAT(page, testing::Not(HasSubstr("src=\"http")));
  const auto data = data_in(page);
  const auto& report = data["report"];
  EXPECT_EQ(report["model"]["parameters"], 11179590);
  EXPECT_EQ(report["model"]["layers"].size(), 52u);
  EXPECT_EQ(report["metrics"].size(), 2u);
  EXPECT_EQ(report["configuration"][0]["title"], "Data");
  EXPECT_EQ(report["confusion"]["classes"].size(), 6u);
  int64_t images = 0;
  for (const auto& cell : report["confusion"]["cells"]) images += cell[2].get<int64_t>();
  EXPECT_EQ(images, 12);
  const auto& trust = report["trust"];
  EXPECT_EQ(trust["methods"].size(), 2u);
  EXPECT_EQ(trust["methods"][0]["pointing"].back()["class"], "all");
  EXPECT_EQ(trust["ofExamples"].size(), 3u);

  const auto& explained = data["runs"][0]["explanations"];
  ASSERT_EQ(explained.size(), 3u);
  for (const auto& one : explained) {
    EXPECT_NE(one["why"], "");
    EXPECT_EQ(one["warning"], "");
    EXPECT_THAT(one["photograph"].get<std::string>(), testing::StartsWith("data:image/jpeg"));
    ASSERT_EQ(one["methods"].size(), 3u);
    EXPECT_EQ(one["methods"][2]["name"], "LIME");
    EXPECT_THAT(one["methods"][2]["note"].get<std::string>(), HasSubstr("superpixels resolved"));
    EXPECT_EQ(one["methods"][0]["trust"][0]["name"], "deletion");
    ASSERT_EQ(one["kept"].size(), 2u);
    EXPECT_EQ(one["kept"][1]["epoch"], 2);
    for (const auto& map : one["kept"][0]["maps"]) EXPECT_TRUE(map["drift"].is_null());
    const double drift = one["kept"][1]["maps"][1]["drift"];
    EXPECT_GE(drift, -1);
    EXPECT_LE(drift, 1);
    // What the network says now is what the log says that it said.
    const size_t best = one["epoch"].get<size_t>() - 1;
    EXPECT_EQ(one["predicted"], one["kept"][best]["predicted"]);
  }

  ASSERT_EQ(run("report {0}/run --explain 0 --no-trust").code, 0);
  EXPECT_TRUE(data_in(contents(path("run/report.html")))["report"]["trust"].is_null());
  fs::remove(path("run/report.html"));
  refuses("report {0}/run --explain some --out {0}/no.html", 2, "--explain some");
  refuses("report {0}/run --method gradcan --out {0}/no.html", 2, "gradcan");
  refuses("report {0}/run --samples few --out {0}/no.html", 2, "few");
  refuses("report {0}/run --out {0}/no.pdf", 2, ".html");
  refuses("report {0}/run --data {0}/nowhere --out {0}/no.html", 1, "nowhere is no folder");
  refuses("report {0}/scenes --out {0}/no.html", 1, "there is no run in this folder");
  refuses("report {0}/run --out {0}/nowhere/no.html", 1, "there is no folder");
  refuses("evolve {0}/run --explain 2 --out {0}/nowhere/no.html", 1, "there is no folder");
  refuses("evolve {0}/run --explain 2", 2, "--explain is for a page");
  EXPECT_FALSE(fs::exists(path("no.html")));
}

TEST_F(CommandLine, LooksWhereItWillWriteBeforeItWorks) {
  for (const std::string command : {"evolve {0}/run --out {0}/nowhere/x.svg",
                                    "evaluate {0}/run {0}/scenes --confusion {0}/nowhere/x.png",
                                    "weights convert {0}/run {0}/nowhere/x.pth"}) {
    refuses(command, 1, "there is no folder");
    EXPECT_EQ(run(command).out, "") << command;
  }
  refuses("evolve {0}/run --out /proc/x.svg", 1, "/proc/x.svg: cannot be written: No such file");
}

TEST_F(CommandLine, ExplainsARunWhosePhotographsMovedOrChanged) {
  fs::create_directories(path("relocated"));
  for (const auto& entry : fs::directory_iterator(path("run"))) {
    fs::copy(entry.path(), path("relocated") / entry.path().filename());
  }
  auto config = nlohmann::json::parse(contents(path("run/config.json")));
  config["data"] = path("gone").string();
  std::ofstream(path("relocated/config.json")) << config;
  refuses("report {0}/relocated --no-trust --out {0}/no.html", 1, "--data FOLDER");
  EXPECT_EQ(run("report {0}/relocated --no-trust --explain 0 --data {0}/scenes").code, 0);

  fs::copy(path("scenes/test"), path("changed"), fs::copy_options::recursive);
  fs::remove(path("changed/sea/00001.jpg"));
  // Another size of photograph and another scene in the place of each forest.
  for (const char* name : {"00001.jpg", "00002.jpg"}) {
    fs::copy_file(path("scenes/test/street") / name, path("changed/forest") / name,
                  fs::copy_options::overwrite_existing);
  }
  cli::RunExplanations changed(path("run"), {.data = path("changed"), .methods = {"gradcam"}});
  const auto place = [&](const std::string& id) {
    for (size_t i = 0; i < changed.images().size(); ++i) {
      if (changed.images()[i].id == id) return static_cast<int64_t>(i);
    }
    return int64_t{-1};
  };
  EXPECT_THAT(test::error_of([&] { changed.explain(place("sea/00001.jpg")); }),
              HasSubstr("there is no sea/00001.jpg there, which the run was tested on"));
  EXPECT_THAT(test::error_of([&] { changed.explain(12); }), HasSubstr("from 0 to 11"));
  EXPECT_THAT(test::error_of([&] { changed.explain(0, 7); }),
              HasSubstr("of epoch 7 were not kept"));
  EXPECT_EQ(changed.explain(place("street/00001.jpg"), 1).shown.warning, "");
  // In the log their answers differ in probability by more than a rounding.
  cli::RunExplanations before(path("run"), {.methods = {"gradcam"}});
  for (const char* name : {"forest/00001.jpg", "forest/00002.jpg"}) {
    const cli::RunExplanation now = changed.explain(place(name)),
                              then = before.explain(place(name));
    EXPECT_EQ(then.shown.warning, "");
    const bool other = now.shown.predicted != then.shown.predicted ||
                       std::abs(now.shown.probability - then.shown.probability) > 0.1;
    EXPECT_EQ(!now.shown.warning.empty(), other) << name;
  }
  // A map is like itself, and none is like a blank one.
  cli::RunExplanations gradients(path("run"), {.methods = {"saliency"}});
  const cli::MethodResult map = gradients.explain(0).results[0];
  cli::MethodResult blank = map;
  blank.map = Tensor::zeros(map.map.shape(), DType::kFloat32);
  EXPECT_NEAR(cli::drift_between(map, map), 1, 1e-12);
  EXPECT_TRUE(std::isnan(cli::drift_between(map, blank)));
}

TEST_F(CommandLine, NamesInAReportOnlyShowThemselves) {
  const std::vector<std::string> names = {"<script>globalThis.trapped=1<", "a\"b'c&d;-->",
                                          "\u202Eesrever\xff", std::string(200, 'W')};
  for (const char* split : {"train", "test"}) {
    for (size_t c = 0; c < names.size(); ++c) {
      const fs::path folder = path("hostile") / split / names[c];
      fs::create_directories(folder);
      for (int i = 1; i <= 2; ++i) {
        fs::copy_file(path(fmt::format("scenes/train/{}/0000{}.jpg", c % 2 ? "sea" : "forest", i)),
                      folder / fmt::format("<img src=x>{}\xff.jpg", i));
      }
    }
  }
  const Outcome trained =
      run("train {0}/hostile --image-size 32 --epochs 1 --batch-size 4 --threads 1 --out "
          "{0}/hostile-run");
  ASSERT_EQ(trained.code, 0) << trained.err;
  const Outcome outcome = run(
      "report {0}/hostile-run --explain all --method gradcam --threads 1 --out {0}/hostile.html");
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const std::string page = contents(path("hostile.html"));
  const auto count = [&](const std::string& part) {
    size_t found = 0;
    for (size_t at = page.find(part); at != std::string::npos; at = page.find(part, at + 1))
      ++found;
    return found;
  };
  EXPECT_EQ(count("<script"), 2u);
  EXPECT_EQ(count("<img src=x"), 0u);
  const auto data = data_in(page);
  EXPECT_EQ(data["runs"][0]["explanations"].size(), 8u);
  std::set<std::string> shown;
  for (const std::string& name : names) shown.insert(valid_utf8(name));
  EXPECT_EQ(
      std::set<std::string>(data["runs"][0]["classes"].begin(), data["runs"][0]["classes"].end()),
      shown);
}

TEST_F(CommandLine, RefusesExplanationsThatMakeNoSense) {
  const std::string begin = "explain {0}/run {0}/scenes/test/sea/00001.jpg --out {0}/no ";
  refuses(begin + "--method lime --samples many", 2, "--samples many");
  refuses(begin + "--method lime --samples 2", 2, "from 3");
  refuses(begin + "--method lime --samples exact --superpixels grid:4", 2, "12");
  refuses(begin + "--method lime --superpixels grid", 2, "grid");
  refuses(begin + "--method lime --superpixels {0}/nowhere.png", 2, "no file of labels");
  refuses(begin + "--method lime --superpixels {0}/scenes/test/sea/00001.jpg", 1, "(32, 32)");
  refuses(begin + "--method lime --hide pink", 2, "--hide pink");
  refuses(begin + "--method lime --hide 1,2,256", 2, "three numbers");
  refuses(begin + "--trust me", 2, "none, curves, all");
  refuses(begin + "--against oceans", 2, "oceans");
  refuses(begin + "--class sea --against sea --trust none", 2, "against itself");
}

TEST_F(CommandLine, TrustsATrainedNetworkAndNotARandomOne) {
  // A square on noise, whose colour is the class.
  Random random(0, Stream::kUser);
  for (const auto& [split, count] : {std::pair("train", 24), std::pair("test", 12)}) {
    for (const char* name : {"green", "red"}) {
      fs::create_directories(path(fmt::format("squares/{}/{}", split, name)));
      fs::create_directories(path(fmt::format("squares/masks/{}/{}", split, name)));
      for (int i = 0; i < count; ++i) {
        Image image = test::noise_image(32, 32, random.next()), mask(32, 32);
        const auto top = static_cast<int>(random.below(20)),
                   left = static_cast<int>(random.below(20));
        const bool green = std::string(name) == "green";
        fill_rectangle(image, top, left, 12, 12, green ? Rgb{40, 200, 40} : Rgb{200, 40, 40});
        fill_rectangle(mask, top, left, 12, 12, kWhite);
        const std::string file = fmt::format("{}/{}/{}.png", split, name, i);
        write_png(path("squares/" + file), image);
        write_png(path("squares/masks/" + file), mask);
      }
    }
  }
  ASSERT_EQ(run("train {0}/squares --model resnet20 --epochs 6 --batch-size 8 --augment none "
                "--threads 1 --out {0}/squares-run")
                .code,
            0);
  const std::string ask =
      "trust {0}/squares-run {0}/squares --images 10 --sanity-images 2 --method gradcam,lime "
      "--superpixels grid:4 --samples 60 --threads 1 --out {0}/trust ";
  const Outcome outcome = run(ask);
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, testing::AllOf(HasSubstr("10 of 24 pictures"), HasSubstr("down to"),
                                          HasSubstr("Pointing game"), HasSubstr("passes")));
  const auto trained = nlohmann::json::parse(contents(path("trust/trust.json")));
  EXPECT_TRUE(trained["passes"].get<bool>()) << trained["doubts"];
  ASSERT_EQ(trained["methods"].size(), 2u);
  for (const auto& method : trained["methods"]) {
    EXPECT_EQ(method["randomisation"][0]["layer"], "fc");
    EXPECT_EQ(method["randomisation"].back()["layer"], "conv1");
    ASSERT_EQ(method["pointing_game"].size(), 3u);
    EXPECT_EQ(method["pointing_game"][2]["class"], "all");
    EXPECT_NEAR(method["pointing_game"][2]["hits"]["chance"].get<double>(), 144 / 1024.0, 1e-9);
  }
  // LIME need not: of two classes, a network may know one as what is not the other.
  const auto& gradcam = trained["methods"][0];
  EXPECT_TRUE(gradcam["passes"].get<bool>()) << gradcam;
  EXPECT_TRUE(gradcam["pointing_game"][2]["hits"]["better"].get<bool>()) << gradcam;
  EXPECT_THAT(contents(path("trust/randomisation.svg")), testing::StartsWith("<svg"));

  // The same architecture with random weights is found out, and so is each of its explanations.
  const Outcome control = run(ask + "--random-weights");
  ASSERT_EQ(control.code, 0) << control.err;
  EXPECT_THAT(control.out, testing::AllOf(HasSubstr("FAILS"), HasSubstr("cannot be trusted")));
  const auto untrained = nlohmann::json::parse(contents(path("trust/trust.json")));
  EXPECT_FALSE(untrained["passes"].get<bool>());
  EXPECT_EQ(untrained["doubts"].size(), 1u);
  for (const auto& method : untrained["methods"]) EXPECT_FALSE(method["passes"].get<bool>());
}

TEST_F(CommandLine, ChecksTrustWithoutMasksAndRefusesNonsense) {
  fs::create_directories(path("unmasked"));
  fs::copy(path("scenes/test"), path("unmasked/test"), fs::copy_options::recursive);
  const Outcome unmasked =
      run("trust {0}/run {0}/unmasked --images 2 --sanity-images 1 --method saliency");
  ASSERT_EQ(unmasked.code, 0) << unmasked.err;
  EXPECT_THAT(unmasked.out, HasSubstr("No masks of the objects, and so no pointing game."));
  EXPECT_EQ(unmasked.out.find("Energy"), std::string::npos);

  refuses("trust {0}/run {0}/nowhere", 1, "nowhere");
  refuses("trust {0}/run {0}/scenes --split holdout", 2, "none of: test, train");
  refuses("trust {0}/run {0}/scenes --method gradcan", 2, "gradcan");
  refuses("trust {0}/run {0}/scenes --images 1", 2, "--images");
  refuses("trust {0}/run {0}/scenes --masks {0}/nowhere", 2, "--masks");
  refuses("trust {0}/run {0}/scenes --layer layer5", 2, "layer5");
  refuses("trust {0}/run {0}/scenes --method lime --samples few", 2, "--samples few");
  fs::create_directories(path("pictureless/test/sea"));
  refuses("trust {0}/run {0}/pictureless", 1, "holds no picture");
}

TEST_F(CommandLine, GoesOnPastAPictureThatCannotBeRead) {
  std::ofstream(path("broken.jpg")) << "not a picture";
  const Outcome outcome =
      run("explain {0}/run {0}/broken.jpg {0}/scenes/test/sea/00001.jpg --out {0}/past");
  EXPECT_EQ(outcome.code, 1);
  EXPECT_THAT(outcome.err, HasSubstr("broken.jpg"));
  EXPECT_TRUE(fs::exists(path("past/00001.gradcam.png")));
}

TEST_F(CommandLine, SummarisesEveryKindOfNetwork) {
  EXPECT_THAT(run("summary --help").out, HasSubstr("wide_resnet101_2, resnet20"));
  const std::map<std::string, std::pair<int, int64_t>> expected = {
      {"resnet18", {224, 11'689'512}},
      {"resnext50_32x4d", {224, 25'028'904}},
      {"wide_resnet50_2", {224, 68'883'240}},
      {"resnet20", {32, 269'722}},
      {"resnet110", {32, 1'727'962}}};
  for (const auto& [model, facts] : expected) {
    const auto summary = nlohmann::json::parse(run("summary --json " + model).out);
    EXPECT_EQ(summary["image_size"], facts.first) << model;
    EXPECT_EQ(summary["parameters"], facts.second) << model;
  }
  EXPECT_THAT(run("summary resnet20 --num-classes 7").out, HasSubstr("269527 parameters"));
}

TEST_F(CommandLine, ProfilesAStep) {
  const std::string ask = "profile resnet20 --batch-size 3 --repeats 1 --device cpu ";
  const Outcome outcome = run(ask + "--json --out {0}/trace.json --out {0}/timeline.svg");
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const auto profile = nlohmann::json::parse(outcome.out);
  double sum = profile["between_ops_ms"];
  for (const auto& phase : profile["phases"]) {
    for (const auto& op : phase["ops"]) sum += op["ms"].get<double>();
  }
  EXPECT_NEAR(sum, profile["ms"].get<double>(), 1e-6 * sum);
  EXPECT_GT(profile["without_profiler_ms"].get<double>(), 0);

  // A line for each layer that computes, whose work is the summary's.
  std::map<std::string, int64_t> flops;
  for (const auto& layer : profile["layers"]) flops[layer["layer"]] = layer["forward"]["flops"];
  for (const auto& layer : nlohmann::json::parse(run("summary resnet20 --json").out)["layers"]) {
    if (layer["flops"] == 0) continue;
    EXPECT_EQ(flops[layer["path"]], 3 * layer["flops"].get<int64_t>()) << layer["path"];
  }

  const auto events = nlohmann::json::parse(contents(path("trace.json")))["traceEvents"];
  std::set<std::string> categories;
  for (const auto& event : events) {
    EXPECT_EQ(event["pid"], 1);
    if (event["ph"] == "M") continue;
    EXPECT_EQ(event["ph"], "X");
    EXPECT_GE(event["ts"].get<double>(), 0);
    EXPECT_GE(event["dur"].get<double>(), 0);
    categories.insert(event["cat"]);
    EXPECT_EQ(event.contains("args"), event["cat"] == "op") << event;
  }
  EXPECT_EQ(categories, (std::set<std::string>{"phase", "layer", "op"}));
  EXPECT_THAT(contents(path("timeline.svg")), HasSubstr("resnet20, forward"));

  const Outcome training = run(ask + "--what train --by shape");
  ASSERT_EQ(training.code, 0) << training.err;
  for (const char* word : {"backward", "conv2d_weight_gradient", "16 of 3x3", "sgd", "GFLOP/s",
                           "GB/s", "between ops", "without the profiler"}) {
    EXPECT_THAT(training.out, HasSubstr(word));
  }
  for (const std::string what : {"gradcam", "saliency"}) {
    const Outcome map = run("profile {0}/run --by layer --batch-size 2 --repeats 1 --what " + what);
    ASSERT_EQ(map.code, 0) << map.err;
    EXPECT_THAT(map.out, HasSubstr("layer4.1.conv2")) << what;
  }
  refuses(ask + "--what lime", 2, "--what");
  refuses(ask + "--out {0}/profile.txt", 2, "written as .json (a trace), .svg or .png");
  refuses(ask + "--precision fp16", 2, "--precision fp16 needs a GPU");
  refuses("profile resnet49", 2, "resnet49");
  refuses(ask + "--out {0}/nowhere/trace.json", 1, "nowhere");
}

TEST_F(CommandLine, TellsWhatAWeightFileIs) {
  const Outcome table = run("weights inspect {0}/run");
  ASSERT_EQ(table.code, 0) << table.err;
  EXPECT_THAT(table.out, HasSubstr("layer4.1.conv2.weight"));
  EXPECT_THAT(table.out, HasSubstr("122 tensors"));
  EXPECT_THAT(table.out, HasSubstr("fits resnet18, 32 px, 6 classes: buildings, forest"));

  const auto facts = nlohmann::json::parse(run("weights inspect {0}/run --json").out);
  EXPECT_EQ(facts["model"], "resnet18");
  EXPECT_EQ(facts["fits"], true);
  EXPECT_EQ(facts["classes"].size(), 6u);
  EXPECT_EQ(facts["format"], "safetensors");
  int64_t numbers = 0;
  for (const auto& tensor : facts["tensors"]) numbers += tensor["numbers"].get<int64_t>();
  EXPECT_EQ(numbers, facts["numbers"].get<int64_t>());
}

TEST_F(CommandLine, TakesWeightsToPyTorchsFormatAndBackBitForBit) {
  ASSERT_EQ(run("weights convert {0}/run {0}/trained.pth").code, 0);
  ASSERT_EQ(run("weights convert {0}/trained.pth {0}/back.safetensors").code, 0);
  const Outcome same = run("weights diff {0}/run {0}/back.safetensors");
  EXPECT_EQ(same.code, 0) << same.out << same.err;
  EXPECT_THAT(same.out, HasSubstr("122 tensors are the same to the last bit, 0 differ"));
  // With the names of its classes and its image size.
  const Outcome before = run("predict {0}/run {0}/scenes/test/sea --json");
  const Outcome after = run("predict {0}/trained.pth {0}/scenes/test/sea --json");
  EXPECT_EQ(after.code, 0) << after.err;
  EXPECT_EQ(after.out, before.out);
  EXPECT_EQ(run("explain {0}/trained.pth {0}/scenes/test/sea/00001.jpg --out {0}/of_pth").code, 0);
}

TEST_F(CommandLine, TellsHowTwoWeightFilesDiffer) {
  ASSERT_EQ(run("train {0}/scenes --model resnet18 --image-size 32 --epochs 1 --batch-size 12 "
                "--pretrained {0}/run --out {0}/moved")
                .code,
            0);
  const Outcome outcome = run("weights diff {0}/run {0}/moved --json");
  EXPECT_EQ(outcome.code, 1);
  const auto result = nlohmann::json::parse(outcome.out);
  EXPECT_GT(result["different"].size(), 60u);
  for (const auto& entry : result["different"]) {
    EXPECT_GT(entry["largest"].get<double>(), 0) << entry["name"];
  }
  EXPECT_TRUE(result["only_a"].empty());
}

TEST_F(CommandLine, NamesTheClassesOfAWeightFile) {
  std::ofstream(path("six.txt")) << "a\nb\nc\nd\ne\nf\n";
  std::ofstream(path("two.txt")) << "a\nb\n";
  ASSERT_EQ(run("weights convert {0}/run {0}/named.safetensors --classes {0}/six.txt").code, 0);
  const auto facts = nlohmann::json::parse(run("weights inspect {0}/named.safetensors --json").out);
  EXPECT_EQ(facts["classes"][5], "f");
  refuses("weights convert {0}/run {0}/unnamed.pth --classes {0}/two.txt", 2, "2 class names");
  std::ofstream(path("twice.txt")) << "a\nb\nc\nd\nb\nf\n";
  refuses("weights convert {0}/run {0}/unnamed.pth --classes {0}/twice.txt", 2, "are 'b'");
  refuses("predict {0}/run {0}/scenes/test/sea --json --classes {0}/twice.txt", 2, "are 'b'");
  EXPECT_FALSE(fs::exists(path("unnamed.pth")));
}

TEST_F(CommandLine, RefusesWeightFilesInOneSentence) {
  std::ofstream(path("text.pth")) << "these are not weights";
  const std::string whole = contents(path("run/best.safetensors"));
  std::ofstream(path("short.safetensors"), std::ios::binary) << whole.substr(0, whole.size() / 2);
  refuses("weights inspect {0}/nowhere.pth", 1, "nowhere.pth");
  refuses("weights inspect {0}/text.pth", 1, "text.pth");
  for (const char* file : {"scenes/test/sea/00001.jpg", "run/config.json"}) {
    refuses(fmt::format("predict {{0}}/{} {{0}}/scenes/test/sea", file), 1, "is no weight file");
  }
  refuses("predict {0}/short.safetensors {0}/scenes/test/sea", 1, "short.safetensors");
  refuses("weights convert {0}/short.safetensors {0}/longer.pth", 1, "short.safetensors");
  refuses("weights convert {0}/run {0}/weights.onnx", 2, "must end in .safetensors");
  EXPECT_FALSE(fs::exists(path("longer.pth")));
  EXPECT_FALSE(fs::exists(path("weights.onnx")));
}

TEST_F(CommandLine, RefusesWhatMakesNoSenseInOneSentence) {
  const std::string train = "train {0}/scenes --image-size 32 --epochs 1 --out {0}/refused ";
  refuses(train + "--batch-size 0", 2, "batch-size");
  refuses(train + "--epochs 0", 2, "epochs");
  refuses(train + "--lr -1", 2, "lr");
  refuses(train + "--lr 1e30", 2, "--lr must be a number above 0, at most 1000000");
  refuses(train + "--seed -1", 2, "--seed: Value -1 not in range 0 to");
  refuses(train + "--validation-split 1.5", 2, "validation-split");
  refuses(train + "--optimizer sgdm", 2, "sgdm");
  refuses(train + "--schedule linear", 2, "linear");
  refuses(train + "--augment mixup", 2, "mixup");
  refuses(train + "--fit stretch", 2, "stretch");
  refuses(train + "--model resnet5", 2, "resnet5");
  refuses(train + "--device cpu --precision fp16", 2, "--precision fp16 needs a GPU");
  refuses(train + "--device cuda", kHasCuda && !kSimulated ? 1 : 2, "use --device cpu");
  refuses(train + "--device gpu", 2, "--device must be");
  refuses(train + "--mean 1,2,3", 2, "mean");
  refuses(train + "--std 0.2", 2, "std");
  refuses(train + "--freeze layr1", 2, "'layr1' fits no parameter; the nearest names are layer1");
  refuses(train + "--freeze '*'", 2, "leaves nothing to learn");
  refuses(train + "--lr-scale fc", 2, "PATTERN=X");
  refuses(train + "--lr-scale fc=0", 2, "--freeze 'fc'");
  refuses(train + "--lr-scale cf=2", 2, "'cf' fits no parameter");
  refuses(train + "--patience 3", 2, "--validation-split");
  refuses(train + "--validation-split 0.5 --stop-by flux", 2, "--patience");
  refuses(train + "--validation-split 0.5 --patience 3 --stop-by recall", 2, "'recall'");
  refuses(train + "--no-such-option", 2, "--no-such-option");
  EXPECT_EQ(files_below(path("refused")), 0u) << "a refused training leaves nothing behind";
  refuses("train {0}/scenes --out {0}/run", 2, "already holds a run");
  refuses("explain {0}/run {0}/scenes/test/sea/00001.jpg --class oceans --out {0}/no", 2, "oceans");
  refuses("explain {0}/run {0}/scenes/test/sea/00001.jpg --class 6 --out {0}/no", 2,
          "there is no class 6; the classes have the numbers 0 to 5");
  refuses("explain {0}/run {0}/scenes/test/sea/00001.jpg --method gradcan --out {0}/no", 2,
          "gradcan");
  refuses("explain {0}/run {0}/scenes/test/sea/00001.jpg --layer layer5 --out {0}/no", 2,
          "the nearest names are layer1");
  refuses(
      "explain {0}/run {0}/scenes/test/sea/00001.jpg --method gradcam,guided-gradcam "
      "--layer layer3,layer4 --out {0}/no",
      2, "guided-gradcam looks at one layer, and was given layer3, layer4");
  EXPECT_EQ(files_below(path("no")), 0u);
  refuses("summary resnet49", 2, "resnet49");
}

TEST_F(CommandLine, TellsWhichCommandOrOptionIsMeant) {
  refuses("predicct {0}/run", 2, "glassnet has no command predicct; the nearest are predict, ");
  refuses("weights frob", 2, "glassnet weights has no command frob; the nearest are ");
  refuses("weights", 2, "needs a command: inspect, convert, diff (glassnet weights --help");
  refuses("evaluate {0}/run {0}/scenes --splt train", 2,
          "glassnet evaluate has no option --splt; the nearest are --split, ");
  refuses("evaluate --splt=train {0}/run", 2, "has no option --splt; the nearest are --split, ");
  refuses("evaluate {0}/run {0}/scenes more", 2, "'more' is too many (glassnet evaluate --help");
  refuses("evaluate {0}/run {0}/scenes --batch-size 2 --batch-size 3", 2,
          "--batch-size is given more than once (glassnet evaluate --help shows how)");
}

TEST_F(CommandLine, ReportsWhatCannotBeDoneInOneSentence) {
  refuses("train {0}/nowhere --out {0}/failed", 1, "nowhere");
  fs::create_directories(path("hollow/train/cat"));
  fs::create_directories(path("hollow/train/dog"));
  fs::create_directories(path("hollow/test/cat"));
  refuses("train {0}/hollow --out {0}/failed", 1, "cat");
  refuses("predict {0}/nowhere {0}/scenes/test/sea", 1, "nowhere");
  refuses("predict {0}/run {0}/nowhere.jpg", 1, "nowhere.jpg");
  refuses("predict {0}/run ''", 1, "got an empty name");
  refuses("evaluate {0}/run {0}/nowhere", 1, "nowhere");

  // A text file called .jpg among the training pictures.
  fs::copy(path("scenes"), path("dirty"), fs::copy_options::recursive);
  std::ofstream(path("dirty/train/sea/note.jpg")) << "not a picture";
  refuses("train {0}/dirty --image-size 32 --epochs 1 --out {0}/failed", 1, "note.jpg");

  // Weights cut short, and weights of another architecture.
  const std::string whole = contents(path("run/best.safetensors"));
  std::ofstream(path("short.safetensors"), std::ios::binary) << whole.substr(0, whole.size() / 2);
  refuses("predict {0}/short.safetensors {0}/scenes/test/sea", 1, "short.safetensors");
  const Outcome other =
      run("predict {0}/run/best.safetensors {0}/scenes/test/sea --model resnet50");
  EXPECT_NE(other.code, 0);
  EXPECT_THAT(other.err, HasSubstr("best.safetensors"));
  EXPECT_EQ(files_below(path("failed")), 0u);
}

TEST_F(CommandLine, NeverWritesOverThePicturesItExplains) {
  fs::create_directories(path("mine"));
  fs::copy_file(path("scenes/test/sea/00001.jpg"), path("mine/sheet.png"));
  const std::string before = contents(path("mine/sheet.png"));
  refuses("explain {0}/run {0}/mine/sheet.png --out {0}/mine", 2, "overwritten");
  refuses("explain {0}/run {0}/mine --out {0}/mine/maps", 2, "outside");
  EXPECT_EQ(contents(path("mine/sheet.png")), before);
  EXPECT_EQ(files_below(path("mine")), 1u);
}

TEST_F(CommandLine, TakesListsBeforeWhatFollowsThem) {
  EXPECT_EQ(run("explain {0}/run --method saliency --save npy {0}/scenes/test/sea/00001.jpg "
                "--out {0}/lists")
                .code,
            0);
  EXPECT_EQ(files_below(path("lists")), 1u);
}

TEST_F(CommandLine, FreezesAllButTheClassifierOfARun) {
  const Outcome outcome = run(
      "train --pretrained {0}/run/best.safetensors --freeze conv1 --freeze bn1 --freeze layer? "
      "--lr-scale fc=0.5 {0}/scenes --image-size 32 --epochs 1 --batch-size 12 --out {0}/tuned");
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(outcome.out,
              HasSubstr("60 of 62 tensors frozen (11176512 of 11179590 parameters), 20 of 20 batch "
                        "norms keep their statistics, 2 of 62 tensors learn at a rate of their own "
                        "(3078 parameters)\n"));
  EXPECT_EQ(outcome.err, "");
  const auto config = nlohmann::json::parse(contents(path("tuned/config.json")));
  EXPECT_EQ(config["freeze"], (std::vector<std::string>{"conv1", "bn1", "layer?"}));
  EXPECT_EQ(config["lr_scale"], std::vector<std::string>{"fc=0.5"});
}

TEST_F(CommandLine, SaysThatItsOutputCannotBeWritten) {
  const auto code = [&](const std::string& command) {
    const int status =
        std::system(fmt::format("'{}' {} </dev/null", GLASSNET_PROGRAM, command).c_str());
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  };
  EXPECT_EQ(code("devices >/dev/full 2>/dev/null"), 1);
  EXPECT_EQ(code("predict nowhere x.jpg >/dev/null 2>/dev/full"), 1);
  EXPECT_EQ(code("predicct 2>&-"), 2);
}

TEST_F(CommandLine, PutsUpWithNamesThatAreNotUtf8) {
  fs::create_directories(path("names"));
  fs::copy_file(path("scenes/test/sea/00001.jpg"), path("names/\xff\xfe.jpg"));
  const Outcome outcome = run("predict {0}/run {0}/names --json");
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(nlohmann::json::parse(outcome.out).size(), 1u);
}

TEST_F(CommandLine, RefusesADataSetWithOtherClasses) {
  fs::create_directories(path("other/cat"));
  fs::copy_file(path("scenes/test/sea/00001.jpg"), path("other/cat/1.jpg"),
                fs::copy_options::overwrite_existing);
  refuses("evaluate {0}/run {0}/other", 1, "cat");
}

#if defined(__SSE2__)
// In a process of its own: it holds for the rest of it.
TEST(UseDevice, TakesDenormalsForZeroAsTrainingDoes) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  const Tensor tiny = Tensor::full({1 << 20}, 1e-39);
  const auto twice_is_zero = [&] {
    const auto twice = scale(tiny, 2).to_vector<float>();
    // By their bits: compared, a denormal is zero, too.
    return std::ranges::all_of(twice, [](float x) { return std::bit_cast<uint32_t>(x) == 0; });
  };
  EXPECT_FALSE(twice_is_zero());
  const auto in_a_command = [&] {
    cli::use_device({.device = "cpu"});
    std::_Exit(twice_is_zero() ? 0 : 1);
  };
  EXPECT_EXIT(in_a_command(), testing::ExitedWithCode(0), "");
}
#endif

}  // namespace
}  // namespace glassnet
