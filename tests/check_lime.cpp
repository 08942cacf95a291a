// LIME against numbers that the reference implementation gave for real photographs and a real
// network. Run by scripts/check-lime, which says what lies where.
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "models/weights.h"
#include "tensor/file.h"
#include "tensor/npy.h"
#include "xai/lime.h"

namespace glassnet {
namespace {

namespace fs = std::filesystem;

// Of weights, intercepts and scores, given the reference's masks and probabilities.
constexpr double kSameSamples = 1e-5;
// Of weights and intercepts with our own network.
constexpr double kEndToEnd = 1e-4, kEndToEndOfLargest = 1e-2;
constexpr size_t kTop = 5;

bool all_passed = true;

// A number in the table, marked when it is above its gate.
std::string gated(double value, double gate) {
  const bool passed = value <= gate;
  all_passed = all_passed && passed;
  return fmt::format("{:.1e}{}", value, passed ? ' ' : '!');
}
std::string gated(bool passed) {
  all_passed = all_passed && passed;
  return passed ? "yes" : "NO!";
}

std::vector<double> load(const fs::path& path) {
  return load_npy(path).to_vector<double>();
}

// Of an object with a number for each class, written as its index.
std::vector<double> by_class(const nlohmann::json& object) {
  std::vector<double> values(object.size());
  for (const auto& [key, value] : object.items()) values.at(std::stoul(key)) = value;
  return values;
}

double distance(const std::vector<double>& a, const std::vector<double>& b) {
  double largest = a.size() == b.size() ? 0 : INFINITY;
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    largest = std::max(largest, std::abs(a[i] - b[i]));
  }
  return largest;
}

double largest_size(const std::vector<double>& values) {
  return distance(values, std::vector<double>(values.size()));
}

// Whether a class's largest weights come in the same order, as far as the gaps between them say.
bool same_top(const std::vector<int64_t>& ranking, const std::vector<double>& expected,
              double gap) {
  std::vector<double> sizes(expected.size());
  std::transform(expected.begin(), expected.end(), sizes.begin(),
                 [](double weight) { return std::abs(weight); });
  std::vector<double> sorted = sizes;
  std::sort(sorted.rbegin(), sorted.rend());
  for (size_t k = 0; k < std::min(kTop, sorted.size()); ++k) {
    const double got = sizes[static_cast<size_t>(ranking[k])];
    if (std::abs(got - sorted[k]) > gap) return false;
  }
  return true;
}

void check_superpixels(const fs::path& folder, const std::string& kind, const std::string& labels,
                       const nlohmann::json& numbers, Module& network) {
  const auto file = [&](const char* what) {
    return folder / fmt::format("lime_{}_{}", kind, what);
  };
  const Superpixels superpixels{.labels = load_npy(folder / labels),
                                .count = numbers.at("superpixels")};
  const int64_t n = superpixels.count, samples = numbers.at("samples");
  const auto seed = numbers.at("seed").get<uint32_t>();
  const Image picture = read_image(folder / "image.png");
  const std::vector<double> weights = load(file("weights.npy"));
  const std::vector<double> intercepts = by_class(numbers.at("intercept"));
  const std::vector<double> scores = by_class(numbers.at("score"));
  const std::vector<double> local = by_class(numbers.at("local_pred"));
  const Tensor probabilities = load_npy(file("probabilities.npy"));

  const LimeMasks masks = random_lime_masks(samples, n, seed);
  std::vector<double> bits;
  for (int64_t i = 0; i < samples; ++i) {
    for (int64_t j = 0; j < n; ++j) bits.push_back(masks.shows(i, j) ? 1 : 0);
  }
  const bool same_masks = bits == load(file("masks.npy"));
  const bool same_hidden =
      hide_superpixels(picture, superpixels).rgb == read_image(file("hidden.png")).rgb;

  LimeJob job{.picture = picture, .superpixels = superpixels};
  for (int64_t c = 0; c < probabilities.dim(1); ++c) job.classes.push_back(c);
  const LimeResult same = fit_lime(masks, probabilities, job.classes);
  const double same_weights = distance(same.weights.to_vector<double>(), weights);
  const double same_rest =
      std::max({distance(same.intercepts, intercepts), distance(same.scores, scores),
                distance(same.local_predictions, local)});

  const LimeResult own = lime(
      network, job, {.samples = samples, .seed = seed, .batch_size = 50, .keep_samples = true});
  const double own_probabilities =
      distance(own.probabilities.to_vector<double>(), probabilities.to_vector<double>());
  double worst = 0, worst_gate = 0;  // of the class that comes closest to its gate, or beyond
  bool same_ranking = true;
  for (size_t c = 0; c < job.classes.size(); ++c) {
    const auto begin = static_cast<int64_t>(c);
    const std::vector<double> expected(weights.begin() + begin * n,
                                       weights.begin() + (begin + 1) * n);
    const std::vector<double> got = own.weights.slice(begin, begin + 1).to_vector<double>();
    const double apart =
        std::max(distance(got, expected), std::abs(own.intercepts[c] - intercepts[c]));
    const double gate = kEndToEnd + kEndToEndOfLargest * largest_size(expected);
    same_ranking = same_ranking && same_top(own.rankings[c], expected, 2 * gate);
    if (c == 0 || apart / gate > worst / worst_gate) {
      worst = apart;
      worst_gate = gate;
    }
  }
  fmt::print("{:8} {:10} {:3} {:>6} {:>6} {:>9} {:>9} {:>9} {:>9} {:>8.1e} {:>5}\n",
             folder.filename().string(), kind, n, gated(same_masks), gated(same_hidden),
             gated(same_weights, kSameSamples), gated(same_rest, kSameSamples),
             fmt::format("{:.1e} ", own_probabilities), gated(worst, worst_gate), worst_gate,
             gated(same_ranking));
  std::fflush(stdout);
}

int run(const fs::path& folders, const fs::path& weights) {
  const LoadedModel loaded = load_model(
      weights, {.model = "resnet50",
                .classes = {"buildings", "forest", "glacier", "mountain", "sea", "street"}});
  fmt::print(
      "                          equal:        same samples:       own network:\n"
      "picture  superpixels    masks hidden   weights      rest probabil.   weights"
      "     gate top 5\n");
  std::vector<fs::path> pictures;
  for (const auto& entry : fs::directory_iterator(folders)) {
    if (fs::exists(entry.path() / "index.json")) pictures.push_back(entry.path());
  }
  std::sort(pictures.begin(), pictures.end());
  for (const fs::path& picture : pictures) {
    const nlohmann::json index = nlohmann::json::parse(read_file(picture / "index.json"));
    check_superpixels(picture, "quickshift", "quickshift_lime_defaults.npy",
                      index.at("lime_quickshift"), *loaded.model);
    check_superpixels(picture, "slic", "slic_50.npy", index.at("lime_slic"), *loaded.model);
  }
  if (pictures.empty()) throw Error(fmt::format("no picture lies in {}", folders.string()));
  fmt::print("{}\n",
             all_passed ? "Everything within its gate." : "Not all is within its gate (!).");
  return all_passed ? 0 : 1;
}

}  // namespace
}  // namespace glassnet

int main(int argc, char** argv) {
  try {
    if (argc != 3) throw glassnet::UsageError("usage: glassnet_check_lime PICTURES WEIGHTS");
    return glassnet::run(argv[1], argv[2]);
  } catch (const std::exception& error) {
    fmt::print(stderr, "check_lime: {}\n", error.what());
    return 2;
  }
}
