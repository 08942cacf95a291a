#include "report/shown_explanation.h"

#include <fmt/format.h>

#include "report/page_json.h"

namespace glassnet {
namespace {

std::string measure_json(const ShownMeasure& of) {
  return fmt::format(R"({{"name":{},"value":{},"random":{},"better":{}}})", json_string(of.name),
                     json_number(of.value, 4), json_number(of.random, 4), of.better);
}

std::string map_json(const ShownMap& of) {
  return fmt::format(R"({{"method":{},"name":{},"note":{},"trust":{},"picture":{}}})",
                     json_string(of.method), json_string(of.name), json_string(of.note),
                     json_list(of.trust, measure_json), json_picture(of.picture));
}

std::string epoch_json(const ShownEpoch& of) {
  return fmt::format(R"({{"epoch":{},"predicted":{},"probability":{},"maps":{}}})", of.epoch,
                     of.predicted, json_number(of.probability, 4),
                     json_list(of.maps, [](const ShownEpoch::Map& map) {
                       return fmt::format(R"({{"picture":{},"drift":{}}})",
                                          json_picture(map.picture), json_number(map.drift, 4));
                     }));
}

}  // namespace

std::string explanation_json(const ShownExplanation& of) {
  return fmt::format(
      R"({{"image":{},"epoch":{},"trueClass":{},"predicted":{},"probability":{},"why":{},)"
      R"("warning":{},"photograph":{},"methods":{},"kept":{}}})",
      of.image, of.epoch, of.true_class, of.predicted, json_number(of.probability, 4),
      json_string(of.why), json_string(of.warning), json_picture(of.photograph),
      json_list(of.maps, map_json), json_list(of.kept, epoch_json));
}

}  // namespace glassnet
