#include "training/row_array.h"

#include <algorithm>
#include <bit>
#include <charconv>
#include <functional>
#include <numeric>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "kernels/error.h"
#include "tensor/file.h"

static_assert(std::endian::native == std::endian::little, "elements are written as they lie");

namespace glassnet {
namespace {

constexpr std::string_view kShapeKey = "'shape': (";

int64_t place_of(const RowForm& form, int64_t row) {
  return static_cast<int64_t>(kRowArrayHeader) + row * form.bytes();
}

}  // namespace

int64_t RowForm::bytes() const {
  return std::accumulate(shape.begin(), shape.end(), static_cast<int64_t>(element),
                         std::multiplies<>());
}

std::string row_array_header(const RowForm& form, int64_t rows) {
  std::string header("\x93NUMPY\x01\x00", 8);
  const size_t text = kRowArrayHeader - header.size() - 2;
  header += {static_cast<char>(text), '\0'};
  header += fmt::format("{{'descr': '{}', 'fortran_order': False, {}{}, {}), }}", form.descr,
                        kShapeKey, rows, fmt::join(form.shape, ", "));
  require(header.size() < kRowArrayHeader, [&] {
    return fmt::format("[row array] rows of ({}) have no room in a header of {} bytes",
                       fmt::join(form.shape, ", "), kRowArrayHeader);
  });
  header.resize(kRowArrayHeader - 1, ' ');
  return header + '\n';
}

int64_t rows_counted(const std::filesystem::path& path, std::string_view header, int64_t size,
                     const RowForm& form) {
  int64_t rows = -1;
  if (const size_t key = header.find(kShapeKey); key != std::string_view::npos) {
    const std::string_view number = header.substr(key + kShapeKey.size());
    std::from_chars(number.data(), number.data() + number.size(), rows);
  }
  // By division, since a damaged count may be too large to be multiplied.
  const int64_t held = (size - static_cast<int64_t>(kRowArrayHeader)) / form.bytes();
  require(rows >= 0 && header == row_array_header(form, rows) && rows <= held, [&] {
    return fmt::format("{}: expected an array of type {} with rows of ({})", path.string(),
                       form.descr, fmt::join(form.shape, ", "));
  });
  return rows;
}

void RowArray::create(const std::filesystem::path& path, const RowForm& form) {
  write_file_atomically(path, row_array_header(form, 0));
}

RowArray::RowArray(const std::filesystem::path& path, RowForm form)
    : form_(std::move(form)), file_(path, DurableFile::Mode::kExisting) {
  const int64_t size = file_.size();
  const auto header = std::min(size, static_cast<int64_t>(kRowArrayHeader));
  rows_ = rows_counted(path, file_.read_at(0, static_cast<size_t>(header)), size, form_);
}

std::string RowArray::read(int64_t row) const {
  return file_.read_at(place_of(form_, row), static_cast<size_t>(form_.bytes()));
}

void RowArray::write(int64_t row, const void* data) {
  file_.write_at(place_of(form_, row), data, static_cast<size_t>(form_.bytes()));
}

void RowArray::count(int64_t rows) {
  file_.sync();
  const std::string header = row_array_header(form_, rows);
  file_.write_at(0, header.data(), header.size());
  file_.sync();
  rows_ = rows;
}

void RowArray::truncate(int64_t rows) {
  count(rows);
  file_.truncate(place_of(form_, rows));
  file_.sync();
}

}  // namespace glassnet
