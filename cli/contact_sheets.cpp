#include "cli/contact_sheets.h"

#include <algorithm>
#include <functional>
#include <map>
#include <optional>
#include <string>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "cli/command.h"
#include "cli/network_input.h"
#include "report/contact_sheet.h"
#include "tensor/file.h"
#include "tensor/npy.h"

namespace glassnet::cli {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kMostOfASheet = 24, kMostOfAPair = 6, kPairs = 3, kMostCells = 36;

// A line of the index.
struct Row {
  int64_t number = 0;
  std::string true_class, predicted, image;
  double probability = 0;
  Json methods;

  bool right() const { return true_class == predicted; }
};

std::vector<Row> by_certainty(const ExplanationFolder& folder) {
  std::vector<Row> rows;
  for (const Json& line : folder.index()) {
    rows.push_back({.number = static_cast<int64_t>(rows.size()),
                    .true_class = line.at("true_class"),
                    .predicted = line.at("predicted"),
                    .image = line.at("image"),
                    .probability = line.at("probability"),
                    .methods = line.at("methods")});
  }
  std::ranges::stable_sort(rows, std::greater<>(), &Row::probability);
  return rows;
}

std::vector<RegionWeight> regions_in(const Json& lime) {
  std::vector<RegionWeight> regions(lime.at("figures").at("superpixels").get<size_t>());
  for (const Json& one : lime.at("weights")) {
    regions.at(one.at("superpixel").get<size_t>()) = {one.at("weight"), one.at("resolved")};
  }
  return regions;
}

// What is drawn of one method.
class Sheets {
 public:
  Sheets(ExplanationFolder& folder, const std::vector<std::filesystem::path>& pictures,
         const std::string& method, const ModelCard& card, const MethodOptions& options)
      : folder_(folder), pictures_(pictures), method_(method), card_(card), options_(options) {}

  void write(const std::string& name, const std::string& title,
             const std::vector<ContactSection>& sections) {
    if (std::ranges::all_of(sections, [](const auto& section) { return section.cells.empty(); })) {
      return;
    }
    const ContactSheetOptions sheet{
        .title = fmt::format("{}: {}", title, heading_),
        .subtitle = fmt::format("{} at {} px", card_.model, card_.image_size),
        .bar = bar_};
    const std::filesystem::path path = folder_.path() / fmt::format("{}.{}", name, method_);
    written_.emplace_back(path.string() + ".png");
    write_png(written_.back(), contact_sheet(sections, sheet));
    written_.emplace_back(path.string() + ".svg");
    write_file_atomically(written_.back(), contact_sheet_svg(sections, sheet));
  }

  // The first `most` of those that fit, in a section.
  ContactSection section(const std::string& heading, const std::vector<Row>& rows, size_t most,
                         const std::function<bool(const Row&)>& fits) {
    ContactSection section{.heading = heading};
    for (const Row& row : rows) {
      if (section.cells.size() < most && fits(row)) section.cells.push_back(cell_of(row));
    }
    return section;
  }

  ContactCell mean_cell(const Tensor& map, bool is_signed, const Json& cell) {
    const Image nothing(card_.image_size, card_.image_size);
    MethodOptions opaque = options_;
    opaque.opacity = 1;
    const auto images = cell.at("images").get<int64_t>();
    return {.picture = remember(panel_of(method_, map, is_signed, nothing, opaque)),
            .caption = fmt::format("{} → {}", cell.at("true_class").get<std::string>(),
                                   cell.at("predicted").get<std::string>()),
            .detail = images == 1 ? "one image" : fmt::format("mean of {} images", images),
            .correct = cell.at("true_class") == cell.at("predicted")};
  }

  const std::vector<std::filesystem::path>& written() const { return written_; }

 private:
  ContactCell cell_of(const Row& row) {
    const Image picture = prepare_picture(pictures_[static_cast<size_t>(row.number)], card_);
    const Json& said = row.methods.at(method_);
    const Panel panel = method_ == "lime" ? panel_of(folder_.labels(row.number), regions_in(said),
                                                     picture, options_)
                                          : panel_of(method_, folder_.map(method_, row.number),
                                                     said.at("signed"), picture, options_);
    return {.picture = picture,
            .overlay = remember(panel),
            .caption =
                row.right() ? row.predicted : fmt::format("{} → {}", row.true_class, row.predicted),
            .detail = fmt::format("{} · {}", percent(row.probability),
                                  std::filesystem::path(row.image).filename().string()),
            .correct = row.right()};
  }

  // The heading and the scale are those of any panel.
  Image remember(const Panel& panel) {
    heading_ = panel.title;
    bar_ = panel.bar;
    return panel.image;
  }

  ExplanationFolder& folder_;
  const std::vector<std::filesystem::path>& pictures_;
  const std::string& method_;
  const ModelCard& card_;
  const MethodOptions& options_;
  std::string heading_;
  std::optional<ColourBar> bar_;
  std::vector<std::filesystem::path> written_;
};

// Two classes, in the order of their names, that are taken for each other, the most frequent first.
std::vector<std::pair<std::string, std::string>> confused_pairs(const std::vector<Row>& rows) {
  std::map<std::pair<std::string, std::string>, int64_t> counts;
  for (const Row& row : rows) {
    if (!row.right()) ++counts[std::minmax(row.true_class, row.predicted)];
  }
  std::vector<std::pair<std::string, std::string>> pairs;
  for (const auto& [pair, count] : counts) pairs.push_back(pair);
  std::ranges::stable_sort(pairs, std::greater<>(), [&](const auto& pair) { return counts[pair]; });
  if (pairs.size() > kPairs) pairs.resize(kPairs);
  return pairs;
}

}  // namespace

std::vector<std::filesystem::path> write_contact_sheets(
    ExplanationFolder& folder, const std::vector<std::filesystem::path>& pictures,
    const std::vector<std::string>& methods, const ModelCard& card, const MethodOptions& options) {
  const std::vector<Row> rows = by_certainty(folder);
  const Json cells = Json::parse(read_file(folder.path() / "cells.json"));
  std::vector<std::filesystem::path> written;
  for (const std::string& method : methods) {
    Sheets sheets(folder, pictures, method, card, options);
    sheets.write(
        "wrong", "The most certain wrong predictions",
        {sheets.section("", rows, kMostOfASheet, [](const Row& r) { return !r.right(); })});
    sheets.write("right", "The most certain right predictions",
                 {sheets.section("", rows, kMostOfASheet, [](const Row& r) { return r.right(); })});

    std::vector<ContactSection> confused;
    for (const auto& [a, b] : confused_pairs(rows)) {
      for (const auto& cell : {std::pair(a, b), std::pair(b, a)}) {
        const auto fits = [&](const Row& row) {
          return row.true_class == cell.first && row.predicted == cell.second;
        };
        const auto images = std::ranges::count_if(rows, fits);
        confused.push_back(sheets.section(fmt::format("{} taken for {} ({} image{})", cell.first,
                                                      cell.second, images, images == 1 ? "" : "s"),
                                          rows, kMostOfAPair, fits));
      }
    }
    sheets.write("confused", "Classes that are confused most", confused);

    const Tensor means = load_npy(folder.path() / (method + ".cells.npy"));
    const bool is_signed = rows.front().methods.at(method).at("signed");
    std::vector<ContactSection> mean(2);
    for (int64_t c = 0; c < std::min<int64_t>(means.dim(0), kMostCells); ++c) {
      const Json& cell = cells.at(static_cast<size_t>(c));
      const bool right = cell.at("true_class") == cell.at("predicted");
      mean[right ? 1 : 0].cells.push_back(sheets.mean_cell(
          means.slice(c, c + 1).reshape({means.dim(1), means.dim(2)}), is_signed, cell));
    }
    mean[0].heading = "Wrong predictions, true → predicted class";
    mean[1].heading = "Right predictions";
    sheets.write("cells", "The mean map of each confusion cell", mean);
    written.insert(written.end(), sheets.written().begin(), sheets.written().end());
  }
  return written;
}

}  // namespace glassnet::cli
