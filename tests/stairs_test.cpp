// The rooms and which way the stairs go: a room includes only what stands before it in the table of
// docs/architecture.md, and CUDA's headers stay in kernels/cuda. Read from the sources themselves.
#include <filesystem>
#include <map>
#include <set>
#include <sstream>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tensor/file.h"

namespace glassnet {
namespace {

namespace fs = std::filesystem;

// What each room stands on directly; it may also include whatever those stand on.
const std::map<std::string, std::set<std::string>>& stairs() {
  static const std::map<std::string, std::set<std::string>> rooms = {
      {"kernels", {}},
      {"tensor", {"kernels"}},
      {"autograd", {"tensor"}},
      {"nn", {"autograd"}},
      {"models", {"nn"}},
      {"data", {"tensor"}},
      {"training", {"models", "data"}},
      {"xai", {"models", "data"}},
      {"report", {"xai", "training"}},
      {"cli", {"report"}},
  };
  return rooms;
}

bool stands_on(const std::string& room, const std::string& other) {
  if (room == other) return true;
  for (const std::string& below : stairs().at(room)) {
    if (stands_on(below, other)) return true;
  }
  return false;
}

bool is_cuda_header(const std::string& header) {
  static const std::vector<std::string> prefixes = {
      "cuda",  "cudnn", "cublas",  "cufft",         "curand", "cusolver",   "cusparse",
      "cub/",  "cute/", "cutlass", "device_launch", "mma.h",  "nccl",       "nvml",
      "nvrtc", "nvtx",  "thrust/", "vector_types",  "nv/",    "nvToolsExt", "cooperative_groups"};
  return std::any_of(prefixes.begin(), prefixes.end(),
                     [&](const std::string& prefix) { return header.starts_with(prefix); });
}

// What is wrong with the includes of one source, a sentence each. `path` is relative to the root.
std::vector<std::string> offences(const std::string& path, const std::string& source) {
  const std::string room = path.substr(0, path.find('/'));
  std::vector<std::string> found;
  std::istringstream lines(source);
  for (std::string line; std::getline(lines, line);) {
    size_t at = line.find_first_not_of(" \t");
    if (at == std::string::npos || line[at] != '#') continue;
    at = line.find_first_not_of(" \t", at + 1);
    if (at == std::string::npos || line.compare(at, 7, "include") != 0) continue;
    const size_t open = line.find_first_of("<\"", at);
    const size_t close = line.find_first_of(">\"", open == std::string::npos ? open : open + 1);
    if (open == std::string::npos || close == std::string::npos) continue;
    const std::string header = line.substr(open + 1, close - open - 1);

    if (is_cuda_header(header) && !path.starts_with("kernels/cuda/")) {
      found.push_back(fmt::format("{} includes CUDA's {} outside of kernels/cuda", path, header));
    }
    if (line[open] != '"') continue;
    const std::string other = header.substr(0, header.find('/'));
    if (other == header || header.starts_with("..") || !stairs().contains(other)) {
      found.push_back(
          fmt::format("{} includes \"{}\", which is not written from the root", path, header));
    } else if (!stands_on(room, other)) {
      found.push_back(fmt::format("{} includes {}, up the stairs from {}", path, header, room));
    }
  }
  return found;
}

TEST(Stairs, NoIncludeRunsUp) {
  const std::set<std::string> sources = {".h", ".cpp", ".cu", ".cuh"};
  std::vector<std::string> found;
  size_t files = 0, rooms = 0;
  for (const auto& [room, below] : stairs()) {
    const fs::path folder = fs::path(GLASSNET_SOURCE_DIR) / room;
    if (!fs::exists(folder)) continue;
    ++rooms;
    for (const auto& entry : fs::recursive_directory_iterator(folder)) {
      if (!entry.is_regular_file() || !sources.contains(entry.path().extension().string()))
        continue;
      ++files;
      const std::string path =
          entry.path().lexically_relative(GLASSNET_SOURCE_DIR).generic_string();
      for (std::string& offence : offences(path, read_file(entry.path()))) {
        found.push_back(std::move(offence));
      }
    }
  }
  EXPECT_EQ(rooms, stairs().size());
  EXPECT_GT(files, 50U);
  EXPECT_THAT(found, testing::IsEmpty());
}

TEST(Stairs, EveryFolderWithSourcesIsARoom) {
  const std::set<std::string> others = {"tests", "bench", "examples", "build"};
  for (const auto& entry : fs::directory_iterator(GLASSNET_SOURCE_DIR)) {
    const std::string name = entry.path().filename().string();
    if (!entry.is_directory() || name.starts_with('.') || others.contains(name)) continue;
    if (!fs::exists(entry.path() / "CMakeLists.txt")) continue;
    EXPECT_TRUE(stairs().contains(name)) << name << " is not in this test's list of rooms";
  }
}

TEST(Stairs, RuleDetectsOffenders) {
  using testing::HasSubstr;
  EXPECT_THAT(offences("tensor/tensor.cpp", "#include \"nn/module.h\"\n"),
              testing::ElementsAre(HasSubstr("up the stairs")));
  EXPECT_THAT(offences("xai/explain.h", "// why\n  #  include \"training/trainer.h\"\n"),
              testing::ElementsAre(HasSubstr("up the stairs")));
  EXPECT_THAT(offences("data/loader.cpp", "#include \"autograd/ops.h\""), testing::SizeIs(1));
  EXPECT_THAT(offences("kernels/cpu/conv2d.cpp", "#include \"tensor/math.h\""), testing::SizeIs(1));
  EXPECT_THAT(offences("tensor/storage.cpp", "#include <cuda_runtime.h>\n"),
              testing::ElementsAre(HasSubstr("CUDA")));
  EXPECT_THAT(offences("kernels/simt/launch.h", "#include <cooperative_groups.h>\n"),
              testing::SizeIs(1));
  EXPECT_THAT(offences("nn/layers.cpp", "#include \"layers.h\"\n"),
              testing::ElementsAre(HasSubstr("not written from the root")));
  EXPECT_THAT(offences("nn/layers.cpp", "#include \"../autograd/ops.h\"\n"), testing::SizeIs(1));
}

TEST(Stairs, RuleAcceptsWhatGoesDown) {
  for (const auto& [path, source] :
       {std::pair{"kernels/cuda/memory.cu", "#include <cuda_runtime.h>\n"},
        std::pair{"tensor/tensor.cpp", "#include \"kernels/copy.h\"\n#include <vector>\n"},
        std::pair{"report/sheet.cpp", "#include \"kernels/error.h\"\n#include \"data/image.h\"\n"},
        std::pair{"cli/train.cpp", "#include \"training/trainer.h\"\n#include \"xai/explain.h\"\n"},
        std::pair{"tensor/tensor.cpp", "// #include \"nn/module.h\" would be wrong\n"}}) {
    EXPECT_THAT(offences(path, source), testing::IsEmpty()) << path;
  }
}

}  // namespace
}  // namespace glassnet
