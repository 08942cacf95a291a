// A file that grows in place and reaches the disk when asked to: what logs are written with. (Files
// that appear whole are tensor/file.h's.)
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>

namespace glassnet {

// CONVENTION: open from construction to destruction. Every function throws Error, a sentence that
// names the file, when the system refuses.
class DurableFile {
 public:
  enum class Mode { kExisting, kCreate };  // kCreate: made empty where there is none

  DurableFile(const std::filesystem::path& path, Mode mode);
  ~DurableFile();
  DurableFile(const DurableFile&) = delete;
  DurableFile& operator=(const DurableFile&) = delete;

  int64_t size() const;
  // Exactly `bytes` bytes from `offset` on.
  std::string read_at(int64_t offset, size_t bytes) const;
  void write_at(int64_t offset, const void* data, size_t bytes);
  void truncate(int64_t size);
  void sync();

 private:
  [[noreturn]] void fail(const char* what, int error) const;

  std::filesystem::path path_;
  int descriptor_ = -1;
};

}  // namespace glassnet
