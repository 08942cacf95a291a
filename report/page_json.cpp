#include "report/page_json.h"

#include <cmath>

#include <fmt/format.h>

#include "kernels/error.h"
#include "report/base64.h"
#include "tensor/utf8.h"

namespace glassnet {

std::string json_string(std::string_view text) {
  std::string json = "\"";
  while (!text.empty()) {
    const std::string_view before = text;
    const char32_t c = take_code_point(text);
    const std::string_view bytes = before.substr(0, before.size() - text.size());
    const bool plain = c >= 0x20 && c != '"' && c != '\\' && c != '<' && c != '>' && c != '&' &&
                       c != 0x7F && c != 0x2028 && c != 0x2029;
    if (!plain) {
      json += fmt::format("\\u{:04x}", static_cast<uint32_t>(c));
    } else if (c == kReplacement) {
      json += "\uFFFD";
    } else {
      json += bytes;
    }
  }
  json += '"';
  return json;
}

std::string json_number(double value, int digits) {
  return std::isfinite(value) ? fmt::format("{:.{}g}", value, digits) : "null";
}

std::string json_numbers(const std::vector<double>& values) {
  return json_list(values, [](double value) { return json_number(value); });
}

std::string json_picture(const std::string& bytes) {
  if (bytes.empty()) return "\"\"";
  const bool jpeg = bytes.starts_with("\xff\xd8\xff");
  require(jpeg || bytes.starts_with("\x89PNG\r\n\x1a\n"),
          [] { return "[evolution_page] a picture is neither JPEG nor PNG"; });
  return fmt::format("\"data:image/{};base64,{}\"", jpeg ? "jpeg" : "png", base64(bytes));
}

std::string json_for_script(std::string_view json) {
  std::string safe;
  for (const char c : json) {
    if (c == '<' || c == '>' || c == '&') {
      safe += fmt::format("\\u{:04x}", static_cast<int>(c));
    } else {
      safe += c;
    }
  }
  return safe;
}

}  // namespace glassnet
