#include "cli/network_trust.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <numeric>

#include <fmt/format.h>

#include "cli/command.h"
#include "cli/network_input.h"
#include "tensor/random.h"

namespace glassnet::cli {
namespace {

// Guessing is right that often in less than one network of a hundred.
constexpr double kTooLucky = 0.01;

struct Subject {
  PictureFacts facts;
  int64_t label = -1;
  Tensor mask;  // (S, S); undefined: there is none
};

Subject read_subject(LoadedModel& network, const Sample& sample,
                     const std::filesystem::path& masks) {
  Subject subject{.label = sample.label};
  PictureFacts& facts = subject.facts;
  facts.picture = prepare_picture(sample.path, network.card);
  facts.input = network_input(facts.picture, network.card).to(network.model->device());
  const std::vector<float> p = probabilities(*network.model, facts.input, sample.path);
  facts.target = std::max_element(p.begin(), p.end()) - p.begin();
  if (const auto mask = mask_of(sample, masks); !mask.empty()) {
    subject.mask = prepare_mask(mask, sample.path, network.card);
  }
  return subject;
}

// The modules that the network is made of and that have parameters: conv1, bn1, layer1, …, fc.
std::vector<std::string> stages_of(Module& model) {
  std::vector<std::string> stages;
  for (const auto& [path, module] : model.named_modules()) {
    if (path.empty() || path.find('.') != std::string::npos) continue;
    if (!module->named_parameters().empty()) stages.push_back(path);
  }
  return stages;
}

Tensor map_of(const std::string& method, LoadedModel& network, const Subject& subject,
              const MethodOptions& options, int64_t target) {
  PictureFacts facts = subject.facts;
  facts.target = target;
  return explain_by(method, network, facts, options).map;
}

// The pointing game of each picture with a mask, by class.
std::vector<Pointing> pointing_of(const std::vector<const Subject*>& subjects,
                                  const std::vector<PointingGame>& games,
                                  const std::vector<std::string>& classes) {
  std::vector<Pointing> rows;
  const auto add_row = [&](const std::string& name, int64_t label) {
    std::vector<double> hits, energies, areas;
    for (size_t i = 0; i < games.size(); ++i) {
      if (label >= 0 && subjects[i]->label != label) continue;
      hits.push_back(games[i].hit);
      energies.push_back(games[i].energy);
      areas.push_back(games[i].area);
    }
    if (hits.empty()) return;
    Pointing row{name, std::ssize(hits), compare(hits, areas, 1), compare(energies, areas, 1)};
    // Of a few pictures that are all hit the differences vary too little; chance knows its own.
    double variance = 0;
    for (const double area : areas) variance += area * (1 - area);
    row.hits.standard_error = std::sqrt(variance) / static_cast<double>(hits.size());
    rows.push_back(std::move(row));
  };
  for (size_t c = 0; c < classes.size(); ++c) add_row(classes[c], static_cast<int64_t>(c));
  add_row("all", -1);
  return rows;
}

MethodTrust measure_method(const std::string& method, LoadedModel& network,
                           const std::vector<Subject>& subjects, size_t sanity_images,
                           const TrustRequest& request, const TrustObserver& observer) {
  Module& model = *network.model;
  const std::vector<std::string> stages = stages_of(model);
  observer.begin(method,
                 static_cast<int64_t>(subjects.size() + sanity_images * (stages.size() + 1)));

  MethodTrust result{.method = method};
  std::vector<double> deletions, insertions, random_deletions, random_insertions;
  std::vector<const Subject*> masked;
  std::vector<PointingGame> games;
  for (const Subject& subject : subjects) {
    const int64_t predicted = subject.facts.target.of;
    const Tensor map = map_of(method, network, subject, request.method, predicted);
    if (is_blank(map)) ++result.blank;
    const ClassProbability probability = probability_of(model, predicted);
    deletions.push_back(deletion(subject.facts.input, map, probability).area);
    insertions.push_back(insertion(subject.facts.input, map, probability).area);
    random_deletions.push_back(subject.facts.random->deletion);
    random_insertions.push_back(subject.facts.random->insertion);
    if (subject.mask.defined()) {
      masked.push_back(&subject);
      games.push_back(
          pointing_game(subject.label == predicted
                            ? map
                            : map_of(method, network, subject, request.method, subject.label),
                        subject.mask));
    }
    observer.step();
  }
  result.deletion = compare(deletions, random_deletions, -1);
  result.insertion = compare(insertions, random_insertions, 1);
  result.pointing = pointing_of(masked, games, network.card.classes);

  std::vector<Tensor> inputs;
  for (size_t i = 0; i < sanity_images; ++i) inputs.push_back(subjects[i].facts.input);
  result.randomised = randomise_parameters(
      model, stages, inputs,
      [&](const Tensor& input) {
        const auto subject = std::find_if(subjects.begin(), subjects.end(), [&](const Subject& s) {
          return s.facts.input.raw() == input.raw();
        });
        observer.step();
        return map_of(method, network, *subject, request.method, subject->facts.target.of);
      },
      request.method.seed);
  for (const RandomisedLayer& row : result.randomised) {
    result.mean_correlation += row.correlation / static_cast<double>(result.randomised.size());
  }
  return result;
}

void find_doubts(NetworkTrust& result) {
  if (luck(result.correct, result.images, result.chance) >= kTooLucky) {
    result.doubts.push_back(
        fmt::format("it is right in {} of {} pictures, no more than by chance ({})", result.correct,
                    result.images, percent(result.chance)));
  }
  for (MethodTrust& method : result.methods) {
    if (method.mean_correlation >= kStaysHigh) {
      method.doubts.emplace_back("shows the picture, not the network");
    }
    if (!method.deletion.better() && !method.insertion.better()) {
      method.doubts.emplace_back("no better than random maps");
    }
  }
}

}  // namespace

std::vector<Sample> spread_over_classes(const std::vector<Sample>& samples, int64_t count,
                                        uint64_t seed) {
  std::vector<std::vector<Sample>> by_class;
  for (const Sample& sample : samples) {
    const auto label = static_cast<size_t>(sample.label);
    if (by_class.size() <= label) by_class.resize(label + 1);
    by_class[label].push_back(sample);
  }
  std::vector<std::vector<int64_t>> order;
  for (size_t c = 0; c < by_class.size(); ++c) {
    order.push_back(permutation(static_cast<int64_t>(by_class[c].size()),
                                Random(seed, Stream::kExplain, 0, c)));
  }
  std::vector<Sample> chosen;
  for (size_t turn = 0; chosen.size() < samples.size(); ++turn) {
    for (size_t c = 0; c < by_class.size(); ++c) {
      if (std::ssize(chosen) == count) return chosen;
      if (turn < order[c].size()) {
        chosen.push_back(by_class[c][static_cast<size_t>(order[c][turn])]);
      }
    }
  }
  return chosen;
}

std::filesystem::path masks_beside(const std::filesystem::path& split) {
  const std::filesystem::path folder = std::filesystem::absolute(split / "").lexically_normal();
  const std::filesystem::path masks =
      folder.parent_path().parent_path() / "masks" / folder.parent_path().filename();
  std::error_code ignored;
  return std::filesystem::is_directory(masks, ignored) ? masks : std::filesystem::path{};
}

std::filesystem::path mask_of(const Sample& sample, const std::filesystem::path& masks) {
  if (masks.empty()) return {};
  // As many parts of the path as the id has, whose own bytes may have been replaced.
  const std::filesystem::path id = sample.id;
  std::filesystem::path mask = masks;
  std::for_each(std::prev(sample.path.end(), std::distance(id.begin(), id.end())),
                sample.path.end(), [&](const std::filesystem::path& part) { mask /= part; });
  mask.replace_extension(".png");
  std::error_code ignored;
  return std::filesystem::is_regular_file(mask, ignored) ? mask : std::filesystem::path{};
}

Comparison compare(const std::vector<double>& values, const std::vector<double>& chances,
                   int sign) {
  Comparison result;
  std::vector<double> gains;
  for (size_t i = 0; i < values.size(); ++i) {
    if (std::isnan(values[i]) || std::isnan(chances[i])) continue;
    result.mean += values[i];
    result.chance += chances[i];
    gains.push_back(sign * (values[i] - chances[i]));
  }
  const auto n = static_cast<double>(gains.size());
  result.images = std::ssize(gains);
  result.mean /= n;
  result.chance /= n;
  result.gain = std::accumulate(gains.begin(), gains.end(), 0.0) / n;
  double square = 0;
  for (const double gain : gains) square += (gain - result.gain) * (gain - result.gain);
  result.standard_error = std::sqrt(square / (n * (n - 1)));  // 0 / 0 of one picture: not known
  return result;
}

double luck(int64_t correct, int64_t images, double chance) {
  if (correct <= 0) return 1;
  if (chance >= 1) return 1;
  double sum = 0;
  for (int64_t k = correct; k <= images; ++k) {
    const auto n = static_cast<double>(images), right = static_cast<double>(k);
    sum += std::exp(std::lgamma(n + 1) - std::lgamma(right + 1) - std::lgamma(n - right + 1) +
                    right * std::log(chance) + (n - right) * std::log1p(-chance));
  }
  return std::min(sum, 1.0);
}

NetworkTrust measure_network(LoadedModel& network, const TrustRequest& request,
                             const TrustObserver& observer) {
  MethodOptions options = checked(request.method, request.methods, network);
  options.trust = Trust::kNone;
  TrustRequest asked = request;
  asked.method = options;

  NetworkTrust result{.images = std::ssize(request.samples)};
  std::vector<Subject> subjects;
  std::vector<int64_t> of_class(network.card.classes.size(), 0);
  observer.begin("random maps", result.images);
  for (const Sample& sample : request.samples) {
    Subject subject = read_subject(network, sample, request.masks);
    const int64_t predicted = subject.facts.target.of;
    subject.facts.random = random_maps(subject.facts.input,
                                       probability_of(*network.model, predicted), 3, options.seed);
    result.correct += predicted == subject.label ? 1 : 0;
    result.masks += subject.mask.defined() ? 1 : 0;
    ++of_class[static_cast<size_t>(subject.label)];
    subjects.push_back(std::move(subject));
    observer.step();
  }
  const auto commonest = static_cast<double>(*std::max_element(of_class.begin(), of_class.end()));
  result.chance = std::max(commonest / static_cast<double>(result.images),
                           1 / static_cast<double>(of_class.size()));
  result.sanity_images = std::min(request.sanity_images, result.images);
  for (const std::string& method : request.methods) {
    result.methods.push_back(measure_method(
        method, network, subjects, static_cast<size_t>(result.sanity_images), asked, observer));
  }
  find_doubts(result);
  return result;
}

}  // namespace glassnet::cli
