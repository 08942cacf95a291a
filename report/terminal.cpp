#include "report/terminal.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <cstring>

#include <fmt/format.h>

#include "kernels/error.h"
#include "tensor/utf8.h"

namespace glassnet {
namespace {

using std::chrono::steady_clock;

constexpr auto kRedrawEvery = std::chrono::milliseconds(100);
constexpr auto kPlainEvery = std::chrono::seconds(30);
constexpr int kWidestBar = 30;
constexpr int kNarrowestBar = 8;
constexpr std::string_view kClearLine = "\r\x1b[2K";

void write(std::FILE* stream, std::string_view text) {
  // A closed pipe is for whoever writes the results to notice.
  std::fwrite(text.data(), 1, text.size(), stream);
  std::fflush(stream);
}

std::string repeated(std::string_view text, int times) {
  std::string result;
  for (int i = 0; i < times; ++i) result += text;
  return result;
}

// Three digits are enough to see a change: 0.42, 8.31, 41.2, 412, 12034.
std::string short_number(double value) {
  const int decimals = value >= 100 ? 0 : value >= 10 ? 1 : 2;
  return fmt::format("{:.{}f}", value, decimals);
}

// A bar of `width` columns whose left part, `share` of it, is full, to half a column.
std::string bar(double share, int width, bool utf8) {
  const int halves = std::clamp(static_cast<int>(std::lround(share * 2 * width)), 0, 2 * width);
  const int full = halves / 2;
  if (!utf8) return repeated("#", full) + repeated(".", width - full);
  std::string result = repeated("━", full);
  if (halves % 2 == 1) result += "╸";
  return result + repeated("─", width - full - halves % 2);
}

}  // namespace

bool is_terminal(std::FILE* stream) {
  const char* term = std::getenv("TERM");
  return ::isatty(::fileno(stream)) == 1 && term != nullptr && std::strcmp(term, "dumb") != 0;
}

int terminal_width(std::FILE* stream) {
  constexpr int kUsual = 80;
  winsize size = {};
  if (::ioctl(::fileno(stream), TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  const char* columns = std::getenv("COLUMNS");
  int value = 0;
  if (columns != nullptr) std::from_chars(columns, columns + std::strlen(columns), value);
  return value > 0 ? value : kUsual;
}

bool locale_is_utf8() {
  // The first that is set to something decides, as in setlocale(3).
  for (const char* name : {"LC_ALL", "LC_CTYPE", "LANG"}) {
    const char* value = std::getenv(name);
    if (value == nullptr || *value == '\0') continue;
    std::string lower;
    for (const char* c = value; *c != '\0'; ++c) {
      if (*c != '-') lower += static_cast<char>(*c >= 'A' && *c <= 'Z' ? *c - 'A' + 'a' : *c);
    }
    return lower.find("utf8") != std::string::npos;
  }
  return false;
}

std::string duration(double seconds) {
  constexpr double kLongest = 359999;  // 99:59:59
  const auto whole = static_cast<int64_t>(std::lround(std::clamp(seconds, 0.0, kLongest)));
  const int64_t h = whole / 3600, m = whole / 60 % 60, s = whole % 60;
  return h > 0 ? fmt::format("{}:{:02}:{:02}", h, m, s) : fmt::format("{}:{:02}", m, s);
}

Progress::Progress(const std::string& label, int64_t total, ProgressOptions options)
    : label_(printable(label)),
      total_(total),
      options_(std::move(options)),
      terminal_(options_.terminal.value_or(is_terminal(options_.stream))),
      utf8_(options_.utf8.value_or(locale_is_utf8())),
      start_(options_.now()),
      last_draw_(start_) {
  if (terminal_) draw();
}

Progress::~Progress() {
  clear();
}

void Progress::update(int64_t done, std::string_view note) {
  if (finished_) return;
  done_ = done;
  note_ = printable(note);
  const auto now = options_.now();
  if (terminal_ && now - last_draw_ >= kRedrawEvery) {
    draw();
  } else if (!terminal_ && now - last_draw_ >= kPlainEvery) {
    write(options_.stream, plain_line() + "\n");
    last_draw_ = now;
  }
}

void Progress::print(std::string_view line) {
  clear();
  write(options_.stream, std::string(line) + "\n");
  if (terminal_ && !finished_) draw();
}

void Progress::finish(std::string_view note) {
  if (finished_) return;
  finished_ = true;
  note_ = printable(note);
  clear();
  std::string line = fmt::format("{}  {} {}  {} {}/s  {}", label_, done_, options_.unit,
                                 short_number(rate()), options_.unit, duration(elapsed()));
  if (!note_.empty()) line += "  " + note_;
  write(options_.stream, line + "\n");
}

void Progress::draw() {
  last_draw_ = options_.now();
  // The last column stays free: a character there makes some terminals begin a new line.
  const int columns = options_.width.value_or(terminal_width(options_.stream)) - 1;
  write(options_.stream, std::string(kClearLine) + bar_line(columns));
  shown_ = true;
}

void Progress::clear() {
  if (!shown_) return;
  write(options_.stream, kClearLine);
  shown_ = false;
}

std::string Progress::bar_line(int columns) const {
  std::string after =
      total_ > 0 ? fmt::format("{}/{}", done_, total_) : fmt::format("{} {}", done_, options_.unit);
  if (done_ > 0) {
    after += fmt::format("  {} {}/s", short_number(rate()), options_.unit);
    const auto left = static_cast<double>(std::max<int64_t>(total_ - done_, 0));
    if (total_ > 0 && rate() > 0) after += fmt::format("  {} left", duration(left / rate()));
  }
  if (!note_.empty()) after += "  " + note_;
  std::string line = label_;
  if (total_ > 0) {
    // What the words leave, so that a narrow terminal loses the bar before the numbers.
    const int room = columns - display_width(label_) - display_width(after) - 4;
    const int width = std::min(room, kWidestBar);
    const double share = static_cast<double>(done_) / static_cast<double>(total_);
    if (width >= kNarrowestBar) line += "  " + bar(share, width, utf8_);
  }
  return fit_columns(line + "  " + after, columns, utf8_ ? "…" : "~");
}

std::string Progress::plain_line() const {
  std::string line = fmt::format("{}  {}", label_, done_);
  if (total_ > 0) line += fmt::format("/{}", total_);
  line += fmt::format(" {}  {} {}/s", options_.unit, short_number(rate()), options_.unit);
  if (total_ > 0 && rate() > 0) {
    line += fmt::format(
        "  {} left", duration(static_cast<double>(std::max<int64_t>(total_ - done_, 0)) / rate()));
  }
  if (!note_.empty()) line += "  " + note_;
  return line;
}

double Progress::elapsed() const {
  return std::chrono::duration<double>(options_.now() - start_).count();
}

double Progress::rate() const {
  const double seconds = elapsed();
  return seconds > 0 ? static_cast<double>(done_) / seconds : 0;
}

Table::Table(std::vector<Column> columns) : columns_(std::move(columns)) {
  require(!columns_.empty(),
          [] { return std::string("[table] expected at least one column, got none"); });
  for (Column& column : columns_) column.heading = printable(column.heading);
}

void Table::add_row(const std::vector<std::string>& cells) {
  require(cells.size() == columns_.size(), [&] {
    return fmt::format("[table] expected {} cells, got {}", columns_.size(), cells.size());
  });
  std::vector<std::string> row;
  for (const std::string& cell : cells) row.push_back(printable(cell));
  rows_.push_back(std::move(row));
}

void Table::add_rule() {
  rows_.emplace_back();
}

std::string Table::str(bool utf8) const {
  std::vector<int> widths;
  for (size_t i = 0; i < columns_.size(); ++i) {
    int width = display_width(columns_[i].heading);
    for (const auto& row : rows_) {
      if (!row.empty()) width = std::max(width, display_width(row[i]));
    }
    widths.push_back(width);
  }

  std::string result;
  const auto add_line = [&](auto&& cell_of) {
    std::string line;
    for (size_t i = 0; i < columns_.size(); ++i) {
      const std::string cell = cell_of(i);
      const std::string blanks(static_cast<size_t>(widths[i] - display_width(cell)), ' ');
      if (i > 0) line += "  ";
      line += columns_[i].align == Align::kRight ? blanks + cell : cell + blanks;
    }
    line.erase(line.find_last_not_of(' ') + 1);
    result += line + "\n";
  };
  const auto rule = [&](size_t i) { return repeated(utf8 ? "─" : "-", widths[i]); };
  add_line([&](size_t i) { return columns_[i].heading; });
  add_line(rule);
  for (const auto& row : rows_) {
    if (row.empty()) {
      add_line(rule);
    } else {
      add_line([&](size_t i) { return row[i]; });
    }
  }
  return result;
}

}  // namespace glassnet
