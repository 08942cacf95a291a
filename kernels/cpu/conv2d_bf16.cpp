// Convolution of bfloat16 on the CPU: by the processor's own instructions for it, or where it has
// none in float32, whose kernels are quicker than any imitation. Products of bfloat16 are exact in
// float32, so that both compute the same sums, up to their order.
#include "kernels/conv2d.h"

#include "kernels/cpu/add_relu.h"
#include "kernels/cpu/bf16_units.h"
#include "kernels/cpu/widened.h"
#include "kernels/reduce.h"

namespace glassnet::kernels {
namespace {

// The buffers of a call.
struct Input;
struct Weights;
struct Bias;
struct Output;

}  // namespace

void conv2d_bias_add_relu(Cpu, const bfloat16* x, const bfloat16* w, const float* bias,
                          const bfloat16* z, bfloat16* y, bool relu, const Conv2dShape& o) {
  const int64_t count = o.output_size();
  if (count == 0) return;
  if (bf16_units::present() && bf16_units::forward(x, w, bias, y, o)) {
    if (z != nullptr || relu) add_relu(y, z, y, relu, count);
    return;
  }
  const float* wide_x = widened<Input>(x, o.input_size());
  const float* wide_w = widened<Weights>(w, o.weights_size());
  auto* sums =
      static_cast<float*>(thread_scratch<Output>().get(static_cast<size_t>(count) * sizeof(float)));
  conv2d_forward(Cpu{}, wide_x, wide_w, bias, sums, o);
  add_relu(sums, z, y, relu, count);
}

void conv2d_forward(Cpu, const bfloat16* x, const bfloat16* w, const bfloat16* bias, bfloat16* y,
                    const Conv2dShape& o) {
  conv2d_bias_add_relu(Cpu{}, x, w, widened<Bias>(bias, o.k), nullptr, y, false, o);
}

void conv2d_backward_data(Cpu, const bfloat16* dy, const bfloat16* w, bfloat16* dx,
                          const Conv2dShape& o) {
  if (o.input_size() == 0) return;
  if (bf16_units::present() && bf16_units::backward_data(dy, w, dx, o)) return;
  const float* wide_dy = widened<Output>(dy, o.output_size());
  const float* wide_w = widened<Weights>(w, o.weights_size());
  rounded<Input>(dx, o.input_size(),
                 [&](float* wide) { conv2d_backward_data(Cpu{}, wide_dy, wide_w, wide, o); });
}

void conv2d_backward_weight(Cpu, const bfloat16* dy, const bfloat16* x, bfloat16* dw,
                            bfloat16* dbias, const Conv2dShape& o) {
  if (dbias != nullptr) {
    sum(Cpu{}, dy, dbias, 1, {{o.n * o.out_h() * o.out_w(), o.k}, {true, false}});
  }
  if (o.output_size() > 0 && bf16_units::present() && bf16_units::backward_weight(dy, x, dw, o)) {
    return;
  }
  const float* wide_dy = widened<Output>(dy, o.output_size());
  const float* wide_x = widened<Input>(x, o.input_size());
  rounded<Weights>(dw, o.weights_size(), [&](float* wide) {
    conv2d_backward_weight(Cpu{}, wide_dy, wide_x, wide, nullptr, o);
  });
}

}  // namespace glassnet::kernels
