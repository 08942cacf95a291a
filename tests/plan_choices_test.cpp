// Choosing the quickest of a library's plans, with plans and times that are made up, and keeping
// the choice in files that may be anything.
#include "kernels/plan_choices.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "kernels/error.h"
#include "tensor/file.h"
#include "tensor/plan_folder.h"
#include "tests/data_support.h"

namespace glassnet {
namespace {

namespace fs = std::filesystem;
using kernels::kTimedPlans, kernels::kTimedRounds;
using testing::HasSubstr;

struct MadeUpPlan {
  std::string name;
  const std::string& identity() const { return name; }
};

// Proposals in order, and the times that each one's runs take; a plan without times cannot run.
struct MadeUpWays {
  std::vector<std::string> proposals;
  std::map<std::string, std::vector<double>> times;
  std::vector<std::string> ran = {};

  std::unique_ptr<const MadeUpPlan> named(const std::string& identity) const {
    if (std::ranges::find(proposals, identity) == proposals.end()) return nullptr;
    return std::make_unique<const MadeUpPlan>(MadeUpPlan{identity});
  }
  std::vector<std::unique_ptr<const MadeUpPlan>> first(size_t count) const {
    std::vector<std::unique_ptr<const MadeUpPlan>> plans;
    for (const std::string& name : proposals) {
      if (plans.size() < count)
        plans.push_back(std::make_unique<const MadeUpPlan>(MadeUpPlan{name}));
    }
    return plans;
  }
  double milliseconds(const MadeUpPlan& plan) {
    const auto run = static_cast<size_t>(std::ranges::count(ran, plan.name));
    ran.push_back(plan.name);
    const std::vector<double>& known = times[plan.name];
    if (run >= known.size()) throw Error("no memory for " + plan.name);
    return known[run];
  }
};

struct Remembered : kernels::PlanChoices {
  std::map<std::string, std::string> choices;
  std::string find(const std::string& device, const std::string& key) override {
    return choices[device + ": " + key];
  }
  void keep(const std::string& device, const std::string& key,
            const std::string& identity) override {
    choices[device + ": " + key] = identity;
  }
};

std::string chosen(MadeUpWays& ways, kernels::PlanChoices& choices) {
  return kernels::choose_plan(ways, choices, "gpu", "work")->name;
}

TEST(PlanChoices, TheMedianIsTheMiddleOne) {
  EXPECT_EQ(kernels::median({3}), 3);
  EXPECT_EQ(kernels::median({3, 1}), 1);
  EXPECT_EQ(kernels::median({9, 1, 5}), 5);
  EXPECT_EQ(kernels::median({4, 1, 3, 2}), 2);
}

// The first run loads the code, and one run may be disturbed.
TEST(PlanChoices, TheQuickestByItsMedianIsTakenAndKept) {
  MadeUpWays ways{
      {"a", "b", "c"},
      {{"a", {1, 5, 5, 5, 5, 5}}, {"b", {90, 4, 4, 70, 4, 80}}, {"c", {1, 1, 1, 6, 6, 6}}}};
  Remembered choices;
  EXPECT_EQ(chosen(ways, choices), "b");
  EXPECT_EQ(choices.choices["gpu: work"], "b");
  ASSERT_EQ(ways.ran.size(), 3U * (1 + kTimedRounds));
  for (size_t i = 0; i < ways.ran.size(); ++i) EXPECT_EQ(ways.ran[i], ways.proposals[i % 3]);
}

TEST(PlanChoices, OfEqualsTheFirstProposalIsTaken) {
  const std::vector<double> same(1 + kTimedRounds, 2.0);
  MadeUpWays ways{{"a", "b"}, {{"a", same}, {"b", same}}};
  Remembered choices;
  EXPECT_EQ(chosen(ways, choices), "a");
}

TEST(PlanChoices, WhatWasKeptIsTakenWithoutTiming) {
  MadeUpWays ways{{"a", "b", "c"}, {}};
  Remembered choices;
  choices.keep("gpu", "work", "c");
  EXPECT_EQ(chosen(ways, choices), "c");
  EXPECT_TRUE(ways.ran.empty());
}

TEST(PlanChoices, WhatIsNoPlanAnyMoreIsTimedAgain) {
  MadeUpWays ways{{"a", "b"}, {{"a", std::vector(6, 2.0)}, {"b", std::vector(6, 1.0)}}};
  Remembered choices;
  choices.keep("gpu", "work", "gone");
  EXPECT_EQ(chosen(ways, choices), "b");
  EXPECT_EQ(choices.choices["gpu: work"], "b");
}

TEST(PlanChoices, OnlyTheFirstFewAreTimed) {
  MadeUpWays ways;
  for (size_t i = 0; i < kTimedPlans + 2; ++i) {
    ways.proposals.push_back("plan " + std::to_string(i));
    ways.times[ways.proposals[i]] = std::vector(6, 100.0 - static_cast<double>(i));
  }
  Remembered choices;
  EXPECT_EQ(chosen(ways, choices), "plan " + std::to_string(kTimedPlans - 1));
}

TEST(PlanChoices, AnOnlyProposalIsNotTimed) {
  MadeUpWays ways{{"a"}, {}};
  Remembered choices;
  EXPECT_EQ(chosen(ways, choices), "a");
  EXPECT_TRUE(ways.ran.empty() && choices.find("gpu", "work").empty());
}

TEST(PlanChoices, WhoCannotRunTakesNoPart) {
  MadeUpWays ways{{"a", "b", "c"},
                  {{"b", {9, 1, 1}},  // fails later on
                   {"c", std::vector(6, 3.0)}}};
  Remembered choices;
  EXPECT_EQ(chosen(ways, choices), "c");
  EXPECT_EQ(std::ranges::count(ways.ran, "a"), 1);
}

TEST(PlanChoices, WhereNothingRunsTheFirstIsTakenAndNothingKept) {
  MadeUpWays ways{{"a", "b"}, {}};
  Remembered choices;
  EXPECT_EQ(chosen(ways, choices), "a");
  EXPECT_EQ(choices.find("gpu", "work"), "");
}

// ---- In files -----------------------------------------------------------------------------------

const std::string kGpu = "NVIDIA H200, 132 multiprocessors, cuDNN 9.19.0, CUDA 13.0, driver 580.65";
const std::string kFirstLine = "glassnet plans 1: " + kGpu + "\n";

class PlanFolderTest : public testing::Test {
 protected:
  // What the choice for a key is in a new process.
  std::string reread(const std::string& key = "work") const {
    return PlanFolder(folder_).find(kGpu, key);
  }
  void put(const std::string& text) const {
    fs::create_directories(folder_);
    std::ofstream(file_, std::ios::binary) << text;
  }
  const test::TempFolder temporary_;
  const fs::path folder_ = temporary_.path() / "cache" / "glassnet";
  const fs::path file_ = PlanFolder(folder_).file_of(kGpu);
};

TEST_F(PlanFolderTest, KeepsChoicesForTheNextProcess) {
  PlanFolder plans(folder_);
  EXPECT_EQ(plans.find(kGpu, "work"), "");
  EXPECT_FALSE(fs::exists(folder_)) << "nothing to keep";
  plans.keep(kGpu, "work", "engine 62 2=1");
  plans.keep(kGpu, "a (1, 2), + b", "engine 7");
  plans.keep(kGpu, "work", "engine 3 0=4");
  plans.keep("another GPU", "work", "engine 1");
  EXPECT_EQ(plans.find(kGpu, "work"), "engine 3 0=4");
  EXPECT_EQ(reread(), "engine 3 0=4");
  EXPECT_EQ(read_file(file_), kFirstLine + "a (1, 2), + b = engine 7\nwork = engine 3 0=4\n");
  EXPECT_EQ(file_.filename(),
            "plans-NVIDIA-H200-132-multiprocessors-cuDNN-9.19.0-CUDA-13.0-driver-580.65.txt");
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_), fs::directory_iterator{}), 2);
}

TEST_F(PlanFolderTest, OneProcessTimesForTheNext) {
  MadeUpWays ways{{"engine 1", "engine 2"},
                  {{"engine 1", std::vector(6, 2.0)}, {"engine 2", std::vector(6, 1.0)}}};
  PlanFolder plans(folder_);
  EXPECT_EQ(chosen(ways, plans), "engine 2");
  MadeUpWays later{ways.proposals, {}};
  PlanFolder reread(folder_);
  EXPECT_EQ(chosen(later, reread), "engine 2");
  EXPECT_TRUE(later.ran.empty());
}

TEST_F(PlanFolderTest, ProcessesDoNotForgetEachOthersChoices) {
  PlanFolder one(folder_), other(folder_);
  EXPECT_EQ(other.find(kGpu, "first"), "");
  one.keep(kGpu, "first", "engine 1");
  other.keep(kGpu, "second", "engine 2");
  one.keep(kGpu, "third", "engine 3");
  EXPECT_EQ(reread("first") + reread("second") + reread("third"), "engine 1engine 2engine 3");
}

TEST_F(PlanFolderTest, ManyThreadsMayKeep) {
  PlanFolder plans(folder_);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&plans, t] {
      for (int i = 0; i < 8; ++i) plans.keep(kGpu, std::to_string(10 * t + i), "engine 1");
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const int key : {0, 7, 10, 37}) EXPECT_EQ(reread(std::to_string(key)), "engine 1");
}

TEST_F(PlanFolderTest, WithoutAFolderChoicesLastAsLongAsTheProcess) {
  testing::internal::CaptureStderr();
  PlanFolder plans({});
  plans.keep(kGpu, "work", "engine 1");
  EXPECT_EQ(plans.find(kGpu, "work"), "engine 1");
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
}

// Whatever lies there: it counts as empty, one line says so, and the next choice takes its place.
TEST_F(PlanFolderTest, FilesThatAreNoneOfOursAreIgnoredAndReplaced) {
  const std::string good = kFirstLine + "work = engine 62 2=1\nzeal = engine 3\n";
  const std::map<std::string, std::string> files = {
      {"", "ends within a line"},
      {good.substr(0, good.size() - 1), "ends within a line"},
      {kFirstLine.substr(0, 9), "ends within a line"},
      {kFirstLine + "work\n", "has the line 'work'"},
      {kFirstLine + "work = \n", "has the line 'work = '"},
      {kFirstLine + " = engine 62\n", "has the line ' = engine 62'"},
      {kFirstLine + "\n", "has the line ''"},
      {kFirstLine + "work = engine\t62\n", "is no text"},
      {kFirstLine + std::string("work = \0\n", 9), "is no text"},
      {kFirstLine + "work = \xff\xfe\n", "is no text"},
      {"glassnet plans 2: " + kGpu + "\nwork = engine 62\n", "does not begin with"},
      {"glassnet plans 1: another GPU\nwork = engine 62\n", "does not begin with"},
      {"{\"work\": \"engine 62\"}\n", "does not begin with"},
      {kFirstLine + std::string(5 << 20, 'x'), "is too large"},
  };
  for (const auto& [text, why] : files) {
    put(text);
    testing::internal::CaptureStderr();
    PlanFolder plans(folder_);
    EXPECT_EQ(plans.find(kGpu, "work"), "") << why;
    EXPECT_EQ(plans.find(kGpu, "zeal"), "") << why;
    plans.keep(kGpu, "work", "engine 5");
    const std::string told = testing::internal::GetCapturedStderr();
    EXPECT_THAT(told, HasSubstr(file_.string() + " " + why));
    EXPECT_EQ(std::ranges::count(told, '\n'), 1) << told;
    EXPECT_EQ(read_file(file_), kFirstLine + "work = engine 5\n");
  }
}

TEST_F(PlanFolderTest, EveryTruncationIsAWholeBeginningOrIgnored) {
  const std::string good = kFirstLine + "a = engine 62 2=1\nb = engine 3\n";
  testing::internal::CaptureStderr();
  for (size_t size = 0; size < good.size(); ++size) {
    put(good.substr(0, size));
    const std::string a = reread("a"), b = reread("b");
    EXPECT_TRUE(a.empty() || a == "engine 62 2=1") << size;
    EXPECT_TRUE(b.empty()) << size;
  }
  testing::internal::GetCapturedStderr();
}

TEST_F(PlanFolderTest, WhatCannotBeWrittenIsToldOnce) {
  const auto expect_kept_in_memory = [&](const std::string& what) {
    testing::internal::CaptureStderr();
    PlanFolder plans(folder_);
    EXPECT_EQ(plans.find(kGpu, "work"), "");
    plans.keep(kGpu, "work", "engine 1");
    plans.keep(kGpu, "more", "engine 2");
    EXPECT_EQ(plans.find(kGpu, "work") + plans.find(kGpu, "more"), "engine 1engine 2");
    const std::string told = testing::internal::GetCapturedStderr();
    EXPECT_THAT(told, testing::StartsWith(what));
    EXPECT_EQ(std::ranges::count(told, '\n'), 1) << told;
  };
  const std::string unread = "plans of earlier runs are not used: ",
                    unwritten = "plans of this run cannot be kept: ";
  fs::create_directories(file_);  // a folder where the file should be
  expect_kept_in_memory(unread);
  fs::remove(file_);
  ASSERT_EQ(mkfifo(file_.c_str(), 0600), 0);  // which a reader would wait at
  expect_kept_in_memory(unread);
  fs::remove_all(folder_);
  std::ofstream(folder_) << "a file where the folder should be";
  expect_kept_in_memory(unwritten);
}

TEST_F(PlanFolderTest, LinesReadAsTheyWereWritten) {
  testing::internal::CaptureStderr();
  PlanFolder plans(folder_);
  for (int i = 0; i < 20; ++i) {
    plans.keep(kGpu, "key " + std::to_string(i), std::to_string(i) + " = " + std::to_string(i));
  }
  EXPECT_EQ(reread("key 17"), "17 = 17");
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
}

// Sets a variable of the environment, or unsets it, for as long as it lives.
class Environment {
 public:
  Environment(const char* name, const char* value) : name_(name) {
    if (const char* before = std::getenv(name)) before_ = before;
    set(value);
  }
  ~Environment() { set(before_ ? before_->c_str() : nullptr); }
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;

 private:
  void set(const char* value) {
    if (value != nullptr) {
      setenv(name_, value, 1);
    } else {
      unsetenv(name_);
    }
  }
  const char* name_;
  std::optional<std::string> before_;
};

TEST(CacheFolder, FollowsTheEnvironment) {
  const Environment home("HOME", "/home/user");
  const Environment no_folder("GLASSNET_CACHE_DIR", nullptr), no_cache("XDG_CACHE_HOME", nullptr);
  EXPECT_EQ(cache_folder(), "/home/user/.cache/glassnet");
  {
    const Environment cache("XDG_CACHE_HOME", "/var/cache");
    EXPECT_EQ(cache_folder(), "/var/cache/glassnet");
    const Environment folder("GLASSNET_CACHE_DIR", "/tmp/here");
    EXPECT_EQ(cache_folder(), "/tmp/here");
    const Environment passed_over("GLASSNET_CACHE_DIR", "here");
    EXPECT_EQ(cache_folder(), "/var/cache/glassnet");
  }
  const Environment relative("XDG_CACHE_HOME", "cache");
  EXPECT_EQ(cache_folder(), "/home/user/.cache/glassnet");
  const Environment nobody("HOME", nullptr);
  EXPECT_EQ(cache_folder(), "");
}

TEST(CacheFolder, TuningCanBeTurnedOff) {
  const auto before = kernels::plan_choices();
  {
    const Environment tune("GLASSNET_TUNE", nullptr);
    use_plan_folder();
    EXPECT_NE(kernels::plan_choices(), nullptr);
  }
  const Environment off("GLASSNET_TUNE", "0");
  use_plan_folder();
  EXPECT_EQ(kernels::plan_choices(), nullptr);
  kernels::set_plan_choices(before);
}

}  // namespace
}  // namespace glassnet
