#include "kernels/cuda/device_facts.h"

#include <algorithm>
#include <sstream>

#include <fmt/format.h>

namespace glassnet::kernels {
namespace {

std::string capability_text(int capability) {
  return fmt::format("compute capability {}.{}", capability / 10, capability % 10);
}

}  // namespace

CodeFor code_for(int capability, const std::vector<int>& built_for) {
  CodeFor result = CodeFor::kNo;
  for (const int code : built_for) {
    if (code > capability) continue;
    if (code / 10 == capability / 10) return CodeFor::kYes;
    result = CodeFor::kTry;
  }
  return result;
}

std::string why_too_old(int capability) {
  return fmt::format("{}; Glassnet needs {}.{} or newer", capability_text(capability),
                     kOldestCapability / 10, kOldestCapability % 10);
}

std::string why_no_code(int capability) {
  return fmt::format("this build has no code for {}; build with -DCMAKE_CUDA_ARCHITECTURES={}",
                     capability_text(capability), capability);
}

std::string driver_release(const std::string& version_file) {
  // "NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.159.04  Tue ..."; the compiler's version
  // follows on the next line.
  std::istringstream words(version_file.substr(0, version_file.find('\n')));
  for (std::string word; words >> word;) {
    const auto dots = std::count(word.begin(), word.end(), '.');
    if (dots >= 1 && dots <= 2 && word.find_first_not_of("0123456789.") == std::string::npos &&
        word.front() != '.' && word.back() != '.') {
      return word;
    }
  }
  return {};
}

std::string why_no_device(const DriverFacts& facts) {
  if (facts.driver_version == 0) return "no NVIDIA driver is loaded";
  const auto version = [](int number) {
    return fmt::format("CUDA {}.{}", number / 1000, number % 1000 / 10);
  };
  const std::string driver =
      "the NVIDIA driver" + (facts.release.empty() ? "" : " " + facts.release);
  // A driver runs what was built for its own major version or an older one.
  if (facts.driver_version / 1000 < facts.runtime_version / 1000) {
    return fmt::format("{} is for {} and this build needs {}; install a newer driver", driver,
                       version(facts.driver_version), version(facts.runtime_version));
  }
  if (facts.visible != nullptr) {
    return fmt::format("{} shows no GPU while CUDA_VISIBLE_DEVICES is '{}'", driver, facts.visible);
  }
  return fmt::format("{} shows no GPU ({})", driver, facts.reason);
}

}  // namespace glassnet::kernels
