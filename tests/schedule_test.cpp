// Learning rates against PyTorch's schedulers and against what the header promises.
#include "training/schedule.h"

#include <algorithm>
#include <filesystem>

#include <gtest/gtest.h>

#include "kernels/error.h"
#include "models/safetensors.h"

namespace glassnet {
namespace {

void expect_golden(const std::string& name, const Schedule& schedule) {
  const auto file =
      load_safetensors(std::filesystem::path(GLASSNET_GOLDEN_DIR) / "optimizers.safetensors");
  for (const NamedTensor& entry : file.tensors) {
    if (entry.name != "schedule/" + name) continue;
    const auto expected = entry.tensor.to_vector<double>();
    for (size_t i = 0; i < expected.size(); ++i) {
      EXPECT_NEAR(
          learning_rate(schedule, static_cast<int64_t>(i), static_cast<int64_t>(expected.size())),
          expected[i], 1e-12)
          << "step " << i;
    }
    return;
  }
  FAIL() << "no golden schedule " << name;
}

TEST(Schedule, OneCycleIsPyTorchs) {
  expect_golden("one_cycle", {.kind = ScheduleKind::kOneCycle, .peak = 0.05});
}

TEST(Schedule, CosineIsPyTorchs) {
  expect_golden("cosine", {.kind = ScheduleKind::kCosine, .peak = 0.05, .final_fraction = 0.01});
}

TEST(Schedule, StepIsPyTorchs) {
  expect_golden("step", {.kind = ScheduleKind::kStep, .peak = 0.05, .step_every = 15});
}

TEST(Schedule, ConstantIsConstant) {
  const Schedule schedule{.kind = ScheduleKind::kConstant, .peak = 0.3};
  for (const int64_t step : {0, 1, 50, 99, 1000}) {
    EXPECT_EQ(learning_rate(schedule, step, 100), 0.3);
  }
}

TEST(Schedule, WarmsUpInAStraightLineAndThenGoesOnFromThePeak) {
  for (const ScheduleKind kind :
       {ScheduleKind::kConstant, ScheduleKind::kStep, ScheduleKind::kCosine}) {
    const Schedule schedule{.kind = kind, .peak = 0.4, .warmup = 4, .step_every = 10};
    for (int64_t step = 0; step < 4; ++step) {
      EXPECT_DOUBLE_EQ(learning_rate(schedule, step, 100), 0.1 * static_cast<double>(step + 1));
    }
    EXPECT_DOUBLE_EQ(learning_rate(schedule, 4, 100), 0.4);
  }
}

TEST(Schedule, DropsCountFromTheEndOfTheWarmUp) {
  const Schedule schedule{
      .kind = ScheduleKind::kStep, .peak = 1, .warmup = 5, .step_every = 10, .gamma = 0.5};
  EXPECT_DOUBLE_EQ(learning_rate(schedule, 14, 100), 1);
  EXPECT_DOUBLE_EQ(learning_rate(schedule, 15, 100), 0.5);
  EXPECT_DOUBLE_EQ(learning_rate(schedule, 25, 100), 0.25);
}

TEST(Schedule, OneCycleRisesToThePeakAndFallsToNextToNothing) {
  const Schedule schedule{.kind = ScheduleKind::kOneCycle, .peak = 0.05};
  for (const int64_t total : {1, 2, 3, 4, 7, 450}) {
    double highest = 0;
    for (int64_t step = 0; step < total; ++step) {
      const double rate = learning_rate(schedule, step, total);
      EXPECT_GT(rate, 0);
      EXPECT_LE(rate, 0.05);
      highest = std::max(highest, rate);
    }
    if (total > 1) {
      EXPECT_NEAR(learning_rate(schedule, total - 1, total), 0.05 / 25 / 1e4, 1e-12) << total;
    }
    if (total >= 7) {
      EXPECT_GT(highest, 0.045) << total;
    }
    EXPECT_EQ(learning_rate(schedule, total + 5, total), learning_rate(schedule, total - 1, total));
  }
}

TEST(Schedule, NamesRoundTripAndUnknownOnesAreRefused) {
  for (const ScheduleKind kind : {ScheduleKind::kConstant, ScheduleKind::kStep,
                                  ScheduleKind::kCosine, ScheduleKind::kOneCycle}) {
    EXPECT_EQ(parse_schedule(name_of(kind)), kind);
  }
  EXPECT_THROW(parse_schedule("onecycle"), UsageError);
  EXPECT_THROW(learning_rate({}, -1, 10), Error);
  EXPECT_THROW(learning_rate({}, 0, 0), Error);
}

}  // namespace
}  // namespace glassnet
