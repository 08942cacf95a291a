#include "training/durable_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

#include <fmt/format.h>

#include "kernels/error.h"

namespace glassnet {

DurableFile::DurableFile(const std::filesystem::path& path, Mode mode) : path_(path) {
  const int create = mode == Mode::kCreate ? O_CREAT : 0;
  descriptor_ = ::open(path.c_str(), O_RDWR | O_CLOEXEC | create, 0666);
  if (descriptor_ < 0) fail("opened", errno);
}

DurableFile::~DurableFile() {
  ::close(descriptor_);
}

int64_t DurableFile::size() const {
  struct stat status = {};
  if (::fstat(descriptor_, &status) != 0) fail("read", errno);
  return status.st_size;
}

std::string DurableFile::read_at(int64_t offset, size_t bytes) const {
  std::string result(bytes, '\0');
  for (size_t done = 0; done < bytes;) {
    const ssize_t got = ::pread(descriptor_, result.data() + done, bytes - done,
                                offset + static_cast<int64_t>(done));
    if (got < 0 && errno != EINTR) fail("read", errno);
    require(got != 0, [&] { return fmt::format("{}: the file is cut short", path_.string()); });
    if (got > 0) done += static_cast<size_t>(got);
  }
  return result;
}

void DurableFile::write_at(int64_t offset, const void* data, size_t bytes) {
  const char* next = static_cast<const char*>(data);
  while (bytes > 0) {
    const ssize_t written = ::pwrite(descriptor_, next, bytes, offset);
    if (written < 0) {
      if (errno == EINTR) continue;
      fail("written", errno);
    }
    next += written;
    offset += written;
    bytes -= static_cast<size_t>(written);
  }
}

void DurableFile::truncate(int64_t size) {
  if (::ftruncate(descriptor_, size) != 0) fail("cut", errno);
}

void DurableFile::sync() {
  if (::fsync(descriptor_) != 0) fail("written", errno);
}

void DurableFile::fail(const char* what, int error) const {
  throw Error(fmt::format("{}: cannot be {}: {}", path_.string(), what,
                          std::generic_category().message(error)));
}

}  // namespace glassnet
