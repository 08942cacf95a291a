// Reading UTF-8: what text on pictures and in terminals is measured by.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace glassnet {

inline constexpr char32_t kReplacement = U'\uFFFD';

// Takes the first code point off `text`, which must not be empty. A byte that begins no valid
// sequence (overlong forms, surrogates and code points past U+10FFFF are none) is taken alone and
// gives kReplacement.
char32_t take_code_point(std::string_view& text);

// Columns that a terminal gives a code point: 0 for combining marks, 2 for East Asian wide
// characters and pictographs, 1 for the rest.
int column_width(char32_t code_point);
int display_width(std::string_view text);

// `text` cut to at most `columns`, the last of them the ellipsis (one column) when something is
// lost.
std::string fit_columns(std::string_view text, int columns, std::string_view ellipsis = "…");

// `text` with kReplacement in place of every invalid byte: what files of JSON can hold.
std::string valid_utf8(std::string_view text);

// `text` without what would move the cursor or change a terminal's state: control characters (C0,
// DEL, C1) and invalid bytes become kReplacement.
std::string printable(std::string_view text);

}  // namespace glassnet
