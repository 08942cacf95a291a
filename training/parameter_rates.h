// Which of a network's parameters learn, and how quickly: what `--freeze` and `--lr-scale` say.
//
// A pattern is a glob as fnmatch(3) has it: `*` is any letters, dots too, `?` is one letter, `[ab]`
// one of these. It stands for every parameter whose name it fits, and for all parameters below a
// module whose path it fits: "layer1" and "layer1.*" are the same.
#pragma once

#include <string>
#include <vector>

#include "nn/module.h"

namespace glassnet {

struct LrScale {
  std::string pattern;
  double factor = 1;
};
// "layer4=0.1". Throws UsageError for anything else, and for a factor of 0.
LrScale parse_lr_scale(const std::string& text);

// What to multiply each parameter's learning rate with, in the order of named_parameters: 0 where
// a pattern of `freeze` fits, else the factor of the last of `lr_scale` that fits, else 1. Throws
// UsageError for a pattern that fits nothing, and when nothing is left that learns.
std::vector<double> rate_factors(const Module& model, const std::vector<std::string>& freeze,
                                 const std::vector<std::string>& lr_scale);

// Parameters with the factor 0 want no gradient any more. A batch norm whose gamma and beta both
// have it keeps its statistics, too: it goes into evaluation mode, where it stays until someone
// calls `train` on it or on a module above.
void freeze(Module& model, const std::vector<double>& factors);

// What `freeze` has done and what is scaled, for people; empty when all parameters learn alike.
std::string describe_rates(Module& model, const std::vector<double>& factors);

}  // namespace glassnet
