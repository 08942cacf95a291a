#include "models/safetensors.h"

#include <algorithm>
#include <array>
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

#include "models/shown.h"
#include "tensor/file.h"

namespace glassnet {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

constexpr size_t kLengthBytes = 8;
constexpr uint64_t kMostHeaderBytes = 100'000'000;
constexpr const char* kMetadata = "__metadata__";

constexpr std::array<std::pair<const char*, ElementType>, 10> kTypes = {{
    {"F64", ElementType::kFloat64},
    {"F32", ElementType::kFloat32},
    {"F16", ElementType::kFloat16},
    {"BF16", ElementType::kBFloat16},
    {"I64", ElementType::kInt64},
    {"I32", ElementType::kInt32},
    {"I16", ElementType::kInt16},
    {"I8", ElementType::kInt8},
    {"U8", ElementType::kUInt8},
    {"BOOL", ElementType::kBool},
}};

const char* type_name(ElementType type) {
  return std::find_if(kTypes.begin(), kTypes.end(),
                      [&](const auto& entry) { return entry.second == type; })
      ->first;
}

std::optional<ElementType> type_called(const std::string& name) {
  for (const auto& [known, type] : kTypes) {
    if (name == known) return type;
  }
  return std::nullopt;
}

[[noreturn]] void refuse(const std::string& file, const std::string& what) {
  throw Error(fmt::format("{}: {}", file, what));
}

// --- reading -------------------------------------------------------------------------------------

// What the header says of one tensor.
struct Entry {
  std::string tensor;
  ElementType type = ElementType::kFloat32;
  Shape shape;
  uint64_t begin = 0, end = 0;  // bytes of the data section
};

// The header's JSON text, whose length was checked against the file's size.
std::string_view header_of(const std::string& file, std::string_view bytes) {
  if (bytes.size() < kLengthBytes) {
    refuse(file, fmt::format("too short for safetensors: {} bytes", bytes.size()));
  }
  uint64_t length = 0;
  std::memcpy(&length, bytes.data(), kLengthBytes);
  const std::string_view rest = bytes.substr(kLengthBytes);
  if (length > kMostHeaderBytes && !rest.starts_with('{')) {
    refuse(file, "is no weight file: neither safetensors nor one of PyTorch's");
  }
  if (length > kMostHeaderBytes || length > rest.size()) {
    refuse(file, fmt::format("not safetensors, or cut short: it announces a header of {} bytes and "
                             "has {} bytes in all",
                             length, bytes.size()));
  }
  const std::string_view header = bytes.substr(kLengthBytes, length);
  if (!header.starts_with('{')) {
    refuse(file, "not safetensors: its header does not start with '{'");
  }
  return header;
}

// Duplicate names, which a JSON object silently merges, and nesting deeper and lists longer than
// any header has are refused while parsing, before they take memory.
json parse_header(const std::string& file, std::string_view header) {
  constexpr int kDeepest = 3;  // header, entry, shape
  std::vector<std::set<std::string>> keys;
  int in_list = 0;
  const auto check = [&](int depth, json::parse_event_t event, json& value) {
    switch (event) {
      case json::parse_event_t::object_start:
      case json::parse_event_t::array_start:
        if (depth >= kDeepest) refuse(file, "its safetensors header is nested too deeply");
        if (event == json::parse_event_t::object_start) keys.emplace_back();
        in_list = 0;
        break;
      case json::parse_event_t::object_end:
        keys.pop_back();
        break;
      case json::parse_event_t::value:
        if (depth == kDeepest && ++in_list > Shape::kMaxRank) {
          refuse(file, "its safetensors header holds a list that is too long");
        }
        break;
      case json::parse_event_t::key:
        if (const auto& name = value.get_ref<const std::string&>();
            !keys.back().insert(name).second) {
          refuse(file, fmt::format("its safetensors header holds the name {} twice", shown(name)));
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
    refuse(file, "its safetensors header is not valid JSON");
  }
}

const json& field(const std::string& file, const std::string& tensor, const json& entry,
                  const char* key) {
  if (!entry.is_object() || !entry.contains(key)) {
    refuse(file, fmt::format("tensor {} has no {}", shown(tensor), key));
  }
  return entry[key];
}

Entry parse_entry(const std::string& file, const std::string& name, const json& value) {
  Entry entry;
  entry.tensor = name;

  const json& type = field(file, name, value, "dtype");
  const auto known = type.is_string() ? type_called(type.get<std::string>()) : std::nullopt;
  if (!known) {
    refuse(
        file,
        fmt::format("tensor {} has type {}, expected one of F64, F32, F16, BF16, I64, I32, I16, "
                    "I8, U8, BOOL",
                    shown(name),
                    type.is_string() ? shown(type.get<std::string>()) : std::string("of no name")));
  }
  entry.type = *known;

  const json& shape = field(file, name, value, "shape");
  if (!shape.is_array() || shape.size() > Shape::kMaxRank ||
      !std::all_of(shape.begin(), shape.end(),
                   [](const json& extent) { return extent.is_number_unsigned(); })) {
    refuse(file, fmt::format("the shape of tensor {} is not a list of at most {} whole numbers of "
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
      refuse(file, fmt::format("the shape of tensor {} has too many elements", shown(name)));
    }
    bytes *= std::max<uint64_t>(size, 1);
    dims.push_back(static_cast<int64_t>(size));
  }
  if (empty) bytes = 0;
  entry.shape = Shape(dims);

  const json& offsets = field(file, name, value, "data_offsets");
  if (!offsets.is_array() || offsets.size() != 2 || !offsets[0].is_number_unsigned() ||
      !offsets[1].is_number_unsigned()) {
    refuse(file,
           fmt::format("the data_offsets of tensor {} are not two whole numbers of at least 0",
                       shown(name)));
  }
  entry.begin = offsets[0].get<uint64_t>();
  entry.end = offsets[1].get<uint64_t>();
  if (entry.begin > entry.end || entry.end - entry.begin != bytes) {
    refuse(file, fmt::format("tensor {} of type {} and shape {} takes {} bytes, but its "
                             "data_offsets are {} to {}",
                             shown(name), type_name(entry.type), entry.shape.str(), bytes,
                             entry.begin, entry.end));
  }
  return entry;
}

std::map<std::string, std::string> parse_metadata(const std::string& file, const json& value) {
  std::map<std::string, std::string> metadata;
  if (!value.is_object()) refuse(file, "its safetensors metadata is not an object");
  for (const auto& [key, text] : value.items()) {
    if (!text.is_string()) {
      refuse(file, fmt::format("its safetensors metadata {} is not a string", shown(key)));
    }
    metadata[key] = text.get<std::string>();
  }
  return metadata;
}

// Sorts the entries by offset and sees to it that they cover the data section: every byte belongs
// to exactly one tensor, so that a file holds nothing that is not seen.
void check_coverage(const std::string& file, std::vector<Entry>& entries, uint64_t data_bytes) {
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return std::tie(a.begin, a.end, a.tensor) < std::tie(b.begin, b.end, b.tensor);
  });
  uint64_t covered = 0;
  for (const Entry& entry : entries) {
    if (entry.end > data_bytes) {
      refuse(file, fmt::format("cut short: tensor {} should end at byte {} of the data, which has "
                               "{} bytes",
                               shown(entry.tensor), entry.end, data_bytes));
    }
    if (entry.begin != covered) {
      refuse(file,
             fmt::format("tensor {} starts at byte {} of the data, expected {}: its tensors {}",
                         shown(entry.tensor), entry.begin, covered,
                         entry.begin < covered ? "overlap" : "leave a hole"));
    }
    covered = entry.end;
  }
  if (covered != data_bytes) {
    refuse(file, fmt::format("its tensors end at byte {} of the data, which has {} bytes", covered,
                             data_bytes));
  }
}

// --- writing -------------------------------------------------------------------------------------

std::string header_for(const std::string& file, const TensorFile& content,
                       const std::vector<const StoredTensor*>& order) {
  json header = json::object();
  if (!content.metadata.empty()) header[kMetadata] = content.metadata;
  uint64_t offset = 0;
  for (const StoredTensor* entry : order) {
    if (entry->name == kMetadata || header.contains(entry->name)) {
      refuse(file, fmt::format("cannot be written: expected each tensor named once, got {}",
                               shown(entry->name)));
    }
    const uint64_t end = offset + entry->bytes();
    header[entry->name] = {{"dtype", type_name(entry->type)},
                           {"shape", entry->shape.dims()},
                           {"data_offsets", {offset, end}}};
    offset = end;
  }
  try {
    std::string text = header.dump();
    text.resize((text.size() + 7) / 8 * 8, ' ');
    return text;
  } catch (const json::exception&) {
    refuse(file, "cannot be written: a name in it is not UTF-8");
  }
}

}  // namespace

TensorFile parse_safetensors(const std::string& name, const SharedBytes& file) {
  const std::string_view header = header_of(name, file.bytes);
  const std::string_view data = file.bytes.substr(kLengthBytes + header.size());

  TensorFile content{.format = "safetensors", .owners = {file.owner}};
  std::vector<Entry> entries;
  const json parsed = parse_header(name, header);
  for (const auto& [key, value] : parsed.items()) {
    if (key == kMetadata) {
      content.metadata = parse_metadata(name, value);
    } else {
      entries.push_back(parse_entry(name, key, value));
    }
  }
  check_coverage(name, entries, data.size());
  for (Entry& entry : entries) {
    content.tensors.push_back(
        {.name = std::move(entry.tensor),
         .type = entry.type,
         .shape = entry.shape,
         .data = reinterpret_cast<const std::byte*>(data.data()) + entry.begin});
  }
  return content;
}

void save_safetensors(const fs::path& path, const TensorFile& content) {
  std::vector<const StoredTensor*> order;
  for (const StoredTensor& entry : content.tensors) order.push_back(&entry);
  std::stable_sort(order.begin(), order.end(), [](const StoredTensor* a, const StoredTensor* b) {
    return size_of(a->type) > size_of(b->type);
  });
  const std::string header = header_for(path.string(), content, order);
  const uint64_t length = header.size();
  if (length > kMostHeaderBytes) {
    refuse(path.string(), fmt::format("cannot be written: its header would have {} bytes, more "
                                      "than the {} that safetensors allows",
                                      length, kMostHeaderBytes));
  }
  AtomicFile file(path);
  file.write(&length, kLengthBytes);
  file.write(header.data(), header.size());
  std::vector<std::byte> dense;
  for (const StoredTensor* entry : order) {
    dense.resize(entry->bytes());
    copy_elements(*entry, dense.data());
    file.write(dense.data(), dense.size());
  }
  file.commit();
}

void save_safetensors(const fs::path& path, const SafeTensors& content) {
  TensorFile file{.metadata = content.metadata};
  std::vector<Tensor> on_host;  // that the views look at
  for (const NamedTensor& entry : content.tensors) {
    if (!entry.tensor.defined()) {
      refuse(path.string(),
             fmt::format("cannot be written: the tensor {} is not defined", shown(entry.name)));
    }
    on_host.push_back(entry.tensor.to(Device{}));
    file.tensors.push_back(stored_view(entry.name, on_host.back()));
  }
  save_safetensors(path, file);
}

SafeTensors load_safetensors(const fs::path& path) {
  const TensorFile file = parse_safetensors(path.string(), map_file(path));
  SafeTensors content{.metadata = file.metadata};
  for (const StoredTensor& entry : file.tensors) {
    content.tensors.push_back({entry.name, to_tensor(entry)});
  }
  return content;
}

}  // namespace glassnet
