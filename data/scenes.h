// Six kinds of landscape, drawn by the program itself: a data set to train on that needs no
// download and knows, pixel by pixel, what makes each picture the kind it is.
//
// The classes are those of the Intel Image Classification photographs. Hour, weather, season,
// palette, viewpoint and surroundings are drawn alike for all of them, and exposure and white
// balance are set as a camera would, so that colour alone tells little: a network has to find the
// object. Its outline comes with each picture, as the truth that explanations can be held against.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "data/image.h"

namespace glassnet {

// What the mask of each class covers: the houses; the trees of the wood; the ice; the peaks, not
// the land before them; the water; the road with what stands and drives on it.
inline const std::vector<std::string>& scene_classes() {
  static const std::vector<std::string> names = {"buildings", "forest", "glacier",
                                                 "mountain",  "sea",    "street"};
  return names;
}

struct Scene {
  Image image;                // (size, size, 3)
  std::vector<uint8_t> mask;  // (size, size): 255 on the object that makes the class, else 0
  int label = 0;
};

// A pure function of its arguments; one index drawn at two sizes is one composition. The mask
// covers between 10 % and 80 % of the picture. Throws UsageError for an unknown label or a size
// outside 16 … 2048.
Scene draw_scene(int label, uint64_t seed, uint64_t index, int size = 150);

struct ScenesOptions {
  int train_per_class = 100;
  int test_per_class = 30;
  int size = 150;
  uint64_t seed = 0;
  bool beside_others = false;  // write into a folder that holds other files, keeping them
  bool replace = false;        // also scenes that were drawn with other options
};

// Pictures written so far, and how many there will be.
using ScenesProgress = std::function<void(int64_t done, int64_t total)>;

// Writes
//   DIR/train/CLASS/00001.jpg …        DIR/test/CLASS/00001.jpg …
//   DIR/masks/train/CLASS/00001.png …  DIR/masks/test/CLASS/00001.png …  (grey, 0 or 255)
//   DIR/scenes.json, which holds the options and marks the folder as this function's own.
// on all cores. All of it is drawn into a hidden folder inside DIR first and moved into place at
// the end, so that a run that is cut short changes nothing; then what an earlier call left there is
// replaced, and other files stay. Refused with UsageError is a folder that holds anything but
// scenes (with `beside_others`, only one whose train/, test/ or masks/ is not this function's own),
// and one of scenes of other options (unless `replace`). `progress` is called from one thread at a
// time; what it throws ends the work and is passed on.
void write_scenes(const std::filesystem::path& dir, const ScenesOptions& options,
                  const ScenesProgress& progress = {});

}  // namespace glassnet
