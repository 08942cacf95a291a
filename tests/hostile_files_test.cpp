// Files of tensors that are damaged, or made to do harm: cut short, with lengths that lie, pickles
// that would run programs, archives that expand without end. Each must be refused in one sentence
// that begins with the file's name, in little time and memory.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <malloc.h>
#include <sys/resource.h>

#include <algorithm>
#include <cstdint>
#include <ctime>
#include <fstream>
#include <limits>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "kernels/error.h"
#include "models/tensor_file.h"
#include "tensor/random.h"
#include "tests/torch_file_support.h"

namespace glassnet {
namespace {

using testing::HasSubstr;
using testing::StartsWith;
using namespace test;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kSanitized = true;
#elif defined(__has_feature)
constexpr bool kSanitized = __has_feature(address_sanitizer) || __has_feature(thread_sanitizer);
#else
constexpr bool kSanitized = false;
#endif

// --- what a refusal may cost ---------------------------------------------------------------------

constexpr double kMostSeconds = 0.1;
constexpr double kMostMiB = 64;

double cpu_seconds() {
  timespec now = {};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}
double peak_mib() {
  rusage usage = {};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) / 1024;
}

struct Cost {
  double seconds = 0, mib = 0;
};
// Of one call, from a heap without free pages; the peak is that of the call alone where Linux
// resets it.
template <class F>
Cost cost_of(F&& f) {
  malloc_trim(0);
  std::ofstream("/proc/self/clear_refs") << '5';
  const double mib = peak_mib(), seconds = cpu_seconds();
  f();
  return {cpu_seconds() - seconds, peak_mib() - mib};
}

// The sentence by which the file is refused, "" when it is not.
std::string refusal_of(const SharedBytes& file) {
  try {
    const TensorFile content = parse_tensor_file("x.pth", file);
    // Every element can be read.
    for (const StoredTensor& tensor : content.tensors) elements_of(tensor);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

void expect_a_sentence(const std::string& message) {
  EXPECT_THAT(message, StartsWith("x.pth: "));
  EXPECT_LT(message.size(), 1000U) << message;
  EXPECT_EQ(message.find_first_of("\n\r\t\x1b"), std::string::npos) << message;
}

struct Case {
  std::string name, bytes, complaint;
};
void expect_refused(const std::vector<Case>& cases) {
  for (const Case& row : cases) {
    SCOPED_TRACE(row.name);
    const SharedBytes file = shared(row.bytes);
    std::string message;
    Cost cost = cost_of([&] { message = refusal_of(file); });
    expect_a_sentence(message);
    EXPECT_THAT(message, HasSubstr(row.complaint));
    if (kSanitized) continue;
    // A machine that does something else meanwhile is slow once, not three times.
    for (int again = 0; again < 2 && cost.seconds > kMostSeconds; ++again) {
      cost.seconds = cost_of([&] { refusal_of(file); }).seconds;
    }
    EXPECT_LT(cost.seconds, kMostSeconds);
    EXPECT_LT(cost.mib, kMostMiB);
  }
}

// --- parts of files ------------------------------------------------------------------------------

constexpr size_t kMillion = 1'000'000;
constexpr int64_t kHuge = std::numeric_limits<int64_t>::max();

// A zip form with these opcodes for a pickle.
std::string zipped(const std::string& opcodes) {
  return torch_zip("\x80\x02" + opcodes, {{"0", std::string(24, 'e')}});
}
std::string zipped_value(const std::string& value) {
  return zipped(value + ".");
}

// One tensor "x" that is a part of six floats.
PickledTensor six() {
  return {.numel = 6, .shape = {6}, .strides = {1}};
}
std::string with_tensor(const PickledTensor& tensor) {
  Pickler p;
  return zipped_value(p.dict({{p.text("x"), p.tensor(tensor)}}));
}
// One whose four arguments are these values.
std::string with_arguments(const std::string& storage, const std::string& offset,
                           const std::string& shape, const std::string& strides) {
  Pickler p;
  return zipped_value(p.dict({{p.text("x"), p.call("torch._utils", "_rebuild_tensor_v2",
                                                   {storage, offset, shape, strides})}}));
}

std::string good_pickle(bool legacy = false) {
  Pickler p(2, legacy);
  return p.pickle(p.ordered_dict({{p.text("x"), p.tensor(six())},
                                  {p.text("y"), p.tensor({"LongStorage", "1", 2, 1, {}, {}})}}));
}
std::vector<ZipEntry> good_entries() {
  std::vector<ZipEntry> entries =
      torch_entries(good_pickle(), {{"0", std::string(24, 'e')}, {"1", std::string(16, 'l')}});
  entries[1].deflated = true;
  entries.push_back({"net/byteorder", "little"});
  return entries;
}
std::string good_zip() {
  return zip_of(good_entries());
}
std::string good_legacy() {
  return torch_legacy(good_pickle(true),
                      {{"0", {6, std::string(24, 'e')}}, {"1", {2, std::string(16, 'l')}}});
}
std::string safetensors_of(const std::string& header, const std::string& data) {
  return u64(header.size()) + header + data;
}
std::string good_safetensors() {
  return safetensors_of(R"({"x":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},)"
                        R"("y":{"dtype":"I64","shape":[2],"data_offsets":[24,40]}})",
                        std::string(40, 'e'));
}

TEST(HostileFiles, TheFilesThatAreDamagedBelowAreGood) {
  for (const std::string& bytes :
       {good_zip(), good_legacy(), good_safetensors(), with_tensor(six())}) {
    EXPECT_EQ(refusal_of(shared(bytes)), "");
  }
}

// --- damage --------------------------------------------------------------------------------------

TEST(HostileFiles, EveryTruncationIsRefused) {
  for (const std::string& whole : {good_zip(), good_legacy(), good_safetensors()}) {
    for (size_t length = 0; length < whole.size(); ++length) {
      SCOPED_TRACE(length);
      expect_a_sentence(refusal_of(shared(whole.substr(0, length))));
    }
  }
}

// At every byte of a file a number of 8, 16, 32 and 64 bits that is as large as can be, or nearly,
// or as small.
TEST(HostileFiles, EveryNumberAtItsExtremes) {
  int refused = 0;
  for (const std::string& whole : {good_zip(), good_legacy(), good_safetensors()}) {
    for (size_t at = 0; at < whole.size(); ++at) {
      for (const size_t width : {1, 2, 4, 8}) {
        if (at + width > whole.size()) continue;
        const uint64_t all = ~uint64_t{0} >> (64 - 8 * width);
        for (const uint64_t number : {uint64_t{0}, all / 2, all / 2 + 1, all - 7, all}) {
          std::string bytes = whole;
          bytes.replace(at, width, u64(number).substr(0, width));
          const std::string message = refusal_of(shared(bytes));
          if (message.empty()) continue;
          SCOPED_TRACE(fmt::format("{} bytes of {:x} at {}", width, number, at));
          expect_a_sentence(message);
          ++refused;
        }
      }
    }
  }
  EXPECT_GT(refused, 5000);
}

TEST(HostileFiles, SurviveBytesChangedAtRandom) {
  Random random(11, Stream::kUser);
  const auto below = [&](size_t bound) {
    return static_cast<size_t>(random.below(static_cast<int64_t>(bound)));
  };
  int accepted = 0, refused = 0;
  for (const std::string& whole : {good_zip(), good_legacy(), good_safetensors()}) {
    for (int round = 0; round < 3000; ++round) {
      std::string bytes = whole;
      for (size_t change = 1 + below(4); change > 0; --change) {
        const size_t at = below(bytes.size());
        switch (below(4)) {
          case 0:
            bytes.insert(at, 1 + below(4), static_cast<char>(below(256)));
            break;
          case 1:
            bytes.erase(at, 1 + below(4));
            break;
          case 2:  // opcodes and lengths are often near each other
            bytes[at] = bytes[below(bytes.size())];
            break;
          default:
            bytes[at] = static_cast<char>(below(256));
        }
      }
      const std::string message = refusal_of(shared(bytes));
      ++(message.empty() ? accepted : refused);
      if (!message.empty()) expect_a_sentence(message);
    }
  }
  EXPECT_GT(accepted, 50) << "elements of the forms without checksums may be anything";
  EXPECT_GT(refused, 5000);
}

// --- pickles that would run programs -------------------------------------------------------------

TEST(HostileFiles, NothingIsExecuted) {
  std::vector<Case> cases;
  const std::vector<std::pair<std::string, std::string>> functions = {
      {"posix", "system"},
      {"os", "system"},
      {"nt", "system"},
      {"subprocess", "Popen"},
      {"builtins", "eval"},
      {"builtins", "exec"},
      {"__builtin__", "getattr"},
      {"torch", "load"},
      {"torch.hub", "load"},
      {"torch._utils", "_rebuild_qtensor"},
      {"torch.storage", "_load_from_bytes"},
      {"numpy.core.multiarray", "_reconstruct"},
      {"collections", "OrderedDict.clear"},
      {"", ""}};
  for (const auto& [module, name] : functions) {
    for (const int protocol : {2, 4}) {
      Pickler p(protocol);
      const std::string call = p.call(module, name, {p.text("touch /tmp/owned")});
      const std::string complaint = fmt::format("asks for \"{}.{}\"", module, name);
      const std::string title = fmt::format("{}.{} in protocol {}", module, name, protocol);
      const std::string value = p.dict({{p.text("x"), p.tensor(six())}, {p.text("note"), call}});
      cases.push_back(
          {title, torch_zip(p.pickle(value), {{"0", std::string(24, 'e')}}), complaint});
      cases.push_back({title + ", alone", torch_zip(p.pickle(call), {}), complaint});
      cases.push_back({title + ", instead of the magic number", p.pickle(call), complaint});
      cases.push_back({title + ", before 1.6",
                       legacy_head() + p.pickle(value) + p.pickle(p.list({})), complaint});
      cases.push_back({title + ", in the list of keys",
                       legacy_head() + good_pickle(true) + p.pickle(call), complaint});
    }
  }
  expect_refused(cases);
}

TEST(HostileFiles, ObjectsOfClassesAreRefused) {
  Pickler p;
  const std::string save = "save model.state_dict()";
  std::vector<Case> cases = {
      {"a model", zipped_value(p.global("torch.nn.modules.linear", "Linear") + ")\x81}b"), save},
      {"torchvision's", zipped_value(p.global("torchvision.models.resnet", "ResNet") + ")\x81}b"),
       save},
      {"a script's", zipped_value(p.global("__main__", "Net") + ")\x81}b"), save},
      {"a model before 1.6",
       legacy_head() +
           p.pickle(p.tuple({p.text("module"), p.global("torch.nn.modules.linear", "Linear"),
                             p.none(), p.none()}) +
                    "Q"),
       save},
      {"attributes of a tensor", zipped_value(p.tensor(six()) + "}b"), "sets the attributes"},
      {"attributes of a name", zipped_value(p.global("torch", "device") + "}b"),
       "sets the attributes"},
      {"a call of a string", zipped_value(p.text("x") + ")R"), "calls what is not a function"},
      {"a call of a call", zipped_value(p.call("torch", "device", {}) + ")R"), "calls what is not"},
      {"a call without a tuple", zipped_value(p.global("torch", "device") + "NR"), "not a tuple"},
      {"a name that is a number", zipped_value("K\x01K\x02\x93"), "not a string"},
      {"a name across lines", zipped("ctorch\nFloat"), "no line feed"},
  };
  const std::vector<std::pair<char, std::string>> opcodes = {{'i', "INST"},
                                                             {'o', "OBJ"},
                                                             {'\x81', "NEWOBJ"},
                                                             {'\x92', "NEWOBJ_EX"},
                                                             {'\x82', "EXT1"},
                                                             {'\x83', "EXT2"},
                                                             {'\x84', "EXT4"},
                                                             {'\x8f', "EMPTY_SET"},
                                                             {'\x90', "ADDITEMS"},
                                                             {'\x91', "FROZENSET"},
                                                             {'\x97', "NEXT_BUFFER"},
                                                             {'\x98', "READONLY_BUFFER"},
                                                             {'F', "FLOAT"},
                                                             {'S', "STRING"},
                                                             {'V', "UNICODE"},
                                                             {'l', "LIST"},
                                                             {'d', "DICT"},
                                                             {'p', "PUT"},
                                                             {'g', "GET"},
                                                             {'P', "PERSID"}};
  for (const auto& [code, name] : opcodes) {
    cases.push_back({name, zipped_value(p.global("torch", "device") + ")" + code),
                     fmt::format("uses the opcode {},", name)});
  }
  cases.push_back({"no opcode", zipped("\xff"), "no opcode has the number 255"});
  expect_refused(cases);
}

// --- numbers that lie ----------------------------------------------------------------------------

TEST(HostileFiles, LengthsInPicklesAreNotTrusted) {
  std::vector<Case> cases;
  for (const auto& [name, code] :
       {std::pair{"BINUNICODE", 'X'}, {"BINSTRING", 'T'}, {"BINBYTES", 'B'}, {"LONG4", '\x8b'}}) {
    for (const uint64_t length : {uint64_t{100}, uint64_t{1} << 31, (uint64_t{1} << 32) - 1}) {
      cases.push_back({name, zipped(code + u32(length) + "short."),
                       fmt::format("{} announces {} bytes and 6 are left", name, length)});
    }
  }
  for (const auto& [name, code] : {std::pair{"BINUNICODE8", '\x8d'},
                                   {"BINBYTES8", '\x8e'},
                                   {"BYTEARRAY8", '\x96'},
                                   {"FRAME", '\x95'}}) {
    for (const uint64_t length : {uint64_t{100}, uint64_t{1} << 32, uint64_t{1} << 63,
                                  uint64_t{kHuge}, ~uint64_t{0}, ~uint64_t{0} - 8}) {
      cases.push_back({name, zipped(code + u64(length) + "short."),
                       fmt::format("{} announces {} bytes and 6 are left", name, length)});
    }
  }
  for (const auto& [name, code] : {std::pair{"SHORT_BINUNICODE", '\x8c'},
                                   {"SHORT_BINSTRING", 'U'},
                                   {"SHORT_BINBYTES", 'C'},
                                   {"LONG1", '\x8a'}}) {
    cases.push_back({name, zipped(code + std::string("\xffshort.")), "announces 255 bytes"});
  }
  for (const std::string number :
       {"", "1x", "--1", "99999999999999999999", "9223372036854775808L"}) {
    cases.push_back({"INT " + number, zipped_value("I" + number + "\n"), "not a whole number"});
    cases.push_back({"LONG " + number, zipped_value("L" + number + "\n"), "not a whole number"});
  }
  cases.push_back({"an endless line", zipped("L" + std::string(kMillion, '1')), "no line feed"});
  cases.push_back({"an endless number", zipped_value("L" + std::string(kMillion, '1') + "\n"),
                   "not a whole number"});
  expect_refused(cases);
}

TEST(HostileFiles, NumbersOfTensorsAreNotTrusted) {
  Pickler p;
  const std::string storage = p.storage(six()), zero = p.integer(0), shape = p.integers({6}),
                    strides = p.integers({1});
  const auto tensor = [](int64_t numel, int64_t offset, const std::vector<int64_t>& extents,
                         const std::vector<int64_t>& steps) {
    return with_tensor({.numel = numel, .offset = offset, .shape = extents, .strides = steps});
  };
  const int64_t two62 = int64_t{1} << 62, two32 = int64_t{1} << 32, two31 = int64_t{1} << 31;
  std::vector<Case> cases = {
      {"one too far", tensor(6, 1, {6}, {1}), "reaches element 6 of its storage, which has 6"},
      {"a stride too far", tensor(6, 0, {2, 3}, {4, 1}), "reaches element 6"},
      {"an offset too far", tensor(6, 6, {}, {}), "reaches element 6"},
      {"offset 2^63-1", tensor(6, kHuge, {}, {}), "reaches element"},
      {"offset and stride overflow", tensor(6, kHuge, {2}, {1}), "reaches beyond"},
      {"strides overflow", tensor(6, 0, {3, 3}, {two62, two62}), "reaches beyond"},
      {"stride 2^63-1", tensor(6, 0, {2}, {kHuge}), "reaches element"},
      {"extents overflow to 0", tensor(6, 0, {two32, two32}, {0, 0}), "more elements than"},
      {"extents overflow to 6", tensor(6, 0, {two62 + 1, 4, 3}, {0, 0, 0}), "more elements than"},
      {"an extent of 2^63-1", tensor(6, 0, {kHuge}, {0}), "more elements than"},
      {"expanded to terabytes", tensor(6, 0, {two31, 1024}, {0, 0}), "more elements than"},
      {"an overflow beside an extent of 0", tensor(6, 0, {two62, 0, two62}, {1, 1, 1}),
       "more elements"},
      {"a negative extent", tensor(6, 0, {-6}, {1}), "whole numbers of at least 0"},
      {"two negative extents", tensor(6, 0, {-2, -3}, {1, 1}), "whole numbers of at least 0"},
      {"a negative stride", tensor(6, 5, {6}, {-1}), "whole numbers of at least 0"},
      {"a negative offset", tensor(6, -1, {2}, {1}), "offset that is not"},
      {"offset -2^63", tensor(6, -kHuge - 1, {2}, {1}), "offset that is not"},
      {"nine axes", tensor(6, 0, std::vector<int64_t>(9, 1), std::vector<int64_t>(9, 1)),
       "has 9 axes"},
      {"a million axes",
       tensor(6, 0, std::vector<int64_t>(200'000, 1), std::vector<int64_t>(200'000, 1)),
       "has 200000 axes"},
      {"fewer strides", tensor(6, 0, {2, 3}, {1}), "has a shape and strides"},
      {"numel 2^63-1", tensor(kHuge, 0, {6}, {1}), "not a storage's id"},
      {"numel 2^62", tensor(two62, 0, {6}, {1}), "not a storage's id"},
      {"numel 2^60-1", tensor(two62 / 4 - 1, 0, {6}, {1}), "has 24 bytes, expected"},
      {"numel 2^32", tensor(two32, 0, {6}, {1}), "has 24 bytes, expected"},
      {"numel -6", tensor(-6, 0, {0}, {1}), "not a storage's id"},
      {"a storage of 5 in 24 bytes", tensor(5, 0, {5}, {1}), "has 24 bytes, expected 20"},
      {"shape is a list", with_arguments(storage, zero, p.list({zero, zero}), strides),
       "has a shape"},
      {"shape holds a float", with_arguments(storage, zero, p.tuple({p.real(6)}), strides),
       "has a shape"},
      {"shape holds True", with_arguments(storage, zero, p.tuple({p.boolean(true)}), strides),
       "has a shape"},
      {"shape of 2^70",
       with_arguments(storage, zero, p.tuple({"\x8a\x09" + std::string(9, '\1')}), strides),
       "has a shape"},
      {"shape is a Size of a Size",
       with_arguments(storage, zero, p.call("torch", "Size", {p.call("torch", "Size", {shape})}),
                      strides),
       "has a shape"},
      {"offset is None", with_arguments(storage, p.none(), shape, strides), "offset that is not"},
      {"storage is None", with_arguments(p.none(), zero, shape, strides), "is not described by"},
      {"storage is a type", with_arguments(p.global("torch", "FloatStorage"), zero, shape, strides),
       "is not described by"},
      {"three arguments",
       zipped_value(p.dict(
           {{p.text("x"), p.call("torch._utils", "_rebuild_tensor_v2", {storage, zero, shape})}})),
       "is not described by"},
      {"a parameter of a parameter",
       zipped_value(p.dict({{p.text("x"), p.call("torch._utils", "_rebuild_parameter",
                                                 {p.tensor({.numel = 6, .parameter = true})})}})),
       "holds no tensors"},
      {"a parameter of nothing",
       zipped_value(p.dict({{p.text("x"), p.call("torch._utils", "_rebuild_parameter", {})}})),
       "holds no tensors"},
  };
  const std::string word = p.text("storage"), type = p.global("torch", "FloatStorage"),
                    key = p.text("0"), cpu = p.text("cpu"), six_elements = p.integer(6);
  const std::vector<std::pair<std::string, std::string>> ids = {
      {"a string", word},
      {"an empty tuple", p.tuple({})},
      {"no storage", p.tuple({p.text("module"), type, key, cpu, six_elements})},
      {"no type", p.tuple({word, p.text("FloatStorage"), key, cpu, six_elements})},
      {"another name for a type",
       p.tuple({word, p.global("torch", "float32"), key, cpu, six_elements})},
      {"a dict for a type",
       p.tuple({word, p.global("collections", "OrderedDict"), key, cpu, six_elements})},
      {"no key", p.tuple({word, type, p.none(), cpu, six_elements})},
      {"a long key", p.tuple({word, type, p.text(std::string(10'000, '0')), cpu, six_elements})},
      {"no numel", p.tuple({word, type, key, cpu, p.none()})},
      {"a view that is none", p.tuple({word, type, key, cpu, six_elements, key})},
      {"seven items", p.tuple({word, type, key, cpu, six_elements, p.none(), p.none()})}};
  for (const auto& [name, id] : ids) {
    cases.push_back({"a storage's id: " + name, with_arguments(id + "Q", zero, shape, strides),
                     "not a storage's id"});
  }
  for (const std::string name : {"1", "../0", "0/../0", "/0", ""}) {
    cases.push_back({"storage " + name,
                     with_tensor({.key = name, .numel = 6, .shape = {6}, .strides = {1}}),
                     "has no entry"});
  }
  expect_refused(cases);
}

// --- pickles that are machines gone wrong --------------------------------------------------------

TEST(HostileFiles, StackAndMemoAreChecked) {
  std::vector<Case> cases = {
      {"no opcode at all", zipped(""), "ends without STOP"},
      {"nothing to return", zipped("."), "where none was pushed"},
      {"nothing above a mark", zipped("N(."), "where none was pushed"},
      {"an odd number of items", zipped_value("}(NNNu"), "a key of a dict has no value"},
      {"an item of a list", zipped_value("]NNs"), "what is not a dict"},
      {"items of None", zipped_value("N(NNu"), "what is not a dict"},
      {"append to a dict", zipped_value("}Na"), "not a list"},
      {"append to a tuple", zipped_value(")(Ne"), "not a list"},
      {"an OrderedDict of a number", zipped_value("ccollections\nOrderedDict\nK\x01\x85R"),
       "of what is no list"},
      {"an OrderedDict of numbers",
       zipped_value("ccollections\nOrderedDict\n]K\x01"
                    "a\x85R"),
       "not a pair"},
  };
  for (const std::string opcode :
       {"0", "2", "a", "s", "b", "R", "Q", "\x85", "\x86", "\x87", "\x93", "\x94"}) {
    cases.push_back({"opcode " + opcode, zipped_value(opcode), "where none was pushed"});
    cases.push_back(
        {"opcode above a mark " + opcode, zipped_value("NNN(" + opcode), "where none was pushed"});
  }
  for (const std::string opcode : {"1", "t", "e", "u"}) {
    cases.push_back({"opcode " + opcode, zipped_value("NN" + opcode), "MARK where none was set"});
  }
  for (const auto& [opcode, place] :
       {std::pair<std::string, uint64_t>{"h" + std::string(1, '\0'), 0},
        {"h\xff", 255},
        {"j" + u32(70'000), 70'000},
        {"j" + u32(0xffffffff), 0xffffffff}}) {
    cases.push_back(
        {"recall", zipped_value("Nq\x01" + opcode), fmt::format("recalls value number {}", place)});
  }
  for (const uint64_t place : {uint64_t{1} << 20, uint64_t{0xffffffff}}) {
    cases.push_back(
        {"remember", zipped_value("Nr" + u32(place)), fmt::format("as number {}", place)});
  }
  expect_refused(cases);
}

TEST(HostileFiles, EndlessPicklesEnd) {
  Pickler p;
  const std::string ordered_dict = p.global("collections", "OrderedDict");
  std::string doubled = "]q" + std::string(1, '\0');  // lists of twice the list before
  for (char place = 1; place < 100; ++place) {
    doubled += std::string("](h") + static_cast<char>(place - 1) + "h" +
               static_cast<char>(place - 1) + "eq" + place;
  }
  expect_refused({
      {"a million marks", zipped(repeated("(", kMillion)), "ends without STOP"},
      {"two million marks", zipped(repeated("(", 2 * kMillion)), "more than 1048576 opcodes"},
      {"a million numbers", zipped(repeated("N", kMillion)), "more than 524288 values"},
      {"a million nested tuples", zipped_value(")" + repeated("\x85", kMillion)),
       "more than 524288 values"},
      {"half a million nested tuples", zipped_value(")" + repeated("\x85", kMillion / 2)),
       "holds a list"},
      {"nested lists", zipped_value(repeated("]", kMillion / 2) + repeated("a", kMillion / 2 - 1)),
       "holds a list"},
      {"nested dicts", zipped_value("}" + repeated("N}", 260'000) + repeated("s", 260'000)),
       "holds no tensors"},
      {"nested marks and tuples",
       zipped_value(repeated("(", kMillion / 2) + repeated("t", kMillion / 2)), "holds a list"},
      {"a million names", zipped(repeated("ctorch\nbool\n", kMillion)), "more than 524288 values"},
      {"a million places", zipped("N" + repeated("\x94", kMillion) + "."),
       "neither tensors nor a dict"},
      {"one tuple of a million", zipped("(N" + repeated("2", kMillion) + "t."), "holds a list"},
      {"the same list a hundred thousand times",
       zipped_value("](" + repeated("NN\x86", 100'000) + "eq\x01" + ordered_dict + "q\x02" +
                    repeated("h\x02h\x01\x85R", 100'000)),
       "more than 524288 values"},
      {"a list that doubles a hundred times", zipped_value(doubled), "holds a list"},
      {"a list that holds itself",
       zipped_value("]q\x01h\x01"
                    "a"),
       "holds a list"},
      {"a tuple that holds itself",
       zipped_value("]q\x01h\x01\x85"
                    "a"),
       "holds a list"},
      {"a state dict that holds itself",
       zipped_value("}q\x01" + p.text("state_dict") + "q\x02h\x01s"), "holds no tensors"},
      {"a tensor of a list that holds it",
       zipped_value("]q\x01" + p.global("torch._utils", "_rebuild_parameter") +
                    "h\x01\x85Rq\x02"
                    "a}" +
                    p.text("x") + "h\x02s"),
       "holds no tensors"},
      {"a long name",
       zipped("c" + std::string(kMillion, 'm') + "\n" + std::string(kMillion, 'n') + "\n."),
       "asks for \"mmm"},
      {"a name that cannot be printed", zipped("c\x1b[2J\xff\r\nx\n."), "asks for \"\\u001b[2J"},
      {"a prefix that repeats",
       [&] {
         std::vector<std::pair<std::string, std::string>> items;
         const std::string prefix = repeated("module.", 5'000), get = "j";
         for (int i = 0; i < 100; ++i) {
           items.emplace_back(
               p.text(prefix + std::to_string(i)),
               i == 0 ? p.tensor({.numel = 5}) + "r" + u32(500'000) : get + u32(500'000));
         }
         return zipped_value(p.dict(items));
       }(),
       "has 24 bytes, expected 20"},
      {"a long name that occurs again and again",
       zipped_value("}(" + p.text(std::string(kMillion, 'n')) + "r" + u32(500'000) +
                    p.tensor(six()) + "r" + u32(500'001) +
                    repeated("j" + u32(500'000) + "j" + u32(500'001), 100'000) + "u"),
       "occurs twice"},
      {"storages with a long key",
       zipped_value("](" + p.text(std::string(kMillion, 'n')) + "0" +
                    repeated(p.storage(six()), 10'000) + "e"),
       "holds a list"},
  });
}

TEST(HostileFiles, WhatIsNoStateDictIsRefused) {
  Pickler p;
  expect_refused({
      {"a tensor", zipped_value(p.tensor(six())), "a tensor without a name"},
      {"a parameter", zipped_value(p.tensor({.numel = 6, .parameter = true})),
       "a tensor without a name"},
      {"a list of tensors", zipped_value(p.list({p.tensor(six()), p.tensor(six())})),
       "a list without names"},
      {"a tuple", zipped_value(p.tuple({p.tensor(six())})), "a list without names"},
      {"a number", zipped_value(p.integer(3)), "neither tensors nor a dict"},
      {"an empty dict", zipped_value(p.dict({})), "holds no tensors"},
      {"tensors by number", zipped_value(p.dict({{p.integer(0), p.tensor(six())}})),
       "holds no tensors"},
      {"tensors two dicts below",
       zipped_value(
           p.dict({{p.text("model"),
                    p.dict({{p.text("model"), p.dict({{p.text("x"), p.tensor(six())}})}})}})),
       "holds no tensors"},
      {"one name twice",
       zipped_value(p.dict({{p.text("x"), p.tensor(six())}, {p.text("x"), p.tensor(six())}})),
       "tensor \"x\" occurs twice"},
      {"an endless name of a tensor that is wrong",
       zipped_value(
           p.dict({{p.text("\n" + std::string(5000, 'n')), p.tensor({.numel = 6, .offset = 9})}})),
       "nnn…"},
  });
}

// --- zip archives --------------------------------------------------------------------------------

TEST(HostileFiles, ZipArchivesAreChecked) {
  std::vector<Case> cases;
  // One header of the directory, or one local header, changed.
  const auto changed = [&](const std::string& name, const std::string& complaint, size_t entry,
                           const std::function<void(ZipParts::Header&)>& change) {
    ZipParts parts = zip_parts(good_entries());
    change(parts.headers[entry]);
    cases.push_back({name, parts.bytes(), complaint});
  };
  changed("encrypted", "is encrypted", 0, [](auto& header) { header.flags = 1; });
  changed("bzip2", "compressed by method 12", 0, [](auto& header) { header.method = 12; });
  changed("method 99", "compressed by method 99", 1, [](auto& header) { header.method = 99; });
  changed("stored, says one header", "is damaged", 1, [](auto& header) { header.method = 0; });
  changed("another checksum", "is damaged", 1, [](auto& header) { header.crc ^= 1; });
  changed("offset at the end", "is damaged", 1,
          [](auto& header) { header.offset = good_zip().size(); });
  changed("offset 2^32-2", "is damaged", 1, [](auto& header) { header.offset = 0xfffffffe; });
  changed("offset beside a header", "is damaged", 1, [](auto& header) { header.offset += 1; });
  for (const uint64_t size : {uint64_t{0}, uint64_t{0xfffffffe}, uint64_t{0x80000000}}) {
    changed("another size", "is damaged", 1, [&](auto& header) { header.size = size; });
    changed("another stored size", "is damaged", 1,
            [&](auto& header) { header.stored_size = size; });
  }

  // Both headers changed alike: they agree on what is wrong. `flags` 8 says that the local header
  // does not know sizes and checksum.
  const auto agreed = [&](const std::string& name, const std::string& complaint, size_t entry,
                          const std::function<void(ZipParts::Header&)>& change) {
    std::vector<ZipEntry> entries = good_entries();
    for (ZipEntry& each : entries) each.flags = 8;
    entries[0].deflated = true;
    ZipParts parts = zip_parts(entries);
    change(parts.headers[entry]);
    cases.push_back({name, parts.bytes(), complaint});
  };
  agreed("checksum of stored bytes", "its checksum is wrong", 2,
         [](auto& header) { header.crc ^= 1; });
  agreed("checksum of deflated bytes", "its checksum is wrong", 1,
         [](auto& header) { header.crc ^= 1; });
  agreed("inflates to more", "does not inflate to", 0, [](auto& header) { header.size -= 1; });
  agreed("inflates to less", "does not inflate to", 0, [](auto& header) { header.size += 1; });
  agreed("cut within deflated bytes", "does not inflate to", 1,
         [](auto& header) { header.stored_size -= 1; });
  agreed("deflated 2^32-2", "bytes cannot hold", 1, [](auto& header) { header.size = 0xfffffffe; });
  agreed("stored beyond the end", "is cut short", 2,
         [](auto& header) { header.stored_size = header.size = 0x7fffffff; });
  agreed("stored, but two sizes", "bytes cannot hold", 2, [](auto& header) { header.size += 1; });
  for (const uint64_t wide : {uint64_t{1} << 32, uint64_t{1} << 63, ~uint64_t{0}}) {
    agreed("64 bits", "net/data", 2, [&](auto& header) {
      header.extra = u16(1) + u16(24) + u64(wide) + u64(wide) + u64(wide);
      header.size = header.stored_size = header.offset = 0xffffffff;
    });
  }

  const auto named = [&](const std::string& name, const std::string& complaint) {
    std::vector<ZipEntry> entries = good_entries();
    entries.push_back({name, "x"});
    cases.push_back({"entry " + name, zip_of(entries), complaint});
  };
  named("../evil", "leads out");
  named("net/../../evil", "leads out");
  named("/etc/evil", "leads out");
  named("..", "leads out");
  named("net/data/..", "leads out");
  named("net/data/0", "two entries \"net/data/0\"");
  named("other/data.pkl", "two folders with a data.pkl");
  named("net/constants.pkl", "TorchScript");
  named("net/code/__torch__.py", "TorchScript");

  const auto without = [](size_t entry) {
    std::vector<ZipEntry> entries = good_entries();
    entries.erase(entries.begin() + static_cast<std::ptrdiff_t>(entry));
    return zip_of(entries);
  };
  cases.push_back({"no pickle", without(0), "without a data.pkl"});
  cases.push_back({"no storage", without(1), "no entry \"net/data/0\""});
  cases.push_back({"no entries", zip_of({}) + std::string(100, ' '), "x.pth: "});
  cases.push_back(
      {"a pickle outside a folder", zip_of({{"data.pkl", good_pickle()}}), "without a data.pkl"});
  std::vector<ZipEntry> middle_endian = good_entries();
  middle_endian.back().contents = "middle";
  cases.push_back({"byte order", zip_of(middle_endian), "its byteorder is \"middle\""});

  const ZipParts parts = zip_parts(good_entries());
  const std::string directory = parts.directory();
  const auto ended = [&](const std::string& name, uint64_t entries, uint64_t bytes, uint64_t at) {
    cases.push_back({name, parts.data + directory + ZipParts::end(entries, bytes, at), "x.pth: "});
  };
  const size_t count = parts.headers.size(), size = directory.size(), at = parts.data.size();
  ended("one entry more", count + 1, size, at);
  ended("65534 entries", 65534, size, at);
  ended("directory too far", count, size, at + 1);
  ended("directory at 2^32-1", count, size, 0xffffffff);
  ended("directory of 2^32-1 bytes", count, 0xffffffff, at);
  ended("directory elsewhere", count, size, 0);
  expect_refused(cases);
}

// A zip bomb of David Fifield's kind: many entries of one piece of deflated data.
std::string overlapping(bool same_header) {
  const std::string zeros(1 << 20, '\0');
  ZipParts parts = zip_parts(good_entries());
  parts.add({.name = "net/data/2", .contents = zeros, .deflated = true});
  const ZipParts::Header kernel = parts.headers.back();
  for (int i = 3; i < 20; ++i) {
    ZipParts::Header header = kernel;
    header.name = "net/data/" + std::to_string(i);
    if (same_header) {
      header.name.resize(kernel.name.size(), 'x');
      header.name.back() = static_cast<char>('a' + i);
    } else {
      // Its local header stands in front, and skips those behind it as an extra field.
      header.extra = u16(0x4242);
    }
    parts.headers.push_back(header);
  }
  if (same_header) return parts.bytes();
  // [header of 19][header of 18] … [header of 2][data], each but the last with an extra field over
  // those that follow.
  std::string data = parts.data.substr(kernel.offset);  // the header of 2 and the data
  const size_t stored = kernel.stored_size;
  for (size_t i = parts.headers.size() - 17; i < parts.headers.size(); ++i) {
    ZipParts::Header& header = parts.headers[i];
    const size_t skipped = data.size() - stored;
    header.extra = u16(0x4242) + u16(skipped);
    ZipParts::Header local = header;
    local.extra = header.extra + data.substr(0, skipped);
    data.insert(0, local.local().substr(0, 30 + header.name.size() + 4));
    header.extra = "";
  }
  const size_t begin = kernel.offset;
  size_t place = begin;
  for (size_t i = parts.headers.size(); i-- > parts.headers.size() - 17;) {
    parts.headers[i].offset = place;
    place += 30 + parts.headers[i].name.size() + 4;
  }
  parts.headers[parts.headers.size() - 18].offset = place;
  parts.data = parts.data.substr(0, begin) + data;
  return parts.bytes();
}

TEST(HostileFiles, ArchivesThatExpandAreRefused) {
  std::vector<ZipEntry> flat = good_entries();
  flat.push_back({"net/data/9", std::string(64 << 20, '\0'), true});
  std::vector<ZipEntry> many = good_entries();
  for (int i = 10; i < 80; ++i) {
    many.push_back({fmt::format("net/data/{}", i), std::string(1 << 20, '\0'), true});
  }
  std::vector<ZipEntry> pickle = good_entries();
  pickle[0].contents = repeated("]0", 17 << 19);
  pickle[0].deflated = true;
  std::vector<ZipEntry> long_pickle = pickle;
  long_pickle[0].contents.resize(16 << 20);
  std::vector<ZipEntry> numerous = good_entries();
  for (int i = 10; i < 40'000; ++i) numerous.push_back({fmt::format("net/data/{}", i), ""});
  std::vector<ZipEntry> nested = good_entries();
  nested[0].contents = "\x80\x02)" + repeated("\x85", kMillion) + ".";
  nested[0].deflated = true;
  expect_refused({
      {"flat", zip_of(flat), "expands to more than"},
      {"many pieces", zip_of(many), "expands to more than"},
      {"one local header for many entries", overlapping(true), "overlap"},
      {"local headers within extra fields", overlapping(false), "overlap"},
      {"a pickle of 17 MiB", zip_of(pickle), "its data.pkl has"},
      {"a pickle of 16 MiB", zip_of(long_pickle), "more than 1048576 opcodes"},
      {"a pickle that expands to nested tuples", zip_of(nested), "more than 524288 values"},
      {"forty thousand entries", zip_of(numerous), "more than 32768 entries"},
      {"a comment of 64 KiB",
       [] {
         std::string bytes = good_zip();
         bytes.replace(bytes.size() - 2, 2, u16(65535));
         return bytes + repeated("PK\x05\x06", 16383);
       }(),
       ""},
  });
}

TEST(HostileFiles, TensorsThatExpandAreRefused) {
  Pickler p;
  // A hundred names of one tensor.
  const auto repeating = [&](const PickledTensor& tensor) {
    std::string items = p.text("0") + p.tensor(tensor) + "r" + u32(500'000);
    for (int i = 1; i < 100; ++i) items += p.text(std::to_string(i)) + "j" + u32(500'000);
    return p.pickle("}(" + items + "u");
  };
  const Storages large = {{"0", std::string(4 << 20, '\0')}};
  const Storages small = {{"0", std::string(24, 'e')}};
  expect_refused({
      {"one storage again and again",
       torch_zip(repeating({.numel = 1 << 20, .shape = {1 << 20}, .strides = {1}}), large),
       "expand to more than 167"},
      {"expanded again and again",
       torch_zip(repeating({.numel = 6, .shape = {1 << 20}, .strides = {0}}), small),
       "expand to more than 33554432 bytes"},
  });
}

// --- the form before 1.6, and others -------------------------------------------------------------

TEST(HostileFiles, MetadataIsChecked) {
  std::vector<Case> cases;
  const auto with = [&](const std::string& name, const std::string& metadata,
                        const std::string& complaint, bool deflated = false) {
    std::vector<ZipEntry> entries = good_entries();
    entries.push_back({.name = "net/extra/glassnet.json", .contents = metadata});
    entries.back().deflated = deflated;
    cases.push_back({name, zip_of(entries), complaint});
  };
  const std::string no_strings = "is not a JSON object of strings";
  with("nothing", "", no_strings);
  with("cut short", R"({"a":"b")", no_strings);
  with("a number", R"({"a":1})", no_strings);
  with("an object in it", R"({"a":{"b":"c"}})", no_strings);
  with("a list in it", R"({"a":["b"]})", no_strings);
  with("a list", R"(["a"])", no_strings);
  with("depth", std::string(kMillion, '['), no_strings);
  with("no UTF-8", "{\"a\":\"\xff\"}", no_strings);
  with("too much", "{\"a\":\"" + std::string(2 * kMillion, 'x') + "\"}", "too many for metadata",
       true);
  expect_refused(cases);
}

TEST(HostileFiles, TheFormBefore16IsChecked) {
  Pickler p(2, true);
  const std::string elements(24, 'e'), longs(16, 'l');
  const auto file =
      [&](const std::vector<std::pair<std::string, std::pair<int64_t, std::string>>>& storages) {
        return torch_legacy(good_pickle(true), storages);
      };
  std::vector<Case> cases = {
      {"another magic number", p.pickle("\x8a\x0a" + std::string(10, 'm')) + good_legacy(),
       "not one from torch.save"},
      {"a dict alone", p.pickle(p.dict({})), "not one from torch.save"},
      {"another version", p.pickle(std::string(kTorchMagic)) + p.pickle(p.integer(1002)),
       "version is not 1001"},
      {"a storage missing", file({{"0", {6, elements}}}), "lacks one that a tensor has"},
      {"a storage of no tensor", file({{"0", {6, elements}}, {"1", {2, longs}}, {"2", {2, longs}}}),
       "that no tensor has"},
      {"a storage twice", file({{"0", {6, elements}}, {"0", {6, elements}}}), "or one twice"},
      {"cut short", file({{"0", {6, elements}}, {"1", {2, longs.substr(1)}}}),
       "needs 16 bytes and 15 are left"},
      {"keys that are no list", legacy_head() + good_pickle(true) + p.pickle(p.dict({})),
       "not a list"},
      {"a key that is no string",
       legacy_head() + good_pickle(true) + p.pickle(p.list({p.integer(0)})), "that no tensor has"},
      {"a list as its own storage",
       legacy_head() + p.pickle(p.list({p.storage(six())})) + p.pickle(p.list({p.text("0")})) +
           bytes_of(int64_t{6}) + elements,
       "holds a list"},
      {"a storage in two ways",
       legacy_head() + p.pickle(p.dict({{p.text("x"), p.tensor(six())},
                                        {p.text("y"), p.tensor({.numel = 5})}})),
       "describes storage \"0\" in two ways"},
      {"a tar archive",
       std::string("storages") + std::string(249, '\0') + "ustar" + std::string(500, '\0'),
       "PyTorch 0.1"},
  };
  for (const int64_t numel : {int64_t{5}, int64_t{-6}, kHuge, int64_t{1} << 62, int64_t{1} << 32}) {
    cases.push_back({"another number of elements",
                     file({{"0", {numel, elements}}, {"1", {2, longs}}}),
                     fmt::format("has {} elements, expected 6", numel)});
    if (numel <= 6) continue;
    const std::string pickle =
        p.pickle(p.dict({{p.text("x"), p.tensor({.numel = numel, .shape = {6}, .strides = {1}})}}));
    cases.push_back({"elements without end", torch_legacy(pickle, {{"0", {numel, elements}}}),
                     numel > kHuge / 8 ? "not a storage's id" : "24 are left"});
  }
  expect_refused(cases);
}

TEST(HostileFiles, SafetensorsAreChecked) {
  std::vector<Case> cases;
  for (const uint64_t length :
       {uint64_t{1000}, uint64_t{1} << 32, uint64_t{1} << 63, ~uint64_t{0}, ~uint64_t{0} - 7}) {
    cases.push_back({"header length", u64(length) + good_safetensors().substr(8), ""});
  }
  const auto tensor = [](const std::string& shape, const std::string& offsets) {
    return safetensors_of(
        fmt::format(R"({{"x":{{"dtype":"F32","shape":{},"data_offsets":{}}}}})", shape, offsets),
        std::string(24, 'e'));
  };
  cases.push_back({"extents overflow", tensor("[4611686018427387905,4]", "[0,24]"), "\"x\""});
  cases.push_back(
      {"offsets near 2^63", tensor("[6]", "[9223372036854775783,9223372036854775807]"), "\"x\""});
  cases.push_back(
      {"offsets near 2^64", tensor("[6]", "[18446744073709551591,18446744073709551615]"), "\"x\""});
  cases.push_back({"overlap",
                   safetensors_of(R"({"x":{"dtype":"U8","shape":[16],"data_offsets":[0,16]},)"
                                  R"("y":{"dtype":"U8","shape":[16],"data_offsets":[8,24]}})",
                                  std::string(24, 'e')),
                   "overlap"});
  cases.push_back({"a million brackets",
                   safetensors_of(R"({"x":)" + std::string(kMillion, '['), ""), "nested"});
  cases.push_back({"neither", "neither one nor the other", ""});
  expect_refused(cases);
}

}  // namespace
}  // namespace glassnet
