#include "cli/question.h"

#include "cli/command.h"

namespace glassnet::cli {

Question::Question(const std::string& of, const std::string& against,
                   const std::vector<std::string>& classes)
    : automatic_(of == "predicted" && against == "auto") {
  if (of != "predicted") of_ = class_index(of, classes);
  if (against != "auto" && against != "none") against_ = class_index(against, classes);
}

Target Question::about(int64_t predicted, int64_t true_class) const {
  const bool wrong = true_class >= 0 && true_class != predicted;
  return {of_.value_or(predicted), automatic_ && wrong ? true_class : against_};
}

}  // namespace glassnet::cli
