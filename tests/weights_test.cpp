// Weight files. Files are taken apart and put together here byte by byte, independently of the
// writer and reader under test; a malformed one must end in one sentence, never in a crash.
#include "models/weights.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "models/resnet.h"
#include "models/safetensors.h"
#include "tensor/file.h"
#include "tensor/random.h"

namespace glassnet {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

// A folder of its own for each test, gone afterwards.
class WeightFiles : public ::testing::Test {
 protected:
  WeightFiles() {
    const auto* test = ::testing::UnitTest::GetInstance()->current_test_info();
    folder_ = fs::path(::testing::TempDir()) / fmt::format("glassnet_weights_{}", test->name());
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  ~WeightFiles() override {
    std::error_code ignored;
    fs::remove_all(folder_, ignored);
  }

  fs::path at(const std::string& name) const { return folder_ / name; }
  fs::path write(const std::string& name, const std::string& bytes) const {
    std::ofstream(at(name), std::ios::binary) << bytes;  // thousands of times: without fsync
    return at(name);
  }

  fs::path folder_;
};
using SafeTensorsFiles = WeightFiles;

// A file of this header and data.
std::string file_of(const std::string& header, const std::string& data) {
  const uint64_t length = header.size();
  std::string bytes(8, '\0');
  std::memcpy(bytes.data(), &length, 8);
  return bytes + header + data;
}

std::string repeated(const std::string& text, int times) {
  std::string result;
  for (int i = 0; i < times; ++i) result += text;
  return result;
}

struct Parts {
  json header;
  std::string text, data;
};
Parts parts_of(const fs::path& path) {
  const std::string bytes = read_file(path);
  uint64_t length = 0;
  std::memcpy(&length, bytes.data(), 8);
  Parts parts{.text = bytes.substr(8, length), .data = bytes.substr(8 + length)};
  parts.header = json::parse(parts.text);
  return parts;
}

// The sentence with which a call fails; fails the test when it does not.
template <class Exception = Error, class F>
std::string refusal(F&& f) {
  try {
    f();
  } catch (const Exception& error) {
    const std::string message = error.what();
    EXPECT_EQ(message.find('\n'), std::string::npos) << "one line: " << message;
    EXPECT_LT(message.size(), 1000u) << message;
    return message;
  } catch (const std::exception& error) {
    ADD_FAILURE() << "another exception: " << error.what();
    return {};
  }
  ADD_FAILURE() << "nothing was thrown";
  return {};
}

void expect_contains(const std::string& text, const std::string& part) {
  EXPECT_NE(text.find(part), std::string::npos) << "'" << part << "' is not in: " << text;
}

const NamedTensor& find_in(const StateDict& tensors, const std::string& name) {
  const auto found = std::find_if(tensors.begin(), tensors.end(),
                                  [&](const NamedTensor& entry) { return entry.name == name; });
  if (found == tensors.end()) throw Error("no tensor " + name);
  return *found;
}

std::string bytes_of(const Tensor& x) {
  return {static_cast<const char*>(x.raw()), x.bytes()};
}

// --- the format ----------------------------------------------------------------------------------

SafeTensors example() {
  SafeTensors content;
  const Tensor x = random_normal({2, 3, 1}, 1, 1, static_cast<uint64_t>(Stream::kUser));
  content.tensors = {{"u8", Tensor::from<uint8_t>({1, 255, 3}, {3})},
                     {"f32", x},
                     {"f16", x.to(DType::kFloat16)},
                     {"bf16", x.to(DType::kBFloat16)},
                     {"f64", x.to(DType::kFloat64)},
                     {"i64", Tensor::from<int64_t>({-1, int64_t{1} << 62}, {2})},
                     {"scalar", Tensor::full({}, 7, DType::kInt64)},
                     {"empty", Tensor::zeros({0, 4})}};
  content.metadata = {{"format", "pt"}, {"größe", "\"quoted\"\n"}};
  return content;
}

TEST_F(SafeTensorsFiles, RoundTripKeepsEveryBit) {
  const SafeTensors before = example();
  save_safetensors(at("a.safetensors"), before);
  const SafeTensors after = load_safetensors(at("a.safetensors"));
  EXPECT_EQ(after.metadata, before.metadata);
  ASSERT_EQ(after.tensors.size(), before.tensors.size());
  for (const NamedTensor& entry : before.tensors) {
    SCOPED_TRACE(entry.name);
    const Tensor& loaded = find_in(after.tensors, entry.name).tensor;
    EXPECT_EQ(loaded.dtype(), entry.tensor.dtype());
    EXPECT_EQ(loaded.shape(), entry.tensor.shape());
    EXPECT_EQ(bytes_of(loaded), bytes_of(entry.tensor));
  }
}

TEST_F(SafeTensorsFiles, TheBytesAreWhatTheFormatSays) {
  save_safetensors(at("a.safetensors"), example());
  const Parts parts = parts_of(at("a.safetensors"));
  EXPECT_EQ(parts.text.size() % 8, 0u);
  EXPECT_EQ(parts.text.front(), '{');
  EXPECT_EQ(parts.header["__metadata__"]["format"], "pt");
  EXPECT_EQ(parts.header["u8"]["dtype"], "U8");
  EXPECT_EQ(parts.header["f32"]["dtype"], "F32");
  EXPECT_EQ(parts.header["f16"]["dtype"], "F16");
  EXPECT_EQ(parts.header["bf16"]["dtype"], "BF16");
  EXPECT_EQ(parts.header["f64"]["dtype"], "F64");
  EXPECT_EQ(parts.header["i64"]["dtype"], "I64");
  EXPECT_EQ(parts.header["f32"]["shape"], json({2, 3, 1}));
  EXPECT_EQ(parts.header["scalar"]["shape"], json::array());
  size_t bytes = 0;
  for (const NamedTensor& entry : example().tensors) {
    const json& offsets = parts.header[entry.name]["data_offsets"];
    const size_t begin = offsets[0], end = offsets[1];
    EXPECT_EQ(begin % size_of(entry.tensor.dtype()), 0u) << entry.name << " is not aligned";
    EXPECT_EQ(parts.data.substr(begin, end - begin), bytes_of(entry.tensor)) << entry.name;
    bytes += end - begin;
  }
  EXPECT_EQ(parts.data.size(), bytes);
}

TEST_F(SafeTensorsFiles, ReadsWhatOthersWrite) {
  // Names out of order, spaces behind the header, no metadata, an empty tensor between two others.
  const fs::path path = write("a.safetensors", file_of(R"({"b":{"dtype":"U8","shape":[1,2],)"
                                                       R"("data_offsets":[1,3]},"none":{"shape":)"
                                                       R"([3,0],"dtype":"F32","data_offsets":)"
                                                       R"([1,1]},"a":{"dtype":"U8","shape":[],)"
                                                       R"("data_offsets":[0,1]}}   )",
                                                       "\x05\x06\x07"));
  const SafeTensors content = load_safetensors(path);
  ASSERT_EQ(content.tensors.size(), 3u);
  EXPECT_EQ(content.tensors[0].name, "a");
  EXPECT_EQ(content.tensors[1].name, "none");
  EXPECT_EQ(content.tensors[2].name, "b");
  EXPECT_EQ(content.tensors[2].tensor.to_vector<uint8_t>(), (std::vector<uint8_t>{6, 7}));
  EXPECT_EQ(content.tensors[1].tensor.shape(), (Shape{3, 0}));
  EXPECT_TRUE(content.metadata.empty());
  EXPECT_TRUE(load_safetensors(write("none.safetensors", file_of("{}", ""))).tensors.empty());
}

TEST_F(SafeTensorsFiles, RefusesEveryMalformedFile) {
  struct Case {
    std::string name, header, data, complaint;
  };
  const auto one = [](const std::string& type, const std::string& shape,
                      const std::string& offsets) {
    return fmt::format(R"({{"x":{{"dtype":{},"shape":{},"data_offsets":{}}}}})", type, shape,
                       offsets);
  };
  const auto two = [](const std::string& a, const std::string& b) {
    return fmt::format(R"({{"a":{{"dtype":"U8","shape":[2],"data_offsets":{}}},)"
                       R"("b":{{"dtype":"U8","shape":[2],"data_offsets":{}}}}})",
                       a, b);
  };
  const std::string four(4, 'd');
  const std::vector<Case> cases = {
      {"no header", "", "", "does not start with '{'"},
      {"not json", "{x}", "", "not valid JSON"},
      {"json that ends early", R"({"x":)", "", "not valid JSON"},
      {"text behind the object", "{}{}", "", "not valid JSON"},
      {"not utf-8", "{\"\xff\":1}", "", "not valid JSON"},
      {"an array", "[]", "", "does not start with '{'"},
      {"space before", " {}", "", "does not start with '{'"},
      {"deep nesting", R"({"x":)" + std::string(100'000, '['), "", "nested too deeply"},
      {"deep objects", R"({"x":{"shape":{"a":{"b":1}}}})", "", "nested too deeply"},
      {"same name twice",
       R"({"x":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},)"
       R"("x":{"dtype":"U8","shape":[2],"data_offsets":[2,4]}})",
       four, R"("x" twice)"},
      {"same key twice", R"({"x":{"dtype":"U8","dtype":"U8","shape":[4],"data_offsets":[0,4]}})",
       four, R"("dtype" twice)"},
      {"same metadata twice", R"({"__metadata__":{"a":"1","a":"2"}})", "", R"("a" twice)"},
      {"metadata no object", R"({"__metadata__":["a"]})", "", "metadata is not an object"},
      {"metadata no string", R"({"__metadata__":{"a":1}})", "", R"("a" is not a string)"},
      {"metadata null", R"({"__metadata__":null})", "", "metadata is not an object"},
      {"entry no object", R"({"x":3})", "", R"("x" has no dtype)"},
      {"no dtype", R"({"x":{"shape":[4],"data_offsets":[0,4]}})", four, "has no dtype"},
      {"no shape", R"({"x":{"dtype":"U8","data_offsets":[0,4]}})", four, "has no shape"},
      {"no offsets", R"({"x":{"dtype":"U8","shape":[4]}})", four, "has no data_offsets"},
      {"U32", one(R"("U32")", "[1]", "[0,4]"), four, R"(tensor "x" has type "U32")"},
      {"8-bit float", one(R"("F8_E4M3")", "[4]", "[0,4]"), four, R"(has type "F8_E4M3")"},
      {"lower case type", one(R"("f32")", "[1]", "[0,4]"), four, R"(has type "f32")"},
      {"type no string", one("32", "[1]", "[0,4]"), four, R"(tensor "x" has type)"},
      {"shape no list", one(R"("U8")", "4", "[0,4]"), four, "shape of tensor"},
      {"negative extent", one(R"("U8")", "[-4]", "[0,4]"), four, "shape of tensor"},
      {"two negative extents", one(R"("U8")", "[-2,-2]", "[0,4]"), four, "shape of tensor"},
      {"fractional extent", one(R"("U8")", "[4.0]", "[0,4]"), four, "shape of tensor"},
      {"extent as text", one(R"("U8")", R"(["4"])", "[0,4]"), four, "shape of tensor"},
      {"nine axes", one(R"("U8")", "[1,1,1,1,1,1,1,1,4]", "[0,4]"), four, "too long"},
      {"a million axes", one(R"("U8")", "[1" + repeated(",1", 1'000'000) + "]", "[0,4]"), four,
       "too long"},
      {"product overflows to 4", one(R"("U8")", "[4611686018427387905,4]", "[0,4]"), four,
       "too many elements"},
      {"product overflows to 0", one(R"("F32")", "[4294967296,4294967296]", "[0,0]"), "",
       "too many elements"},
      {"overflow hidden by a zero", one(R"("F32")", "[4294967296,4294967296,0]", "[0,0]"), "",
       "too many elements"},
      {"extent beyond int64", one(R"("U8")", "[9223372036854775808]", "[0,4]"), four,
       "too many elements"},
      {"extent beyond uint64", one(R"("U8")", "[99999999999999999999999]", "[0,4]"), four,
       "shape of tensor"},
      {"giant shape", one(R"("U8")", "[1000000000000]", "[0,1000000000000]"), four, "cut short"},
      {"giant shape, honest offsets missing", one(R"("F64")", "[1000000000000]", "[0,4]"), four,
       "takes 8000000000000 bytes"},
      {"wrong size", one(R"("F32")", "[2]", "[0,4]"), four, "takes 8 bytes"},
      {"offsets backwards", one(R"("U8")", "[4]", "[4,0]"), four, "takes 4 bytes"},
      {"negative offset", one(R"("U8")", "[4]", "[-4,0]"), four, "data_offsets of tensor"},
      {"one offset", one(R"("U8")", "[4]", "[4]"), four, "data_offsets of tensor"},
      {"three offsets", one(R"("U8")", "[4]", "[0,4,4]"), four, "data_offsets of tensor"},
      {"offset as text", one(R"("U8")", "[4]", R"(["0","4"])"), four, "data_offsets of tensor"},
      {"offsets near 2^64", one(R"("U8")", "[4]", "[18446744073709551611,18446744073709551615]"),
       four, "cut short"},
      {"overlap", two("[0,2]", "[1,3]"), "ddd", "overlap"},
      {"same bytes twice", two("[0,2]", "[0,2]"), "dd", "overlap"},
      {"hole", two("[0,2]", "[3,5]"), "ddddd", "hole"},
      {"hole at the start", two("[1,3]", "[3,5]"), "ddddd", "hole"},
      {"bytes behind", two("[0,2]", "[2,4]"), "dddde", "end at byte 4"},
      {"bytes of no tensor", "{}", "d", "end at byte 0"},
      {"one byte too few", two("[0,2]", "[2,4]"), "ddd", "cut short"},
      {"an empty tensor inside another",
       R"({"x":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},)"
       R"("y":{"dtype":"U8","shape":[0],"data_offsets":[2,2]}})",
       four, "overlap"},
      {"an endless name that breaks lines",
       "{\"" + std::string(5000, 'n') + "\\n\":{\"dtype\":\"I32\"}}", "", "nnn…"},
  };
  for (const Case& row : cases) {
    SCOPED_TRACE(row.name);
    const fs::path path = write("bad.safetensors", file_of(row.header, row.data));
    const std::string message = refusal([&] { load_safetensors(path); });
    EXPECT_EQ(message.find(path.string() + ": "), 0u) << message;
    expect_contains(message, row.complaint);
  }
}

TEST_F(SafeTensorsFiles, TrustsNoHeaderLength) {
  const std::string whole = file_of("{}", "");
  for (const uint64_t length :
       {uint64_t{3}, uint64_t{1000}, uint64_t{100'000'001}, uint64_t{1} << 63,
        std::numeric_limits<uint64_t>::max(), std::numeric_limits<uint64_t>::max() - 7}) {
    std::string bytes = whole;
    std::memcpy(bytes.data(), &length, 8);
    const std::string message = refusal([&] { load_safetensors(write("a.safetensors", bytes)); });
    expect_contains(message, fmt::format("a header of {} bytes", length));
  }
}

TEST_F(SafeTensorsFiles, RefusesEveryTruncation) {
  save_safetensors(at("a.safetensors"), example());
  const std::string whole = read_file(at("a.safetensors"));
  for (size_t length = 0; length < whole.size(); ++length) {
    const fs::path path = write("cut.safetensors", whole.substr(0, length));
    const std::string message = refusal([&] { load_safetensors(path); });
    EXPECT_EQ(message.find(path.string() + ": "), 0u) << message;
  }
}

TEST_F(SafeTensorsFiles, SurvivesBytesChangedAtRandom) {
  save_safetensors(at("a.safetensors"), example());
  const std::string whole = read_file(at("a.safetensors"));
  uint64_t header = 0;
  std::memcpy(&header, whole.data(), 8);
  Random random(7, Stream::kUser);
  int loaded = 0, refused = 0;
  for (int round = 0; round < 2000; ++round) {
    std::string bytes = whole;
    for (int64_t change = 1 + random.below(3); change > 0; --change) {
      if (round % 2 == 0) {  // anything anywhere
        bytes[static_cast<size_t>(random.below(static_cast<int64_t>(bytes.size())))] =
            static_cast<char>(random.below(256));
      } else {  // a digit of the header, so that it mostly stays JSON
        size_t place = 0;
        do {
          place = 8 + static_cast<size_t>(random.below(static_cast<int64_t>(header)));
        } while (std::isdigit(static_cast<unsigned char>(bytes[place])) == 0);
        bytes[place] = static_cast<char>('0' + random.below(10));
      }
    }
    const fs::path path = write("changed.safetensors", bytes);
    try {
      const SafeTensors content = load_safetensors(path);
      size_t data = 0;
      for (const NamedTensor& entry : content.tensors) data += entry.tensor.bytes();
      ASSERT_EQ(8 + header + data, bytes.size()) << "every byte belongs to one tensor";
      ++loaded;
    } catch (const Error& error) {
      ASSERT_EQ(std::string(error.what()).find(path.string() + ": "), 0u) << error.what();
      ++refused;
    }
  }
  EXPECT_GT(loaded, 50) << "changes of elements alone are seen by nobody";
  EXPECT_GT(refused, 500);
}

TEST_F(SafeTensorsFiles, SaysWhatAFileIsInstead) {
  expect_contains(refusal([&] { load_safetensors(at("missing.safetensors")); }),
                  "missing.safetensors");
  expect_contains(refusal([&] { load_safetensors(folder_); }), folder_.string());
  expect_contains(refusal([&] { load_safetensors(write("empty.safetensors", "")); }), "0 bytes");
}

// What is written of every type that files have is there again, bit for bit, also when a tensor
// lies at no multiple of its elements' size.
TEST_F(SafeTensorsFiles, EveryTypeAtAnyOffset) {
  struct Row {
    const char* type;
    std::string bytes;
    std::vector<double> values;
  };
  const std::vector<Row> rows = {
      {"BOOL", {"\x01\x00", 2}, {1, 0}},
      {"I8", "\xfe\x7f", {-2, 127}},
      {"U8", "\xfe\x7f", {254, 127}},
      {"I16", "\xfe\xff\x01\x02", {-2, 513}},
      {"I32", "\xfe\xff\xff\xff\x01\x02\x03\x04", {-2, 67305985}},
      {"I64",
       "\xfe\xff\xff\xff\xff\xff\xff\xff\x01\x01\x01\x01\x01\x01\x01\x01",
       {-2, 72340172838076673.0}},
      {"F16", {"\x00\xc0\x01\x3c", 4}, {-2, 1.0009765625}},
      {"BF16", {"\x00\xc0\x81\x3f", 4}, {-2, 1.0078125}},
      {"F32", {"\x00\x00\x00\xc0\x00\x00\x80\x7f", 8}, {-2, INFINITY}},
      {"F64", {"\x00\x00\x00\x00\x00\x00\x00\xc0\x9a\x99\x99\x99\x99\x99\xb9\x3f", 16}, {-2, 0.1}},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.type);
    const size_t size = row.bytes.size();
    const std::string bytes =
        file_of(fmt::format(R"({{"odd":{{"dtype":"U8","shape":[1],"data_offsets":[0,1]}},)"
                            R"("x":{{"dtype":"{}","shape":[2],"data_offsets":[1,{}]}}}})",
                            row.type, 1 + size),
                "?" + row.bytes);
    const TensorFile file = parse_safetensors("memory", {bytes, nullptr});
    const StoredTensor& x = file.tensors.at(1);
    EXPECT_EQ(to_tensor(x).to_vector<double>(), row.values);
    EXPECT_EQ(size_of(x.type), size / 2);
    Tensor loaded = Tensor::zeros({2});
    load_into(x, loaded);
    EXPECT_EQ(loaded.to_vector<float>(), to_tensor(x).to_vector<float>());

    save_safetensors(at("again.safetensors"), file);
    const TensorFile again = read_tensor_file(at("again.safetensors"));
    const auto found = std::find_if(again.tensors.begin(), again.tensors.end(),
                                    [](const StoredTensor& entry) { return entry.name == "x"; });
    ASSERT_NE(found, again.tensors.end());
    EXPECT_EQ(found->type, x.type);
    std::string copied(size, '?');
    copy_elements(*found, reinterpret_cast<std::byte*>(copied.data()));
    EXPECT_EQ(copied, row.bytes);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(found->data) % size_of(x.type), 0u);
  }
}

TEST(StoredTensors, ByStridesAndInTheOtherByteOrder) {
  const std::vector<int16_t> storage = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};
  StoredTensor x{.name = "x",
                 .type = ElementType::kInt16,
                 .shape = {2, 3},
                 .strides = {1, 4},
                 .data = reinterpret_cast<const std::byte*>(storage.data())};
  EXPECT_EQ(to_tensor(x).to_vector<double>(), (std::vector<double>{0, 4, 8, 1, 5, 9}));
  x.strides = {0, 2};  // an expanded row
  EXPECT_EQ(to_tensor(x).to_vector<double>(), (std::vector<double>{0, 2, 4, 0, 2, 4}));
  x.strides = {};
  EXPECT_EQ(to_tensor(x).to_vector<double>(), (std::vector<double>{0, 1, 2, 3, 4, 5}));
  x.swapped = true;
  EXPECT_EQ(to_tensor(x).to_vector<double>(), (std::vector<double>{0, 256, 512, 768, 1024, 1280}));
}

// (K, C, R, S) in the file, (K, R, S, C) in the engine, whatever the file's strides and type.
TEST(StoredTensors, LoadIntoTheEnginesLayout) {
  const Shape nchw{2, 3, 4, 5};
  std::vector<double> values(120);
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<double>(i);
  for (const DType type : {DType::kFloat32, DType::kFloat64, DType::kFloat16}) {
    for (const bool channels_last : {false, true}) {
      SCOPED_TRACE(fmt::format("{}, {}", name_of(type), channels_last));
      const Tensor contiguous = Tensor::from(values, nchw).to(type);
      // PyTorch's channels_last memory format: the same shape, other strides.
      const Tensor elements = channels_last ? nchw_to_nhwc(contiguous) : contiguous;
      StoredTensor stored = stored_view("x", elements);
      stored.shape = nchw;
      if (channels_last) stored.strides = {60, 1, 15, 3};
      Tensor loaded = Tensor::zeros({2, 4, 5, 3});
      load_into(stored, loaded);
      EXPECT_EQ(loaded.to_vector<double>(), nchw_to_nhwc(contiguous).to_vector<double>());
      Tensor wrong = Tensor::zeros({2, 3, 4, 5});
      expect_contains(refusal([&] { load_into(stored, wrong); }),
                      "(2, 3, 4, 5), expected (2, 5, 3, 4)");
    }
  }
}

TEST_F(SafeTensorsFiles, AFailedSaveLeavesNothingBehind) {
  const fs::path path = write("a.safetensors", "what was there before");
  const Tensor x = Tensor::zeros({2});
  const std::vector<StateDict> bad = {
      {{"x", x}, {"x", x}}, {{"__metadata__", x}}, {{"x", Tensor()}}, {{"\xff", x}}};
  for (const StateDict& tensors : bad) {
    const SafeTensors content{.tensors = tensors, .metadata = {{"a", "b"}}};
    expect_contains(refusal([&] { save_safetensors(path, content); }), "cannot be written");
  }
  expect_contains(
      refusal([&] { save_safetensors(at("no/such/folder.safetensors"), SafeTensors{}); }),
      "no folder");
  EXPECT_EQ(read_file(path), "what was there before");
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_), fs::directory_iterator()), 1);
}

// --- networks ------------------------------------------------------------------------------------

ModelCard card_of(const std::string& model, const std::vector<std::string>& classes) {
  return {.model = model,
          .classes = classes,
          .image_size = 96,
          .fit = "squash",
          .mean = {0.1F, 1.0F / 3, 0.7F},
          .std = {0.25F, 0.125F, 3e-5F},
          .decoder = "stb"};
}

// A network whose every parameter has a number of its own; cheaper than drawing them properly.
std::unique_ptr<Module> numbered(const std::string& name, int64_t classes, uint32_t seed = 1) {
  auto model = make_model(name, {.classes = classes});
  uint32_t state = seed;
  for (auto& [parameter, variable] : model->named_parameters()) {
    float* values = variable.mutable_value().data<float>();
    for (int64_t i = 0; i < variable.value().numel(); ++i) {
      state = 1664525 * state + 1013904223;
      values[i] = 0.05F * (static_cast<float>(state >> 8) / static_cast<float>(1 << 23) - 1);
    }
  }
  return model;
}

void expect_equal_states(const Module& a, const Module& b) {
  const StateDict left = a.state_dict(), right = b.state_dict();
  ASSERT_EQ(left.size(), right.size());
  for (size_t i = 0; i < left.size(); ++i) {
    EXPECT_EQ(left[i].name, right[i].name);
    EXPECT_TRUE(bytes_of(left[i].tensor) == bytes_of(right[i].tensor)) << left[i].name;
  }
}

// A ResNet-18's file without a card, changed by `edit`.
template <class Edit>
void save_edited(const fs::path& path, const Module& model, Edit&& edit) {
  save_weights(path, model, card_of("resnet18", {}));
  SafeTensors content = load_safetensors(path);
  content.metadata.clear();
  edit(content);
  save_safetensors(path, content);
}

TEST_F(WeightFiles, RoundTripKeepsTheNetworkAndItsCard) {
  const auto model = numbered("resnet18", 3);
  const ModelCard card = card_of("resnet18", {"café", "a \"b\", c", "雪"});
  save_weights(at("a.safetensors"), *model, card, {{"training.epoch", "12"}});
  LoadedModel loaded = load_model(at("a.safetensors"));
  EXPECT_EQ(loaded.card.model, card.model);
  EXPECT_EQ(loaded.card.classes, card.classes);
  EXPECT_EQ(loaded.card.image_size, card.image_size);
  EXPECT_EQ(loaded.card.fit, card.fit);
  EXPECT_EQ(loaded.card.mean, card.mean);
  EXPECT_EQ(loaded.card.std, card.std);
  EXPECT_EQ(loaded.card.decoder, card.decoder);
  EXPECT_EQ(loaded.extra, (std::map<std::string, std::string>{{"training.epoch", "12"}}));
  EXPECT_FALSE(loaded.model->training());
  expect_equal_states(*loaded.model, *model);

  model->eval();
  const NoGrad no_grad;
  const Variable image(random_normal({1, 32, 32, 3}, 1, 4, static_cast<uint64_t>(Stream::kUser)));
  EXPECT_EQ((*loaded.model)(image).value().to_vector<float>(),
            (*model)(image).value().to_vector<float>());
}

TEST_F(WeightFiles, HoldPyTorchsShapesAndLayout) {
  auto model = numbered("resnet18", 2);
  save_weights(at("a.safetensors"), *model, card_of("resnet18", {"a", "b"}));
  const Parts parts = parts_of(at("a.safetensors"));
  EXPECT_EQ(parts.header["__metadata__"]["format"], "pt");
  EXPECT_EQ(parts.header["__metadata__"]["glassnet.model"], "resnet18");
  EXPECT_EQ(json::parse(parts.header["__metadata__"]["glassnet.classes"].get<std::string>()),
            json({"a", "b"}));
  EXPECT_EQ(parts.header["conv1.weight"]["shape"], json({64, 3, 7, 7}));
  EXPECT_EQ(parts.header["layer2.0.downsample.0.weight"]["shape"], json({128, 64, 1, 1}));
  EXPECT_EQ(parts.header["fc.weight"]["shape"], json({2, 512}));
  EXPECT_EQ(parts.header["bn1.num_batches_tracked"]["shape"], json::array());
  EXPECT_EQ(parts.header["bn1.num_batches_tracked"]["dtype"], "I64");

  const auto in_file = [&](const std::string& name, size_t index) {
    float value = 0;
    const size_t begin = parts.header[name]["data_offsets"][0];
    std::memcpy(&value, parts.data.data() + begin + sizeof(float) * index, sizeof value);
    return value;
  };
  const StateDict state = model->state_dict();
  const auto conv = find_in(state, "conv1.weight").tensor.to_vector<float>();
  for (size_t k = 0; k < 64; ++k) {
    for (size_t c = 0; c < 3; ++c) {
      for (size_t r = 0; r < 7; ++r) {
        for (size_t s = 0; s < 7; ++s) {
          ASSERT_EQ(in_file("conv1.weight", ((k * 3 + c) * 7 + r) * 7 + s),
                    conv[((k * 7 + r) * 7 + s) * 3 + c]);
        }
      }
    }
  }
  const auto fc = find_in(state, "fc.weight").tensor.to_vector<float>();
  for (size_t i = 0; i < fc.size(); ++i) ASSERT_EQ(in_file("fc.weight", i), fc[i]);
}

TEST_F(WeightFiles, WithoutACardAreToldByTheirTensorsAndNumberTheirClasses) {
  for (const char* name : {"resnet18", "resnet34", "resnet20"}) {
    SCOPED_TRACE(name);
    const auto model = numbered(name, 3);
    save_edited(at("bare.safetensors"), *model, [](SafeTensors&) {});
    const LoadedModel loaded = load_model(at("bare.safetensors"));
    EXPECT_EQ(loaded.card.model, name);
    EXPECT_EQ(loaded.card.classes, (std::vector<std::string>{"0", "1", "2"}));
    EXPECT_EQ(loaded.card.image_size, usual_input(name).image_size);
    EXPECT_EQ(loaded.card.fit, "crop");
    EXPECT_TRUE(loaded.extra.empty());
    expect_equal_states(*loaded.model, *model);
    expect_equal_states(*load_model(at("bare.safetensors"), {.model = name}).model, *model);
  }
  refusal<UsageError>([&] { load_model(at("bare.safetensors"), {.model = "resnet19"}); });
}

TEST_F(WeightFiles, OfNoModelKnownHereAskForOne) {
  const auto model = numbered("resnet20", 3);
  save_edited(at("odd.safetensors"), *model, [](SafeTensors& content) {
    for (NamedTensor& entry : content.tensors) {
      if (entry.name == "layer1.1.conv1.weight") entry.name = "layer1.1.convolution.weight";
      if (entry.name.starts_with("layer2.2.")) entry.name = "layer2.7." + entry.name.substr(9);
    }
  });
  const std::string message = refusal<UsageError>([&] { load_model(at("odd.safetensors")); });
  expect_contains(message, "odd.safetensors");
  expect_contains(message, "--model NAME");
  expect_contains(message, "resnet18");
  const std::string misfits =
      refusal([&] { load_model(at("odd.safetensors"), {.model = "resnet20"}); });
  expect_contains(misfits, "layer1.1.convolution.weight, nearest is layer1.1.conv1.weight");
}

TEST_F(WeightFiles, OfAThousandClassesHaveImageNetsNames) {
  const auto model = numbered("resnet18", 1000);
  save_edited(at("bare.safetensors"), *model, [](SafeTensors&) {});
  const LoadedModel loaded = load_model(at("bare.safetensors"));
  ASSERT_EQ(loaded.card.classes.size(), 1000u);
  EXPECT_EQ(loaded.card.classes[0], "tench");
  EXPECT_EQ(loaded.card.classes[207], "golden retriever");
  EXPECT_EQ(loaded.card.classes[999], "toilet tissue");
  const std::set<std::string> distinct(loaded.card.classes.begin(), loaded.card.classes.end());
  EXPECT_EQ(distinct.size(), 1000u) << "a class is found by its name";
}

// Networks published for CIFAR call the classifier "linear".
TEST_F(WeightFiles, WithAnotherNameForTheClassifier) {
  const auto model = numbered("resnet20", 10);
  save_edited(at("cifar.safetensors"), *model, [](SafeTensors& content) {
    for (NamedTensor& entry : content.tensors) {
      if (entry.name.starts_with("fc.")) entry.name = "linear." + entry.name.substr(3);
    }
  });
  const LoadedModel loaded = load_model(at("cifar.safetensors"));
  EXPECT_EQ(loaded.card.model, "resnet20");
  expect_equal_states(*loaded.model, *model);
}

TEST_F(WeightFiles, AreInspected) {
  const auto model = numbered("resnet20", 10);
  const std::vector<std::string> classes = {"0", "1", "2", "3", "4", "5", "6", "7", "8", "nine"};
  save_weights(at("a.safetensors"), *model, card_of("resnet20", classes));
  WeightFacts facts = inspect_weights(at("a.safetensors"));
  EXPECT_EQ(facts.card.model, "resnet20");
  EXPECT_EQ(facts.card.image_size, 96);
  EXPECT_EQ(facts.complaint, "");
  EXPECT_EQ(facts.content.format, "safetensors");
  EXPECT_EQ(facts.content.tensors.size(), model->state_dict().size());
  EXPECT_EQ(facts.content.metadata.at("glassnet.model"), "resnet20");

  save_edited(at("bare.safetensors"), *model, [](SafeTensors& content) {
    std::erase_if(content.tensors,
                  [](const NamedTensor& entry) { return entry.name == "layer3.2.bn2.bias"; });
  });
  facts = inspect_weights(at("bare.safetensors"));
  EXPECT_EQ(facts.card.model, "resnet20");
  expect_contains(facts.complaint, "1 missing (layer3.2.bn2.bias)");

  save_safetensors(at("other.safetensors"), SafeTensors{{{"x", Tensor::zeros({2})}}, {}});
  facts = inspect_weights(at("other.safetensors"));
  EXPECT_EQ(facts.card.model, "");
  expect_contains(facts.complaint, "fc.weight");
}

TEST_F(WeightFiles, LearnTheNamesOfTheirClasses) {
  const auto model = numbered("resnet20", 2);
  save_edited(at("bare.safetensors"), *model, [](SafeTensors&) {});
  TensorFile content = read_tensor_file(at("bare.safetensors"));
  refusal<UsageError>([&] { name_classes("bare", content, {"one"}); });
  name_classes("bare", content, {"ox", "ass"});
  write_tensor_file(at("named.safetensors"), content);
  const LoadedModel loaded = load_model(at("named.safetensors"));
  EXPECT_EQ(loaded.card.classes, (std::vector<std::string>{"ox", "ass"}));
  expect_equal_states(*loaded.model, *model);
  refusal<UsageError>([&] { write_tensor_file(at("named.bin"), content); });
  EXPECT_FALSE(fs::exists(at("named.bin")));
}

TEST_F(WeightFiles, HintsWinOverTheCard) {
  const auto model = numbered("resnet18", 2);
  save_weights(at("a.safetensors"), *model, card_of("resnet18", {"a", "b"}));
  const LoadedModel loaded =
      load_model(at("a.safetensors"), {.classes = {"cat", "dog"}, .image_size = 64});
  EXPECT_EQ(loaded.card.classes, (std::vector<std::string>{"cat", "dog"}));
  EXPECT_EQ(loaded.card.image_size, 64);

  const std::string message = refusal<UsageError>([&] {
    load_model(at("a.safetensors"), {.classes = {"cat", "dog", "owl"}});
  });
  expect_contains(message, "3 class names");
  expect_contains(message, "2 classes");
  refusal<UsageError>([&] { load_model(at("a.safetensors"), {.image_size = -1}); });
}

TEST_F(WeightFiles, NameNoClassTwice) {
  const auto model = numbered("resnet18", 3);
  save_weights(at("a.safetensors"), *model, card_of("resnet18", {"ox", "ass", "ox"}));
  expect_contains(refusal([&] { load_model(at("a.safetensors")); }), "calls two classes 'ox'");
  expect_contains(refusal<UsageError>([&] {
                    load_model(at("a.safetensors"), {.classes = {"ox", "ass", "ass"}});
                  }),
                  "'ass'");
  TensorFile content = read_tensor_file(at("a.safetensors"));
  name_classes("a", content, {"ox", "ass", "mule"});
  write_tensor_file(at("named.safetensors"), content);
  EXPECT_EQ(load_model(at("named.safetensors")).card.classes[2], "mule");
}

TEST_F(WeightFiles, OfAnotherArchitectureSayBoth) {
  const auto model = numbered("resnet18", 2);
  save_weights(at("a.safetensors"), *model, card_of("resnet18", {"a", "b"}));
  const std::string message =
      refusal([&] { load_model(at("a.safetensors"), {.model = "resnet34"}); });
  EXPECT_EQ(message.find(at("a.safetensors").string()), 0u);
  expect_contains(message, "saved as resnet18");
  expect_contains(message, "read as resnet34");
  expect_contains(message, "layer1.2.conv1.weight");

  save_weights(at("wrong.safetensors"), *model, card_of("vgg16", {"a", "b"}));
  expect_contains(refusal([&] { load_model(at("wrong.safetensors")); }), "'vgg16'");
  save_weights(at("three.safetensors"), *model, card_of("resnet18", {"a", "b", "c"}));
  const std::string classes = refusal([&] { load_model(at("three.safetensors")); });
  expect_contains(classes, "3 classes");
  expect_contains(classes, "tell 2 apart");

  save_safetensors(at("other.safetensors"), SafeTensors{{{"x", Tensor::zeros({2})}}, {}});
  expect_contains(refusal([&] { load_model(at("other.safetensors"), {.model = "resnet18"}); }),
                  "fc.weight");
}

TEST_F(WeightFiles, CutShortSaySo) {
  const auto model = numbered("resnet18", 2);
  save_weights(at("a.safetensors"), *model, card_of("resnet18", {"a", "b"}));
  fs::resize_file(at("a.safetensors"), fs::file_size(at("a.safetensors")) / 2);
  const std::string message = refusal([&] { load_model(at("a.safetensors")); });
  EXPECT_EQ(message.find(at("a.safetensors").string()), 0u);
  expect_contains(message, "cut short");
}

TEST_F(WeightFiles, OfEarlyPyTorchCountNoBatches) {
  const auto model = numbered("resnet18", 2);
  for (NamedTensor& entry : model->state_dict()) {
    if (entry.name.ends_with("tracked")) entry.tensor.fill(5);
  }
  save_edited(at("old.safetensors"), *model, [](SafeTensors& content) {
    std::erase_if(content.tensors, [](const NamedTensor& entry) {
      return entry.name.ends_with("num_batches_tracked");
    });
  });
  const LoadedModel loaded = load_model(at("old.safetensors"), {.model = "resnet18"});
  for (const NamedTensor& entry : loaded.model->state_dict()) {
    if (entry.name.ends_with("tracked")) {
      EXPECT_EQ(entry.tensor.item(), 0) << entry.name;
    }
  }
}

TEST_F(WeightFiles, OfHalfPrecisionAreWidenedAndOfWholeNumbersRefused) {
  const auto model = numbered("resnet18", 2);
  save_edited(at("half.safetensors"), *model, [](SafeTensors& content) {
    for (NamedTensor& entry : content.tensors) {
      if (entry.tensor.dtype() == DType::kFloat32) entry.tensor = entry.tensor.to(DType::kFloat16);
    }
  });
  const LoadedModel loaded = load_model(at("half.safetensors"), {.model = "resnet18"});
  const StateDict before = model->state_dict(), after = loaded.model->state_dict();
  const auto expected =
      find_in(before, "layer4.1.conv2.weight").tensor.to(DType::kFloat16).to_vector<float>();
  EXPECT_EQ(find_in(after, "layer4.1.conv2.weight").tensor.dtype(), DType::kFloat32);
  EXPECT_TRUE(find_in(after, "layer4.1.conv2.weight").tensor.to_vector<float>() == expected);

  save_edited(at("whole.safetensors"), *model, [](SafeTensors& content) {
    for (NamedTensor& entry : content.tensors) {
      if (entry.name == "conv1.weight") entry.tensor = entry.tensor.to(DType::kUInt8);
    }
  });
  const std::string message =
      refusal([&] { load_model(at("whole.safetensors"), {.model = "resnet18"}); });
  expect_contains(message, "conv1.weight");
  expect_contains(message, "uint8");
}

TEST_F(WeightFiles, WithABrokenCardAreRefused) {
  const auto model = numbered("resnet18", 2);
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"glassnet.classes", "a, b"},       {"glassnet.classes", "[1, 2]"},
      {"glassnet.image_size", "0"},       {"glassnet.image_size", "-5"},
      {"glassnet.image_size", "1e300"},   {"glassnet.image_size", "large"},
      {"glassnet.fit", "stretch"},        {"glassnet.mean", "[0.5, 0.5]"},
      {"glassnet.std", "[1, 0, 1]"},      {"glassnet.std", "[1, -1, 1]"},
      {"glassnet.mean", "[1e300, 0, 0]"}, {"glassnet.model", "lenet"},
  };
  save_weights(at("a.safetensors"), *model, card_of("resnet18", {"a", "b"}));
  // Only what the card says decides, so the tensors can be left out to keep the files small.
  const SafeTensors whole = load_safetensors(at("a.safetensors"));
  for (const auto& [key, value] : cases) {
    SCOPED_TRACE(fmt::format("{} = {}", key, value));
    SafeTensors content{.metadata = whole.metadata};
    ASSERT_EQ(content.metadata.count(key), 1u);
    content.metadata[key] = value;
    save_safetensors(at("broken.safetensors"), content);
    const std::string message = refusal([&] { load_model(at("broken.safetensors")); });
    EXPECT_EQ(message.find(at("broken.safetensors").string()), 0u) << message;
    EXPECT_EQ(message.find("fc.weight"), std::string::npos) << "the card passed: " << message;
  }
}

TEST_F(WeightFiles, RefuseToAllocateAClassifierOfAnySize) {
  SafeTensors content{.metadata = {{"glassnet.model", "resnet18"}}};
  for (const Shape& shape :
       {Shape{int64_t{1} << 40, 0}, Shape{1 << 18, 1}, Shape{0, 512}, Shape{6}}) {
    content.tensors = {{"fc.weight", Tensor::zeros(shape, DType::kFloat16)}};
    save_safetensors(at("a.safetensors"), content);
    expect_contains(refusal([&] { load_model(at("a.safetensors")); }), shape.str());
  }
}

TEST_F(WeightFiles, AreFoundInARunFolder) {
  expect_contains(refusal([&] { load_model(folder_); }), "best.safetensors");
  save_weights(at("last.safetensors"), *numbered("resnet18", 2, 1),
               card_of("resnet18", {"a", "b"}));
  EXPECT_EQ(load_model(folder_).card.classes[0], "a");
  save_weights(at("best.safetensors"), *numbered("resnet18", 2, 2),
               card_of("resnet18", {"c", "d"}));
  EXPECT_EQ(load_model(folder_).card.classes[0], "c");
  expect_contains(refusal([&] { load_model(at("nowhere")); }), "nowhere");
}

TEST_F(WeightFiles, LoadIntoAnExistingModelOrChangeNothing) {
  const auto model = numbered("resnet18", 2, 1);
  save_weights(at("a.safetensors"), *model, card_of("resnet18", {"a", "b"}));
  const auto other = numbered("resnet18", 2, 2);
  load_weights(at("a.safetensors"), *other);
  expect_equal_states(*other, *model);
  EXPECT_TRUE(other->training()) << "the mode stays";

  const auto wider = numbered("resnet18", 5, 3), untouched = numbered("resnet18", 5, 3);
  const std::string message = refusal([&] { load_weights(at("a.safetensors"), *wider); });
  EXPECT_EQ(message.find(at("a.safetensors").string()), 0u);
  expect_contains(message, "fc.weight: expected (5, 512), got (2, 512)");
  expect_equal_states(*wider, *untouched);
}

TEST_F(WeightFiles, RefuseToBeWrittenWrongly) {
  const auto model = numbered("resnet18", 1);
  const ModelCard card = card_of("resnet18", {"a"});
  const fs::path path = at("a.safetensors");
  expect_contains(refusal([&] {
                    save_weights(path, *model, card, {{"glassnet.fit", "x"}});
                  }),
                  "glassnet.fit");
  ModelCard bad = card;
  bad.classes = {"\xff"};
  expect_contains(refusal([&] { save_weights(path, *model, bad); }), "UTF-8");
  bad = card;
  bad.image_size = 0;
  refusal([&] { save_weights(path, *model, bad); });
  bad = card;
  bad.std[1] = 0;
  refusal([&] { save_weights(path, *model, bad); });
  expect_contains(refusal([&] { save_weights(path, *model, card, {{"a", "\xff"}}); }), "UTF-8");
  EXPECT_TRUE(fs::is_empty(folder_));
}

// --- as published --------------------------------------------------------------------------------

// GLASSNET_WEIGHTS_DIR names a folder of weight files from elsewhere, in any format.
TEST_F(WeightFiles, PublishedOnesAreReadAndRoundTrip) {
  const char* folder = std::getenv("GLASSNET_WEIGHTS_DIR");
  if (folder == nullptr) GTEST_SKIP() << "GLASSNET_WEIGHTS_DIR names no folder of weight files";
  int count = 0;
  for (const auto& entry : fs::directory_iterator(folder)) {
    const std::string extension = entry.path().extension().string();
    if (!std::set<std::string>{".pth", ".pt", ".th", ".safetensors"}.contains(extension)) continue;
    SCOPED_TRACE(entry.path().string());
    ++count;
    const WeightFacts facts = inspect_weights(entry.path());
    EXPECT_EQ(facts.complaint, "");
    EXPECT_FALSE(facts.card.model.empty());
    EXPECT_EQ(load_model(entry.path()).card.model, facts.card.model);

    write_tensor_file(at("a.pth"), facts.content);
    write_tensor_file(at("b.safetensors"), read_tensor_file(at("a.pth")));
    const TensorFile back = read_tensor_file(at("b.safetensors"));
    ASSERT_EQ(back.tensors.size(), facts.content.tensors.size());
    std::map<std::string, const StoredTensor*> by_name;
    for (const StoredTensor& tensor : back.tensors) by_name[tensor.name] = &tensor;
    for (const StoredTensor& tensor : facts.content.tensors) {
      const StoredTensor& other = *by_name.at(tensor.name);
      ASSERT_EQ(other.type, tensor.type) << tensor.name;
      ASSERT_EQ(other.shape, tensor.shape) << tensor.name;
      std::vector<std::byte> before(tensor.bytes()), after(other.bytes());
      copy_elements(tensor, before.data());
      copy_elements(other, after.data());
      ASSERT_EQ(before, after) << tensor.name;
    }
  }
  EXPECT_GT(count, 0) << folder << " holds no weight file";
}

}  // namespace
}  // namespace glassnet
