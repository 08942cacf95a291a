#include "tensor/npy.h"

#include <cstring>
#include <fstream>
#include <limits>
#include <string>

#include <gtest/gtest.h>

#include "kernels/error.h"
#include "tensor/file.h"

namespace glassnet {
namespace {

using namespace std::string_literals;

std::filesystem::path temporary(const std::string& name) {
  return std::filesystem::path(::testing::TempDir()) / ("glassnet_npy_test_" + name);
}

// A file as NumPy would write it, with a header of our choosing.
std::string npy(const std::string& dictionary, const std::string& elements, char version = 1) {
  std::string text = dictionary + "\n";
  std::string bytes = "\x93NUMPY"s + version + '\0';
  for (int i = 0; i < (version == 1 ? 2 : 4); ++i) {
    bytes += static_cast<char>(text.size() >> (8 * i) & 0xff);
  }
  return bytes + text + elements;
}

// The sentence with which `bytes` are refused; fails the test when they are not.
std::string refusal(const std::string& bytes) {
  try {
    parse_npy(bytes, "maps/a.npy");
  } catch (const Error& error) {
    EXPECT_EQ(std::string(error.what()).find("maps/a.npy: "), 0u) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "these bytes were read without complaint";
  return "";
}

void expect_refusal(const std::string& bytes, const std::string& reason) {
  const std::string message = refusal(bytes);
  EXPECT_NE(message.find(reason), std::string::npos) << message;
}

template <class T>
void expect_round_trip(const std::vector<T>& values, const Shape& shape) {
  const auto path = temporary(std::string("round_trip_") + name_of(dtype_of<T>) + ".npy");
  save_npy(path, Tensor::from(values, shape));
  const Tensor back = load_npy(path);
  EXPECT_EQ(back.dtype(), dtype_of<T>);
  EXPECT_EQ(back.shape(), shape);
  ASSERT_EQ(back.numel(), static_cast<int64_t>(values.size()));
  if (!values.empty()) {
    EXPECT_EQ(std::memcmp(back.raw(), values.data(), values.size() * sizeof(T)), 0);
  }
  std::filesystem::remove(path);
}

TEST(Npy, EveryTypeComesBackBitForBit) {
  expect_round_trip<float>({1.5f, -0.0f, std::numeric_limits<float>::infinity(),
                            std::numeric_limits<float>::quiet_NaN(), 1e-45f, 3.f},
                           {2, 3});
  expect_round_trip<double>({1.0 / 3, -1e308, 5e-324}, {1, 3, 1});
  expect_round_trip<uint8_t>({0, 127, 255, 10, 13, 26}, {6});
  expect_round_trip<int64_t>(
      {std::numeric_limits<int64_t>::min(), std::numeric_limits<int64_t>::max()}, {2, 1});
  expect_round_trip<float>({42.f}, Shape());
  expect_round_trip<float>({}, {3, 0, 2});
}

TEST(Npy, Float16ComesBackBitForBit) {
  const auto path = temporary("float16.npy");
  const Tensor halves = Tensor::from<float>({0.f, 1.f, -2.5f, 65504.f}, {2, 2}).to(DType::kFloat16);
  save_npy(path, halves);
  const Tensor back = load_npy(path);
  EXPECT_EQ(back.dtype(), DType::kFloat16);
  EXPECT_EQ(back.to_vector<float>(), (std::vector<float>{0.f, 1.f, -2.5f, 65504.f}));
  std::filesystem::remove(path);
}

TEST(Npy, HeaderIsWhatNumpyWrites) {
  const auto path = temporary("header.npy");
  save_npy(path, Tensor::from<float>({1.f, 2.f, 3.f, 4.f, 5.f, 6.f}, {2, 3}));
  const std::string bytes = read_file(path);
  ASSERT_EQ(bytes.size(), 128u + 24u);
  EXPECT_EQ(bytes.substr(0, 10), "\x93NUMPY\x01\x00\x76\x00"s);
  const std::string dictionary = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }";
  EXPECT_EQ(bytes.substr(10, 118), dictionary + std::string(117 - dictionary.size(), ' ') + "\n");
  EXPECT_EQ(bytes.substr(128, 4), "\x00\x00\x80\x3f"s);

  save_npy(path, Tensor::from<uint8_t>({7, 8}, {2}));
  EXPECT_NE(read_file(path).find("{'descr': '|u1', 'fortran_order': False, 'shape': (2,), }"),
            std::string::npos);
  save_npy(path, Tensor::from<int64_t>({7}, Shape()));
  EXPECT_NE(read_file(path).find("{'descr': '<i8', 'fortran_order': False, 'shape': (), }"),
            std::string::npos);
  std::filesystem::remove(path);
}

TEST(Npy, ElementsStartAtAMultipleOf64Bytes) {
  const auto path = temporary("aligned.npy");
  for (int rank = 0; rank <= Shape::kMaxRank; ++rank) {
    std::vector<int64_t> dims(rank, 1);
    if (rank > 0) dims[0] = 100000 + rank;
    const Tensor tensor = Tensor::zeros(Shape(dims), DType::kUInt8);
    save_npy(path, tensor);
    const std::string bytes = read_file(path);
    const size_t begin = bytes.size() - tensor.bytes();
    EXPECT_EQ(begin % 64, 0u) << "rank " << rank;
    EXPECT_EQ(bytes[begin - 1], '\n') << "rank " << rank;
  }
  std::filesystem::remove(path);
}

TEST(Npy, ReadsWhatOthersMayWrite) {
  // Keys in another order, double quotes, no blanks, no comma at the end, versions 2 and 3.
  for (const char version : {1, 2, 3}) {
    const Tensor tensor = parse_npy(
        npy("{\"shape\":(2,1),\"fortran_order\":False,\"descr\":\"|u1\"}", "\x05\x06", version),
        "a");
    EXPECT_EQ(tensor.shape(), Shape({2, 1}));
    EXPECT_EQ(tensor.to_vector<int64_t>(), (std::vector<int64_t>{5, 6}));
  }
  const Tensor wide = parse_npy(npy("{'descr': '<i4', 'fortran_order': False, 'shape': (2,), }",
                                    "\xfe\xff\xff\xff\x00\x00\x00\x7f"s),
                                "a");
  EXPECT_EQ(wide.dtype(), DType::kInt64);
  EXPECT_EQ(wide.to_vector<int64_t>(), (std::vector<int64_t>{-2, 0x7f000000}));
  const Tensor mask =
      parse_npy(npy("{'descr': '|b1', 'fortran_order': False, 'shape': (2,), }", "\x00\x01"s), "a");
  EXPECT_EQ(mask.dtype(), DType::kUInt8);
}

TEST(Npy, RefusesMalformedFiles) {
  const std::string good =
      npy("{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }", std::string(12, 'x'));
  EXPECT_EQ(parse_npy(good, "a").numel(), 3);
  // Cut short anywhere, or with something behind.
  for (size_t size = 0; size < good.size(); ++size) refusal(good.substr(0, size));
  expect_refusal(good + "x", "takes 12 bytes, it holds 13");
  expect_refusal(good.substr(0, good.size() - 1), "takes 12 bytes, it holds 11");

  expect_refusal("\x89PNG\r\n\x1a\n and more"s, "begin");
  expect_refusal("\x93NUMPY\x04\x00\x00\x00"s, "version 4");
  expect_refusal("\x93NUMPY\x01\x00\xff\xff{}"s, "ends inside its header");
  expect_refusal("\x93NUMPY\x02\x00\xff\xff\xff\xff{}"s, "ends inside its header");

  const auto header = [](const std::string& text) { return npy(text, "xxxx"); };
  expect_refusal(header("{'descr': '<f4', 'fortran_order': True, 'shape': (1,), }"), "Fortran");
  expect_refusal(header("{'descr': '>f4', 'fortran_order': False, 'shape': (1,), }"), "'>f4'");
  expect_refusal(header("{'descr': '<c8', 'fortran_order': False, 'shape': (1,), }"), "'<c8'");
  expect_refusal(header("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }"), "'|O'");
  expect_refusal(header("{'descr': [('x', '<f4')], 'fortran_order': False, 'shape': (1,), }"),
                 "string");
  expect_refusal(header("{'descr': '<f4', 'fortran_order': Maybe, 'shape': (1,), }"),
                 "neither True nor False");
  expect_refusal(header("{'descr': '<f4', 'fortran_order': False, 'shape': (1), }"), "tuple");
  expect_refusal(header("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }"), "whole");
  expect_refusal(header("{'descr': '<f4', 'fortran_order': False, 'shape': (1.0,), }"), "tuple");
  expect_refusal(header("{'descr': '<f4', 'fortran_order': False, }"), "lacks one of");
  expect_refusal(header("{'descr': '<f4', 'descr': '<f4', 'shape': (1,), }"), "repeated");
  expect_refusal(header("{'descr': '<f4', 'fortran_order': False, 'shape': (1,), 'x': 1}"),
                 "unknown");
  expect_refusal(header("{'descr': '<f4', 'fortran_order': False, 'shape': (1,), } + 1"),
                 "goes on");
  expect_refusal(header("{'descr': '<f4"), "string");
  expect_refusal(header(""), "'{'");
}

TEST(Npy, RefusesShapesThatOverflow) {
  const auto shaped = [](const std::string& shape) {
    return npy("{'descr': '<f4', 'fortran_order': False, 'shape': " + shape + ", }", "xxxx");
  };
  expect_refusal(shaped("(4611686018427387904, 4)"), "more elements");
  expect_refusal(shaped("(4294967296, 4294967296)"), "more elements");
  expect_refusal(shaped("(4611686018427387904, 4, 0)"), "more elements");
  // The product fits, its bytes do not.
  expect_refusal(shaped("(4611686018427387905,)"), "more elements");
  expect_refusal(shaped("(99999999999999999999,)"), "no memory could hold");
  // Large, but consistent up to the missing bytes: nothing is allocated before that is seen.
  expect_refusal(shaped("(1000000000000,)"), "takes 4000000000000 bytes, it holds 4");
  expect_refusal(shaped("(1, 1, 1, 1, 1, 1, 1, 1, 1)"), "9 axes");
}

TEST(Npy, NamesTheFileItCannotUse) {
  const auto missing = temporary("missing.npy");
  try {
    load_npy(missing);
    FAIL() << "a missing file was read";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find(missing.string()), std::string::npos);
  }
  const auto path = temporary("never.npy");
  EXPECT_THROW(save_npy(path, Tensor()), Error);
  EXPECT_THROW(save_npy(path, Tensor::zeros({2}, DType::kBFloat16)), Error);
  EXPECT_FALSE(std::filesystem::exists(path));
}

}  // namespace
}  // namespace glassnet
