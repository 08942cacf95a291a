#include "data/picture_header.h"

#include <libexif/exif-data.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include "kernels/error.h"

namespace glassnet {
namespace {

using Bytes = std::span<const uint8_t>;

[[noreturn]] void fail_short(const std::string& name) {
  throw Error(fmt::format("{}: the file is cut short; replace it by a complete copy", name));
}
[[noreturn]] void fail_damaged(const std::string& name, std::string_view what) {
  throw Error(fmt::format("{}: the file is damaged ({}); replace it by a sound copy", name, what));
}

// Reads numbers at any place; past the end the file is cut short.
class Reader {
 public:
  Reader(Bytes bytes, const std::string& name) : bytes_(bytes), name_(name) {}

  Bytes part(size_t at, size_t size) const {
    if (at > bytes_.size() || size > bytes_.size() - at) fail_short(name_);
    return bytes_.subspan(at, size);
  }
  uint32_t byte(size_t at) const { return part(at, 1)[0]; }
  uint32_t big16(size_t at) const { return byte(at) << 8 | byte(at + 1); }
  uint32_t big32(size_t at) const { return big16(at) << 16 | big16(at + 2); }
  uint32_t little16(size_t at) const { return byte(at) | byte(at + 1) << 8; }
  uint32_t little32(size_t at) const { return little16(at) | little16(at + 2) << 16; }
  bool starts_with(std::string_view text, size_t at = 0) const {
    return at <= bytes_.size() && bytes_.size() - at >= text.size() &&
           std::equal(text.begin(), text.end(), bytes_.begin() + static_cast<std::ptrdiff_t>(at),
                      [](char a, uint8_t b) { return static_cast<uint8_t>(a) == b; });
  }
  size_t find(uint8_t value, size_t from) const {
    if (from > bytes_.size()) fail_short(name_);
    const Bytes rest = bytes_.subspan(from);
    const void* found = rest.empty() ? nullptr : std::memchr(rest.data(), value, rest.size());
    if (found == nullptr) fail_short(name_);
    return from + static_cast<size_t>(static_cast<const uint8_t*>(found) - rest.data());
  }
  size_t size() const { return bytes_.size(); }

 private:
  Bytes bytes_;
  const std::string& name_;
};

using namespace std::string_view_literals;
constexpr std::string_view kExif = "Exif\0\0"sv;
constexpr std::string_view kPngSignature = "\x89PNG\r\n\x1a\n"sv;

// `exif` starts with "Exif\0\0". A missing or senseless orientation is 1: upright.
int exif_orientation(Bytes exif) {
  const std::unique_ptr<ExifData, void (*)(ExifData*)> data(
      exif_data_new_from_data(exif.data(), static_cast<unsigned>(exif.size())), exif_data_unref);
  if (data == nullptr) return 1;
  const ExifEntry* entry = exif_content_get_entry(data->ifd[EXIF_IFD_0], EXIF_TAG_ORIENTATION);
  if (entry == nullptr || entry->format != EXIF_FORMAT_SHORT || entry->size < 2) return 1;
  const int orientation = exif_get_short(entry->data, exif_data_get_byte_order(data.get()));
  return orientation >= 1 && orientation <= 8 ? orientation : 1;
}

// ---- JPEG: marker segments, ITU-T T.81 annex B.

// A Huffman table assigns at most 256 symbols; a larger count would overrun the decoder's tables.
void check_huffman_tables(const Reader& file, size_t at, size_t end, const std::string& name) {
  while (at < end) {
    uint32_t symbols = 0;
    for (size_t i = 1; i <= 16; ++i) symbols += file.byte(at + i);
    if (symbols > 256) fail_damaged(name, "a Huffman table with too many symbols");
    at += 17 + symbols;
  }
}

PictureHeader read_jpeg_header(const Reader& file, const std::string& name) {
  PictureHeader header{.format = PictureFormat::kJpeg};
  uint32_t components = 0;
  bool adobe = false;
  for (size_t at = 2;;) {
    // Padding, entropy-coded data and its restart markers lie between segments.
    at = file.find(0xFF, at);
    while (file.byte(at) == 0xFF) ++at;
    const uint32_t marker = file.byte(at++);
    if (marker == 0 || marker == 0x01 || (marker >= 0xD0 && marker <= 0xD7)) continue;
    if (marker == 0xD9) break;

    const size_t length = file.big16(at);
    if (length < 2) fail_damaged(name, "a segment of no length");
    const Bytes segment = file.part(at, length);
    const bool is_frame =
        marker >= 0xC0 && marker <= 0xCF && marker != 0xC4 && marker != 0xC8 && marker != 0xCC;
    if (is_frame && components == 0) {
      header.height = file.big16(at + 3);
      header.width = file.big16(at + 5);
      components = file.byte(at + 7);
      require(marker <= 0xC2 && segment[2] == 8, [&] {
        return fmt::format(
            "{}: this kind of JPEG (lossless, arithmetic coding or 12 bits) cannot be read; save "
            "it "
            "as a baseline or progressive JPEG",
            name);
      });
    } else if (marker == 0xC4) {
      check_huffman_tables(file, at + 2, at + length, name);
    } else if (marker == 0xE1 && file.starts_with(kExif, at + 2)) {
      header.orientation = exif_orientation(segment.subspan(2));
    } else if (marker == 0xEE && file.starts_with("Adobe", at + 2)) {
      adobe = true;
    }
    at += length;
  }
  if (components == 0) fail_damaged(name, "no frame before the end");
  // Without Adobe's segment nothing tells inks from light, nor inverted inks from plain ones.
  require(components != 4 || adobe, [&] {
    return fmt::format(
        "{}: a CMYK JPEG that does not say how its inks are stored; convert it to RGB", name);
  });
  return header;
}

// ---- PNG: chunks of length, type, data and CRC-32 (ISO/IEC 15948).

constexpr std::array<uint32_t, 256> kCrcTable = [] {
  std::array<uint32_t, 256> table = {};
  for (uint32_t i = 0; i < 256; ++i) {
    table[i] = i;
    for (int bit = 0; bit < 8; ++bit) {
      table[i] = (table[i] & 1) != 0 ? 0xEDB88320 ^ table[i] >> 1 : table[i] >> 1;
    }
  }
  return table;
}();

uint32_t crc32(Bytes bytes) {
  uint32_t crc = ~0u;
  for (const uint8_t byte : bytes) crc = kCrcTable[(crc ^ byte) & 255] ^ crc >> 8;
  return ~crc;
}

PictureHeader read_png_header(const Reader& file, const std::string& name) {
  PictureHeader header{.format = PictureFormat::kPng};
  for (size_t at = kPngSignature.size();;) {
    const size_t length = file.big32(at);
    const Bytes typed = file.part(at + 4, 4 + length);
    const Bytes data = typed.subspan(4);
    const auto is = [&](std::string_view type) { return file.starts_with(type, at + 4); };
    // A type that starts in lower case marks a chunk that a reader may do without.
    const bool critical = (typed[0] & 0x20) == 0;
    const bool sound = crc32(typed) == file.big32(at + 8 + length);
    if (critical && !sound) fail_damaged(name, "a checksum does not agree");
    if (is("IHDR")) {
      if (length != 13) fail_damaged(name, "a header of the wrong length");
      header.width = file.big32(at + 8);
      header.height = file.big32(at + 12);
      header.is_16_bit = data[8] == 16;
      header.has_alpha = (data[9] & 4) != 0;
    } else if (is("tRNS")) {
      header.has_alpha = true;
    } else if (is("eXIf") && sound) {
      std::vector<uint8_t> exif(kExif.begin(), kExif.end());
      exif.insert(exif.end(), data.begin(), data.end());
      header.orientation = exif_orientation(exif);
    } else if (is("IEND")) {
      break;
    } else if (critical && !is("PLTE") && !is("IDAT") && !is("CgBI")) {
      fail_damaged(name, "a chunk of an unknown kind");
    }
    at += 12 + length;
  }
  return header;
}

// ---- BMP: a file header of 14 bytes, then one that starts with its own length.

PictureHeader read_bmp_header(const Reader& file, const std::string& name) {
  PictureHeader header{.format = PictureFormat::kBmp};
  const uint32_t pixels = file.little32(10), info = file.little32(14);
  const bool old = info == 12;  // OS/2's: 16-bit extents
  const auto extent = [&](size_t old_at, size_t at) {
    return int64_t{old ? static_cast<int32_t>(file.little16(old_at))
                       : static_cast<int32_t>(file.little32(at))};
  };
  header.width = extent(18, 18);
  const int64_t height = extent(20, 22);
  const uint32_t bits = file.little16(old ? 24 : 28);
  const uint32_t compression = old ? 0 : file.little32(30);
  header.height = std::abs(height);  // negative: rows from top to bottom
  // Before the fourth version of the header the fourth byte of a pixel means nothing.
  header.has_alpha = bits == 32 && info >= 108;
  require(compression == 0 || compression == 3, [&] {
    return fmt::format("{}: a compressed BMP cannot be read; save it as a PNG", name);
  });
  if (header.width <= 0 || header.height == 0) fail_damaged(name, "no extent");
  // Rows are padded to 4 bytes; some writers leave out the last one's padding.
  const uint64_t row = static_cast<uint64_t>(header.width) * bits;
  const uint64_t needed =
      (row + 31) / 32 * 4 * static_cast<uint64_t>(header.height - 1) + (row + 7) / 8;
  if (pixels > file.size() || needed > file.size() - pixels) fail_short(name);
  return header;
}

}  // namespace

PictureHeader read_picture_header(std::span<const uint8_t> bytes, const std::string& name) {
  const Reader file(bytes, name);
  require(!bytes.empty(), [&] { return fmt::format("{}: the file is empty", name); });
  PictureHeader header;
  if (file.starts_with("\xFF\xD8\xFF")) {
    header = read_jpeg_header(file, name);
  } else if (file.starts_with(kPngSignature)) {
    header = read_png_header(file, name);
  } else if (file.starts_with("BM")) {
    header = read_bmp_header(file, name);
  } else {
    throw Error(fmt::format("{}: is not a JPEG, PNG or BMP picture", name));
  }
  if (header.height <= 0 || header.width <= 0) fail_damaged(name, "no extent");
  return header;
}

}  // namespace glassnet
