#include "models/pickle.h"

#include <array>
#include <charconv>
#include <limits>
#include <optional>
#include <utility>

#include <fmt/format.h>

#include "kernels/error.h"
#include "models/shown.h"

namespace glassnet::pickle {
namespace {

using Kind = Value::Kind;

// A ResNet-152's checkpoint with Adam's state has 85'000 values and 200'000 opcodes.
constexpr size_t kMostOpcodes = size_t{1} << 20;
constexpr size_t kMostValues = size_t{1} << 19;

// What follows an opcode. Numbers are little-endian.
enum class Operand {
  kNone,
  kUInt8,
  kUInt16,
  kUInt32,
  kUInt64,
  kText8,  // a length as kUInt8, then as many bytes
  kText32,
  kText64,
  kLine,  // up to a line feed
  kTwoLines,
};
struct Argument {
  uint64_t number = 0;
  std::string_view text, second;
};

class Machine;
struct Opcode {
  uint8_t code;
  const char* name;
  Operand operand = Operand::kNone;
  // None: an opcode that files of tensors do without.
  void (*run)(Machine&, const Argument&) = nullptr;
};

// CONVENTION: stack_, marks_ and memo_ hold places in pickle_.values; marks_ ascends and is at most
// the height of stack_.
class Machine {
 public:
  Machine(const std::string& file, std::string_view bytes, const Names& names)
      : file_(file), bytes_(bytes), names_(names) {}

  Pickle run();

  // What opcodes do, see kOpcodes.
  void push(Kind kind, int64_t number = 0, std::string_view text = {});
  void push_long(std::string_view digits);   // two's complement, little-endian
  void push_decimal(std::string_view line);  // "12", "12L"; "00" and "01" are False and True
  void push_global(std::string_view module, std::string_view name);
  void push_named_global();
  void push_tuple(size_t size);
  void push_tuple_to_mark() { push_items(Kind::kTuple, pop_to_mark()); }
  void push_persistent();
  void push_again() { stack_.push_back(top()); }
  Index pop();
  void mark() { marks_.push_back(stack_.size()); }
  std::vector<Index> pop_to_mark();
  void append(const std::vector<Index>& items);
  void set_items(const std::vector<Index>& keys_and_values);
  void set_item();
  void call();
  void set_attributes();
  void remember(uint64_t place);
  void remember_next() { remember(memo_.size()); }
  void recall(uint64_t place);
  void check_frame(uint64_t size) const;
  void stop();

 private:
  [[noreturn]] void refuse(const std::string& what) const {
    throw Error(fmt::format("{}: its pickle {}", file_, what));
  }
  std::string_view take(uint64_t count, const char* opcode);
  std::string_view take_line(const char* opcode);
  uint64_t take_number(int bytes, const char* opcode);
  Argument take_argument(const Opcode& opcode);

  size_t floor() const { return marks_.empty() ? 0 : marks_.back(); }
  Index top() const;
  void count(size_t more);
  void push_items(Kind kind, std::vector<Index> items, int64_t number = 0);
  void push_dict(const Value& arguments);

  const std::string& file_;
  std::string_view bytes_;
  const Names& names_;
  size_t at_ = 0;       // the next byte
  size_t counted_ = 0;  // against kMostValues
  bool stopped_ = false;
  Pickle pickle_;
  std::vector<Index> stack_;
  std::vector<size_t> marks_;  // heights of the stack
  std::vector<std::optional<Index>> memo_;
};

constexpr int64_t kOrderedDict = -1;

using M = Machine;
using A = const Argument&;
constexpr Opcode kOpcodes[] = {
    // The frame of the program.
    {0x80, "PROTO", Operand::kUInt8, [](M&, A) {}},
    {0x95, "FRAME", Operand::kUInt64, [](M& m, A a) { m.check_frame(a.number); }},
    {'.', "STOP", Operand::kNone, [](M& m, A) { m.stop(); }},
    // Numbers.
    {'N', "NONE", Operand::kNone, [](M& m, A) { m.push(Kind::kNone); }},
    {0x88, "NEWTRUE", Operand::kNone, [](M& m, A) { m.push(Kind::kBool, 1); }},
    {0x89, "NEWFALSE", Operand::kNone, [](M& m, A) { m.push(Kind::kBool, 0); }},
    {'K', "BININT1", Operand::kUInt8,
     [](M& m, A a) { m.push(Kind::kInt, static_cast<int64_t>(a.number)); }},
    {'M', "BININT2", Operand::kUInt16,
     [](M& m, A a) { m.push(Kind::kInt, static_cast<int64_t>(a.number)); }},
    {'J', "BININT", Operand::kUInt32,
     [](M& m, A a) { m.push(Kind::kInt, static_cast<int32_t>(a.number)); }},
    {0x8a, "LONG1", Operand::kText8, [](M& m, A a) { m.push_long(a.text); }},
    {0x8b, "LONG4", Operand::kText32, [](M& m, A a) { m.push_long(a.text); }},
    {'I', "INT", Operand::kLine, [](M& m, A a) { m.push_decimal(a.text); }},
    {'L', "LONG", Operand::kLine, [](M& m, A a) { m.push_decimal(a.text); }},
    {'G', "BINFLOAT", Operand::kUInt64, [](M& m, A) { m.push(Kind::kFloat); }},
    // Text. What Python 2 calls a string may be either.
    {0x8c, "SHORT_BINUNICODE", Operand::kText8,
     [](M& m, A a) { m.push(Kind::kString, 0, a.text); }},
    {'X', "BINUNICODE", Operand::kText32, [](M& m, A a) { m.push(Kind::kString, 0, a.text); }},
    {0x8d, "BINUNICODE8", Operand::kText64, [](M& m, A a) { m.push(Kind::kString, 0, a.text); }},
    {'U', "SHORT_BINSTRING", Operand::kText8, [](M& m, A a) { m.push(Kind::kString, 0, a.text); }},
    {'T', "BINSTRING", Operand::kText32, [](M& m, A a) { m.push(Kind::kString, 0, a.text); }},
    {'C', "SHORT_BINBYTES", Operand::kText8, [](M& m, A a) { m.push(Kind::kBytes, 0, a.text); }},
    {'B', "BINBYTES", Operand::kText32, [](M& m, A a) { m.push(Kind::kBytes, 0, a.text); }},
    {0x8e, "BINBYTES8", Operand::kText64, [](M& m, A a) { m.push(Kind::kBytes, 0, a.text); }},
    {0x96, "BYTEARRAY8", Operand::kText64, [](M& m, A a) { m.push(Kind::kBytes, 0, a.text); }},
    // Containers.
    {')', "EMPTY_TUPLE", Operand::kNone, [](M& m, A) { m.push_tuple(0); }},
    {0x85, "TUPLE1", Operand::kNone, [](M& m, A) { m.push_tuple(1); }},
    {0x86, "TUPLE2", Operand::kNone, [](M& m, A) { m.push_tuple(2); }},
    {0x87, "TUPLE3", Operand::kNone, [](M& m, A) { m.push_tuple(3); }},
    {'t', "TUPLE", Operand::kNone, [](M& m, A) { m.push_tuple_to_mark(); }},
    {']', "EMPTY_LIST", Operand::kNone, [](M& m, A) { m.push(Kind::kList); }},
    {'a', "APPEND", Operand::kNone, [](M& m, A) { m.append({m.pop()}); }},
    {'e', "APPENDS", Operand::kNone, [](M& m, A) { m.append(m.pop_to_mark()); }},
    {'}', "EMPTY_DICT", Operand::kNone, [](M& m, A) { m.push(Kind::kDict); }},
    {'s', "SETITEM", Operand::kNone, [](M& m, A) { m.set_item(); }},
    {'u', "SETITEMS", Operand::kNone, [](M& m, A) { m.set_items(m.pop_to_mark()); }},
    // The stack.
    {'(', "MARK", Operand::kNone, [](M& m, A) { m.mark(); }},
    {'0', "POP", Operand::kNone, [](M& m, A) { m.pop(); }},
    {'1', "POP_MARK", Operand::kNone, [](M& m, A) { m.pop_to_mark(); }},
    {'2', "DUP", Operand::kNone, [](M& m, A) { m.push_again(); }},
    // The memo, for what is used twice.
    {'q', "BINPUT", Operand::kUInt8, [](M& m, A a) { m.remember(a.number); }},
    {'r', "LONG_BINPUT", Operand::kUInt32, [](M& m, A a) { m.remember(a.number); }},
    {0x94, "MEMOIZE", Operand::kNone, [](M& m, A) { m.remember_next(); }},
    {'h', "BINGET", Operand::kUInt8, [](M& m, A a) { m.recall(a.number); }},
    {'j', "LONG_BINGET", Operand::kUInt32, [](M& m, A a) { m.recall(a.number); }},
    // What Python would import and call.
    {'c', "GLOBAL", Operand::kTwoLines, [](M& m, A a) { m.push_global(a.text, a.second); }},
    {0x93, "STACK_GLOBAL", Operand::kNone, [](M& m, A) { m.push_named_global(); }},
    {'R', "REDUCE", Operand::kNone, [](M& m, A) { m.call(); }},
    {'b', "BUILD", Operand::kNone, [](M& m, A) { m.set_attributes(); }},
    {'Q', "BINPERSID", Operand::kNone, [](M& m, A) { m.push_persistent(); }},
    // Known by name, to say what is refused: objects of classes, sets, buffers, and protocol 0.
    {'i', "INST"},
    {'o', "OBJ"},
    {0x81, "NEWOBJ"},
    {0x92, "NEWOBJ_EX"},
    {0x82, "EXT1"},
    {0x83, "EXT2"},
    {0x84, "EXT4"},
    {0x8f, "EMPTY_SET"},
    {0x90, "ADDITEMS"},
    {0x91, "FROZENSET"},
    {0x97, "NEXT_BUFFER"},
    {0x98, "READONLY_BUFFER"},
    {'F', "FLOAT"},
    {'S', "STRING"},
    {'V', "UNICODE"},
    {'l', "LIST"},
    {'d', "DICT"},
    {'p', "PUT"},
    {'g', "GET"},
    {'P', "PERSID"},
};

constexpr std::array<const Opcode*, 256> by_code() {
  std::array<const Opcode*, 256> table = {};
  for (const Opcode& opcode : kOpcodes) table[opcode.code] = &opcode;
  return table;
}
constexpr std::array<const Opcode*, 256> kByCode = by_code();

// --- the bytes -----------------------------------------------------------------------------------

std::string_view Machine::take(uint64_t count, const char* opcode) {
  const size_t left = bytes_.size() - at_;
  if (count > left) {
    refuse(fmt::format("is cut short: {} announces {} bytes and {} are left", opcode, count, left));
  }
  const std::string_view taken = bytes_.substr(at_, count);
  at_ += count;
  return taken;
}

std::string_view Machine::take_line(const char* opcode) {
  const size_t end = bytes_.find('\n', at_);
  if (end == std::string_view::npos) {
    refuse(fmt::format("is cut short: no line feed ends the line of {}", opcode));
  }
  const std::string_view line = bytes_.substr(at_, end - at_);
  at_ = end + 1;
  return line;
}

uint64_t Machine::take_number(int bytes, const char* opcode) {
  uint64_t number = 0;
  int shift = 0;
  for (const char byte : take(static_cast<uint64_t>(bytes), opcode)) {
    number |= static_cast<uint64_t>(static_cast<uint8_t>(byte)) << shift;
    shift += 8;
  }
  return number;
}

Argument Machine::take_argument(const Opcode& opcode) {
  const char* name = opcode.name;
  switch (opcode.operand) {
    case Operand::kNone:
      return {};
    case Operand::kUInt8:
      return {.number = take_number(1, name)};
    case Operand::kUInt16:
      return {.number = take_number(2, name)};
    case Operand::kUInt32:
      return {.number = take_number(4, name)};
    case Operand::kUInt64:
      return {.number = take_number(8, name)};
    case Operand::kText8:
      return {.text = take(take_number(1, name), name)};
    case Operand::kText32:
      return {.text = take(take_number(4, name), name)};
    case Operand::kText64:
      return {.text = take(take_number(8, name), name)};
    case Operand::kLine:
      return {.text = take_line(name)};
    case Operand::kTwoLines: {
      const std::string_view first = take_line(name);
      return {.text = first, .second = take_line(name)};
    }
  }
  return {};
}

Pickle Machine::run() {
  for (size_t opcodes = 0; !stopped_; ++opcodes) {
    if (opcodes == kMostOpcodes) {
      refuse(fmt::format("has more than {} opcodes, too many for a file of tensors", kMostOpcodes));
    }
    if (at_ == bytes_.size()) refuse("is cut short: it ends without STOP");
    const auto code = static_cast<uint8_t>(bytes_[at_]);
    const Opcode* opcode = kByCode[code];
    if (opcode == nullptr) {
      refuse(
          fmt::format("is damaged: no opcode has the number {} that stands at byte {}", code, at_));
    }
    if (opcode->run == nullptr) {
      refuse(
          fmt::format("uses the opcode {}, which files of tensors do without; nothing was "
                      "executed",
                      opcode->name));
    }
    ++at_;
    opcode->run(*this, take_argument(*opcode));
  }
  pickle_.size = at_;
  return std::move(pickle_);
}

void Machine::check_frame(uint64_t size) const {
  if (size > bytes_.size() - at_) {
    refuse(fmt::format("is cut short: FRAME announces {} bytes and {} are left", size,
                       bytes_.size() - at_));
  }
}

void Machine::stop() {
  pickle_.root = pop();
  stopped_ = true;
}

// --- the stack -----------------------------------------------------------------------------------

Index Machine::top() const {
  if (stack_.size() == floor()) refuse("is damaged: it takes a value where none was pushed");
  return stack_.back();
}

Index Machine::pop() {
  const Index value = top();
  stack_.pop_back();
  return value;
}

std::vector<Index> Machine::pop_to_mark() {
  if (marks_.empty()) refuse("is damaged: it goes back to a MARK where none was set");
  const auto begin = stack_.begin() + static_cast<std::ptrdiff_t>(marks_.back());
  std::vector<Index> items(begin, stack_.end());
  stack_.erase(begin, stack_.end());
  marks_.pop_back();
  return items;
}

void Machine::count(size_t more) {
  counted_ += more;
  if (counted_ > kMostValues) {
    refuse(fmt::format("has more than {} values, too many for a file of tensors", kMostValues));
  }
}

void Machine::push(Kind kind, int64_t number, std::string_view text) {
  count(1);
  stack_.push_back(static_cast<Index>(pickle_.values.size()));
  pickle_.values.push_back({.kind = kind, .number = number, .text = text});
}

void Machine::push_items(Kind kind, std::vector<Index> items, int64_t number) {
  push(kind, number);
  pickle_.values.back().items = std::move(items);
}

void Machine::push_long(std::string_view digits) {
  if (digits.size() > sizeof(int64_t)) return push(Kind::kLong, 0, digits);
  const bool negative = !digits.empty() && (static_cast<uint8_t>(digits.back()) & 0x80) != 0;
  uint64_t number = negative ? ~uint64_t{0} : 0;
  for (size_t i = digits.size(); i-- > 0;) number = number << 8 | static_cast<uint8_t>(digits[i]);
  push(Kind::kInt, static_cast<int64_t>(number));
}

void Machine::push_decimal(std::string_view line) {
  if (line == "00" || line == "01") return push(Kind::kBool, line == "01" ? 1 : 0);
  if (line.ends_with('L')) line.remove_suffix(1);
  int64_t number = 0;
  const auto [end, error] = std::from_chars(line.data(), line.data() + line.size(), number);
  if (error != std::errc() || end != line.data() + line.size()) {
    refuse(fmt::format("is damaged: {} is not a whole number of 64 bits", shown(line)));
  }
  push(Kind::kInt, number);
}

void Machine::push_tuple(size_t size) {
  std::vector<Index> items(size);
  for (size_t i = size; i-- > 0;) items[i] = pop();
  push_items(Kind::kTuple, std::move(items));
}

void Machine::append(const std::vector<Index>& items) {
  Value& list = pickle_.values[top()];
  if (list.kind != Kind::kList) refuse("is damaged: it appends to what is not a list");
  list.items.insert(list.items.end(), items.begin(), items.end());
}

void Machine::set_items(const std::vector<Index>& keys_and_values) {
  Value& dict = pickle_.values[top()];
  if (dict.kind != Kind::kDict) refuse("is damaged: it sets an item of what is not a dict");
  if (keys_and_values.size() % 2 != 0) refuse("is damaged: a key of a dict has no value");
  dict.items.insert(dict.items.end(), keys_and_values.begin(), keys_and_values.end());
}

void Machine::set_item() {
  const Index value = pop(), key = pop();
  set_items({key, value});
}

// --- the memo ------------------------------------------------------------------------------------

void Machine::remember(uint64_t place) {
  // Python numbers what it remembers from 0, so that a pickle has no more places than opcodes.
  if (place >= kMostOpcodes) {
    refuse(fmt::format("is damaged: it remembers a value as number {}", place));
  }
  if (place >= memo_.size()) memo_.resize(place + 1);
  memo_[place] = top();
}

void Machine::recall(uint64_t place) {
  if (place >= memo_.size() || !memo_[place]) {
    refuse(fmt::format("is damaged: it recalls value number {}, which it never remembered", place));
  }
  stack_.push_back(*memo_[place]);
}

// --- names and calls -----------------------------------------------------------------------------

void Machine::push_global(std::string_view module, std::string_view name) {
  const bool ordered_dict = module == "collections" && name == "OrderedDict";
  push(Kind::kGlobal, ordered_dict ? kOrderedDict : names_(module, name));
}

void Machine::push_named_global() {
  const Value& name = pickle_.values[pop()];
  const Value& module = pickle_.values[pop()];
  if (name.kind != Kind::kString || module.kind != Kind::kString) {
    refuse("is damaged: STACK_GLOBAL names what is not a string");
  }
  push_global(module.text, name.text);
}

void Machine::push_persistent() {
  const Index id = pop();
  push_items(Kind::kPersistent, {id});
}

void Machine::call() {
  const Index arguments = pop();
  const Value& function = pickle_.values[pop()];
  if (function.kind != Kind::kGlobal || pickle_.values[arguments].kind != Kind::kTuple) {
    refuse("is damaged: it calls what is not a function, or with what is not a tuple");
  }
  if (function.number == kOrderedDict) return push_dict(pickle_.values[arguments]);
  push_items(Kind::kCall, {arguments}, function.number);
}

// OrderedDict(), or as Python 2 has it, OrderedDict([[key, value], …]).
void Machine::push_dict(const Value& arguments) {
  std::vector<Index> keys_and_values;
  if (!arguments.items.empty()) {
    const Value& pairs = pickle_.values[arguments.items[0]];
    if (pairs.kind != Kind::kList) refuse("is damaged: it makes an OrderedDict of what is no list");
    // The same list may be asked for again and again.
    count(pairs.items.size());
    for (const Index pair : pairs.items) {
      const std::vector<Index>& items = pickle_.values[pair].items;
      if (items.size() != 2) refuse("is damaged: an item of an OrderedDict is not a pair");
      keys_and_values.insert(keys_and_values.end(), items.begin(), items.end());
    }
  }
  push_items(Kind::kDict, std::move(keys_and_values));
}

// A state dict has an attribute, _metadata, on which no tensor depends.
void Machine::set_attributes() {
  pop();
  if (pickle_.values[top()].kind != Kind::kDict) {
    refuse(
        "sets the attributes of an object, which files of tensors do not hold; nothing was "
        "executed");
  }
}

}  // namespace

Pickle parse(const std::string& file, std::string_view bytes, const Names& names) {
  return Machine(file, bytes, names).run();
}

}  // namespace glassnet::pickle
