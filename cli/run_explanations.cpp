#include "cli/run_explanations.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include <fmt/format.h>

#include "cli/command.h"
#include "cli/network_input.h"
#include "cli/output.h"
#include "data/folder.h"
#include "data/image.h"
#include "tensor/math.h"
#include "training/checkpoint.h"
#include "training/options.h"

namespace glassnet::cli {
namespace {

namespace fs = std::filesystem;

constexpr int kQuality = 85;
// Networks that compute in other types than while they were trained differ by less than this.
constexpr double kSameProbability = 0.1;
constexpr size_t kImagesAtOnce = 64;  // whose maps are kept until the next epoch's

std::string jpeg_of(const Image& image, int side) {
  return encode_jpeg(resize(image, side, side), kQuality, "explanation");
}

ShownMap shown_map(const MethodResult& result, const Image& picture, const MethodOptions& options,
                   int side) {
  const Panel panel = panel_of(result, picture, options);
  ShownMap map{.method = result.method,
               .name = panel.title,
               .note = note_of(result, options),
               .picture = jpeg_of(panel.image, side)};
  const auto& worse = result.no_better_than_random;
  for (size_t i = 0; i + 1 < result.trust.size(); i += 2) {
    const std::string& name = result.trust[i].first;
    map.trust.push_back({.name = name,
                         .value = result.trust[i].second,
                         .random = result.trust[i + 1].second,
                         .better = std::ranges::count(worse, name) == 0});
  }
  return map;
}

}  // namespace

double drift_between(const MethodResult& before, const MethodResult& now) {
  if (is_blank(before.map) || is_blank(now.map)) return std::nan("");
  return spearman(before.map, now.map);
}

RunExplanations::RunExplanations(const fs::path& run, RunExplanationOptions options)
    : folder_(run), options_(std::move(options)), history_(read_run_history(run)) {
  for (const std::string& method : options_.methods) require_known_method(method);
  const bool asked = !options_.data.empty();
  data_ = asked ? options_.data : load_config(folder_.config()).options.data;
  std::error_code ignored;
  require(fs::is_directory(data_, ignored), [&] {
    return asked
               ? fmt::format("{} is no folder of photographs", data_.string())
               : fmt::format(
                     "{0}: its photographs are no longer in {1}; put them back, or say where they "
                     "are: glassnet report {0} --data FOLDER",
                     run.string(), data_.string());
  });
  for (const Sample& sample : read_evaluation_folder(data_, history_.classes).samples) {
    photographs_.emplace(sample.id, sample.path);
  }
}

int64_t RunExplanations::best_epoch() {
  const int64_t said = epoch_of(network());
  return said >= 1 && said <= history_.epochs() ? said : history_.epochs();
}

bool RunExplanations::has_photograph(int64_t image) const {
  const auto found = photographs_.find(history_.images[static_cast<size_t>(image)].id);
  if (found == photographs_.end()) return false;
  try {
    read_image(found->second);
    return true;
  } catch (const Error&) {
    return false;
  }
}

const fs::path& RunExplanations::photograph(int64_t image) const {
  if (image < 0 || image >= std::ssize(history_.images)) {
    throw UsageError(fmt::format("{}: there is no image {}; they are numbered from 0 to {}",
                                 folder_.path().string(), image, history_.images.size() - 1));
  }
  const std::string& id = history_.images[static_cast<size_t>(image)].id;
  const auto found = photographs_.find(id);
  require(found != photographs_.end(), [&] {
    return fmt::format("{}: there is no {} there, which the run was tested on", data_.string(), id);
  });
  return found->second;
}

LoadedModel& RunExplanations::network(int64_t epoch) {
  const fs::path path = epoch == kBestWeights ? folder_.best() : folder_.kept(epoch);
  std::error_code failed;
  const auto written = fs::last_write_time(path, failed);
  require(!failed, [&] {
    return epoch == kBestWeights
               ? fmt::format("{}: there are no weights yet; the first come after an epoch",
                             folder_.path().string())
               : fmt::format("{}: the weights of epoch {} were not kept; see train --keep-epochs",
                             folder_.path().string(), epoch);
  });
  if (!loaded_ || loaded_->path != path || loaded_->written != written) {
    loaded_.reset();
    LoadedModel network = load({.path = path.string()}, options_.device);
    require(network.card.classes == history_.classes, [&] {
      return fmt::format("{}: its classes are not those of the run's log", path.string());
    });
    MethodOptions method = checked(options_.method, options_.methods, network);
    const int64_t of = epoch_of(network);
    loaded_.emplace(Loaded{.path = path,
                           .written = written,
                           .network = std::move(network),
                           .method = std::move(method),
                           .epoch = of});
  }
  return loaded_->network;
}

RunExplanation RunExplanations::explain(int64_t image, int64_t epoch) {
  std::optional<RunExplanation> result;
  explain({image}, epoch, [&](RunExplanation explanation) { result = std::move(explanation); });
  return std::move(*result);
}

void RunExplanations::explain(const std::vector<int64_t>& images, int64_t epoch,
                              const std::function<void(RunExplanation)>& done) {
  network(epoch);
  stream(images, {.side = options_.side, .method = loaded_->method}, done);
}

void RunExplanations::stream(const std::vector<int64_t>& images, const How& how,
                             const std::function<void(RunExplanation)>& done) {
  LoadedModel& network = loaded_->network;
  size_t next = 0;
  const auto facts_of_next = [&]() -> std::optional<PictureFacts> {
    if (next == images.size()) return {};
    const fs::path& path = photograph(images[next++]);
    PictureFacts facts{.picture = prepare_picture(path, network.card)};
    facts.input = network_input(facts.picture, network.card).to(network.model->device());
    const std::vector<float> p = probabilities(*network.model, facts.input, path);
    facts.target = std::ranges::max_element(p) - p.begin();
    facts.probability = p[static_cast<size_t>(facts.target.of)];
    return facts;
  };
  explain_stream(network, options_.methods, how.method, facts_of_next,
                 [&](int64_t number, const ExplainedPicture& explained) {
                   done(shown(images[static_cast<size_t>(number)], explained, how));
                 });
}

RunExplanation RunExplanations::shown(int64_t image, const ExplainedPicture& explained,
                                      const How& how) const {
  const PictureFacts& facts = explained.facts;
  RunExplanation explanation;
  ShownExplanation& shown = explanation.shown;
  shown.image = image;
  shown.epoch = loaded_->epoch;
  shown.true_class = history_.images[static_cast<size_t>(image)].true_class;
  shown.predicted = facts.target.of;
  shown.probability = facts.probability;
  shown.warning = warning_of(image, shown.predicted, shown.probability);
  shown.photograph = jpeg_of(facts.picture, how.side);
  for (const std::string& method : options_.methods) {
    const MethodResult& result = explained.results.at(method);
    shown.maps.push_back(shown_map(result, facts.picture, how.method, how.side));
    explanation.results.push_back(result);
  }
  return explanation;
}

std::string RunExplanations::warning_of(int64_t image, int64_t predicted,
                                        double probability) const {
  const int64_t epoch = loaded_->epoch;
  if (epoch < 1 || epoch > history_.epochs()) return "";
  const int64_t logged = history_.row(epoch)[image];
  const auto at =
      static_cast<size_t>(epoch - 1) * history_.images.size() + static_cast<size_t>(image);
  const bool unlike = !history_.probability.empty() &&
                      std::abs(history_.probability[at] - probability) > kSameProbability;
  if (logged == predicted && !unlike) return "";
  return fmt::format(
      "The run's log has another answer for epoch {}; the photograph or the weights have changed "
      "since.",
      epoch);
}

void RunExplanations::explain_kept(std::vector<ShownExplanation>& explanations, int side,
                                   const std::function<void()>& step) {
  const std::vector<int64_t> epochs = kept_epochs();
  for (size_t first = 0; first < explanations.size(); first += kImagesAtOnce) {
    const size_t last = std::min(first + kImagesAtOnce, explanations.size());
    std::vector<int64_t> images;
    for (size_t i = first; i < last; ++i) images.push_back(explanations[i].image);
    std::vector<std::vector<MethodResult>> before(images.size());
    for (const int64_t epoch : epochs) {
      network(epoch);
      How how{.side = side, .method = loaded_->method};
      how.method.trust = Trust::kNone;
      size_t at = 0;
      stream(images, how, [&](RunExplanation now) {
        std::vector<MethodResult>& earlier = before[at];
        ShownEpoch kept{
            .epoch = epoch, .predicted = now.shown.predicted, .probability = now.shown.probability};
        for (size_t m = 0; m < now.results.size(); ++m) {
          const double drift =
              earlier.empty() ? std::nan("") : drift_between(earlier[m], now.results[m]);
          kept.maps.push_back({.picture = std::move(now.shown.maps[m].picture), .drift = drift});
        }
        earlier = std::move(now.results);
        explanations[first + at++].kept.push_back(std::move(kept));
        if (step) step();
      });
    }
  }
}

}  // namespace glassnet::cli
