#include "data/device_feed.h"

#include <algorithm>
#include <type_traits>

#include <fmt/format.h>

#include "kernels/image.h"

#if defined(GLASSNET_CUDA)
#include "kernels/cuda/runtime.h"
#endif

namespace glassnet {

#if defined(GLASSNET_CUDA)
namespace {

class PinnedMemory {
 public:
  explicit PinnedMemory(size_t bytes)
      : data_(static_cast<uint8_t*>(kernels::pinned_allocate(bytes))) {}
  ~PinnedMemory() { kernels::pinned_free(data_); }
  PinnedMemory(const PinnedMemory&) = delete;
  PinnedMemory& operator=(const PinnedMemory&) = delete;
  uint8_t* data() const { return data_; }

 private:
  uint8_t* data_;
};

// Not from the caching allocator, whose blocks belong to the compute stream's order: what is here
// is written by another stream. data() is null when the device has too little.
class DeviceMemory {
 public:
  DeviceMemory(Device device, size_t bytes) : device_(device) { data_ = allocate(bytes); }
  ~DeviceMemory() {
    if (data_ != nullptr) kernels::cuda_free(device_.index, data_);
  }
  DeviceMemory(const DeviceMemory&) = delete;
  DeviceMemory& operator=(const DeviceMemory&) = delete;
  uint8_t* data() const { return data_; }

 private:
  uint8_t* allocate(size_t bytes) const {
    void* data = kernels::cuda_allocate(device_.index, bytes);
    if (data == nullptr) {
      release_cached_memory(device_);
      data = kernels::cuda_allocate(device_.index, bytes);
    }
    return static_cast<uint8_t*>(data);
  }

  Device device_;
  uint8_t* data_ = nullptr;
};

// The pictures of a data set on the device, as far as they have been brought there.
struct ResidentPictures {
  DeviceMemory memory;  // (pictures, size, size, 3)
  std::vector<bool> there;
  int64_t missing;

  ResidentPictures(Device device, int64_t pictures, size_t bytes)
      : memory(device, static_cast<size_t>(pictures) * bytes),
        there(static_cast<size_t>(pictures)),
        missing(pictures) {}
};

// What a batch tells the device besides its pictures. In memory: indices (batch size), labels
// (batch size), one ImageDraw.
class Notes {
 public:
  Notes(uint8_t* data, int64_t batch_size) : data_(data), batch_size_(batch_size) {}
  static size_t bytes(int64_t batch_size) {
    return static_cast<size_t>(2 * batch_size) * sizeof(int64_t) + sizeof(kernels::ImageDraw);
  }
  int64_t* indices() const { return reinterpret_cast<int64_t*>(data_); }
  int64_t* labels() const { return indices() + batch_size_; }
  kernels::ImageDraw* draw() const {
    return reinterpret_cast<kernels::ImageDraw*>(indices() + 2 * batch_size_);
  }

 private:
  uint8_t* data_;
  int64_t batch_size_;
};

// Where a batch stands on its way.
struct Place {
  Place(Device device, int64_t batch_size)
      : host_notes(Notes::bytes(batch_size)),
        notes(device, Notes::bytes(batch_size)),
        uploaded(device.index),
        consumed(device.index) {}

  int64_t rows = 0;
  std::vector<int64_t> indices, missing;
  PinnedMemory host_notes;
  DeviceMemory notes;
  std::unique_ptr<PinnedMemory> host_pictures;  // (batch size, size, size, 3), where it is needed
  std::unique_ptr<DeviceMemory> pictures;       // the same, streamed
  kernels::CudaEvent uploaded;                  // the host's side may be written again
  kernels::CudaEvent consumed;                  // the device's side may be written again
};

// Batches are opened in a circle of `prefetch` + 2 places, so that the host waits for an upload
// only where two later batches have been delivered already.
class CudaFeed : public DeviceFeed {
 public:
  CudaFeed(int64_t pictures, const LoaderOptions& options)
      : options_(options),
        batch_size_(std::min(options.batch_size, pictures)),
        picture_bytes_(size_t{3} * static_cast<size_t>(options.image_size) *
                       static_cast<size_t>(options.image_size)),
        scale_(scale_of(options.normalization)),
        copy_stream_(options.device.index) {
    if (options.augment && varies())
      variation_ = variation_of(*options.augment, options.image_size);
    const size_t budget = options.device_bytes
                              ? *options.device_bytes
                              : kernels::cuda_memory(options.device.index).free_bytes / 3;
    if (varies() && static_cast<size_t>(pictures) <= budget / picture_bytes_) {
      resident_ = std::make_unique<ResidentPictures>(options.device, pictures, picture_bytes_);
      if (resident_->memory.data() == nullptr) resident_.reset();
    }
    for (int i = 0; i < options.prefetch + 2; ++i) {
      auto place = std::make_unique<Place>(options.device, batch_size_);
      bool enough = place->notes.data() != nullptr;
      if (!resident()) {
        place->pictures = std::make_unique<DeviceMemory>(options.device, batch_bytes());
        enough = enough && place->pictures->data() != nullptr;
      }
      require(enough, [&] {
        return fmt::format(
            "[loader] out of memory on {}: {} batches of {} pictures are to wait there, {:.1f} MiB "
            "each; use a smaller --batch-size or --image-size",
            options.device.str(), options.prefetch + 2, batch_size_,
            static_cast<double>(batch_bytes()) / (1 << 20));
      });
      places_.push_back(std::move(place));
    }
  }

  ~CudaFeed() override {
    // What is queued still reads and writes the memory that goes now.
    try {
      kernels::synchronize(copy_cuda());
      for (const auto& place : places_) place->consumed.synchronize();
    } catch (const Error&) {  // the device has failed: nothing runs on it any more
    }
  }
  CudaFeed(const CudaFeed&) = delete;
  CudaFeed& operator=(const CudaFeed&) = delete;

  bool resident() const override { return resident_ != nullptr; }
  bool varies() const override {
    return !options_.augment || can_prepare_on_device(*options_.augment);
  }

  int open(const Batch& batch, int64_t epoch) override {
    const int number = next_place_;
    next_place_ = (next_place_ + 1) % static_cast<int>(places_.size());
    Place& place = *places_[number];
    place.uploaded.synchronize();

    place.indices = batch.indices;
    place.rows = static_cast<int64_t>(batch.indices.size());
    const Notes notes(place.host_notes.data(), batch_size_);
    std::copy(batch.indices.begin(), batch.indices.end(), notes.indices());
    std::copy(batch.host_labels.begin(), batch.host_labels.end(), notes.labels());
    *notes.draw() = {.seed = options_.seed,
                     .stream = static_cast<uint64_t>(Stream::kAugment),
                     .epoch = static_cast<uint64_t>(epoch)};

    place.missing.clear();
    for (int64_t row = 0; row < place.rows; ++row) {
      if (!resident() || !resident_->there[batch.indices[row]]) place.missing.push_back(row);
    }
    if (resident() && resident_->missing == 0) {
      place.host_pictures.reset();  // never needed again
    } else if (place.host_pictures == nullptr && !place.missing.empty()) {
      place.host_pictures = std::make_unique<PinnedMemory>(batch_bytes());
    }
    return number;
  }

  const std::vector<int64_t>& missing(int place) const override { return places_[place]->missing; }

  uint8_t* row(int place, int64_t row) override {
    return places_[place]->host_pictures->data() + static_cast<size_t>(row) * picture_bytes_;
  }

  void upload(int number) override {
    Place& place = *places_[number];
    place.consumed.wait_on(copy_stream_.get());
    kernels::cuda_copy_async(copy_cuda(), place.notes.data(), place.host_notes.data(),
                             Notes::bytes(batch_size_));
    if (resident()) {
      upload_missing(place);
    } else {
      kernels::cuda_copy_async(copy_cuda(), place.pictures->data(), place.host_pictures->data(),
                               static_cast<size_t>(place.rows) * picture_bytes_);
    }
    place.uploaded.record(copy_stream_.get());
  }

  void deliver(int number, Batch& batch) override {
    Place& place = *places_[number];
    const Cuda compute = cuda_tag(options_.device);
    const int64_t size = options_.image_size;
    // Whatever was uploaded before this batch is there, too.
    place.uploaded.wait_on(compute.stream);
    const Notes notes(place.notes.data(), batch_size_);
    batch.labels = Tensor::empty({place.rows}, DType::kInt64, options_.device);
    kernels::cuda_copy_async(compute, batch.labels.raw(), notes.labels(), batch.labels.bytes());

    batch.images = Tensor::empty({place.rows, size, size, 3}, options_.dtype, options_.device);
    const kernels::ImageBatch source = {
        .pictures = resident() ? resident_->memory.data() : place.pictures->data(),
        .rows = resident() ? notes.indices() : nullptr,
        .indices = notes.indices(),
        .draw = notes.draw(),
        .n = place.rows,
        .size = options_.image_size};
    on("loader", batch.images, [&](auto device, auto zero) {
      using T = decltype(zero);
      if constexpr (std::is_same_v<decltype(device), Cuda>) {
        kernels::prepare_images(device, source, batch.images.data<T>(), variation_, scale_);
      }
    });
    place.consumed.record(compute.stream);
  }

 private:
  Cuda copy_cuda() const { return {options_.device.index, copy_stream_.get()}; }
  size_t batch_bytes() const { return static_cast<size_t>(batch_size_) * picture_bytes_; }

  // To their places among the resident pictures; neighbours that stay neighbours go together.
  void upload_missing(const Place& place) {
    const std::vector<int64_t>& rows = place.missing;
    for (size_t begin = 0, end; begin < rows.size(); begin = end) {
      const int64_t first = place.indices[rows[begin]];
      const auto continues = [&](size_t i) {
        const auto offset = static_cast<int64_t>(i - begin);
        return rows[i] == rows[begin] + offset && place.indices[rows[i]] == first + offset;
      };
      for (end = begin + 1; end < rows.size() && continues(end);) ++end;
      kernels::cuda_copy_async(
          copy_cuda(), resident_->memory.data() + static_cast<size_t>(first) * picture_bytes_,
          place.host_pictures->data() + static_cast<size_t>(rows[begin]) * picture_bytes_,
          (end - begin) * picture_bytes_);
    }
    for (const int64_t row : rows) resident_->there[place.indices[row]] = true;
    resident_->missing -= static_cast<int64_t>(rows.size());
  }

  const LoaderOptions options_;
  const int64_t batch_size_;  // of the largest batch
  const size_t picture_bytes_;
  const kernels::ImageScale scale_;
  kernels::ImageVariation variation_;  // none where the host makes it
  kernels::CudaStream copy_stream_;
  std::unique_ptr<ResidentPictures> resident_;
  std::vector<std::unique_ptr<Place>> places_;
  int next_place_ = 0;
};

}  // namespace
#endif

std::unique_ptr<DeviceFeed> make_device_feed(int64_t pictures, const LoaderOptions& options) {
#if defined(GLASSNET_CUDA)
  return std::make_unique<CudaFeed>(pictures, options);
#else
  (void)pictures;
  throw Error(fmt::format(
      "[loader] batches were asked for on {}, but this build of Glassnet has no CUDA; use the CPU",
      options.device.str()));
#endif
}

}  // namespace glassnet
