// What the bytes of a picture say about it before any pixel is decoded.
//
// The decoder is lenient where a training set must not be: it fills a cut BMP with black, checks no
// checksum of a PNG, and guesses at JPEGs in four inks. The walk here goes over the whole
// container, so that what passes is complete.
#pragma once

#include <cstdint>
#include <span>
#include <string>

namespace glassnet {

enum class PictureFormat { kJpeg, kPng, kBmp };

struct PictureHeader {
  PictureFormat format = PictureFormat::kJpeg;
  int64_t height = 0;  // as stored, before the orientation is obeyed
  int64_t width = 0;
  bool has_alpha = false;
  bool is_16_bit = false;  // a channel
  int orientation = 1;     // EXIF's, 1 … 8
};

// Throws Error, a sentence that starts with `name`, when the bytes are no JPEG, PNG or BMP, end too
// soon or are damaged.
PictureHeader read_picture_header(std::span<const uint8_t> bytes, const std::string& name);

}  // namespace glassnet
