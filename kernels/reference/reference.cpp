// float64 runs on the definitions themselves.
#include "kernels/reference/batch_norm.h"
#include "kernels/reference/conv2d.h"
#include "kernels/reference/matmul.h"
#include "kernels/reference/pool.h"
#include "kernels/reference/reduce.h"
#include "kernels/reference/resize.h"
#include "kernels/reference/softmax.h"
#include "kernels/reference/subsample_pad.h"

namespace glassnet::kernels {

void conv2d_forward(Cpu, const double* x, const double* w, const double* bias, double* y,
                    const Conv2dShape& shape) {
  reference::conv2d_forward(x, w, bias, y, shape);
}
void conv2d_backward_data(Cpu, const double* dy, const double* w, double* dx,
                          const Conv2dShape& shape) {
  reference::conv2d_backward_data(dy, w, dx, shape);
}
void conv2d_backward_weight(Cpu, const double* dy, const double* x, double* dw, double* dbias,
                            const Conv2dShape& shape) {
  reference::conv2d_backward_weight(dy, x, dw, dbias, shape);
}
void conv2d_bias_add_relu(Cpu, const double* x, const double* w, const double* bias,
                          const double* z, double* y, bool relu, const Conv2dShape& shape) {
  reference::conv2d_bias_add_relu(x, w, bias, z, y, relu, shape);
}

void matmul(Cpu, const double* a, const double* b, const double* bias, double* c,
            const MatmulShape& shape) {
  reference::matmul(a, b, bias, c, shape);
}

void batch_norm_forward(Cpu, const double* x, const double* gamma, const double* beta, double* y,
                        double* mean, double* inv_std, double* running_mean, double* running_var,
                        double momentum, const BatchNormShape& shape) {
  reference::batch_norm_forward(x, gamma, beta, y, mean, inv_std, running_mean, running_var,
                                momentum, shape);
}
void batch_norm_backward(Cpu, const double* dy, const double* x, const double* gamma,
                         const double* mean, const double* inv_std, double* dx, double* dgamma,
                         double* dbeta, const BatchNormShape& shape) {
  reference::batch_norm_backward(dy, x, gamma, mean, inv_std, dx, dgamma, dbeta, shape);
}
void batch_norm_inference(Cpu, const double* x, const double* gamma, const double* beta,
                          const double* running_mean, const double* running_var, double* y,
                          const BatchNormShape& shape) {
  reference::batch_norm_inference(x, gamma, beta, running_mean, running_var, y, shape);
}
void batch_norm_inference_backward(Cpu, const double* dy, const double* x, const double* gamma,
                                   const double* running_mean, const double* running_var,
                                   double* dx, double* dgamma, double* dbeta,
                                   const BatchNormShape& shape) {
  reference::batch_norm_inference_backward(dy, x, gamma, running_mean, running_var, dx, dgamma,
                                           dbeta, shape);
}
void batch_norm_add_relu_forward(Cpu, const double* x, const double* z, const double* gamma,
                                 const double* beta, double* y, uint8_t* mask, double* mean,
                                 double* inv_std, double* running_mean, double* running_var,
                                 double momentum, const BatchNormShape& shape) {
  reference::batch_norm_add_relu_forward(x, z, gamma, beta, y, mask, mean, inv_std, running_mean,
                                         running_var, momentum, shape);
}
void batch_norm_add_relu_backward(Cpu, const double* dy, const uint8_t* mask, const double* x,
                                  const double* gamma, const double* mean, const double* inv_std,
                                  double* dx, double* dz, double* dgamma, double* dbeta,
                                  const BatchNormShape& shape) {
  reference::batch_norm_add_relu_backward(dy, mask, x, gamma, mean, inv_std, dx, dz, dgamma, dbeta,
                                          shape);
}
void fold_batch_norm(Cpu, const double* w, const double* gamma, const double* beta,
                     const double* running_mean, const double* running_var, double* folded,
                     double* bias, int64_t per_filter, const BatchNormShape& shape) {
  reference::fold_batch_norm(w, gamma, beta, running_mean, running_var, folded, bias, per_filter,
                             shape);
}

void max_pool2d_forward(Cpu, const double* x, double* y, uint8_t* index, const Pool2dShape& shape) {
  reference::max_pool2d_forward(x, y, index, shape);
}
void max_pool2d_backward(Cpu, const double* dy, const uint8_t* index, double* dx,
                         const Pool2dShape& shape) {
  reference::max_pool2d_backward(dy, index, dx, shape);
}
void avg_pool2d_forward(Cpu, const double* x, double* y, const Pool2dShape& shape) {
  reference::avg_pool2d_forward(x, y, shape);
}
void avg_pool2d_backward(Cpu, const double* dy, double* dx, const Pool2dShape& shape) {
  reference::avg_pool2d_backward(dy, dx, shape);
}

void softmax_forward(Cpu, const double* x, double* y, const SoftmaxShape& shape) {
  reference::softmax_forward(x, y, shape);
}
void softmax_backward(Cpu, const double* dy, const double* y, double* dx,
                      const SoftmaxShape& shape) {
  reference::softmax_backward(dy, y, dx, shape);
}
void log_softmax_forward(Cpu, const double* x, double* y, const SoftmaxShape& shape) {
  reference::log_softmax_forward(x, y, shape);
}
void log_softmax_backward(Cpu, const double* dy, const double* y, double* dx,
                          const SoftmaxShape& shape) {
  reference::log_softmax_backward(dy, y, dx, shape);
}
void cross_entropy(Cpu, const double* x, const int64_t* labels, double* loss, double* dx,
                   const CrossEntropyShape& shape) {
  reference::cross_entropy(x, labels, loss, dx, shape);
}

void sum(Cpu, const double* x, double* y, double scale, const ReduceShape& shape) {
  reference::sum(x, y, scale, shape);
}
void sum_backward(Cpu, const double* dy, double* dx, double scale, const ReduceShape& shape) {
  reference::sum_backward(dy, dx, scale, shape);
}

void resize_bilinear_forward(Cpu, const double* x, double* y, const ResizeShape& shape) {
  reference::resize_bilinear_forward(x, y, shape);
}
void resize_bilinear_backward(Cpu, const double* dy, double* dx, const ResizeShape& shape) {
  reference::resize_bilinear_backward(dy, dx, shape);
}

void subsample_pad_forward(Cpu, const double* x, double* y, const SubsamplePadShape& shape) {
  reference::subsample_pad_forward(x, y, shape);
}
void subsample_pad_backward(Cpu, const double* dy, double* dx, const SubsamplePadShape& shape) {
  reference::subsample_pad_backward(dy, dx, shape);
}

}  // namespace glassnet::kernels
