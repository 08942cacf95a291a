// Decoding what cameras and tools write, refusing what is cut short, resampling, writing.
#include "data/image.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <stb/stb_image_write.h>
#include <sys/resource.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <fstream>
#include <string>

#include "data/jpeg_decoder.h"
#include "data/scenes.h"
#include "kernels/error.h"
#include "kernels/reference/resample.h"
#include "tensor/file.h"
#include "tests/data_support.h"

namespace glassnet {
namespace {

using test::error_of;
using test::noise_image;
using test::TempFolder;
using ::testing::HasSubstr;
using Pixel = std::array<int, 3>;

Image decode(const std::string& bytes) {
  return decode_image({reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()}, "it");
}
Pixel pixel(const Image& image, int y, int x) {
  const uint8_t* p = image.at(y, x);
  return {p[0], p[1], p[2]};
}

std::string big(uint32_t value, int bytes) {
  std::string text;
  for (int i = bytes - 1; i >= 0; --i) text += static_cast<char>(value >> 8 * i);
  return text;
}
std::string little(uint32_t value, int bytes) {
  const std::string text = big(value, bytes);
  return {text.rbegin(), text.rend()};
}

void append(void* context, void* data, int size) {
  static_cast<std::string*>(context)->append(static_cast<const char*>(data), size);
}
std::string jpeg_of(const Image& image, int quality = 95) {
  std::string bytes;
  stbi_write_jpg_to_func(append, &bytes, image.width, image.height, 3, image.rgb.data(), quality);
  return bytes;
}
std::string bmp_of(const Image& image) {
  std::string bytes;
  stbi_write_bmp_to_func(append, &bytes, image.width, image.height, 3, image.rgb.data());
  return bytes;
}

// ---- A PNG by hand: chunks, and a zlib stream of one stored block.

uint32_t crc32(const std::string& bytes) {
  uint32_t crc = 0xFFFFFFFF;
  for (const char byte : bytes) {
    crc ^= static_cast<uint8_t>(byte);
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320 : 0);
  }
  return ~crc;
}
std::string chunk(const std::string& type, const std::string& data) {
  return big(static_cast<uint32_t>(data.size()), 4) + type + data + big(crc32(type + data), 4);
}
std::string stored(const std::string& data) {
  uint32_t a = 1, b = 0;
  for (const char byte : data) {
    a = (a + static_cast<uint8_t>(byte)) % 65521;
    b = (b + a) % 65521;
  }
  const auto length = static_cast<uint32_t>(data.size());
  return "\x78\x01\x01" + little(length, 2) + little(~length & 0xFFFF, 2) + data +
         big(b << 16 | a, 4);
}
// `rows`: each with its filter byte in front. `before_data`: PLTE, tRNS, eXIf chunks.
std::string png(int width, int height, int depth, int color, const std::string& rows,
                const std::string& before_data = "") {
  const std::string header = big(width, 4) + big(height, 4) + static_cast<char>(depth) +
                             static_cast<char>(color) + std::string(3, '\0');
  return "\x89PNG\r\n\x1a\n" + chunk("IHDR", header) + before_data + chunk("IDAT", stored(rows)) +
         chunk("IEND", "");
}
using namespace std::string_literals;

// ---- EXIF

// A TIFF block with one entry: the orientation.
std::string tiff(int orientation, bool big_endian) {
  const auto number = big_endian ? big : little;
  return (big_endian ? "MM"s : "II"s) + number(42, 2) + number(8, 4) + number(1, 2) +
         number(0x0112, 2) + number(3, 2) + number(1, 4) + number(orientation, 2) + number(0, 2) +
         number(0, 4);
}
std::string with_exif(const std::string& jpeg, const std::string& exif) {
  const std::string body = "Exif\0\0"s + exif;
  return jpeg.substr(0, 2) + "\xFF\xE1" + big(static_cast<uint32_t>(body.size()) + 2, 2) + body +
         jpeg.substr(2);
}

// 24 x 16 with corners of four greys: top left 40, top right 100, bottom left 160, bottom right
// 220.
Image four_corners() {
  Image image(16, 24);
  for (int y = 0; y < 16; ++y) {
    for (int x = 0; x < 24; ++x) {
      std::fill_n(image.at(y, x), 3,
                  static_cast<uint8_t>(40 + (x >= 12 ? 60 : 0) + (y >= 8 ? 120 : 0)));
    }
  }
  return image;
}

TEST(Image, ObeysAllEightOrientations) {
  // The stored corners A B / C D as they stand in the upright picture.
  constexpr int A = 40, B = 100, C = 160, D = 220;
  constexpr std::array<std::array<int, 4>, 8> upright = {{{A, B, C, D},
                                                          {B, A, D, C},
                                                          {D, C, B, A},
                                                          {C, D, A, B},
                                                          {A, C, B, D},
                                                          {C, A, D, B},
                                                          {D, B, C, A},
                                                          {B, D, A, C}}};
  const TempFolder folder;
  const std::string jpeg = jpeg_of(four_corners(), 100);
  for (int orientation = 1; orientation <= 8; ++orientation) {
    for (const bool big_endian : {false, true}) {
      SCOPED_TRACE(orientation);
      const std::string bytes = with_exif(jpeg, tiff(orientation, big_endian));
      const Image image = decode(bytes);
      EXPECT_EQ(image.height, orientation <= 4 ? 16 : 24);
      EXPECT_EQ(image.width, orientation <= 4 ? 24 : 16);
      const int bottom = image.height - 1, right = image.width - 1;
      const auto& expected = upright[orientation - 1];
      EXPECT_NEAR(image.at(0, 0)[0], expected[0], 3);
      EXPECT_NEAR(image.at(0, right)[0], expected[1], 3);
      EXPECT_NEAR(image.at(bottom, 0)[0], expected[2], 3);
      EXPECT_NEAR(image.at(bottom, right)[0], expected[3], 3);
      const auto file = folder.write("picture.jpg", bytes);
      EXPECT_EQ(read_image_size(file), std::pair(image.height, image.width));
    }
  }
}

TEST(Image, ObeysTheOrientationOfAPng) {
  const std::string rows = "\0\x0A\x14\x1E"s;  // 3 x 1 grey
  const Image image = decode(png(3, 1, 8, 0, rows, chunk("eXIf", tiff(8, true))));
  ASSERT_EQ(std::pair(image.height, image.width), std::pair(3, 1));
  EXPECT_EQ(image.at(0, 0)[0], 30);
  EXPECT_EQ(image.at(2, 0)[0], 10);
}

TEST(Image, TakesSenselessExifAsUpright) {
  const Image plain = decode(jpeg_of(four_corners()));
  for (const std::string& exif : {tiff(0, true), tiff(9, false), "MM"s, "nonsense"s,
                                  tiff(6, true).substr(0, 15), "II*\0\xFF\xFF\xFF\x7F"s}) {
    const Image image = decode(with_exif(jpeg_of(four_corners()), exif));
    EXPECT_EQ(image.rgb, plain.rgb);
  }
}

TEST(Image, DecodesJpegColours) {
  Image image(16, 16);
  for (size_t i = 0; i < image.rgb.size(); i += 3) {
    image.rgb[i] = 200;
    image.rgb[i + 1] = 120;
    image.rgb[i + 2] = 30;
  }
  const Image decoded = decode(jpeg_of(image));
  ASSERT_EQ(decoded.rgb.size(), image.rgb.size());
  for (size_t i = 0; i < image.rgb.size(); ++i) EXPECT_NEAR(decoded.rgb[i], image.rgb[i], 3);
}

// 16 x 16, grey rising by 5 a row and 10 a column, progressive with six scans.
constexpr uint8_t kProgressive[] = {
    0xff, 0xd8, 0xff, 0xe0, 0x00, 0x10, 0x4a, 0x46, 0x49, 0x46, 0x00, 0x01, 0x01, 0x00, 0x00, 0x01,
    0x00, 0x01, 0x00, 0x00, 0xff, 0xdb, 0x00, 0x43, 0x00, 0x0d, 0x09, 0x0a, 0x0b, 0x0a, 0x08, 0x0d,
    0x0b, 0x0a, 0x0b, 0x0e, 0x0e, 0x0d, 0x0f, 0x13, 0x20, 0x15, 0x13, 0x12, 0x12, 0x13, 0x27, 0x1c,
    0x1e, 0x17, 0x20, 0x2e, 0x29, 0x31, 0x30, 0x2e, 0x29, 0x2d, 0x2c, 0x33, 0x3a, 0x4a, 0x3e, 0x33,
    0x36, 0x46, 0x37, 0x2c, 0x2d, 0x40, 0x57, 0x41, 0x46, 0x4c, 0x4e, 0x52, 0x53, 0x52, 0x32, 0x3e,
    0x5a, 0x61, 0x5a, 0x50, 0x60, 0x4a, 0x51, 0x52, 0x4f, 0xff, 0xc2, 0x00, 0x0b, 0x08, 0x00, 0x10,
    0x00, 0x10, 0x01, 0x01, 0x11, 0x00, 0xff, 0xc4, 0x00, 0x15, 0x00, 0x01, 0x01, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x05, 0x04, 0xff, 0xda, 0x00,
    0x08, 0x01, 0x01, 0x00, 0x00, 0x00, 0x01, 0x21, 0x88, 0xd8, 0xff, 0xc4, 0x00, 0x16, 0x10, 0x00,
    0x03, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x02, 0x03, 0xff, 0xda, 0x00, 0x08, 0x01, 0x01, 0x00, 0x01, 0x05, 0x02, 0x92, 0x92, 0x52, 0x4a,
    0x49, 0x4f, 0xff, 0xc4, 0x00, 0x14, 0x10, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x20, 0xff, 0xda, 0x00, 0x08, 0x01, 0x01, 0x00, 0x06,
    0x3f, 0x02, 0x1f, 0xff, 0xc4, 0x00, 0x14, 0x10, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x20, 0xff, 0xda, 0x00, 0x08, 0x01, 0x01, 0x00,
    0x01, 0x3f, 0x21, 0x00, 0x1f, 0xff, 0xda, 0x00, 0x08, 0x01, 0x01, 0x00, 0x00, 0x00, 0x10, 0x5f,
    0xff, 0xc4, 0x00, 0x16, 0x10, 0x00, 0x03, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x21, 0x31, 0xff, 0xda, 0x00, 0x08, 0x01, 0x01, 0x00, 0x01,
    0x3f, 0x10, 0x8a, 0x22, 0x88, 0xa2, 0x28, 0xff, 0xd9};
std::string progressive() {
  return {std::begin(kProgressive), std::end(kProgressive)};
}

// 8 x 8 of four inks, as Adobe stores them, all at half: one block each of no coefficients.
std::string cmyk() {
  const auto segment = [](int marker, const std::string& body) {
    return "\xFF"s + static_cast<char>(marker) + big(static_cast<uint32_t>(body.size()) + 2, 2) +
           body;
  };
  const auto table = [](char place) { return place + "\x01"s + std::string(15, '\0') + "\0"s; };
  return "\xFF\xD8"s + segment(0xEE, "Adobe\0\x64\0\0\0\0\0"s) +
         segment(0xDB, "\0"s + std::string(64, '\x01')) +
         segment(0xC0, "\x08\0\x08\0\x08\x04\x01\x11\0\x02\x11\0\x03\x11\0\x04\x11\0"s) +
         segment(0xC4, table('\0') + table('\x10')) +
         segment(0xDA, "\x04\x01\0\x02\0\x03\0\x04\0\0\x3F\0"s) + "\0\xFF\xD9"s;
}

TEST(Image, DecodesFourInks) {
  const Image image = decode(cmyk());
  ASSERT_EQ(std::pair(image.height, image.width), std::pair(8, 8));
  EXPECT_EQ(pixel(image, 0, 0), (Pixel{64, 64, 64}));
  EXPECT_EQ(pixel(image, 7, 7), (Pixel{64, 64, 64}));
}

TEST(Image, DecodesAProgressiveJpeg) {
  const Image image = decode(progressive());
  ASSERT_EQ(std::pair(image.height, image.width), std::pair(16, 16));
  for (int y = 0; y < 16; ++y) {
    for (int x = 0; x < 16; ++x) EXPECT_NEAR(image.at(y, x)[0], 5 * y + 10 * x, 16);
  }
}

TEST(Image, RefusesEveryCutOfAFile) {
  const Image noise = noise_image(9, 11, 1);
  std::string written;
  {
    const TempFolder folder;
    write_png(folder / "noise.png", noise);
    written = read_file(folder / "noise.png");
  }
  for (const std::string& whole :
       {jpeg_of(noise, 90), with_exif(jpeg_of(noise), tiff(6, true)), progressive(), written}) {
    const Image image = decode(whole);
    for (size_t size = 0; size < whole.size(); ++size) {
      EXPECT_THAT(error_of([&] { decode(whole.substr(0, size)); }), HasSubstr("it: "))
          << size << " of " << whole.size();
    }
    EXPECT_EQ(decode(whole + "bytes \xFF\xD8\xFF that came after").rgb, image.rgb);
  }
  const std::string bmp = bmp_of(noise);
  EXPECT_EQ(decode(bmp).rgb, noise.rgb);
  // The last row's padding (33 bytes to 36) may be missing.
  for (size_t size = 0; size + 3 < bmp.size(); ++size) {
    EXPECT_NE(error_of([&] { decode(bmp.substr(0, size)); }), "") << size;
  }
}

// ---- The two decoders

// What `by` decodes; the process's decoder is as before afterwards.
template <class F>
auto with_decoder(JpegDecoder by, F&& f) {
  struct Restore {
    JpegDecoder before = jpeg_decoder();
    ~Restore() { set_jpeg_decoder(before); }
  } restore;
  set_jpeg_decoder(by);
  return f();
}

TEST(JpegDecoders, HaveNames) {
  EXPECT_EQ(parse_jpeg_decoder("turbo"), JpegDecoder::kTurbo);
  EXPECT_EQ(parse_jpeg_decoder("stb"), JpegDecoder::kStb);
  EXPECT_EQ(parse_jpeg_decoder("auto"), has_turbo() ? JpegDecoder::kTurbo : JpegDecoder::kStb);
  EXPECT_STREQ(name_of(JpegDecoder::kTurbo), "turbo");
  EXPECT_STREQ(name_of(JpegDecoder::kStb), "stb");
  EXPECT_THROW(parse_jpeg_decoder("fast"), UsageError);
  if (!has_turbo()) {
    EXPECT_THROW(set_jpeg_decoder(JpegDecoder::kTurbo), UsageError);
  }
}

TEST(JpegDecoders, AgreeWithinRounding) {
  if (!has_turbo()) GTEST_SKIP() << "built without libjpeg-turbo";
  size_t values = 0, apart = 0;
  const auto compare = [&](const std::string& bytes) {
    const Image a = with_decoder(JpegDecoder::kStb, [&] { return decode(bytes); });
    const Image b = with_decoder(JpegDecoder::kTurbo, [&] { return decode(bytes); });
    ASSERT_EQ(a.height, b.height);
    ASSERT_EQ(a.width, b.width);
    for (size_t i = 0; i < a.rgb.size(); ++i) {
      ASSERT_NEAR(a.rgb[i], b.rgb[i], 3);
      apart += a.rgb[i] != b.rgb[i];
    }
    values += a.rgb.size();
  };
  // Colours at half resolution up to a quality of 90; sizes with and without a cut last block.
  for (const int quality : {50, 90, 95}) {
    for (const int size : {150, 97, 33}) {
      compare(jpeg_of(draw_scene(1, 0, 7, size).image, quality));
    }
  }
  compare(with_exif(jpeg_of(draw_scene(2, 0, 8, 64).image), tiff(6, true)));
  compare(progressive());
  compare(cmyk());
  EXPECT_LT(static_cast<double>(apart), 0.1 * static_cast<double>(values));
}

TEST(JpegDecoders, RefuseTheSameDamage) {
  if (!has_turbo()) GTEST_SKIP() << "built without libjpeg-turbo";
  Random random(3, Stream::kUser);
  const auto below = [&](size_t bound) {
    return static_cast<size_t>(random.below(static_cast<int64_t>(bound)));
  };
  int refused = 0;
  for (const std::string& whole : {jpeg_of(draw_scene(0, 0, 9, 40).image, 80), progressive()}) {
    for (int round = 0; round < 400; ++round) {
      std::string bytes = whole;
      for (size_t change = 1 + below(3); change > 0; --change) {
        bytes[2 + below(bytes.size() - 4)] = static_cast<char>(below(256));
      }
      const auto verdict = [&] { return error_of([&] { decode(bytes); }); };
      const std::string by_stb = with_decoder(JpegDecoder::kStb, verdict);
      EXPECT_EQ(with_decoder(JpegDecoder::kTurbo, verdict), by_stb) << round;
      refused += !by_stb.empty();
    }
  }
  EXPECT_GT(refused, 100);
}

TEST(Image, ReadsBmpRowsInBothDirections) {
  const Image noise = noise_image(5, 6, 2);
  std::string bytes = bmp_of(noise);
  const size_t pixels = bytes.size() - 5 * 20;
  std::string rows;
  for (size_t y = 5; y-- > 0;) rows += bytes.substr(pixels + y * 20, 20);
  bytes = bytes.substr(0, 22) + little(static_cast<uint32_t>(-5), 4) +
          bytes.substr(26, pixels - 26) + rows;
  EXPECT_EQ(decode(bytes).rgb, noise.rgb);
}

TEST(Image, LaysTransparencyOnWhite) {
  // A palette of red, green, blue with alpha 0, 128 and, left out, 255; two bits a pixel.
  const std::string palette = chunk("PLTE", "\xFF\0\0\0\xFF\0\0\0\xFF"s) + chunk("tRNS", "\0\x80"s);
  const Image indexed = decode(png(3, 1, 2, 3, "\0\x18"s, palette));
  EXPECT_EQ(pixel(indexed, 0, 0), (Pixel{255, 255, 255}));
  EXPECT_EQ(pixel(indexed, 0, 1), (Pixel{127, 255, 127}));
  EXPECT_EQ(pixel(indexed, 0, 2), (Pixel{0, 0, 255}));

  const Image grey = decode(png(2, 1, 8, 4, "\0\x64\xFF\x64\x33"s));  // 100 opaque, 100 at a fifth
  EXPECT_EQ(pixel(grey, 0, 0), (Pixel{100, 100, 100}));
  EXPECT_EQ(pixel(grey, 0, 1), (Pixel{224, 224, 224}));

  // Grey 7 is the transparent one.
  const Image keyed = decode(png(2, 1, 8, 0, "\0\x07\x08"s, chunk("tRNS", "\0\x07"s)));
  EXPECT_EQ(pixel(keyed, 0, 0), (Pixel{255, 255, 255}));
  EXPECT_EQ(pixel(keyed, 0, 1), (Pixel{8, 8, 8}));
}

TEST(Image, RoundsSixteenBits) {
  // 0x0080 is 0.498 of a step of 8 bits, 0x0081 is 0.502.
  const Image grey = decode(png(4, 1, 16, 0, "\0\0\x80\0\x81\x64\x64\xFF\xFF"s));
  EXPECT_EQ(pixel(grey, 0, 0)[0], 0);
  EXPECT_EQ(pixel(grey, 0, 1)[0], 1);
  EXPECT_EQ(pixel(grey, 0, 2)[0], 100);
  EXPECT_EQ(pixel(grey, 0, 3)[0], 255);
  const Image rgba = decode(png(1, 1, 16, 6, "\0\x80\x80\0\0\xFF\xFF\x80\x80"s));
  EXPECT_EQ(pixel(rgba, 0, 0), (Pixel{191, 127, 255}));
}

TEST(Image, ReadsOneBitAndOnePixel) {
  const Image bits = decode(png(3, 1, 1, 0, "\0\xA0"s));
  EXPECT_EQ(pixel(bits, 0, 0)[0], 255);
  EXPECT_EQ(pixel(bits, 0, 1)[0], 0);
  EXPECT_EQ(pixel(bits, 0, 2)[0], 255);
  const Image dot = noise_image(1, 1, 3);
  EXPECT_EQ(decode(bmp_of(dot)).rgb, dot.rgb);
  EXPECT_EQ(decode(jpeg_of(dot)).rgb.size(), 3u);
}

TEST(Image, RefusesWhatIsNoPicture) {
  const TempFolder folder;
  const auto text = folder.write("text.jpg", "not a picture, whatever its name says");
  EXPECT_EQ(error_of([&] { read_image(text); }),
            text.string() + ": is not a JPEG, PNG or BMP picture");
  EXPECT_THAT(error_of([&] { read_image(folder.write("empty.png", "")); }), HasSubstr("is empty"));
  EXPECT_THAT(error_of([&] { read_image(folder / "missing.png"); }), HasSubstr("missing.png"));
  EXPECT_THAT(error_of([&] { read_image(folder.path()); }), HasSubstr(folder.path().string()));
}

TEST(Image, RefusesTooManyPixels) {
  const std::string error = error_of([] { decode(png(20000, 10000, 8, 0, "\0\0"s)); });
  EXPECT_THAT(error, HasSubstr("20000 x 10000"));
  EXPECT_THAT(error, HasSubstr("178956970"));
  EXPECT_NE(error_of([] { decode(png(-1, -1, 8, 2, "\0\0"s)); }), "");
}

TEST(Image, RefusesDamage) {
  const std::string sound = png(2, 1, 8, 0, "\0\x01\x02"s);
  std::string damaged = sound;
  damaged[damaged.size() - 12 - 8 - 1] ^= 1;  // in the pixels
  EXPECT_THAT(error_of([&] { decode(damaged); }), HasSubstr("checksum"));
  EXPECT_THAT(error_of([] { decode(png(2, 2, 8, 0, "\0\x01\x02"s)); }), HasSubstr("damaged"));

  EXPECT_THAT(error_of([] { decode(png(2, 1, 8, 0, "\0\x01\x02"s, chunk("ABCD", ""))); }),
              HasSubstr("unknown kind"));
  EXPECT_EQ(decode(png(2, 1, 8, 0, "\0\x01\x02"s, chunk("teXt", "note"))).width, 2);

  // A Huffman table of 16 * 255 symbols, which no decoder has room for.
  const std::string table = "\0"s + std::string(16, '\xFF') + std::string(16 * 255, '\0');
  const std::string jpeg = jpeg_of(noise_image(8, 8, 4));
  EXPECT_THAT(error_of([&] {
                decode(jpeg.substr(0, 2) + "\xFF\xC4" +
                       big(static_cast<uint32_t>(table.size()) + 2, 2) + table + jpeg.substr(2));
              }),
              HasSubstr("Huffman"));
}

TEST(Image, RefusesInksThatDoNotSayHowTheyAreStored) {
  const std::string frame = "\xFF\xC0" + big(20, 2) + "\x08" + big(1, 2) + big(1, 2) + "\x04" +
                            "\x01\x11\0\x02\x11\0\x03\x11\0\x04\x11\0"s;
  EXPECT_THAT(error_of([&] { decode("\xFF\xD8" + frame + "\xFF\xD9"); }), HasSubstr("CMYK"));
}

TEST(Image, KnowsPicturesByTheirExtension) {
  for (const char* name : {"a.jpg", "a.JPEG", "dir.x/b.Png", "c.bmp"})
    EXPECT_TRUE(is_image_file(name));
  for (const char* name : {"a.txt", "jpg", "a.jpg.part", "a.gif"})
    EXPECT_FALSE(is_image_file(name));
}

TEST(Image, WritesTheSamePngEveryTime) {
  const TempFolder folder;
  const Image image = noise_image(13, 7, 5);
  write_png(folder / "a.png", image);
  write_png(folder / "b.png", image);
  EXPECT_EQ(read_file(folder / "a.png"), read_file(folder / "b.png"));
  EXPECT_EQ(read_image(folder / "a.png").rgb, image.rgb);
  EXPECT_THAT(error_of([&] { write_png(folder / "none" / "a.png", image); }),
              HasSubstr("no folder"));
  EXPECT_NE(error_of([&] { write_png(folder / "empty.png", Image()); }), "");
  EXPECT_EQ(encode_png(image, "in memory"), read_file(folder / "a.png"));
  EXPECT_THAT(error_of([&] { encode_png(Image(), "nothing"); }), HasSubstr("nothing"));
}

TEST(Image, LeavesNothingBehindOnAFullDisk) {
  const TempFolder folder;
  const auto path = folder.write("a.png", "what was there");
  // A limit on the size of files fails a write as a full disk does.
  struct rlimit before = {};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = signal(SIGXFSZ, SIG_IGN);
  struct rlimit small = before;
  small.rlim_cur = 1000;
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  const std::string error = error_of([&] { write_png(path, noise_image(50, 50, 6)); });
  setrlimit(RLIMIT_FSIZE, &before);
  signal(SIGXFSZ, handler);

  EXPECT_THAT(error, HasSubstr("a.png: cannot be written"));
  EXPECT_EQ(read_file(path), "what was there");
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.path()), {}), 1);
}

// ---- Resampling

// Pillow 9.4.0: Image.resize((width, height), BILINEAR, box) of the picture below.
Image pillow_source() {
  Image image(7, 9);
  for (int y = 0; y < 7; ++y) {
    for (int x = 0; x < 9; ++x) {
      for (int c = 0; c < 3; ++c) {
        image.at(y, x)[c] = static_cast<uint8_t>(y * 37 + x * 59 + c * 83 + y * x * 11);
      }
    }
  }
  return image;
}

TEST(Resize, AgreesWithPillow) {
  struct Case {
    Box box;
    int height, width;
    std::vector<int> expected;
  };
  const std::vector<Case> cases = {
      {{0, 0, 7, 9}, 3, 4, {88,  139, 133, 162, 96,  128, 126, 132, 122, 124, 131, 133,
                            145, 136, 110, 134, 129, 124, 144, 142, 133, 154, 126, 133,
                            149, 115, 106, 120, 129, 136, 157, 126, 129, 148, 101, 138}},
      {{0.25, 1.5, 6.25, 6.75},
       2,
       3,
       {149, 112, 117, 140, 129, 136, 129, 134, 125, 131, 131, 118, 141, 132, 134, 158, 122, 122}},
      {{1, 2, 3, 4}, 5, 7, {151, 73,  72,  189, 49,  99,  228, 59,  138, 165, 94,  177, 97,  133,
                            201, 107, 171, 122, 127, 166, 77,  185, 66,  95,  190, 54,  137, 174,
                            97,  180, 133, 139, 171, 99,  175, 152, 141, 159, 106, 162, 131, 94,
                            219, 100, 129, 173, 92,  175, 73,  138, 221, 102, 185, 140, 148, 213,
                            58,  194, 113, 104, 186, 67,  150, 132, 101, 163, 112, 130, 158, 104,
                            179, 120, 147, 153, 108, 186, 119, 107, 148, 111, 157, 122, 124, 174,
                            85,  113, 156, 85,  149, 126, 138, 173, 63,  167, 122, 102, 180, 73,
                            153, 117, 127, 177, 98,  170, 169}}};
  for (const Case& c : cases) {
    const Image image = resize(pillow_source(), c.box, c.height, c.width);
    ASSERT_EQ(image.rgb.size(), c.expected.size());
    for (size_t i = 0; i < c.expected.size(); ++i) EXPECT_NEAR(image.rgb[i], c.expected[i], 1) << i;
  }
}

// The weights of `size` results over the `extent` pixels from `begin` of `limit`, from the formula.
struct Weights {
  std::vector<int> first, count;
  std::vector<float> weight;
  int stride = 0;

  Weights(double begin, double extent, int limit, int size) : stride(limit) {
    const double step = extent / size, support = std::max(step, 1.0);
    for (int i = 0; i < size; ++i) {
      const double center = begin + (i + 0.5) * step;
      std::vector<double> all(limit);
      double sum = 0;
      for (int j = 0; j < limit; ++j) {
        sum += all[j] = std::max(0.0, 1 - std::abs(j + 0.5 - center) / support);
      }
      const auto used = [](double w) { return w > 0; };
      const auto from = std::find_if(all.begin(), all.end(), used);
      const auto to = std::find_if(all.rbegin(), all.rend(), used).base();
      first.push_back(static_cast<int>(from - all.begin()));
      count.push_back(static_cast<int>(to - from));
      weight.resize(weight.size() + limit);
      std::transform(from, to, weight.end() - limit,
                     [&](double w) { return static_cast<float>(w / sum); });
    }
  }
  kernels::ResampleAxis axis() const {
    return {static_cast<int>(first.size()), first.data(), count.data(), weight.data(), stride};
  }
};

TEST(Resize, IsTheReferenceToTheLastBit) {
  const auto compare = [](const Image& image, const Box& box, int height, int width) {
    SCOPED_TRACE(::testing::Message()
                 << image.width << " x " << image.height << " to " << width << " x " << height);
    const Weights down(box.y, box.height, image.height, height);
    const Weights across(box.x, box.width, image.width, width);
    Image expected(height, width);
    kernels::reference::resample(image.rgb.data(), image.width, down.axis(), across.axis(),
                                 expected.rgb.data());
    EXPECT_EQ(resize(image, box, height, width).rgb, expected.rgb);
  };
  // Around the sizes at which blocks of rows and tiles of values end.
  for (const int height : {1, 2, 7, 16, 17, 33, 150}) {
    for (const int width : {1, 5, 16, 21, 22, 43, 64, 150}) {
      const Image image = noise_image(height, width, 100);
      const Box whole{0, 0, static_cast<double>(height), static_cast<double>(width)};
      for (const int size : {1, 3, 15, 16, 17, 64, 97}) compare(image, whole, size, 100 - size);
      compare(image, {height / 3., width / 4., height / 2.5, width / 1.7}, 31, 33);
    }
  }
}

TEST(Resize, KeepsWholePixelsOfEqualSize) {
  const Image image = noise_image(12, 17, 7);
  EXPECT_EQ(resize(image, 12, 17).rgb, image.rgb);
  const Image part = resize(image, {3, 5, 6, 7}, 6, 7);
  for (int y = 0; y < 6; ++y) {
    for (int x = 0; x < 7; ++x) EXPECT_EQ(pixel(part, y, x), pixel(image, y + 3, x + 5));
  }
}

TEST(Resize, KeepsEvenColours) {
  Image white(31, 47);
  std::fill(white.rgb.begin(), white.rgb.end(), uint8_t{255});
  for (const int size : {1, 2, 13, 100}) {
    for (const uint8_t value : resize(white, {0.3, 1.7, 29.9, 44.1}, size, size + 1).rgb) {
      ASSERT_EQ(value, 255);
    }
  }
}

TEST(Resize, RefusesBoxesOutside) {
  const Image image(4, 4);
  for (const Box& box : {Box{0, 0, 5, 4}, Box{-1, 0, 2, 2}, Box{3, 3, 2, 1}, Box{0, 0, 0, 4}}) {
    EXPECT_THROW(resize(image, box, 2, 2), Error);
  }
  EXPECT_THROW(resize(image, 0, 2), Error);
}

TEST(Fit, CropsOrSquashes) {
  const Image wide = noise_image(10, 21, 8);
  EXPECT_EQ(fit_image(wide, 10, Fit::kCrop).rgb, resize(wide, {0, 5, 10, 10}, 10, 10).rgb);
  EXPECT_EQ(fit_image(wide, 10, Fit::kSquash).rgb, resize(wide, 10, 10).rgb);
  const Image square = noise_image(10, 10, 9);
  EXPECT_EQ(fit_image(square, 10, Fit::kCrop).rgb, square.rgb);
  EXPECT_EQ(parse_fit(name_of(Fit::kCrop)), Fit::kCrop);
  EXPECT_EQ(parse_fit(name_of(Fit::kSquash)), Fit::kSquash);
  EXPECT_THROW(parse_fit("stretch"), UsageError);
}

}  // namespace
}  // namespace glassnet
