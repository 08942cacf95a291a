#include "kernels/cpu/bf16_units.h"

#include <algorithm>
#include <array>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <utility>

#include <dnnl.hpp>

#include "kernels/cpu/parallel.h"
#include "kernels/cpu/scratch.h"

namespace glassnet::kernels::bf16_units {
namespace {

using dnnl::memory;
using Tag = memory::format_tag;
using Type = memory::data_type;

struct Key {
  Conv2dPass pass;
  Conv2dShape shape;
  bool bias;
  int threads;  // primitives are made for a number of threads
  bool operator==(const Key&) const = default;
};

dnnl::engine& cpu() {
  static dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  return engine;
}
dnnl::stream& stream() {
  thread_local dnnl::stream this_threads_stream(cpu());
  return this_threads_stream;
}

// Primitives take their scratch from us: theirs would be allocated in every call.
dnnl::primitive_attr with_user_scratchpad() {
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  return attributes;
}

// Input, weights and output, or their gradients, as they lie in our tensors.
using Layouts = std::array<memory::desc, 3>;
constexpr int kInput = 0, kWeights = 1, kOutput = 2;

Layouts our_layouts(const Conv2dShape& o) {
  const int64_t g = o.groups;
  return {memory::desc({o.n, o.c, o.h, o.w}, Type::bf16, Tag::nhwc),
          g == 1 ? memory::desc({o.k, o.c, o.r, o.s}, Type::bf16, Tag::ohwi)
                 : memory::desc({g, o.k / g, o.c / g, o.r, o.s}, Type::bf16, Tag::gohwi),
          memory::desc({o.n, o.k, o.out_h(), o.out_w()}, Type::bf16, Tag::nhwc)};
}
memory::desc bias_layout(const Conv2dShape& o) {
  return {{o.k}, Type::f32, Tag::a};
}

// What oneDNN offers when it chooses how the weights lie, and with `free` activations those, too.
dnnl::primitive_desc describe(const Key& key, bool free) {
  const Conv2dShape& o = key.shape;
  Layouts layouts = our_layouts(o);
  for (const int i : {kInput, kWeights, kOutput}) {
    if (i != kWeights && !free) continue;
    layouts[i] = {layouts[i].dims(), Type::bf16, Tag::any};
  }
  const auto& [input, weights, output] = layouts;
  const memory::dims stride = {o.stride_h, o.stride_w}, pad = {o.pad_h, o.pad_w};
  const memory::dims dilation = {o.dilation_h - 1, o.dilation_w - 1};  // oneDNN counts from 0
  const auto direct = dnnl::algorithm::convolution_direct;
  const dnnl::primitive_attr attributes = with_user_scratchpad();

  using Forward = dnnl::convolution_forward;
  using BackwardData = dnnl::convolution_backward_data;
  using BackwardWeight = dnnl::convolution_backward_weights;
  const auto training = dnnl::prop_kind::forward_training;
  const Forward::primitive_desc forward(
      key.bias
          ? Forward::desc(training, direct, input, weights, bias_layout(o), output, stride,
                          dilation, pad, pad)
          : Forward::desc(training, direct, input, weights, output, stride, dilation, pad, pad),
      attributes, cpu());
  switch (key.pass) {
    case Conv2dPass::kForward:
      break;
    case Conv2dPass::kBackwardData:
      return BackwardData::primitive_desc(
          BackwardData::desc(direct, input, weights, output, stride, dilation, pad, pad),
          attributes, cpu(), forward);
    case Conv2dPass::kBackwardWeight:
      return BackwardWeight::primitive_desc(
          BackwardWeight::desc(direct, input, weights, output, stride, dilation, pad, pad),
          attributes, cpu(), forward);
  }
  return forward;
}

// What the three tensors are called in a pass, and which of them is computed.
struct Roles {
  std::array<int, 3> names;
  int written;
};
Roles roles_of(Conv2dPass pass) {
  switch (pass) {
    case Conv2dPass::kForward:
      return {{DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DST}, kOutput};
    case Conv2dPass::kBackwardData:
      return {{DNNL_ARG_DIFF_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DIFF_DST}, kInput};
    case Conv2dPass::kBackwardWeight:
      break;
  }
  return {{DNNL_ARG_SRC, DNNL_ARG_DIFF_WEIGHTS, DNNL_ARG_DIFF_DST}, kWeights};
}

size_t aligned(size_t bytes) {
  return (bytes + 63) / 64 * 64;
}

// Everything that can be prepared for one pass of one shape.
// CONVENTION: immutable once built, so that threads may share it.
class Plan {
 public:
  // Throws dnnl::error when oneDNN does not offer it.
  Plan(const Key& key, bool free);

  // Written is the one of the three that the pass computes.
  void run(const std::array<const void*, 3>& tensors, const float* bias) const;

  bool is_plain_loop() const { return plain_loop_; }

 private:
  // A tensor in our layout and in the primitive's.
  struct Operand {
    memory::desc ours, theirs;
    size_t offset = 0;  // of the reordered copy in the scratch buffer
    dnnl::reorder reorder;
    memory::desc scratchpad;  // of the reorder
    bool reordered() const { return ours != theirs; }
  };

  Key key_;
  bool plain_loop_;
  dnnl::primitive primitive_;
  std::array<Operand, 3> operands_;
  memory::desc scratchpad_;
  size_t scratch_bytes_ = 0;
};

Plan::Plan(const Key& key, bool free) : key_(key) {
  const dnnl::primitive_desc description = describe(key, free);
  plain_loop_ = std::string(description.impl_info_str()).find("ref") != std::string::npos;
  if (plain_loop_) return;  // nobody will run it
  primitive_ = dnnl::primitive(description.get());
  scratchpad_ = description.scratchpad_desc();
  size_t scratchpad_bytes = scratchpad_.get_size();  // one primitive runs at a time

  const Roles roles = roles_of(key.pass);
  const Layouts ours = our_layouts(key.shape);
  for (const int i : {kInput, kWeights, kOutput}) {
    Operand& operand = operands_[i];
    operand.ours = ours[i];
    operand.theirs = description.query_md(dnnl::query::exec_arg_md, roles.names[i]);
    if (!operand.reordered()) continue;
    const bool back = i == roles.written;
    const dnnl::reorder::primitive_desc reorder(cpu(), back ? operand.theirs : operand.ours, cpu(),
                                                back ? operand.ours : operand.theirs,
                                                with_user_scratchpad());
    operand.reorder = dnnl::reorder(reorder);
    operand.scratchpad = reorder.scratchpad_desc();
    scratchpad_bytes = std::max(scratchpad_bytes, operand.scratchpad.get_size());
  }
  scratch_bytes_ = aligned(scratchpad_bytes);
  for (Operand& operand : operands_) {
    if (!operand.reordered()) continue;
    operand.offset = scratch_bytes_;
    scratch_bytes_ += aligned(operand.theirs.get_size());
  }
}

void Plan::run(const std::array<const void*, 3>& tensors, const float* bias) const {
  auto* scratch = static_cast<char*>(thread_scratch<Plan>().get(scratch_bytes_));
  const auto in_scratch = [&](const memory::desc& layout, size_t offset) {
    return memory(layout, cpu(), scratch + offset);
  };
  const auto reorder = [&](const Operand& operand, memory& from, memory& to) {
    operand.reorder.execute(stream(), {{DNNL_ARG_FROM, from},
                                       {DNNL_ARG_TO, to},
                                       {DNNL_ARG_SCRATCHPAD, in_scratch(operand.scratchpad, 0)}});
  };
  const Roles roles = roles_of(key_.pass);
  std::unordered_map<int, memory> arguments = {{DNNL_ARG_SCRATCHPAD, in_scratch(scratchpad_, 0)}};
  std::array<memory, 3> ours, theirs;
  for (const int i : {kInput, kWeights, kOutput}) {
    const Operand& operand = operands_[i];
    // oneDNN has one type for what it reads and what it writes.
    ours[i] = memory(operand.ours, cpu(), const_cast<void*>(tensors[i]));
    theirs[i] = operand.reordered() ? in_scratch(operand.theirs, operand.offset) : ours[i];
    if (operand.reordered() && i != roles.written) reorder(operand, ours[i], theirs[i]);
    arguments.emplace(roles.names[i], theirs[i]);
  }
  if (key_.bias) {
    arguments.emplace(DNNL_ARG_BIAS,
                      memory(bias_layout(key_.shape), cpu(), const_cast<float*>(bias)));
  }
  primitive_.execute(stream(), arguments);
  const Operand& result = operands_[roles.written];
  if (result.reordered()) reorder(result, theirs[roles.written], ours[roles.written]);
  stream().wait();
}

// Null where oneDNN has no more than a plain loop.
std::shared_ptr<const Plan> make_plan(const Key& key) {
  for (const bool free : {false, true}) {
    try {
      auto plan = std::make_shared<const Plan>(key, free);
      if (!plan->is_plain_loop()) return plan;
    } catch (const dnnl::error& error) {
      if (error.status != dnnl_unimplemented) throw;
    }
  }
  return nullptr;
}

// The plans used last, so many that no network fills the cache at one image size.
class PlanCache {
 public:
  std::shared_ptr<const Plan> get(const Key& key) {
    const std::lock_guard lock(mutex_);
    const auto found = std::find_if(plans_.begin(), plans_.end(),
                                    [&](const auto& entry) { return entry.first == key; });
    if (found != plans_.end()) {
      plans_.splice(plans_.begin(), plans_, found);
    } else {
      plans_.emplace_front(key, make_plan(key));
      if (plans_.size() > kCapacity) plans_.pop_back();
    }
    return plans_.front().second;
  }

 private:
  static constexpr size_t kCapacity = 512;
  std::mutex mutex_;
  std::list<std::pair<Key, std::shared_ptr<const Plan>>> plans_;  // the last used one first
};

bool run(Conv2dPass pass, const Conv2dShape& shape, const void* input, const void* weights,
         const float* bias, const void* output) {
  static PlanCache cache;
  const auto plan = cache.get({pass, shape, bias != nullptr, thread_count()});
  if (plan == nullptr) return false;
  plan->run({input, weights, output}, bias);
  return true;
}

}  // namespace

bool present() {
  // Each set's bits hold those of the sets that it contains; AMX contains AVX-512 BF16.
  const auto has = static_cast<unsigned>(dnnl::get_effective_cpu_isa());
  constexpr auto kWanted = static_cast<unsigned>(dnnl::cpu_isa::avx512_core_bf16);
  return (has & kWanted) == kWanted;
}

bool forward(const bfloat16* x, const bfloat16* w, const float* bias, bfloat16* y,
             const Conv2dShape& shape) {
  return run(Conv2dPass::kForward, shape, x, w, bias, y);
}
bool backward_data(const bfloat16* dy, const bfloat16* w, bfloat16* dx, const Conv2dShape& shape) {
  return run(Conv2dPass::kBackwardData, shape, dx, w, nullptr, dy);
}
bool backward_weight(const bfloat16* dy, const bfloat16* x, bfloat16* dw,
                     const Conv2dShape& shape) {
  return run(Conv2dPass::kBackwardWeight, shape, x, dw, nullptr, dy);
}

}  // namespace glassnet::kernels::bf16_units
