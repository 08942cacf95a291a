// Convolution of bfloat16 on the CPU: by the processor's own instructions for it, or where it has
// none in float32, whose kernels are quicker than any imitation. Products of bfloat16 are exact in
// float32, so that both compute the same sums, up to their order.
#include "kernels/conv2d.h"

#include <type_traits>

#include "kernels/convert.h"
#include "kernels/cpu/bf16_units.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/widened.h"
#include "kernels/elementwise.h"
#include "kernels/reduce.h"

namespace glassnet::kernels {
namespace {

// The buffers of a call.
struct Input;
struct Weights;
struct Bias;
struct Output;

int64_t input_size(const Conv2dShape& o) {
  return o.n * o.h * o.w * o.c;
}
int64_t output_size(const Conv2dShape& o) {
  return o.n * o.out_h() * o.out_w() * o.k;
}
int64_t weights_size(const Conv2dShape& o) {
  return o.k * o.r * o.s * o.c / o.groups;
}

// y = act(sums + z); z may be null, and sums may be y.
template <class From>
void finish(const From* sums, const bfloat16* z, bfloat16* y, bool relu, int64_t count) {
  const auto run = [&](auto residual, auto rectified) {
    parallel_ranges(count, kSmall, [=](int64_t begin, int64_t end) {
#pragma omp simd
      for (int64_t i = begin; i < end; ++i) {
        const float sum = residual ? widen(sums[i]) + widen(z[i]) : widen(sums[i]);
        y[i] = convert<bfloat16>(rectified ? Relu{}.value(sum) : sum);
      }
    });
  };
  using True = std::true_type;
  using False = std::false_type;
  if (z != nullptr) {
    relu ? run(True{}, True{}) : run(True{}, False{});
  } else {
    relu ? run(False{}, True{}) : run(False{}, False{});
  }
}

}  // namespace

void conv2d_bias_add_relu(Cpu, const bfloat16* x, const bfloat16* w, const float* bias,
                          const bfloat16* z, bfloat16* y, bool relu, const Conv2dShape& o) {
  const int64_t count = output_size(o);
  if (count == 0) return;
  if (bf16_units::present() && bf16_units::forward(x, w, bias, y, o)) {
    if (z != nullptr || relu) finish(y, z, y, relu, count);
    return;
  }
  const float* wide_x = widened<Input>(x, input_size(o));
  const float* wide_w = widened<Weights>(w, weights_size(o));
  auto* sums =
      static_cast<float*>(thread_scratch<Output>().get(static_cast<size_t>(count) * sizeof(float)));
  conv2d_forward(Cpu{}, wide_x, wide_w, bias, sums, o);
  finish(sums, z, y, relu, count);
}

void conv2d_forward(Cpu, const bfloat16* x, const bfloat16* w, const bfloat16* bias, bfloat16* y,
                    const Conv2dShape& o) {
  conv2d_bias_add_relu(Cpu{}, x, w, widened<Bias>(bias, o.k), nullptr, y, false, o);
}

void conv2d_backward_data(Cpu, const bfloat16* dy, const bfloat16* w, bfloat16* dx,
                          const Conv2dShape& o) {
  if (input_size(o) == 0) return;
  if (bf16_units::present() && bf16_units::backward_data(dy, w, dx, o)) return;
  const float* wide_dy = widened<Output>(dy, output_size(o));
  const float* wide_w = widened<Weights>(w, weights_size(o));
  rounded<Input>(dx, input_size(o),
                 [&](float* wide) { conv2d_backward_data(Cpu{}, wide_dy, wide_w, wide, o); });
}

void conv2d_backward_weight(Cpu, const bfloat16* dy, const bfloat16* x, bfloat16* dw,
                            bfloat16* dbias, const Conv2dShape& o) {
  if (dbias != nullptr) {
    sum(Cpu{}, dy, dbias, 1, {{o.n * o.out_h() * o.out_w(), o.k}, {true, false}});
  }
  if (output_size(o) > 0 && bf16_units::present() && bf16_units::backward_weight(dy, x, dw, o)) {
    return;
  }
  const float* wide_dy = widened<Output>(dy, output_size(o));
  const float* wide_x = widened<Input>(x, input_size(o));
  rounded<Weights>(dw, weights_size(o), [&](float* wide) {
    conv2d_backward_weight(Cpu{}, wide_dy, wide_x, wide, nullptr, o);
  });
}

}  // namespace glassnet::kernels
