// Matrix product on a GPU: cuBLASLt.
//
// cuBLASLt's matrices are column-major, and a row-major matrix is a column-major one transposed. So
// it is asked for c^T (N, M) = b^T (N, K) * a^T (K, M): the operands change places, what is stored
// plainly here counts as plain there, and the bias of c's columns is one of c^T's rows, which is
// what cuBLASLt can add.
#include "kernels/matmul.h"

#include <cublasLt.h>

#include <cstddef>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <type_traits>

#include "kernels/cuda/current_device.h"
#include "kernels/cuda/epilogue.h"
#include "kernels/cuda/plan_cache.h"
#include "kernels/cuda/runtime.h"
#include "kernels/cuda/scratch.h"
#include "kernels/dtype.h"
#include "kernels/error.h"
#include "kernels/policy.h"

namespace glassnet::kernels {
namespace {

void check(cublasStatus_t status, const char* what) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  throw Error(std::string("[matmul] ") + what + " failed: " + cublasLtGetStatusString(status));
}

template <class T>
constexpr cudaDataType_t kType = CUDA_R_32F;
template <>
constexpr cudaDataType_t kType<bfloat16> = CUDA_R_16BF;
template <>
constexpr cudaDataType_t kType<float16> = CUDA_R_16F;

// Everything that the choice of an algorithm depends on. Alignments are in bytes.
struct Key {
  MatmulShape shape;
  cudaDataType_t type;
  bool bias, allow_tf32;
  int device;
  int align_a, align_b, align_c, align_bias;
  bool operator==(const Key&) const = default;
};
struct KeyHash {
  size_t operator()(const Key& key) const {
    const MatmulShape& o = key.shape;
    return hash_of({o.m, o.n, o.k, int64_t{o.transpose_a}, int64_t{o.transpose_b},
                    int64_t{key.type}, int64_t{key.bias}, int64_t{key.allow_tf32},
                    int64_t{key.device}, int64_t{key.align_a}, int64_t{key.align_b},
                    int64_t{key.align_c}, int64_t{key.align_bias}});
  }
};

// A row-major matrix as cuBLASLt sees it.
cublasLtMatrixLayoutOpaque_t layout(cudaDataType_t type, int64_t rows, int64_t columns) {
  cublasLtMatrixLayoutOpaque_t result;
  check(cublasLtMatrixLayoutInit(&result, type, static_cast<uint64_t>(columns),
                                 static_cast<uint64_t>(rows), columns),
        "describing a matrix");
  return result;
}

// What to compute. `bias` is null for none.
cublasLtMatmulDescOpaque_t operation(const Key& key, const void* bias) {
  cublasLtMatmulDescOpaque_t result;
  const auto set = [&](cublasLtMatmulDescAttributes_t name, const auto& value) {
    check(cublasLtMatmulDescSetAttribute(&result, name, &value, sizeof(value)),
          "describing a product");
  };
  check(
      cublasLtMatmulDescInit(
          &result, key.allow_tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F, CUDA_R_32F),
      "describing a product");
  const auto transposed = [](bool yes) -> int32_t { return yes ? CUBLAS_OP_T : CUBLAS_OP_N; };
  set(CUBLASLT_MATMUL_DESC_TRANSA, transposed(key.shape.transpose_b));
  set(CUBLASLT_MATMUL_DESC_TRANSB, transposed(key.shape.transpose_a));
  if (key.bias) {
    set(CUBLASLT_MATMUL_DESC_EPILOGUE, uint32_t{CUBLASLT_EPILOGUE_BIAS});
    set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias);
  }
  return result;
}

struct Plan {
  cublasLtMatrixLayoutOpaque_t a, b, c;
  cublasLtMatmulAlgo_t algorithm;
  size_t workspace_bytes;
};

// What NVIDIA recommends.
size_t workspace_limit(int index) {
  return size_t{cuda_device(index).capability_major >= 9 ? 32U : 4U} << 20;
}

cublasLtHandle_t handle_of(int index) {
  static std::mutex mutex;
  // Never destroyed: when the program ends, the driver may be gone before the handles.
  static auto& handles = *new std::map<int, cublasLtHandle_t>;
  const std::lock_guard lock(mutex);
  cublasLtHandle_t& handle = handles[index];
  if (handle == nullptr) check(cublasLtCreate(&handle), "starting cuBLASLt");
  return handle;
}

// Nothing when cuBLASLt has no algorithm.
std::optional<Plan> make_plan(Cuda device, const Key& key, const void* bias) {
  require_no_capture(device, "matmul");
  const ForgetErrors forget;  // of what was tried in vain
  const MatmulShape& o = key.shape;
  Plan plan{};
  plan.a = o.transpose_a ? layout(key.type, o.k, o.m) : layout(key.type, o.m, o.k);
  plan.b = o.transpose_b ? layout(key.type, o.n, o.k) : layout(key.type, o.k, o.n);
  plan.c = layout(key.type, o.m, o.n);

  cublasLtMatmulPreferenceOpaque_t preference;
  const auto prefer = [&](cublasLtMatmulPreferenceAttributes_t name, const auto& value) {
    check(cublasLtMatmulPreferenceSetAttribute(&preference, name, &value, sizeof(value)),
          "choosing an algorithm");
  };
  check(cublasLtMatmulPreferenceInit(&preference), "choosing an algorithm");
  prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, workspace_limit(key.device));
  // Of sums that are computed in parts, the parts stay float32 and are added up in a fixed order:
  // neither the output's type nor chance takes part.
  prefer(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
         uint32_t{CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE});
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, static_cast<uint32_t>(key.align_b));
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, static_cast<uint32_t>(key.align_a));
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, static_cast<uint32_t>(key.align_c));
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, static_cast<uint32_t>(key.align_c));

  cublasLtMatmulDescOpaque_t wanted = operation(key, bias);
  cublasLtMatmulHeuristicResult_t found{};
  int count = 0;
  const cublasStatus_t status =
      cublasLtMatmulAlgoGetHeuristic(handle_of(key.device), &wanted, &plan.b, &plan.a, &plan.c,
                                     &plan.c, &preference, 1, &found, &count);
  if (status == CUBLAS_STATUS_NOT_SUPPORTED || (status == CUBLAS_STATUS_SUCCESS && count == 0)) {
    return std::nullopt;
  }
  check(status, "choosing an algorithm");
  check(found.state, "choosing an algorithm");
  plan.algorithm = found.algo;
  plan.workspace_bytes = found.workspaceSize;
  return plan;
}

const std::optional<Plan>& plan_for(Cuda device, const Key& key, const void* bias) {
  static auto& cache = *new PlanCache<Key, KeyHash, std::optional<Plan>>;
  return cache.get(key, [&] { return make_plan(device, key, bias); });
}

}  // namespace

template <class T>
void matmul(Cuda device, const T* a, const T* b, const T* bias, T* c, const MatmulShape& o) {
  if (o.m == 0 || o.n == 0) return;
  const T* none = nullptr;
  if (o.k == 0) {
    cuda_set_zero(device, c, static_cast<size_t>(o.m * o.n) * sizeof(T));
    if (bias != nullptr) add_bias(device, c, bias, none, false, o.m, o.n);
    return;
  }
  const CurrentDevice current(device.index);
  Key key{.shape = o,
          .type = kType<T>,
          .bias = bias != nullptr,
          .allow_tf32 = std::is_same_v<T, float> && allow_tf32(),
          .device = device.index,
          .align_a = alignment_of<256>(a),
          .align_b = alignment_of<256>(b),
          .align_c = alignment_of<256>(c),
          .align_bias = alignment_of<256>(bias)};
  const std::optional<Plan>* found = &plan_for(device, key, bias);
  if (!found->has_value() && key.bias) {  // without the bias, which then comes after
    key.bias = false;
    found = &plan_for(device, key, none);
  }
  require(found->has_value(), [&] {
    return "[matmul] cuBLASLt has no algorithm for " + std::to_string(o.m) + " x " +
           std::to_string(o.n) + " x " + std::to_string(o.k);
  });
  Plan plan = **found;  // cuBLASLt takes its descriptors by pointers that are not const
  cublasLtMatmulDescOpaque_t wanted = operation(key, bias);
  const Scratch workspace(device, plan.workspace_bytes);
  const float one = 1, zero = 0;
  check(cublasLtMatmul(handle_of(device.index), &wanted, &one, b, &plan.b, a, &plan.a, &zero, c,
                       &plan.c, c, &plan.c, &plan.algorithm, workspace.get<void>(),
                       plan.workspace_bytes, static_cast<cudaStream_t>(device.stream)),
        "multiplying");
  check_async(device, [] { return std::string("cuBLASLt"); });
  if (bias != nullptr && !key.bias) add_bias(device, c, bias, none, false, o.m, o.n);
}

template void matmul(Cuda, const float*, const float*, const float*, float*, const MatmulShape&);
template void matmul(Cuda, const bfloat16*, const bfloat16*, const bfloat16*, bfloat16*,
                     const MatmulShape&);
template void matmul(Cuda, const float16*, const float16*, const float16*, float16*,
                     const MatmulShape&);

}  // namespace glassnet::kernels
