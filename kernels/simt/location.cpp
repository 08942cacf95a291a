#include "kernels/simt/location.h"

#include <execinfo.h>
#include <link.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <map>
#include <memory>
#include <string_view>

namespace glassnet::simt {
namespace {

// The program or the library that holds an address, and how far it was moved when it was loaded.
struct Object {
  std::string file;
  uintptr_t moved_by = 0;
};

Object object_of(uintptr_t address) {
  struct Search {
    uintptr_t address;
    Object found;
  } search{address, {}};
  dl_iterate_phdr(
      [](dl_phdr_info* info, size_t, void* data) {
        auto& [wanted, found] = *static_cast<Search*>(data);
        for (int i = 0; i < info->dlpi_phnum; ++i) {
          const auto& part = info->dlpi_phdr[i];
          if (part.p_type != PT_LOAD || wanted - (info->dlpi_addr + part.p_vaddr) >= part.p_memsz)
            continue;
          found = {info->dlpi_name, info->dlpi_addr};
          return 1;
        }
        return 0;
      },
      &search);
  if (search.found.file.empty()) {  // the program itself
    std::error_code error;
    search.found.file = std::filesystem::read_symlink("/proc/self/exe", error);
  }
  return search.found;
}

std::string quoted(const std::string& word) {
  std::string result = "'";
  for (const char c : word) result += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return result + "'";
}

std::vector<std::string> lines_of(const std::string& command) {
  std::vector<std::string> lines;
  const std::unique_ptr<FILE, int (*)(FILE*)> pipe(popen(command.c_str(), "r"), pclose);
  if (pipe == nullptr) return lines;
  char buffer[4096];
  while (std::fgets(buffer, sizeof(buffer), pipe.get()) != nullptr) {
    lines.emplace_back(buffer);
    while (!lines.back().empty() && lines.back().back() == '\n') lines.back().pop_back();
  }
  return lines;
}

bool starts_with(std::string_view text, std::string_view start) {
  return text.substr(0, start.size()) == start;
}

// The path below the root of the source tree.
std::string below_root(const std::string& path) {
  static const std::string here = __FILE__;
  static const std::string root = here.substr(0, here.rfind("kernels/simt/"));
  const std::string normal = std::filesystem::path(path).lexically_normal();
  if (!root.empty() && starts_with(normal, root)) return normal.substr(root.size());
  std::error_code error;
  const std::string directory = std::filesystem::current_path(error).string() + "/";
  return starts_with(normal, directory) ? normal.substr(directory.size()) : normal;
}

// What addr2line says, in source lines that are a kernel's and not the executor's.
std::vector<std::string> kernel_lines(const std::vector<std::string>& output) {
  std::vector<std::string> lines;
  for (const std::string& line : output) {
    const std::string place =
        below_root(line.substr(0, line.find(" (")));  // without "(discriminator 2)"
    if (starts_with(place, "??") || place.find(":?") != std::string::npos ||
        starts_with(place, "/usr/") || starts_with(place, "kernels/simt/") ||
        starts_with(place, "kernels/cuda/launch.h")) {
      continue;
    }
    lines.push_back(place);
  }
  return lines;
}

}  // namespace

[[gnu::noinline]] std::vector<const void*> call_stack() {
  void* addresses[64];
  void** const end = addresses + backtrace(addresses, 64);
  // Without this function and what a sanitizer puts before it.
  void** const caller = std::find(addresses, end, __builtin_return_address(0));
  return std::vector<const void*>(caller, end);
}

std::string source_lines(const std::vector<const void*>& addresses) {
  static std::map<std::vector<const void*>, std::string> known;
  if (const auto it = known.find(addresses); it != known.end()) return it->second;
  std::vector<std::string> output;
  for (size_t i = 0; i < addresses.size();) {
    const Object object = object_of(reinterpret_cast<uintptr_t>(addresses[i]));
    std::string command = "addr2line -Cie " + quoted(object.file);
    for (; i < addresses.size(); ++i) {
      const auto address = reinterpret_cast<uintptr_t>(addresses[i]);
      if (object_of(address).file != object.file) break;
      char text[32];
      // One less: a return address may be the first of the next line.
      std::snprintf(text, sizeof(text), " 0x%zx", size_t{address - object.moved_by - 1});
      command += text;
    }
    if (object.file.empty()) continue;
    const std::vector<std::string> more = lines_of(command + " 2>/dev/null");
    output.insert(output.end(), more.begin(), more.end());
  }
  const std::vector<std::string> lines = kernel_lines(output);
  std::string& result = known[addresses];
  if (!lines.empty()) result = lines.front();
  if (lines.size() > 1 && lines.back() != lines.front()) result += " from " + lines.back();
  return result;
}

}  // namespace glassnet::simt
