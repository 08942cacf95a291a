// Which library decodes JPEGs, for the whole process.
//
// libjpeg-turbo is the quicker one, and gives Pillow's pixels and so torchvision's; stb_image is
// always there. Both compute the accurate inverse cosine transform and interpolate the colours that
// are stored at half resolution, but round on the way in other places: of photographs about 5 % of
// the values differ, by 1 or 2 levels of 255, hardly ever by 3. The program
// therefore gives a network pictures by the decoder that it was trained with, wherever that is
// there (ModelCard::decoder); code of one's own says so by set_jpeg_decoder.
//
// Which files are refused, and in which words, does not depend on the choice: what libjpeg-turbo
// finds fault with, stb_image decides about. JPEGs in four inks are always stb_image's.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "data/image.h"

namespace glassnet {

enum class JpegDecoder { kStb, kTurbo };
const char* name_of(JpegDecoder decoder);  // "stb", "turbo"

// Whether Glassnet was built with libjpeg-turbo.
bool has_turbo();
// What decodes from now on. Throws UsageError for what Glassnet was built without.
void set_jpeg_decoder(JpegDecoder decoder);
// libjpeg-turbo, where it is there, until something else is set.
JpegDecoder jpeg_decoder();
// "turbo", "stb", or "auto": turbo where it is there. Throws UsageError for other names.
JpegDecoder parse_jpeg_decoder(const std::string& name);

// Decodes a JPEG of (image.height, image.width) into image.rgb by libjpeg-turbo. False, with
// whatever pixels, where it is not there or finds any fault.
bool decode_by_turbo(std::span<const uint8_t> bytes, Image& image);

}  // namespace glassnet
