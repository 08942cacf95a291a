// Batches: what they hold, that neither threads nor the cache change it, and how errors arrive.
#include "data/loader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "tests/data_support.h"

namespace glassnet {
namespace {

using test::error_of;
using test::TempFolder;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr int kPictures = 23;

// Pictures of many sizes, labels 0 … 2.
std::vector<Sample> make_samples(const TempFolder& folder, int count = kPictures) {
  std::vector<Sample> samples;
  for (int i = 0; i < count; ++i) {
    const std::string id = std::to_string(i) + ".png";
    samples.push_back({test::write_noise(folder, id, 9 + i % 5, 8 + i % 7, i), id, i % 3});
  }
  return samples;
}

LoaderOptions training_options() {
  return {.image_size = 10,
          .augment = AugmentOptions{},
          .batch_size = 4,
          .shuffle = true,
          .seed = 5,
          .threads = 2};
}

struct Seen {
  std::vector<std::vector<float>> images;
  std::vector<std::vector<int64_t>> labels, indices;
  bool operator==(const Seen&) const = default;
};

Seen epoch_of(Loader& loader, int64_t epoch, int64_t first_batch = 0) {
  Seen seen;
  loader.start_epoch(epoch, first_batch);
  while (auto batch = loader.next()) {
    seen.images.push_back(batch->images.to_vector<float>());
    seen.labels.push_back(batch->labels.to_vector<int64_t>());
    seen.indices.push_back(batch->indices);
  }
  return seen;
}

TEST(Loader, HoldsTheFittedPicturesInOrder) {
  const TempFolder folder;
  const std::vector<Sample> samples = make_samples(folder);
  Loader loader(samples, {.image_size = 10, .batch_size = 5});
  EXPECT_EQ(loader.batches(), 5);
  EXPECT_EQ(loader.images(), kPictures);
  loader.start_epoch(0);
  int64_t next = 0;
  while (const auto batch = loader.next()) {
    const auto rows = static_cast<int64_t>(batch->indices.size());
    EXPECT_EQ(rows, std::min<int64_t>(5, kPictures - next));
    EXPECT_EQ(batch->images.shape(), Shape({rows, 10, 10, 3}));
    EXPECT_EQ(batch->labels.shape(), Shape({rows}));
    for (int64_t row = 0; row < rows; ++row, ++next) {
      EXPECT_EQ(batch->indices[row], next);
      EXPECT_EQ(batch->labels.to_vector<int64_t>()[row], next % 3);
      const Image fitted = fit_image(read_image(samples[next].path), 10, Fit::kCrop);
      EXPECT_EQ(batch->images.slice(row, row + 1).to_vector<float>(),
                to_input(fitted).to_vector<float>());
    }
  }
  EXPECT_EQ(next, kPictures);
  EXPECT_FALSE(loader.next().has_value());
}

TEST(Loader, IsTheSameForAnyThreadsCacheAndPrefetch) {
  const TempFolder folder;
  const std::vector<Sample> samples = make_samples(folder);
  for (const Crop crop : {Crop::kShift, Crop::kRandomResized}) {
    LoaderOptions options = training_options();
    options.augment->crop = crop;
    options.augment->jitter = true;
    options.cache_bytes = 0;
    options.threads = 1;
    Loader plain(samples, options);
    const std::vector<Seen> expected = {epoch_of(plain, 0), epoch_of(plain, 1), epoch_of(plain, 2)};
    EXPECT_NE(expected[0], expected[1]);
    for (const int threads : {1, 2, 4}) {
      // None, some and all of the pictures kept.
      for (const size_t cache_bytes : {size_t{0}, size_t{2000}, size_t{1} << 20}) {
        options.threads = threads;
        options.cache_bytes = cache_bytes;
        options.prefetch = threads;
        Loader loader(samples, options);
        for (int epoch = 0; epoch < 3; ++epoch) {
          EXPECT_EQ(epoch_of(loader, epoch), expected[epoch]) << threads << " " << cache_bytes;
        }
        EXPECT_EQ(epoch_of(loader, 0), expected[0]);
      }
    }
  }
}

TEST(Loader, ShufflesEveryPictureOnce) {
  const TempFolder folder;
  Loader loader(make_samples(folder), training_options());
  const auto order_of = [&](int64_t epoch) {
    std::vector<int64_t> order;
    for (const auto& batch : epoch_of(loader, epoch).indices) {
      order.insert(order.end(), batch.begin(), batch.end());
    }
    return order;
  };
  std::vector<int64_t> first = order_of(0), second = order_of(1);
  EXPECT_NE(first, second);
  std::vector<int64_t> all(kPictures);
  std::iota(all.begin(), all.end(), 0);
  EXPECT_NE(first, all);
  std::sort(first.begin(), first.end());
  std::sort(second.begin(), second.end());
  EXPECT_EQ(first, all);
  EXPECT_EQ(second, all);
}

TEST(Loader, ResumesAtAnyBatch) {
  const TempFolder folder;
  const std::vector<Sample> samples = make_samples(folder);
  Loader whole(samples, training_options());
  const Seen all = epoch_of(whole, 3);
  for (int64_t first = 0; first <= whole.batches(); ++first) {
    Loader resumed(samples, training_options());
    const Seen rest = epoch_of(resumed, 3, first);
    EXPECT_EQ(rest.images, std::vector(all.images.begin() + first, all.images.end()));
    EXPECT_EQ(rest.indices, std::vector(all.indices.begin() + first, all.indices.end()));
  }
  EXPECT_THROW(whole.start_epoch(0, whole.batches() + 1), Error);
  EXPECT_THROW(whole.start_epoch(-1), Error);
}

TEST(Loader, LeavesOutASmallerLastBatch) {
  const TempFolder folder;
  const std::vector<Sample> samples = make_samples(folder);
  LoaderOptions options{.image_size = 8, .batch_size = 5, .drop_last = true};
  Loader loader(samples, options);
  EXPECT_EQ(loader.batches(), 4);
  EXPECT_EQ(loader.images(), 20);
  EXPECT_EQ(epoch_of(loader, 0).images.size(), 4u);
  // The only batch stays.
  options.batch_size = 50;
  Loader single(samples, options);
  EXPECT_EQ(single.batches(), 1);
  EXPECT_EQ(single.images(), kPictures);
  EXPECT_EQ(epoch_of(single, 0).indices.at(0).size(), size_t{kPictures});
}

TEST(Loader, DecodesOnceWhenAllFits) {
  const TempFolder folder;
  const std::vector<Sample> samples = make_samples(folder);
  Loader cached(samples, training_options());
  LoaderOptions options = training_options();
  options.cache_bytes = 0;
  Loader uncached(samples, options);
  epoch_of(cached, 0);
  const Seen expected = epoch_of(uncached, 1);
  for (const Sample& sample : samples) std::filesystem::remove(sample.path);
  EXPECT_EQ(epoch_of(cached, 1), expected);
  EXPECT_THROW(epoch_of(uncached, 1), Error);
}

TEST(Loader, ReportsTheFirstBadFileWhateverTheTiming) {
  const TempFolder folder;
  std::vector<Sample> samples = make_samples(folder);
  // Rows 1 and 3 of batch 2, and a row of the next.
  for (const int index : {9, 11, 13}) folder.write(std::to_string(index) + ".png", "spoilt");
  for (int repeat = 0; repeat < 20; ++repeat) {
    Loader loader(samples, {.image_size = 10, .batch_size = 4, .threads = 4});
    loader.start_epoch(0);
    EXPECT_TRUE(loader.next().has_value());
    EXPECT_TRUE(loader.next().has_value());
    EXPECT_THAT(error_of([&] { loader.next(); }),
                AllOf(HasSubstr("/9.png"), HasSubstr("not a JPEG")));
    EXPECT_THAT(error_of([&] { loader.next(); }), HasSubstr("/9.png"));
    loader.start_epoch(0);
    EXPECT_TRUE(loader.next().has_value());
  }
}

TEST(Loader, CanBeLeftAtAnyTime) {
  const TempFolder folder;
  const std::vector<Sample> samples = make_samples(folder);
  Loader reference(samples, training_options());
  const Seen expected = epoch_of(reference, 7);
  for (int taken = 0; taken < 4; ++taken) {
    Loader left(samples, training_options());
    for (int64_t epoch = 0; epoch < 5; ++epoch) {
      left.start_epoch(epoch);
      for (int i = 0; i < taken; ++i) EXPECT_TRUE(left.next().has_value());
    }
    EXPECT_EQ(epoch_of(left, 7), expected);
    left.start_epoch(8);
  }
  const Loader never_started(samples, training_options());
}

TEST(Loader, RefusesOptionsThatMakeNoSense) {
  const TempFolder folder;
  const std::vector<Sample> samples = make_samples(folder, 1);
  EXPECT_THAT(error_of([&] { Loader({}, {}); }), HasSubstr("at least one picture"));
  EXPECT_THROW(Loader(samples, {.image_size = 0}), Error);
  EXPECT_THROW(Loader(samples, {.batch_size = 0}), Error);
  EXPECT_THROW(Loader(samples, {.prefetch = 0}), Error);
  EXPECT_THROW(Loader(samples, {.augment = AugmentOptions{.shift = 1}}), Error);
  EXPECT_THROW(Loader(samples, {.augment = AugmentOptions{.scale_low = 0}}), Error);
  Loader loader(samples, {});
  EXPECT_THAT(error_of([&] { loader.next(); }), HasSubstr("start_epoch"));
}

TEST(CheckImages, NamesWhatCannotBeRead) {
  const TempFolder folder;
  std::vector<Sample> samples = make_samples(folder, 12);
  EXPECT_NO_THROW(check_images(samples));
  folder.write("3.png", "spoilt");
  std::filesystem::remove(folder / "5.png");
  EXPECT_THAT(error_of([&] { check_images(samples, 3); }),
              AllOf(HasSubstr("2 of 12 pictures"), HasSubstr("3.png"), HasSubstr("5.png"),
                    Not(HasSubstr("4.png"))));
}

TEST(CheckImages, KnowsTheSizeThatAllShare) {
  const TempFolder folder;
  std::vector<Sample> samples;
  EXPECT_EQ(check_images(samples).common_size, std::nullopt);
  for (int i = 0; i < 3; ++i) {
    samples.push_back({test::write_noise(folder, std::to_string(i) + ".png", 6, 8, i), "", 0});
  }
  EXPECT_EQ(check_images(samples).common_size, std::pair(6, 8));
  samples.push_back({test::write_noise(folder, "other.png", 8, 6, 9), "", 0});
  EXPECT_EQ(check_images(samples).common_size, std::nullopt);
}

TEST(CheckImages, TellsHowFarItIsAndEndsOnRequest) {
  const TempFolder folder;
  std::vector<Sample> samples = make_samples(folder, 12);
  std::vector<int64_t> done;
  const auto note = [&](bool go_on) {
    return [&, go_on](int64_t so_far, int64_t total) {
      EXPECT_EQ(total, 12);
      done.push_back(so_far);
      return go_on;
    };
  };
  EXPECT_TRUE(check_images(samples, 2, note(true)).all);
  EXPECT_TRUE(std::ranges::is_sorted(done));
  EXPECT_EQ(done.back(), 12);
  folder.write("3.png", "spoilt");
  EXPECT_FALSE(check_images(samples, 2, note(false)).all);
  // More than are decoded before the first look at the clock.
  for (size_t i = 0; samples.size() < 100'000; ++i) samples.emplace_back(samples[i % 12]);
  int64_t last = -1;
  EXPECT_FALSE(check_images(samples, 2, [&](int64_t so_far, int64_t) {
                 last = so_far;
                 return false;
               }).all);
  EXPECT_LT(last, std::ssize(samples));
}

TEST(Input, IsNormalised) {
  const Image image = test::noise_image(5, 7, 1);  // 105 values: not a multiple of a block
  const Normalization normalization;
  const Tensor input = to_input(image);
  EXPECT_EQ(input.shape(), Shape({1, 5, 7, 3}));
  const std::vector<float> values = input.to_vector<float>();
  for (size_t i = 0; i < values.size(); ++i) {
    const double expected =
        (image.rgb[i] / 255. - normalization.mean[i % 3]) / normalization.stddev[i % 3];
    EXPECT_NEAR(values[i], expected, 1e-6);
  }
  EXPECT_EQ(to_image(input).rgb, image.rgb);
  EXPECT_THROW(to_image(Tensor::zeros({2, 5, 7, 3})), Error);
}

}  // namespace
}  // namespace glassnet
