// Comma-separated values, as RFC 4180 has them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace glassnet {

// Reads records one after the other. A cell in quotes may hold commas, line ends and, doubled,
// quotes. Lines end in LF or CRLF; empty ones are no records.
class CsvReader {
 public:
  // `name` stands in messages. Both outlive the reader.
  CsvReader(std::string_view bytes, const std::string& name);

  // The next record; false after the last. Throws Error, a sentence that names the line, where
  // quotes do not match. What `cells` held is overwritten.
  bool next(std::vector<std::string>& cells);
  // Where the record that was read last begins, from 1.
  int64_t line() const { return line_; }

 private:
  void read_quoted(std::string& cell);

  std::string_view rest_;
  const std::string& name_;
  int64_t line_ = 0, next_line_ = 1;
};

// A cell, in quotes where it must be.
std::string csv_cell(std::string_view text);

}  // namespace glassnet
