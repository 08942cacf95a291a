// Arithmetic on plain tensors, without gradients: what VJPs and explanations are written in.
// Two operands broadcast by NumPy's rule. Results are new tensors unless a name says otherwise.
#pragma once

#include <vector>

#include "kernels/elementwise.h"
#include "tensor/tensor.h"

namespace glassnet {

template <class F>
Tensor unary(F f, const Tensor& x);
template <class F>
Tensor binary(F f, const Tensor& a, const Tensor& b);

Tensor add(const Tensor& a, const Tensor& b);
Tensor sub(const Tensor& a, const Tensor& b);
Tensor mul(const Tensor& a, const Tensor& b);
Tensor div(const Tensor& a, const Tensor& b);
Tensor scale(const Tensor& x, double factor, double shift = 0);  // factor * x + shift
Tensor relu(const Tensor& x);
Tensor abs(const Tensor& x);

// Over the given axes (negative ones count from the end; none means all of them). keep_dims leaves
// an extent of 1.
Tensor sum(const Tensor& x, const std::vector<int>& axes = {}, bool keep_dims = false);
Tensor mean(const Tensor& x, const std::vector<int>& axes = {}, bool keep_dims = false);
// Over the last axis: (…, C) -> (…).
Tensor max_last(const Tensor& x);
Tensor argmax_last(const Tensor& x);  // int64; the first of equal ones, a NaN before all

// How many elements two int64 tensors of one shape have in common, place by place: a float32
// scalar.
Tensor count_equal(const Tensor& a, const Tensor& b);

// The strides with which two operands meet in one result.
kernels::BroadcastShape broadcast_shape(const Tensor& a, const Tensor& b);
// Sums `x` down to a shape that broadcasts to its own: the VJP of broadcasting.
Tensor sum_to(const Tensor& x, const Shape& shape);
// a += b, in place; same shape.
void add_in_place(Tensor& a, const Tensor& b);

Tensor softmax(const Tensor& x);                                        // over the last axis
Tensor resize_bilinear(const Tensor& x, int64_t out_h, int64_t out_w);  // NHWC

}  // namespace glassnet
