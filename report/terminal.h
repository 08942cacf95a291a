// What a command shows while it works, and its tables.
#pragma once

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace glassnet {

// Whether `stream` is a terminal that can redraw a line (TERM=dumb cannot).
bool is_terminal(std::FILE* stream);
// Columns of the terminal behind `stream`, else $COLUMNS, else 80.
int terminal_width(std::FILE* stream);

struct ProgressOptions {
  std::string unit = "images";  // of done and total: "412 images/s"
  std::FILE* stream = stderr;
  // Unset: asked of the stream and the environment. For tests.
  std::optional<bool> terminal = {};
  std::optional<int> width = {};
  std::optional<bool> utf8 = {};
  std::function<std::chrono::steady_clock::time_point()> now = std::chrono::steady_clock::now;
};

// A bar on the last line of a terminal, drawn again at most ten times a second:
//   epoch 3/50  ━━━━━━━━━━━━╸───────  1234/8400  412 images/s  0:17 left  loss 0.512
// Where the stream is no terminal: a plain line every half minute and one at the end.
//
// CONVENTION: between calls the cursor stands at the end of the bar, or, with no bar shown, at the
// beginning of a line. The destructor takes the bar away, so that an error message that follows
// stands on a line of its own. For one thread; only one Progress at a time on a stream.
class Progress {
 public:
  // total <= 0: not known, so there is no bar and no time left, only what was done and the rate.
  Progress(const std::string& label, int64_t total, ProgressOptions options = {});
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // `done` of the total so far; `note` is free text, "loss 0.512  accuracy 81.3 %".
  void update(int64_t done, std::string_view note = {});
  // Another line, above the bar where there is one.
  void print(std::string_view line);
  // Takes the bar away and leaves a line: the label, all that was done, the mean rate, the time
  // taken and `note`. What is called later does nothing.
  void finish(std::string_view note = {});

 private:
  void draw();
  void clear();
  std::string bar_line(int columns) const;
  std::string plain_line() const;
  double elapsed() const;  // seconds
  double rate() const;     // per second

  std::string label_;
  int64_t total_;
  ProgressOptions options_;
  bool terminal_, utf8_;
  std::chrono::steady_clock::time_point start_, last_draw_;
  int64_t done_ = 0;
  std::string note_;
  bool shown_ = false, finished_ = false;
};

// "0:07", "12:34", "1:02:03"
std::string duration(double seconds);

enum class Align { kLeft, kRight };
struct Column {
  std::string heading;
  Align align = Align::kLeft;
};

// Rows under headings, in columns as wide as their widest cell:
//   class      images  recall
//   ─────────  ──────  ──────
//   buildings     100  91.0 %
class Table {
 public:
  explicit Table(std::vector<Column> columns);

  // As many cells as columns, else throws Error. Control characters in them are made visible.
  void add_row(const std::vector<std::string>& cells);
  void add_rule();  // a light line across all columns

  // Lines that each end in '\n', without blanks at their ends. The rules are of hyphens when `utf8`
  // is false.
  std::string str(bool utf8 = true) const;

 private:
  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;  // an empty one is a rule
};

// Whether the environment's locale (LC_ALL, LC_CTYPE, LANG) is one of UTF-8.
bool locale_is_utf8();

}  // namespace glassnet
