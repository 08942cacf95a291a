// cuDNN's graph API, wrapped once: descriptors that free themselves, a graph of tensors and
// operations, and a plan, which is a graph with an engine that runs it.
//
//   Graph graph(target);
//   const Tensor x = graph.tensor(kX, CUDNN_DATA_HALF, {n, c, h, w}, 16);
//   ...
//   graph.convolution(Conv2dPass::kForward, shape, x, w, y);
//   const std::unique_ptr<const Plan> plan = make_plan(std::move(graph), rules);
//   plan->execute(device, {{kX, x_data}, {kW, w_data}, {kY, y_data}});
//
// Tensors are four-dimensional and channels last: dims are in the order N, C, H, W, as cuDNN wants
// them, and strides say where things are. Attributes and their types:
// https://docs.nvidia.com/deeplearning/cudnn/backend/latest/api/cudnn-graph-library.html
#pragma once

#include <cudnn_graph.h>

#include <array>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "kernels/conv2d.h"
#include "kernels/device.h"
#include "kernels/dtype.h"
#include "kernels/error.h"

namespace glassnet::kernels::cudnn {

// cuDNN does not do this; the message is its reason. What asks for a plan has another way.
struct Refusal : Error {
  using Error::Error;
};

// The C++ type of an attribute decides cuDNN's name for the type.
template <class V>
struct AttributeType;
#define GLASSNET_ATTRIBUTE_TYPE(cpp, cudnn)                                  \
  template <>                                                                \
  struct AttributeType<cpp> {                                                \
    static constexpr cudnnBackendAttributeType_t value = CUDNN_TYPE_##cudnn; \
  };
GLASSNET_ATTRIBUTE_TYPE(bool, BOOLEAN)
GLASSNET_ATTRIBUTE_TYPE(char, CHAR)
GLASSNET_ATTRIBUTE_TYPE(int64_t, INT64)
GLASSNET_ATTRIBUTE_TYPE(float, FLOAT)
GLASSNET_ATTRIBUTE_TYPE(void*, VOID_PTR)
GLASSNET_ATTRIBUTE_TYPE(cudnnHandle_t, HANDLE)
GLASSNET_ATTRIBUTE_TYPE(cudnnDataType_t, DATA_TYPE)
GLASSNET_ATTRIBUTE_TYPE(cudnnConvolutionMode_t, CONVOLUTION_MODE)
GLASSNET_ATTRIBUTE_TYPE(cudnnPointwiseMode_t, POINTWISE_MODE)
GLASSNET_ATTRIBUTE_TYPE(cudnnBackendHeurMode_t, HEUR_MODE)
GLASSNET_ATTRIBUTE_TYPE(cudnnBackendNumericalNote_t, NUMERICAL_NOTE)
GLASSNET_ATTRIBUTE_TYPE(cudnnBackendBehaviorNote_t, BEHAVIOR_NOTE)
GLASSNET_ATTRIBUTE_TYPE(cudnnBackendKnobType_t, KNOB_TYPE)
GLASSNET_ATTRIBUTE_TYPE(cudnnGenStatsMode_t, GENSTATS_MODE)
GLASSNET_ATTRIBUTE_TYPE(cudnnReduceTensorOp_t, REDUCTION_OPERATOR_TYPE)
GLASSNET_ATTRIBUTE_TYPE(cudnnBackendNormMode_t, NORM_MODE)
GLASSNET_ATTRIBUTE_TYPE(cudnnBackendNormFwdPhase_t, NORM_FWD_PHASE)
#undef GLASSNET_ATTRIBUTE_TYPE

// One of cuDNN's descriptors. Everything throws Refusal with cuDNN's reason.
class Descriptor {
 public:
  explicit Descriptor(cudnnBackendDescriptorType_t type);
  ~Descriptor();
  Descriptor(Descriptor&& other) noexcept : raw_(std::exchange(other.raw_, nullptr)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(raw_, other.raw_);
    return *this;
  }

  template <class V>
  void set(cudnnBackendAttributeName_t name, const V& value) {
    set(name, AttributeType<V>::value, 1, &value);
  }
  template <class V, size_t N>
  void set(cudnnBackendAttributeName_t name, const std::array<V, N>& values) {
    set(name, AttributeType<V>::value, N, values.data());
  }
  template <class V>
  void set(cudnnBackendAttributeName_t name, const std::vector<V>& values) {
    set(name, AttributeType<V>::value, static_cast<int64_t>(values.size()), values.data());
  }
  void set(cudnnBackendAttributeName_t name, const Descriptor& value) {
    set(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &value.raw_);
  }
  void set(cudnnBackendAttributeName_t name, const std::vector<Descriptor>& values);
  void finalize();

  template <class V>
  V get(cudnnBackendAttributeName_t name) const {
    V value{};
    get(name, AttributeType<V>::value, 1, &value);
    return value;
  }
  template <class V>
  std::vector<V> get_all(cudnnBackendAttributeName_t name) const {
    std::vector<V> values(static_cast<size_t>(count(name, AttributeType<V>::value)));
    if (values.empty()) return values;
    const int64_t found =
        get(name, AttributeType<V>::value, static_cast<int64_t>(values.size()), values.data());
    values.resize(static_cast<size_t>(found));
    return values;
  }
  // Descriptors of `type`, which an attribute consists of; at most `room`, for attributes that do
  // not tell how many there are.
  std::vector<Descriptor> get_all(cudnnBackendAttributeName_t name,
                                  cudnnBackendDescriptorType_t type, int64_t room = 0) const;

  cudnnBackendDescriptor_t raw() const { return raw_; }

 private:
  void set(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, int64_t count,
           const void* values);
  // How many elements there are, and the elements; no more than `room`, of which it gives the
  // count.
  int64_t count(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type) const;
  int64_t get(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, int64_t room,
              void* values) const;

  cudnnBackendDescriptor_t raw_ = nullptr;
};

// What plans are made for: a device that is there, or one that is only described, in cuDNN's JSON,
// for plans that are looked at and never run.
class Target {
 public:
  static std::shared_ptr<const Target> device(cudnnHandle_t handle);
  static std::shared_ptr<const Target> described(const std::string& json);

  // Say, in a descriptor's attribute for a handle or for a description, what the target is; the one
  // that does not apply does nothing.
  void name_in(Descriptor& descriptor, cudnnBackendAttributeName_t attribute) const;
  void describe_in(Descriptor& descriptor, cudnnBackendAttributeName_t attribute) const;
  // Queues a plan on the device's stream.
  void run(Cuda device, const Descriptor& plan, const Descriptor& pack) const;

 private:
  cudnnHandle_t handle_ = nullptr;
  mutable std::mutex mutex_;  // of the handle
  std::unique_ptr<Descriptor> description_;
};

using Dims = std::array<int64_t, 4>;  // N, C, H, W

class Graph {
 public:
  // A tensor of the graph; good for as long as the graph is.
  struct Tensor {
    const Descriptor* descriptor;
  };

  explicit Graph(std::shared_ptr<const Target> target) : target_(std::move(target)) {}

  // A tensor in memory, channels last, which the caller gives under the name `id`. Its address is a
  // multiple of `alignment` bytes.
  Tensor tensor(int64_t id, cudnnDataType_t type, const Dims& dims, int64_t alignment);
  // A tensor between two operations, which never reaches memory.
  Tensor between(const Dims& dims, cudnnDataType_t type = CUDNN_DATA_FLOAT);

  // Groups follow from the channels of input and weights. The pass decides which of the three is
  // the result, or rather its gradient; with `adds`, it is added to what is there.
  void convolution(Conv2dPass pass, const Conv2dShape& shape, Tensor input, Tensor weights,
                   Tensor output, bool adds = false);
  // output = a + b, b broadcast.
  void add(Tensor a, Tensor b, Tensor output);
  void relu(Tensor a, Tensor output);
  // output = mode(a, b), b broadcast, or mode(a) where that is null.
  void pointwise(cudnnPointwiseMode_t mode, Tensor a, const Tensor* b, Tensor output);
  // One of any other kind, finished, between tensors of this graph.
  void operation(Descriptor finished) { operations_.push_back(std::move(finished)); }

  const Target& target() const { return *target_; }
  std::shared_ptr<const Target> shared_target() const { return target_; }
  // What is in memory.
  struct Operand {
    int64_t id;
    size_t bytes;
  };
  const std::vector<Operand>& operands() const { return operands_; }
  // The operations as one descriptor.
  Descriptor finalized() const;

 private:
  Tensor keep(int64_t id, cudnnDataType_t type, const Dims& dims, int64_t alignment,
              bool in_memory);

  std::shared_ptr<const Target> target_;
  std::vector<std::unique_ptr<const Descriptor>> tensors_;
  std::vector<Descriptor> operations_;
  std::vector<Operand> operands_;
  int64_t next_between_ = -1;
};
using Tensor = Graph::Tensor;

// What an engine may do.
struct Rules {
  bool reduced_precision = false;  // round operands or sums to fewer bits than their type has
  bool repeatable = false;         // give the same bits each time
  int64_t workspace_limit = int64_t{1} << 30;
};

// Where proposals come from: cuDNN's quick model, its thorough one, and engines that take anything.
inline constexpr cudnnBackendHeurMode_t kHeuristics[] = {CUDNN_HEUR_MODE_A, CUDNN_HEUR_MODE_B,
                                                         CUDNN_HEUR_MODE_FALLBACK};
// The engine configurations that a heuristic proposes and the rules allow, the most promising
// first. When there is none, `why_not` gets the reason appended.
std::vector<Descriptor> proposals(const Graph& graph, const Descriptor& finalized,
                                  cudnnBackendHeurMode_t heuristic, const Rules& rules,
                                  std::string& why_not);

// CONVENTION: immutable once built, so that threads may share it.
class Plan {
 public:
  // Throws Refusal when the configuration does not do.
  Plan(Descriptor configuration, std::shared_ptr<const Target> target);

  const std::string& name() const { return name_; }  // "cudnn:engine 38"
  // "engine 38 2=1 13=0": with what is set about the engine, which makes it the same plan in every
  // process with the same cuDNN.
  const std::string& identity() const { return identity_; }
  int64_t workspace_bytes() const { return workspace_bytes_; }

  struct Binding {
    int64_t id;
    const void* data;
  };
  // Queues the plan on the device's stream.
  void execute(Cuda device, const std::vector<Binding>& tensors) const;

 private:
  std::shared_ptr<const Target> target_;
  Descriptor configuration_, plan_;
  int64_t workspace_bytes_ = 0;
  std::string identity_, name_;
};

// Up to `most` proposals that become plans, the most promising first; with an `identity`, only the
// one of that identity. Throws Refusal, with all reasons, when none does.
std::vector<std::unique_ptr<const Plan>> make_plans(const Graph& graph, const Rules& rules,
                                                    size_t most, const std::string& identity = "");
inline std::unique_ptr<const Plan> make_plan(const Graph& graph, const Rules& rules) {
  return std::move(make_plans(graph, rules, 1).front());
}

// The device's handle as a target. Throws Error when the library that was loaded is too old.
std::shared_ptr<const Target> target_of(int index);

constexpr cudnnDataType_t to_cudnn(DType type) {
  return type == DType::kBFloat16  ? CUDNN_DATA_BFLOAT16
         : type == DType::kFloat16 ? CUDNN_DATA_HALF
                                   : CUDNN_DATA_FLOAT;
}

}  // namespace glassnet::kernels::cudnn
