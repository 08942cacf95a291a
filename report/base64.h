// Bytes as text, for what lies inside of a page.
#pragma once

#include <string>
#include <string_view>

namespace glassnet {

// RFC 4648's alphabet, padded to whole groups of four.
std::string base64(std::string_view bytes);

}  // namespace glassnet
