#include "models/safetensors.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <limits>
#include <optional>
#include <set>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "tensor/file.h"

namespace glassnet {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

static_assert(std::endian::native == std::endian::little, "safetensors are little-endian");

constexpr size_t kLengthBytes = 8;
constexpr uint64_t kMostHeaderBytes = 100'000'000;
constexpr const char* kMetadata = "__metadata__";

constexpr std::array<std::pair<const char*, DType>, 6> kTypes = {{{"F64", DType::kFloat64},
                                                                  {"F32", DType::kFloat32},
                                                                  {"F16", DType::kFloat16},
                                                                  {"BF16", DType::kBFloat16},
                                                                  {"I64", DType::kInt64},
                                                                  {"U8", DType::kUInt8}}};

const char* type_name(DType type) {
  for (const auto& [name, known] : kTypes) {
    if (known == type) return name;
  }
  return "?";
}

std::optional<DType> type_called(const std::string& name) {
  for (const auto& [known, type] : kTypes) {
    if (name == known) return type;
  }
  return std::nullopt;
}

// A string from a file as a message can show it: quoted, printable, not endless.
std::string shown(const std::string& text) {
  constexpr size_t kMost = 100;
  const std::string quoted = json(text).dump(-1, ' ', true, json::error_handler_t::replace);
  return quoted.size() <= kMost ? quoted : quoted.substr(0, kMost) + "…\"";
}

[[noreturn]] void refuse(const fs::path& path, const std::string& what) {
  throw Error(fmt::format("{}: {}", path.string(), what));
}

// --- reading -------------------------------------------------------------------------------------

// What the header says of one tensor.
struct Entry {
  std::string name;
  DType type = DType::kFloat32;
  Shape shape;
  uint64_t begin = 0, end = 0;  // bytes of the data section
};

// The header's JSON text, whose length was checked against the file's size.
std::string_view header_of(const fs::path& path, std::string_view file) {
  if (file.starts_with("PK\x03\x04")) {
    refuse(path, "this is a zip archive such as PyTorch's .pth, expected safetensors");
  }
  if (file.size() < kLengthBytes) {
    refuse(path, fmt::format("too short for safetensors: {} bytes", file.size()));
  }
  uint64_t length = 0;
  std::memcpy(&length, file.data(), kLengthBytes);
  if (length > kMostHeaderBytes || length > file.size() - kLengthBytes) {
    refuse(path, fmt::format("not safetensors, or cut short: it announces a header of {} bytes and "
                             "has {} bytes in all",
                             length, file.size()));
  }
  const std::string_view header = file.substr(kLengthBytes, length);
  if (!header.starts_with('{')) {
    refuse(path, "not safetensors: its header does not start with '{'");
  }
  return header;
}

// Duplicate names, which a JSON object silently merges, and nesting deeper than any header has are
// refused while parsing.
json parse_header(const fs::path& path, std::string_view header) {
  constexpr int kDeepest = 3;  // header, entry, shape
  std::vector<std::set<std::string>> keys;
  const auto check = [&](int depth, json::parse_event_t event, json& value) {
    switch (event) {
      case json::parse_event_t::object_start:
      case json::parse_event_t::array_start:
        if (depth >= kDeepest) refuse(path, "its safetensors header is nested too deeply");
        if (event == json::parse_event_t::object_start) keys.emplace_back();
        break;
      case json::parse_event_t::object_end:
        keys.pop_back();
        break;
      case json::parse_event_t::key:
        if (const auto& name = value.get_ref<const std::string&>();
            !keys.back().insert(name).second) {
          refuse(path, fmt::format("its safetensors header holds the name {} twice", shown(name)));
        }
        break;
      default:
        break;
    }
    return true;
  };
  try {
    return json::parse(header, check);
  } catch (const json::exception&) {
    refuse(path, "its safetensors header is not valid JSON");
  }
}

const json& field(const fs::path& path, const std::string& tensor, const json& entry,
                  const char* key) {
  if (!entry.is_object() || !entry.contains(key)) {
    refuse(path, fmt::format("tensor {} has no {}", shown(tensor), key));
  }
  return entry[key];
}

Entry parse_entry(const fs::path& path, const std::string& name, const json& value) {
  Entry entry{.name = name};

  const json& type = field(path, name, value, "dtype");
  const auto known = type.is_string() ? type_called(type.get<std::string>()) : std::nullopt;
  if (!known) {
    refuse(path,
           fmt::format(
               "tensor {} has type {}, expected one of F64, F32, F16, BF16, I64, U8", shown(name),
               type.is_string() ? shown(type.get<std::string>()) : std::string("of no name")));
  }
  entry.type = *known;

  const json& shape = field(path, name, value, "shape");
  if (!shape.is_array() || shape.size() > Shape::kMaxRank ||
      !std::all_of(shape.begin(), shape.end(),
                   [](const json& extent) { return extent.is_number_unsigned(); })) {
    refuse(path, fmt::format("the shape of tensor {} is not a list of at most {} whole numbers of "
                             "at least 0",
                             shown(name), Shape::kMaxRank));
  }
  // Also with an extent of 0 among them, no partial product may overflow: Shape multiplies in
  // order.
  constexpr auto kMost = static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
  uint64_t bytes = size_of(entry.type);
  bool empty = false;
  std::vector<int64_t> dims;
  for (const json& extent : shape) {
    const auto size = extent.get<uint64_t>();
    empty = empty || size == 0;
    if (size > kMost / std::max<uint64_t>(bytes, 1)) {
      refuse(path, fmt::format("the shape of tensor {} has too many elements", shown(name)));
    }
    bytes *= std::max<uint64_t>(size, 1);
    dims.push_back(static_cast<int64_t>(size));
  }
  if (empty) bytes = 0;
  entry.shape = Shape(dims);

  const json& offsets = field(path, name, value, "data_offsets");
  if (!offsets.is_array() || offsets.size() != 2 || !offsets[0].is_number_unsigned() ||
      !offsets[1].is_number_unsigned()) {
    refuse(path,
           fmt::format("the data_offsets of tensor {} are not two whole numbers of at least 0",
                       shown(name)));
  }
  entry.begin = offsets[0].get<uint64_t>();
  entry.end = offsets[1].get<uint64_t>();
  if (entry.begin > entry.end || entry.end - entry.begin != bytes) {
    refuse(path, fmt::format("tensor {} of type {} and shape {} takes {} bytes, but its "
                             "data_offsets are {} to {}",
                             shown(name), type_name(entry.type), entry.shape.str(), bytes,
                             entry.begin, entry.end));
  }
  return entry;
}

std::map<std::string, std::string> parse_metadata(const fs::path& path, const json& value) {
  std::map<std::string, std::string> metadata;
  if (!value.is_object()) refuse(path, "its safetensors metadata is not an object");
  for (const auto& [key, text] : value.items()) {
    if (!text.is_string()) {
      refuse(path, fmt::format("its safetensors metadata {} is not a string", shown(key)));
    }
    metadata[key] = text.get<std::string>();
  }
  return metadata;
}

// Sorts the entries by offset and sees to it that they cover the data section: every byte belongs
// to exactly one tensor, so that a file holds nothing that is not seen.
void check_coverage(const fs::path& path, std::vector<Entry>& entries, uint64_t data_bytes) {
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return std::tie(a.begin, a.end, a.name) < std::tie(b.begin, b.end, b.name);
  });
  uint64_t covered = 0;
  for (const Entry& entry : entries) {
    if (entry.end > data_bytes) {
      refuse(path, fmt::format("cut short: tensor {} should end at byte {} of the data, which has "
                               "{} bytes",
                               shown(entry.name), entry.end, data_bytes));
    }
    if (entry.begin != covered) {
      refuse(path,
             fmt::format("tensor {} starts at byte {} of the data, expected {}: its tensors {}",
                         shown(entry.name), entry.begin, covered,
                         entry.begin < covered ? "overlap" : "leave a hole"));
    }
    covered = entry.end;
  }
  if (covered != data_bytes) {
    refuse(path, fmt::format("its tensors end at byte {} of the data, which has {} bytes", covered,
                             data_bytes));
  }
}

// --- writing -------------------------------------------------------------------------------------

std::string header_for(const fs::path& path, const SafeTensors& content,
                       const std::vector<const NamedTensor*>& order) {
  json header = json::object();
  if (!content.metadata.empty()) header[kMetadata] = content.metadata;
  uint64_t offset = 0;
  for (const NamedTensor* entry : order) {
    if (!entry->tensor.defined() || entry->name == kMetadata || header.contains(entry->name)) {
      refuse(path, fmt::format("cannot be written: expected each tensor defined and named once, "
                               "got {}",
                               shown(entry->name)));
    }
    const uint64_t end = offset + entry->tensor.bytes();
    header[entry->name] = {{"dtype", type_name(entry->tensor.dtype())},
                           {"shape", entry->tensor.shape().dims()},
                           {"data_offsets", {offset, end}}};
    offset = end;
  }
  try {
    std::string text = header.dump();
    text.resize((text.size() + 7) / 8 * 8, ' ');  // the data starts at a multiple of eight
    return text;
  } catch (const json::exception&) {
    refuse(path, "cannot be written: a name in it is not UTF-8");
  }
}

}  // namespace

void save_safetensors(const fs::path& path, const SafeTensors& content) {
  // Wide elements first, so that every tensor is aligned for whoever maps the file.
  std::vector<const NamedTensor*> order;
  for (const NamedTensor& entry : content.tensors) order.push_back(&entry);
  std::stable_sort(order.begin(), order.end(), [](const NamedTensor* a, const NamedTensor* b) {
    return size_of(a->tensor.dtype()) > size_of(b->tensor.dtype());
  });
  const std::string header = header_for(path, content, order);
  const uint64_t length = header.size();
  if (length > kMostHeaderBytes) {
    refuse(path, fmt::format("cannot be written: its header would have {} bytes, more than the {} "
                             "that safetensors allows",
                             length, kMostHeaderBytes));
  }
  AtomicFile file(path);
  file.write(&length, kLengthBytes);
  file.write(header.data(), header.size());
  for (const NamedTensor* entry : order) {
    const Tensor host = entry->tensor.to(Device{});
    file.write(host.raw(), host.bytes());
  }
  file.commit();
}

SafeTensors load_safetensors(const fs::path& path) {
  const std::string file = read_file(path);
  const std::string_view header = header_of(path, file);
  const std::string_view data = std::string_view(file).substr(kLengthBytes + header.size());

  SafeTensors content;
  std::vector<Entry> entries;
  const json parsed = parse_header(path, header);
  for (const auto& [name, value] : parsed.items()) {
    if (name == kMetadata) {
      content.metadata = parse_metadata(path, value);
    } else {
      entries.push_back(parse_entry(path, name, value));
    }
  }
  check_coverage(path, entries, data.size());

  for (const Entry& entry : entries) {
    Tensor tensor = Tensor::empty(entry.shape, entry.type);
    if (tensor.bytes() > 0) std::memcpy(tensor.raw(), data.data() + entry.begin, tensor.bytes());
    content.tensors.push_back({entry.name, std::move(tensor)});
  }
  return content;
}

}  // namespace glassnet
