#include "training/parameter_rates.h"

#include <fnmatch.h>

#include <algorithm>
#include <charconv>
#include <set>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "kernels/error.h"
#include "nn/layers.h"

namespace glassnet {
namespace {

// A parameter's name, and the paths of the modules that it lies in: "layer1.0.conv1.weight",
// "layer1.0.conv1", "layer1.0", "layer1".
std::vector<std::string> names_for(const std::string& parameter) {
  std::vector<std::string> names = {parameter};
  for (size_t dot; (dot = names.back().rfind('.')) != std::string::npos;) {
    names.push_back(names.back().substr(0, dot));
  }
  return names;
}

bool fits(const std::string& pattern, const std::string& parameter) {
  const std::vector<std::string> names = names_for(parameter);
  return std::any_of(names.begin(), names.end(), [&](const std::string& name) {
    return ::fnmatch(pattern.c_str(), name.c_str(), 0) == 0;
  });
}

// Sets the factor of every parameter that the pattern fits.
void set_factors(const std::string& option, const std::string& pattern, double factor,
                 const std::vector<NamedVariable>& parameters, std::vector<double>& factors) {
  bool found = false;
  for (size_t i = 0; i < parameters.size(); ++i) {
    if (!fits(pattern, parameters[i].name)) continue;
    factors[i] = factor;
    found = true;
  }
  if (found) return;
  std::set<std::string> known;
  for (const NamedVariable& parameter : parameters) {
    for (const std::string& name : names_for(parameter.name)) known.insert(name);
  }
  throw UsageError(
      fmt::format("{} '{}' fits no parameter; the nearest names are {}", option, pattern,
                  fmt::join(nearest_names(pattern, {known.begin(), known.end()}), ", ")));
}

bool frozen(const BatchNorm2d& bn) {
  return !bn.weight.requires_grad() && !bn.bias.requires_grad();
}

}  // namespace

LrScale parse_lr_scale(const std::string& text) {
  constexpr double kLargest = 1e6;
  const size_t equals = text.rfind('=');
  const std::string pattern = text.substr(0, equals);
  double factor = -1;
  if (equals != std::string::npos) {
    const char* const end = text.data() + text.size();
    const auto parsed = std::from_chars(text.data() + equals + 1, end, factor);
    if (parsed.ec != std::errc() || parsed.ptr != end) factor = -1;
  }
  if (factor == 0) {
    throw UsageError(
        fmt::format("--lr-scale {} would leave parameters as they are, which --freeze '{}' is for",
                    text, pattern));
  }
  if (!(factor > 0 && factor <= kLargest)) {
    throw UsageError(fmt::format(
        "--lr-scale must be PATTERN=X with a finite number X greater than 0, such as layer4=0.1, "
        "got '{}'",
        text));
  }
  return {pattern, factor};
}

std::vector<double> rate_factors(const Module& model, const std::vector<std::string>& freeze,
                                 const std::vector<std::string>& lr_scale) {
  const std::vector<NamedVariable> parameters = model.named_parameters();
  std::vector<double> factors(parameters.size(), 1.0);
  for (const std::string& text : lr_scale) {
    const LrScale scale = parse_lr_scale(text);
    set_factors("--lr-scale", scale.pattern, scale.factor, parameters, factors);
  }
  for (const std::string& pattern : freeze) {
    set_factors("--freeze", pattern, 0, parameters, factors);
  }
  const bool learns =
      std::any_of(factors.begin(), factors.end(), [](double factor) { return factor != 0; });
  if (!freeze.empty() && !learns) {
    const std::string last = parameters.back().name;
    throw UsageError(
        fmt::format("--freeze leaves nothing to learn: its patterns fit all {} parameter tensors; "
                    "spare at least those of {}",
                    parameters.size(), last.substr(0, last.rfind('.'))));
  }
  return factors;
}

void freeze(Module& model, const std::vector<double>& factors) {
  std::vector<NamedVariable> parameters = model.named_parameters();
  for (size_t i = 0; i < parameters.size(); ++i) {
    if (factors[i] == 0) parameters[i].variable.set_requires_grad(false);
  }
  for (const auto& [path, module] : model.named_modules()) {
    if (auto* bn = dynamic_cast<BatchNorm2d*>(module); bn != nullptr && frozen(*bn)) bn->eval();
  }
}

std::string describe_rates(Module& model, const std::vector<double>& factors) {
  struct Count {
    int64_t tensors = 0, elements = 0;
  };
  Count all, frozen_ones, scaled;
  const std::vector<NamedVariable> parameters = model.named_parameters();
  for (size_t i = 0; i < parameters.size(); ++i) {
    const auto add = [&](Count& count) {
      ++count.tensors;
      count.elements += parameters[i].variable.value().numel();
    };
    add(all);
    if (factors[i] == 0) {
      add(frozen_ones);
    } else if (factors[i] != 1) {
      add(scaled);
    }
  }
  int64_t batch_norms = 0, still = 0;
  for (const auto& [path, module] : model.named_modules()) {
    if (const auto* bn = dynamic_cast<BatchNorm2d*>(module)) {
      ++batch_norms;
      still += frozen(*bn) ? 1 : 0;
    }
  }
  std::vector<std::string> parts;
  if (frozen_ones.tensors > 0) {
    parts.push_back(fmt::format("{} of {} tensors frozen ({} of {} parameters)",
                                frozen_ones.tensors, all.tensors, frozen_ones.elements,
                                all.elements));
  }
  if (still > 0) {
    parts.push_back(fmt::format("{} of {} batch norms keep their statistics", still, batch_norms));
  }
  if (scaled.tensors > 0) {
    parts.push_back(fmt::format("{} of {} tensors learn at a rate of their own ({} parameters)",
                                scaled.tensors, all.tensors, scaled.elements));
  }
  return fmt::format("{}", fmt::join(parts, ", "));
}

}  // namespace glassnet
