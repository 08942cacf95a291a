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

// dx, dgamma, dbeta for the training form; each may be null.
void batch_norm_backward(Cpu, const float* dy, const float* x, const float* gamma,
                         const float* mean, const float* inv_std, float* dx, float* dgamma,
                         float* dbeta, const BatchNormShape& shape);
void batch_norm_backward(Cpu, const double* dy, const double* x, const double* gamma,
                         const double* mean, const double* inv_std, double* dx, double* dgamma,
                         double* dbeta, const BatchNormShape& shape);

void batch_norm_inference(Cpu, const float* x, const float* gamma, const float* beta,
                          const float* running_mean, const float* running_var, float* y,
                          const BatchNormShape& shape);
void batch_norm_inference(Cpu, const double* x, const double* gamma, const double* beta,
                          const double* running_mean, const double* running_var, double* y,
                          const BatchNormShape& shape);

// dx, dgamma, dbeta for the inference form (the statistics are constants); each may be null.
void batch_norm_inference_backward(Cpu, const float* dy, const float* x, const float* gamma,
                                   const float* running_mean, const float* running_var, float* dx,
                                   float* dgamma, float* dbeta, const BatchNormShape& shape);
void batch_norm_inference_backward(Cpu, const double* dy, const double* x, const double* gamma,
                                   const double* running_mean, const double* running_var,
                                   double* dx, double* dgamma, double* dbeta,
                                   const BatchNormShape& shape);

}  // namespace glassnet::kernels
