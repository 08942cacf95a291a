#include "cli/explain_images.h"

#include <algorithm>
#include <map>
#include <set>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include "cli/command.h"
#include "cli/network_input.h"
#include "cli/output.h"
#include "cli/question.h"
#include "data/image.h"
#include "data/jpeg_decoder.h"
#include "report/sheet.h"
#include "tensor/file.h"
#include "tensor/math.h"
#include "tensor/npy.h"

namespace glassnet::cli {
namespace {

constexpr size_t kRowsOfASheet = 40;

void refuse_to_overwrite_inputs(const ExplainRequest& request,
                                const std::vector<std::string>& stems) {
  std::set<std::filesystem::path> inputs;
  for (const auto& image : request.images) inputs.insert(std::filesystem::weakly_canonical(image));
  const auto check = [&](const std::string& name) {
    const std::filesystem::path output = std::filesystem::weakly_canonical(request.out / name);
    if (inputs.contains(output)) {
      throw UsageError(
          fmt::format("{} is one of the pictures and would be overwritten; choose "
                      "another --out",
                      output.string()));
    }
  };
  check("sheet.png");
  for (size_t page = 2; page <= stems.size() / kRowsOfASheet + 1; ++page) {
    check(fmt::format("sheet-{}.png", page));
  }
  for (const std::string& stem : stems) {
    for (const std::string& method : request.methods) check(fmt::format("{}.{}.png", stem, method));
  }
}

nlohmann::json rows_of(const Tensor& map) {
  nlohmann::json rows = nlohmann::json::array();
  for (int64_t y = 0; y < map.dim(0); ++y) {
    rows.push_back(map.slice(y, y + 1).to_vector<float>());
  }
  return rows;
}

std::string verdict(const ExplainedImage& image, const std::vector<std::string>& classes) {
  std::string text = fmt::format("predicted {} {}", classes[image.predicted],
                                 percent(image.probabilities[image.predicted]));
  if (image.true_class >= 0) text += fmt::format(" · true {}", classes[image.true_class]);
  if (image.target != image.predicted) {
    text += fmt::format(" · explained {} {}", classes[image.target],
                        percent(image.probabilities[image.target]));
  }
  if (image.against) text += fmt::format(" · against {}", classes[*image.against]);
  return text;
}

}  // namespace

std::vector<std::string> output_stems(const std::vector<std::filesystem::path>& images) {
  std::map<std::string, int> uses;
  for (const auto& image : images) ++uses[image.stem().string()];
  std::set<std::string> taken;
  std::vector<std::string> stems;
  for (const auto& image : images) {
    std::string stem = image.stem().string();
    if (uses[stem] > 1) {
      const std::string folder =
          std::filesystem::absolute(image).lexically_normal().parent_path().filename().string();
      if (!folder.empty()) stem = fmt::format("{}-{}", folder, stem);
    }
    std::string name = stem;
    for (int number = 2; !taken.insert(name).second; ++number) {
      name = fmt::format("{}-{}", stem, number);
    }
    stems.push_back(name);
  }
  return stems;
}

ExplainOutcome explain_images(LoadedModel& network, const ExplainRequest& request,
                              const std::function<void(int64_t done, int64_t total)>& progress) {
  const std::vector<std::string>& classes = network.card.classes;
  const Question question(request.target, request.against, classes);
  // What makes no sense is said before any work is done.
  const MethodOptions options = checked(request.method, request.methods, network);
  const std::vector<std::string> stems = output_stems(request.images);
  refuse_to_overwrite_inputs(request, stems);
  std::error_code failed;
  std::filesystem::create_directories(request.out, failed);
  require(!failed, [&] {
    return fmt::format("cannot make the folder {}: {}", request.out.string(), failed.message());
  });

  ExplainOutcome outcome;
  std::vector<SheetRow> rows;
  size_t pages = 0;
  const auto write_sheet = [&] {
    if (rows.empty()) return;
    const std::filesystem::path name =
        request.out / (++pages == 1 ? std::string("sheet") : fmt::format("sheet-{}", pages));
    std::string subtitle = fmt::format("{} at {} px", network.card.model, network.card.image_size);
    if (look_at_layers(request.methods)) {
      subtitle += fmt::format(", class activation maps at {}", fmt::join(options.layers, ", "));
    }
    const SheetOptions page{.title = request.title, .subtitle = subtitle};
    if (request.png) {
      outcome.sheets.emplace_back(name.string() + ".png");
      write_png(outcome.sheets.back(), sheet(rows, page));
    }
    if (request.svg) {
      outcome.sheets.emplace_back(name.string() + ".svg");
      write_file_atomically(outcome.sheets.back(), sheet_svg(rows, page));
    }
    rows.clear();
  };

  for (size_t i = 0; i < request.images.size(); ++i) {
    const std::filesystem::path& path = request.images[i];
    Image picture;
    try {
      picture = prepare_picture(path, network.card);
    } catch (const Error& error) {
      outcome.failures.emplace_back(error.what());
      continue;
    }
    const Tensor input = network_input(picture, network.card).to(network.model->device());
    ExplainedImage image{.image = path, .true_class = class_of_folder(path.string(), classes)};
    image.probabilities = probabilities(*network.model, input, path);
    image.predicted = std::max_element(image.probabilities.begin(), image.probabilities.end()) -
                      image.probabilities.begin();
    PictureFacts facts{.picture = picture,
                       .input = input,
                       .target = question.about(image.predicted, image.true_class)};
    image.target = facts.target.of;
    image.against = facts.target.against;

    SheetRow row{
        .input = picture, .headline = verdict(image, classes), .caption = path.filename().string()};
    if (image.true_class >= 0) row.correct = image.predicted == image.true_class;
    for (const std::string& method : request.methods) {
      const MethodResult result = explain_by(method, network, facts, options);
      image.lines.emplace_back(method, line_of(result));
      if (result.lime) image.table = table_of(result);
      const auto name = [&](const char* extension) {
        image.files.push_back(request.out / fmt::format("{}.{}.{}", stems[i], method, extension));
        return image.files.back();
      };
      if (request.png || request.svg) {
        Panel panel = panel_of(result, picture, options);
        if (request.png) write_png(name("png"), panel.image);
        row.panels.push_back(std::move(panel));
      }
      if (request.npy) {
        save_npy(name("npy"), result.map);
        if (result.superpixels) save_npy(name("labels.npy"), result.superpixels->labels);
      }
      if (request.json) {
        const auto class_or_null = [&](int64_t index) {
          return index < 0 ? nlohmann::json() : nlohmann::json(classes[index]);
        };
        nlohmann::ordered_json record = {
            {"image", path.string()},
            {"decoder", name_of(jpeg_decoder())},
            {"method", method},
            {"class", classes[image.target]},
            {"against", class_or_null(method == "lime" ? -1 : image.against.value_or(-1))},
            {"predicted", classes[image.predicted]},
            {"probability", image.probabilities[image.target]},
            {"true_class", class_or_null(image.true_class)},
            {"layer", look_at_layers({method})
                          ? nlohmann::json(fmt::format("{}", fmt::join(options.layers, ",")))
                          : nlohmann::json()}};
        record.update(json_of(result));
        record.update({{"height", result.map.dim(0)},
                       {"width", result.map.dim(1)},
                       {"map", rows_of(result.map)}});
        write_file_atomically(name("json"), to_text(record) + "\n");
      }
    }
    if (request.png || request.svg) rows.push_back(std::move(row));
    if (rows.size() == kRowsOfASheet) write_sheet();
    outcome.explained.push_back(std::move(image));
    if (progress)
      progress(static_cast<int64_t>(i) + 1, static_cast<int64_t>(request.images.size()));
  }
  write_sheet();
  return outcome;
}

}  // namespace glassnet::cli
