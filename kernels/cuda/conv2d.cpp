// Convolution on a GPU: cuDNN's graphs, and where cuDNN refuses one, the kernels of direct_conv.cu.
//
// A plan is made once for everything that it depends on (Conv2dKey) and kept; so is cuDNN's reason
// for having none, which conv2d_implementation tells and GLASSNET_VERBOSE=1 prints.
#include "kernels/conv2d.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "kernels/copy.h"
#include "kernels/cuda/conv2d_graph.h"
#include "kernels/cuda/conv2d_plan.h"
#include "kernels/cuda/cudnn_graph.h"
#include "kernels/cuda/current_device.h"
#include "kernels/cuda/direct_conv.h"
#include "kernels/cuda/epilogue.h"
#include "kernels/cuda/runtime.h"
#include "kernels/cuda/scratch.h"
#include "kernels/cuda/timed_plans.h"
#include "kernels/plan_choices.h"
#include "kernels/policy.h"
#include "kernels/reduce.h"

namespace glassnet::kernels {
namespace {

bool verbose() {
  static const bool wanted = [] {
    const char* value = std::getenv("GLASSNET_VERBOSE");
    return value != nullptr && std::strcmp(value, "1") == 0;
  }();
  return wanted;
}

// What became of a key: a plan, or why there is none.
struct Prepared {
  std::unique_ptr<const cudnn::Plan> plan;
  std::string name;
};

std::unique_ptr<const cudnn::Plan> make_plan(const Conv2dKey& key, Cuda device) {
  const cudnn::Graph graph = cudnn::conv2d_graph(key, cudnn::target_of(key.device));
  const cudnn::Rules rules = cudnn::rules_of(key);
  const std::shared_ptr<PlanChoices> choices = plan_choices();
  // Which plan is the quickest is a matter of chance, too.
  if (choices == nullptr || key.deterministic) return cudnn::make_plan(graph, rules);
  cudnn::TimedPlans plans(device, graph, rules);
  return choose_plan(plans, *choices, cudnn::describe_device(key.device),
                     "conv2d " + describe(key));
}

Prepared prepare(const Conv2dKey& key, Cuda device) {
  require_no_capture(device, "conv2d");
  const CurrentDevice current(device.index);
  // What cuDNN tried in vain must not be found by the next launch, which would take it for its own.
  const ForgetErrors forget;
  try {
    auto plan = make_plan(key, device);
    std::string name = plan->name();
    return {std::move(plan), std::move(name)};
  } catch (const cudnn::Refusal& refusal) {
    if (verbose()) {
      std::fprintf(stderr, "[conv2d] cuDNN has no plan for %s: %s\n", describe(key).c_str(),
                   refusal.what());
    }
    return {nullptr, std::string("direct (cuDNN: ") + refusal.what() + ")"};
  }
}

const Prepared& prepared(const Conv2dKey& key, Cuda device) {
  // Never destroyed: when the program ends, the driver may be gone before the plans.
  static auto& cache = *new PlanCache<Conv2dKey, Conv2dKeyHash, Prepared>;
  return cache.get(key, [&] { return prepare(key, device); });
}

template <class T>
Conv2dKey key_of(Cuda device, Conv2dPass pass, const Conv2dShape& shape, int alignment) {
  return {.pass = pass,
          .shape = shape,
          .type = dtype_of<T>,
          .alignment = alignment,
          .device = device.index,
          .allow_tf32 = allow_tf32(),
          .deterministic = deterministic()};
}

int64_t output_rows(const Conv2dShape& o) {
  return o.n * o.out_h() * o.out_w();
}

// y = act(conv(x, w) + bias + z) as one graph, with the bias in the type of the elements; false
// when there is no plan for it.
template <class T>
bool fused_forward(Cuda device, const T* x, const T* w, const T* bias, const T* z, T* y, bool relu,
                   const Conv2dShape& o) {
  Conv2dKey key = key_of<T>(device, Conv2dPass::kForward, o, alignment_of<16>(x, w, bias, z, y));
  key.bias = bias != nullptr;
  key.residual = z != nullptr;
  key.relu = relu;
  const auto& plan = prepared(key, device).plan;
  if (plan == nullptr) return false;
  std::vector<cudnn::Plan::Binding> tensors = {
      {cudnn::kInput, x}, {cudnn::kWeights, w}, {cudnn::kOutput, y}};
  if (bias != nullptr) tensors.push_back({cudnn::kBias, bias});
  if (z != nullptr) tensors.push_back({cudnn::kResidual, z});
  plan->execute(device, tensors);
  return true;
}

}  // namespace

template <class T>
void conv2d_forward(Cuda device, const T* x, const T* w, const T* bias, T* y,
                    const Conv2dShape& o) {
  const int64_t rows = output_rows(o);
  if (rows * o.k == 0) return;
  const T* no_residual = nullptr;
  if (fused_forward(device, x, w, bias, no_residual, y, false, o)) return;
  if (bias != nullptr) {
    const T* no_bias = nullptr;
    if (fused_forward(device, x, w, no_bias, no_residual, y, false, o)) {
      return add_bias(device, y, bias, no_residual, false, rows, o.k);
    }
  }
  direct::conv2d_forward(device, x, w, bias, y, o);
}

template <class T>
void conv2d_backward_data(Cuda device, const T* dy, const T* w, T* dx, const Conv2dShape& o) {
  if (o.input_size() == 0) return;
  if (output_rows(o) > 0) {
    const Conv2dKey key =
        key_of<T>(device, Conv2dPass::kBackwardData, o, alignment_of<16>(dy, w, dx));
    if (const auto& plan = prepared(key, device).plan) {
      return plan->execute(device,
                           {{cudnn::kOutput, dy}, {cudnn::kWeights, w}, {cudnn::kInput, dx}});
    }
  }
  const T* nothing = nullptr;
  direct::conv2d_backward_data(device, dy, w, nothing, dx, o);
}

template <class T>
void conv2d_add_backward_data(Cuda device, const T* dy, const T* w, const T* z, T* dx,
                              const Conv2dShape& o) {
  if (o.input_size() == 0) return;
  if (output_rows(o) == 0) return direct::conv2d_backward_data(device, dy, w, z, dx, o);
  const auto bytes = static_cast<size_t>(o.input_size()) * sizeof(T);
  if (dx != z) cuda_copy(device, dx, z, bytes);  // cuDNN adds to what is there
  Conv2dKey key = key_of<T>(device, Conv2dPass::kBackwardData, o, alignment_of<16>(dy, w, dx));
  key.residual = true;
  if (const auto& plan = prepared(key, device).plan) {
    return plan->execute(device, {{cudnn::kOutput, dy}, {cudnn::kWeights, w}, {cudnn::kInput, dx}});
  }
  const Scratch gradient(device, bytes);
  conv2d_backward_data(device, dy, w, gradient.get<T>(), o);
  const T* no_bias = nullptr;
  add_bias(device, dx, no_bias, gradient.get<const T>(), false, o.n * o.h * o.w, o.c);
}

template <class T>
void conv2d_backward_weight(Cuda device, const T* dy, const T* x, T* dw, T* dbias,
                            const Conv2dShape& o) {
  const int64_t rows = output_rows(o);
  if (dbias != nullptr) sum(device, dy, dbias, 1, {{rows, o.k}, {true, false}});
  if (o.weights_size() == 0) return;
  if (rows > 0) {
    const Conv2dKey key =
        key_of<T>(device, Conv2dPass::kBackwardWeight, o, alignment_of<16>(dy, x, dw));
    if (const auto& plan = prepared(key, device).plan) {
      return plan->execute(device,
                           {{cudnn::kOutput, dy}, {cudnn::kInput, x}, {cudnn::kWeights, dw}});
    }
  }
  direct::conv2d_backward_weight(device, dy, x, dw, o);
}

template <class T>
void conv2d_bias_add_relu(Cuda device, const T* x, const T* w, const float* bias, const T* z, T* y,
                          bool relu, const Conv2dShape& o) {
  const int64_t rows = output_rows(o);
  if (rows * o.k == 0) return;
  if constexpr (std::is_same_v<T, float>) {
    if (fused_forward(device, x, w, bias, z, y, relu, o)) return;
  } else {
    // cuDNN's kernels take the bias in the type of the elements.
    const Scratch rounded(device, static_cast<size_t>(o.k) * sizeof(T));
    cast(device, bias, DType::kFloat32, rounded.get<void>(), dtype_of<T>, o.k);
    if (fused_forward(device, x, w, rounded.get<const T>(), z, y, relu, o)) return;
  }
  const T* none = nullptr;
  conv2d_forward(device, x, w, none, y, o);
  add_bias(device, y, bias, z, relu, rows, o.k);
}

template <class T>
const char* conv2d_implementation(Cuda device, Conv2dPass pass, const Conv2dShape& shape) {
  return prepared(key_of<T>(device, pass, shape, 16), device).name.c_str();
}

#define GLASSNET_INSTANTIATE(T)                                                                  \
  template void conv2d_forward(Cuda, const T*, const T*, const T*, T*, const Conv2dShape&);      \
  template void conv2d_backward_data(Cuda, const T*, const T*, T*, const Conv2dShape&);          \
  template void conv2d_add_backward_data(Cuda, const T*, const T*, const T*, T*,                 \
                                         const Conv2dShape&);                                    \
  template void conv2d_backward_weight(Cuda, const T*, const T*, T*, T*, const Conv2dShape&);    \
  template void conv2d_bias_add_relu(Cuda, const T*, const T*, const float*, const T*, T*, bool, \
                                     const Conv2dShape&);                                        \
  template const char* conv2d_implementation<T>(Cuda, Conv2dPass, const Conv2dShape&);
GLASSNET_INSTANTIATE(float)
GLASSNET_INSTANTIATE(bfloat16)
GLASSNET_INSTANTIATE(float16)

}  // namespace glassnet::kernels
