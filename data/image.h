// Pictures on the host: 8-bit RGB, decoding, resizing and writing.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

namespace glassnet {

// CONVENTION: rgb.size() == height * width * 3, rows top to bottom, pixels R, G, B.
struct Image {
  int height = 0;
  int width = 0;
  std::vector<uint8_t> rgb;  // (height, width, 3)

  Image() = default;
  Image(int height_, int width_) : height(height_), width(width_) {
    rgb.resize(static_cast<size_t>(height_) * static_cast<size_t>(width_) * 3);
  }
  uint8_t* at(int y, int x) { return &rgb[(static_cast<size_t>(y) * width + x) * 3]; }
  const uint8_t* at(int y, int x) const { return &rgb[(static_cast<size_t>(y) * width + x) * 3]; }
};

// Pictures with more pixels than this are refused: a decoded one would take over 500 MiB.
inline constexpr int64_t kMaxPixels = 178'956'970;

// Decodes JPEG (by the library that data/jpeg_decoder.h chooses), PNG or BMP, upright (EXIF
// orientation obeyed), grey and palette pictures turned to RGB, transparency laid on white, 16 bits
// a channel rounded to 8. Throws Error, a sentence that names the file, for what is missing, is no
// picture, is cut short or is too large.
Image read_image(const std::filesystem::path& path);
// The same from memory; `name` stands in messages.
Image decode_image(std::span<const uint8_t> bytes, const std::string& name);
// Height and width, upright, from the header alone.
std::pair<int, int> read_image_size(const std::filesystem::path& path);

// Whether the extension is one of .jpg .jpeg .png .bmp, in any case.
bool is_image_file(const std::filesystem::path& path);

// A PNG's bytes; `name` stands in messages. Throws Error for an empty picture.
std::string encode_png(const Image& image, const std::string& name);
// A JPEG's bytes, quality 1 to 100.
std::string encode_jpeg(const Image& image, int quality, const std::string& name);
// Writes a PNG: to a temporary name in the same folder, fsync, rename.
void write_png(const std::filesystem::path& path, const Image& image);

// How a picture of any proportions becomes a square for the network.
enum class Fit {
  kCrop,    // the shorter side to `size`, then the centre square
  kSquash,  // both sides to `size`
};
Fit parse_fit(const std::string& name);  // "crop" or "squash"; throws UsageError
const char* name_of(Fit fit);

// A rectangle of a picture, in pixels, not necessarily whole.
struct Box {
  double y = 0, x = 0, height = 0, width = 0;
};

// `box` of `image` resampled to (height, width) by an antialiased triangle filter (as Pillow's
// BILINEAR and torch's interpolate with antialias: support grows with the reduction). With equal
// sizes and whole-pixel boxes the result is the exact pixels.
Image resize(const Image& image, const Box& box, int height, int width);
Image resize(const Image& image, int height, int width);
// `fit` as above; an image already (size, size) passes unchanged.
Image fit_image(const Image& image, int size, Fit fit);

}  // namespace glassnet
