// The live page's answers, asked for as a browser does: over HTTP, while a run's folder grows.
#include "cli/live_run.h"

#include <atomic>
#include <chrono>
#include <latch>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "report/evolution_page.h"
#include "tests/http_support.h"
#include "tests/run_support.h"

namespace glassnet::cli {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using test::Answer;
using test::Connection;
using test::request_for;
using test::Serving;
using test::TempFolder;
using test::WrittenRun;
using testing::HasSubstr;
using testing::Not;

json data_of(const std::string& page) {
  constexpr std::string_view kBegin = R"(<script type="application/json" id="data">)";
  const size_t begin = page.find(kBegin) + kBegin.size();
  return json::parse(page.substr(begin, page.find("</script>", begin) - begin));
}

// A folder, what is served from it, and a look after each change.
struct Watched {
  explicit Watched(ExplainImage explain = {})
      : live(folder / "run", std::move(explain)),
        serving([this](const HttpRequest& request) { return live.answer(request); }) {}

  void look() {
    live.look();
    serving.wake();
  }
  Answer get(std::string_view path) const { return test::get(serving.port(), path); }
  json data() const { return data_of(get("/").body); }
  std::string mark() const { return data()["live"]["mark"]; }
  Connection follow(const std::string& query, std::string_view fields = "") const {
    Connection connection(serving.port());
    connection.send(request_for("/events" + query, fields));
    return connection;
  }

  TempFolder folder;
  LiveRun live;
  Serving serving;
};

class LivePage : public testing::Test {
 protected:
  void SetUp() override {
    if (live_asset("/page.js").content.empty()) GTEST_SKIP() << "built without esbuild and D3";
  }
};

// The value of the last `id` that was sent.
std::string last_id(const std::string& stream) {
  const size_t at = stream.rfind("id: ") + 4;
  return stream.substr(at, stream.find('\n', at) - at);
}

TEST_F(LivePage, WaitsForTheFirstEpochAndBeginsAgainWithIt) {
  Watched watched;
  const Answer waiting = watched.get("/");
  EXPECT_EQ(waiting.status, 200);
  EXPECT_THAT(waiting.body, HasSubstr(R"(<script src="/waiting.js">)"));
  EXPECT_EQ(watched.data()["live"]["status"]["phase"], "awaited");
  Connection viewer = watched.follow("?after=" + watched.mark());
  viewer.until(R"("phase":"awaited")");
  WrittenRun run(watched.folder / "run", 3);
  run.append(1);
  watched.look();
  viewer.until("event: reload");
  EXPECT_THAT(watched.get("/").body, HasSubstr(R"(<script src="/page.js">)"));
}

TEST_F(LivePage, SendsEachEpochToThoseWhoLackIt) {
  Watched watched;
  WrittenRun run(watched.folder / "run", 3);
  run.append(1);
  watched.look();
  const json page = watched.data();
  ASSERT_EQ(page["runs"].size(), 1U);
  EXPECT_EQ(page["runs"][0]["name"], "run");
  EXPECT_EQ(page["runs"][0]["epochs"], 1);
  EXPECT_THAT(watched.get("/").body, HasSubstr(R"(<script src="/page.js">)"));

  Connection viewer = watched.follow("?after=" + watched.mark());
  viewer.until(R"("phase":"paused","of":3)");
  EXPECT_THAT(viewer.until("\n\n"), Not(HasSubstr("event: epoch")));
  run.append(2);
  watched.look();
  viewer.until("\"epoch\":2");
  run.append(3);
  watched.look();
  const std::string stream = viewer.until("\"phase\":\"finished\"");
  EXPECT_THAT(stream, HasSubstr("Content-Type: text/event-stream\r\n"));
  EXPECT_EQ(last_id(stream), watched.mark());
  // As the page would have had it.
  const size_t at = stream.find("event: epoch\ndata: ") + 19;
  const json second = json::parse(stream.substr(at, stream.find('\n', at) - at));
  EXPECT_EQ(second["epoch"], 2);
  EXPECT_EQ(second["testLoss"], 1.0);
  EXPECT_EQ(second["predicted"]["data"], "AAAB");
  EXPECT_EQ(second["trueProbability"]["bytes"], 1);
  // Whoever connects again gets the rest, whichever way the browser says what it has.
  const std::string first = page["live"]["mark"];
  for (const auto& [query, field] : {std::pair<std::string, std::string>{"?after=" + first, ""},
                                     {"", "Last-Event-ID: " + first + "\r\n"},
                                     {"?after=0-0", "Last-Event-ID: " + first + "\r\n"}}) {
    Connection again = watched.follow(query, field);
    again.until("\"epoch\":2");
    EXPECT_EQ(last_id(again.until("\"phase\"")), watched.mark());
  }
}

TEST_F(LivePage, TellsOfARunThatWentBack) {
  Watched watched;
  WrittenRun run(watched.folder / "run", 5);
  for (int64_t epoch = 1; epoch <= 3; ++epoch) run.append(epoch);
  watched.look();
  const std::string had = watched.mark();
  Connection viewer = watched.follow("?after=" + had);
  viewer.until("event: status");
  run.cut(2);
  watched.look();
  viewer.until("event: cut\ndata: {\"epochs\":2}");
  run.append(9);
  watched.look();
  viewer.until("\"epoch\":3");
  EXPECT_THAT(viewer.until("\"epoch\":3"), Not(HasSubstr("reload")));
  // Two at once: the epoch that comes next says where it belongs.
  run.cut(1);
  run.append(8);
  watched.look();
  viewer.until("\"epoch\":2");
  EXPECT_EQ(last_id(viewer.until("\n\n")), watched.mark());
  // Whoever was away has something that no longer exists.
  watched.follow("?after=" + had).until("event: reload");
  // And from nothing the page begins again.
  run.cut(0);
  watched.look();
  viewer.until("event: reload");
  EXPECT_THAT(watched.get("/").body, HasSubstr("/waiting.js"));
}

TEST_F(LivePage, SaysToStrangersToBeginAgain) {
  Watched watched;
  WrittenRun run(watched.folder / "run", 5);
  run.append(1);
  watched.look();
  for (const char* query :
       {"", "?after=", "?after=1-0000000000000000", "?after=99-0", "?after=-1-0", "?after=1",
        "?x=1", "?after=%31", "?after=99999999999999999999-1"}) {
    watched.follow(query).until("event: reload");
  }
  // Another run of other images in the same place.
  Connection viewer = watched.follow("?after=" + watched.mark());
  viewer.until("event: status");
  fs::remove_all(watched.folder / "run");
  auto header = test::written_header();
  header.images[0].id = "forest/other.png";
  WrittenRun other(watched.folder / "run", 5, "nowhere", header);
  other.append(1);
  other.append(2);
  watched.look();
  viewer.until("event: reload");
}

TEST_F(LivePage, LimitsItsViewersAndForgetsThoseWhoLeave) {
  Watched watched;
  const std::string query = "?after=" + watched.mark();
  std::vector<Connection> viewers;
  for (int i = 0; i < kMostViewers; ++i) {
    viewers.push_back(watched.follow(query));
    viewers.back().until("event: status");
  }
  const Answer refused = watched.get("/events" + query);
  EXPECT_EQ(refused.status, 503);
  EXPECT_THAT(refused.head, HasSubstr("Retry-After"));
  EXPECT_EQ(watched.get("/").status, 200);
  viewers.pop_back();
  for (int attempt = 0; attempt < 100; ++attempt) {
    Connection next = watched.follow(query);
    if (next.until("\r\n").starts_with("HTTP/1.1 200")) return;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  FAIL() << "a place that was left stays taken";
}

TEST_F(LivePage, AnswersNothingButItsOwnPaths) {
  Watched watched;
  WrittenRun run(watched.folder / "run", 5);
  run.append(1);
  watched.look();
  for (const char* path : {"/config.json",
                           "/../config.json",
                           "/..%2fconfig.json",
                           "/%2e%2e/config.json",
                           "/run/config.json",
                           "//",
                           "/picture/../config.json",
                           "/picture/0/../../config.json",
                           "/picture/",
                           "/picture/3",
                           "/picture/-1",
                           "/picture/+1",
                           "/picture/1x",
                           "/picture/0x1",
                           "/picture/99999999999999999999999",
                           "/explanation/",
                           "/explanation/3",
                           "/explanation/0/",
                           "/page.js/",
                           "/PAGE.JS",
                           "/index.html",
                           "/favicon.ico",
                           "/events/",
                           "/etc/passwd",
                           "/proc/self/environ"}) {
    const Answer answer = watched.get(path);
    EXPECT_EQ(answer.status, 404) << path;
    EXPECT_THAT(answer.body, Not(HasSubstr("epochs"))) << path;
  }
  for (const char* path : {"/page.js", "/waiting.js", "/page.css"}) {
    const Answer answer = watched.get(path);
    EXPECT_EQ(answer.status, 200);
    EXPECT_EQ(answer.body, live_asset(path).content);
  }
}

TEST_F(LivePage, HasNoScriptOrStyleInThePageItself) {
  const std::string policy = LiveRun::policy();
  EXPECT_THAT(policy, testing::StartsWith("default-src 'none'; "));
  EXPECT_THAT(policy, Not(HasSubstr("unsafe")));
  Watched watched;
  WrittenRun run(watched.folder / "run", 5);
  run.append(1);
  const auto has_none = [&] {
    const std::string page = watched.get("/").body;
    for (const char* inline_code :
         {"<style", "<script>", " style=", " onclick=", "<meta http-equiv"}) {
      EXPECT_EQ(page.find(inline_code), std::string::npos) << inline_code;
    }
  };
  has_none();
  watched.look();
  has_none();
}

TEST_F(LivePage, ShowsHostileNamesAsTheyAre) {
  Watched watched;
  const std::vector<std::string> names = {"</script><script>alert(1)</script>",
                                          "<!--<script>",
                                          "\"'\\\n\r\n\r\ndata: x",
                                          "\u202Eright to left",
                                          std::string(10000, '<'),
                                          "id: 7\n\nevent: reload"};
  PredictionLogHeader header{.classes = names};
  header.classes.resize(2);
  for (const std::string& name : names) header.images.push_back({name, 0});
  WrittenRun run(watched.folder / "run", 5, "</script>", header);
  run.append(1);
  watched.look();
  const json data = watched.data();
  for (size_t i = 0; i < names.size(); ++i) EXPECT_EQ(data["runs"][0]["ids"][i], names[i]);
  Connection viewer = watched.follow("?after=" + watched.mark());
  viewer.until("event: status");
  run.append(2);
  watched.look();
  EXPECT_THAT(viewer.until("\"epoch\":2"), Not(HasSubstr("reload")));
}

TEST_F(LivePage, ShowsPhotographsOfTheRunsImagesAlone) {
  Watched watched;
  for (const char* split : {"train", "test"}) {
    test::write_noise(watched.folder, std::string("data/") + split + "/forest/1.png", 40, 60, 1);
    test::write_noise(watched.folder, std::string("data/") + split + "/sea/2.png", 40, 60, 2);
  }
  watched.folder.write("data/test/sea/<b>.png", "no picture");
  WrittenRun run(watched.folder / "run", 5, watched.folder / "data");
  run.append(1);
  watched.look();
  EXPECT_EQ(watched.data()["runs"][0]["thumbnails"],
            json({"/picture/0", "/picture/1", "/picture/2"}));
  const Answer picture = watched.get("/picture/1");
  EXPECT_EQ(picture.status, 200);
  EXPECT_THAT(picture.head, HasSubstr("Content-Type: image/jpeg\r\n"));
  const Image image = decode_image(
      {reinterpret_cast<const uint8_t*>(picture.body.data()), picture.body.size()}, "picture");
  EXPECT_EQ(image.width, 192);
  EXPECT_EQ(image.height, 192);
  EXPECT_EQ(watched.get("/picture/2").status, 404);
  fs::remove(watched.folder / "data/test/sea/2.png");
  EXPECT_EQ(watched.get("/picture/1").status, 404);
}

TEST_F(LivePage, ExplainsAnImageAtATimeAndOnceForEachBestWeights) {
  std::latch begun(1), released(1);
  std::atomic<int> calls{0}, at_once{0};
  Watched watched([&](int64_t image) {
    EXPECT_EQ(++at_once, 1);
    if (++calls == 1) {
      begun.count_down();
      released.wait();
    }
    --at_once;
    if (image == 2) throw Error("the photograph is gone");
    return fmt::format(R"({{"image":{}}})", image);
  });
  WrittenRun run(watched.folder / "run", 5);
  run.append(1);
  watched.look();
  Connection first(watched.serving.port());
  first.send(request_for("/explanation/0"));
  begun.wait();
  Connection second(watched.serving.port());
  second.send(request_for("/explanation/1"));
  EXPECT_EQ(watched.get("/").status, 200);  // meanwhile
  released.count_down();
  EXPECT_THAT(first.until(), testing::EndsWith(R"({"image":0})"));
  EXPECT_THAT(second.until(), testing::EndsWith(R"({"image":1})"));
  EXPECT_EQ(watched.get("/explanation/0").body, R"({"image":0})");
  EXPECT_EQ(calls, 2);
  watched.folder.write("run/best.safetensors", "better ones");
  const Answer again = watched.get("/explanation/0");
  EXPECT_EQ(again.body, R"({"image":0})");
  EXPECT_THAT(again.head, HasSubstr("Content-Type: application/json\r\n"));
  EXPECT_EQ(calls, 3);
  EXPECT_EQ(watched.get("/explanation/2").body, "the photograph is gone\n");
  EXPECT_EQ(watched.get("/explanation/2").status, 404);
  EXPECT_EQ(calls, 5);
}

TEST_F(LivePage, ExplainsInOneThreadAndLetsFewWait) {
  std::latch begun(1), released(1);
  std::mutex mutex;
  std::set<std::thread::id> threads;
  Watched watched([&](int64_t image) {
    if (image == 0) begun.count_down();
    released.wait();
    const std::lock_guard lock(mutex);
    threads.insert(std::this_thread::get_id());
    return std::string("{}");
  });
  WrittenRun run(watched.folder / "run", 5);
  run.append(1);
  watched.look();
  Connection first(watched.serving.port());
  first.send(request_for("/explanation/0"));
  begun.wait();
  // One image is being explained: of the others, all that may wait, three are refused.
  std::atomic<int> explained{0}, refused{0};
  {
    std::vector<std::jthread> others;
    for (size_t i = 0; i < kMostToExplain + 3; ++i) {
      others.emplace_back([&] {
        const Answer answer = watched.get("/explanation/1");
        explained += answer.status == 200 ? 1 : 0;
        refused += answer.status == 503 && answer.head.find("Retry-After: ") != std::string::npos;
      });
    }
    for (int wait = 0; wait < 1000 && refused < 3; ++wait) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    released.count_down();
  }
  EXPECT_EQ(refused, 3);
  EXPECT_EQ(explained, static_cast<int>(kMostToExplain));
  EXPECT_THAT(first.until(), testing::EndsWith("{}"));
  EXPECT_EQ(threads.size(), 1u);
}

TEST_F(LivePage, ExplainsNothingWhereNobodyCan) {
  Watched watched;
  WrittenRun run(watched.folder / "run", 5);
  run.append(1);
  watched.look();
  EXPECT_EQ(watched.get("/explanation/0").body, "this server explains no images\n");
}

}  // namespace
}  // namespace glassnet::cli
