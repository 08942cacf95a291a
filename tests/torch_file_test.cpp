// PyTorch's files of weights. They are put together here byte by byte, or come from PyTorch itself
// (scripts/make-golden-weights), and what is written is taken apart byte by byte.
#include "models/torch_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "kernels/error.h"
#include "models/zip.h"
#include "tests/data_support.h"
#include "tests/torch_file_support.h"

namespace glassnet {
namespace {

using nlohmann::json;
using testing::HasSubstr;
namespace fs = std::filesystem;
using namespace test;

struct TypeNames {
  ElementType type;
  std::string storage;
};
const std::vector<TypeNames>& all_types() {
  static const std::vector<TypeNames> types = {
      {ElementType::kFloat64, "DoubleStorage"}, {ElementType::kFloat32, "FloatStorage"},
      {ElementType::kFloat16, "HalfStorage"},   {ElementType::kBFloat16, "BFloat16Storage"},
      {ElementType::kInt64, "LongStorage"},     {ElementType::kInt32, "IntStorage"},
      {ElementType::kInt16, "ShortStorage"},    {ElementType::kInt8, "CharStorage"},
      {ElementType::kUInt8, "ByteStorage"},     {ElementType::kBool, "BoolStorage"}};
  return types;
}

// Bytes that are all different, to see where each one goes.
std::string counting(size_t bytes) {
  std::string text(bytes, '\0');
  std::iota(text.begin(), text.end(), '\x01');
  return text;
}

std::string floats(const std::vector<float>& values) {
  return bytes_of_all(values);
}
std::string floats_up_to(int count) {
  std::vector<float> values(static_cast<size_t>(count));
  std::iota(values.begin(), values.end(), 0.0F);
  return floats(values);
}

// The vector (1, 2) in storage "0".
PickledTensor pair() {
  return {.numel = 2, .shape = {2}, .strides = {1}};
}
const Storages& pair_storage() {
  static const Storages storages = {{"0", floats({1, 2})}};
  return storages;
}

TensorFile parse(const std::string& bytes) {
  return parse_torch_file("x.pth", shared(bytes));
}
// A zip form whose pickle is this value.
TensorFile parse_value(const std::string& value, const Storages& storages = pair_storage()) {
  return parse(torch_zip(Pickler().pickle(value), storages));
}

std::vector<std::string> names_of(const TensorFile& content) {
  std::vector<std::string> names;
  for (const StoredTensor& tensor : content.tensors) names.push_back(tensor.name);
  return names;
}

// --- elements ------------------------------------------------------------------------------------

TEST(TorchFile, HoldsEveryType) {
  for (const bool legacy : {false, true}) {
    Pickler p(2, legacy);
    std::vector<std::pair<std::string, std::string>> items;
    Storages storages;
    std::vector<std::pair<std::string, std::pair<int64_t, std::string>>> counted;
    for (const auto& [type, storage] : all_types()) {
      const std::string key = std::to_string(items.size());
      items.emplace_back(p.text(name_of(type)), p.tensor({storage, key, 6, 0, {2, 3}, {3, 1}}));
      const std::string elements = counting(6 * size_of(type));
      storages.emplace_back(key, elements);
      counted.push_back({key, {6, elements}});
    }
    const std::string pickle = p.pickle(p.ordered_dict(items));
    const SharedBytes file =
        shared(legacy ? torch_legacy(pickle, counted) : torch_zip(pickle, storages));
    const TensorFile content = parse_torch_file("x.pth", file);
    EXPECT_EQ(content.format, legacy ? "PyTorch before 1.6" : "PyTorch");
    EXPECT_EQ(content.prefix, "");
    ASSERT_EQ(content.tensors.size(), all_types().size());
    for (size_t i = 0; i < content.tensors.size(); ++i) {
      const StoredTensor& tensor = content.tensors[i];
      SCOPED_TRACE(tensor.name);
      EXPECT_EQ(tensor.name, name_of(all_types()[i].type));
      EXPECT_EQ(tensor.type, all_types()[i].type);
      EXPECT_EQ(tensor.shape, (Shape{2, 3}));
      EXPECT_TRUE(tensor.strides.empty());
      EXPECT_EQ(elements_of(tensor), storages[i].second);
      const auto* begin = reinterpret_cast<const std::byte*>(file.bytes.data());
      EXPECT_TRUE(tensor.data >= begin && tensor.data < begin + file.bytes.size())
          << "elements are not copied";
    }
  }
}

TEST(TorchFile, TensorsAreAnyPartOfAStorage) {
  struct Case {
    std::string name;
    PickledTensor tensor;  // of a storage of the numbers 0 … 23
    std::vector<float> expected;
  };
  const std::vector<Case> cases = {
      {"a row in the middle",
       {.offset = 6, .shape = {1, 6}, .strides = {6, 1}},
       {6, 7, 8, 9, 10, 11}},
      {"transposed", {.shape = {3, 2}, .strides = {1, 3}}, {0, 3, 1, 4, 2, 5}},
      {"a column", {.offset = 2, .shape = {4}, .strides = {6}}, {2, 8, 14, 20}},
      {"a block", {.offset = 8, .shape = {2, 2}, .strides = {6, 1}}, {8, 9, 14, 15}},
      {"channels last", {.shape = {1, 2, 2, 2}, .strides = {8, 1, 4, 2}}, {0, 2, 4, 6, 1, 3, 5, 7}},
      {"expanded", {.offset = 5, .shape = {2, 3}, .strides = {0, 0}}, {5, 5, 5, 5, 5, 5}},
      {"the last element", {.offset = 23, .shape = {1}, .strides = {1}}, {23}},
      {"a scalar", {.offset = 7}, {7}},
      {"strides that are never taken",
       {.offset = 3, .shape = {1, 2, 1}, .strides = {int64_t{1} << 62, 1, int64_t{1} << 62}},
       {3, 4}},
      {"empty", {.offset = 24, .shape = {3, 0}, .strides = {1, 1}}, {}},
      {"empty, beyond the end", {.offset = 99, .shape = {0}, .strides = {1}}, {}},
      {"eight axes",
       {.shape = {1, 1, 1, 2, 1, 1, 1, 2}, .strides = {4, 4, 4, 2, 2, 2, 2, 1}},
       {0, 1, 2, 3}},
  };
  for (const Case& row : cases) {
    SCOPED_TRACE(row.name);
    Pickler p;
    PickledTensor tensor = row.tensor;
    tensor.numel = 24;
    const TensorFile content =
        parse_value(p.dict({{p.text("x"), p.tensor(tensor)}}), {{"0", floats_up_to(24)}});
    ASSERT_EQ(content.tensors.size(), 1U);
    EXPECT_EQ(content.tensors[0].shape, Shape(tensor.shape));
    EXPECT_EQ(elements_of(content.tensors[0]), floats(row.expected));
    std::string copied(content.tensors[0].bytes(), '\0');
    copy_elements(content.tensors[0], reinterpret_cast<std::byte*>(copied.data()));
    EXPECT_EQ(copied, floats(row.expected));
  }
}

TEST(TorchFile, TensorsShareAStorage) {
  Pickler p;
  const TensorFile content = parse_value(
      p.dict({{p.text("a"), p.tensor({.numel = 4, .shape = {4}, .strides = {1}})},
              {p.text("b"), p.tensor({.numel = 4, .offset = 2, .shape = {2}, .strides = {1}})}}),
      {{"0", floats_up_to(4)}});
  ASSERT_EQ(content.tensors.size(), 2U);
  EXPECT_EQ(content.tensors[1].data, content.tensors[0].data + 2 * sizeof(float));
}

TEST(TorchFile, ElementsMayBeDeflated) {
  Pickler p;
  std::vector<ZipEntry> entries = torch_entries(
      p.pickle(p.dict({{p.text("x"), p.tensor({.numel = 100, .shape = {100}, .strides = {1}})}})),
      {{"0", floats_up_to(100)}});
  for (ZipEntry& entry : entries) entry.deflated = true;
  SharedBytes file = shared(zip_of(entries));
  const TensorFile content = parse_torch_file("x.pth", file);
  file = {};  // the tensors keep what they need
  ASSERT_EQ(content.tensors.size(), 1U);
  EXPECT_EQ(elements_of(content.tensors[0]), floats_up_to(100));
}

TEST(TorchFile, ElementsMayBeBigEndian) {
  Pickler p;
  for (const std::string order : {"little", "big"}) {
    SCOPED_TRACE(order);
    std::vector<ZipEntry> entries = torch_entries(
        p.pickle(p.dict({{p.text("x"), p.tensor({"IntStorage", "0", 2, 0, {2}, {1}})},
                         {p.text("bytes"), p.tensor({"ByteStorage", "1", 2, 0, {2}, {1}})}})),
        {{"0", std::string("\x01\x02\x03\x04\x05\x06\x07\x08")}, {"1", "ab"}});
    entries.push_back({"net/byteorder", order});
    const TensorFile content = parse(zip_of(entries));
    ASSERT_EQ(content.tensors.size(), 2U);
    const std::vector<int32_t> expected = order == "big"
                                              ? std::vector<int32_t>{0x01020304, 0x05060708}
                                              : std::vector<int32_t>{0x04030201, 0x08070605};
    EXPECT_EQ(elements_of(content.tensors[0]), bytes_of_all(expected));
    EXPECT_EQ(elements_of(content.tensors[1]), "ab");
  }
  // Before 1.6 a big-endian machine wrote little-endian elements, and said that it is big-endian.
  Pickler old(2, true);
  const TensorFile content =
      parse(torch_legacy(old.pickle(old.dict({{old.text("x"), old.tensor(pair())}})),
                         {{"0", {2, floats({1, 2})}}}, Pickler(2), /*little_endian=*/false));
  EXPECT_EQ(elements_of(content.tensors.at(0)), floats({1, 2}));
}

// --- pickles -------------------------------------------------------------------------------------

TEST(TorchFile, EveryProtocolIsRead) {
  for (int protocol = 1; protocol <= 5; ++protocol) {
    SCOPED_TRACE(protocol);
    Pickler p(protocol);
    const std::string value =
        p.ordered_dict({{p.text("größe"), p.tensor(pair())},
                        {p.text("b"), p.tensor({.numel = 2, .shape = {}, .parameter = true})}});
    const TensorFile content = parse(torch_zip(p.pickle(value), pair_storage()));
    EXPECT_EQ(names_of(content), (std::vector<std::string>{"größe", "b"}));
    EXPECT_EQ(elements_of(content.tensors.at(0)), floats({1, 2}));
    if (protocol == 1) continue;
    Pickler old(protocol, true);
    const TensorFile legacy =
        parse(torch_legacy(old.pickle(old.dict({{old.text("a"), old.tensor(pair())}})),
                           {{"0", {2, floats({1, 2})}}}, Pickler(protocol)));
    EXPECT_EQ(names_of(legacy), std::vector<std::string>{"a"});
    EXPECT_EQ(elements_of(legacy.tensors.at(0)), floats({1, 2}));
  }
}

// What Python 2 wrote: strings of bytes, and an OrderedDict from a list of lists.
TEST(TorchFile, PicklesOfPython2AreRead) {
  Pickler p;
  const auto bytes = [](const std::string& text) {
    return "U" + bytes_of(static_cast<uint8_t>(text.size())) + text;
  };
  const std::string storage = p.tuple({bytes("storage"), p.global("torch", "FloatStorage"),
                                       bytes("0"), bytes("cpu"), p.integer(2)}) +
                              "Q";
  const std::string tensor = p.call("torch._utils", "_rebuild_tensor",
                                    {storage, p.integer(0), p.integers({2}), p.integers({1})});
  const TensorFile content = parse_value(
      p.call("collections", "OrderedDict",
             {p.list({p.list({bytes("a"), tensor}), p.list({"T" + u32(1) + "b", p.none()})})}));
  EXPECT_EQ(names_of(content), std::vector<std::string>{"a"});
  EXPECT_EQ(elements_of(content.tensors[0]), floats({1, 2}));
}

TEST(TorchFile, WhatIsUsedTwiceIsRemembered) {
  Pickler p;
  const std::string tensor = p.tensor(pair()) + "r" + u32(70000);
  EXPECT_EQ(names_of(parse_value(p.dict({{p.text("a"), tensor},
                                         {p.text("b"), "j" + u32(70000)},
                                         {p.text("c"), "j" + u32(70000) + "2" + "0"}}))),
            (std::vector<std::string>{"a", "b", "c"}));
}

TEST(TorchFile, AttributesOfAStateDictArePassedOver) {
  Pickler p;
  const std::string metadata =
      p.dict({{p.text("_metadata"),
               p.ordered_dict({{p.text("conv"), p.dict({{p.text("version"), p.integer(1)}})}})}});
  EXPECT_EQ(
      names_of(parse_value(p.ordered_dict({{p.text("a"), p.tensor(pair())}}) + metadata + "b")),
      std::vector<std::string>{"a"});
}

TEST(TorchFile, WhatIsNoTensorIsPassedOver) {
  Pickler p;
  const std::string shape = p.call("torch", "Size", {p.integers({2, 3})});
  const TensorFile content = parse_value(p.dict(
      {{p.text("epoch"), p.integer(7)},
       {p.text("seed"), p.integer(int64_t{1} << 40)},
       {p.text("huge"), "\x8a\x0a" + counting(10)},
       {p.text("a"), p.tensor(pair())},
       {p.text("optimizer"), p.dict({{p.text("state"), p.dict({{p.integer(0), p.tensor(pair())}})},
                                     {p.text("lr"), p.real(0.1)}})},
       {p.text("type"), p.global("torch", "float32")},
       {p.text("device"), p.call("torch", "device", {p.text("cuda"), p.integer(1)})},
       {p.text("milestones"),
        p.call("collections", "Counter", {p.dict({{p.integer(30), p.integer(1)}})})},
       {p.text("bytes"), "C" + bytes_of(uint8_t{3}) + "\x01\x02\x03"},
       {p.text("shape"), shape},
       {p.text("storage"), p.storage(pair())},
       {p.integer(3), p.tensor(pair())},
       {p.none(), p.boolean(true)},
       {p.text("b"), p.tensor(pair())}}));
  EXPECT_EQ(names_of(content), (std::vector<std::string>{"a", "b"}));
}

TEST(TorchFile, AShapeMayBeATorchSize) {
  Pickler p;
  const std::string tensor =
      p.call("torch._utils", "_rebuild_tensor_v2",
             {p.storage(pair()), p.integer(0), p.call("torch", "Size", {p.integers({2, 1})}),
              p.integers({1, 1}), p.boolean(false), p.ordered_dict({})});
  EXPECT_EQ(parse_value(p.dict({{p.text("a"), tensor}})).tensors.at(0).shape, (Shape{2, 1}));
}

// --- state dicts ---------------------------------------------------------------------------------

TEST(TorchFile, AStateDictInACheckpointIsFound) {
  Pickler p;
  const auto dict_of = [&](const std::string& name) {
    return p.dict({{p.text(name), p.tensor(pair())}});
  };
  for (const std::string key : {"state_dict", "model_state_dict", "model"}) {
    EXPECT_EQ(names_of(parse_value(p.dict({{p.text("optimizer"), dict_of("o")},
                                           {p.text("loss"), p.tensor(pair())},
                                           {p.text(key), dict_of("inner")}}))),
              std::vector<std::string>{"inner"});
  }
  EXPECT_EQ(names_of(parse_value(p.dict(
                {{p.text("model"), dict_of("second")}, {p.text("state_dict"), dict_of("first")}}))),
            std::vector<std::string>{"first"});
  // A dict without tensors under such a name is none; and a tensor may bear it.
  EXPECT_EQ(names_of(parse_value(p.dict({{p.text("state_dict"), p.dict({})},
                                         {p.text("model"), p.text("resnet50")},
                                         {p.text("a"), p.tensor(pair())}}))),
            std::vector<std::string>{"a"});
  EXPECT_EQ(names_of(parse_value(p.dict({{p.text("model"), p.tensor(pair())}}))),
            std::vector<std::string>{"model"});
}

TEST(TorchFile, PrefixesOfAllNamesAreTakenOff) {
  struct Case {
    std::vector<std::string> names;
    std::string prefix;
  };
  const std::vector<Case> cases = {
      {{"a", "module.b"}, ""},
      {{"module.a", "module.b.module.c"}, "module."},
      {{"_orig_mod.a"}, "_orig_mod."},
      {{"module._orig_mod.module.a", "module._orig_mod.module.b"}, "module._orig_mod.module."},
      {{"_orig_mod.module.a", "_orig_mod.module.b"}, "_orig_mod.module."},
      {{"module.module.a", "module.b"}, "module."},
      {{"module.", "module.b"}, ""},
      {{"modules.a"}, ""},
  };
  for (const Case& row : cases) {
    Pickler p;
    std::vector<std::pair<std::string, std::string>> items = {{p.text("epoch"), p.integer(1)}};
    std::vector<std::string> expected;
    for (const std::string& name : row.names) {
      items.emplace_back(p.text(name), p.tensor(pair()));
      expected.push_back(name.substr(row.prefix.size()));
    }
    const TensorFile content = parse_value(p.dict(items));
    EXPECT_EQ(content.prefix, row.prefix);
    EXPECT_EQ(names_of(content), expected);
  }
}

// --- the form before 1.6 -------------------------------------------------------------------------

TEST(TorchFile, StoragesBefore16MayBeViews) {
  Pickler p(2, true);
  const auto view = [&](int64_t begin, int64_t count) {
    return p.tuple({p.text("view"), p.integer(begin), p.integer(count)});
  };
  const TensorFile content = parse(torch_legacy(
      p.pickle(p.dict(
          {{p.text("whole"), p.tensor({.numel = 6, .shape = {6}, .strides = {1}})},
           {p.text("part"),
            p.tensor(
                {.numel = 6, .offset = 1, .shape = {2}, .strides = {1}, .view = view(2, 3)})}})),
      {{"0", {6, floats_up_to(6)}}}));
  EXPECT_EQ(elements_of(content.tensors.at(1)), floats({3, 4}));
  for (const auto& [begin, count] : {std::pair<int64_t, int64_t>{0, 7},
                                     {7, 0},
                                     {-1, 3},
                                     {3, -1},
                                     {1, std::numeric_limits<int64_t>::max()}}) {
    const std::string pickle = p.pickle(p.dict(
        {{p.text("x"),
          p.tensor({.numel = 6, .shape = {1}, .strides = {1}, .view = view(begin, count)})}}));
    EXPECT_THAT(error_of([&, bytes = torch_legacy(pickle, {{"0", {6, floats_up_to(6)}}})] {
                  parse(bytes);
                }),
                HasSubstr("view"));
  }
  const std::string beyond = p.pickle(p.dict(
      {{p.text("x"), p.tensor({.numel = 6, .shape = {4}, .strides = {1}, .view = view(2, 3)})}}));
  EXPECT_THAT(error_of([&] {
                parse(torch_legacy(beyond, {{"0", {6, floats_up_to(6)}}}));
              }),
              HasSubstr("reaches element 3 of its storage, which has 3"));
}

TEST(TorchFile, StoragesBefore16LieInTheOrderOfTheirKeys) {
  Pickler p(2, true);
  const TensorFile content = parse(torch_legacy(
      p.pickle(p.dict({{p.text("a"), p.tensor({"FloatStorage", "7", 2, 0, {2}, {1}})},
                       {p.text("b"), p.tensor({"ByteStorage", "5", 3, 0, {3}, {1}})}})),
      {{"5", {3, "xyz"}}, {"7", {2, floats({1, 2})}}}));
  EXPECT_EQ(elements_of(content.tensors.at(0)), floats({1, 2}));
  EXPECT_EQ(elements_of(content.tensors.at(1)), "xyz");
}

// --- zip archives --------------------------------------------------------------------------------

TEST(TorchFile, OtherEntriesArePassedOver) {
  Pickler p;
  std::vector<ZipEntry> entries =
      torch_entries(p.pickle(p.dict({{p.text("a"), p.tensor(pair())}})), pair_storage());
  entries.push_back({"net/.data/serialization_id", "123"});
  entries.push_back({"net/.format_version", "1"});
  entries.push_back({"net/", ""});
  entries.insert(entries.begin(), {"readme/deep/data.pkl", "not it"});
  EXPECT_EQ(names_of(parse(zip_of(entries))), std::vector<std::string>{"a"});
}

// The end of the directory in 64 bits, which PyTorch always writes; and an entry's numbers, which
// it writes beyond 4 GiB.
std::string zip64_of(ZipParts parts, bool entries_too) {
  for (ZipParts::Header& header : parts.headers) {
    if (!entries_too) break;
    header.extra =
        u16(1) + u16(24) + u64(header.size) + u64(header.stored_size) + u64(header.offset);
    header.size = header.stored_size = header.offset = 0xffffffff;
  }
  const std::string directory = parts.directory();
  const uint64_t at = parts.data.size(), count = parts.headers.size();
  const std::string end = "PK\x06\x06" + u64(44) + u16(45) + u16(45) + u32(0) + u32(0) +
                          u64(count) + u64(count) + u64(directory.size()) + u64(at);
  const std::string locator = "PK\x06\x07" + u32(0) + u64(at + directory.size()) + u32(1);
  return parts.data + directory + end + locator + ZipParts::end(0xffff, 0xffffffff, 0xffffffff);
}

TEST(TorchFile, Zip64IsReadAsFarAsMinizipDoes) {
  Pickler p;
  const ZipParts parts =
      zip_parts(torch_entries(p.pickle(p.dict({{p.text("a"), p.tensor(pair())}})), pair_storage()));
  EXPECT_EQ(elements_of(parse(zip64_of(parts, false)).tensors.at(0)), floats({1, 2}));
  try {
    EXPECT_EQ(elements_of(parse(zip64_of(parts, true)).tensors.at(0)), floats({1, 2}));
  } catch (const Error& error) {  // minizip 1.1
    EXPECT_THAT(error.what(), HasSubstr("beyond 4 GiB"));
  }
}

// --- writing -------------------------------------------------------------------------------------

// Tensors, and the bytes that they are views of.
struct Sample {
  std::vector<std::string> memory;
  TensorFile file;

  void add(StoredTensor tensor, std::string elements) {
    memory.push_back(std::move(elements));
    tensor.data = reinterpret_cast<const std::byte*>(memory.back().data());
    file.tensors.push_back(std::move(tensor));
  }
};
Sample sample() {
  Sample all;
  all.memory.reserve(20);
  for (const auto& [type, storage] : all_types()) {
    all.add({.name = name_of(type), .type = type, .shape = {3, 5}}, counting(15 * size_of(type)));
  }
  const float nan = std::numeric_limits<float>::quiet_NaN();
  all.add({.name = "größe \"x\"\n", .shape = {3}}, floats({nan, -INFINITY, -0.0F}));
  all.add({.name = "scalar", .type = ElementType::kInt64}, bytes_of(int64_t{-5}));
  all.add({.name = "empty", .shape = {0, 4}}, "");
  return all;
}

class TorchFileWriter : public testing::Test {
 protected:
  TempFolder folder_;
};

TEST_F(TorchFileWriter, RoundTripKeepsEveryBit) {
  const Sample before = sample();
  save_torch_file(folder_ / "a.pth", before.file);
  const TensorFile after = parse_torch_file("a.pth", map_file(folder_ / "a.pth"));
  ASSERT_EQ(names_of(after), names_of(before.file));
  for (size_t i = 0; i < after.tensors.size(); ++i) {
    const StoredTensor &old = before.file.tensors[i], &read = after.tensors[i];
    SCOPED_TRACE(read.name);
    EXPECT_EQ(read.type, old.type);
    EXPECT_EQ(read.shape, old.shape);
    EXPECT_FALSE(read.swapped);
    EXPECT_EQ(elements_of(read), before.memory[i]);
  }
}

TEST_F(TorchFileWriter, ElementsBecomeDenseAndLittleEndian) {
  Sample before;
  before.memory.reserve(2);
  before.add({.name = "t", .shape = {3, 2}, .strides = {1, 3}}, floats_up_to(6));
  before.add({.name = "b", .type = ElementType::kInt16, .shape = {2}, .swapped = true},
             std::string("\x01\x02\x03\x04"));
  save_torch_file(folder_ / "a.pth", before.file);
  const TensorFile after = parse_torch_file("a.pth", map_file(folder_ / "a.pth"));
  EXPECT_TRUE(after.tensors.at(0).strides.empty());
  EXPECT_EQ(elements_of(after.tensors.at(0)), floats({0, 3, 1, 4, 2, 5}));
  EXPECT_EQ(elements_of(after.tensors.at(1)), bytes_of_all<int16_t>({0x0102, 0x0304}));
}

TEST_F(TorchFileWriter, MetadataComesBack) {
  Sample before = sample();
  before.file.metadata = {{"glassnet.model", "resnet18"}, {"größe", "a \"b\"\n"}};
  save_torch_file(folder_ / "a.pth", before.file);
  const TensorFile after = parse_torch_file("a.pth", map_file(folder_ / "a.pth"));
  EXPECT_EQ(after.metadata, before.file.metadata);
  EXPECT_EQ(names_of(after), names_of(before.file));

  before.file.metadata = {{"a", "\xff"}};
  EXPECT_THAT(error_of([&] { save_torch_file(folder_ / "b.pth", before.file); }),
              HasSubstr("not UTF-8"));
  before.file.metadata = {{"a", std::string(2 << 20, 'x')}};
  EXPECT_THAT(error_of([&] { save_torch_file(folder_ / "b.pth", before.file); }),
              HasSubstr("metadata has"));
  EXPECT_FALSE(fs::exists(folder_ / "b.pth"));
}

// A field of the zip archive.
template <class T>
T field(const std::string& bytes, size_t at) {
  T value = 0;
  EXPECT_LE(at + sizeof(T), bytes.size());
  std::memcpy(&value, bytes.data() + at, sizeof(T));
  return value;
}

TEST_F(TorchFileWriter, TheBytesAreWhatPyTorchReads) {
  const Sample before = sample();
  save_torch_file(folder_ / "my.weights.pth", before.file);
  const std::string bytes = read_file(folder_ / "my.weights.pth");

  // The directory, from its end: 22 bytes without a comment.
  const size_t end = bytes.size() - 22;
  ASSERT_EQ(bytes.substr(end, 4), "PK\x05\x06");
  const auto entries = field<uint16_t>(bytes, end + 10);
  size_t at = field<uint32_t>(bytes, end + 16);
  EXPECT_EQ(at + field<uint32_t>(bytes, end + 12), end);
  std::vector<std::string> names;
  size_t data_end = 0;
  for (int i = 0; i < entries; ++i) {
    ASSERT_EQ(bytes.substr(at, 4), "PK\x01\x02");
    const size_t local = field<uint32_t>(bytes, at + 42);
    const std::string name = bytes.substr(at + 46, field<uint16_t>(bytes, at + 28));
    SCOPED_TRACE(name);
    names.push_back(name);
    EXPECT_EQ(local, data_end) << "entries follow on each other";
    ASSERT_EQ(bytes.substr(local, 4), "PK\x03\x04");
    EXPECT_EQ(field<uint16_t>(bytes, local + 8), 0U) << "stored";
    EXPECT_EQ(field<uint32_t>(bytes, local + 10), 0x0021'0000U) << "1 January 1980";
    const auto size = field<uint32_t>(bytes, local + 22);
    EXPECT_EQ(field<uint32_t>(bytes, local + 18), size);
    // Method, time, checksum, sizes and the name's length, as in the directory.
    EXPECT_EQ(bytes.substr(local + 8, 20), bytes.substr(at + 10, 20));
    EXPECT_EQ(bytes.substr(local + 30, name.size()), name);
    const size_t data = local + 30 + name.size() + field<uint16_t>(bytes, local + 28);
    EXPECT_EQ(data % 64, 0U) << "as PyTorch aligns them";
    EXPECT_EQ(field<uint32_t>(bytes, local + 14), crc_of(bytes.substr(data, size)));
    data_end = data + size;
    at += 46 + name.size() + field<uint16_t>(bytes, at + 30) + field<uint16_t>(bytes, at + 32);

    if (i >= 2 && i < entries - 1) {
      EXPECT_EQ(name, fmt::format("my.weights/data/{}", i - 2));
      EXPECT_EQ(bytes.substr(data, size), before.memory[static_cast<size_t>(i - 2)]);
    } else if (name == "my.weights/version") {
      EXPECT_EQ(bytes.substr(data, size), "3\n");
    } else if (name == "my.weights/byteorder") {
      EXPECT_EQ(bytes.substr(data, size), "little");
    }
  }
  EXPECT_EQ(at, end);
  ASSERT_EQ(names.size(), before.file.tensors.size() + 3);
  EXPECT_EQ(names[0], "my.weights/data.pkl");
  EXPECT_EQ(names[1], "my.weights/byteorder");
  EXPECT_EQ(names.back(), "my.weights/version");
}

TEST_F(TorchFileWriter, TheSameTensorsGiveTheSameBytes) {
  fs::create_directory(folder_ / "other");
  save_torch_file(folder_ / "a.pth", sample().file);
  save_torch_file(folder_ / "other" / "a.pth", sample().file);
  EXPECT_EQ(read_file(folder_ / "a.pth"), read_file(folder_ / "other" / "a.pth"));
}

TEST_F(TorchFileWriter, AnyFileNameWillDo) {
  for (const std::string name : {"a", ".pth", "...pth", "größe.pt", "a b.c.th"}) {
    SCOPED_TRACE(name);
    save_torch_file(folder_ / name, sample().file);
    EXPECT_EQ(parse_torch_file(name, map_file(folder_ / name)).tensors.size(),
              sample().file.tensors.size());
  }
}

TEST_F(TorchFileWriter, AFailedSaveLeavesNothingBehind) {
  const fs::path path = folder_.write("a.pth", "what was there before");
  for (const auto& names : {std::vector<std::string>{"x", "x"}, {"\xff"}}) {
    Sample bad;
    bad.memory.reserve(2);
    for (const std::string& name : names) bad.add({.name = name, .shape = {1}}, floats({1}));
    EXPECT_THAT(error_of([&] { save_torch_file(path, bad.file); }), HasSubstr("cannot be written"));
  }
  EXPECT_THAT(error_of([&] { save_torch_file(folder_ / "no" / "a.pth", {}); }),
              HasSubstr("no folder"));
  EXPECT_EQ(read_file(path), "what was there before");
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_.path()), fs::directory_iterator()), 1);
}

TEST_F(TorchFileWriter, AFullDiskIsSaid) {
  if (!fs::exists("/dev/full")) GTEST_SKIP() << "there is no /dev/full";
  EXPECT_THAT(error_of([&] { save_torch_file("/dev/full", sample().file); }),
              HasSubstr("/dev/full: "));
}

// --- files by PyTorch ----------------------------------------------------------------------------

TEST(TorchFileGolden, FilesByPyTorchAreReadToTheLastBit) {
  const fs::path folder = GLASSNET_GOLDEN_DIR;
  const json expected = json::parse(read_file(folder / "weights.json"));
  ASSERT_GE(expected["files"].size(), 11U);
  for (const auto& [name, about] : expected["files"].items()) {
    SCOPED_TRACE(name);
    const TensorFile content = parse_torch_file(name, map_file(folder / name));
    EXPECT_EQ(content.format, about["format"]);
    EXPECT_EQ(content.prefix, about["prefix"]);
    ASSERT_EQ(content.tensors.size(), about["tensors"].size());
    for (size_t i = 0; i < content.tensors.size(); ++i) {
      const StoredTensor& tensor = content.tensors[i];
      const json& wanted = about["tensors"][i];
      SCOPED_TRACE(tensor.name);
      EXPECT_EQ(tensor.name, wanted["name"]);
      EXPECT_EQ(name_of(tensor.type), wanted["type"].get<std::string>());
      EXPECT_EQ(json(tensor.shape.dims()), wanted["shape"]);
      std::string digits;
      for (const char byte : elements_of(tensor)) {
        digits += fmt::format("{:02x}", static_cast<uint8_t>(byte));
      }
      EXPECT_EQ(digits, wanted["bytes"].get<std::string>());
    }
  }
}

// What is checked ahead, in pieces that threads share, is what is checked one by one.
TEST(TorchFile, LargeEntriesAreCheckedToTheLastByte) {
  const std::string contents = counting(700'001);
  const std::string archive =
      zip_of({{.name = "net/a", .contents = contents}, {.name = "net/b", .contents = "b"}});
  const auto read = [](const std::string& bytes, const char* entry) {
    ZipReader reader("x.pth", shared(bytes));
    reader.check_ahead("net/");
    return std::string(reader.read(entry));
  };
  EXPECT_EQ(read(archive, "net/a"), contents);
  const size_t begin = archive.find(contents);
  for (const size_t at : {0, 262'143, 262'144, 524'288, 700'000}) {
    std::string damaged = archive;
    damaged[begin + at] = static_cast<char>(damaged[begin + at] ^ 1);
    EXPECT_THAT(error_of([&] { read(damaged, "net/a"); }), HasSubstr("its checksum is wrong"))
        << at;
    EXPECT_EQ(read(damaged, "net/b"), "b");
  }
}

}  // namespace
}  // namespace glassnet
