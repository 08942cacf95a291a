#include "data/image.h"

#include <stb/stb_image.h>
#include <stb/stb_image_write.h>

#include <algorithm>
#include <cctype>
#include <memory>
#include <new>

#include <fmt/format.h>

#include "data/jpeg_decoder.h"
#include "data/picture_header.h"
#include "kernels/error.h"
#include "tensor/file.h"

namespace glassnet {
namespace {

std::span<const uint8_t> as_bytes(const std::string& text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

// EXIF's orientations from 5 on lay the stored rows down as columns.
bool swaps_axes(int orientation) {
  return orientation >= 5;
}

// Lays a colour on white: each of `T`'s values v becomes v * alpha + white * (1 - alpha), then
// 8 bits, rounded.
template <class T>
uint8_t flatten(T value, T alpha) {
  constexpr uint64_t white = static_cast<T>(-1);
  const uint64_t mixed = uint64_t{value} * alpha + white * (white - alpha);
  return static_cast<uint8_t>((mixed * 255 + white * white / 2) / (white * white));
}

// `pixels` (height, width, 3 or 4) of 8 or 16 bits to 8-bit RGB.
template <class T>
Image to_rgb(const T* pixels, int height, int width, int channels) {
  constexpr T opaque = static_cast<T>(-1);
  Image image(height, width);
  if constexpr (sizeof(T) == 1) {
    if (channels == 3) {
      std::copy_n(pixels, image.rgb.size(), image.rgb.begin());
      return image;
    }
  }
  uint8_t* out = image.rgb.data();
  const T* const end = pixels + static_cast<size_t>(height) * width * channels;
  for (const T* pixel = pixels; pixel != end; pixel += channels) {
    const T alpha = channels == 4 ? pixel[3] : opaque;
    for (int c = 0; c < 3; ++c) *out++ = flatten(pixel[c], alpha);
  }
  return image;
}

// Turns a stored picture upright; orientations as in EXIF 2.3, tag 0x0112.
Image upright(Image stored, int orientation) {
  if (orientation == 1) return stored;
  const int h = stored.height, w = stored.width;
  const bool swapped = swaps_axes(orientation);
  // The stored pixel of the upright picture's top left corner, and whether going down or right in
  // the upright picture goes backwards in the stored one.
  const bool from_bottom =
      orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
  const bool from_right =
      orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
  Image result = swapped ? Image(w, h) : Image(h, w);
  for (int y = 0; y < result.height; ++y) {
    for (int x = 0; x < result.width; ++x) {
      const int row = swapped ? x : y, column = swapped ? y : x;
      const uint8_t* from =
          stored.at(from_bottom ? h - 1 - row : row, from_right ? w - 1 - column : column);
      std::copy_n(from, 3, result.at(y, x));
    }
  }
  return result;
}

PictureHeader checked_header(std::span<const uint8_t> bytes, const std::string& name) {
  const PictureHeader header = read_picture_header(bytes, name);
  require(header.height <= kMaxPixels / header.width, [&] {
    return fmt::format("{}: {} x {} pixels are over the limit of {} pixels; scale it down first",
                       name, header.width, header.height, kMaxPixels);
  });
  return header;
}

Image decode(std::span<const uint8_t> bytes, const std::string& name) {
  const PictureHeader header = checked_header(bytes, name);
  require(bytes.size() <= INT32_MAX, [&] {
    return fmt::format("{}: a file of {} bytes is over the limit of 2 GiB", name, bytes.size());
  });

  if (header.format == PictureFormat::kJpeg && jpeg_decoder() == JpegDecoder::kTurbo) {
    Image image(static_cast<int>(header.height), static_cast<int>(header.width));
    if (decode_by_turbo(bytes, image)) return upright(std::move(image), header.orientation);
  }

  const int size = static_cast<int>(bytes.size()), channels = header.has_alpha ? 4 : 3;
  int height = 0, width = 0, stored_channels = 0;
  const auto load = [&](auto loader) {
    auto* pixels = loader(bytes.data(), size, &width, &height, &stored_channels, channels);
    const std::unique_ptr<std::remove_reference_t<decltype(*pixels)>, decltype(&stbi_image_free)>
        owner(pixels, stbi_image_free);
    require(pixels != nullptr, [&] {
      return fmt::format("{}: the file is damaged or of a kind that cannot be read ({})", name,
                         stbi_failure_reason());
    });
    return to_rgb(pixels, height, width, channels);
  };
  Image image = header.is_16_bit ? load(stbi_load_16_from_memory) : load(stbi_load_from_memory);
  return upright(std::move(image), header.orientation);
}

// write(function, context) calls the function with each piece, and says 0 when it fails.
template <class Write>
std::string encode(const Image& image, const std::string& name, const char* format, Write&& write) {
  require(image.height > 0 && image.width > 0, [&] {
    return fmt::format("{}: a picture of {} x {} pixels cannot be written", name, image.width,
                       image.height);
  });
  std::string bytes;
  const auto append = [](void* context, void* data, int size) {
    static_cast<std::string*>(context)->append(static_cast<const char*>(data), size);
  };
  require(write(append, &bytes) != 0, [&] {
    return fmt::format("{}: there is not enough memory to write a {} of {} x {} pixels", name,
                       format, image.width, image.height);
  });
  return bytes;
}

}  // namespace

Image decode_image(std::span<const uint8_t> bytes, const std::string& name) {
  try {
    return decode(bytes, name);
  } catch (const std::bad_alloc&) {
    throw Error(fmt::format("{}: there is not enough memory to decode it", name));
  }
}

Image read_image(const std::filesystem::path& path) {
  return decode_image(as_bytes(read_file(path)), path.string());
}

std::pair<int, int> read_image_size(const std::filesystem::path& path) {
  const PictureHeader header = checked_header(as_bytes(read_file(path)), path.string());
  std::pair size(static_cast<int>(header.height), static_cast<int>(header.width));
  if (swaps_axes(header.orientation)) std::swap(size.first, size.second);
  return size;
}

bool is_image_file(const std::filesystem::path& path) {
  std::string extension = path.extension().string();
  for (char& c : extension) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return extension == ".jpg" || extension == ".jpeg" || extension == ".png" || extension == ".bmp";
}

std::string encode_png(const Image& image, const std::string& name) {
  return encode(image, name, "PNG", [&](stbi_write_func* write, void* to) {
    return stbi_write_png_to_func(write, to, image.width, image.height, 3, image.rgb.data(),
                                  image.width * 3);
  });
}

std::string encode_jpeg(const Image& image, int quality, const std::string& name) {
  return encode(image, name, "JPEG", [&](stbi_write_func* write, void* to) {
    return stbi_write_jpg_to_func(write, to, image.width, image.height, 3, image.rgb.data(),
                                  quality);
  });
}

void write_png(const std::filesystem::path& path, const Image& image) {
  write_file_atomically(path, encode_png(image, path.string()));
}

}  // namespace glassnet
