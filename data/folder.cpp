#include "data/folder.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <set>
#include <system_error>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "data/image.h"
#include "kernels/error.h"
#include "tensor/random.h"
#include "tensor/utf8.h"

namespace glassnet {
namespace {

namespace fs = std::filesystem;

bool is_hidden(const fs::path& path) {
  return path.filename().string().starts_with('.');
}

// What lies directly in a folder, hidden names left out, sorted.
std::vector<fs::path> entries(const fs::path& folder) {
  std::vector<fs::path> result;
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    if (!is_hidden(it->path())) result.push_back(it->path());
  }
  require(!error, [&] {
    return fmt::format("{}: the folder cannot be read: {}", folder.string(), error.message());
  });
  std::sort(result.begin(), result.end(), [](const fs::path& a, const fs::path& b) {
    return a.filename().string() < b.filename().string();
  });
  return result;
}

// A symlink to nowhere is no folder; reading it as a file will say so.
bool is_folder(const fs::path& path) {
  std::error_code ignored;
  return fs::is_directory(path, ignored);
}

void require_folder(const fs::path& path) {
  std::error_code ignored;
  require(fs::exists(path, ignored),
          [&] { return fmt::format("{}: there is no such folder", path.string()); });
  require(is_folder(path), [&] { return fmt::format("{}: is not a folder", path.string()); });
}

struct Findings {
  std::vector<fs::path> pictures;
  std::vector<fs::path> others;
};

// Everything below `folder`. `above` holds the real paths of the folders on the way down, so that a
// symlink back up ends there.
void walk(const fs::path& folder, std::vector<fs::path>& above, Findings& findings) {
  const fs::path real = fs::canonical(folder);
  if (std::find(above.begin(), above.end(), real) != above.end()) return;
  above.push_back(real);
  for (const fs::path& path : entries(folder)) {
    if (is_folder(path)) {
      walk(path, above, findings);
    } else {
      (is_image_file(path) ? findings.pictures : findings.others).push_back(path);
    }
  }
  above.pop_back();
}

Findings walk(const fs::path& folder) {
  Findings findings;
  std::vector<fs::path> above;
  walk(folder, above, findings);
  return findings;
}

std::vector<fs::path> folders_in(const fs::path& folder) {
  std::vector<fs::path> folders = entries(folder);
  std::erase_if(folders, [](const fs::path& path) { return !is_folder(path); });
  return folders;
}

// A split's folder under one of `names`. Archives often hold it twice, seg_train/seg_train; what
// lies beside other classes, or holds none, is a class of that name.
std::optional<fs::path> find_split(const fs::path& root, const std::vector<std::string>& names) {
  for (const std::string& name : names) {
    const fs::path folder = root / name, inner = folder / name;
    if (!is_folder(folder)) continue;
    const bool alone = folders_in(folder) == std::vector{inner};
    return alone && !folders_in(inner).empty() ? inner : folder;
  }
  return std::nullopt;
}

const std::vector<std::string> kTrainNames = {"train", "seg_train"};
const std::vector<std::string> kTestNames = {"test", "seg_test", "val", "valid", "validation"};

// The name users know a split's folder by, without Kaggle's prefix.
std::string split_name(const fs::path& folder) {
  const std::string name = folder.filename().string();
  return name.starts_with("seg_") ? name.substr(4) : name;
}

std::vector<std::string> missing_from(const std::vector<std::string>& some,
                                      const std::vector<std::string>& all) {
  std::vector<std::string> missing;
  for (const std::string& name : some) {
    if (std::find(all.begin(), all.end(), name) == all.end()) missing.push_back(name);
  }
  return missing;
}

// 0, 1, …: what stands for the classes of a weight file that does not name them.
bool are_numbers(const std::vector<std::string>& classes) {
  for (size_t i = 0; i < classes.size(); ++i) {
    if (classes[i] != std::to_string(i)) return false;
  }
  return true;
}

std::string how_to_name(size_t classes, const std::vector<std::string>& folders) {
  std::string advice =
      "; if only the weight file lacks their names, give them by --classes FILE, one a line in the "
      "network's order";
  if (folders.size() == classes) {
    advice += fmt::format(", which may be that of the folders: {}", fmt::join(folders, ", "));
  }
  return advice;
}

}  // namespace

ImageFolder read_image_folder(const fs::path& folder) {
  require_folder(folder);
  ImageFolder result{.root = folder};
  std::vector<fs::path> others;
  std::set<std::string> repaired;  // names that were not UTF-8
  for (const fs::path& class_folder : entries(folder)) {
    if (!is_folder(class_folder)) {
      others.push_back(class_folder);
      continue;
    }
    const Findings findings = walk(class_folder);
    require(!findings.pictures.empty(), [&] {
      return fmt::format(
          "{}: the class folder holds no picture (.jpg, .jpeg, .png or .bmp); fill or remove it",
          class_folder.string());
    });
    const auto label = static_cast<int64_t>(result.classes.size());
    result.classes.push_back(valid_utf8(class_folder.filename().string()));
    for (const fs::path& path : findings.pictures) {
      const std::string id = path.lexically_relative(folder).generic_string();
      result.samples.push_back({path, valid_utf8(id), label});
      require(result.samples.back().id == id || repaired.insert(result.samples.back().id).second,
              [&] {
                return fmt::format(
                    "{}: another picture has the same name where bytes that are not UTF-8 are left "
                    "out; rename one",
                    path.string());
              });
    }
    others.insert(others.end(), findings.others.begin(), findings.others.end());
  }
  const std::set<std::string> names(result.classes.begin(), result.classes.end());
  require(names.size() == result.classes.size(), [&] {
    return fmt::format(
        "{}: two class folders have the same name where bytes that are not UTF-8 are left out; "
        "rename one",
        folder.string());
  });
  require(!result.classes.empty(), [&] {
    return fmt::format("{}: expected a folder for each class, found none", folder.string());
  });
  if (others.size() == 1) {
    result.warnings.push_back(
        fmt::format("{}: is no picture in a class folder and is left out", others[0].string()));
  } else if (!others.empty()) {
    result.warnings.push_back(
        fmt::format("{}: {} files are no pictures in a class folder and are left out, such as {}",
                    folder.string(), others.size(), others[0].lexically_relative(folder).string()));
  }
  return result;
}

ImageFolder read_image_folder(const fs::path& folder, const std::vector<std::string>& classes) {
  ImageFolder result = read_image_folder(folder);
  const std::vector<std::string> unknown = missing_from(result.classes, classes);
  require(unknown.empty(), [&] {
    return fmt::format(
        "{}: these class folders are none of the classes to tell apart: {}; those are {}{}",
        folder.string(), fmt::join(unknown, ", "), fmt::join(classes, ", "),
        are_numbers(classes) ? how_to_name(classes.size(), result.classes) : "");
  });
  if (const auto absent = missing_from(classes, result.classes); !absent.empty()) {
    result.warnings.push_back(fmt::format("{}: no pictures of these classes: {}", folder.string(),
                                          fmt::join(absent, ", ")));
  }
  for (Sample& sample : result.samples) {
    const auto found = std::find(classes.begin(), classes.end(),
                                 result.classes[static_cast<size_t>(sample.label)]);
    sample.label = found - classes.begin();
  }
  result.classes = classes;
  return result;
}

DataSet read_data_set(const fs::path& root) {
  require_folder(root);
  const auto train_folder = find_split(root, kTrainNames);
  require(train_folder.has_value(), [&] {
    return fmt::format("{}: expected a folder train (or seg_train) with a folder for each class",
                       root.string());
  });
  const auto test_folder = find_split(root, kTestNames);
  require(test_folder.has_value(), [&] {
    return fmt::format("{}: expected a folder test, val, valid, validation or seg_test beside {}",
                       root.string(), train_folder->filename().string());
  });

  ImageFolder train = read_image_folder(*train_folder);
  require(train.classes.size() >= 2, [&] {
    return fmt::format("{}: expected at least two class folders, found only {}",
                       train_folder->string(), train.classes[0]);
  });
  ImageFolder test = read_image_folder(*test_folder, train.classes);
  DataSet result{.root = root,
                 .classes = std::move(train.classes),
                 .train = std::move(train.samples),
                 .test = std::move(test.samples),
                 .test_split = split_name(*test_folder),
                 .warnings = std::move(train.warnings)};
  result.warnings.insert(result.warnings.end(), test.warnings.begin(), test.warnings.end());
  return result;
}

ImageFolder read_evaluation_folder(const fs::path& folder, const std::vector<std::string>& classes,
                                   const std::string& split) {
  require_folder(folder);
  if (split == "test") {
    return read_image_folder(find_split(folder, kTestNames).value_or(folder), classes);
  }
  if (split != "train") {
    throw UsageError(fmt::format("the split {} is none of: test, train", split));
  }
  const auto train = find_split(folder, kTrainNames);
  require(train.has_value(),
          [&] { return fmt::format("{}: has no folder train (or seg_train)", folder.string()); });
  return read_image_folder(*train, classes);
}

std::pair<std::vector<Sample>, std::vector<Sample>> hold_back(const std::vector<Sample>& samples,
                                                              double share, uint64_t seed) {
  std::map<int64_t, std::vector<size_t>> by_class;
  for (size_t i = 0; i < samples.size(); ++i) by_class[samples[i].label].push_back(i);

  std::vector<bool> is_held_back(samples.size(), false);
  for (const auto& [label, members] : by_class) {
    const auto count = static_cast<int64_t>(members.size());
    const auto held_back = std::min(count - 1, std::lround(share * static_cast<double>(count)));
    const auto order = permutation(count, Random(seed, Stream::kSplit, 0, label));
    for (int64_t i = 0; i < held_back; ++i) is_held_back[members[order[i]]] = true;
  }
  std::pair<std::vector<Sample>, std::vector<Sample>> result;
  for (size_t i = 0; i < samples.size(); ++i) {
    (is_held_back[i] ? result.second : result.first).push_back(samples[i]);
  }
  return result;
}

std::vector<fs::path> expand_images(const std::vector<std::string>& arguments) {
  std::vector<fs::path> result;
  for (const std::string& argument : arguments) {
    require(!argument.empty(),
            [] { return std::string("expected pictures or folders of them, got an empty name"); });
    std::error_code ignored;
    require(fs::exists(argument, ignored),
            [&] { return fmt::format("{}: there is no such file or folder", argument); });
    if (!is_folder(argument)) {
      result.emplace_back(argument);
      continue;
    }
    const Findings findings = walk(argument);
    require(!findings.pictures.empty(), [&] {
      return fmt::format("{}: the folder holds no picture (.jpg, .jpeg, .png or .bmp)", argument);
    });
    result.insert(result.end(), findings.pictures.begin(), findings.pictures.end());
  }
  return result;
}

}  // namespace glassnet
