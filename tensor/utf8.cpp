#include "tensor/utf8.h"

#include <algorithm>
#include <array>
#include <cstdint>

namespace glassnet {
namespace {

struct Range {
  char32_t first, last;
};

// The blocks that file and class names are likely to meet; Unicode's tables have many more.
constexpr std::array<Range, 12> kZeroWidth = {{{0x0300, 0x036F},
                                               {0x0483, 0x0489},
                                               {0x0591, 0x05BD},
                                               {0x0610, 0x061A},
                                               {0x064B, 0x065F},
                                               {0x1AB0, 0x1AFF},
                                               {0x1DC0, 0x1DFF},
                                               {0x200B, 0x200F},
                                               {0x20D0, 0x20FF},
                                               {0xFE00, 0xFE0F},
                                               {0xFE20, 0xFE2F},
                                               {0xE0100, 0xE01EF}}};
constexpr std::array<Range, 10> kWide = {{{0x1100, 0x115F},
                                          {0x2E80, 0x303E},
                                          {0x3041, 0xA4CF},
                                          {0xAC00, 0xD7A3},
                                          {0xF900, 0xFAFF},
                                          {0xFE30, 0xFE6F},
                                          {0xFF00, 0xFF60},
                                          {0xFFE0, 0xFFE6},
                                          {0x1F300, 0x1FAFF},
                                          {0x20000, 0x3FFFD}}};

template <size_t N>
bool within(const std::array<Range, N>& ranges, char32_t code_point) {
  return std::ranges::any_of(
      ranges, [&](Range range) { return range.first <= code_point && code_point <= range.last; });
}

bool is_control(char32_t code_point) {
  return code_point < 0x20 || (code_point >= 0x7F && code_point < 0xA0);
}

}  // namespace

char32_t take_code_point(std::string_view& text) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  const uint8_t first = byte(0);
  size_t length = 0;
  char32_t code_point = 0;
  char32_t smallest = 0;
  if (first < 0x80) {
    length = 1, code_point = first;
  } else if ((first & 0xE0) == 0xC0) {
    length = 2, code_point = first & 0x1F, smallest = 0x80;
  } else if ((first & 0xF0) == 0xE0) {
    length = 3, code_point = first & 0x0F, smallest = 0x800;
  } else if ((first & 0xF8) == 0xF0) {
    length = 4, code_point = first & 0x07, smallest = 0x10000;
  }
  bool valid = length > 0 && length <= text.size();
  for (size_t i = 1; valid && i < length; ++i) {
    valid = (byte(i) & 0xC0) == 0x80;
    code_point = code_point << 6 | (byte(i) & 0x3F);
  }
  valid = valid && code_point >= smallest && code_point <= 0x10FFFF &&
          !(code_point >= 0xD800 && code_point <= 0xDFFF);
  text.remove_prefix(valid ? length : 1);
  return valid ? code_point : kReplacement;
}

int column_width(char32_t code_point) {
  if (within(kZeroWidth, code_point)) return 0;
  return within(kWide, code_point) ? 2 : 1;
}

int display_width(std::string_view text) {
  int width = 0;
  while (!text.empty()) width += column_width(take_code_point(text));
  return width;
}

std::string fit_columns(std::string_view text, int columns, std::string_view ellipsis) {
  if (columns <= 0) return "";
  // The end of the longest prefix that leaves a column for the ellipsis.
  size_t kept = 0;
  int width = 0;
  std::string_view rest = text;
  while (!rest.empty()) {
    width += column_width(take_code_point(rest));
    if (width > columns) return std::string(text.substr(0, kept)).append(ellipsis);
    if (width <= columns - 1) kept = text.size() - rest.size();
  }
  return std::string(text);
}

namespace {

template <class Unwanted>
std::string replaced(std::string_view text, Unwanted&& is_unwanted) {
  std::string result;
  while (!text.empty()) {
    const std::string_view before = text;
    const char32_t code_point = take_code_point(text);
    if (code_point == kReplacement || is_unwanted(code_point)) {
      result += "\uFFFD";
    } else {
      result += before.substr(0, before.size() - text.size());
    }
  }
  return result;
}

}  // namespace

std::string valid_utf8(std::string_view text) {
  return replaced(text, [](char32_t) { return false; });
}

std::string printable(std::string_view text) {
  return replaced(text, is_control);
}

}  // namespace glassnet
