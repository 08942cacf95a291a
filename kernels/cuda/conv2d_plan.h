// What distinguishes one prepared convolution from another.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "kernels/conv2d.h"
#include "kernels/cuda/plan_cache.h"
#include "kernels/dtype.h"

namespace glassnet::kernels {

// Everything that a plan depends on.
struct Conv2dKey {
  Conv2dPass pass = Conv2dPass::kForward;
  Conv2dShape shape{};
  DType type = DType::kFloat32;
  bool bias = false, residual = false, relu = false;  // what follows in the same graph
  int alignment = 16;                                 // every address is a multiple of it, in bytes
  int device = 0;
  bool allow_tf32 = false, deterministic = false;
  bool operator==(const Conv2dKey&) const = default;
};

struct Conv2dKeyHash {
  size_t operator()(const Conv2dKey& key) const {
    const Conv2dShape& o = key.shape;
    return hash_of({o.n,
                    o.h,
                    o.w,
                    o.c,
                    o.k,
                    o.r,
                    o.s,
                    o.stride_h,
                    o.stride_w,
                    o.pad_h,
                    o.pad_w,
                    o.dilation_h,
                    o.dilation_w,
                    o.groups,
                    static_cast<int64_t>(key.pass),
                    static_cast<int64_t>(key.type),
                    int64_t{key.bias},
                    int64_t{key.residual},
                    int64_t{key.relu},
                    int64_t{key.alignment},
                    int64_t{key.device},
                    int64_t{key.allow_tf32},
                    int64_t{key.deterministic}});
  }
};

// "bfloat16 forward + bias of x (8, 56, 56, 3), w (64, 7, 7, 3), stride (2, 2), ...": all that the
// key says but the device's number, the same in every process.
std::string describe(const Conv2dKey& key);

// The name of the plan that cuDNN would have for a key on a device that need not be there,
// described in cuDNN's JSON. Throws Error with cuDNN's reason when it has none. Only built with
// CUDA.
std::string conv2d_plan_on(const Conv2dKey& key, const std::string& device_json);
// The identities of up to `most` plans to choose among, or of the one that has `identity`.
std::vector<std::string> conv2d_plans_on(const Conv2dKey& key, const std::string& device_json,
                                         size_t most, const std::string& identity = "");

}  // namespace glassnet::kernels
