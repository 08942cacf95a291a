// Text of a file from outside, in a sentence for its reader.
#pragma once

#include <string>
#include <string_view>

namespace glassnet {

// The text quoted, printable whatever its bytes, and cut off where it is long.
std::string shown(std::string_view text);

}  // namespace glassnet
