// Explanations of many pictures by several methods, one picture after the other.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "cli/explanation.h"

namespace glassnet::cli {

struct ExplainedPicture {
  PictureFacts facts;
  std::map<std::string, MethodResult> results;  // by method
};

// `next` gives none after the last picture, and inputs on any device; `done` gets the number of a
// picture, counted from 0, in order. On a GPU, methods other than LIME see several pictures at
// once. LIME's samples of several pictures may share batches, so that a picture waits for its LIME
// while others are begun.
void explain_stream(LoadedModel& network, const std::vector<std::string>& methods,
                    const MethodOptions& options,
                    const std::function<std::optional<PictureFacts>()>& next,
                    const std::function<void(int64_t number, const ExplainedPicture&)>& done);

}  // namespace glassnet::cli
