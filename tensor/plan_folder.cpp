#include "tensor/plan_folder.h"

#include <algorithm>
#include <cctype>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string_view>
#include <system_error>
#include <utility>

#include <fmt/format.h>

#include "kernels/error.h"
#include "tensor/file.h"

namespace glassnet {
namespace {

constexpr std::string_view kFormat = "glassnet plans 1: ", kBetween = " = ";
constexpr uintmax_t kMostBytes = uintmax_t{4} << 20;  // of a file; a network has a hundred lines

// Up to the end of the line, which is taken from `text`.
std::string_view next_line(std::string_view& text, const std::string& file) {
  const size_t end = text.find('\n');
  require(end != std::string_view::npos, [&] { return file + " ends within a line"; });
  const std::string_view line = text.substr(0, end);
  text.remove_prefix(end + 1);
  require(std::ranges::all_of(line, [](char c) { return c >= ' ' && c <= '~'; }),
          [&] { return file + " is no text"; });
  return line;
}

// Throws Error, which names `file`, for what no other process of ours has written.
std::map<std::string, std::string> parse(std::string_view text, const std::string& device,
                                         const std::string& file) {
  const std::string first = fmt::format("{}{}", kFormat, device);
  require(next_line(text, file) == first,
          [&] { return fmt::format("{} does not begin with '{}'", file, first); });
  std::map<std::string, std::string> choices;
  while (!text.empty()) {
    const std::string_view line = next_line(text, file);
    const size_t between = line.find(kBetween);
    require(
        between != std::string_view::npos && between > 0 && between + kBetween.size() < line.size(),
        [&] { return fmt::format("{} has the line '{:.80}'", file, line); });
    choices.emplace(line.substr(0, between), line.substr(between + kBetween.size()));
  }
  return choices;
}

std::string print(const std::map<std::string, std::string>& choices, const std::string& device) {
  std::string text = fmt::format("{}{}\n", kFormat, device);
  for (const auto& [key, identity] : choices)
    text += fmt::format("{}{}{}\n", key, kBetween, identity);
  return text;
}

// Relative paths would depend on where the process was started.
std::filesystem::path folder_in(const char* variable) {
  const char* value = std::getenv(variable);
  std::filesystem::path folder = value != nullptr ? value : "";
  return folder.is_absolute() ? folder : std::filesystem::path();
}

}  // namespace

PlanFolder::PlanFolder(std::filesystem::path folder) : folder_(std::move(folder)) {}

std::filesystem::path PlanFolder::file_of(const std::string& device) const {
  std::string name = "plans-";
  for (const char c : device.substr(0, 200)) {
    const bool plain = std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '.';
    if (plain) {
      name += c;
    } else if (name.back() != '-') {
      name += '-';
    }
  }
  return folder_ / (name + ".txt");
}

PlanFolder::Choices PlanFolder::read(const std::string& device) {
  if (folder_.empty()) return {};
  const std::filesystem::path file = file_of(device);
  try {
    const auto status = std::filesystem::status(file);
    if (!std::filesystem::exists(status)) return {};
    // Anything but a small file might give bytes forever.
    require(std::filesystem::is_regular_file(status),
            [&] { return file.string() + " is not a regular file"; });
    require(std::filesystem::file_size(file) <= kMostBytes,
            [&] { return file.string() + " is too large"; });
    return parse(read_file(file), device, file.string());
  } catch (const std::exception& why) {
    tell("plans of earlier runs are not used", why.what());
    return {};
  }
}

void PlanFolder::tell(const char* what, const char* why) {
  if (std::exchange(told_, true)) return;
  std::fprintf(stderr, "%s: %s\n", what, why);
}

PlanFolder::Choices& PlanFolder::known(const std::string& device) {
  const auto found = known_.find(device);
  return found != known_.end() ? found->second : known_.emplace(device, read(device)).first->second;
}

std::string PlanFolder::find(const std::string& device, const std::string& key) {
  const std::lock_guard lock(mutex_);
  const Choices& choices = known(device);
  const auto found = choices.find(key);
  return found != choices.end() ? found->second : std::string();
}

void PlanFolder::keep(const std::string& device, const std::string& key,
                      const std::string& identity) {
  const std::lock_guard lock(mutex_);
  known(device).insert_or_assign(key, identity);
  if (folder_.empty()) return;
  try {
    Choices all = read(device);  // another process may have kept something meanwhile
    all.insert_or_assign(key, identity);
    std::filesystem::create_directories(folder_);
    write_file_atomically(file_of(device), print(all, device));
  } catch (const std::exception& why) {
    tell("plans of this run cannot be kept", why.what());
    folder_.clear();
  }
}

std::filesystem::path cache_folder() {
  if (const auto folder = folder_in("GLASSNET_CACHE_DIR"); !folder.empty()) return folder;
  if (const auto folder = folder_in("XDG_CACHE_HOME"); !folder.empty()) return folder / "glassnet";
  const auto home = folder_in("HOME");
  return home.empty() ? home : home / ".cache" / "glassnet";
}

void use_plan_folder() {
  const char* tune = std::getenv("GLASSNET_TUNE");
  if (tune != nullptr && std::string_view(tune) == "0") return kernels::set_plan_choices(nullptr);
  static const auto folder = std::make_shared<PlanFolder>(cache_folder());
  kernels::set_plan_choices(folder);
}

}  // namespace glassnet
