#include "kernels/cuda/conv2d_plan.h"

#include <initializer_list>

namespace glassnet::kernels {
namespace {

const char* name_of(Conv2dPass pass) {
  switch (pass) {
    case Conv2dPass::kForward:
      break;
    case Conv2dPass::kBackwardData:
      return "backward data";
    case Conv2dPass::kBackwardWeight:
      return "backward weight";
  }
  return "forward";
}

std::string tuple(std::initializer_list<int64_t> values) {
  std::string text;
  for (const int64_t value : values) text += (text.empty() ? "" : ", ") + std::to_string(value);
  return "(" + text + ")";
}

}  // namespace

std::string describe(const Conv2dKey& key) {
  const Conv2dShape& o = key.shape;
  std::string text = std::string(glassnet::name_of(key.type)) + " " + name_of(key.pass);
  if (key.bias) text += " + bias";
  if (key.residual) text += " + z";
  if (key.relu) text += " + ReLU";
  text += " of x " + tuple({o.n, o.h, o.w, o.c}) + ", w " + tuple({o.k, o.r, o.s, o.c / o.groups}) +
          ", stride " + tuple({o.stride_h, o.stride_w}) + ", padding " + tuple({o.pad_h, o.pad_w});
  if (o.dilation_h != 1 || o.dilation_w != 1) {
    text += ", dilation " + tuple({o.dilation_h, o.dilation_w});
  }
  if (key.alignment != 16) text += ", at multiples of " + std::to_string(key.alignment);
  if (key.allow_tf32) text += ", TF32";
  if (key.deterministic) text += ", the same bits each time";
  return text;
}

}  // namespace glassnet::kernels
