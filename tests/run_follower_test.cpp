// Following a run: that each look sees whole epochs and nothing else, whatever a writer has done
// meanwhile.
#include "training/run_follower.h"

#include <filesystem>
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/run_support.h"

namespace glassnet {
namespace {

namespace fs = std::filesystem;
using test::TempFolder;
using test::WrittenRun;
using testing::HasSubstr;

TEST(RunFollower, WaitsForARunThatIsNotThere) {
  const TempFolder folder;
  RunFollower follower(folder / "run");
  EXPECT_FALSE(follower.look());
  EXPECT_EQ(follower.status(), RunStatus{});
  EXPECT_EQ(follower.record()->log.epochs, 0);
  const auto nothing = follower.record()->marks;
  ASSERT_EQ(nothing.size(), 1U);

  WrittenRun run(folder / "run", 3);
  EXPECT_TRUE(follower.look());
  EXPECT_EQ(follower.status().phase, RunPhase::kPaused);
  EXPECT_EQ(follower.status().planned, 3);
  EXPECT_EQ(follower.record()->log.header.images.size(), 3U);
  EXPECT_NE(follower.record()->marks[0], nothing[0]);
  EXPECT_FALSE(follower.look());
}

TEST(RunFollower, SeesEpochsAsTheyAreWrittenAndNeverHalf) {
  const TempFolder folder;
  WrittenRun run(folder / "run", 3);
  RunFollower follower(folder / "run");
  for (int64_t epoch = 1; epoch <= 3; ++epoch) {
    run.append_predictions(epoch);
    follower.look();
    // Its metrics are to come.
    EXPECT_EQ(follower.record()->log.epochs, epoch - 1);
    std::ofstream(RunFolder(folder / "run").metrics(), std::ios::app) << "{\"epoch\":";
    follower.look();
    EXPECT_EQ(follower.record()->log.epochs, epoch - 1);
    fs::resize_file(RunFolder(folder / "run").metrics(),
                    fs::file_size(RunFolder(folder / "run").metrics()) - 9);
    run.append_metrics(epoch);
    const auto before = follower.record();
    EXPECT_TRUE(follower.look());
    const auto& record = *follower.record();
    EXPECT_EQ(record.log.epochs, epoch);
    EXPECT_EQ(record.metrics.size(), static_cast<size_t>(epoch));
    EXPECT_EQ(record.log.predicted.size(), static_cast<size_t>(3 * epoch));
    // What was there before has kept its marks, and its record.
    EXPECT_EQ(before->log.epochs, epoch - 1);
    EXPECT_EQ(std::vector(record.marks.begin(), record.marks.end() - 1), before->marks);
    EXPECT_FALSE(follower.look());
  }
  EXPECT_EQ(follower.status().phase, RunPhase::kFinished);
}

TEST(RunFollower, SeesARunGoOnFromAnEarlierEpoch) {
  const TempFolder folder;
  WrittenRun run(folder / "run", 5);
  for (int64_t epoch = 1; epoch <= 3; ++epoch) run.append(epoch);
  RunFollower follower(folder / "run");
  follower.look();
  const auto before = follower.record();
  run.cut(1);
  EXPECT_TRUE(follower.look());
  EXPECT_EQ(follower.record()->log.epochs, 1);
  EXPECT_EQ(follower.record()->marks[1], before->marks[1]);
  // As many epochs as before, and the second of them another one.
  run.append(7);
  run.append(3);
  EXPECT_TRUE(follower.look());
  EXPECT_EQ(follower.record()->log.epochs, 3);
  EXPECT_EQ(follower.record()->marks[1], before->marks[1]);
  EXPECT_NE(follower.record()->marks[2], before->marks[2]);
  EXPECT_NE(follower.record()->marks[3], before->marks[3]);
}

// Between two looks, in the same instant and with the same sizes.
TEST(RunFollower, NoticesAnEpochThatWasWrittenOver) {
  const TempFolder folder;
  WrittenRun run(folder / "run", 5);
  RunFollower follower(folder / "run");
  run.append(1);
  follower.look();
  for (int64_t epoch = 2; epoch < 40; ++epoch) {
    run.cut(0);
    run.append(epoch);
    const uint64_t before = follower.record()->marks.back();
    follower.look();
    ASSERT_NE(follower.record()->marks.back(), before) << epoch;
  }
}

TEST(RunFollower, TellsWhetherSomebodyWrites) {
  const TempFolder folder;
  WrittenRun run(folder / "run", 2);
  RunFollower follower(folder / "run");
  {
    const FolderLock lock(folder / "run");
    EXPECT_TRUE(follower.look());
    EXPECT_EQ(follower.status().phase, RunPhase::kTraining);
    run.append(1);
    EXPECT_TRUE(follower.look());
    EXPECT_EQ(follower.status().seconds, 1.5);
  }
  EXPECT_TRUE(follower.look());
  EXPECT_EQ(follower.status().phase, RunPhase::kPaused);
  // Asking has left nothing locked.
  const FolderLock again(folder / "run");
}

TEST(RunFollower, KnowsARunThatEndedEarly) {
  const TempFolder folder;
  WrittenRun run(folder / "run", 9);
  run.append_predictions(1);
  run.append_metrics(1, "nothing got better");
  RunFollower follower(folder / "run");
  follower.look();
  EXPECT_EQ(follower.status().phase, RunPhase::kFinished);
  EXPECT_EQ(follower.status().note, "nothing got better");
}

TEST(RunFollower, KeepsWhatItHasWhileFilesAreDamagedAndSaysSo) {
  const TempFolder folder;
  WrittenRun run(folder / "run", 5);
  run.append(1);
  RunFollower follower(folder / "run");
  follower.look();
  const std::string sound = test::contents(folder / "run/predictions.npy");
  for (const std::string& damage :
       {std::string("\x93NUMPY"), std::string(), sound.substr(0, 140),
        sound.substr(0, 128) + std::string(sound.size() - 128, '\x7f')}) {
    folder.write("run/predictions.npy", damage);
    follower.look();
    follower.look();
    EXPECT_EQ(follower.status().note, "");
    EXPECT_TRUE(follower.look());
    EXPECT_THAT(follower.status().note, HasSubstr("run"));
    EXPECT_EQ(follower.record()->log.epochs, 1);
    folder.write("run/predictions.npy", sound);
    EXPECT_TRUE(follower.look());
    EXPECT_EQ(follower.status().note, "");
  }
  fs::remove_all(folder / "run");
  EXPECT_TRUE(follower.look());
  EXPECT_EQ(follower.record()->log.epochs, 0);
  EXPECT_EQ(follower.status().phase, RunPhase::kAwaited);
}

TEST(RunFollower, FollowsALogAlone) {
  const TempFolder folder;
  PredictionLog log = PredictionLog::create(folder.path(), test::written_header());
  RunFollower follower(folder.path());
  log.append({0, 1, 1}, {0.5F, 0.5F, 0.5F}, {0.5F, 0.5F, 0.5F});
  EXPECT_TRUE(follower.look());
  EXPECT_EQ(follower.record()->log.epochs, 1);
  EXPECT_TRUE(follower.record()->metrics.empty());
  EXPECT_EQ(follower.status().planned, 0);
}

}  // namespace
}  // namespace glassnet
