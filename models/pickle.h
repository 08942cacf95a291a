// Python's pickles, read and never obeyed.
//
// A pickle is a program for a small stack machine. It pushes numbers and strings, gathers them into
// tuples, lists and dicts, and has Python call whatever functions it names, which is how a pickle
// from a stranger takes over a computer. Files of tensors need a fraction of that. This machine
// knows the fraction, refuses the rest by name, and where Python would call a function it notes the
// call as a value: which function, which arguments. What a note means is for its reader to say.
//
// The opcodes are those that Python 2 and 3 write in protocols 1 to 5; Lib/pickletools.py in
// Python's sources describes each. Not here: protocol 0, and objects of classes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace glassnet::pickle {

// A value's place in its Pickle. Values refer to each other by it, so that a dict that holds itself
// and a million nested tuples are nothing but numbers: nothing here recurses.
using Index = uint32_t;

struct Value {
  enum class Kind : uint8_t {
    kNone,
    kBool,
    kInt,
    kLong,  // beyond int64
    kFloat,
    kString,
    kBytes,
    kTuple,
    kList,
    kDict,
    kGlobal,      // a name of Python's: a class or a function
    kCall,        // a call of one, noted
    kPersistent,  // what the pickler replaced by an id: in PyTorch's files a storage
  };
  Kind kind = Kind::kNone;
  int64_t number = 0;        // of kBool and kInt; of kGlobal and kCall: which name, see Names
  std::string_view text;     // of kString and kBytes; of kLong: little-endian, two's complement
  std::vector<Index> items;  // elements; of kDict: key, value, key, value …; of kCall: the tuple
                             // of its arguments; of kPersistent: its id
};

// CONVENTION: every Index in `values` is one of a value in `values`. Texts are parts of the bytes
// that were parsed.
struct Pickle {
  std::deque<Value> values;
  Index root = 0;
  size_t size = 0;  // of the pickle in bytes: others may follow

  const Value& operator[](Index index) const { return values[index]; }
};

// By which number the reader knows `module.name`; throws Error for a name that it does not.
// collections.OrderedDict is not asked for: a call of it is a dict.
using Names = std::function<int64_t(std::string_view module, std::string_view name)>;

// Throws Error, one sentence that begins with `file`, for whatever is not a complete pickle of
// known opcodes and names. No length is trusted before it is checked against the bytes that are
// left, and a pickle of more values than any file of tensors has is refused, so that time and
// memory are bounded: about 50 ms and 50 MB.
Pickle parse(const std::string& file, std::string_view bytes, const Names& names);

}  // namespace glassnet::pickle
