#include "kernels/cuda/timed_plans.h"

#include <cuda_runtime_api.h>

#include <fmt/format.h>

#include "kernels/cuda/current_device.h"
#include "kernels/cuda/runtime.h"
#include "kernels/error.h"

namespace glassnet::kernels::cudnn {
namespace {

void check(cudaError_t status) {
  if (status == cudaSuccess) return;
  throw Error(std::string("[cudnn] timing a plan failed: ") + cudaGetErrorString(status));
}

// An event that keeps the time, unlike those of kernels/cuda/runtime.h.
struct Mark {
  cudaEvent_t event = nullptr;
  Mark() { check(cudaEventCreate(&event)); }
  ~Mark() { cudaEventDestroy(event); }
  Mark(const Mark&) = delete;
  Mark& operator=(const Mark&) = delete;
};

}  // namespace

std::unique_ptr<const Plan> TimedPlans::named(const std::string& identity) const {
  try {
    return std::move(make_plans(graph_, rules_, 1, identity).front());
  } catch (const Refusal&) {
    return nullptr;
  }
}

std::vector<std::unique_ptr<const Plan>> TimedPlans::first(size_t count) {
  auto plans = make_plans(graph_, rules_, count);
  if (plans.size() == 1) return plans;
  const PoolScope scope(pool_);
  try {
    for (const Graph::Operand& operand : graph_.operands()) {
      memory_.push_back(std::make_unique<const Scratch>(device_, operand.bytes));
      operands_.push_back({operand.id, memory_.back()->get<void>()});
      cuda_set_zero(device_, memory_.back()->get<void>(), operand.bytes);
    }
  } catch (const Error&) {
    memory_.clear();
    plans.resize(1);
  }
  return plans;
}

double TimedPlans::milliseconds(const Plan& plan) {
  const PoolScope scope(pool_);
  const CurrentDevice current(device_.index);
  const auto stream = static_cast<cudaStream_t>(device_.stream);
  const Mark begin, end;
  check(cudaEventRecord(begin.event, stream));
  plan.execute(device_, operands_);
  check(cudaEventRecord(end.event, stream));
  check(cudaEventSynchronize(end.event));
  float milliseconds = 0;
  check(cudaEventElapsedTime(&milliseconds, begin.event, end.event));
  return milliseconds;
}

std::string describe_device(int index) {
  const CudaDevice& device = cuda_device(index);
  const size_t cudnn = cudnnGetVersion();   // 91900
  const int cuda = device.runtime_version;  // 13000
  return fmt::format("{}, {} multiprocessors, cuDNN {}.{}.{}, CUDA {}.{}, driver {}", device.name,
                     device.multiprocessors, cudnn / 10000, cudnn / 100 % 100, cudnn % 100,
                     cuda / 1000, cuda % 1000 / 10,
                     device.driver.empty() ? std::to_string(device.driver_version) : device.driver);
}

}  // namespace glassnet::kernels::cudnn
