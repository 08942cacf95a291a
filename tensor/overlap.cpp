#include "tensor/overlap.h"

#include <algorithm>
#include <bit>
#include <cstring>

#if defined(GLASSNET_CUDA)
#include "kernels/cuda/allocator.h"
#include "kernels/cuda/runtime.h"
#endif

namespace glassnet {
namespace {

Tensor bytes_of(const void* data, size_t bytes) {
  Tensor copy = Tensor::empty({static_cast<int64_t>(bytes)}, DType::kUInt8);
  if (bytes > 0) std::memcpy(copy.raw(), data, bytes);
  return copy;
}

}  // namespace

#if defined(GLASSNET_CUDA)

struct Download::Block {
  Block(int index, size_t bytes_)
      : bytes(bytes_), data(kernels::pinned_allocate(bytes_)), passed(index) {}
  ~Block() {
    // The device may still be at it.
    try {
      passed.synchronize();
    } catch (const Error&) {  // it has failed, and does nothing any more
    }
    kernels::pinned_free(data);
  }
  Block(const Block&) = delete;
  Block& operator=(const Block&) = delete;

  size_t bytes;
  void* data;
  kernels::CudaEvent passed;  // the last copy
};

Tensor Download::wait() const {
  if (block_ == nullptr) return host_;
  block_->passed.synchronize();
  Tensor host = host_;
  if (host.bytes() > 0) std::memcpy(host.raw(), block_->data, host.bytes());
  return host;
}

// One that no copy passes through and no Download reads.
std::shared_ptr<Download::Block> Staging::block_of(size_t bytes) {
  const auto free = std::ranges::find_if(blocks_, [&](const auto& block) {
    return block->bytes >= bytes && block.use_count() == 1 && block->passed.done();
  });
  if (free != blocks_.end()) return *free;
  constexpr size_t kLeast = 4096;
  blocks_.push_back(
      std::make_shared<Download::Block>(device_.index, std::bit_ceil(std::max(bytes, kLeast))));
  return blocks_.back();
}

Tensor Staging::upload(const void* data, size_t bytes) {
  if (device_.type == DeviceType::kCpu || bytes == 0) return bytes_of(data, bytes).to(device_);
  Tensor there = Tensor::empty({static_cast<int64_t>(bytes)}, DType::kUInt8, device_);
  const auto block = block_of(bytes);
  std::memcpy(block->data, data, bytes);
  const Cuda device = cuda_tag(device_);
  kernels::cuda_copy_async(device, there.raw(), block->data, bytes);
  block->passed.record(device.stream);
  return there;
}

Download Staging::download(const Tensor& x) {
  Download result;
  if (x.device().type == DeviceType::kCpu || x.bytes() == 0) {
    result.host_ = x.to(Device{});
    return result;
  }
  result.host_ = Tensor::empty(x.shape(), x.dtype());
  result.block_ = block_of(x.bytes());
  const Cuda device = cuda_tag(device_);
  kernels::cuda_copy_async(device, result.block_->data, x.raw(), x.bytes());
  result.block_->passed.record(device.stream);
  return result;
}

struct SideQueue::Impl {
  explicit Impl(int index_) : index(index_), stream(index_), pool(index_) {}
  int index;
  kernels::CudaStream stream;
  kernels::MemoryPool pool;
};

SideQueue::SideQueue(Device device) {
  if (device.type != DeviceType::kCpu) impl_ = std::make_unique<Impl>(device.index);
}

struct SideQueue::Scope::Impl {
  explicit Impl(SideQueue::Impl& queue)
      : stream(queue.index, queue.stream.get()), pool(queue.pool) {}
  kernels::StreamScope stream;
  kernels::PoolScope pool;
};

SideQueue::Scope::Scope(SideQueue& queue) {
  if (queue.impl_ != nullptr) impl_ = std::make_unique<Impl>(*queue.impl_);
}

#else

struct Download::Block {};
Tensor Download::wait() const {
  return host_;
}
Tensor Staging::upload(const void* data, size_t bytes) {
  return bytes_of(data, bytes).to(device_);
}
Download Staging::download(const Tensor& x) {
  Download result;
  result.host_ = x;
  return result;
}

struct SideQueue::Impl {};
SideQueue::SideQueue(Device) {}
struct SideQueue::Scope::Impl {};
SideQueue::Scope::Scope(SideQueue&) {}

#endif

Staging::Staging(Device device) : device_(device) {}
Staging::~Staging() = default;
SideQueue::~SideQueue() = default;
SideQueue::Scope::~Scope() = default;

}  // namespace glassnet
