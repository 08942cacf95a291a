#include "training/prediction_table.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <numeric>
#include <unordered_map>

#include <fmt/format.h>

#include "kernels/error.h"
#include "tensor/file.h"
#include "training/csv.h"

namespace glassnet {
namespace {

namespace fs = std::filesystem;

// An index as it is written in a file; -1 for what is none.
int64_t index_of(const std::string& cell) {
  int64_t index = -1;
  const char* end = cell.data() + cell.size();
  const auto [stop, failure] = std::from_chars(cell.data(), end, index);
  return failure == std::errc{} && stop == end && index >= 0 ? index : -1;
}

bool names_the_true_class(std::string cell) {
  for (char& letter : cell) {
    letter = letter == '_' ? ' ' : static_cast<char>(std::tolower(static_cast<uint8_t>(letter)));
  }
  constexpr std::array<std::string_view, 4> kNames = {"true class", "class", "label", "actual"};
  return std::find(kNames.begin(), kNames.end(), cell) != kNames.end();
}

// Gives each class that occurs a number.
struct Classes {
  std::unordered_map<std::string, int32_t> numbers;
  std::vector<std::string> names;  // in the order in which they came

  int32_t number(const std::string& name) {
    const auto [entry, fresh] = numbers.emplace(name, static_cast<int32_t>(names.size()));
    if (fresh) names.push_back(name);
    return entry->second;
  }
};

// What the numbers become, (classes), and the final names: indices as they are, names in order.
std::vector<int32_t> settle(const Classes& found, const std::string& file,
                            std::vector<std::string>& names) {
  const size_t count = found.names.size();
  std::vector<int32_t> final_number(count);
  std::vector<int64_t> indices(count);
  std::transform(found.names.begin(), found.names.end(), indices.begin(), index_of);
  const bool indexed =
      std::none_of(indices.begin(), indices.end(), [](int64_t i) { return i < 0; });
  if (indexed) {
    const int64_t most = *std::max_element(indices.begin(), indices.end());
    require(most < kMostClasses, [&] {
      return fmt::format("{}: expected classes below {}, got {}", file, kMostClasses, most);
    });
    for (int64_t c = 0; c <= most; ++c) names.push_back(fmt::format("{}", c));
    std::copy(indices.begin(), indices.end(), final_number.begin());
    return final_number;
  }
  std::vector<size_t> order(count);
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(),
            [&](size_t a, size_t b) { return found.names[a] < found.names[b]; });
  for (size_t c = 0; c < count; ++c) {
    final_number[order[c]] = static_cast<int32_t>(c);
    names.push_back(found.names[order[c]]);
  }
  return final_number;
}

// A header that is not known as one would become an image.
void refuse_a_likely_header(const std::string& file, const Classes& classes,
                            const std::vector<HistoryImage>& images,
                            const std::vector<int32_t>& rows) {
  const int32_t first = images.front().true_class;
  const bool again = std::find(rows.begin(), rows.end(), first) != rows.end() ||
                     std::any_of(images.begin() + 1, images.end(), [&](const HistoryImage& image) {
                       return image.true_class == first;
                     });
  require(again || index_of(classes.names[static_cast<size_t>(first)]) >= 0, [&] {
    return fmt::format(
        "{}: line 1: no other class in the file is that of its second cell; call the cell 'true "
        "class' if this is a header, else put a header above it",
        file);
  });
}

}  // namespace

History parse_prediction_table(std::string_view bytes, const std::string& name) {
  History history;
  Classes classes;
  std::vector<int32_t> rows;  // (images, epochs)
  CsvReader reader(bytes, name);
  std::vector<std::string> cells;
  size_t width = 0;
  bool headed = false;
  while (reader.next(cells)) {
    if (width == 0) {
      width = cells.size();
      require(width >= 3, [&] {
        return fmt::format(
            "{}: line {}: expected an image, its true class and its predicted class in each "
            "epoch, separated by commas",
            name, reader.line());
      });
      require(cells[2] != "last_predicted", [&] {
        return fmt::format(
            "{}: these are metrics; give the run that they are of, or its log, "
            "which --out FILE.instanceflow.json writes",
            name);
      });
      headed = names_the_true_class(cells[1]);
      for (size_t epoch = 1; epoch <= width - 2; ++epoch) {
        history.epoch_names.push_back(headed ? cells[epoch + 1] : fmt::format("{}", epoch));
      }
      if (headed) continue;
    }
    require(cells.size() == width, [&] {
      return fmt::format("{}: line {}: expected {} cells as in the first line, got {}", name,
                         reader.line(), width, cells.size());
    });
    for (size_t cell = 1; cell < width; ++cell) {
      require(!cells[cell].empty(), [&] {
        return fmt::format("{}: line {}: cell {} is empty, expected a class", name, reader.line(),
                           cell + 1);
      });
      const int32_t number = classes.number(cells[cell]);
      if (cell == 1) {
        history.images.push_back({cells[0], number, cells[0]});
      } else {
        rows.push_back(number);
      }
    }
    require(classes.names.size() <= static_cast<size_t>(kMostClasses), [&] {
      return fmt::format("{}: line {}: expected at most {} classes in the file", name,
                         reader.line(), kMostClasses);
    });
  }
  require(!history.images.empty(), [&] { return fmt::format("{}: holds no image", name); });
  if (!headed) refuse_a_likely_header(name, classes, history.images, rows);

  const std::vector<int32_t> final_number = settle(classes, name, history.classes);
  for (HistoryImage& image : history.images) {
    image.true_class = final_number[static_cast<size_t>(image.true_class)];
  }
  const size_t images = history.images.size(), epochs = width - 2;
  history.predicted.resize(rows.size());
  for (size_t i = 0; i < images; ++i) {
    for (size_t t = 0; t < epochs; ++t) {
      history.predicted[t * images + i] = final_number[static_cast<size_t>(rows[i * epochs + t])];
    }
  }
  return history;
}

History read_prediction_table(const fs::path& path) {
  return parse_prediction_table(read_file(path), path.string());
}

}  // namespace glassnet
