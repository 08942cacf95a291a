// What commands write to a terminal or a pipe.
#pragma once

#include <filesystem>
#include <string>

#include <nlohmann/json.hpp>

namespace glassnet::cli {

// A line on standard error, which may be full or closed: there is nobody left to tell then.
void say(const std::string& line);
// The same, from the program: "glassnet: …".
void complain(const std::string& sentence);

// Throws Error when no file can be written there: called before the work whose result it would
// hold, which may take minutes. Folders are not made.
void require_writable(const std::filesystem::path& file);

// File names are any bytes, while JSON is UTF-8: what is not becomes U+FFFD.
template <class Json>
std::string to_text(const Json& value, int indent = -1) {
  return value.dump(indent, ' ', false, Json::error_handler_t::replace);
}

}  // namespace glassnet::cli
