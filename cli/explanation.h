// One method on one picture: its map, how it is shown, and in numbers how far it can be trusted.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "models/weights.h"
#include "report/regions.h"
#include "report/sheet.h"
#include "xai/explain.h"
#include "xai/lime.h"
#include "xai/trust.h"

namespace glassnet::cli {

// "lime", and what xai/explain.h knows.
std::vector<std::string> known_methods();
// Throws UsageError, naming the known ones, for another.
void require_known_method(const std::string& method);

// As people call it: "Grad-CAM" of "gradcam".
std::string title_of(const std::string& method);

enum class Trust {
  kNone,
  kCurves,  // deletion and insertion, beside random maps
  kAll,     // and infidelity, and but for LIME max-sensitivity
};
Trust parse_trust(const std::string& name);  // "none", "curves", "all"; throws UsageError
std::string name_of(Trust trust);

struct MethodOptions {
  std::vector<std::string> layers;         // for methods that look at any
  std::string superpixels = "quickshift";  // as parse_superpixels knows them, or a label image
  std::string samples = "1000";            // a number, "auto" or "exact"
  std::string hide = "mean";               // or a colour, "127,127,127"
  std::string lime_precision = "fp32";     // of LIME's forward passes: or bf16, on a GPU fp16
  uint32_t seed = 0;
  float opacity = 0.5F;  // of a map on its picture
  Trust trust = Trust::kCurves;
  // Told, now and then, how far a method has come that takes long: "LIME 512 of 1000 samples".
  std::function<void(const std::string& note)> progress;
};
// The options with nothing left open. Throws UsageError, before any work is done, for methods that
// do not exist, layers that the network lacks, and whatever else makes no sense.
MethodOptions checked(const MethodOptions& options, const std::vector<std::string>& methods,
                      const LoadedModel& network);
// Whether one of the methods depends on the layers.
bool look_at_layers(const std::vector<std::string>& methods);
LimeOptions lime_options(const MethodOptions& options, const ModelCard& card);
// Segments by the method, or of the file, that the options name.
Superpixels superpixels_of(const Image& picture, const MethodOptions& options, Device device);

// What belongs to a picture whatever the method, made when it is first asked for.
struct PictureFacts {
  Image picture;
  Tensor input;  // (1, S, S, 3), on the network's device
  Target target = 0;
  double probability = 0;  // of the target's class, where somebody wants to know
  std::optional<RandomMaps> random;
};

using Figures = std::vector<std::pair<std::string, double>>;
struct MethodResult {
  std::string method;
  Tensor map;  // (S, S) float32 on the CPU
  bool is_signed = false;
  Figures figures, trust;  // by name, in the order in which they are printed
  // "deletion", "insertion", where the map is no better than each of the random ones.
  std::vector<std::string> no_better_than_random;
  std::optional<LimeResult> lime;  // of one class
  std::optional<Superpixels> superpixels;
};
MethodResult explain_by(const std::string& method, LoadedModel& network, PictureFacts& facts,
                        const MethodOptions& options);
// Whether explain_together gains from several pictures: every method but LIME takes one pass, and
// nothing else is asked about a picture.
bool gain_from_company(const std::vector<std::string>& methods, const MethodOptions& options);
// The same of several pictures at once (explain_each). `inputs` (N, S, S, 3) are those of their
// facts. Not for LIME, whose samples fill batches as they are.
std::vector<MethodResult> explain_together(const std::string& method, LoadedModel& network,
                                           const Tensor& inputs, std::vector<PictureFacts*>& facts,
                                           const MethodOptions& options);
// Of a LIME that was computed elsewhere. Where its forward passes were not in float32, the figures
// also say how far the weights of a few of its samples are from those in float32, at most.
MethodResult of_lime(LimeResult lime, Superpixels superpixels, const MethodOptions& options);
void measure_trust(MethodResult& result, LoadedModel& network, PictureFacts& facts,
                   const MethodOptions& options);

// The heading, the picture and the scale of a column in a sheet: of a result; of a map by itself;
// and of a LIME's superpixels, labels int64 (S, S).
Panel panel_of(const MethodResult& result, const Image& picture, const MethodOptions& options);
Panel panel_of(const std::string& method, const Tensor& map, bool is_signed, const Image& picture,
               const MethodOptions& options);
Panel panel_of(const Tensor& labels, const std::vector<RegionWeight>& regions, const Image& picture,
               const MethodOptions& options);
// {"figures": …, "trust": …, "superpixels": [{"weight": …}, …], …}
nlohmann::ordered_json json_of(const MethodResult& result);
// "deletion 0.212 (random 0.402)  insertion …"
std::string line_of(const MethodResult& result);
// A few words for below its picture: "at layer4"; "R² 0.83, 14 of 21 superpixels resolved".
std::string note_of(const MethodResult& result, const MethodOptions& options);
// A LIME's superpixels in the order of its ranking, as lines: the weight of each with its standard
// error.
std::string table_of(const MethodResult& lime);

}  // namespace glassnet::cli
