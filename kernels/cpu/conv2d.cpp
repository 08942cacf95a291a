// The float32 convolution on the CPU: by our own tiles (packed_conv.h) where they are the quicker
// way, by a library (conv2d_library.h) otherwise.
#include "kernels/conv2d.h"

#include <algorithm>

#include "kernels/cpu/add_relu.h"
#include "kernels/cpu/conv2d_library.h"
#include "kernels/cpu/packed_conv.h"
#include "kernels/cpu/scratch.h"
#include "kernels/cpu/weight_gradient.h"
#include "kernels/reduce.h"

namespace glassnet::kernels {
namespace {

using packed::Form;

// The forms for filters that serve once. oneDNN's direct convolutions are as quick as ours and pack
// quicker, but for sums over many channels, and most gradients of a stride.
bool prefers_library(Form form) {
  return library::kIsQuick && form == Form::kDirect;
}
// Packing filters takes as long as the products of about eighty pixels; a library may take them as
// they are.
bool pays_to_pack(int64_t pixels) {
  return pixels >= 512;
}
bool is_window(const Conv2dShape& o) {
  return o.r > 1 || o.s > 1;
}
bool is_strided(const Conv2dShape& o) {
  return o.stride_h > 1 || o.stride_w > 1;
}
Form once(const Conv2dShape& o) {
  const Form form = packed::form_for_once(o);
  const bool ours = o.c >= (is_window(o) ? 256 : 512) && pays_to_pack(o.n * o.out_h() * o.out_w());
  return prefers_library(form) && !ours ? Form::kNone : form;
}
Form gradient_once(const Conv2dShape& o) {
  const Form form = packed::gradient_form_for_once(o);
  const bool ours = is_window(o)
                        ? o.k >= (is_strided(o) ? 512 : 256) && pays_to_pack(o.n * o.h * o.w)
                        : is_strided(o);
  return prefers_library(form) && !ours ? Form::kNone : form;
}

bool by_our_weight_gradient(const Conv2dShape& o) {
  return weight_gradient::is_possible(o) && (!library::kIsQuick || weight_gradient::is_quicker(o));
}

float* packed_scratch(int64_t size) {
  struct Packed;
  return static_cast<float*>(
      thread_scratch<Packed>().get(static_cast<size_t>(size) * sizeof(float)));
}

void by_turned_filters(const float* dy, const float* w, const float* z, float* dx,
                       const Conv2dShape& o, Form form) {
  float* filters = packed_scratch(packed::gradient_packed_size(o, form));
  packed::pack_gradient(w, filters, o, form);
  packed::run_gradient(dy, filters, z, dx, o, form);
}

}  // namespace

void conv2d_forward(Cpu, const float* x, const float* w, const float* bias, float* y,
                    const Conv2dShape& o) {
  conv2d_bias_add_relu(Cpu{}, x, w, bias, nullptr, y, false, o);
}

void conv2d_bias_add_relu(Cpu, const float* x, const float* w, const float* bias, const float* z,
                          float* y, bool relu, const Conv2dShape& o) {
  const int64_t count = o.output_size();
  if (count == 0) return;
  if (const Form form = once(o); form != Form::kNone) {
    float* filters = packed_scratch(packed::packed_size(o, form));
    packed::pack(w, filters, o, form);
    return packed::run(x, filters, bias, z, y, relu, o, form);
  }
  library::conv2d_forward(x, w, bias, y, o);
  if (z != nullptr || relu) add_relu(y, z, y, relu, count);
}

int64_t conv2d_packed_size(Cpu, const Conv2dShape& o) {
  const Form form = packed::form_of(o);
  return form == Form::kNone ? 0 : packed::packed_size(o, form);
}

void conv2d_pack(Cpu, const float* w, float* packed, const Conv2dShape& o) {
  packed::pack(w, packed, o, packed::form_of(o));
}

void conv2d_packed_bias_add_relu(Cpu, const float* x, const float* packed, const float* bias,
                                 const float* z, float* y, bool relu, const Conv2dShape& o) {
  if (o.output_size() == 0) return;
  packed::run(x, packed, bias, z, y, relu, o, packed::form_of(o));
}

int64_t conv2d_gradient_packed_size(Cpu, const Conv2dShape& o) {
  const Form form = packed::gradient_form_of(o);
  return form == Form::kNone ? 0 : packed::gradient_packed_size(o, form);
}

void conv2d_gradient_pack(Cpu, const float* w, float* packed, const Conv2dShape& o) {
  packed::pack_gradient(w, packed, o, packed::gradient_form_of(o));
}

void conv2d_packed_backward_data(Cpu, const float* dy, const float* packed, const float* z,
                                 float* dx, const Conv2dShape& o) {
  if (o.input_size() == 0) return;
  packed::run_gradient(dy, packed, z, dx, o, packed::gradient_form_of(o));
}

void conv2d_backward_data(Cpu, const float* dy, const float* w, float* dx, const Conv2dShape& o) {
  if (o.input_size() == 0) return;
  if (const Form form = gradient_once(o); form != Form::kNone) {
    return by_turned_filters(dy, w, nullptr, dx, o, form);
  }
  library::conv2d_backward_data(dy, w, dx, o);
}

bool conv2d_adds_backward_data(Cpu, DType type, const Conv2dShape& o) {
  return type == DType::kFloat32 && !is_strided(o) && pays_to_pack(o.n * o.h * o.w) &&
         packed::gradient_form_for_once(o) != Form::kNone;
}

void conv2d_add_backward_data(Cpu, const float* dy, const float* w, const float* z, float* dx,
                              const Conv2dShape& o) {
  if (o.input_size() == 0) return;
  by_turned_filters(dy, w, z, dx, o, packed::gradient_form_for_once(o));
}

void conv2d_backward_weight(Cpu, const float* dy, const float* x, float* dw, float* dbias,
                            const Conv2dShape& o) {
  if (o.output_size() == 0) {
    std::fill(dw, dw + o.weights_size(), 0.0f);
    if (dbias != nullptr) std::fill(dbias, dbias + o.k, 0.0f);
    return;
  }
  if (by_our_weight_gradient(o)) {
    weight_gradient::run(dy, x, dw, o);
  } else {
    library::conv2d_backward_weight(dy, x, dw, o);
  }
  if (dbias != nullptr) {
    sum(Cpu{}, dy, dbias, 1, {{o.n * o.out_h() * o.out_w(), o.k}, {true, false}});
  }
}

const char* conv2d_implementation(Cpu, Conv2dPass pass, const Conv2dShape& o) {
  if (pass == Conv2dPass::kBackwardWeight && by_our_weight_gradient(o)) {
    return weight_gradient::name();
  }
  Form form = Form::kNone;
  if (pass == Conv2dPass::kForward) form = once(o);
  if (pass == Conv2dPass::kBackwardData) form = gradient_once(o);
  return form == Form::kNone ? library::conv2d_implementation(pass, o) : packed::name_of(form);
}

}  // namespace glassnet::kernels
