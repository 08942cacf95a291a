// PyTorch's files, and damaged ones, put together byte by byte: a writer of pickles and one of zip
// archives that share nothing with those under test.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <zlib.h>

#include "models/tensor_file.h"
#include "tensor/file.h"

namespace glassnet::test {

// --- bytes ---------------------------------------------------------------------------------------

// A number's bytes, the lowest first.
template <class Number>
std::string bytes_of(Number value) {
  std::string bytes(sizeof(Number), '\0');
  std::memcpy(bytes.data(), &value, sizeof(Number));
  return bytes;
}
inline std::string u16(uint64_t value) {
  return bytes_of(static_cast<uint16_t>(value));
}
inline std::string u32(uint64_t value) {
  return bytes_of(static_cast<uint32_t>(value));
}
inline std::string u64(uint64_t value) {
  return bytes_of(value);
}

template <class T>
std::string bytes_of_all(const std::vector<T>& values) {
  std::string bytes;
  for (const T& value : values) bytes += bytes_of(value);
  return bytes;
}

inline std::string repeated(std::string_view text, size_t count) {
  std::string all;
  all.reserve(text.size() * count);
  for (size_t i = 0; i < count; ++i) all += text;
  return all;
}

// In memory of just that size, so that the address sanitizer sees who reads beyond it.
inline SharedBytes shared(const std::string& bytes) {
  const std::shared_ptr<char[]> owner(new char[bytes.size()]);
  std::copy(bytes.begin(), bytes.end(), owner.get());
  return {{owner.get(), bytes.size()}, owner};
}

// --- pickles -------------------------------------------------------------------------------------

// A storage's part that is a tensor, as a pickle describes it.
struct PickledTensor {
  std::string type = "FloatStorage", key = "0";
  int64_t numel = 0;  // of the storage
  int64_t offset = 0;
  std::vector<int64_t> shape = {}, strides = {};
  bool parameter = false;
  std::string view = {};  // what follows numel in the storage's id: a pickled value
};

// Pickled values, in the way that Python's pickler of this protocol writes them.
class Pickler {
 public:
  explicit Pickler(int protocol = 2, bool legacy = false) : protocol_(protocol), legacy_(legacy) {}

  std::string none() const { return "N"; }
  std::string boolean(bool value) const {
    if (protocol_ < 2) return value ? "I01\n" : "I00\n";
    return value ? "\x88" : "\x89";
  }
  std::string integer(int64_t value) const {
    if (value >= 0 && value < 256) return "K" + bytes_of(static_cast<uint8_t>(value));
    if (value >= 0 && value < 65536) return "M" + u16(static_cast<uint64_t>(value));
    if (value == static_cast<int32_t>(value)) return "J" + bytes_of(static_cast<int32_t>(value));
    if (protocol_ < 2) return "L" + std::to_string(value) + "L\n";
    return "\x8a\x08" + bytes_of(value);
  }
  std::string real(double) const { return "G" + std::string(8, '\x3f'); }
  std::string text(const std::string& text) {
    if (protocol_ >= 4 && text.size() < 256) {
      return "\x8c" + bytes_of(static_cast<uint8_t>(text.size())) + text + remember();
    }
    return "X" + u32(text.size()) + text + remember();
  }
  std::string tuple(const std::vector<std::string>& items) {
    std::string all;
    for (const std::string& item : items) all += item;
    if (items.empty()) return ")";
    if (items.size() > 3 || protocol_ < 2) return "(" + all + "t" + remember();
    return all + static_cast<char>(0x84 + items.size()) + remember();
  }
  std::string integers(const std::vector<int64_t>& values) {
    std::vector<std::string> items;
    for (const int64_t value : values) items.push_back(integer(value));
    return tuple(items);
  }
  std::string list(const std::vector<std::string>& items) {
    std::string all = "]" + remember();
    if (items.size() == 1) return all + items[0] + "a";
    all += "(";
    for (const std::string& item : items) all += item;
    return all + "e";
  }
  std::string dict(const std::vector<std::pair<std::string, std::string>>& items) {
    std::string all = "}";
    all += remember();
    return all + set(items);
  }
  std::string ordered_dict(const std::vector<std::pair<std::string, std::string>>& items) {
    return global("collections", "OrderedDict") + ")R" + remember() + set(items);
  }
  std::string global(const std::string& module, const std::string& name) {
    if (protocol_ >= 4) return text(module) + text(name) + "\x93" + remember();
    return "c" + module + "\n" + name + "\n" + remember();
  }
  std::string call(const std::string& module, const std::string& name,
                   const std::vector<std::string>& arguments) {
    return global(module, name) + tuple(arguments) + "R" + remember();
  }
  std::string storage(const PickledTensor& x) {
    std::vector<std::string> id = {text("storage"), global("torch", x.type), text(x.key),
                                   text("cpu"), integer(x.numel)};
    if (legacy_) id.push_back(x.view.empty() ? none() : x.view);
    return tuple(id) + "Q";
  }
  std::string tensor(const PickledTensor& x) {
    const std::string made = call("torch._utils", "_rebuild_tensor_v2",
                                  {storage(x), integer(x.offset), integers(x.shape),
                                   integers(x.strides), boolean(x.parameter), ordered_dict({})});
    if (!x.parameter) return made;
    return call("torch._utils", "_rebuild_parameter", {made, boolean(true), ordered_dict({})});
  }
  // A whole pickle of one value.
  std::string pickle(const std::string& value) const {
    std::string all;
    if (protocol_ >= 2) all = "\x80" + bytes_of(static_cast<uint8_t>(protocol_));
    if (protocol_ >= 4) all += "\x95" + u64(value.size() + 1);
    return all + value + ".";
  }

 private:
  // Behind a value that could be used again.
  std::string remember() {
    if (protocol_ >= 4) return "\x94";
    const uint64_t place = places_++;
    return place < 256 ? "q" + bytes_of(static_cast<uint8_t>(place)) : "r" + u32(place);
  }
  std::string set(const std::vector<std::pair<std::string, std::string>>& items) const {
    if (items.empty()) return "";
    if (items.size() == 1) return items[0].first + items[0].second + "s";
    std::string all = "(";
    for (const auto& [key, value] : items) all += key + value;
    return all + "u";
  }

  int protocol_;
  bool legacy_;
  uint64_t places_ = 0;
};

// --- zip archives --------------------------------------------------------------------------------

struct ZipEntry {
  std::string name, contents;
  bool deflated = false;
  std::string extra = {};
  uint64_t flags = 0;
};

inline uint32_t crc_of(const std::string& bytes) {
  return static_cast<uint32_t>(
      crc32(0, reinterpret_cast<const Bytef*>(bytes.data()), static_cast<uInt>(bytes.size())));
}

inline std::string deflated(const std::string& bytes) {
  z_stream stream = {};
  deflateInit2(&stream, Z_BEST_COMPRESSION, Z_DEFLATED, -MAX_WBITS, 8, Z_DEFAULT_STRATEGY);
  std::string out(deflateBound(&stream, bytes.size()), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
  stream.avail_in = static_cast<uInt>(bytes.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  ::deflate(&stream, Z_FINISH);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

// An archive under construction, so that each of its parts can be made wrong.
struct ZipParts {
  // A header's fields up to its name, which local and central headers have in common.
  struct Header {
    std::string name, extra;
    uint64_t flags = 0, method = 0, crc = 0, stored_size = 0, size = 0, offset = 0;

    std::string common() const {
      return u16(20) + u16(flags) + u16(method) + u32(0x00210000) + u32(crc) + u32(stored_size) +
             u32(size) + u16(name.size()) + u16(extra.size());
    }
    std::string local() const { return "PK\x03\x04" + common() + name + extra; }
    std::string central() const {
      return "PK\x01\x02" + u16(20) + common() + u16(0) + u16(0) + u16(0) + u32(0) + u32(offset) +
             name + extra;
    }
  };
  std::string data;  // local headers and contents
  std::vector<Header> headers;

  void add(const ZipEntry& entry) {
    const std::string stored = entry.deflated ? deflated(entry.contents) : entry.contents;
    headers.push_back({.name = entry.name,
                       .extra = entry.extra,
                       .flags = entry.flags,
                       .method = entry.deflated ? 8U : 0U,
                       .crc = crc_of(entry.contents),
                       .stored_size = stored.size(),
                       .size = entry.contents.size(),
                       .offset = data.size()});
    data += headers.back().local() + stored;
  }
  std::string directory() const {
    std::string all;
    for (const Header& header : headers) all += header.central();
    return all;
  }
  static std::string end(uint64_t entries, uint64_t directory_bytes, uint64_t directory_at) {
    return "PK\x05\x06" + u16(0) + u16(0) + u16(entries) + u16(entries) + u32(directory_bytes) +
           u32(directory_at) + u16(0);
  }
  std::string bytes() const {
    return data + directory() + end(headers.size(), directory().size(), data.size());
  }
};

inline ZipParts zip_parts(const std::vector<ZipEntry>& entries) {
  ZipParts parts;
  for (const ZipEntry& entry : entries) parts.add(entry);
  return parts;
}
inline std::string zip_of(const std::vector<ZipEntry>& entries) {
  return zip_parts(entries).bytes();
}

// --- whole files ---------------------------------------------------------------------------------

using Storages = std::vector<std::pair<std::string, std::string>>;  // key, elements

inline std::vector<ZipEntry> torch_entries(const std::string& pickle, const Storages& storages) {
  std::vector<ZipEntry> entries = {{"net/data.pkl", pickle}};
  for (const auto& [key, elements] : storages) entries.push_back({"net/data/" + key, elements});
  entries.push_back({"net/version", "3\n"});
  return entries;
}
inline std::string torch_zip(const std::string& pickle, const Storages& storages) {
  return zip_of(torch_entries(pickle, storages));
}

inline constexpr std::string_view kTorchMagic{"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19",
                                              12};

// What stands before the state dict in the form before 1.6.
inline std::string legacy_head(Pickler pickler = Pickler(2), bool little_endian = true) {
  return pickler.pickle(std::string(kTorchMagic)) + pickler.pickle(pickler.integer(1001)) +
         pickler.pickle(
             pickler.dict({{pickler.text("protocol_version"), pickler.integer(1001)},
                           {pickler.text("little_endian"), pickler.boolean(little_endian)},
                           {pickler.text("type_sizes"),
                            pickler.dict({{pickler.text("int"), pickler.integer(4)}})}}));
}
// Storages as (key, (number of elements, elements)).
inline std::string torch_legacy(
    const std::string& pickle,
    const std::vector<std::pair<std::string, std::pair<int64_t, std::string>>>& storages,
    Pickler pickler = Pickler(2), bool little_endian = true) {
  std::vector<std::string> keys;
  std::string data;
  for (const auto& [key, contents] : storages) {
    keys.push_back(pickler.text(key));
    data += bytes_of(contents.first) + contents.second;
  }
  return legacy_head(pickler, little_endian) + pickle + pickler.pickle(pickler.list(keys)) + data;
}

// --- what was read -------------------------------------------------------------------------------

// The elements of a tensor one by one, dense and in this machine's byte order.
inline std::string elements_of(const StoredTensor& x) {
  const size_t size = size_of(x.type);
  const int64_t numel = x.shape.numel();
  std::string all;
  for (int64_t i = 0; i < numel; ++i) {
    int64_t rest = i, place = 0;
    for (int axis = x.shape.rank() - 1, dense = 1; axis >= 0; --axis) {
      const int64_t stride = x.strides.empty() ? dense : x.strides[static_cast<size_t>(axis)];
      place += rest % x.shape[axis] * stride;
      rest /= x.shape[axis];
      dense *= static_cast<int>(x.shape[axis]);
    }
    std::string element(reinterpret_cast<const char*>(x.data) + place * static_cast<int64_t>(size),
                        size);
    if (x.swapped) element.assign(element.rbegin(), element.rend());
    all += element;
  }
  return all;
}

}  // namespace glassnet::test
