#include "kernels/cuda/cudnn_graph.h"

#include <algorithm>
#include <map>
#include <mutex>
#include <set>

#include <fmt/format.h>

#include "kernels/cuda/current_device.h"
#include "kernels/cuda/runtime.h"
#include "kernels/cuda/scratch.h"

namespace glassnet::kernels::cudnn {
namespace {

// "CUDNN_STATUS_NOT_SUPPORTED: the reason in cuDNN's words"
std::string reason(cudnnStatus_t status) {
  char detail[1024] = "";
  cudnnGetLastErrorString(detail, sizeof(detail));
  std::string text = cudnnGetErrorString(status);
  if (detail[0] != '\0') text += std::string(": ") + detail;
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

void check(cudnnStatus_t status, const char* what) {
  if (status == CUDNN_STATUS_SUCCESS) return;
  throw Refusal(std::string("[cudnn] ") + what + " failed: " + reason(status));
}

// A channels-last tensor's distances between neighbours along N, C, H and W.
Dims strides_of(const Dims& dims) {
  const auto& [n, c, h, w] = dims;
  return {h * w * c, 1, w * c, c};
}

size_t size_of(cudnnDataType_t type) {
  return type == CUDNN_DATA_FLOAT ? sizeof(float) : sizeof(uint16_t);
}

// What the engine of a configuration is known to do to its numbers.
std::vector<cudnnBackendNumericalNote_t> notes_of(const Descriptor& engine) {
  return engine.get_all<cudnnBackendNumericalNote_t>(CUDNN_ATTR_ENGINE_NUMERICAL_NOTE);
}

Descriptor engine_of(const Descriptor& configuration) {
  std::vector<Descriptor> engines =
      configuration.get_all(CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_BACKEND_ENGINE_DESCRIPTOR);
  if (engines.empty()) throw Refusal("[cudnn] a configuration has no engine");
  return std::move(engines.front());
}

// "engine 38 2=1 13=0": the engine and the values of its knobs, both by their numbers.
std::string identity_of(const Descriptor& configuration) {
  std::string text = fmt::format(
      "engine {}", engine_of(configuration).get<int64_t>(CUDNN_ATTR_ENGINE_GLOBAL_INDEX));
  for (const Descriptor& knob : configuration.get_all(CUDNN_ATTR_ENGINECFG_KNOB_CHOICES,
                                                      CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR,
                                                      /*room=*/CUDNN_KNOB_TYPE_COUNTS)) {
    const auto type = knob.get<cudnnBackendKnobType_t>(CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE);
    text += fmt::format(" {}={}", static_cast<int>(type),
                        knob.get<int64_t>(CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE));
  }
  return text;
}

// Whether a plan has its kernel compiled for it.
bool compiles(const Descriptor& configuration) {
  const auto notes =
      engine_of(configuration).get_all<cudnnBackendBehaviorNote_t>(CUDNN_ATTR_ENGINE_BEHAVIOR_NOTE);
  return std::ranges::count(notes, CUDNN_BEHAVIOR_NOTE_RUNTIME_COMPILATION) > 0;
}

bool allowed(cudnnBackendNumericalNote_t note, const Rules& rules) {
  switch (note) {
    // Sums are float32 by contract, and nothing is rounded to fewer bits than TF32 has.
    case CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION:
    case CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS:
      return false;
    case CUDNN_NUMERICAL_NOTE_TENSOR_CORE:  // for float32 tensors: TF32
    // Winograd's transforms of large tiles cancel digits; those of 4x4 cost hardly any.
    case CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_6x6:
    case CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_13x13:
      return rules.reduced_precision;
    case CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC:
      return !rules.repeatable;
    default:
      return true;
  }
}

// One more reason, unless it has been given before.
void append(std::string& reasons, const std::string& reason) {
  if (reasons.find(reason) != std::string::npos) return;
  if (!reasons.empty()) reasons += "; ";
  reasons += reason;
}

}  // namespace

// --- Descriptor ----------------------------------------------------------------------------------

Descriptor::Descriptor(cudnnBackendDescriptorType_t type) {
  check(cudnnBackendCreateDescriptor(type, &raw_), "making a descriptor");
}

Descriptor::~Descriptor() {
  if (raw_ != nullptr) cudnnBackendDestroyDescriptor(raw_);
}

void Descriptor::set(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type,
                     int64_t count, const void* values) {
  const cudnnStatus_t status = cudnnBackendSetAttribute(raw_, name, type, count, values);
  if (status == CUDNN_STATUS_SUCCESS) return;
  throw Refusal("[cudnn] attribute " + std::to_string(name) + " is refused: " + reason(status));
}

void Descriptor::set(cudnnBackendAttributeName_t name, const std::vector<Descriptor>& values) {
  std::vector<cudnnBackendDescriptor_t> raw;
  raw.reserve(values.size());
  for (const Descriptor& value : values) raw.push_back(value.raw_);
  set(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, static_cast<int64_t>(raw.size()), raw.data());
}

void Descriptor::finalize() {
  check(cudnnBackendFinalize(raw_), "finishing a descriptor");
}

int64_t Descriptor::count(cudnnBackendAttributeName_t name,
                          cudnnBackendAttributeType_t type) const {
  return get(name, type, 0, nullptr);
}

int64_t Descriptor::get(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type,
                        int64_t room, void* values) const {
  int64_t found = 0;
  const cudnnStatus_t status = cudnnBackendGetAttribute(raw_, name, type, room, &found, values);
  if (status == CUDNN_STATUS_SUCCESS) return room > 0 ? std::min(found, room) : found;
  throw Refusal("[cudnn] attribute " + std::to_string(name) + " cannot be read: " + reason(status));
}

std::vector<Descriptor> Descriptor::get_all(cudnnBackendAttributeName_t name,
                                            cudnnBackendDescriptorType_t type, int64_t room) const {
  if (room == 0) room = count(name, CUDNN_TYPE_BACKEND_DESCRIPTOR);
  std::vector<Descriptor> values;
  if (room == 0) return values;
  // cuDNN fills in descriptors that are there already.
  std::vector<cudnnBackendDescriptor_t> raw;
  for (int64_t i = 0; i < room; ++i) raw.push_back(values.emplace_back(type).raw_);
  const int64_t found = get(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, room, raw.data());
  values.erase(values.begin() + found, values.end());
  return values;
}

// --- Target --------------------------------------------------------------------------------------

std::shared_ptr<const Target> Target::device(cudnnHandle_t handle) {
  auto target = std::make_shared<Target>();
  target->handle_ = handle;
  return target;
}

std::shared_ptr<const Target> Target::described(const std::string& json) {
  auto target = std::make_shared<Target>();
#if CUDNN_VERSION >= 90800
  target->description_ = std::make_unique<Descriptor>(CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR);
  target->description_->set(CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION,
                            std::vector<char>(json.begin(), json.end()));
  target->description_->finalize();
#else
  throw Refusal("[cudnn] describing a device takes cuDNN 9.8");
#endif
  return target;
}

void Target::name_in(Descriptor& descriptor, cudnnBackendAttributeName_t attribute) const {
  if (handle_ != nullptr) descriptor.set(attribute, handle_);
}

void Target::describe_in(Descriptor& descriptor, cudnnBackendAttributeName_t attribute) const {
  if (description_ != nullptr) descriptor.set(attribute, *description_);
}

// --- Graph ---------------------------------------------------------------------------------------

Tensor Graph::keep(int64_t id, cudnnDataType_t type, const Dims& dims, int64_t alignment,
                   bool in_memory) {
  Descriptor tensor(CUDNN_BACKEND_TENSOR_DESCRIPTOR);
  tensor.set(CUDNN_ATTR_TENSOR_UNIQUE_ID, id);
  tensor.set(CUDNN_ATTR_TENSOR_DATA_TYPE, type);
  tensor.set(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, alignment);
  tensor.set(CUDNN_ATTR_TENSOR_DIMENSIONS, dims);
  tensor.set(CUDNN_ATTR_TENSOR_STRIDES, strides_of(dims));
  tensor.set(CUDNN_ATTR_TENSOR_IS_VIRTUAL, !in_memory);
  tensor.finalize();
  tensors_.push_back(std::make_unique<const Descriptor>(std::move(tensor)));
  return {tensors_.back().get()};
}

Tensor Graph::tensor(int64_t id, cudnnDataType_t type, const Dims& dims, int64_t alignment) {
  const Tensor tensor = keep(id, type, dims, alignment, true);
  const auto& [n, c, h, w] = dims;
  operands_.push_back({id, static_cast<size_t>(n * c * h * w) * size_of(type)});
  return tensor;
}

Tensor Graph::between(const Dims& dims, cudnnDataType_t type) {
  return keep(next_between_--, type, dims, 16, false);
}

void Graph::convolution(Conv2dPass pass, const Conv2dShape& o, Tensor input, Tensor weights,
                        Tensor output, bool adds) {
  using Pair = std::array<int64_t, 2>;  // along H and W
  Descriptor convolution(CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
  convolution.set(CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_DATA_FLOAT);
  convolution.set(CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_CROSS_CORRELATION);
  convolution.set(CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, int64_t{2});
  convolution.set(CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, Pair{o.pad_h, o.pad_w});
  convolution.set(CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, Pair{o.pad_h, o.pad_w});
  convolution.set(CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, Pair{o.stride_h, o.stride_w});
  convolution.set(CUDNN_ATTR_CONVOLUTION_DILATIONS, Pair{o.dilation_h, o.dilation_w});
  convolution.finalize();

  // The same five attributes under each pass's own names; result = alpha * convolution + beta *
  // result.
  struct Names {
    cudnnBackendDescriptorType_t operation;
    cudnnBackendAttributeName_t convolution, input, weights, output, alpha, beta;
  };
  const auto names = [pass]() -> Names {
    switch (pass) {
      case Conv2dPass::kForward:
        break;
      case Conv2dPass::kBackwardData:
        return {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR,
                CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC,
                CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX,
                CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W,
                CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY,
                CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA,
                CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA};
      case Conv2dPass::kBackwardWeight:
        return {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR,
                CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC,
                CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X,
                CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW,
                CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY,
                CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA,
                CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA};
    }
    return {CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR,
            CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC,
            CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X,
            CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W,
            CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y,
            CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA,
            CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA};
  }();
  Descriptor operation(names.operation);
  operation.set(names.convolution, convolution);
  operation.set(names.input, *input.descriptor);
  operation.set(names.weights, *weights.descriptor);
  operation.set(names.output, *output.descriptor);
  operation.set(names.alpha, 1.0F);
  operation.set(names.beta, adds ? 1.0F : 0.0F);
  operation.finalize();
  operations_.push_back(std::move(operation));
}

void Graph::pointwise(cudnnPointwiseMode_t mode, Tensor a, const Tensor* b, Tensor output) {
  Descriptor function(CUDNN_BACKEND_POINTWISE_DESCRIPTOR);
  function.set(CUDNN_ATTR_POINTWISE_MODE, mode);
  function.set(CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_DATA_FLOAT);
  function.finalize();

  Descriptor operation(CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
  operation.set(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, function);
  operation.set(CUDNN_ATTR_OPERATION_POINTWISE_XDESC, *a.descriptor);
  if (b != nullptr) operation.set(CUDNN_ATTR_OPERATION_POINTWISE_BDESC, *b->descriptor);
  operation.set(CUDNN_ATTR_OPERATION_POINTWISE_YDESC, *output.descriptor);
  operation.finalize();
  operations_.push_back(std::move(operation));
}

void Graph::add(Tensor a, Tensor b, Tensor output) {
  pointwise(CUDNN_POINTWISE_ADD, a, &b, output);
}

void Graph::relu(Tensor a, Tensor output) {
  pointwise(CUDNN_POINTWISE_RELU_FWD, a, nullptr, output);
}

Descriptor Graph::finalized() const {
  Descriptor graph(CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
  target_->name_in(graph, CUDNN_ATTR_OPERATIONGRAPH_HANDLE);
  graph.set(CUDNN_ATTR_OPERATIONGRAPH_OPS, operations_);
  graph.finalize();
  return graph;
}

// --- plans ---------------------------------------------------------------------------------------

std::vector<Descriptor> proposals(const Graph& graph, const Descriptor& finalized,
                                  cudnnBackendHeurMode_t heuristic, const Rules& rules,
                                  std::string& why_not) {
  std::vector<Descriptor> result;
  try {
    Descriptor asked(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
    asked.set(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, finalized);
    asked.set(CUDNN_ATTR_ENGINEHEUR_MODE, heuristic);
    graph.target().describe_in(asked, CUDNN_ATTR_ENGINEHEUR_DEVICEPROP);
    asked.finalize();
    std::vector<Descriptor> found =
        asked.get_all(CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
    for (Descriptor& configuration : found) {
      const auto notes = notes_of(engine_of(configuration));
      if (std::ranges::all_of(notes, [&](auto note) { return allowed(note, rules); })) {
        result.push_back(std::move(configuration));
      }
    }
    if (result.empty()) {
      append(why_not, found.empty() ? "no engine is proposed"
                                    : "none of the proposed engines computes as is asked for");
    }
  } catch (const Refusal& refusal) {
    append(why_not, refusal.what());
  }
  return result;
}

Plan::Plan(Descriptor configuration, std::shared_ptr<const Target> target)
    : target_(std::move(target)),
      configuration_(std::move(configuration)),
      plan_(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR),
      identity_(identity_of(configuration_)),
      name_("cudnn:" + identity_.substr(0, identity_.find(' ', identity_.find(' ') + 1))) {
  target_->name_in(plan_, CUDNN_ATTR_EXECUTION_PLAN_HANDLE);
  target_->describe_in(plan_, CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP);
  plan_.set(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, configuration_);
  plan_.finalize();
  workspace_bytes_ = plan_.get<int64_t>(CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE);
}

std::vector<std::unique_ptr<const Plan>> make_plans(const Graph& graph, const Rules& rules,
                                                    size_t most, const std::string& identity) {
  const Descriptor finalized = graph.finalized();
  std::vector<std::unique_ptr<const Plan>> plans;
  std::set<std::string> seen;  // heuristics repeat each other
  std::string why_not;
  for (const cudnnBackendHeurMode_t heuristic : kHeuristics) {
    if (plans.size() == most || (heuristic == CUDNN_HEUR_MODE_FALLBACK && !plans.empty())) break;
    for (Descriptor& configuration : proposals(graph, finalized, heuristic, rules, why_not)) {
      try {
        const std::string found = identity_of(configuration);
        if (!seen.insert(found).second || (!identity.empty() && found != identity)) continue;
        if (!plans.empty() && compiles(configuration)) continue;  // seconds, for one among others
        auto plan = std::make_unique<const Plan>(std::move(configuration), graph.shared_target());
        if (plan->workspace_bytes() > rules.workspace_limit) {
          append(why_not, plan->name() + " needs a workspace of " +
                              std::to_string(plan->workspace_bytes()) + " bytes");
          continue;
        }
        plans.push_back(std::move(plan));
        if (plans.size() == most) break;
      } catch (const Refusal& refusal) {
        append(why_not, refusal.what());
      }
    }
  }
  if (plans.empty()) throw Refusal(why_not);
  return plans;
}

void Plan::execute(Cuda device, const std::vector<Binding>& tensors) const {
  std::vector<int64_t> ids;
  std::vector<void*> pointers;
  for (const Binding& tensor : tensors) {
    ids.push_back(tensor.id);
    pointers.push_back(const_cast<void*>(tensor.data));  // cuDNN has one type for what it reads
  }
  const Scratch workspace(device, static_cast<size_t>(workspace_bytes_));
  Descriptor pack(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
  pack.set(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, ids);
  pack.set(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, pointers);
  pack.set(CUDNN_ATTR_VARIANT_PACK_WORKSPACE, workspace.get<void>());
  pack.finalize();
  target_->run(device, plan_, pack);
  check_async(device, [&] { return name_; });
}

// --- handles -------------------------------------------------------------------------------------

void Target::run(Cuda device, const Descriptor& plan, const Descriptor& pack) const {
  const CurrentDevice current(device.index);
  // A handle has one stream; two threads must not set it between each other's calls.
  const std::lock_guard lock(mutex_);
  cudnnStatus_t status = cudnnSetStream(handle_, static_cast<cudaStream_t>(device.stream));
  if (status == CUDNN_STATUS_SUCCESS) {
    status = cudnnBackendExecute(handle_, plan.raw(), pack.raw());
  }
  if (status != CUDNN_STATUS_SUCCESS) {
    throw Error("[cudnn] running a plan failed: " + reason(status));
  }
}

std::shared_ptr<const Target> target_of(int index) {
  static std::mutex mutex;
  // Never destroyed: when the program ends, the driver may be gone before the handles.
  static auto& targets = *new std::map<int, std::shared_ptr<const Target>>;
  const std::lock_guard lock(mutex);
  std::shared_ptr<const Target>& target = targets[index];
  if (target != nullptr) return target;
  const size_t version = cudnnGetVersion();
  require(version >= 90000, [&] {
    return "[cudnn] cuDNN 9 is needed, and version " + std::to_string(version) + " was loaded";
  });
  const CurrentDevice current(index);
  cudnnHandle_t handle = nullptr;
  const cudnnStatus_t status = cudnnCreate(&handle);
  require(status == CUDNN_STATUS_SUCCESS,
          [&] { return "[cudnn] cuDNN did not start: " + reason(status); });
  target = Target::device(handle);
  return target;
}

}  // namespace glassnet::kernels::cudnn
