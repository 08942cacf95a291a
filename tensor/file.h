// Whole files, in and out: a file that is being written is never seen half done.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

namespace glassnet {

// The bytes of a file. Throws Error, a sentence that names the file, when it is missing, a folder
// or not readable.
std::string read_file(const std::filesystem::path& path);

// Bytes that are alive as long as their owner.
struct SharedBytes {
  std::string_view bytes;
  std::shared_ptr<const void> owner;
};
// A file's bytes, mapped into memory where it is a regular file: only what is looked at is read.
// Throws as read_file does. Another program that cuts the file short meanwhile ends this one.
SharedBytes map_file(const std::filesystem::path& path);

// Writes a temporary file in the same folder, fsyncs and renames it over `path`. On failure (no
// such folder, a full disk) throws Error, and `path` is as it was. A symlink stays one: the file it
// points to is replaced. Devices and pipes are refused.
void write_file_atomically(const std::filesystem::path& path, std::string_view bytes);

// The same piece by piece, for what should not lie in memory twice.
//
// CONVENTION: until `commit` the bytes lie under a temporary name, which the destructor removes;
// after it they lie under `path`.
class AtomicFile {
 public:
  explicit AtomicFile(const std::filesystem::path& path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(const void* data, size_t bytes);
  // What is written next goes to that byte of the file, over what lies there: for a header that is
  // only known at the end.
  void seek(uint64_t position);
  void commit();

 private:
  [[noreturn]] void fail(int error) const;

  std::filesystem::path path_, target_, temporary_;  // as asked for, symlinks followed, meanwhile
  int descriptor_ = -1;
};

}  // namespace glassnet
