// The explanations of one picture as pages show them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace glassnet {

// What was measured of a map, beside the same of maps that know nothing.
struct ShownMeasure {
  std::string name;  // "deletion"
  double value = 0, random = 0;
  bool better = false;  // than each of the random maps, by more than a hair
};

struct ShownMap {
  std::string method;  // "gradcam"
  std::string name;    // "Grad-CAM"
  std::string note;    // "R² 0.83, 14 of 21 superpixels resolved"; may be empty
  std::vector<ShownMeasure> trust;
  std::string picture;  // a JPEG's or PNG's bytes
};

// One of the epochs whose weights were kept.
struct ShownEpoch {
  struct Map {
    std::string picture;
    // The rank correlation with this method's map of the kept epoch before; NaN for the first, and
    // where either map is blank.
    double drift = 0;
  };
  int64_t epoch = 0;  // as the run counts them, from 1
  int64_t predicted = -1;
  double probability = 0;
  std::vector<Map> maps;  // in the order of the explanation's
};

struct ShownExplanation {
  int64_t image = 0;  // its place in the run's log
  int64_t epoch = 0;  // whose weights; 0: the weights do not say
  int64_t true_class = -1, predicted = -1;
  double probability = 0;  // of the predicted class, which is what the maps explain
  std::string why;         // why it was chosen: "confidently wrong"; may be empty
  std::string warning;     // a sentence on what does not fit together; may be empty
  std::string photograph;  // as the network sees it; bytes, as above
  std::vector<ShownMap> maps;
  std::vector<ShownEpoch> kept;  // in order
};

// {"image": …, "epoch": …, "trueClass": …, "predicted": …, "probability": …, "why": …,
//  "warning": …, "photograph": "data:…", "methods": [{"method": …, "name": …, "note": …,
//  "trust": [{"name": …, "value": …, "random": …, "better": …}], "picture": "data:…"}],
//  "kept": [{"epoch": …, "predicted": …, "probability": …, "maps": [{"picture": …, "drift": …}]}]}
std::string explanation_json(const ShownExplanation& explanation);

}  // namespace glassnet
