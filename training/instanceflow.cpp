#include "training/instanceflow.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <string_view>
#include <tuple>
#include <unordered_set>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "kernels/error.h"
#include "tensor/file.h"

namespace glassnet {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;
using Ordered = nlohmann::ordered_json;
// A name need not be UTF-8, but JSON must.
constexpr auto kReplace = Ordered::error_handler_t::replace;

// Text of a file's, short enough for a sentence and without what a terminal would obey.
std::string shown(const Json& value) {
  constexpr size_t kLongest = 40;
  // Of a list or an object the first letters would say little.
  if (value.is_structured()) return value.is_array() ? "a list" : "an object";
  std::string text = value.dump(-1, ' ', true, Json::error_handler_t::replace);
  if (text.size() > kLongest) text = text.substr(0, kLongest) + "...";
  return text;
}

// One value of the document, and where it is: "epochs[3].classifications[7]".
class Place {
 public:
  Place(const Json& value, const std::string& file, std::string where)
      : value_(value), file_(file), where_(std::move(where)) {}

  [[noreturn]] void fail(const std::string& expectation) const {
    throw Error(
        fmt::format("{}: {}{}expected {}", file_, where_, where_.empty() ? "" : ": ", expectation));
  }
  void expect(bool holds, const std::string& expectation) const {
    if (!holds) fail(fmt::format("{}, got {}", expectation, shown(value_)));
  }

  Place at(const char* key) const {
    expect(value_.is_object(), "an object");
    const auto found = value_.find(key);
    if (found == value_.end()) fail(fmt::format("an object with the key \"{}\"", key));
    return {*found, file_, where_.empty() ? key : fmt::format("{}.{}", where_, key)};
  }
  // A list that is not empty.
  size_t length() const {
    expect(value_.is_array(), "a list");
    if (value_.empty()) fail("a list that is not empty");
    return value_.size();
  }
  Place operator[](size_t index) const {
    return {value_[index], file_, fmt::format("{}[{}]", where_, index)};
  }
  const std::string& text() const {
    expect(value_.is_string(), "a string");
    return value_.get_ref<const std::string&>();
  }
  const Json& value() const { return value_; }

 private:
  const Json& value_;
  const std::string& file_;
  std::string where_;
};

// An index into `classes`; -1 when it is none. JSON Schema takes 1.0 for an integer.
int32_t class_of(const Json& value, size_t classes) {
  if (!value.is_number()) return -1;
  const auto number = value.get<double>();
  if (!(number >= 0) || number >= static_cast<double>(classes) || number != std::floor(number)) {
    return -1;
  }
  return static_cast<int32_t>(number);
}

std::string class_expected(size_t classes) {
  return fmt::format("a class from 0 to {}", classes - 1);
}

void read_labels(const Place& labels, History& history) {
  std::map<std::string, size_t> first;
  const size_t count = labels.length();
  if (count > static_cast<size_t>(kMostClasses)) {
    labels.fail(fmt::format("at most {} labels, got {}", kMostClasses, count));
  }
  for (size_t i = 0; i < count; ++i) {
    const std::string& label = labels[i].text();
    const auto [same, fresh] = first.emplace(label, i);
    if (!fresh) labels[i].expect(false, fmt::format("another label than labels[{}]", same->second));
    history.classes.push_back(label);
  }
}

void read_instances(const Place& instances, History& history) {
  std::map<std::tuple<std::string, int32_t, std::string>, size_t> first;
  const size_t count = instances.length(), classes = history.classes.size();
  for (size_t i = 0; i < count; ++i) {
    const Place instance = instances[i];
    const Place actual = instance.at("actual");
    HistoryImage image{.id = instance.at("id").text(),
                       .true_class = class_of(actual.value(), classes),
                       .picture = instance.at("image").text()};
    actual.expect(image.true_class >= 0, class_expected(classes));
    const auto [same, fresh] =
        first.emplace(std::tuple(image.id, image.true_class, image.picture), i);
    if (!fresh) instance.fail(fmt::format("another instance than instances[{}]", same->second));
    history.images.push_back(std::move(image));
  }
}

void read_epochs(const Place& epochs, History& history) {
  std::multimap<std::string, int64_t> earlier;  // their numbers by name
  const size_t count = epochs.length(), images = history.images.size();
  const size_t classes = history.classes.size();
  for (size_t t = 0; t < count; ++t) {
    const Place epoch = epochs[t];
    const std::string& name = epoch.at("id").text();
    const Place list = epoch.at("classifications");
    if (list.length() != images) {
      list.fail(fmt::format("{} classes, one for each instance, got {}", images, list.length()));
    }
    for (size_t i = 0; i < images; ++i) {
      const int32_t label = class_of(list.value()[i], classes);
      if (label < 0) list[i].expect(false, class_expected(classes));
      history.predicted.push_back(label);
    }
    history.epoch_names.push_back(name);
    const int32_t* row = history.row(history.epochs());
    const auto [begin, end] = earlier.equal_range(name);
    for (auto same = begin; same != end; ++same) {
      if (std::equal(row, row + images, history.row(same->second))) {
        epoch.fail(fmt::format("another epoch than epochs[{}]", same->second - 1));
      }
    }
    earlier.emplace(name, history.epochs());
  }
}

Json parse(const std::string& bytes, const std::string& name) {
  Json document = Json::parse(bytes, nullptr, /*allow_exceptions=*/false);
  if (!document.is_discarded()) return document;
  // Once more with U+FFFD for what is no UTF-8, which a JSON string's way out and back gives.
  const std::string quoted = Json(bytes).dump(-1, ' ', false, Json::error_handler_t::replace);
  try {
    return Json::parse(Json::parse(quoted).get_ref<const std::string&>());
  } catch (const Json::parse_error& error) {
    throw Error(fmt::format("{}: is no JSON, from byte {} on", name, error.byte));
  }
}

}  // namespace

History parse_instanceflow(const std::string& bytes, const std::string& name) {
  const Json document = parse(bytes, name);
  require(!document.is_object() || !document.contains("class_means"), [&] {
    return fmt::format(
        "{}: these are metrics; give the run that they are of, or its log, which "
        "--out FILE.instanceflow.json writes",
        name);
  });
  const Place root(document, name, "");
  History history;
  read_labels(root.at("labels"), history);
  read_instances(root.at("instances"), history);
  read_epochs(root.at("epochs"), history);
  return history;
}

History read_instanceflow(const fs::path& path) {
  return parse_instanceflow(read_file(path), path.string());
}

void save_instanceflow(const fs::path& path, const History& history, const EpochRange& range) {
  const EpochRange epochs = resolve(range, history);
  AtomicFile file(path);
  const auto write = [&](std::string_view text) { file.write(text.data(), text.size()); };
  // The `count` items of a list, a line each, so that the whole never lies in memory.
  const auto write_list = [&](const char* key, int64_t count, auto&& item) {
    write(fmt::format("\"{}\": [", key));
    std::unordered_set<std::string> seen;
    for (int64_t i = 0; i < count; ++i) {
      const Ordered value = item(i);
      const auto inserted = seen.insert(value.dump(-1, ' ', false, kReplace));
      const std::string& text = *inserted.first;
      require(inserted.second, [&] {
        return fmt::format("{}: InstanceFlow allows no two equal {}, and {} would be there twice",
                           path.string(), key, text.substr(0, 60));
      });
      write(i == 0 ? "\n" : ",\n");
      write(text);
    }
    write("]");
  };
  write("{");
  write_list("labels", static_cast<int64_t>(history.classes.size()),
             [&](int64_t c) { return Ordered(history.classes[static_cast<size_t>(c)]); });
  write(",\n");
  write_list("instances", static_cast<int64_t>(history.images.size()), [&](int64_t i) {
    const HistoryImage& image = history.images[static_cast<size_t>(i)];
    return Ordered{{"id", image.id}, {"actual", image.true_class}, {"image", image.picture}};
  });
  write(",\n");
  write_list("epochs", epochs.count(), [&](int64_t t) {
    const int64_t epoch = epochs.first + t;
    const int32_t* row = history.row(epoch);
    return Ordered{{"id", history.epoch_names[static_cast<size_t>(epoch - 1)]},
                   {"classifications", std::vector<int32_t>(row, row + history.images.size())}};
  });
  write("}\n");
  file.commit();
}

}  // namespace glassnet
