// Zip archives, by minizip: read from memory and written to a file, as far as PyTorch's files need.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tensor/file.h"

namespace glassnet {

// How many bytes the contents of a file of weights may come to. More of them are made to harm.
uint64_t most_contents(uint64_t file_bytes);

// Reads an archive's directory and, on demand, its entries. Throws Error, one sentence that begins
// with `name`, for whatever is damaged, encrypted, compressed other than by deflate, or made to
// expand: entries that overlap or bear one name, and archives of more than most_contents.
class ZipReader {
 public:
  struct Entry {
    uint64_t size = 0;                              // of the contents in bytes
    uint64_t begin = 0, stored_size = 0;            // where they lie in the archive
    uint32_t crc = 0;                               // CRC-32 of the contents
    bool deflated = false;                          // else they lie there as they are
    std::optional<std::string_view> contents = {};  // once read
  };

  ZipReader(const std::string& name, const SharedBytes& file);

  const std::map<std::string, Entry>& entries() const { return entries_; }
  // Checks the checksums of what lies stored below a folder ("net/"), threads sharing the work,
  // since zlib takes most of the time that reading weights does. Refuses nothing: `read` does.
  void check_ahead(std::string_view folder);
  // The entry's contents, their checksum checked: a view of the archive, or inflated. Throws Error
  // where there is no such entry, too.
  std::string_view read(const std::string& entry);
  // Of the memory that `read` has returned views of.
  const std::vector<std::shared_ptr<const void>>& owners() const { return owners_; }

 private:
  [[noreturn]] void refuse(const std::string& what) const;
  void check_sizes() const;
  void check_overlaps() const;

  std::string name_;
  std::string_view bytes_;
  std::map<std::string, Entry> entries_;
  std::vector<std::shared_ptr<const void>> owners_;
};

// Writes entries as they are, uncompressed, their contents at multiples of 64 bytes of the file;
// what it writes depends on nothing but names and contents.
class ZipWriter {
 public:
  explicit ZipWriter(AtomicFile& file);
  ~ZipWriter();
  ZipWriter(const ZipWriter&) = delete;
  ZipWriter& operator=(const ZipWriter&) = delete;

  void add(const std::string& entry, const void* data, size_t bytes);
  // Writes the directory. Nothing can be added afterwards.
  void finish();

 private:
  struct Output;
  void check(int status) const;

  std::unique_ptr<Output> output_;
  void* archive_ = nullptr;
};

}  // namespace glassnet
