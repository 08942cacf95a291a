#include "cli/explain_data.h"

#include <algorithm>
#include <deque>
#include <future>
#include <map>
#include <optional>
#include <utility>

#include <fmt/format.h>
#include <omp.h>
#include <nlohmann/json.hpp>

#include "cli/contact_sheets.h"
#include "cli/explain_stream.h"
#include "cli/explanation_folder.h"
#include "cli/network_input.h"
#include "cli/output.h"
#include "cli/question.h"
#include "data/folder.h"
#include "data/jpeg_decoder.h"
#include "report/terminal.h"
#include "tensor/file.h"
#include "tensor/hash.h"
#include "tensor/math.h"
#include "tensor/npy.h"
#include "training/evaluator.h"

namespace glassnet::cli {
namespace {

using Json = nlohmann::ordered_json;

// An image to be explained, and what the network says of it.
struct Item {
  Sample sample;
  int64_t predicted = -1;
  float probability = 0, true_probability = 0;
};

std::vector<Item> chosen(const ImageFolder& folder, const Evaluation& evaluation,
                         const DataRequest& request) {
  std::vector<Item> items;
  for (size_t i = 0; i < folder.samples.size(); ++i) {
    const Sample& sample = folder.samples[i];
    const bool right = evaluation.predicted[i] == sample.label;
    if (request.only == (right ? "wrong" : "right")) continue;
    items.push_back({sample, evaluation.predicted[i], evaluation.probability[i],
                     evaluation.true_probability[i]});
  }
  const auto count = static_cast<int64_t>(items.size());
  if (request.limit == 0 || request.limit >= count) return items;
  std::vector<Item> some;
  for (int64_t i = 0; i < request.limit; ++i) {
    some.push_back(std::move(items[static_cast<size_t>(i * count / request.limit)]));
  }
  return some;
}

std::string hash_of_file(const std::filesystem::path& path) {
  Fnv1a hash;
  hash.add(map_file(path).bytes);
  return fmt::format("{:016x}", hash.value());
}

std::string hash_of(const std::vector<Sample>& samples) {
  Fnv1a hash;
  for (const Sample& sample : samples) hash.add(fmt::format("{}\t{}\n", sample.id, sample.label));
  return fmt::format("{:016x}", hash.value());
}

Json as_json(const DataRequest& request, const MethodOptions& options, const ModelCard& card,
             const std::vector<Sample>& samples) {
  return {{"weights_hash", hash_of_file(weight_file(request.weights))},
          {"model", card.model},
          {"classes", card.classes},
          {"image_size", card.image_size},
          {"fit", card.fit},
          {"decoder", name_of(jpeg_decoder())},
          {"split", request.split},
          {"image_list", hash_of(samples)},
          {"only", request.only},
          {"limit", request.limit},
          {"methods", request.methods},
          {"class", request.target},
          {"against", request.against},
          {"layers", options.layers},
          {"trust", name_of(options.trust)},
          {"seed", options.seed},
          {"superpixels", options.superpixels},
          {"samples", options.samples},
          {"hide", options.hide},
          {"lime_precision", options.lime_precision}};
}

// What decides between images, the network's predictions, may be a rounding away on another device.
void require_same_images(const ExplanationFolder& folder, const std::vector<Item>& items) {
  const std::vector<Json> lines = folder.index();
  bool same = lines.size() <= items.size();
  for (size_t i = 0; same && i < lines.size(); ++i) {
    same = to_text(lines[i].at("image")) == to_text(Json(items[i].sample.id));
  }
  require(same, [&] {
    return fmt::format(
        "{} holds explanations of other images than those that are chosen now; choose another "
        "--out "
        "or remove the folder",
        folder.path().string());
  });
}

// The items' pictures in their order. For a network on a GPU as many threads as the program may use
// decode some ahead, few enough for photographs of any size; on the CPU they would take from the
// network what they give, so that each is decoded when it is asked for.
class PicturesAhead {
 public:
  PicturesAhead(const std::vector<Item>& items, size_t first, const LoadedModel& network)
      : items_(items),
        next_(first),
        card_(network.card),
        on_cpu_(network.model->device().type == DeviceType::kCpu),
        ahead_(on_cpu_ ? 1 : static_cast<size_t>(std::clamp(omp_get_max_threads(), 1, 32))) {}

  Image next() {
    for (; next_ < items_.size() && pictures_.size() < ahead_; ++next_) {
      pictures_.push_back(std::async(
          on_cpu_ ? std::launch::deferred : std::launch::async,
          [this, item = next_] { return prepare_picture(items_[item].sample.path, card_); }));
    }
    std::future<Image> first = std::move(pictures_.front());
    pictures_.pop_front();
    return first.get();
  }

 private:
  const std::vector<Item>& items_;
  size_t next_;
  const ModelCard& card_;
  bool on_cpu_;
  size_t ahead_;  // a thread each
  std::deque<std::future<Image>> pictures_;
};

// Explains the items that the folder does not hold yet.
void explain_items(LoadedModel& network, const DataRequest& request, const MethodOptions& options,
                   const std::vector<Item>& items, ExplanationFolder& folder, Progress& progress) {
  const std::vector<std::string>& classes = network.card.classes;
  const Question question(request.target, request.against, classes);
  const auto before = static_cast<size_t>(folder.rows());
  size_t next = before;
  PicturesAhead pictures(items, before, network);
  const auto facts_of_next = [&]() -> std::optional<PictureFacts> {
    if (next == items.size()) return {};
    const Item& item = items[next++];
    const Image picture = pictures.next();
    return PictureFacts{.picture = picture,
                        .input = network_input(picture, network.card),
                        .target = question.about(item.predicted, item.sample.label)};
  };
  const auto write = [&](int64_t number, const ExplainedPicture& explained) {
    const Item& item = items[before + static_cast<size_t>(number)];
    const Target& target = explained.facts.target;
    Json line = {{"image", item.sample.id},
                 {"true_class", classes[item.sample.label]},
                 {"predicted", classes[item.predicted]},
                 {"probability", item.probability},
                 {"true_probability", item.true_probability},
                 {"class", classes[target.of]},
                 {"against", target.against ? Json(classes[*target.against]) : Json()}};
    std::vector<Tensor> maps;
    Tensor labels;
    for (const std::string& method : request.methods) {
      const MethodResult& result = explained.results.at(method);
      line["methods"][method] = json_of(result);
      maps.push_back(result.map);
      if (result.superpixels) labels = result.superpixels->labels;
    }
    folder.append(line, maps, labels);
    progress.update(number + 1);
  };
  explain_stream(network, request.methods, options, facts_of_next, write);
  folder.flush();
}

// The wrong ones first, of each the most frequent.
std::vector<ExplainedCell> cells_of(const std::vector<Item>& items) {
  std::map<std::pair<int64_t, int64_t>, int64_t> counts;
  for (const Item& item : items) ++counts[{item.sample.label, item.predicted}];
  std::vector<ExplainedCell> cells;
  for (const auto& [cell, images] : counts) cells.push_back({cell.first, cell.second, images});
  std::ranges::stable_sort(cells, [](const ExplainedCell& a, const ExplainedCell& b) {
    const bool a_right = a.true_class == a.predicted, b_right = b.true_class == b.predicted;
    return a_right != b_right ? b_right : a.images > b.images;
  });
  return cells;
}

// Every image's map counts as much as another's: its largest magnitude is 1 in the mean.
void write_cells(ExplanationFolder& folder, const std::vector<ExplainedCell>& cells,
                 const std::vector<Item>& items, const DataRequest& request,
                 const ModelCard& card) {
  Json list = Json::array();
  for (const ExplainedCell& cell : cells) list.push_back(as_json(cell, card.classes));
  const int64_t side = card.image_size;
  for (const std::string& method : request.methods) {
    std::vector<float> means;
    for (const ExplainedCell& cell : cells) {
      std::vector<double> sum(static_cast<size_t>(side * side), 0.0);
      for (size_t row = 0; row < items.size(); ++row) {
        if (items[row].sample.label != cell.true_class) continue;
        if (items[row].predicted != cell.predicted) continue;
        const Tensor map = folder.map(method, static_cast<int64_t>(row));
        const std::vector<float> values = map.to_vector<float>();
        float largest = 0;
        for (const float value : values) largest = std::max(largest, std::abs(value));
        const double share = largest > 0 ? 1.0 / (largest * static_cast<double>(cell.images)) : 0;
        for (size_t i = 0; i < sum.size(); ++i) sum[i] += share * values[i];
      }
      means.insert(means.end(), sum.begin(), sum.end());
    }
    save_npy(folder.path() / (method + ".cells.npy"),
             Tensor::from(means, {static_cast<int64_t>(cells.size()), side, side}));
  }
  write_file_atomically(folder.path() / "cells.json", to_text(list, 1) + "\n");
}

}  // namespace

Json as_json(const ExplainedCell& cell, const std::vector<std::string>& classes) {
  return {{"true_class", classes[cell.true_class]},
          {"predicted", classes[cell.predicted]},
          {"images", cell.images}};
}

DataOutcome explain_data(LoadedModel& network, const DataRequest& request) {
  const ModelCard& card = network.card;
  const MethodOptions options = checked(request.method, request.methods, network);
  const Question question(request.target, request.against, card.classes);

  const ImageFolder folder = read_evaluation_folder(request.data, card.classes, request.split);
  for (const std::string& warning : folder.warnings) say(warning);
  const Json about = {
      {"weights", std::filesystem::weakly_canonical(weight_file(request.weights)).string()},
      {"data", std::filesystem::weakly_canonical(request.data).string()}};
  ExplanationFolder out(request.out, as_json(request, options, card, folder.samples), about,
                        request.methods, card.image_size);

  const Evaluation evaluation = evaluate(network, folder.samples);
  const std::vector<Item> items = chosen(folder, evaluation, request);
  DataOutcome outcome{.images = static_cast<int64_t>(folder.samples.size()),
                      .explained = static_cast<int64_t>(items.size()),
                      .cells = cells_of(items)};
  for (size_t i = 0; i < folder.samples.size(); ++i) {
    outcome.right += evaluation.predicted[i] == folder.samples[i].label ? 1 : 0;
  }
  require_same_images(out, items);
  outcome.before = out.rows();
  if (outcome.before > 0) {
    say(fmt::format("{}: {} of {} images are explained already", request.out.string(),
                    outcome.before, outcome.explained));
  }
  if (items.empty()) return outcome;
  Progress progress("explaining", outcome.explained - outcome.before);
  explain_items(network, request, options, items, out, progress);
  progress.finish();
  write_cells(out, outcome.cells, items, request, card);
  if (request.grid) {
    std::vector<std::filesystem::path> pictures;
    for (const Item& item : items) pictures.push_back(item.sample.path);
    outcome.sheets = write_contact_sheets(out, pictures, request.methods, card, options);
  }
  return outcome;
}

}  // namespace glassnet::cli
