// How far an explanation can be trusted, in numbers.
//
// A map (H, W) says of each pixel how much it speaks for an answer. These measures ask the network
// itself: do the pixels that the map names change the answer, and does the map depend on what the
// network has learnt?
//
//   deletion, insertion   Petsiuk, Das, Saenko: "RISE", BMVC 2018
//   max-sensitivity,      Yeh et al.: "On the (in)fidelity and sensitivity of explanations",
//   infidelity            NeurIPS 2019
//   parameter             Adebayo et al.: "Sanity checks for saliency maps", NeurIPS 2018
//   randomisation
//   pointing game         Zhang et al.: "Top-down neural attention by excitation backprop", ECCV
//   2016
//
// Images are (1, H, W, 3), as the network takes them. Every random number comes from a seed.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "nn/module.h"

namespace glassnet {

// The probability of one class for each image of a batch (N, H, W, 3).
using ClassProbability = std::function<std::vector<double>(const Tensor& images)>;
// In evaluation mode, recording nothing; `model` must outlive it.
ClassProbability probability_of(Module& model, int64_t target);

// --- deletion and insertion ----------------------------------------------------------------------

struct PixelOrderOptions {
  int steps = 32;       // the map's pixels are taken in so many equal parts
  int batch_size = 32;  // images a forward pass
  std::function<void(int64_t images)> progress;  // after each pass: of how many
};

// Whether a map names no pixel before another: it is the same everywhere, or no number. What is
// measured of such a map is NaN, since an order that it does not give is neither good nor bad.
bool is_blank(const Tensor& map);

// The probability after 0, 1, … steps, and the area below it by the trapezoid rule, both axes from
// 0 to 1.
struct Curve {
  std::vector<double> probabilities;
  double area = 0;
};
// Pixels become zero (the mean colour, where inputs are normalised), the map's highest first, equal
// ones in the order of the picture. The lower the area, the better the map.
Curve deletion(const Tensor& image, const Tensor& map, const ClassProbability& probability,
               const PixelOrderOptions& options = {});
// From the blurred image (Gaussian, 5 pixels wide, cut at 11 x 11) to the image, the map's highest
// first. The higher the area, the better.
Curve insertion(const Tensor& image, const Tensor& map, const ClassProbability& probability,
                const PixelOrderOptions& options = {});

// The same for maps that know nothing: 7 x 7 uniform random numbers, enlarged bilinearly. A map
// that is not better than these says nothing about the network.
struct RandomMaps {
  double deletion = 0, insertion = 0;            // mean areas
  double best_deletion = 0, best_insertion = 0;  // the lowest and the highest area of any of them
};
// By how much a map has to be better, in probability. Maps of networks with random weights are
// better than random ones by up to half of this, and surely so over many pictures: they do tell
// what changes the answer, but hardly anything changes it.
inline constexpr double kLeastGain = 0.01;
RandomMaps random_maps(const Tensor& image, const ClassProbability& probability, int maps = 3,
                       uint64_t seed = 0, const PixelOrderOptions& options = {});

// --- sensitivity and infidelity ------------------------------------------------------------------

using Explainer = std::function<Tensor(const Tensor& image)>;  // -> a map (H, W)

// The largest ||map(x + d) - map(x)|| / ||map(x)|| over `draws` shifts d, uniform in
// [-radius, radius] for every number of the input. 0 is best; NaN where the map is blank.
double max_sensitivity(const Tensor& image, const Explainer& explain, double radius = 0.02,
                       int draws = 10, uint64_t seed = 0);

struct InfidelityOptions {
  int draws = 64;
  double side = 0.25;  // of the squares, as a share of the image's
  int batch_size = 32;
  uint64_t seed = 0;
};
// Squares of the image become zero; with D the drop of the probability and S the sum of the map in
// the square, the smallest E[(b S - D)^2] / E[D^2] over all factors b >= 0, since a map's unit is
// its own. 0: the map foretells every drop; 1: it foretells nothing. NaN where the map is blank, or
// the probability never drops.
double infidelity(const Tensor& image, const Tensor& map, const ClassProbability& probability,
                  const InfidelityOptions& options = {});

// --- parameter randomisation ---------------------------------------------------------------------

struct RandomisedLayer {
  std::string layer;  // up to which, from the answer down, parameters were drawn anew
  // Spearman's, of |map| before and after: mean over the images whose map was not blank before, NaN
  // where none was, or a map of both numbers and NaN came up. A map that has become blank counts
  // as 0.
  double correlation = 0;
};
// From the last module with parameters to the first of `layers` (paths, in the order of the
// network; all that lies below a path counts to it), each is drawn anew and stays so. Where
// correlations stay high, a map shows the picture and not the network. The model is as before
// afterwards, also when `explain` throws.
std::vector<RandomisedLayer> randomise_parameters(
    Module& model, const std::vector<std::string>& layers, const std::vector<Tensor>& images,
    const std::function<Tensor(const Tensor& image)>& explain, uint64_t seed = 0);

// Rank correlation of two maps of one shape, equal values sharing their mean rank; 0 where one is
// constant, NaN where one holds a NaN.
double spearman(const Tensor& a, const Tensor& b);

// --- masks of the object -------------------------------------------------------------------------

struct PointingGame {
  // Whether the map's highest pixel lies on the object, 1 or 0; of several that are equally high,
  // such as a superpixel's, the share that does. 0 for a blank map, which points nowhere.
  double hit = 0;
  double energy = 0;  // share of the map's positive values that does; NaN where it has none
  double area = 0;    // share of the picture that the object covers: both, for a map of chance
};
// mask (H, W) of any type, not zero on the object.
PointingGame pointing_game(const Tensor& map, const Tensor& mask);

}  // namespace glassnet
