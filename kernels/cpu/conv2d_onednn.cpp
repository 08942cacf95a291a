// oneDNN's convolutions, in float32 and bfloat16, or for float32 our own patches-times-weights
// product where that is quicker.
//
// A `Plan` is everything that can be prepared for one pass of one shape: the chosen form, the
// primitive, the reorders around it, and how much scratch they need. Plans are kept in a cache, so
// that a step in its steady state only runs primitives. The choice is a rule on the shape, never a
// timing, so that a run repeats bit by bit.
#include "kernels/cpu/bf16_units.h"
#include "kernels/cpu/conv2d_library.h"

#include <array>
#include <list>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include <dnnl.hpp>

#include "kernels/cpu/im2col.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/scratch.h"
#include "kernels/error.h"

namespace glassnet::kernels {
namespace {

using dnnl::memory;

struct Key {
  Conv2dPass pass;
  Conv2dShape shape;
  memory::data_type type;  // of input, weights and output
  bool bias;               // float32
  int threads;             // primitives are made for a number of threads
  bool operator==(const Key&) const = default;
};

// How a plan computes.
enum class Form {
  kNhwc,    // oneDNN on our layout; it may only choose how the weights lie
  kAny,     // oneDNN on layouts of its choice, with reorders
  kIm2col,  // our own
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

// The tensors of a convolution, or their gradients.
struct Layouts {
  memory::desc input, weights, bias, output;
};

Layouts our_layouts(const Key& key) {
  using Tag = memory::format_tag;
  const Conv2dShape& o = key.shape;
  Layouts d;
  d.input = memory::desc({o.n, o.c, o.h, o.w}, key.type, Tag::nhwc);
  d.output = memory::desc({o.n, o.k, o.out_h(), o.out_w()}, key.type, Tag::nhwc);
  d.bias = memory::desc({o.k}, memory::data_type::f32, Tag::a);
  const int64_t g = o.groups;
  d.weights = g == 1 ? memory::desc({o.k, o.c, o.r, o.s}, key.type, Tag::ohwi)
                     : memory::desc({g, o.k / g, o.c / g, o.r, o.s}, key.type, Tag::gohwi);
  return d;
}

memory::desc free_layout(const memory::desc& ours) {
  return {ours.dims(), ours.data_type(), memory::format_tag::any};
}

// What oneDNN offers for a pass when the activations lie in our layout, or in any.
dnnl::primitive_desc describe(const Key& key, bool our_activations) {
  const Conv2dShape& o = key.shape;
  const Layouts ours = our_layouts(key);
  const memory::desc input = our_activations ? ours.input : free_layout(ours.input);
  const memory::desc output = our_activations ? ours.output : free_layout(ours.output);
  const memory::desc weights = free_layout(ours.weights);
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
          ? Forward::desc(training, direct, input, weights, ours.bias, output, stride, dilation,
                          pad, pad)
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

// What the three tensors are called, and which of them is computed.
struct Roles {
  std::array<int, 3> names;  // input, weights, output
  int written;
};
Roles roles_of(Conv2dPass pass) {
  switch (pass) {
    case Conv2dPass::kForward:
      return {{DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DST}, 2};
    case Conv2dPass::kBackwardData:
      return {{DNNL_ARG_DIFF_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DIFF_DST}, 0};
    case Conv2dPass::kBackwardWeight:
      break;
  }
  return {{DNNL_ARG_SRC, DNNL_ARG_DIFF_WEIGHTS, DNNL_ARG_DIFF_DST}, 1};
}

// oneDNN has one type for what it reads and what it writes.
template <class T>
T* as_mutable(const T* p) {
  return const_cast<T*>(p);
}

size_t aligned(size_t bytes) {
  return (bytes + 63) / 64 * 64;
}

// CONVENTION: immutable once built, so that threads may share it.
class Plan {
 public:
  // Throws dnnl::error when oneDNN does not offer the form.
  Plan(const Key& key, Form form);

  const std::string& name() const { return name_; }
  // A plain loop inside oneDNN.
  bool is_reference() const { return name_.find("ref") != std::string::npos; }

  // The pass decides which of input, weights and output is written; the others are only read.
  // `bias` only goes forward.
  void run(void* input, void* weights, const float* bias, void* output) const;

 private:
  // A tensor of the primitive, in our layout and in the primitive's.
  struct Operand {
    memory::desc ours, theirs;
    size_t offset = 0;  // of the reordered copy in the scratch buffer
    dnnl::reorder reorder;
    memory::desc reorder_scratchpad;
    bool reordered() const { return ours != theirs; }
  };

  void run_im2col(void* input, void* weights, const float* bias, void* output) const;

  Key key_;
  Form form_;
  std::string name_;
  dnnl::primitive primitive_;
  std::array<Operand, 3> operands_;
  Layouts layouts_;
  memory::desc scratchpad_;
  size_t scratch_bytes_ = 0;
};

Plan::Plan(const Key& key, Form form) : key_(key), form_(form) {
  if (form == Form::kIm2col) {
    name_ = im2col::is_product(key.shape) ? "gemm" : "im2col+gemm";
    return;
  }
  const dnnl::primitive_desc description = describe(key, form == Form::kNhwc);
  name_ = description.impl_info_str();
  if (is_reference()) return;  // nobody will run it
  primitive_ = dnnl::primitive(description.get());
  layouts_ = our_layouts(key);
  scratchpad_ = description.scratchpad_desc();
  size_t shared_scratchpad = scratchpad_.get_size();  // one primitive runs at a time

  const Roles roles = roles_of(key.pass);
  const std::array<memory::desc, 3> ours = {layouts_.input, layouts_.weights, layouts_.output};
  for (int i = 0; i < 3; ++i) {
    Operand& operand = operands_[i];
    operand.ours = ours[i];
    operand.theirs = description.query_md(dnnl::query::exec_arg_md, roles.names[i]);
    if (!operand.reordered()) continue;
    const bool back = i == roles.written;
    const dnnl::reorder::primitive_desc reorder(cpu(), back ? operand.theirs : operand.ours, cpu(),
                                                back ? operand.ours : operand.theirs,
                                                with_user_scratchpad());
    operand.reorder = dnnl::reorder(reorder);
    operand.reorder_scratchpad = reorder.scratchpad_desc();
    shared_scratchpad = std::max(shared_scratchpad, operand.reorder_scratchpad.get_size());
  }
  scratch_bytes_ = aligned(shared_scratchpad);
  for (Operand& operand : operands_) {
    if (!operand.reordered()) continue;
    operand.offset = scratch_bytes_;
    scratch_bytes_ += aligned(operand.theirs.get_size());
  }
}

void Plan::run(void* input, void* weights, const float* bias, void* output) const {
  if (form_ == Form::kIm2col) return run_im2col(input, weights, bias, output);

  auto* scratch = static_cast<char*>(thread_scratch<Plan>().get(scratch_bytes_));
  const auto in_scratch = [&](const memory::desc& layout, size_t offset) {
    return memory(layout, cpu(), scratch + offset);
  };
  const auto reorder = [&](const Operand& operand, memory& from, memory& to) {
    operand.reorder.execute(stream(),
                            {{DNNL_ARG_FROM, from},
                             {DNNL_ARG_TO, to},
                             {DNNL_ARG_SCRATCHPAD, in_scratch(operand.reorder_scratchpad, 0)}});
  };
  const Roles roles = roles_of(key_.pass);
  const std::array<void*, 3> pointers = {input, weights, output};
  std::array<memory, 3> ours, theirs;
  for (int i = 0; i < 3; ++i) {
    const Operand& operand = operands_[i];
    ours[i] = memory(operand.ours, cpu(), pointers[i]);
    theirs[i] = operand.reordered() ? in_scratch(operand.theirs, operand.offset) : ours[i];
    if (operand.reordered() && i != roles.written) reorder(operand, ours[i], theirs[i]);
  }
  std::unordered_map<int, memory> arguments = {{roles.names[0], theirs[0]},
                                               {roles.names[1], theirs[1]},
                                               {roles.names[2], theirs[2]},
                                               {DNNL_ARG_SCRATCHPAD, in_scratch(scratchpad_, 0)}};
  if (key_.bias) {
    arguments.emplace(DNNL_ARG_BIAS, memory(layouts_.bias, cpu(), as_mutable(bias)));
  }
  primitive_.execute(stream(), arguments);
  const Operand& result = operands_[roles.written];
  if (result.reordered()) reorder(result, theirs[roles.written], ours[roles.written]);
  stream().wait();
}

void Plan::run_im2col(void* input, void* weights, const float* bias, void* output) const {
  const Conv2dShape& o = key_.shape;
  auto* const x = static_cast<float*>(input);
  auto* const w = static_cast<float*>(weights);
  auto* const y = static_cast<float*>(output);
  switch (key_.pass) {
    case Conv2dPass::kForward:
      return im2col::forward(x, w, bias, y, o);
    case Conv2dPass::kBackwardData:
      return im2col::backward_data(y, w, x, o);
    case Conv2dPass::kBackwardWeight:
      return im2col::backward_weight(y, x, w, o);
  }
}

// The forms to try for a shape, the most promising first: a rule found by timing all three forms
// on the layers of ResNet-18 and ResNet-50, at 1 to 32 images of 150 and 224 pixels, with 1 and 2
// threads and oneDNN 2.6. Over a network it stays within 4 % of choosing by stopwatch.
//
// Our layout is nearly always the best: reordering activations costs more than blocked layouts
// gain. What remains is decided by the weights, which oneDNN wants reordered in every call while a
// product takes them as they are; the fewer output pixels, the more that counts.
std::vector<Form> preferred_forms(const Key& key) {
  const Conv2dShape& o = key.shape;
  const int64_t pixels = o.n * o.out_h() * o.out_w();
  const bool small_filter = o.r == 1 && o.s == 1;
  const std::vector<Form> product = {Form::kIm2col, Form::kNhwc, Form::kAny};
  const std::vector<Form> ours = {Form::kNhwc, Form::kAny, Form::kIm2col};
  const std::vector<Form> any = {Form::kAny, Form::kNhwc, Form::kIm2col};
  if (key.type != memory::data_type::f32) return {Form::kNhwc, Form::kAny};
  if (o.groups > 1) return ours;
  switch (key.pass) {
    case Conv2dPass::kForward:
      if (im2col::is_product(o) && pixels <= 2048) return product;
      // brgconv works along rows of pixels and starves on short ones: up to 1.6 times slower.
      if (!small_filter && o.out_w() <= 8 && pixels >= 128) return any;
      return ours;
    case Conv2dPass::kBackwardData:
      // oneDNN computes at least 16 input channels, of which a first layer has 3: 4 times slower.
      if (small_filter || o.c < 16 || pixels <= 64) return product;
      return ours;
    case Conv2dPass::kBackwardWeight:
      // A product transposes dy; rows of 4 KiB and more fall on the same few sets of the cache.
      if (im2col::is_product(o) && (o.k < 1024 || pixels <= 512)) return product;
      return ours;
  }
  return ours;
}

// Null where oneDNN has no more than a plain loop, and we have nothing in the type.
std::shared_ptr<const Plan> make_plan(const Key& key) {
  for (const Form form : preferred_forms(key)) {
    try {
      auto plan = std::make_shared<const Plan>(key, form);
      if (!plan->is_reference()) return plan;
    } catch (const dnnl::error& error) {
      if (error.status != dnnl_unimplemented) throw;
    }
  }
  if (key.type != memory::data_type::f32) return nullptr;
  return std::make_shared<const Plan>(key, Form::kIm2col);
}

// The plans used last, so many that no network fills the cache at one image size.
class PlanCache {
 public:
  std::shared_ptr<const Plan> get(const Key& key) {
    const std::lock_guard lock(mutex_);
    for (auto entry = plans_.begin(); entry != plans_.end(); ++entry) {
      if (entry->first != key) continue;
      plans_.splice(plans_.begin(), plans_, entry);
      return plans_.front().second;
    }
    plans_.emplace_front(key, make_plan(key));
    if (plans_.size() > kCapacity) plans_.pop_back();
    return plans_.front().second;
  }

 private:
  static constexpr size_t kCapacity = 512;
  std::mutex mutex_;
  std::list<std::pair<Key, std::shared_ptr<const Plan>>> plans_;  // the last used one first
};

std::shared_ptr<const Plan> plan_for(Conv2dPass pass, const Conv2dShape& shape, bool bias,
                                     memory::data_type type = memory::data_type::f32) {
  static PlanCache cache;
  return cache.get({pass, shape, type, bias, thread_count()});
}

}  // namespace

namespace library {

void conv2d_forward(const float* x, const float* w, const float* bias, float* y,
                    const Conv2dShape& o) {
  plan_for(Conv2dPass::kForward, o, bias != nullptr)->run(as_mutable(x), as_mutable(w), bias, y);
}

void conv2d_backward_data(const float* dy, const float* w, float* dx, const Conv2dShape& o) {
  plan_for(Conv2dPass::kBackwardData, o, false)->run(dx, as_mutable(w), nullptr, as_mutable(dy));
}

void conv2d_backward_weight(const float* dy, const float* x, float* dw, const Conv2dShape& o) {
  plan_for(Conv2dPass::kBackwardWeight, o, false)->run(as_mutable(x), dw, nullptr, as_mutable(dy));
}

const char* conv2d_implementation(Conv2dPass pass, const Conv2dShape& o) {
  // A plan may leave the cache; names stay.
  static std::mutex mutex;
  static auto& names = *new std::set<std::string>;
  const std::shared_ptr<const Plan> plan = plan_for(pass, o, false);
  const std::lock_guard lock(mutex);
  return names.insert(plan->name()).first->c_str();
}

}  // namespace library

namespace bf16_units {
namespace {

bool run(Conv2dPass pass, const Conv2dShape& shape, const bfloat16* input, const bfloat16* weights,
         const float* bias, const bfloat16* output) {
  const auto plan = plan_for(pass, shape, bias != nullptr, memory::data_type::bf16);
  if (plan == nullptr) return false;
  plan->run(as_mutable(input), as_mutable(weights), bias, as_mutable(output));
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

}  // namespace bf16_units
}  // namespace glassnet::kernels
