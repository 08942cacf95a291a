// Batch normalisation over the last axis (Ioffe & Szegedy 2015), x seen as (rows, channels).
//
//   training:   y = gamma * (x - mean) * inv_std + beta, mean and variance over the rows,
//               inv_std = 1 / sqrt(variance + eps), variance biased (divided by rows)
//   inference:  the same formula with the running mean and variance
//
// Running statistics follow PyTorch: running = (1 - momentum) * running + momentum * batch, with
// the unbiased variance (divided by rows - 1). Outputs are overwritten; y may not alias x.
#pragma once

#include <cstdint>

#include "kernels/device.h"
#include "kernels/dtype.h"

namespace glassnet::kernels {

struct BatchNormShape {
  int64_t rows, channels;
  double eps = 1e-5;
};

// Writes y and the batch statistics mean, inv_std (channels), which the backward pass needs.
// running_mean, running_var (channels) are updated in place unless null.
void batch_norm_forward(Cpu, const float* x, const float* gamma, const float* beta, float* y,
                        float* mean, float* inv_std, float* running_mean, float* running_var,
                        double momentum, const BatchNormShape& shape);
void batch_norm_forward(Cpu, const double* x, const double* gamma, const double* beta, double* y,
                        double* mean, double* inv_std, double* running_mean, double* running_var,
                        double momentum, const BatchNormShape& shape);
void batch_norm_forward(Cpu, const bfloat16* x, const float* gamma, const float* beta, bfloat16* y,
                        float* mean, float* inv_std, float* running_mean, float* running_var,
                        double momentum, const BatchNormShape& shape);

// dx, dgamma, dbeta for the training form; each may be null. On the CPU dx may be dy.
void batch_norm_backward(Cpu, const float* dy, const float* x, const float* gamma,
                         const float* mean, const float* inv_std, float* dx, float* dgamma,
                         float* dbeta, const BatchNormShape& shape);
void batch_norm_backward(Cpu, const double* dy, const double* x, const double* gamma,
                         const double* mean, const double* inv_std, double* dx, double* dgamma,
                         double* dbeta, const BatchNormShape& shape);
void batch_norm_backward(Cpu, const bfloat16* dy, const bfloat16* x, const float* gamma,
                         const float* mean, const float* inv_std, bfloat16* dx, float* dgamma,
                         float* dbeta, const BatchNormShape& shape);

void batch_norm_inference(Cpu, const float* x, const float* gamma, const float* beta,
                          const float* running_mean, const float* running_var, float* y,
                          const BatchNormShape& shape);
void batch_norm_inference(Cpu, const double* x, const double* gamma, const double* beta,
                          const double* running_mean, const double* running_var, double* y,
                          const BatchNormShape& shape);
void batch_norm_inference(Cpu, const bfloat16* x, const float* gamma, const float* beta,
                          const float* running_mean, const float* running_var, bfloat16* y,
                          const BatchNormShape& shape);

// dx, dgamma, dbeta for the inference form (the statistics are constants); each may be null.
void batch_norm_inference_backward(Cpu, const float* dy, const float* x, const float* gamma,
                                   const float* running_mean, const float* running_var, float* dx,
                                   float* dgamma, float* dbeta, const BatchNormShape& shape);
void batch_norm_inference_backward(Cpu, const double* dy, const double* x, const double* gamma,
                                   const double* running_mean, const double* running_var,
                                   double* dx, double* dgamma, double* dbeta,
                                   const BatchNormShape& shape);
void batch_norm_inference_backward(Cpu, const bfloat16* dy, const bfloat16* x, const float* gamma,
                                   const float* running_mean, const float* running_var,
                                   bfloat16* dx, float* dgamma, float* dbeta,
                                   const BatchNormShape& shape);

// On a GPU x, y and their gradients are of T = float, bfloat16 or float16, all else is float32.
template <class T>
void batch_norm_forward(Cuda, const T* x, const float* gamma, const float* beta, T* y, float* mean,
                        float* inv_std, float* running_mean, float* running_var, double momentum,
                        const BatchNormShape& shape);
template <class T>
void batch_norm_backward(Cuda, const T* dy, const T* x, const float* gamma, const float* mean,
                         const float* inv_std, T* dx, float* dgamma, float* dbeta,
                         const BatchNormShape& shape);
template <class T>
void batch_norm_inference(Cuda, const T* x, const float* gamma, const float* beta,
                          const float* running_mean, const float* running_var, T* y,
                          const BatchNormShape& shape);
template <class T>
void batch_norm_inference_backward(Cuda, const T* dy, const T* x, const float* gamma,
                                   const float* running_mean, const float* running_var, T* dx,
                                   float* dgamma, float* dbeta, const BatchNormShape& shape);

// The training form with what follows it in a residual network, in the same passes over memory:
//
//   y = relu(gamma * (x - mean) * inv_std + beta + z)
//
// z (rows, channels) may be null. mask (mask_bytes) holds a bit per element, bit i % 8 of byte i /
// 8 set where the ReLU let element i through; it stands in for the value before the ReLU, which is
// not kept. It may be null when no gradient is wanted. All else as batch_norm_forward.
inline int64_t mask_bytes(const BatchNormShape& shape) {
  return (shape.rows * shape.channels + 31) / 32 * 4;  // whole 32-bit words
}
void batch_norm_add_relu_forward(Cpu, const float* x, const float* z, const float* gamma,
                                 const float* beta, float* y, uint8_t* mask, float* mean,
                                 float* inv_std, float* running_mean, float* running_var,
                                 double momentum, const BatchNormShape& shape);
void batch_norm_add_relu_forward(Cpu, const double* x, const double* z, const double* gamma,
                                 const double* beta, double* y, uint8_t* mask, double* mean,
                                 double* inv_std, double* running_mean, double* running_var,
                                 double momentum, const BatchNormShape& shape);
void batch_norm_add_relu_forward(Cpu, const bfloat16* x, const bfloat16* z, const float* gamma,
                                 const float* beta, bfloat16* y, uint8_t* mask, float* mean,
                                 float* inv_std, float* running_mean, float* running_var,
                                 double momentum, const BatchNormShape& shape);
template <class T>
void batch_norm_add_relu_forward(Cuda, const T* x, const T* z, const float* gamma,
                                 const float* beta, T* y, uint8_t* mask, float* mean,
                                 float* inv_std, float* running_mean, float* running_var,
                                 double momentum, const BatchNormShape& shape);

// With d = dy where the mask is set and 0 elsewhere: dz = d, and dx, dgamma, dbeta are what
// batch_norm_backward makes of d. Each of the four may be null. On the CPU one of dx and dz may be
// dy.
void batch_norm_add_relu_backward(Cpu, const float* dy, const uint8_t* mask, const float* x,
                                  const float* gamma, const float* mean, const float* inv_std,
                                  float* dx, float* dz, float* dgamma, float* dbeta,
                                  const BatchNormShape& shape);
void batch_norm_add_relu_backward(Cpu, const double* dy, const uint8_t* mask, const double* x,
                                  const double* gamma, const double* mean, const double* inv_std,
                                  double* dx, double* dz, double* dgamma, double* dbeta,
                                  const BatchNormShape& shape);
void batch_norm_add_relu_backward(Cpu, const bfloat16* dy, const uint8_t* mask, const bfloat16* x,
                                  const float* gamma, const float* mean, const float* inv_std,
                                  bfloat16* dx, bfloat16* dz, float* dgamma, float* dbeta,
                                  const BatchNormShape& shape);
template <class T>
void batch_norm_add_relu_backward(Cuda, const T* dy, const uint8_t* mask, const T* x,
                                  const float* gamma, const float* mean, const float* inv_std,
                                  T* dx, T* dz, float* dgamma, float* dbeta,
                                  const BatchNormShape& shape);

// Inference batch norm folded into the convolution before it: with s = gamma / sqrt(running_var +
// eps), filter k becomes s[k] * w[k] and its bias beta[k] - s[k] * running_mean[k].
// w, folded (channels, per_filter), the rest (channels); rows of the shape is not looked at.
void fold_batch_norm(Cpu, const float* w, const float* gamma, const float* beta,
                     const float* running_mean, const float* running_var, float* folded,
                     float* bias, int64_t per_filter, const BatchNormShape& shape);
void fold_batch_norm(Cpu, const double* w, const double* gamma, const double* beta,
                     const double* running_mean, const double* running_var, double* folded,
                     double* bias, int64_t per_filter, const BatchNormShape& shape);
void fold_batch_norm(Cpu, const float* w, const float* gamma, const float* beta,
                     const float* running_mean, const float* running_var, bfloat16* folded,
                     float* bias, int64_t per_filter, const BatchNormShape& shape);
// T = float, bfloat16 or float16: what the convolution computes in; w is the float32 original.
template <class T>
void fold_batch_norm(Cuda, const float* w, const float* gamma, const float* beta,
                     const float* running_mean, const float* running_var, T* folded, float* bias,
                     int64_t per_filter, const BatchNormShape& shape);

}  // namespace glassnet::kernels
