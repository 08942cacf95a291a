#include "models/torch_file.h"

#include <algorithm>
#include <cstring>
#include <functional>
#include <limits>
#include <map>
#include <optional>
#include <set>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "kernels/error.h"
#include "models/pickle.h"
#include "models/shown.h"
#include "models/strides.h"
#include "models/zip.h"

namespace glassnet {
namespace {

namespace fs = std::filesystem;
using pickle::Pickle;
using pickle::Value;
using Kind = Value::Kind;

constexpr const char* kFormat = "PyTorch";
constexpr const char* kLegacyFormat = "PyTorch before 1.6";

// --- names ---------------------------------------------------------------------------------------

// What a name in the pickle stands for.
enum class Meaning {
  kStorage,    // the type of a storage
  kTensor,     // (storage, offset, shape, strides, …) -> tensor
  kParameter,  // (tensor, …) -> the same tensor, to be trained
  kSize,       // (tuple) -> the same tuple
  kOther,      // harmless, and nothing that a tensor is made of
};
struct KnownName {
  std::string_view module, name;
  Meaning meaning;
  ElementType type = ElementType::kUInt8;  // of a storage
};
constexpr KnownName kNames[] = {
    {"torch._utils", "_rebuild_tensor_v2", Meaning::kTensor},
    {"torch._utils", "_rebuild_tensor", Meaning::kTensor},
    {"torch._utils", "_rebuild_parameter", Meaning::kParameter},
    {"torch._utils", "_rebuild_parameter_with_state", Meaning::kParameter},
    {"torch", "FloatStorage", Meaning::kStorage, ElementType::kFloat32},
    {"torch", "LongStorage", Meaning::kStorage, ElementType::kInt64},
    {"torch", "HalfStorage", Meaning::kStorage, ElementType::kFloat16},
    {"torch", "BFloat16Storage", Meaning::kStorage, ElementType::kBFloat16},
    {"torch", "DoubleStorage", Meaning::kStorage, ElementType::kFloat64},
    {"torch", "IntStorage", Meaning::kStorage, ElementType::kInt32},
    {"torch", "ShortStorage", Meaning::kStorage, ElementType::kInt16},
    {"torch", "CharStorage", Meaning::kStorage, ElementType::kInt8},
    {"torch", "ByteStorage", Meaning::kStorage, ElementType::kUInt8},
    {"torch", "BoolStorage", Meaning::kStorage, ElementType::kBool},
    {"torch", "UntypedStorage", Meaning::kStorage, ElementType::kUInt8},
    {"torch", "Size", Meaning::kSize},
    {"torch", "device", Meaning::kOther},
    {"torch", "float64", Meaning::kOther},
    {"torch", "float32", Meaning::kOther},
    {"torch", "float16", Meaning::kOther},
    {"torch", "bfloat16", Meaning::kOther},
    {"torch", "int64", Meaning::kOther},
    {"torch", "int32", Meaning::kOther},
    {"torch", "int16", Meaning::kOther},
    {"torch", "int8", Meaning::kOther},
    {"torch", "uint8", Meaning::kOther},
    {"torch", "bool", Meaning::kOther},
    {"torch.serialization", "_get_layout", Meaning::kOther},
    {"collections", "Counter", Meaning::kOther},  // of learning rate schedules
    {"_codecs", "encode", Meaning::kOther},       // bytes, before protocol 3
};
constexpr int64_t kHowManyNames = std::size(kNames);

// A storage's type as the pickle names it.
std::string_view storage_name(ElementType type) {
  return std::find_if(std::begin(kNames), std::end(kNames),
                      [&](const KnownName& known) {
                        return known.meaning == Meaning::kStorage && known.type == type;
                      })
      ->name;
}

// The place in kNames. Storages are named as torch.storage's, too.
pickle::Names names_for(const std::string& file) {
  return [&file](std::string_view module, std::string_view name) -> int64_t {
    const std::string_view home = module == "torch.storage" ? "torch" : module;
    for (int64_t i = 0; i < kHowManyNames; ++i) {
      if (kNames[i].name == name && kNames[i].module == home) return i;
    }
    const std::string asked =
        shown(std::string(module.substr(0, 100)).append(".").append(name.substr(0, 100)));
    for (const std::string_view package : {"torch.nn.", "torchvision.", "__main__"}) {
      if (module.starts_with(package)) {
        throw Error(fmt::format(
            "{}: it holds a whole pickled model ({}), which only its own Python code can build: "
            "save model.state_dict() instead of the model; nothing was executed",
            file, asked));
      }
    }
    throw Error(fmt::format(
        "{}: its pickle asks for {}, which is not part of a file of plain tensors; nothing was "
        "executed",
        file, asked));
  };
}

// --- tensors -------------------------------------------------------------------------------------

// What the pickle says of a storage: the key by which its elements are found, and how many there
// are. Before 1.6 it may be a view, a part of the elements under the key.
struct StorageId {
  ElementType type = ElementType::kFloat32;
  std::string_view key;
  int64_t numel = 0;
  int64_t view_begin = 0, view_numel = 0;

  uint64_t bytes() const { return static_cast<uint64_t>(numel) * size_of(type); }
};
// The first element under a key, when there are as many as the id says; throws otherwise.
using FindStorage = std::function<const std::byte*(const StorageId&)>;

// An expanded tensor, which reaches elements again and again, has no more elements than this.
constexpr int64_t kMostExpanded = int64_t{1} << 20;
constexpr size_t kLongestKey = 100;

// Reads the state dict that a pickle describes.
class StateDictReader {
 public:
  StateDictReader(const std::string& file, const Pickle& pickle) : file_(file), pickle_(pickle) {}

  // Names, and what the pickle says of the tensors.
  TensorFile read(const FindStorage& find_storage) const;
  StorageId storage_of(const Value& persistent) const;

 private:
  using Entry =
      std::pair<std::string_view, const Value*>;  // a name, and a call that makes a tensor

  [[noreturn]] void refuse(const std::string& what) const {
    throw Error(fmt::format("{}: {}", file_, what));
  }
  [[noreturn]] void refuse(std::string_view tensor, const std::string& what) const {
    refuse(fmt::format("tensor {} {}", shown(tensor), what));
  }
  const Value& at(pickle::Index index) const { return pickle_[index]; }

  // A call's arguments.
  const std::vector<pickle::Index>& arguments(const Value& call) const {
    return at(call.items[0]).items;
  }
  bool is_call_of(const Value& value, Meaning meaning) const {
    return value.kind == Kind::kCall && kNames[value.number].meaning == meaning;
  }
  const Value* tensor_call(const Value& value) const;
  std::vector<Entry> tensors_in(const Value& dict) const;
  std::vector<Entry> find_state_dict() const;
  std::optional<std::vector<int64_t>> numbers_in(const Value& value) const;
  StoredTensor tensor_of(const Entry& entry, const FindStorage& find_storage) const;

  const std::string& file_;
  const Pickle& pickle_;
};

// The call that makes the tensor, also where that is a parameter; null for what is not a tensor.
const Value* StateDictReader::tensor_call(const Value& value) const {
  if (is_call_of(value, Meaning::kTensor)) return &value;
  if (!is_call_of(value, Meaning::kParameter) || arguments(value).empty()) return nullptr;
  const Value& tensor = at(arguments(value)[0]);
  return is_call_of(tensor, Meaning::kTensor) ? &tensor : nullptr;
}

std::vector<StateDictReader::Entry> StateDictReader::tensors_in(const Value& dict) const {
  std::vector<Entry> found;
  if (dict.kind != Kind::kDict) return found;
  for (size_t i = 0; i < dict.items.size(); i += 2) {
    const Value& key = at(dict.items[i]);
    const Value* call = tensor_call(at(dict.items[i + 1]));
    if (key.kind == Kind::kString && call != nullptr) found.emplace_back(key.text, call);
  }
  return found;
}

std::vector<StateDictReader::Entry> StateDictReader::find_state_dict() const {
  const Value& root = at(pickle_.root);
  if (tensor_call(root) != nullptr) {
    refuse("it holds a tensor without a name: save a dict of tensors, such as model.state_dict()");
  }
  if (root.kind != Kind::kDict) {
    refuse(fmt::format("it holds {}: save a dict of tensors, such as model.state_dict()",
                       root.kind == Kind::kList || root.kind == Kind::kTuple
                           ? "a list without names"
                           : "neither tensors nor a dict"));
  }
  for (const std::string_view usual : {"state_dict", "model_state_dict", "model"}) {
    for (size_t i = 0; i < root.items.size(); i += 2) {
      const Value& key = at(root.items[i]);
      if (key.kind != Kind::kString || key.text != usual) continue;
      std::vector<Entry> found = tensors_in(at(root.items[i + 1]));
      if (!found.empty()) return found;
    }
  }
  std::vector<Entry> found = tensors_in(root);
  if (found.empty()) {
    refuse(
        "its dict holds no tensors, and neither does one under \"state_dict\", "
        "\"model_state_dict\" or \"model\" in it");
  }
  return found;
}

// What DataParallel and torch.compile put before every name, as often as they did.
std::string_view common_prefix(const std::vector<std::string_view>& names) {
  size_t taken = 0;
  for (bool again = true; again;) {
    again = false;
    for (const std::string_view prefix : {"module.", "_orig_mod."}) {
      const bool everywhere = std::all_of(names.begin(), names.end(), [&](std::string_view name) {
        return name.size() > taken + prefix.size() && name.substr(taken).starts_with(prefix);
      });
      if (!everywhere) continue;
      taken += prefix.size();
      again = true;
    }
  }
  return names.front().substr(0, taken);
}

TensorFile StateDictReader::read(const FindStorage& find_storage) const {
  const std::vector<Entry> entries = find_state_dict();
  std::set<std::string_view> seen;
  std::vector<std::string_view> names;
  for (const auto& [name, call] : entries) {
    if (!seen.insert(name).second) refuse(name, "occurs twice");
    names.push_back(name);
  }
  TensorFile content;
  content.prefix = common_prefix(names);
  for (const Entry& entry : entries) {
    content.tensors.push_back(tensor_of(entry, find_storage));
    content.tensors.back().name.erase(0, content.prefix.size());
  }
  return content;
}

// ("storage", type, key, device, numel), and before 1.6 a view: None, or (key, offset, numel).
StorageId StateDictReader::storage_of(const Value& persistent) const {
  const auto damaged = [&] {
    refuse("its pickle is damaged: it refers to a storage by what is not a storage's id");
  };
  const Value& id = at(persistent.items[0]);
  if (id.kind != Kind::kTuple || id.items.size() < 5 || id.items.size() > 6) damaged();
  const Value &what = at(id.items[0]), &type = at(id.items[1]), &key = at(id.items[2]),
              &numel = at(id.items[4]);
  if (what.kind != Kind::kString || what.text != "storage" || type.kind != Kind::kGlobal ||
      type.number < 0 || kNames[type.number].meaning != Meaning::kStorage ||
      key.kind != Kind::kString || key.text.size() > kLongestKey || numel.kind != Kind::kInt) {
    damaged();
  }
  StorageId storage{.type = kNames[type.number].type,
                    .key = key.text,
                    .numel = numel.number,
                    .view_numel = numel.number};
  constexpr int64_t kMost = std::numeric_limits<int64_t>::max() / 8;  // the size of the widest
  if (storage.numel < 0 || storage.numel > kMost) damaged();
  if (id.items.size() == 6 && at(id.items[5]).kind != Kind::kNone) {
    const Value& view = at(id.items[5]);
    if (view.kind != Kind::kTuple || view.items.size() != 3) damaged();
    const Value &begin = at(view.items[1]), &count = at(view.items[2]);
    if (begin.kind != Kind::kInt || count.kind != Kind::kInt || begin.number < 0 ||
        count.number < 0 || begin.number > storage.numel ||
        count.number > storage.numel - begin.number) {
      refuse(fmt::format("its pickle is damaged: a view reaches beyond storage {}",
                         shown(storage.key)));
    }
    storage.view_begin = begin.number;
    storage.view_numel = count.number;
  }
  return storage;
}

// Nothing for a dense tensor. The stride of an axis of extent 1, which is never taken and may be
// any number in the file, becomes what a dense tensor has.
std::vector<int64_t> strides_unless_dense(const Shape& shape, const std::vector<int64_t>& strides) {
  std::vector<int64_t> dense = dense_strides(shape), used = dense;
  for (size_t axis = 0; axis < used.size(); ++axis) {
    if (shape[static_cast<int>(axis)] > 1) used[axis] = strides[axis];
  }
  return used == dense ? std::vector<int64_t>() : used;
}

// A tuple of whole numbers, at least 0; nothing for what is something else.
std::optional<std::vector<int64_t>> StateDictReader::numbers_in(const Value& value) const {
  const Value* tuple = &value;
  if (is_call_of(value, Meaning::kSize) && arguments(value).size() == 1) {
    tuple = &at(arguments(value)[0]);
  }
  if (tuple->kind != Kind::kTuple) return std::nullopt;
  std::vector<int64_t> numbers;
  for (const pickle::Index item : tuple->items) {
    if (at(item).kind != Kind::kInt || at(item).number < 0) return std::nullopt;
    numbers.push_back(at(item).number);
  }
  return numbers;
}

// Of the arguments only the first four say where the elements are. Every one is reached within
// the storage:  offset + sum over the axes of (extent - 1) * stride < numel.
StoredTensor StateDictReader::tensor_of(const Entry& entry, const FindStorage& find_storage) const {
  const auto& [name, call] = entry;
  const std::vector<pickle::Index>& given = arguments(*call);
  if (given.size() < 4 || at(given[0]).kind != Kind::kPersistent) {
    refuse(name, "is not described by a storage, an offset, a shape and strides");
  }
  const StorageId storage = storage_of(at(given[0]));
  const Value& offset = at(given[1]);
  if (offset.kind != Kind::kInt || offset.number < 0) {
    refuse(name, "has an offset that is not a whole number of at least 0");
  }
  const auto extents = numbers_in(at(given[2])), strides = numbers_in(at(given[3]));
  if (!extents || !strides || extents->size() != strides->size()) {
    refuse(name, "has a shape and strides that are not as many whole numbers of at least 0");
  }
  if (extents->size() > Shape::kMaxRank) {
    refuse(name, fmt::format("has {} axes, expected at most {}", extents->size(), Shape::kMaxRank));
  }

  // A shape with an extent of 0 has no element, and its other extents may be anything that can be
  // multiplied.
  const bool empty = std::find(extents->begin(), extents->end(), 0) != extents->end();
  const int64_t most =
      empty ? std::numeric_limits<int64_t>::max() / 8 : std::max(storage.view_numel, kMostExpanded);
  int64_t numel = 1;
  for (const int64_t extent : *extents) {
    if (extent > most / numel) {
      refuse(name,
             fmt::format("has more elements than its storage, which has {}", storage.view_numel));
    }
    numel *= std::max<int64_t>(extent, 1);
  }
  int64_t last = offset.number;
  for (size_t axis = 0; axis < extents->size() && !empty; ++axis) {
    const int64_t steps = (*extents)[axis] - 1, stride = (*strides)[axis];
    if (steps > 0 && stride > (std::numeric_limits<int64_t>::max() - last) / steps) {
      refuse(name, fmt::format("reaches beyond its storage of {} elements", storage.view_numel));
    }
    last += steps * stride;
  }
  if (!empty && last >= storage.view_numel) {
    refuse(name, fmt::format("reaches element {} of its storage, which has {}", last,
                             storage.view_numel));
  }

  StoredTensor tensor{.name = std::string(name), .type = storage.type, .shape = Shape(*extents)};
  if (!empty) tensor.strides = strides_unless_dense(tensor.shape, *strides);
  const std::byte* data = find_storage(storage);
  if (!empty) {
    tensor.data =
        data + static_cast<uint64_t>(storage.view_begin + offset.number) * size_of(storage.type);
  }
  return tensor;
}

// --- the zip form --------------------------------------------------------------------------------

// An archive of 85'000 values has a pickle of 2 MiB.
constexpr uint64_t kMostPickleBytes = uint64_t{16} << 20;

constexpr const char* kMetadata = "extra/glassnet.json";
constexpr uint64_t kMostMetadataBytes = uint64_t{1} << 20;

// {"name": "text", …}; nothing else, before it takes memory.
std::map<std::string, std::string> parse_metadata(const std::string& file, std::string_view text) {
  using nlohmann::json;
  const auto refuse = [&] {
    throw Error(fmt::format("{}: its {} is not a JSON object of strings", file, kMetadata));
  };
  const auto flat = [&](int depth, json::parse_event_t event, json&) {
    const bool list = event == json::parse_event_t::array_start;
    if (list || (event == json::parse_event_t::object_start && depth > 0)) refuse();
    return true;
  };
  try {
    return json::parse(text, flat).get<std::map<std::string, std::string>>();
  } catch (const json::exception&) {
    refuse();
  }
  return {};
}

// The folder in which everything lies: that of the only data.pkl in a folder.
std::string folder_of(const std::string& file, const ZipReader& archive) {
  constexpr std::string_view kPickle = "/data.pkl";
  std::optional<std::string> folder;
  for (const auto& [name, entry] : archive.entries()) {
    if (!name.ends_with(kPickle) || name.find('/') != name.size() - kPickle.size()) continue;
    if (folder) {
      throw Error(fmt::format("{}: its zip archive has two folders with a data.pkl", file));
    }
    folder = name.substr(0, name.size() - kPickle.size());
  }
  if (!folder) {
    throw Error(
        fmt::format("{}: this is a zip archive without a data.pkl in a folder, so it is "
                    "not from torch.save",
                    file));
  }
  return *folder;
}

TensorFile parse_zip_form(const std::string& name, const SharedBytes& file) {
  ZipReader archive(name, file);
  const std::string folder = folder_of(name, archive);
  for (const auto& [entry, about] : archive.entries()) {
    if (entry == folder + "/constants.pkl" || entry.starts_with(folder + "/code/")) {
      throw Error(
          fmt::format("{}: this is TorchScript, a program with its weights: write the weights with "
                      "torch.save(torch.jit.load(…).state_dict(), …); nothing was executed",
                      name));
    }
  }
  bool swapped = false;
  if (archive.entries().contains(folder + "/byteorder")) {
    const std::string_view order = archive.read(folder + "/byteorder");
    require(order == "little" || order == "big", [&] {
      return fmt::format("{}: its byteorder is {}, expected \"little\" or \"big\"", name,
                         shown(order));
    });
    swapped = order == "big";
  }

  const std::string pickle_name = folder + "/data.pkl";
  require(archive.entries().at(pickle_name).size <= kMostPickleBytes, [&] {
    return fmt::format("{}: its data.pkl has {} bytes, too many for a file of tensors", name,
                       archive.entries().at(pickle_name).size);
  });
  const Pickle pickle = pickle::parse(name, archive.read(pickle_name), names_for(name));
  const std::string metadata_name = fmt::format("{}/{}", folder, kMetadata);
  std::map<std::string, std::string> metadata;
  if (const auto found = archive.entries().find(metadata_name); found != archive.entries().end()) {
    require(found->second.size <= kMostMetadataBytes, [&] {
      return fmt::format("{}: its {} has {} bytes, too many for metadata", name, kMetadata,
                         found->second.size);
    });
    metadata = parse_metadata(name, archive.read(metadata_name));
  }
  archive.check_ahead(folder + "/data/");
  TensorFile content = StateDictReader(name, pickle).read([&](const StorageId& storage) {
    const std::string entry = fmt::format("{}/data/{}", folder, storage.key);
    const auto found = archive.entries().find(entry);
    require(found == archive.entries().end() || found->second.size == storage.bytes(), [&] {
      return fmt::format("{}: its zip entry {} has {} bytes, expected {} for {} elements of {}",
                         name, shown(entry), found->second.size, storage.bytes(), storage.numel,
                         name_of(storage.type));
    });
    return reinterpret_cast<const std::byte*>(archive.read(entry).data());
  });
  for (StoredTensor& tensor : content.tensors) tensor.swapped = swapped && size_of(tensor.type) > 1;
  content.metadata = std::move(metadata);
  content.format = kFormat;
  content.owners = archive.owners();
  return content;
}

// --- the form before 1.6 -------------------------------------------------------------------------

constexpr std::string_view kMagic{"\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19", 10};
constexpr int64_t kLegacyVersion = 1001;

// Elements are little-endian whatever the machine that wrote them, so that its properties, the
// third pickle, say nothing that is of use.
class LegacyReader {
 public:
  LegacyReader(const std::string& name, const SharedBytes& file)
      : name_(name), file_(file), rest_(file.bytes) {}

  TensorFile read() {
    const Pickle magic = next_pickle();
    if (root_of(magic).kind != Kind::kLong || root_of(magic).text != kMagic) {
      refuse("this is a pickle, but not one from torch.save");
    }
    const Pickle version = next_pickle();
    if (root_of(version).kind != Kind::kInt || root_of(version).number != kLegacyVersion) {
      refuse(fmt::format("its version is not {}, the only one before PyTorch 1.6", kLegacyVersion));
    }
    next_pickle();
    const Pickle pickle = next_pickle();
    const StateDictReader state_dict(name_, pickle);
    read_storages(pickle, state_dict);
    TensorFile content =
        state_dict.read([&](const StorageId& storage) { return found_.at(storage.key).second; });
    content.format = kLegacyFormat;
    content.owners = {file_.owner};
    return content;
  }

 private:
  [[noreturn]] void refuse(const std::string& what) const {
    throw Error(fmt::format("{}: {}", name_, what));
  }
  static const Value& root_of(const Pickle& pickle) { return pickle[pickle.root]; }
  Pickle next_pickle() {
    Pickle pickle = pickle::parse(name_, rest_, names_for(name_));
    rest_.remove_prefix(pickle.size);
    return pickle;
  }

  // How many elements a key has, and of which type, stands in the ids of the state dict.
  void read_storages(const Pickle& pickle, const StateDictReader& state_dict) {
    for (const Value& value : pickle.values) {
      if (value.kind != Kind::kPersistent) continue;
      const StorageId storage = state_dict.storage_of(value);
      const StorageId& first =
          found_.try_emplace(storage.key, storage, nullptr).first->second.first;
      if (first.type != storage.type || first.numel != storage.numel) {
        refuse(fmt::format("its pickle describes storage {} in two ways", shown(storage.key)));
      }
    }
    const Pickle keys = next_pickle();
    if (root_of(keys).kind != Kind::kList) refuse("its list of storages is not a list");
    size_t read = 0;
    for (const pickle::Index index : root_of(keys).items) {
      const Value& key = keys[index];
      const auto known = key.kind == Kind::kString ? found_.find(key.text) : found_.end();
      if (known == found_.end() || known->second.second != nullptr) {
        refuse("its list of storages names one that no tensor has, or one twice");
      }
      auto& [storage, data] = known->second;
      const std::string_view count = take(sizeof(int64_t), storage);
      int64_t numel = 0;
      std::memcpy(&numel, count.data(), sizeof(numel));
      if (numel != storage.numel) {
        refuse(fmt::format("its storage {} has {} elements, expected {}", shown(storage.key), numel,
                           storage.numel));
      }
      data = reinterpret_cast<const std::byte*>(take(storage.bytes(), storage).data());
      ++read;
    }
    if (read != found_.size()) refuse("its list of storages lacks one that a tensor has");
  }

  std::string_view take(uint64_t bytes, const StorageId& storage) {
    if (bytes > rest_.size()) {
      refuse(fmt::format("cut short: storage {} needs {} bytes and {} are left", shown(storage.key),
                         bytes, rest_.size()));
    }
    const std::string_view taken = rest_.substr(0, bytes);
    rest_.remove_prefix(bytes);
    return taken;
  }

  const std::string& name_;
  const SharedBytes& file_;
  std::string_view rest_;
  std::map<std::string_view, std::pair<StorageId, const std::byte*>> found_;  // by key
};

// --- writing -------------------------------------------------------------------------------------

// Writes a pickle of protocol 2, opcode by opcode.
class PickleWriter {
 public:
  PickleWriter& op(std::string_view opcodes) {
    bytes_ += opcodes;
    return *this;
  }
  PickleWriter& global(std::string_view module, std::string_view name) {
    return op("c").op(module).op("\n").op(name).op("\n");
  }
  PickleWriter& string(std::string_view text) {
    return op("X").number<uint32_t>(text.size()).op(text);
  }
  PickleWriter& integer(int64_t value) {
    if (value <= std::numeric_limits<int32_t>::max()) return op("J").number<int32_t>(value);
    return op("\x8a\x08").number<int64_t>(value);
  }
  PickleWriter& tuple(const std::vector<int64_t>& values) {
    op("(");
    for (const int64_t value : values) integer(value);
    return op("t");
  }
  const std::string& bytes() const { return bytes_; }

 private:
  template <class Number, class Given>
  PickleWriter& number(Given given) {
    const auto value = static_cast<Number>(given);
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof(value));
    return *this;
  }

  std::string bytes_;
};

// OrderedDict((name, tensor), …); the tensor at place i is the whole of storage i.
std::string pickle_of(const TensorFile& content) {
  PickleWriter pickle;
  pickle.op("\x80\x02").global("collections", "OrderedDict").op(")R(");
  for (size_t i = 0; i < content.tensors.size(); ++i) {
    const StoredTensor& tensor = content.tensors[i];
    pickle.string(tensor.name).global("torch._utils", "_rebuild_tensor_v2").op("(");
    pickle.op("(").string("storage").global("torch", storage_name(tensor.type));
    pickle.string(std::to_string(i)).string("cpu").integer(tensor.shape.numel()).op("tQ");
    pickle.integer(0).tuple(tensor.shape.dims()).tuple(dense_strides(tensor.shape));
    // No gradient is required, and there are no hooks on it.
    pickle.op("\x89").global("collections", "OrderedDict").op(")R").op("tR");
  }
  return pickle.op("u.").bytes();
}

void check_names(const fs::path& path, const TensorFile& content) {
  std::set<std::string_view> seen;
  for (const StoredTensor& tensor : content.tensors) {
    require(seen.insert(tensor.name).second, [&] {
      return fmt::format("{}: cannot be written: the name {} occurs twice", path.string(),
                         shown(tensor.name));
    });
    try {
      static_cast<void>(nlohmann::json(tensor.name).dump());
    } catch (const nlohmann::json::exception&) {
      throw Error(fmt::format("{}: cannot be written: the name {} is not UTF-8", path.string(),
                              shown(tensor.name)));
    }
  }
}

// Tensors of one storage have their own elements once they are copied, and so do those of an
// expanded tensor.
void check_growth(const std::string& name, uint64_t file_bytes, const TensorFile& content) {
  const uint64_t most = most_contents(file_bytes);
  uint64_t total = 0;
  for (const StoredTensor& tensor : content.tensors) {
    total += tensor.bytes();
    require(total <= most, [&] {
      return fmt::format("{}: its tensors expand to more than {} bytes, which weights do not", name,
                         most);
    });
  }
}

}  // namespace

TensorFile parse_torch_file(const std::string& name, const SharedBytes& file) {
  const bool zip = file.bytes.starts_with("PK");
  constexpr size_t kTarMagic = 257;
  require(
      zip || file.bytes.size() < kTarMagic || !file.bytes.substr(kTarMagic).starts_with("ustar"),
      [&] {
        return fmt::format(
            "{}: this is the tar archive of PyTorch 0.1, which is not read: load it with PyTorch 1 "
            "or "
            "2 and save its state dict again",
            name);
      });
  TensorFile content = zip ? parse_zip_form(name, file) : LegacyReader(name, file).read();
  check_growth(name, file.bytes.size(), content);
  return content;
}

void save_torch_file(const fs::path& path, const TensorFile& content) {
  check_names(path, content);
  std::string metadata;
  try {
    metadata = nlohmann::json(content.metadata).dump();
  } catch (const nlohmann::json::exception&) {
    throw Error(fmt::format("{}: cannot be written: its metadata is not UTF-8", path.string()));
  }
  require(metadata.size() <= kMostMetadataBytes, [&] {
    return fmt::format("{}: cannot be written: its metadata has {} bytes, more than the {} allowed",
                       path.string(), metadata.size(), kMostMetadataBytes);
  });
  std::string folder = path.stem().string();
  if (folder.empty() || folder == "." || folder == "..") folder = "archive";

  AtomicFile file(path);
  ZipWriter archive(file);
  const auto add = [&](const std::string& entry, std::string_view contents) {
    archive.add(fmt::format("{}/{}", folder, entry), contents.data(), contents.size());
  };
  add("data.pkl", pickle_of(content));
  add("byteorder", "little");
  for (size_t i = 0; i < content.tensors.size(); ++i) {
    const StoredTensor& tensor = content.tensors[i];
    std::vector<std::byte> copy;
    const std::byte* data = tensor.data;
    if (tensor.swapped || !tensor.strides.empty()) {
      copy.resize(tensor.bytes());
      copy_elements(tensor, copy.data());
      data = copy.data();
    }
    add(fmt::format("data/{}", i), {reinterpret_cast<const char*>(data), tensor.bytes()});
  }
  add("version", "3\n");
  if (!content.metadata.empty()) add(kMetadata, metadata);
  archive.finish();
  file.commit();
}

}  // namespace glassnet
