// A NumPy array on disk that grows by rows: what a long computation leaves behind as it goes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "training/durable_file.h"

namespace glassnet {

// What a row is. With row shape (a, b) and n rows, the array is (n, a, b).
struct RowForm {
  std::string descr;           // NumPy's name of the element type: "<f4"
  size_t element = 0;          // bytes
  std::vector<int64_t> shape;  // of a row, every extent above 0

  int64_t bytes() const;  // of a row
};

// Version 1.0 of the .npy format in 128 bytes, however many rows there are.
inline constexpr size_t kRowArrayHeader = 128;
std::string row_array_header(const RowForm& form, int64_t rows);
// The rows that a file of `size` bytes that begins with `header` counts. Throws Error, naming
// `path`, where it is no array of that form or holds fewer.
int64_t rows_counted(const std::filesystem::path& path, std::string_view header, int64_t size,
                     const RowForm& form);

// CONVENTION: rows are written first, reach the disk, and are counted in the header last; so a kill
// at any moment leaves a valid file of whole rows, and bytes beyond them that nobody reads. Every
// function throws Error, a sentence that names the file, when the system refuses.
class RowArray {
 public:
  // Starts an empty one, over an earlier file.
  static void create(const std::filesystem::path& path, const RowForm& form);
  // Opens one; throws Error when the file is no such array.
  RowArray(const std::filesystem::path& path, RowForm form);

  int64_t rows() const { return rows_; }
  // The bytes of a counted row.
  std::string read(int64_t row) const;
  // form.bytes() bytes at `row`, which may lie beyond the counted ones.
  void write(int64_t row, const void* data);
  void sync() { file_.sync(); }
  // From now on there are `rows`, all of them on disk.
  void count(int64_t rows);
  // The same, and what lies beyond is cut off.
  void truncate(int64_t rows);

 private:
  RowForm form_;
  DurableFile file_;
  int64_t rows_ = 0;
};

}  // namespace glassnet
