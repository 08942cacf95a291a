#include "training/telling_images.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <functional>
#include <tuple>
#include <utility>

#include "training/evolution.h"

namespace glassnet {
namespace {

struct Candidate {
  int64_t image;
  std::pair<double, double> score;  // the higher, the more telling
};

// The best of each class, then the second best of each, and so on.
std::vector<int64_t> class_by_class(const History& history, std::vector<Candidate> candidates) {
  std::ranges::stable_sort(candidates, std::greater<>(), &Candidate::score);
  std::vector<int64_t> taken(history.classes.size(), 0);
  std::vector<std::pair<int64_t, int64_t>> places;  // in its class, image
  for (const Candidate& candidate : candidates) {
    const auto image = static_cast<size_t>(candidate.image);
    places.emplace_back(taken[static_cast<size_t>(history.images[image].true_class)]++,
                        candidate.image);
  }
  std::ranges::stable_sort(places, {}, &std::pair<int64_t, int64_t>::first);
  std::vector<int64_t> images;
  for (const auto& [place, image] : places) images.push_back(image);
  return images;
}

}  // namespace

const char* name_of(Telling why) {
  switch (why) {
    case Telling::kConfidentlyWrong:
      return "confidently wrong";
    case Telling::kForgotten:
      return "forgotten";
    case Telling::kWavering:
      return "wavering";
    case Telling::kConfidentlyRight:
      return "confidently right";
  }
  return "";
}

std::vector<TellingImage> telling_images(const History& history, int64_t epoch, int64_t count) {
  resolve({.first = epoch, .last = epoch}, history);
  const Evolution evolution = evolve(history);
  const auto images = history.images.size();
  const int32_t* predictions = history.row(epoch);
  const auto certainty = [&](size_t i) {
    if (!history.probability.empty()) {
      const float p = history.probability[static_cast<size_t>(epoch - 1) * images + i];
      return std::isnan(p) ? 0.0 : static_cast<double>(p);
    }
    int64_t same = 0;
    for (int64_t e = 1; e <= history.epochs(); ++e) same += history.row(e)[i] == predictions[i];
    return static_cast<double>(same) / static_cast<double>(history.epochs());
  };

  constexpr std::array kTurns = {Telling::kConfidentlyWrong, Telling::kWavering,
                                 Telling::kForgotten, Telling::kConfidentlyRight};
  std::array<std::vector<Candidate>, kTurns.size()> candidates;
  for (size_t i = 0; i < images; ++i) {
    const ImageEvolution& of = evolution.images[i];
    const auto image = static_cast<int64_t>(i);
    const bool right = predictions[i] == history.images[i].true_class;
    const double once_right = 1 - of.misclassification_rate;
    if (!right) candidates[0].push_back({image, {certainty(i), 0}});
    if (of.changes > 0) {
      candidates[1].push_back(
          {image, {static_cast<double>(of.changes), static_cast<double>(of.variability)}});
    }
    if (!right && once_right > 0) candidates[2].push_back({image, {once_right, certainty(i)}});
    if (right) candidates[3].push_back({image, {certainty(i), 0}});
  }

  std::array<std::vector<int64_t>, kTurns.size()> lists;
  for (size_t k = 0; k < lists.size(); ++k) {
    lists[k] = class_by_class(history, std::move(candidates[k]));
  }
  std::vector<TellingImage> telling;
  std::vector<bool> is_taken(images, false);
  std::array<size_t, kTurns.size()> next{};
  for (bool any = true; any && std::ssize(telling) < count;) {
    any = false;
    for (size_t k = 0; k < lists.size() && std::ssize(telling) < count; ++k) {
      while (next[k] < lists[k].size() && is_taken[static_cast<size_t>(lists[k][next[k]])]) {
        ++next[k];
      }
      if (next[k] == lists[k].size()) continue;
      const int64_t image = lists[k][next[k]++];
      is_taken[static_cast<size_t>(image)] = true;
      telling.push_back({image, kTurns[k]});
      any = true;
    }
  }
  return telling;
}

}  // namespace glassnet
