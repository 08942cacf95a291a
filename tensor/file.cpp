#include "tensor/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <system_error>

#include <fmt/format.h>

#include "kernels/error.h"

namespace glassnet {
namespace {

std::string reason(int error) {
  return std::generic_category().message(error);
}

// Closes on the way out of a scope.
struct Descriptor {
  int number;
  ~Descriptor() {
    if (number >= 0) ::close(number);
  }
};

std::filesystem::path folder_of(const std::filesystem::path& path) {
  return path.has_parent_path() ? path.parent_path() : std::filesystem::path(".");
}

}  // namespace

namespace {

[[noreturn]] void fail_to_read(const std::filesystem::path& path, int error) {
  throw Error(fmt::format("{}: cannot be read: {}", path.string(), reason(error)));
}

// An open file that is no folder, and what is known of it.
struct OpenFile {
  Descriptor file;
  struct stat status = {};

  explicit OpenFile(const std::filesystem::path& path)
      : file{::open(path.c_str(), O_RDONLY | O_CLOEXEC)} {
    if (file.number < 0 || ::fstat(file.number, &status) != 0) fail_to_read(path, errno);
    if (S_ISDIR(status.st_mode)) fail_to_read(path, EISDIR);
  }
};

}  // namespace

std::string read_file(const std::filesystem::path& path) {
  const OpenFile open(path);
  const Descriptor& file = open.file;

  // A pipe tells no size, and a file may grow meanwhile: read until there is no more.
  std::string bytes(static_cast<size_t>(std::max<off_t>(open.status.st_size, 0)) + 1, '\0');
  size_t size = 0;
  for (;;) {
    if (size == bytes.size()) bytes.resize(2 * size);
    const ssize_t got = ::read(file.number, bytes.data() + size, bytes.size() - size);
    if (got == 0) break;
    if (got < 0 && errno != EINTR) fail_to_read(path, errno);
    if (got > 0) size += static_cast<size_t>(got);
  }
  bytes.resize(size);
  return bytes;
}

SharedBytes map_file(const std::filesystem::path& path) {
  const OpenFile open(path);
  const auto size = static_cast<size_t>(std::max<off_t>(open.status.st_size, 0));
  if (!S_ISREG(open.status.st_mode) || size == 0) {
    auto bytes = std::make_shared<const std::string>(read_file(path));
    return {*bytes, bytes};
  }
  void* data = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, open.file.number, 0);
  if (data == MAP_FAILED) fail_to_read(path, errno);
  const std::shared_ptr<const void> owner(
      data, [size](const void* mapped) { ::munmap(const_cast<void*>(mapped), size); });
  return {{static_cast<const char*>(data), size}, owner};
}

void write_file_atomically(const std::filesystem::path& path, std::string_view bytes) {
  AtomicFile file(path);
  file.write(bytes.data(), bytes.size());
  file.commit();
}

AtomicFile::AtomicFile(const std::filesystem::path& path) : path_(path), target_(path) {
  std::error_code ignored;
  if (std::filesystem::is_symlink(path, ignored)) {
    target_ = std::filesystem::weakly_canonical(path, ignored);
    if (ignored) fail(ignored.value());
  }
  const auto status = std::filesystem::status(target_, ignored);
  if (std::filesystem::is_directory(status)) fail(EISDIR);
  require(!std::filesystem::exists(status) || std::filesystem::is_regular_file(status), [&] {
    return fmt::format("{}: cannot be written: it is not a regular file", path_.string());
  });

  static std::atomic<uint64_t> counter = 0;
  const std::filesystem::path folder = folder_of(target_);
  do {
    temporary_ = folder / fmt::format(".glassnet-{}-{}.tmp", ::getpid(), counter++);
    descriptor_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  } while (descriptor_ < 0 && errno == EEXIST);
  if (descriptor_ < 0) {
    const int error = errno;
    std::error_code unknown;
    require(error != ENOENT || std::filesystem::exists(folder, unknown), [&] {
      return fmt::format("{}: cannot be written: there is no folder {}", path_.string(),
                         folder.string());
    });
    fail(error);
  }
}

AtomicFile::~AtomicFile() {
  if (descriptor_ < 0) return;
  ::close(descriptor_);
  ::unlink(temporary_.c_str());
}

void AtomicFile::write(const void* data, size_t bytes) {
  const char* next = static_cast<const char*>(data);
  while (bytes > 0) {
    const ssize_t written = ::write(descriptor_, next, bytes);
    if (written < 0) {
      if (errno == EINTR) continue;
      fail(errno);
    }
    next += written;
    bytes -= static_cast<size_t>(written);
  }
}

void AtomicFile::seek(uint64_t position) {
  if (::lseek(descriptor_, static_cast<off_t>(position), SEEK_SET) < 0) fail(errno);
}

void AtomicFile::commit() {
  if (::fsync(descriptor_) != 0 || ::rename(temporary_.c_str(), target_.c_str()) != 0) fail(errno);
  ::close(descriptor_);
  descriptor_ = -1;
  // The new name is an entry of the folder, which has a journal of its own.
  const Descriptor folder{::open(folder_of(target_).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  if (folder.number >= 0) ::fsync(folder.number);
}

void AtomicFile::fail(int error) const {
  throw Error(fmt::format("{}: cannot be written: {}", path_.string(), reason(error)));
}

}  // namespace glassnet
