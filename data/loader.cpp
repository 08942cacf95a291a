#include "data/loader.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <exception>
#include <fstream>
#include <mutex>
#include <numeric>
#include <thread>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "data/device_feed.h"

namespace glassnet {
namespace {

int thread_count(int asked_for) {
  if (asked_for > 0) return asked_for;
  return std::clamp(static_cast<int>(std::thread::hardware_concurrency()), 1, 4);
}

void check_options(const std::vector<Sample>& samples, const LoaderOptions& options) {
  const auto check = [](bool holds, const char* expectation, auto got) {
    require(holds, [&] { return fmt::format("[loader] expected {}, got {}", expectation, got); });
  };
  check(!samples.empty(), "at least one picture", samples.size());
  check(options.image_size > 0, "an image size of at least 1", options.image_size);
  check(options.batch_size > 0, "a batch size of at least 1", options.batch_size);
  check(options.prefetch > 0, "at least one batch ahead", options.prefetch);
  const bool on_cpu = options.device.type == DeviceType::kCpu;
  check(options.dtype == DType::kFloat32 || options.dtype == DType::kBFloat16 ||
            (!on_cpu && options.dtype == DType::kFloat16),
        on_cpu ? "images of float32 or bfloat16 on the CPU"
               : "images of float32, bfloat16 or float16",
        name_of(options.dtype));
  if (!options.augment) return;
  const AugmentOptions& augment = *options.augment;
  check(augment.shift >= 0 && augment.shift < 1, "a shift from 0 to below 1", augment.shift);
  check(0 < augment.scale_low && augment.scale_low <= augment.scale_high && augment.scale_high <= 1,
        "crops of a share of the area within (0, 1]",
        fmt::format("{} to {}", augment.scale_low, augment.scale_high));
  check(0 < augment.ratio_low && augment.ratio_low <= augment.ratio_high,
        "crops of a positive ratio, the lower one first",
        fmt::format("{} to {}", augment.ratio_low, augment.ratio_high));
}

}  // namespace

size_t default_cache_bytes() {
  auto memory = static_cast<uint64_t>(sysconf(_SC_PHYS_PAGES)) *
                static_cast<uint64_t>(sysconf(_SC_PAGE_SIZE));
  // In a container the limit is the control group's: version 2, then 1. "max" reads as no number.
  for (const char* name :
       {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"}) {
    uint64_t limit = 0;
    if (std::ifstream(name) >> limit) memory = std::min(memory, limit);
  }
  return std::min<uint64_t>(memory / 4, uint64_t{4} << 30);
}

// The caller opens batches, at most `prefetch` of them; workers take their rows one by one, the
// earliest batch first; the caller takes the first batch once its last row is done. For a GPU,
// workers write 8-bit squares into the feed's memory instead of the batch's images, and the caller
// has the feed bring them over.
//
// CONVENTION: mutex_ guards everything below it in the class, and what it points to, but for the
// rows of an open batch's images: each belongs to the worker that took it. Only the caller's thread
// calls the feed.
class Loader::Pipeline {
 public:
  Pipeline(std::vector<Sample> samples, const LoaderOptions& options)
      : samples_(std::move(samples)), options_(options), cache_(samples_.size()) {
    if (options.device.type == DeviceType::kCuda) {
      feed_ = make_device_feed(static_cast<int64_t>(samples_.size()), options);
      resident_ = feed_->resident();
    }
    varies_here_ = options.augment && !(feed_ && feed_->varies());
    for (int i = 0; i < thread_count(options.threads); ++i) {
      workers_.emplace_back([this](const std::stop_token& stop) { work(stop); });
    }
  }
  ~Pipeline() {
    for (std::jthread& worker : workers_) worker.request_stop();
  }

  const std::vector<Sample>& samples() const { return samples_; }
  const LoaderOptions& options() const { return options_; }

  int64_t batches() const {
    const auto count = static_cast<int64_t>(samples_.size()), size = options_.batch_size;
    return options_.drop_last && count >= size ? count / size : (count + size - 1) / size;
  }
  int64_t images() const {
    return std::min(static_cast<int64_t>(samples_.size()), batches() * options_.batch_size);
  }

  void start_epoch(int64_t epoch, int64_t first_batch) {
    require(epoch >= 0 && first_batch >= 0 && first_batch <= batches(), [&] {
      return fmt::format("[loader] expected an epoch from 0 and a batch of 0 to {}, got {} and {}",
                         batches(), epoch, first_batch);
    });
    const auto count = static_cast<int64_t>(samples_.size());
    std::vector<int64_t> order;
    if (options_.shuffle) {
      order = permutation(count, Random(options_.seed, Stream::kShuffle, epoch, 0));
    } else {
      for (int64_t i = 0; i < count; ++i) order.push_back(i);
    }
    std::unique_lock lock(mutex_);
    open_.clear();
    // Their memory is the feed's, which gives it to other batches now.
    if (feed_) idle_.wait(lock, [&] { return rows_in_work_ == 0; });
    failure_ = nullptr;
    order_ = std::move(order);
    epoch_ = epoch;
    next_to_open_ = first_batch;
    open_batches();
  }

  std::optional<Batch> next() {
    std::unique_lock lock(mutex_);
    require(epoch_ >= 0, [] { return std::string("[loader] expected start_epoch before next"); });
    if (failure_) std::rethrow_exception(failure_);
    if (open_.empty()) return std::nullopt;
    const std::shared_ptr<OpenBatch> first = open_.front();
    batch_done_.wait(lock, [&] { return first->done(); });
    if (first->failure) {
      failure_ = first->failure;
      open_.clear();
      std::rethrow_exception(failure_);
    }
    std::vector<std::shared_ptr<OpenBatch>> ready;
    if (feed_) ready = batches_to_upload();
    open_.pop_front();
    open_batches();
    if (feed_) {
      lock.unlock();
      for (const auto& batch : ready) feed_->upload(batch->place);
      feed_->deliver(first->place, first->batch);
    } else {
      lock.unlock();
      first->batch.images = first->batch.images.to(options_.dtype);
    }
    return std::move(first->batch);
  }

 private:
  struct OpenBatch {
    Batch batch;
    int64_t epoch = 0;
    // What workers fill. On the CPU: the rows of batch.images, all of them. On a GPU: rows of the
    // feed's place, those that are not resident.
    std::vector<int64_t> rows;
    std::vector<uint8_t*> squares;  // of the rows, on a GPU
    size_t rows_taken = 0, rows_done = 0;
    int place = -1;
    bool uploaded = false;
    // Of the first row that failed, so that timing does not choose the message.
    std::exception_ptr failure;
    int64_t failed_row = 0;

    bool done() const { return rows_done == rows.size(); }
  };

  void open_batches() {
    const int64_t size = options_.image_size;
    while (static_cast<int>(open_.size()) < options_.prefetch && next_to_open_ < batches()) {
      const int64_t begin = next_to_open_ * options_.batch_size;
      const int64_t end = std::min(begin + options_.batch_size, images());
      auto opened = std::make_shared<OpenBatch>();
      opened->epoch = epoch_;
      Batch& batch = opened->batch;
      batch.indices.assign(order_.begin() + begin, order_.begin() + end);
      for (const int64_t index : batch.indices) {
        batch.host_labels.push_back(samples_[index].label);
      }
      if (feed_) {
        opened->place = feed_->open(batch, epoch_);
        opened->rows = feed_->missing(opened->place);
        for (const int64_t row : opened->rows) {
          opened->squares.push_back(feed_->row(opened->place, row));
        }
      } else {
        batch.images = Tensor::empty({end - begin, size, size, 3});
        batch.labels = Tensor::from(batch.host_labels, {end - begin});
        opened->rows.resize(static_cast<size_t>(end - begin));
        std::iota(opened->rows.begin(), opened->rows.end(), 0);
      }
      open_.push_back(std::move(opened));
      ++next_to_open_;
    }
    row_to_take_.notify_all();
  }

  // Those from the first one on whose rows are all there: on the way while the device is at work on
  // the first.
  std::vector<std::shared_ptr<OpenBatch>> batches_to_upload() {
    std::vector<std::shared_ptr<OpenBatch>> ready;
    for (const auto& batch : open_) {
      if (!batch->done() || batch->failure) break;
      if (!std::exchange(batch->uploaded, true)) ready.push_back(batch);
    }
    return ready;
  }

  std::shared_ptr<OpenBatch> batch_with_rows_to_take() {
    for (const auto& batch : open_) {
      if (batch->rows_taken < batch->rows.size()) return batch;
    }
    return nullptr;
  }

  void work(const std::stop_token& stop) {
    std::unique_lock lock(mutex_);
    for (;;) {
      std::shared_ptr<OpenBatch> batch;
      row_to_take_.wait(lock, stop, [&] { return (batch = batch_with_rows_to_take()) != nullptr; });
      if (stop.stop_requested()) return;
      const size_t taken = batch->rows_taken++;
      const int64_t row = batch->rows[taken];
      const int64_t index = batch->batch.indices[row];
      std::shared_ptr<const Image> image = cache_[index];
      ++rows_in_work_;

      lock.unlock();
      std::exception_ptr failure;
      try {
        if (image == nullptr) image = std::make_shared<const Image>(load(index));
        fill(*image, *batch, taken);
      } catch (...) {
        failure = std::current_exception();
      }
      lock.lock();

      if (!failure) keep(index, image);
      if (failure && (!batch->failure || row < batch->failed_row)) {
        batch->failure = failure;
        batch->failed_row = row;
      }
      ++batch->rows_done;
      if (batch->done()) batch_done_.notify_one();
      if (--rows_in_work_ == 0) idle_.notify_one();
    }
  }

  // What every variation of a picture starts from.
  Image load(int64_t index) const {
    const Image image = read_image(samples_[index].path);
    const int size = options_.image_size;
    if (!options_.augment) return fit_image(image, size, options_.fit);
    return reduce_for_augment(image, size, options_.fit, *options_.augment);
  }

  void fill(const Image& image, const OpenBatch& batch, size_t taken) const {
    const int64_t row = batch.rows[taken];
    const auto write = [&](const Image& square) {
      if (feed_) {
        std::copy(square.rgb.begin(), square.rgb.end(), batch.squares[taken]);
      } else {
        Tensor out = batch.batch.images.slice(row, row + 1);
        normalize(square.rgb.data(), out.numel(), options_.normalization, out.data<float>());
      }
    };
    if (!varies_here_) return write(image);
    write(augment(image, options_.image_size, *options_.augment,
                  Random(options_.seed, Stream::kAugment, batch.epoch, batch.batch.indices[row])));
  }

  void keep(int64_t index, const std::shared_ptr<const Image>& image) {
    if (resident_) return;  // the device keeps it
    const size_t bytes = image->rgb.size();
    if (cache_[index] != nullptr || bytes > options_.cache_bytes - cached_bytes_) return;
    cache_[index] = image;
    cached_bytes_ += bytes;
  }

  const std::vector<Sample> samples_;
  const LoaderOptions options_;
  std::unique_ptr<DeviceFeed> feed_;  // for a GPU
  bool resident_ = false;             // pictures stay on the device
  bool varies_here_ = false;          // the workers make the variations

  std::mutex mutex_;
  std::condition_variable_any row_to_take_;
  std::condition_variable batch_done_, idle_;
  int64_t rows_in_work_ = 0;
  std::vector<int64_t> order_;
  int64_t epoch_ = -1, next_to_open_ = 0;
  std::deque<std::shared_ptr<OpenBatch>> open_;
  std::exception_ptr failure_;
  std::vector<std::shared_ptr<const Image>> cache_;
  size_t cached_bytes_ = 0;
  std::vector<std::jthread> workers_;  // last: they end before what they use
};

Loader::Loader(std::vector<Sample> samples, const LoaderOptions& options) {
  check_options(samples, options);
  pipeline_ = std::make_unique<Pipeline>(std::move(samples), options);
}
Loader::~Loader() = default;

const std::vector<Sample>& Loader::samples() const {
  return pipeline_->samples();
}
const LoaderOptions& Loader::options() const {
  return pipeline_->options();
}
int64_t Loader::images() const {
  return pipeline_->images();
}
int64_t Loader::batches() const {
  return pipeline_->batches();
}
void Loader::start_epoch(int64_t epoch, int64_t first_batch) {
  pipeline_->start_epoch(epoch, first_batch);
}
std::optional<Batch> Loader::next() {
  return pipeline_->next();
}

CheckedImages check_images(const std::vector<Sample>& samples, int threads,
                           const std::function<bool(int64_t done, int64_t total)>& progress) {
  std::vector<std::string> failures(samples.size());
  std::vector<std::pair<int, int>> sizes(samples.size());
  std::atomic<size_t> next = 0, done = 0;
  CheckedImages result;
  const auto tell = [&] {
    if (!progress) return;
    if (progress(static_cast<int64_t>(done), std::ssize(samples))) return;
    result.all = false;
    next = samples.size();
  };
  {
    std::mutex mutex;
    std::condition_variable ended;
    int working = thread_count(threads);
    std::vector<std::jthread> workers;
    for (int i = working; i > 0; --i) {
      workers.emplace_back([&] {
        for (size_t s; (s = next++) < samples.size(); ++done) {
          try {
            const Image image = read_image(samples[s].path);
            sizes[s] = {image.height, image.width};
          } catch (const std::exception& error) {
            failures[s] = error.what();
          }
        }
        const std::lock_guard lock(mutex);
        --working;
        ended.notify_one();
      });
    }
    std::unique_lock lock(mutex);
    while (!ended.wait_for(lock, std::chrono::milliseconds(100), [&] { return working == 0; })) {
      tell();
    }
  }
  if (result.all) tell();
  if (!result.all) return result;
  std::erase(failures, "");
  if (failures.empty()) {
    const bool alike =
        std::ranges::all_of(sizes, [&](const auto& size) { return size == sizes.front(); });
    if (alike && !sizes.empty()) result.common_size = sizes.front();
    return result;
  }
  constexpr size_t kShown = 5;
  const size_t count = failures.size();
  failures.resize(std::min(count, kShown));
  throw Error(fmt::format("{} of {} pictures cannot be read: {}{}", count, samples.size(),
                          fmt::join(failures, "; "), count > kShown ? "; …" : ""));
}

}  // namespace glassnet
