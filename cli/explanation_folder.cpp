#include "cli/explanation_folder.h"

#include <algorithm>
#include <cstring>

#include <fmt/format.h>

#include "cli/output.h"
#include "kernels/error.h"
#include "tensor/file.h"

namespace glassnet::cli {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr const char* kAbout = "explanations.json";
constexpr const char* kIndex = "index.jsonl";
constexpr const char* kLabels = "lime.labels.npy";
constexpr std::chrono::seconds kBetweenFlushes{1};

std::string file_of(const std::string& method) {
  return method + ".npy";
}

// Before anything lies in it that a lock could keep.
fs::path created(fs::path path) {
  std::error_code error;
  fs::create_directories(path, error);
  require(fs::is_directory(path), [&] {
    return fmt::format("cannot make the folder {}: {}", path.string(), error.message());
  });
  return path;
}

// "methods": ["gradcam"] -> methods ["gradcam"]
void require_same(const fs::path& folder, const Json& before, const Json& now) {
  for (const auto& [key, value] : now.items()) {
    const Json other = before.contains(key) ? before[key] : Json();
    if (other == value) continue;
    throw UsageError(fmt::format(
        "{} holds explanations of something else: their {} is {}, now it is {}; choose another "
        "--out or remove the folder",
        folder.string(), key, to_text(other), to_text(value)));
  }
}

// How many bytes of the index hold its first `rows` lines; and how many whole lines there are.
struct Lines {
  int64_t count = 0, bytes = 0;
};
Lines lines_of(const std::string& text, int64_t at_most) {
  Lines lines;
  for (size_t end = 0; lines.count < at_most; ++lines.count) {
    const size_t found = text.find('\n', end);
    if (found == std::string::npos) break;
    end = found + 1;
    lines.bytes = static_cast<int64_t>(end);
  }
  return lines;
}

}  // namespace

ExplanationFolder::ExplanationFolder(fs::path path, const Json& request, const Json& about,
                                     const std::vector<std::string>& methods, int64_t side)
    : path_(created(std::move(path))), lock_(path_), methods_(methods), side_(side) {
  std::map<std::string, RowForm> forms;
  for (const std::string& method : methods) forms[file_of(method)] = {"<f4", 4, {side, side}};
  if (forms.contains(file_of("lime"))) forms[kLabels] = {"<i4", 4, {side, side}};

  std::error_code ignored;
  const bool goes_on = fs::exists(path_ / kAbout, ignored);
  if (goes_on) {
    try {
      require_same(path_, Json::parse(read_file(path_ / kAbout)).at("request"), request);
    } catch (const nlohmann::json::exception&) {
      throw Error(fmt::format("{}: does not say what was asked; remove the folder and begin again",
                              (path_ / kAbout).string()));
    }
  } else {
    for (const auto& [name, form] : forms) RowArray::create(path_ / name, form);
    write_file_atomically(path_ / kIndex, "");
    // Last, so that a folder that has it is complete.
    Json all = about;
    all["request"] = request;
    write_file_atomically(path_ / kAbout, to_text(all, 2) + "\n");
  }
  rows_ = lines_of(read_file(path_ / kIndex), INT64_MAX).count;
  for (const auto& [name, form] : forms) {
    RowArray& opened = arrays_.try_emplace(name, path_ / name, form).first->second;
    rows_ = std::min(rows_, opened.rows());
  }
  for (auto& [name, opened] : arrays_) opened.truncate(rows_);
  DurableFile index(path_ / kIndex, DurableFile::Mode::kExisting);
  index.truncate(lines_of(read_file(path_ / kIndex), rows_).bytes);
  index.sync();
}

void ExplanationFolder::append(const Json& line, const std::vector<Tensor>& maps,
                               const Tensor& labels) {
  for (size_t i = 0; i < methods_.size(); ++i) {
    require(maps[i].dtype() == DType::kFloat32 && maps[i].shape() == Shape{side_, side_},
            [&] { return fmt::format("[explanations] {} gave no such map", methods_[i]); });
    array(file_of(methods_[i])).write(rows(), maps[i].raw());
  }
  if (arrays_.contains(kLabels)) {
    const std::vector<int64_t> values = labels.to_vector<int64_t>();
    const std::vector<int32_t> narrow(values.begin(), values.end());
    array(kLabels).write(rows(), narrow.data());
  }
  lines_.push_back(to_text(line) + "\n");
  if (std::chrono::steady_clock::now() - flushed_ > kBetweenFlushes) flush();
}

void ExplanationFolder::flush() {
  if (!lines_.empty()) {
    for (auto& [name, opened] : arrays_) opened.count(rows());
    std::string text;
    for (const std::string& line : lines_) text += line;
    DurableFile index(path_ / kIndex, DurableFile::Mode::kExisting);
    index.write_at(index.size(), text.data(), text.size());
    index.sync();
    rows_ = rows();
    lines_.clear();
  }
  flushed_ = std::chrono::steady_clock::now();
}

Tensor ExplanationFolder::map(const std::string& method, int64_t row) {
  const std::string bytes = array(file_of(method)).read(row);
  Tensor map = Tensor::empty({side_, side_}, DType::kFloat32);
  std::copy(bytes.begin(), bytes.end(), static_cast<char*>(map.raw()));
  return map;
}

Tensor ExplanationFolder::labels(int64_t row) {
  const std::string bytes = array(kLabels).read(row);
  std::vector<int32_t> narrow(static_cast<size_t>(side_ * side_));
  std::memcpy(narrow.data(), bytes.data(), bytes.size());
  return Tensor::from(std::vector<int64_t>(narrow.begin(), narrow.end()), {side_, side_});
}

std::vector<Json> ExplanationFolder::index() const {
  std::vector<Json> lines;
  const std::string text = read_file(path_ / kIndex);
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = text.find('\n', begin);
    if (end == std::string::npos) break;
    lines.push_back(Json::parse(text.substr(begin, end - begin)));
    begin = end + 1;
  }
  return lines;
}

}  // namespace glassnet::cli
