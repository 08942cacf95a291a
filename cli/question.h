// What is asked of a picture: which class's score, and against which other's.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "xai/score.h"

namespace glassnet::cli {

class Question {
 public:
  // of: "predicted", or a class's name or index. against: a name or index, "none", or "auto": where
  // the predicted class is asked for and is not the true one, the true one. Throws UsageError for
  // what is none of these.
  Question(const std::string& of, const std::string& against,
           const std::vector<std::string>& classes);

  // true_class: -1 where it is not known.
  Target about(int64_t predicted, int64_t true_class) const;

 private:
  std::optional<int64_t> of_, against_;
  bool automatic_;
};

}  // namespace glassnet::cli
