// The way of a loader's batches into the memory of a CUDA device, where their pictures are varied,
// normalised and rounded to the network's element type (kernels/image.h).
//
//   resident   every picture lies in the device's memory, as 8-bit squares, from the first time it
//              was decoded; a batch is made of them there
//   streamed   a batch's squares are brought over in pinned memory, on a stream of their own, while
//              the device computes
//
// A data set is resident when its squares fit into LoaderOptions::device_bytes and the device can
// make the variations.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "data/loader.h"

namespace glassnet {

// CONVENTION: one thread calls; but what row() points to, any thread may write between open() and
// upload(). A batch is opened, uploaded once its missing rows are written, and delivered. It may be
// dropped at any point when no thread writes to it any more.
class DeviceFeed {
 public:
  virtual ~DeviceFeed() = default;

  virtual bool resident() const = 0;
  // Whether the device makes the variations: rows then hold what those start from.
  virtual bool varies() const = 0;

  // A place for the next batch: waits until the one that had it, batches ago, is off the host.
  // At most `prefetch` batches that are not delivered may be open.
  virtual int open(const Batch& batch, int64_t epoch) = 0;
  // The rows whose pictures the host has to write: none that is resident.
  virtual const std::vector<int64_t>& missing(int place) const = 0;
  virtual uint8_t* row(int place, int64_t row) = 0;  // (size, size, 3), pinned
  // Queues the copy to the device.
  virtual void upload(int place) = 0;
  // Sets the batch's images and labels, queued on the caller's current stream.
  virtual void deliver(int place, Batch& batch) = 0;
};

// For LoaderOptions of a CUDA device and so many pictures. Throws Error when the device has too
// little memory, and in a build that has no CUDA.
std::unique_ptr<DeviceFeed> make_device_feed(int64_t pictures, const LoaderOptions& options);

}  // namespace glassnet
