#include "training/telling_images.h"

#include <set>

#include "tests/error_support.h"

namespace glassnet {
namespace {

using test::error_of;

// Three classes of four images over four epochs; an image a row here.
History history() {
  History h{.classes = {"a", "b", "c"}, .epoch_names = {"1", "2", "3", "4"}};
  struct Row {
    int32_t truth;
    std::vector<int32_t> predicted;
    float probability;  // of the last prediction
  };
  const std::vector<Row> rows = {
      {0, {0, 0, 0, 0}, 0.99F},  // 0: always right, surely
      {0, {0, 0, 0, 1}, 0.60F},  // 1: forgotten in the end
      {0, {1, 1, 1, 1}, 0.98F},  // 2: surely wrong
      {0, {1, 1, 1, 1}, 0.97F},  // 3: likewise, of the same class
      {1, {1, 1, 1, 1}, 0.80F},  // 4: always right
      {1, {0, 1, 2, 1}, 0.55F},  // 5: changes most
      {1, {0, 0, 0, 0}, 0.70F},  // 6: wrong, of another class
      {1, {1, 0, 1, 1}, 0.90F},  // 7: two changes
      {2, {2, 2, 2, 2}, 0.70F},  // 8: always right
      {2, {2, 0, 0, 0}, 0.50F},  // 9: forgotten early
      {2, {2, 2, 2, 2}, 0.60F},  // 10
      {2, {2, 2, 2, 2}, 0.65F},  // 11
  };
  for (const Row& row : rows) h.images.push_back({.id = "x", .true_class = row.truth});
  for (size_t e = 0; e < 4; ++e) {
    for (const Row& row : rows) {
      h.predicted.push_back(row.predicted[e]);
      h.probability.push_back(e == 3 ? row.probability : 0.5F);
    }
  }
  return h;
}

std::vector<int64_t> images_of(const std::vector<TellingImage>& telling, Telling why) {
  std::vector<int64_t> images;
  for (const TellingImage& one : telling) {
    if (one.why == why) images.push_back(one.image);
  }
  return images;
}

TEST(TellingImages, TakeTurnsBetweenTheFourKindsAndTheClasses) {
  const std::vector<TellingImage> first = telling_images(history(), 4, 4);
  EXPECT_EQ(first, (std::vector<TellingImage>{{2, Telling::kConfidentlyWrong},
                                              {5, Telling::kWavering},
                                              {1, Telling::kForgotten},
                                              {0, Telling::kConfidentlyRight}}));
  const std::vector<TellingImage> all = telling_images(history(), 4, 100);
  std::set<int64_t> images;
  for (const TellingImage& one : all) images.insert(one.image);
  EXPECT_EQ(images.size(), 12U);
  EXPECT_EQ(all.size(), 12U);
  // Class after class before the second of any: 3 is surer than 6, but of a class that was there.
  EXPECT_EQ(images_of(all, Telling::kConfidentlyWrong), (std::vector<int64_t>{2, 6, 3}));
  EXPECT_EQ(images_of(all, Telling::kConfidentlyRight), (std::vector<int64_t>{0, 7, 8, 4, 11, 10}));
  EXPECT_EQ(telling_images(history(), 4, 0).size(), 0U);
}

TEST(TellingImages, LookAtTheEpochThatIsNamed) {
  for (const TellingImage& one : telling_images(history(), 1, 100)) {
    if (one.image != 1) continue;
    EXPECT_NE(one.why, Telling::kForgotten) << "it was right in epoch 1";
  }
  EXPECT_NE(error_of([] { telling_images(history(), 5, 1); }), "");
  EXPECT_NE(error_of([] { telling_images(history(), 0, 1); }), "");
}

TEST(TellingImages, DoWithoutProbabilities) {
  History h = history();
  h.probability.clear();
  const std::vector<TellingImage> first = telling_images(h, 4, 2);
  // As often as always, the surest way to be wrong.
  EXPECT_EQ(first[0].image, 2);
  EXPECT_EQ(first[1].image, 5);
  EXPECT_EQ(telling_images(h, 4, 100).size(), 12U);
}

}  // namespace
}  // namespace glassnet
