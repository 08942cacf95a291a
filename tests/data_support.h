// Pictures and folders for tests to work on.
#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <unistd.h>

#include "data/image.h"
#include "kernels/error.h"
#include "tensor/random.h"
#include "tests/error_support.h"

namespace glassnet::test {

// An empty folder that goes with the object.
class TempFolder {
 public:
  TempFolder() {
    std::string name = (std::filesystem::path(::testing::TempDir()) / "glassnet-XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr) throw Error("no temporary folder can be made");
    path_ = name;
  }
  ~TempFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;

  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }
  // A file in the folder, folders on the way made.
  std::filesystem::path write(const std::string& name, const std::string& bytes) const {
    const auto file = path_ / name;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file, std::ios::binary) << bytes;
    return file;
  }

 private:
  std::filesystem::path path_;
};

// Every pixel a random colour.
inline Image noise_image(int height, int width, uint64_t seed) {
  Image image(height, width);
  Random random(seed, Stream::kUser);
  for (uint8_t& value : image.rgb) value = static_cast<uint8_t>(random.below(256));
  return image;
}

inline std::filesystem::path write_noise(const TempFolder& folder, const std::string& name,
                                         int height, int width, uint64_t seed) {
  const auto file = folder / name;
  std::filesystem::create_directories(file.parent_path());
  write_png(file, noise_image(height, width, seed));
  return file;
}

}  // namespace glassnet::test
