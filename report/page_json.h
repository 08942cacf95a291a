// JSON for pages: what may stand in a <script> element of an HTML file, whatever is in it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace glassnet {

// A JSON string in quotes. The HTML parser, which looks for </script and <!-- and knows nothing of
// strings, finds no angle bracket in it. Invalid UTF-8 becomes U+FFFD.
std::string json_string(std::string_view text);
// A number with `digits` significant digits; null for what JSON has no number for.
std::string json_number(double value, int digits = 6);
std::string json_numbers(const std::vector<double>& values);
// "data:image/jpeg;base64,…" in quotes, of a JPEG's or PNG's bytes; "" for none. Throws Error for
// other bytes.
std::string json_picture(const std::string& bytes);

// JSON of any writer, made fit for a <script> element: what stands in strings there as an angle
// bracket or an ampersand, here stands as its escape.
std::string json_for_script(std::string_view json);

// [text(item), …]
template <class Items, class Text>
std::string json_list(const Items& items, Text&& text) {
  std::string json = "[";
  for (const auto& item : items) {
    if (json.size() > 1) json += ',';
    json += text(item);
  }
  json += ']';
  return json;
}

}  // namespace glassnet
