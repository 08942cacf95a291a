// Batches that a loader delivers to a device hold what those on the CPU do.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "data/loader.h"
#include "tests/data_support.h"
#include "tests/device_support.h"

namespace glassnet {
namespace {

using test::error_of;
using test::TempFolder;
using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr int kPictures = 23;
constexpr int kSize = 10;
constexpr size_t kPictureBytes = size_t{3} * kSize * kSize;

std::vector<Sample> make_samples(const TempFolder& folder) {
  std::vector<Sample> samples;
  for (int i = 0; i < kPictures; ++i) {
    const std::string id = std::to_string(i) + ".png";
    samples.push_back(
        {test::write_noise(folder, id, 9 + i % 5, 8 + i % 7, static_cast<uint64_t>(i)), id, i % 3});
  }
  return samples;
}

LoaderOptions training_options(const std::string& names = "flip,shift") {
  return {.image_size = kSize,
          .augment = parse_augment(names),
          .batch_size = 4,
          .shuffle = true,
          .seed = 5,
          .threads = 2};
}

struct Seen {
  std::vector<std::vector<float>> images;
  std::vector<std::vector<int64_t>> labels, host_labels, indices;
  bool operator==(const Seen&) const = default;
};

// All batches are taken before one is looked at: none may be written to later.
Seen epoch_of(Loader& loader, int64_t epoch, int64_t first_batch = 0) {
  std::vector<Batch> batches;
  loader.start_epoch(epoch, first_batch);
  while (auto batch = loader.next()) batches.push_back(std::move(*batch));
  Seen seen;
  for (const Batch& batch : batches) {
    EXPECT_EQ(batch.images.device(), loader.options().device);
    EXPECT_EQ(batch.labels.device(), loader.options().device);
    EXPECT_EQ(batch.images.dtype(), loader.options().dtype);
    seen.images.push_back(batch.images.to(Device{}).to(DType::kFloat32).to_vector<float>());
    seen.labels.push_back(batch.labels.to(Device{}).to_vector<int64_t>());
    seen.host_labels.push_back(batch.host_labels);
    seen.indices.push_back(batch.indices);
  }
  return seen;
}

// What the CPU's loader gives, rounded to the type.
Seen rounded(Seen seen, DType type) {
  for (std::vector<float>& values : seen.images) {
    const Shape shape({static_cast<int64_t>(values.size())});
    values = Tensor::from(values, shape).to(type).to(DType::kFloat32).to_vector<float>();
  }
  return seen;
}

TEST(Loader, GivesLabelsToTheHost) {
  const TempFolder folder;
  Loader loader(make_samples(folder), training_options());
  const Seen seen = epoch_of(loader, 2);
  EXPECT_EQ(seen.labels, seen.host_labels);
  for (size_t b = 0; b < seen.indices.size(); ++b) {
    for (size_t i = 0; i < seen.indices[b].size(); ++i) {
      EXPECT_EQ(seen.host_labels[b][i], seen.indices[b][i] % 3);
    }
  }
}

TEST(Loader, RoundsToBFloat16OnTheCpu) {
  const TempFolder folder;
  const std::vector<Sample> samples = make_samples(folder);
  LoaderOptions options = training_options();
  Loader wide(samples, options);
  options.dtype = DType::kBFloat16;
  Loader narrow(samples, options);
  EXPECT_EQ(epoch_of(narrow, 1), rounded(epoch_of(wide, 1), DType::kBFloat16));
  options.dtype = DType::kFloat16;
  EXPECT_THAT(error_of([&] { Loader(samples, options); }),
              AllOf(HasSubstr("float32 or bfloat16 on the CPU"), HasSubstr("got float16")));
}

// Where the pictures lie: on the device, on the device if one more fitted, on the host.
class DeviceLoader : public DeviceTest {
 protected:
  LoaderOptions on_device(LoaderOptions options, bool resident) const {
    options.device = device_;
    options.device_bytes = kPictures * kPictureBytes - (resident ? 0 : 1);
    return options;
  }
  TempFolder folder_;
};

TEST_F(DeviceLoader, GivesWhatTheCpuDoes) {
  const std::vector<Sample> samples = make_samples(folder_);
  for (const char* names : {"none", "flip", "flip,shift", "rrc,flip", "shift,erase"}) {
    LoaderOptions options = training_options(names);
    Loader cpu(samples, options);
    const std::vector<Seen> expected = {epoch_of(cpu, 0), epoch_of(cpu, 1), epoch_of(cpu, 2)};
    for (const bool resident : {false, true}) {
      for (const int threads : {1, 3}) {
        for (const size_t cache_bytes : {size_t{0}, size_t{2000}, size_t{1} << 20}) {
          options = on_device(training_options(names), resident);
          options.threads = threads;
          options.prefetch = threads;
          options.cache_bytes = cache_bytes;
          Loader loader(samples, options);
          for (int epoch = 0; epoch < 3; ++epoch) {
            EXPECT_EQ(epoch_of(loader, epoch), expected[static_cast<size_t>(epoch)])
                << names << " " << resident << " " << threads << " " << cache_bytes;
          }
          EXPECT_EQ(epoch_of(loader, 0), expected[0]);
        }
      }
    }
  }
}

TEST_F(DeviceLoader, RoundsToTheElementType) {
  const std::vector<Sample> samples = make_samples(folder_);
  Loader cpu(samples, training_options());
  const Seen expected = epoch_of(cpu, 1);
  for (const DType type : {DType::kBFloat16, DType::kFloat16}) {
    for (const bool resident : {false, true}) {
      LoaderOptions options = on_device(training_options(), resident);
      options.dtype = type;
      Loader loader(samples, options);
      EXPECT_EQ(epoch_of(loader, 1), rounded(expected, type)) << name_of(type) << resident;
    }
  }
  LoaderOptions options = on_device(training_options(), true);
  options.dtype = DType::kFloat64;
  EXPECT_THAT(error_of([&] { Loader(samples, options); }), HasSubstr("got float64"));
}

TEST_F(DeviceLoader, GivesPicturesAsTheyAreWithoutAugmentation) {
  const std::vector<Sample> samples = make_samples(folder_);
  const LoaderOptions plain = {.image_size = kSize, .fit = Fit::kSquash, .batch_size = 5};
  Loader cpu(samples, plain);
  const Seen expected = epoch_of(cpu, 0);
  for (const bool resident : {false, true}) {
    Loader loader(samples, on_device(plain, resident));
    EXPECT_EQ(epoch_of(loader, 0), expected);
    EXPECT_EQ(epoch_of(loader, 1), expected);
  }
}

TEST_F(DeviceLoader, JittersWithinALevel) {
  const std::vector<Sample> samples = make_samples(folder_);
  const LoaderOptions options = training_options("flip,shift,jitter");
  Loader cpu(samples, options), resident(samples, on_device(options, true)),
      streamed(samples, on_device(options, false));
  const Seen expected = epoch_of(cpu, 4), got = epoch_of(resident, 4);
  EXPECT_EQ(epoch_of(streamed, 4), got);
  EXPECT_EQ(got.indices, expected.indices);
  ASSERT_EQ(got.images.size(), expected.images.size());
  const kernels::ImageScale scale = scale_of({});
  for (size_t b = 0; b < got.images.size(); ++b) {
    ASSERT_EQ(got.images[b].size(), expected.images[b].size());
    for (size_t i = 0; i < got.images[b].size(); ++i) {
      ASSERT_NEAR(got.images[b][i], expected.images[b][i], 1.01 * scale.scale[i % 3]);
    }
  }
}

TEST_F(DeviceLoader, ResumesAtAnyBatch) {
  const std::vector<Sample> samples = make_samples(folder_);
  Loader cpu(samples, training_options());
  const Seen all = epoch_of(cpu, 3);
  for (const bool resident : {false, true}) {
    Loader again(samples, on_device(training_options(), resident));
    for (int64_t first = cpu.batches(); first >= 0; --first) {
      Loader fresh(samples, on_device(training_options(), resident));
      for (Loader* loader : {&fresh, &again}) {
        const Seen rest = epoch_of(*loader, 3, first);
        EXPECT_EQ(rest.images, std::vector(all.images.begin() + first, all.images.end()));
        EXPECT_EQ(rest.labels, std::vector(all.labels.begin() + first, all.labels.end()));
      }
    }
  }
}

TEST_F(DeviceLoader, CanBeLeftAtAnyTime) {
  const std::vector<Sample> samples = make_samples(folder_);
  Loader cpu(samples, training_options());
  const Seen expected = epoch_of(cpu, 7);
  for (const bool resident : {false, true}) {
    for (int taken = 0; taken < 4; ++taken) {
      Loader left(samples, on_device(training_options(), resident));
      for (int64_t epoch = 0; epoch < 5; ++epoch) {
        left.start_epoch(epoch);
        for (int i = 0; i < taken; ++i) EXPECT_TRUE(left.next().has_value());
      }
      EXPECT_EQ(epoch_of(left, 7), expected);
      left.start_epoch(8);
    }
    const Loader never_started(samples, on_device(training_options(), resident));
  }
}

TEST_F(DeviceLoader, TakesBatchesOfAnySize) {
  const std::vector<Sample> samples = make_samples(folder_);
  for (const bool resident : {false, true}) {
    for (const bool drop_last : {false, true}) {
      for (const int64_t batch_size : {1, 22, 23, 50}) {
        LoaderOptions options = training_options();
        options.batch_size = batch_size;
        options.drop_last = drop_last;
        Loader cpu(samples, options), loader(samples, on_device(options, resident));
        EXPECT_EQ(epoch_of(loader, 0), epoch_of(cpu, 0)) << batch_size;
        EXPECT_EQ(epoch_of(loader, 1), epoch_of(cpu, 1)) << batch_size;
      }
    }
  }
}

// After an epoch, only resident pictures need no file; by default such a small data set is
// resident.
TEST_F(DeviceLoader, DecodesResidentPicturesOnce) {
  const std::vector<Sample> samples = make_samples(folder_);
  Loader cpu(samples, training_options());
  const Seen expected = epoch_of(cpu, 1);
  LoaderOptions options = on_device(training_options(), true);
  options.cache_bytes = 0;
  Loader resident(samples, options);
  options.device_bytes.reset();
  Loader by_default(samples, options);
  Loader streamed(samples, [&] {
    LoaderOptions streaming = on_device(training_options(), false);
    streaming.cache_bytes = 0;
    return streaming;
  }());
  for (Loader* loader : {&resident, &by_default, &streamed}) epoch_of(*loader, 0);
  for (const Sample& sample : samples) std::filesystem::remove(sample.path);
  EXPECT_EQ(epoch_of(resident, 1), expected);
  EXPECT_EQ(epoch_of(by_default, 1), expected);
  EXPECT_THROW(epoch_of(streamed, 1), Error);
}

TEST_F(DeviceLoader, ReportsTheFirstBadFileAndGoesOn) {
  const std::vector<Sample> samples = make_samples(folder_);
  LoaderOptions options = {.image_size = kSize, .batch_size = 4, .threads = 4};
  Loader cpu(samples, options);
  const Seen expected = epoch_of(cpu, 0);
  for (const bool resident : {false, true}) {
    for (const int index : {9, 11, 13}) folder_.write(std::to_string(index) + ".png", "spoilt");
    Loader loader(samples, on_device(options, resident));
    for (int repeat = 0; repeat < 5; ++repeat) {
      loader.start_epoch(0);
      EXPECT_TRUE(loader.next().has_value());
      EXPECT_TRUE(loader.next().has_value());
      EXPECT_THAT(error_of([&] { loader.next(); }), HasSubstr("/9.png"));
      EXPECT_THAT(error_of([&] { loader.next(); }), HasSubstr("/9.png"));
    }
    make_samples(folder_);  // as they were
    EXPECT_EQ(epoch_of(loader, 0), expected);
  }
}

#if defined(GLASSNET_CUDA)

TEST_F(DeviceLoader, TakesNoMoreMemoryEpochAfterEpoch) {
  const std::vector<Sample> samples = make_samples(folder_);
  const auto take_epoch = [](Loader& loader, int64_t epoch) {
    loader.start_epoch(epoch);
    while (loader.next()) {
    }
  };
  for (const bool resident : {false, true}) {
    const size_t before = memory_stats(device_).active_bytes;
    {
      Loader loader(samples, on_device(training_options(), resident));
      take_epoch(loader, 0);
      const MemoryStats stats = memory_stats(device_);
      const size_t free_bytes = kernels::cuda_memory(0).free_bytes;
      for (int64_t epoch = 1; epoch < 6; ++epoch) take_epoch(loader, epoch);
      EXPECT_EQ(memory_stats(device_).active_bytes, stats.active_bytes);
      EXPECT_EQ(memory_stats(device_).system_allocations, stats.system_allocations);
      if (kSimulated) {  // a GPU may have other users
        EXPECT_EQ(kernels::cuda_memory(0).free_bytes, free_bytes);
      }
    }
    EXPECT_EQ(memory_stats(device_).active_bytes, before);
  }
}

TEST_F(DeviceLoader, QueuesOnTheCallersStream) {
  const std::vector<Sample> samples = make_samples(folder_);
  Loader cpu(samples, training_options());
  for (const bool resident : {false, true}) {
    Loader loader(samples, on_device(training_options(), resident));
    EXPECT_EQ(epoch_of(loader, 0), epoch_of(cpu, 0));
    const kernels::CudaStream stream(0);
    {
      const kernels::StreamScope scope(0, stream.get());
      EXPECT_EQ(epoch_of(loader, 1), epoch_of(cpu, 1));
      kernels::synchronize(kernels::current_cuda(0));
    }
    EXPECT_EQ(epoch_of(loader, 2), epoch_of(cpu, 2));
  }
}

#else

TEST(Loader, NeedsABuildWithCudaForADevice) {
  const TempFolder folder;
  LoaderOptions options = training_options();
  options.device = {DeviceType::kCuda, 0};
  EXPECT_THAT(error_of([&] { Loader(make_samples(folder), options); }), HasSubstr("has no CUDA"));
}

#endif

}  // namespace
}  // namespace glassnet
