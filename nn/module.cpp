#include "nn/module.h"

#include <algorithm>
#include <map>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace glassnet {
namespace {

thread_local bool leave_unfilled = false;

std::string joined(const std::string& parent, const std::string& name) {
  return parent.empty() ? name : parent + "." + name;
}

size_t edit_distance(const std::string& a, const std::string& b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = std::exchange(row[0], i);
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t substituted = diagonal + (a[i - 1] != b[j - 1] ? 1 : 0);
      diagonal = std::exchange(row[j], std::min({substituted, row[j] + 1, row[j - 1] + 1}));
    }
  }
  return row[b.size()];
}

// "3 missing (a, b, c)", naming as many as `left` allows, which it lowers.
std::string listed(const char* what, const std::vector<std::string>& names, size_t& left) {
  const size_t shown = std::min(names.size(), left);
  left -= shown;
  if (shown == 0) return fmt::format("{} {}", names.size(), what);
  return fmt::format(
      "{} {} ({}{})", names.size(), what,
      fmt::join(names.begin(), names.begin() + static_cast<std::ptrdiff_t>(shown), "; "),
      names.size() > shown ? "; …" : "");
}

// Whether all extents but the first are the same.
bool same_but_for_images(const Shape& a, const Shape& b) {
  if (a.rank() != b.rank()) return false;
  for (int i = 1; i < a.rank(); ++i) {
    if (a[i] != b[i]) return false;
  }
  return true;
}

bool is_floating(DType type) {
  return type != DType::kInt64 && type != DType::kUInt8;
}

}  // namespace

std::vector<std::string> nearest_names(const std::string& name,
                                       const std::vector<std::string>& known, size_t count) {
  std::vector<std::pair<size_t, std::string>> ranked;
  ranked.reserve(known.size());
  for (const std::string& candidate : known) {
    ranked.emplace_back(edit_distance(name, candidate), candidate);
  }
  std::sort(ranked.begin(), ranked.end());
  std::vector<std::string> nearest;
  for (size_t i = 0; i < std::min(count, ranked.size()); ++i) nearest.push_back(ranked[i].second);
  return nearest;
}

std::string misfit(const std::vector<NamedShape>& expected, const std::vector<NamedShape>& given) {
  std::map<std::string, const Shape*> left;
  for (const NamedShape& entry : given) left[entry.name] = &entry.shape;
  std::vector<std::string> missing, mis_shaped, unexpected;
  for (const NamedShape& entry : expected) {
    const auto found = left.find(entry.name);
    if (found == left.end()) {
      missing.push_back(entry.name);
      continue;
    }
    if (*found->second != entry.shape) {
      mis_shaped.push_back(fmt::format("{}: expected {}, got {}", entry.name, entry.shape.str(),
                                       found->second->str()));
    }
    left.erase(found);
  }
  constexpr size_t kMost = 10;
  for (const auto& [name, shape] : left) {
    const bool names_one = unexpected.size() < kMost && !missing.empty();
    unexpected.push_back(
        names_one ? fmt::format("{}, nearest is {}", name, nearest_names(name, missing, 1)[0])
                  : name);
  }

  size_t room = kMost;
  std::vector<std::string> complaints;
  if (!mis_shaped.empty()) complaints.push_back(listed("of another shape", mis_shaped, room));
  if (!unexpected.empty()) complaints.push_back(listed("unexpected", unexpected, room));
  if (!missing.empty()) complaints.push_back(listed("missing", missing, room));
  return fmt::format("{}", fmt::join(complaints, "; "));
}

Variable Module::operator()(const Variable& x) {
  const SpanScope span([this](Profile& p) { p.open_layer(this); });
  return through_hooks(forward(x));
}

Variable Module::operator()(Variable&& x) {
  const SpanScope span([this](Profile& p) { p.open_layer(this); });
  return through_hooks(consume(std::move(x)));
}

Variable Module::through_hooks(Variable y) {
  hooks_.for_each([&](const ForwardHook& hook) {
    Variable replaced = hook(y);
    require(replaced.defined() && same_but_for_images(replaced.shape(), y.shape()), [&] {
      return fmt::format("[on_forward] expected the hook on a {} to return shape {}, got {}",
                         kind(), y.shape().str(),
                         replaced.defined() ? replaced.shape().str() : "none");
    });
    y = std::move(replaced);
  });
  return y;
}

SharedImages Module::forward_shared(const SharedImages&) {
  throw Error(fmt::format("[shared_images] a {} takes images one by one", kind()));
}

std::vector<std::pair<std::string, Module*>> Module::named_modules() {
  std::vector<std::pair<std::string, Module*>> modules = {{"", this}};
  for (const auto& [name, module] : children_) {
    for (const auto& [path, below] : module->named_modules()) {
      modules.emplace_back(path.empty() ? name : joined(name, path), below);
    }
  }
  return modules;
}

std::vector<NamedVariable> Module::named_parameters() const {
  std::vector<NamedVariable> result = parameters_;
  for (const auto& [name, module] : children_) {
    for (const NamedVariable& below : module->named_parameters()) {
      result.push_back({joined(name, below.name), below.variable});
    }
  }
  return result;
}

std::vector<NamedTensor> Module::named_buffers() const {
  std::vector<NamedTensor> result;
  for (const Buffer& own : buffers_) result.push_back({own.name, *own.tensor});
  for (const auto& [name, module] : children_) {
    for (const NamedTensor& below : module->named_buffers()) {
      result.push_back({joined(name, below.name), below.tensor});
    }
  }
  return result;
}

Module& Module::find(const std::string& path) {
  std::vector<std::string> known;
  for (const auto& [name, module] : named_modules()) {
    if (name == path) return *module;
    if (!name.empty()) known.push_back(name);
  }
  throw UsageError(fmt::format("no layer is called '{}'; the nearest names are {}", path,
                               fmt::join(nearest_names(path, known), ", ")));
}

bool Module::hooked_within() const {
  return hooked() || std::any_of(children_.begin(), children_.end(),
                                 [](const auto& child) { return child.second->hooked_within(); });
}

void Module::train(bool training) {
  training_ = training;
  for (const auto& [name, module] : children_) module->train(training);
}

StateDict Module::state_dict() const {
  StateDict state;
  for (const NamedVariable& own : parameters_) state.push_back({own.name, own.variable.value()});
  for (const Buffer& own : buffers_) state.push_back({own.name, *own.tensor});
  for (const auto& [name, module] : children_) {
    for (const NamedTensor& below : module->state_dict()) {
      state.push_back({joined(name, below.name), below.tensor});
    }
  }
  return state;
}

void Module::load_state_dict(const StateDict& state) {
  StateDict own = state_dict();
  std::vector<NamedShape> expected, given;
  for (const NamedTensor& entry : own) expected.push_back({entry.name, entry.tensor.shape()});
  for (const NamedTensor& entry : state) given.push_back({entry.name, entry.tensor.shape()});
  const std::string complaint = misfit(expected, given);
  require(complaint.empty(),
          [&] { return fmt::format("the weights do not fit this model: {}", complaint); });

  std::map<std::string, const Tensor*> all;
  for (const NamedTensor& entry : state) all[entry.name] = &entry.tensor;
  for (NamedTensor& entry : own) entry.tensor.copy_from(*all[entry.name]);
}

void Module::set_requires_grad(bool wanted) {
  for (NamedVariable& own : parameters_) own.variable.set_requires_grad(wanted);
  for (const auto& [name, module] : children_) module->set_requires_grad(wanted);
}

void Module::clear_grads() {
  for (NamedVariable& own : parameters_) own.variable.clear_grad();
  for (const auto& [name, module] : children_) module->clear_grads();
}

void Module::to(DType type) {
  require(type == DType::kFloat32 || type == DType::kFloat64, [&] {
    return fmt::format(
        "[module] expected weights in float32 or float64, got {}; a network computes in it when "
        "its "
        "input is of that type",
        name_of(type));
  });
  for (NamedVariable& own : parameters_) own.variable.set_value(own.variable.value().to(type));
  for (Buffer& own : buffers_) {
    if (is_floating(own.tensor->dtype())) *own.tensor = own.tensor->to(type);
  }
  for (const auto& [name, module] : children_) module->to(type);
}

void Module::to(Device device) {
  for (NamedVariable& own : parameters_) own.variable.set_value(own.variable.value().to(device));
  for (Buffer& own : buffers_) {
    if (is_floating(own.tensor->dtype())) *own.tensor = own.tensor->to(device);
  }
  for (const auto& [name, module] : children_) module->to(device);
}

Device Module::device() const {
  const std::vector<NamedVariable> parameters = named_parameters();
  return parameters.empty() ? Device{} : parameters.front().variable.value().device();
}

int64_t Module::parameter_count() const {
  int64_t count = 0;
  for (const NamedVariable& entry : named_parameters()) count += entry.variable.value().numel();
  return count;
}

void Module::draw_parameters(uint64_t, uint64_t&) {}

LeaveUnfilled::LeaveUnfilled() : before_(std::exchange(leave_unfilled, true)) {}
LeaveUnfilled::~LeaveUnfilled() {
  leave_unfilled = before_;
}

Variable Module::parameter(const std::string& name, const Shape& shape) {
  Variable variable(leave_unfilled ? Tensor::empty(shape) : Tensor::zeros(shape), true);
  parameters_.push_back({name, variable});
  return variable;
}

Tensor& Module::buffer(const std::string& name, Tensor value) {
  buffers_.push_back({name, std::make_unique<Tensor>(std::move(value))});
  return *buffers_.back().tensor;
}

void Module::add_child(const std::string& name, std::unique_ptr<Module> module) {
  children_.emplace_back(name, std::move(module));
}

Evaluating::Evaluating(Module& model) {
  for (const auto& [path, module] : model.named_modules()) {
    before_.emplace_back(module, module->training());
  }
  model.eval();
}

Evaluating::~Evaluating() {
  for (const auto& [module, training] : before_) module->train(training);
}

void initialise(Module& module, uint64_t seed) {
  uint64_t stream = 0;
  for (const auto& [path, below] : module.named_modules()) below->draw_parameters(seed, stream);
}

}  // namespace glassnet
