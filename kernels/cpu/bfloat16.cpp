// Ops of bfloat16 that move little memory: float32 copies go through the float32 kernels.
#include "kernels/cpu/widened.h"
#include "kernels/index.h"
#include "kernels/matmul.h"
#include "kernels/perturb.h"
#include "kernels/resize.h"
#include "kernels/softmax.h"

namespace glassnet::kernels {
namespace {

// The buffers of a call.
struct First;
struct Second;
struct Third;
struct Result;

}  // namespace

void matmul(Cpu, const bfloat16* a, const bfloat16* b, const bfloat16* bias, bfloat16* c,
            const MatmulShape& o) {
  const float* wide_a = widened<First>(a, o.m * o.k);
  const float* wide_b = widened<Second>(b, o.k * o.n);
  const float* wide_bias = widened<Third>(bias, o.n);
  rounded<Result>(c, o.m * o.n,
                  [&](float* wide) { matmul(Cpu{}, wide_a, wide_b, wide_bias, wide, o); });
}

void resize_bilinear_forward(Cpu, const bfloat16* x, bfloat16* y, const ResizeShape& o) {
  const float* wide_x = widened<First>(x, o.n * o.h * o.w * o.c);
  rounded<Result>(y, o.n * o.out_h * o.out_w * o.c,
                  [&](float* wide) { resize_bilinear_forward(Cpu{}, wide_x, wide, o); });
}
void resize_bilinear_backward(Cpu, const bfloat16* dy, bfloat16* dx, const ResizeShape& o) {
  const float* wide_dy = widened<First>(dy, o.n * o.out_h * o.out_w * o.c);
  rounded<Result>(dx, o.n * o.h * o.w * o.c,
                  [&](float* wide) { resize_bilinear_backward(Cpu{}, wide_dy, wide, o); });
}

void softmax_forward(Cpu, const bfloat16* x, bfloat16* y, const SoftmaxShape& o) {
  const float* wide_x = widened<First>(x, o.rows * o.classes);
  rounded<Result>(y, o.rows * o.classes,
                  [&](float* wide) { softmax_forward(Cpu{}, wide_x, wide, o); });
}
void softmax_backward(Cpu, const bfloat16* dy, const bfloat16* y, bfloat16* dx,
                      const SoftmaxShape& o) {
  const float* wide_dy = widened<First>(dy, o.rows * o.classes);
  const float* wide_y = widened<Second>(y, o.rows * o.classes);
  rounded<Result>(dx, o.rows * o.classes,
                  [&](float* wide) { softmax_backward(Cpu{}, wide_dy, wide_y, wide, o); });
}
void log_softmax_forward(Cpu, const bfloat16* x, bfloat16* y, const SoftmaxShape& o) {
  const float* wide_x = widened<First>(x, o.rows * o.classes);
  rounded<Result>(y, o.rows * o.classes,
                  [&](float* wide) { log_softmax_forward(Cpu{}, wide_x, wide, o); });
}
void log_softmax_backward(Cpu, const bfloat16* dy, const bfloat16* y, bfloat16* dx,
                          const SoftmaxShape& o) {
  const float* wide_dy = widened<First>(dy, o.rows * o.classes);
  const float* wide_y = widened<Second>(y, o.rows * o.classes);
  rounded<Result>(dx, o.rows * o.classes,
                  [&](float* wide) { log_softmax_backward(Cpu{}, wide_dy, wide_y, wide, o); });
}
void cross_entropy(Cpu, const bfloat16* x, const int64_t* labels, float* loss, bfloat16* dx,
                   const CrossEntropyShape& o) {
  const float* wide_x = widened<First>(x, o.rows * o.classes);
  rounded<Result>(dx, o.rows * o.classes,
                  [&](float* wide) { cross_entropy(Cpu{}, wide_x, labels, loss, wide, o); });
}

void max_last(Cpu, const bfloat16* x, bfloat16* value, int64_t* index, const RowsShape& o) {
  const float* wide_x = widened<First>(x, o.rows * o.columns);
  rounded<Result>(value, o.rows, [&](float* wide) { max_last(Cpu{}, wide_x, wide, index, o); });
}
void select(Cpu, const bfloat16* x, const int64_t* index, bfloat16* y, const RowsShape& o) {
  const float* wide_x = widened<First>(x, o.rows * o.columns);
  rounded<Result>(y, o.rows, [&](float* wide) { select(Cpu{}, wide_x, index, wide, o); });
}
void select_backward(Cpu, const bfloat16* dy, const int64_t* index, bfloat16* dx,
                     const RowsShape& o) {
  const float* wide_dy = widened<First>(dy, o.rows);
  rounded<Result>(dx, o.rows * o.columns,
                  [&](float* wide) { select_backward(Cpu{}, wide_dy, index, wide, o); });
}

void perturb(Cpu, const PerturbedSample* samples, int64_t n, int64_t pixels, bfloat16* y,
             const ImageScale& scale) {
  rounded<Result>(y, n * pixels * 3,
                  [&](float* wide) { perturb(Cpu{}, samples, n, pixels, wide, scale); });
}

}  // namespace glassnet::kernels
