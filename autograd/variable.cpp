#include "autograd/variable.h"

#include <algorithm>
#include <atomic>
#include <queue>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include <fmt/format.h>

#include "tensor/math.h"

namespace glassnet {
namespace {

std::atomic<uint64_t> next_sequence{0};
thread_local bool recording = true;

}  // namespace

Node::Node(const char* name_, const Tensor& output)
    : name(name_), sequence(next_sequence++), shape(output.shape()), dtype(output.dtype()) {}

Node::~Node() {
  // Every node that only this one holds is taken apart here, not inside its own destructor.
  std::vector<std::shared_ptr<Node>> doomed = std::move(inputs);
  while (!doomed.empty()) {
    const std::shared_ptr<Node> node = std::move(doomed.back());
    doomed.pop_back();
    if (node && node.use_count() == 1) {
      std::move(node->inputs.begin(), node->inputs.end(), std::back_inserter(doomed));
      node->inputs.clear();
    }
  }
}

Variable::Variable(Tensor value, bool requires_grad)
    : state_(std::make_shared<State>(State{std::move(value), nullptr})) {
  if (requires_grad) set_requires_grad(true);
}

const Tensor& Variable::value() const {
  require(defined(), [] { return std::string("[variable] expected a variable, got none"); });
  return state_->value;
}

Tensor& Variable::mutable_value() {
  require(defined(), [] { return std::string("[variable] expected a variable, got none"); });
  return state_->value;
}

void Variable::set_value(Tensor value) {
  require(defined() && (!node() || node()->leaf), [] {
    return std::string(
        "[variable] only a leaf's value can be set; this one is the result of an op");
  });
  const bool wanted = requires_grad();
  state_->value = std::move(value);
  state_->node = nullptr;
  if (wanted) set_requires_grad(true);
}

bool Variable::requires_grad() const {
  return defined() && state_->node != nullptr;
}

void Variable::set_requires_grad(bool wanted) {
  require(!node() || node()->leaf, [] {
    return std::string(
        "[variable] only a leaf can change whether it requires a gradient; this one is the result "
        "of an op");
  });
  if (wanted == requires_grad()) return;
  if (!wanted) {
    state_->node = nullptr;
    return;
  }
  require(value().dtype() != DType::kInt64 && value().dtype() != DType::kUInt8, [&] {
    return fmt::format("[variable] expected a floating-point tensor to differentiate, got {}",
                       name_of(value().dtype()));
  });
  state_->node = std::make_shared<Node>("leaf", value());
  state_->node->leaf = true;
}

Tensor Variable::grad() const {
  return requires_grad() ? node()->grad : Tensor{};
}

void Variable::clear_grad() {
  if (requires_grad()) node()->grad = {};
}

void Variable::retain_grad() {
  require(requires_grad(), [] {
    return std::string("[variable] a variable that does not require a gradient cannot retain one");
  });
  node()->retain_grad = true;
}

HookHandle Variable::on_grad(GradHook hook) const {
  require(requires_grad(), [] {
    return std::string(
        "[on_grad] no gradient reaches this variable: it does not require one, or it was made "
        "under NoGrad");
  });
  return node()->hooks.add(std::move(hook));
}

const std::shared_ptr<Node>& Variable::node() const {
  require(defined(), [] { return std::string("[variable] expected a variable, got none"); });
  return state_->node;
}

Variable leaf(const Tensor& value) {
  return Variable(value, true);
}

bool will_record(const std::vector<Variable>& inputs) {
  return recording && std::any_of(inputs.begin(), inputs.end(),
                                  [](const Variable& input) { return input.requires_grad(); });
}

Tensor Needs::take_sum(size_t input) const {
  return sums_[input] != nullptr ? std::exchange(*sums_[input], {}) : Tensor{};
}

Tensor in_place_of(const Tensor& dy) {
  const bool mine = dy.unique() && dy.device().type == DeviceType::kCpu;
  return mine ? dy : Tensor::empty(dy.shape(), dy.dtype(), dy.device());
}

Variable record(const char* name, Tensor value, const std::vector<Variable>& inputs, Vjp vjp) {
  Variable result(std::move(value));
  if (!will_record(inputs)) return result;
  auto node = std::make_shared<Node>(name, result.value());
  for (const Variable& input : inputs) {
    node->inputs.push_back(input.defined() ? input.node() : nullptr);
  }
  node->vjp = std::move(vjp);
  if (Profile* profile = Profile::active()) profile->remember(node->sequence);
  result.state_->node = std::move(node);
  return result;
}

bool NoGrad::active() {
  return !recording;
}
NoGrad::NoGrad() : before_(recording) {
  recording = false;
}
NoGrad::~NoGrad() {
  recording = before_;
}

namespace {

// Every node that `root` depends on, itself included.
std::vector<Node*> ancestors(Node* root) {
  std::vector<Node*> found = {root};
  std::unordered_set<Node*> seen = {root};
  for (size_t i = 0; i < found.size(); ++i) {
    for (const auto& input : found[i]->inputs) {
      if (input && seen.insert(input.get()).second) found.push_back(input.get());
    }
  }
  return found;
}

// The nodes on a path from `root` to one of `targets`.
std::unordered_set<Node*> paths_to(Node* root, const std::unordered_set<Node*>& targets) {
  std::vector<Node*> nodes = ancestors(root);
  std::sort(nodes.begin(), nodes.end(),
            [](const Node* a, const Node* b) { return a->sequence < b->sequence; });
  std::unordered_set<Node*> on_path;
  for (Node* node : nodes) {
    const bool leads =
        std::any_of(node->inputs.begin(), node->inputs.end(),
                    [&](const auto& input) { return input && on_path.contains(input.get()); });
    if (leads || targets.contains(node)) on_path.insert(node);
  }
  return on_path;
}

void check_gradient(const Node& node, const Tensor& gradient, const char* from) {
  require(gradient.shape() == node.shape && gradient.dtype() == node.dtype, [&] {
    return fmt::format(
        "[{}] expected a gradient of shape {} ({}) for the result of {}, got {} ({})", from,
        node.shape.str(), name_of(node.dtype), node.name, gradient.shape().str(),
        name_of(gradient.dtype()));
  });
}

// total += part, in place when nobody else can see `total`.
void accumulate(Tensor& total, const Tensor& part) {
  if (!total.defined()) {
    total = part;
  } else if (total.unique()) {
    add_in_place(total, part);
  } else {
    total = add(total, part);
  }
}

struct LatestFirst {
  bool operator()(const std::shared_ptr<Node>& a, const std::shared_ptr<Node>& b) const {
    return a->sequence < b->sequence;
  }
};

// The reverse pass. `follow(node)` says whether a node is to be visited, and `arrive(node, dy)`
// receives every visited node's whole gradient, after its hooks.
template <class Follow, class Arrive>
void reverse_pass(const Variable& y, const BackwardOptions& options, Follow&& follow,
                  Arrive&& arrive) {
  require(y.requires_grad(), [] {
    return std::string(
        "[backward] nothing to differentiate: no input of this variable requires a gradient, or it "
        "was made under NoGrad");
  });
  const PhaseScope phase("backward");
  Tensor seed = options.gradient;
  if (!seed.defined()) {
    require(y.value().numel() == 1, [&] {
      return fmt::format("[backward] expected a scalar or a gradient for it, got shape {}",
                         y.shape().str());
    });
    seed = Tensor::full(y.shape(), 1, y.value().dtype(), y.value().device());
  }
  check_gradient(*y.node(), seed, "backward");

  std::priority_queue<std::shared_ptr<Node>, std::vector<std::shared_ptr<Node>>, LatestFirst> queue;
  std::unordered_map<Node*, Tensor> gathered;
  gathered[y.node().get()] = std::move(seed);
  queue.push(y.node());

  while (!queue.empty()) {
    const std::shared_ptr<Node> node = queue.top();
    queue.pop();
    Tensor dy = std::move(gathered.extract(node.get()).mapped());
    node->hooks.for_each([&](const GradHook& hook) {
      Tensor replaced = hook(dy);
      if (!replaced.defined()) return;
      check_gradient(*node, replaced, "on_grad");
      dy = std::move(replaced);
    });
    arrive(*node, dy);
    if (node->leaf) continue;

    const size_t inputs = node->inputs.size();
    std::vector<bool> wanted(inputs);
    std::vector<Tensor*> sums(inputs);
    for (size_t i = 0; i < inputs; ++i) {
      Node* input = node->inputs[i].get();
      wanted[i] = input != nullptr && follow(input);
      const auto entry = wanted[i] ? gathered.find(input) : gathered.end();
      if (entry != gathered.end()) sums[i] = &entry->second;
    }
    if (std::none_of(wanted.begin(), wanted.end(), [](bool want) { return want; })) continue;
    require(static_cast<bool>(node->vjp), [&] {
      return fmt::format(
          "[backward] the graph through {} was freed by an earlier pass; ask that one for "
          "keep_graph",
          node->name);
    });
    const SpanScope span([&](Profile& p) { p.open_gradient_of(node->sequence); });
    const Needs needs(std::move(wanted), std::move(sums));
    std::vector<Tensor> gradients = node->vjp(dy, needs);
    if (!options.keep_graph) node->vjp = nullptr;
    dy = {};
    for (size_t i = 0; i < inputs; ++i) {
      if (!needs[i]) continue;
      Node* input = node->inputs[i].get();
      check_gradient(*input, gradients[i], node->name);
      const auto [entry, first] = gathered.try_emplace(input);
      if (first) queue.push(node->inputs[i]);
      Tensor part = std::move(gradients[i]);
      accumulate(entry->second, part);
    }
  }
}

}  // namespace

void backward(const Variable& y, const BackwardOptions& options) {
  reverse_pass(
      y, options, [](Node*) { return true; },
      [](Node& node, const Tensor& dy) {
        if (node.leaf || node.retain_grad) {
          // A gradient may be shared with other branches, while .grad is handed out for writing.
          if (node.grad.defined()) {
            accumulate(node.grad, dy);
          } else {
            node.grad = dy.unique() ? dy : dy.clone();
          }
        }
      });
}

std::vector<Tensor> grad(const Variable& y, const std::vector<Variable>& inputs,
                         const BackwardOptions& options) {
  std::unordered_set<Node*> targets;
  for (const Variable& input : inputs) {
    require(input.requires_grad(), [] {
      return std::string("[grad] an input does not require a gradient; make it with leaf()");
    });
    targets.insert(input.node().get());
  }
  require(y.requires_grad(), [] {
    return std::string("[grad] nothing to differentiate: y does not require a gradient");
  });
  const std::unordered_set<Node*> on_path = paths_to(y.node().get(), targets);
  std::unordered_map<Node*, Tensor> found;
  reverse_pass(
      y, options, [&](Node* node) { return on_path.contains(node); },
      [&](Node& node, const Tensor& dy) {
        // Two inputs of a sum receive one and the same gradient; what is handed out is not shared.
        if (targets.contains(&node)) found[&node] = dy.unique() ? dy : dy.clone();
      });
  std::vector<Tensor> result;
  for (size_t i = 0; i < inputs.size(); ++i) {
    const auto entry = found.find(inputs[i].node().get());
    require(entry != found.end(),
            [&] { return fmt::format("[grad] y does not depend on input {}", i); });
    result.push_back(entry->second);
  }
  return result;
}

}  // namespace glassnet
