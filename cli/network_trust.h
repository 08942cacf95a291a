// Whether the explanations of a whole network can be trusted: the measures of xai/trust.h over many
// pictures whose classes are known, and what follows from them.
//
// A network that has learnt nothing still has maps, and they may well tell what changes its answer;
// but that answer says nothing about the picture. So a method passes only when the network itself
// does better than chance, its maps are not the picture's own, and taking their pixels changes the
// answer more than those of random maps do.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "cli/explanation.h"
#include "data/folder.h"

namespace glassnet::cli {

// A map whose correlation with the one before is as high as this, on the mean of all stages that
// are drawn anew one after the other, owes more to the picture than to the network.
inline constexpr double kStaysHigh = 0.6;

// Up to `count` of the samples, class after class in turn, each class's drawn by the seed.
std::vector<Sample> spread_over_classes(const std::vector<Sample>& samples, int64_t count,
                                        uint64_t seed);

// Where the masks of a folder of pictures lie when nobody says: DATA/masks/test of DATA/test, as
// `glassnet scenes` writes them. Empty when there is no such folder.
std::filesystem::path masks_beside(const std::filesystem::path& split);
// MASKS/forest/1.png of the sample "forest/1.jpg", by the bytes of its file's name; empty when
// there is none.
std::filesystem::path mask_of(const Sample& sample, const std::filesystem::path& masks);

// What was measured of maps and of chance, on the same pictures; those where it is no number, since
// the map is blank, are left out.
struct Comparison {
  int64_t images = 0;
  double mean = 0, chance = 0;
  double gain = 0;            // by how much the maps are better, mean over the pictures
  double standard_error = 0;  // of the gain, from its differences picture by picture

  bool better() const { return images > 1 && gain > 2 * standard_error && gain > kLeastGain; }
};
// values and chances: one for each picture. `sign` is 1 where more is better, -1 where less is.
Comparison compare(const std::vector<double>& values, const std::vector<double>& chances, int sign);

// The probability that guessing right with `chance` each time is right `correct` times of `images`
// or more often.
double luck(int64_t correct, int64_t images, double chance);

struct Pointing {
  std::string of;  // a class, or "all"
  int64_t images = 0;
  Comparison hits;    // the highest pixel lies on the object; chance: its share of the picture
  Comparison energy;  // the share of the map's positive values that does; chance: as above
};

struct MethodTrust {
  std::string method;
  std::vector<RandomisedLayer> randomised;
  double mean_correlation = 0;      // of them; NaN where no picture's map tells
  Comparison deletion, insertion;   // areas; chance: random maps
  std::vector<Pointing> pointing;   // of each class with masks, then of all; empty without masks
  int64_t blank = 0;                // maps that name no pixel before another
  std::vector<std::string> doubts;  // why it does not pass
};

struct NetworkTrust {
  int64_t images = 0, sanity_images = 0, masks = 0;
  int64_t correct = 0;
  double chance = 0;  // of being right without looking: always answering the commonest class
  std::vector<MethodTrust> methods;
  std::vector<std::string> doubts;  // about the network, whatever the method

  bool passes(const MethodTrust& method) const { return doubts.empty() && method.doubts.empty(); }
};

struct TrustRequest {
  std::vector<Sample> samples;
  std::filesystem::path masks;  // empty: none
  std::vector<std::string> methods = {"gradcam", "saliency"};
  int64_t sanity_images = 12;  // the first so many of the samples
  MethodOptions method;
};

// What takes long is announced by `begin`, and each of its `total` parts by `step`.
struct TrustObserver {
  std::function<void(const std::string& label, int64_t total)> begin = [](auto&, auto) {};
  std::function<void()> step = [] {};
};

// The predicted class is explained; for the pointing game the true one, which is what a mask shows.
// The network is as before afterwards. Throws Error for a picture or mask that cannot be read, and
// UsageError for methods and options that make no sense.
NetworkTrust measure_network(LoadedModel& network, const TrustRequest& request,
                             const TrustObserver& observer = {});

}  // namespace glassnet::cli
