// Which of cuDNN's fusions have plans for the layers of a ResNet-50 in training, batch 256 at 224
// px: asked for a GPU that is only described, by its compute capability; nothing is run.
//
//   glassnet_cudnn_fusions [90]
//
// Kernels that are compiled want a driver, at least the toolkit's stub of it:
//
//   ln -s /usr/local/cuda/lib64/stubs/libcuda.so stub/libcuda.so.1
//   LD_LIBRARY_PATH=stub glassnet_cudnn_fusions
#include <algorithm>
#include <cstdlib>
#include <exception>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "kernels/cuda/cudnn_graph.h"

namespace glassnet::kernels::cudnn {
namespace {

std::string described_device(int capability) {
  return fmt::format(
      R"({{"maxGridSize":[2147483647,65535,65535],"maxBlockSize":[1024,1024,64],"regsPerBlock":65536,
      "multiProcessorCount":132,"warpSize":32,"maxSharedMemoryPerBlock":49152,
      "maxSharedMemoryPerBlockOptin":{},"reservedSharedMemoryPerBlock":1024,
      "maxRegistersPerSM":65536,"maxCtasPerSM":32,"maxThreadsPerBlock":1024,"maxThreadsPerSM":2048,
      "pciDeviceId":0,"isTccDriver":0,"supportCoopLaunch":1,"totalGlobalMem":85000000000,
      "smClockRateKHz":1980000,"memClockRateKHz":2619000,"l2CacheSize":52428800,"cudaDeviceId":0,
      "deviceVer":{},"driverVer":13000,"deviceName":"described"}})",
      capability >= 90 ? 232448 : 166912, 10 * capability);
}

// A graph that is being drawn around one layer, whose tensors are x (N, C, H, W), w and y.
struct Sketch {
  Conv2dShape o;
  cudnnDataType_t type;
  Graph graph;
  int64_t ids = 0;

  Dims input() const { return {o.n, o.c, o.h, o.w}; }
  Dims output() const { return {o.n, o.k, o.out_h(), o.out_w()}; }

  Tensor stored(const Dims& dims) { return graph.tensor(++ids, type, dims, 16); }
  Tensor weights() { return stored({o.k, o.c, o.r, o.s}); }
  // For each channel a number: float32, as statistics are, or as the elements are.
  Tensor statistic(int64_t channels) {
    return graph.tensor(++ids, CUDNN_DATA_FLOAT, {1, channels, 1, 1}, 16);
  }
  Tensor coefficient(int64_t channels) { return stored({1, channels, 1, 1}); }

  Tensor combined(cudnnPointwiseMode_t mode, const Dims& dims, Tensor a, Tensor b) {
    const Tensor result = graph.between(dims);
    graph.pointwise(mode, a, &b, result);
    return result;
  }
  Tensor multiplied(const Dims& dims, Tensor a, Tensor b) {
    return combined(CUDNN_POINTWISE_MUL, dims, a, b);
  }
  Tensor added(const Dims& dims, Tensor a, Tensor b) {
    return combined(CUDNN_POINTWISE_ADD, dims, a, b);
  }
  // relu(scale * x + bias), what batch norm makes of the convolution before; rounded to the type of
  // the elements, without which no convolution takes it.
  Tensor normalized_input() {
    Tensor last = multiplied(input(), stored(input()), coefficient(o.c));
    last = added(input(), last, coefficient(o.c));
    const Tensor rounded = graph.between(input(), type);
    graph.relu(last, rounded);
    return rounded;
  }
  // Sums over all but the channels, by reductions.
  void sums(Tensor of) {
    reduced(of, o.k);
    reduced(multiplied(output(), of, of), o.k);
  }
  Tensor convolved(Tensor x) {
    const Tensor y = stored(output());
    graph.convolution(Conv2dPass::kForward, o, x, weights(), y);
    return y;
  }
  // dy where `of` is positive.
  void relu_backward(Tensor dy, Tensor of, Tensor result) {
    Descriptor function(CUDNN_BACKEND_POINTWISE_DESCRIPTOR);
    function.set(CUDNN_ATTR_POINTWISE_MODE, CUDNN_POINTWISE_RELU_BWD);
    function.set(CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_DATA_FLOAT);
    function.finalize();
    Descriptor operation(CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
    operation.set(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, function);
    operation.set(CUDNN_ATTR_OPERATION_POINTWISE_DYDESC, *dy.descriptor);
    operation.set(CUDNN_ATTR_OPERATION_POINTWISE_XDESC, *of.descriptor);
    operation.set(CUDNN_ATTR_OPERATION_POINTWISE_DXDESC, *result.descriptor);
    operation.finalize();
    graph.operation(std::move(operation));
  }
  // The same sums by an operation of their own.
  void statistics(Tensor of, int64_t channels) {
    const Tensor sum = statistic(channels), squares = statistic(channels);
    Descriptor operation(CUDNN_BACKEND_OPERATION_GEN_STATS_DESCRIPTOR);
    operation.set(CUDNN_ATTR_OPERATION_GENSTATS_MODE, CUDNN_GENSTATS_SUM_SQSUM);
    operation.set(CUDNN_ATTR_OPERATION_GENSTATS_MATH_PREC, CUDNN_DATA_FLOAT);
    operation.set(CUDNN_ATTR_OPERATION_GENSTATS_XDESC, *of.descriptor);
    operation.set(CUDNN_ATTR_OPERATION_GENSTATS_SUMDESC, *sum.descriptor);
    operation.set(CUDNN_ATTR_OPERATION_GENSTATS_SQSUMDESC, *squares.descriptor);
    operation.finalize();
    graph.operation(std::move(operation));
  }
  void reduced(Tensor of, int64_t channels) {
    const Tensor sum = statistic(channels);
    Descriptor function(CUDNN_BACKEND_REDUCTION_DESCRIPTOR);
    function.set(CUDNN_ATTR_REDUCTION_OPERATOR, CUDNN_REDUCE_TENSOR_ADD);
    function.set(CUDNN_ATTR_REDUCTION_COMP_TYPE, CUDNN_DATA_FLOAT);
    function.finalize();
    Descriptor operation(CUDNN_BACKEND_OPERATION_REDUCTION_DESCRIPTOR);
    operation.set(CUDNN_ATTR_OPERATION_REDUCTION_DESC, function);
    operation.set(CUDNN_ATTR_OPERATION_REDUCTION_XDESC, *of.descriptor);
    operation.set(CUDNN_ATTR_OPERATION_REDUCTION_YDESC, *sum.descriptor);
    operation.finalize();
    graph.operation(std::move(operation));
  }
  // A number that is given with each run.
  const Descriptor* number() {
    Descriptor tensor(CUDNN_BACKEND_TENSOR_DESCRIPTOR);
    tensor.set(CUDNN_ATTR_TENSOR_UNIQUE_ID, ++ids);
    tensor.set(CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_DATA_FLOAT);
    tensor.set(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, int64_t{16});
    tensor.set(CUDNN_ATTR_TENSOR_DIMENSIONS, Dims{1, 1, 1, 1});
    tensor.set(CUDNN_ATTR_TENSOR_STRIDES, Dims{1, 1, 1, 1});
    tensor.set(CUDNN_ATTR_TENSOR_IS_BY_VALUE, true);
    tensor.finalize();
    numbers.push_back(std::make_unique<const Descriptor>(std::move(tensor)));
    return numbers.back().get();
  }
  std::vector<std::unique_ptr<const Descriptor>> numbers = {};
};

// ---- The fusions --------------------------------------------------------------------------------

void conv_statistics(Sketch& s) {
  s.statistics(s.convolved(s.stored(s.input())), s.o.k);
}
void normalized_conv_statistics(Sketch& s) {
  s.statistics(s.convolved(s.normalized_input()), s.o.k);
}
void normalized_conv(Sketch& s) {
  s.convolved(s.normalized_input());
}
void conv_sums(Sketch& s) {
  s.sums(s.convolved(s.stored(s.input())));
}
void normalized_conv_sums(Sketch& s) {
  s.sums(s.convolved(s.normalized_input()));
}

// The gradient of x, which is relu(batch norm(z)): of the convolution, through the ReLU, whose
// input is computed again, and the sums that batch norm's gradients are made of.
void gradient_to_batch_norm(Sketch& s) {
  const Tensor dx = s.graph.between(s.input());
  s.graph.convolution(Conv2dPass::kBackwardData, s.o, dx, s.weights(), s.stored(s.output()));
  const Tensor z = s.stored(s.input());
  const Tensor mean = s.statistic(s.o.c), scale = s.statistic(s.o.c), gamma = s.statistic(s.o.c);
  Tensor normalized = s.combined(CUDNN_POINTWISE_SUB, s.input(), z, mean);
  normalized = s.multiplied(s.input(), normalized, scale);
  normalized = s.multiplied(s.input(), normalized, gamma);
  normalized = s.added(s.input(), normalized, s.statistic(s.o.c));
  const Tensor through = s.stored(s.input());
  s.relu_backward(dx, normalized, through);
  Descriptor operation(CUDNN_BACKEND_OPERATION_BN_BWD_WEIGHTS_DESCRIPTOR);
  operation.set(CUDNN_ATTR_OPERATION_BN_BWD_WEIGHTS_MATH_PREC, CUDNN_DATA_FLOAT);
  operation.set(CUDNN_ATTR_OPERATION_BN_BWD_WEIGHTS_MEAN_DESC, *mean.descriptor);
  operation.set(CUDNN_ATTR_OPERATION_BN_BWD_WEIGHTS_INVSTD_DESC, *scale.descriptor);
  operation.set(CUDNN_ATTR_OPERATION_BN_BWD_WEIGHTS_BN_SCALE_DESC, *gamma.descriptor);
  operation.set(CUDNN_ATTR_OPERATION_BN_BWD_WEIGHTS_X_DESC, *z.descriptor);
  operation.set(CUDNN_ATTR_OPERATION_BN_BWD_WEIGHTS_DY_DESC, *through.descriptor);
  for (const auto name : {CUDNN_ATTR_OPERATION_BN_BWD_WEIGHTS_DBN_SCALE_DESC,
                          CUDNN_ATTR_OPERATION_BN_BWD_WEIGHTS_DBN_BIAS_DESC,
                          CUDNN_ATTR_OPERATION_BN_BWD_WEIGHTS_EQ_DY_SCALE_DESC,
                          CUDNN_ATTR_OPERATION_BN_BWD_WEIGHTS_EQ_X_SCALE_DESC,
                          CUDNN_ATTR_OPERATION_BN_BWD_WEIGHTS_EQ_BIAS}) {
    operation.set(name, *s.statistic(s.o.c).descriptor);
  }
  operation.finalize();
  s.graph.operation(std::move(operation));
}
void gradient_through_relu(Sketch& s) {
  const Tensor dx = s.graph.between(s.input());
  s.graph.convolution(Conv2dPass::kBackwardData, s.o, dx, s.weights(), s.stored(s.output()));
  s.relu_backward(dx, s.stored(s.input()), s.stored(s.input()));
}
void normalized_weight_gradient(Sketch& s) {
  s.graph.convolution(Conv2dPass::kBackwardWeight, s.o, s.normalized_input(), s.weights(),
                      s.stored(s.output()));
}

// relu(batch norm(y) + z), with y's statistics and the running ones.
void batch_norm_add_relu(Sketch& s) {
  const int64_t k = s.o.k;
  const Tensor normalized = s.graph.between(s.output());
  Descriptor operation(CUDNN_BACKEND_OPERATION_NORM_FORWARD_DESCRIPTOR);
  operation.set(CUDNN_ATTR_OPERATION_NORM_FWD_MODE, CUDNN_BATCH_NORM);
  operation.set(CUDNN_ATTR_OPERATION_NORM_FWD_PHASE, CUDNN_NORM_FWD_TRAINING);
  operation.set(CUDNN_ATTR_OPERATION_NORM_FWD_XDESC, *s.stored(s.output()).descriptor);
  for (const auto name :
       {CUDNN_ATTR_OPERATION_NORM_FWD_MEAN_DESC, CUDNN_ATTR_OPERATION_NORM_FWD_INV_VARIANCE_DESC,
        CUDNN_ATTR_OPERATION_NORM_FWD_SCALE_DESC, CUDNN_ATTR_OPERATION_NORM_FWD_BIAS_DESC,
        CUDNN_ATTR_OPERATION_NORM_FWD_INPUT_RUNNING_MEAN_DESC,
        CUDNN_ATTR_OPERATION_NORM_FWD_INPUT_RUNNING_VAR_DESC,
        CUDNN_ATTR_OPERATION_NORM_FWD_OUTPUT_RUNNING_MEAN_DESC,
        CUDNN_ATTR_OPERATION_NORM_FWD_OUTPUT_RUNNING_VAR_DESC}) {
    operation.set(name, *s.statistic(k).descriptor);
  }
  operation.set(CUDNN_ATTR_OPERATION_NORM_FWD_EPSILON_DESC, *s.number());
  operation.set(CUDNN_ATTR_OPERATION_NORM_FWD_EXP_AVG_FACTOR_DESC, *s.number());
  operation.set(CUDNN_ATTR_OPERATION_NORM_FWD_YDESC, *normalized.descriptor);
  operation.finalize();
  s.graph.operation(std::move(operation));
  const Tensor sum = s.added(s.output(), normalized, s.stored(s.output()));
  s.graph.relu(sum, s.stored(s.output()));
}

// Its gradients: dy where the ReLU was open, which a mask says and z gets, through the batch norm.
void batch_norm_add_relu_backward(Sketch& s) {
  const Tensor dy = s.stored(s.output()), dz = s.stored(s.output());
  const Tensor mask = s.graph.tensor(++s.ids, CUDNN_DATA_BOOLEAN, s.output(), 16);
  s.graph.pointwise(CUDNN_POINTWISE_MUL, dy, &mask, dz);
  Descriptor operation(CUDNN_BACKEND_OPERATION_NORM_BACKWARD_DESCRIPTOR);
  operation.set(CUDNN_ATTR_OPERATION_NORM_BWD_MODE, CUDNN_BATCH_NORM);
  operation.set(CUDNN_ATTR_OPERATION_NORM_BWD_XDESC, *s.stored(s.output()).descriptor);
  operation.set(CUDNN_ATTR_OPERATION_NORM_BWD_DYDESC, *dz.descriptor);
  for (const auto name :
       {CUDNN_ATTR_OPERATION_NORM_BWD_MEAN_DESC, CUDNN_ATTR_OPERATION_NORM_BWD_INV_VARIANCE_DESC,
        CUDNN_ATTR_OPERATION_NORM_BWD_SCALE_DESC, CUDNN_ATTR_OPERATION_NORM_BWD_DSCALE_DESC,
        CUDNN_ATTR_OPERATION_NORM_BWD_DBIAS_DESC}) {
    operation.set(name, *s.statistic(s.o.k).descriptor);
  }
  operation.set(CUDNN_ATTR_OPERATION_NORM_BWD_DXDESC, *s.stored(s.output()).descriptor);
  operation.finalize();
  s.graph.operation(std::move(operation));
}

// ---- The table ----------------------------------------------------------------------------------

// "62"; "90 c" for an engine whose kernel is compiled, as far as that goes without a driver, which
// loads it; "-" for none, and then why.
std::string engine_for(const Graph& graph, std::string& why_not) {
  const Descriptor finalized = graph.finalized();
  for (const cudnnBackendHeurMode_t heuristic : kHeuristics) {
    for (Descriptor& found :
         proposals(graph, finalized, heuristic, {.reduced_precision = true}, why_not)) {
      const Descriptor engine = std::move(
          found.get_all(CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_BACKEND_ENGINE_DESCRIPTOR).front());
      const auto notes =
          engine.get_all<cudnnBackendBehaviorNote_t>(CUDNN_ATTR_ENGINE_BEHAVIOR_NOTE);
      const bool compiles = std::ranges::count(notes, CUDNN_BEHAVIOR_NOTE_RUNTIME_COMPILATION) > 0;
      const std::string name = fmt::format(
          "{}{}", engine.get<int64_t>(CUDNN_ATTR_ENGINE_GLOBAL_INDEX), compiles ? " c" : "");
      try {
        const Plan plan(std::move(found), graph.shared_target());
        return name;
      } catch (const Refusal& refusal) {
        why_not = refusal.what();
        if (why_not.find("cuLibraryLoadData") != std::string::npos) return name;
      }
    }
  }
  return "-";
}

void print_table(int capability) {
  struct Layer {
    const char* name;
    Conv2dShape shape;
  };
  constexpr int64_t kBatch = 256;
  const Layer layers[] = {
      {"56: 64>256 1x1", {kBatch, 56, 56, 64, 256, 1, 1}},
      {"56: 256>64 1x1", {kBatch, 56, 56, 256, 64, 1, 1}},
      {"28: 128 3x3", {kBatch, 28, 28, 128, 128, 3, 3, 1, 1, 1, 1}},
      {"14: 256>1024 1x1", {kBatch, 14, 14, 256, 1024, 1, 1}},
      {"7: 512 3x3", {kBatch, 7, 7, 512, 512, 3, 3, 1, 1, 1, 1}},
      {"56: 128 3x3 /2", {kBatch, 56, 56, 128, 128, 3, 3, 2, 2, 1, 1}},
      {"28: 512>1024 1x1 /2", {kBatch, 28, 28, 512, 1024, 1, 1, 2, 2}},
  };
  struct Fusion {
    const char* name;
    void (*draw)(Sketch&);
  };
  const Fusion fusions[] = {
      {"conv + GenStats", conv_statistics},
      {"scale, bias, ReLU + conv", normalized_conv},
      {"scale, bias, ReLU + conv + GenStats", normalized_conv_statistics},
      {"conv + sums of y and y^2", conv_sums},
      {"scale, bias, ReLU + conv + sums", normalized_conv_sums},
      {"dgrad + dReLU", gradient_through_relu},
      {"dgrad + dReLU + BN weights' gradients", gradient_to_batch_norm},
      {"scale, bias, ReLU + wgrad", normalized_weight_gradient},
      {"BN training + add + ReLU", batch_norm_add_relu},
      {"mask + BN training's gradients", batch_norm_add_relu_backward},
  };
  fmt::print(
      "cuDNN {}.{}.{}, compute capability {}.{}: plans made without a device, none was run.\n",
      cudnnGetVersion() / 10000, cudnnGetVersion() / 100 % 100, cudnnGetVersion() % 100,
      capability / 10, capability % 10);
  fmt::print(
      "The first engine that has one; c: its kernel was compiled, in seconds; -: there is "
      "none.\n\n");
  fmt::print("{:47}", "pixels of x: channels, filter, /stride");
  for (const Layer& layer : layers) fmt::print(" | {}", layer.name);
  fmt::print("\n");
  std::string reasons;
  const auto target = Target::described(described_device(capability));
  for (const Fusion& fusion : fusions) {
    for (const DType type : {DType::kFloat16, DType::kBFloat16}) {
      const std::string row = fmt::format("{}, {}", fusion.name, name_of(type));
      fmt::print("{:47}", row);
      for (const Layer& layer : layers) {
        std::string engine = "-", why_not;
        try {
          Sketch sketch{layer.shape, to_cudnn(type), Graph(target)};
          fusion.draw(sketch);
          engine = engine_for(sketch.graph, why_not);
        } catch (const Refusal& refusal) {
          why_not = refusal.what();
        }
        fmt::print(" | {:>{}}", engine, std::string_view(layer.name).size());
        if (engine == "-" && reasons.find(row) == std::string::npos) {
          reasons += fmt::format("{}, {}: {}\n", row, layer.name, why_not);
        }
      }
      fmt::print("\n");
    }
  }
  fmt::print("\nWhat cuDNN says where there is none, of each row's first:\n{}", reasons);
}

}  // namespace
}  // namespace glassnet::kernels::cudnn

int main(int argc, char** argv) {
  try {
    glassnet::kernels::cudnn::print_table(argc > 1 ? std::atoi(argv[1]) : 90);
  } catch (const std::exception& error) {
    fmt::print(stderr, "glassnet_cudnn_fusions: {}\n", error.what());
    return 1;
  }
}
