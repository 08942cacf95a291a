// The page of a run that is being trained, for browsers on this machine.
#pragma once

#include <filesystem>

#include "cli/http_server.h"

namespace glassnet::cli {

inline constexpr int kWatchPort = 8321;

// Starts `glassnet watch` on a run beside this process, as a process of its own: whoever looks at
// the page, training gives it no thread, lock or memory, and comes first where both want a core. It
// ends with this process, after it has sent the last epoch. Returns when it serves, and throws
// Error, a sentence, where it cannot.
void watch_beside(const std::filesystem::path& run, const Descriptor& listener);

}  // namespace glassnet::cli
