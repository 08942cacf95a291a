// Random variations of training pictures. Every draw comes from the generator that is passed in,
// one stream a picture and epoch, so that a picture's variation depends on (seed, epoch, picture)
// alone.
//
// In this order, each where asked for: a crop, a flip, colours, an erased rectangle. Colours are
// worked on in floats and rounded once.
#pragma once

#include <string>

#include "data/image.h"
#include "kernels/image_variation.h"
#include "tensor/random.h"

namespace glassnet {

enum class Crop {
  kNone,
  kShift,  // a square of the same scale, moved up to `shift` of the side; the border mirrors
  kRandomResized,  // a random part of the picture, resized (Szegedy et al., CVPR 2015, section 6)
};

// How far colours move: factors from [1 - x, 1 + x], a hue turned by up to `hue` of the circle.
struct ColorJitter {
  double brightness = 0.4, contrast = 0.4, saturation = 0.4;
  double hue = 0.05;  // at most 0.5
};

struct AugmentOptions {
  Crop crop = Crop::kShift;
  double shift = 0.125;                          // of the side; kShift
  double scale_low = 0.08, scale_high = 1;       // share of the picture's area; kRandomResized
  double ratio_low = 0.75, ratio_high = 4 / 3.;  // width by height; kRandomResized
  bool flip = true;                              // left to right, every other time
  bool jitter = false;
  ColorJitter colors;
  // Chance of a rectangle of the picture's mean colour, 2 % to 33 % of the area (Zhong et al.,
  // "Random Erasing Data Augmentation", AAAI 2020).
  double erase = 0;
};

// From a list of names: flip, shift, rrc (random resized crop), jitter, erase; or none. What is not
// named is off. Throws UsageError.
AugmentOptions parse_augment(const std::string& names);
// "flip, shifts of up to 12.5 %", for people; "none" when nothing is on.
std::string describe(const AugmentOptions& options);

// The part of a decoded picture that variations start from, and that is kept between epochs:
//   kNone, kShift     the fitted square (size, size): shifts mirror its border
//   kRandomResized    the whole picture, its shorter side (kSquash: both sides) reduced to 2 * size
//                     where it is longer
Image reduce_for_augment(const Image& image, int size, Fit fit, const AugmentOptions& options);
// A variation (size, size) of what reduce_for_augment gave.
Image augment(const Image& reduced, int size, const AugmentOptions& options, Random random);

// Whether kernels::prepare_images can make these variations: random resized crops and erased
// rectangles are for the host alone.
bool can_prepare_on_device(const AugmentOptions& options);
// The options as kernels know them, for squares of `size`.
kernels::ImageVariation variation_of(const AugmentOptions& options, int size);

// The parts, for those who want one alone.
Box random_resized_crop(int height, int width, const AugmentOptions& options, Random& random);
// Rows and columns moved by (dy, dx), pixels beyond the border mirrored about the outermost ones.
Image shifted(const Image& image, int dy, int dx);
void flip_left_right(Image& image);

}  // namespace glassnet
