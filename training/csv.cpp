#include "training/csv.h"

#include <algorithm>

#include <fmt/format.h>

#include "kernels/error.h"

namespace glassnet {

CsvReader::CsvReader(std::string_view bytes, const std::string& name) : rest_(bytes), name_(name) {
  constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
  if (rest_.starts_with(kByteOrderMark)) rest_.remove_prefix(kByteOrderMark.size());
}

bool CsvReader::next(std::vector<std::string>& cells) {
  for (;; ++next_line_) {
    const size_t end = rest_.starts_with("\r\n") ? 2 : rest_.starts_with('\n') ? 1 : 0;
    if (end == 0) break;
    rest_.remove_prefix(end);
  }
  if (rest_.empty()) return false;
  line_ = next_line_;
  for (size_t count = 0;;) {
    if (cells.size() == count) cells.emplace_back();
    std::string& cell = cells[count++];
    if (rest_.starts_with('"')) {
      read_quoted(cell);
    } else {
      cell = rest_.substr(0, rest_.find_first_of(",\n"));
      rest_.remove_prefix(cell.size());
      if (cell.ends_with('\r') && !rest_.starts_with(',')) cell.pop_back();
    }
    const bool more = rest_.starts_with(',');
    if (!rest_.empty()) rest_.remove_prefix(1);
    if (!more) {
      cells.resize(count);
      ++next_line_;
      return true;
    }
  }
}

// Leaves the comma or the line end, or nothing, at the beginning of what is left.
void CsvReader::read_quoted(std::string& cell) {
  cell.clear();
  for (;;) {
    rest_.remove_prefix(1);
    const size_t end = rest_.find('"');
    require(end != std::string_view::npos,
            [&] { return fmt::format("{}: line {}: a quote is never closed", name_, line_); });
    cell += rest_.substr(0, end);
    rest_.remove_prefix(end + 1);
    if (!rest_.starts_with('"')) break;
    cell += '"';  // it was doubled
  }
  next_line_ += std::count(cell.begin(), cell.end(), '\n');
  if (rest_.starts_with("\r\n")) rest_.remove_prefix(1);
  require(rest_.empty() || rest_.front() == ',' || rest_.front() == '\n', [&] {
    return fmt::format("{}: line {}: expected a comma or the line's end after a closing quote",
                       name_, line_);
  });
}

std::string csv_cell(std::string_view text) {
  if (text.find_first_of(",\"\r\n") == std::string_view::npos) return std::string(text);
  std::string quoted = "\"";
  for (const char letter : text) {
    if (letter == '"') quoted += '"';
    quoted += letter;
  }
  return quoted + '"';
}

}  // namespace glassnet
