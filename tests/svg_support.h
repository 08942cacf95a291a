// Reading SVG documents back: a parser that accepts no more than the XML that we write, so that
// what it takes is well-formed.
#pragma once

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "data/image.h"
#include "report/colormap.h"
#include "tensor/utf8.h"

namespace glassnet::test {

struct Element {
  std::string name;
  std::map<std::string, std::string> attributes;
  std::string text;  // what stands directly in it
  std::string parent;
};

inline std::string unescaped(std::string_view text) {
  std::string result;
  while (!text.empty()) {
    const std::string_view before = text;
    const char32_t c = take_code_point(text);
    // What XML 1.0 allows; anything else shows that something was not escaped.
    const bool allowed =
        c == '\n' || (c >= 0x20 && c < 0xD800) || (c > 0xDFFF && c < 0xFFFE) || c > 0xFFFF;
    EXPECT_TRUE(allowed && c != '<') << "code point " << static_cast<uint32_t>(c);
    if (c != '&') {
      result += before.substr(0, before.size() - text.size());
      continue;
    }
    bool known = false;
    for (const auto& [entity, meaning] : std::vector<std::pair<std::string_view, char>>{
             {"amp;", '&'}, {"lt;", '<'}, {"gt;", '>'}, {"quot;", '"'}}) {
      if (known || !text.starts_with(entity)) continue;
      known = true;
      result += meaning;
      text.remove_prefix(entity.size());
    }
    EXPECT_TRUE(known) << "a bare & before " << text.substr(0, 20);
  }
  return result;
}

// The elements in order; fails where the document is no well-formed XML of the kind that we write.
inline std::vector<Element> parse(std::string_view rest) {
  std::vector<Element> elements;
  std::vector<size_t> open;
  while (!rest.empty()) {
    const size_t tag = std::min(rest.find('<'), rest.size());
    const std::string text = unescaped(rest.substr(0, tag));
    rest.remove_prefix(tag);
    if (!open.empty()) elements[open.back()].text += text;
    EXPECT_TRUE(!open.empty() || text.find_first_not_of('\n') == std::string::npos) << text;
    if (rest.empty()) break;
    const size_t end = rest.find('>');
    if (end == std::string_view::npos) {
      ADD_FAILURE() << "a tag without an end";
      break;
    }
    std::string_view inside = rest.substr(1, end - 1);
    rest.remove_prefix(end + 1);
    if (inside.starts_with('/')) {
      if (open.empty() || elements[open.back()].name != inside.substr(1)) {
        ADD_FAILURE() << "an end of " << inside << " that has no beginning";
        break;
      }
      open.pop_back();
      continue;
    }
    const bool closed = inside.ends_with('/');
    if (closed) inside.remove_suffix(1);
    EXPECT_TRUE(!open.empty() || elements.empty()) << "a second root";
    Element element;
    element.parent = open.empty() ? "" : elements[open.back()].name;
    element.name = inside.substr(0, inside.find(' '));
    inside.remove_prefix(element.name.size());
    while (!inside.empty()) {
      const size_t equals = inside.find("=\"");
      const size_t quote = equals == std::string_view::npos ? equals : inside.find('"', equals + 2);
      if (!inside.starts_with(' ') || quote == std::string_view::npos) {
        ADD_FAILURE() << "no attribute: " << inside;
        break;
      }
      const std::string key(inside.substr(1, equals - 1));
      const std::string value = unescaped(inside.substr(equals + 2, quote - equals - 2));
      EXPECT_TRUE(element.attributes.emplace(key, value).second) << key << " twice";
      inside.remove_prefix(quote + 1);
    }
    elements.push_back(std::move(element));
    if (!closed) open.push_back(elements.size() - 1);
  }
  EXPECT_TRUE(open.empty());
  return elements;
}

inline std::vector<Element> named(const std::vector<Element>& elements, std::string_view name) {
  std::vector<Element> result;
  std::ranges::copy_if(elements, std::back_inserter(result),
                       [&](const Element& element) { return element.name == name; });
  return result;
}

inline std::vector<std::string> texts(const std::vector<Element>& elements) {
  std::vector<std::string> result;
  for (const Element& element : named(elements, "text")) result.push_back(element.text);
  return result;
}

inline std::string attribute(const Element& element, const std::string& name) {
  const auto found = element.attributes.find(name);
  return found == element.attributes.end() ? "" : found->second;
}

inline void expect_size_of(const std::vector<Element>& svg, const Image& image) {
  ASSERT_FALSE(svg.empty());
  EXPECT_EQ(svg[0].name, "svg");
  EXPECT_EQ(attribute(svg[0], "width"), std::to_string(image.width));
  EXPECT_EQ(attribute(svg[0], "height"), std::to_string(image.height));
  EXPECT_EQ(attribute(svg[0], "viewBox"),
            "0 0 " + std::to_string(image.width) + " " + std::to_string(image.height));
  EXPECT_EQ(attribute(svg[0], "role"), "img");
}

inline std::string from_base64(std::string_view text) {
  constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string bytes;
  uint32_t bits = 0;
  int count = 0;
  for (const char c : text.substr(0, text.find('='))) {
    const size_t digit = kDigits.find(c);
    EXPECT_NE(digit, std::string_view::npos);
    bits = bits << 6 | static_cast<uint32_t>(digit);
    count += 6;
    if (count >= 8) bytes += static_cast<char>(bits >> (count -= 8) & 255);
  }
  EXPECT_EQ(text.size() % 4, 0U);
  return bytes;
}

inline Image decoded(const Element& image) {
  const std::string prefix = "data:image/png;base64,";
  const std::string href = attribute(image, "xlink:href");
  EXPECT_TRUE(href.starts_with(prefix));
  const std::string png = from_base64(std::string_view(href).substr(prefix.size()));
  return decode_image({reinterpret_cast<const uint8_t*>(png.data()), png.size()}, "embedded");
}

// Of "#rrggbb".
inline Rgb rgb_of(const std::string& text) {
  const auto number = std::stoul(text.substr(1), nullptr, 16);
  return {static_cast<uint8_t>(number >> 16), static_cast<uint8_t>(number >> 8 & 255),
          static_cast<uint8_t>(number & 255)};
}

}  // namespace glassnet::test
