// Elementwise arithmetic: one functor per formula, value and derivative together, compiled by both
// compilers. A new function is a functor, its name in the list at the end of this file, and a
// declaration in autograd/ops.h.
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

#include "kernels/device.h"
#include "kernels/host_device.h"

namespace glassnet::kernels {

// Unary functors: value(x) = y and vjp(x, y, dy) = dx. Parameters are members. What the derivative
// does not look at (kUsesX, kUsesY) is not kept for the backward pass and arrives as anything.
struct Relu {
  static constexpr bool kUsesX = false, kUsesY = true;
  // A NaN passes through, as in PyTorch; the derivative at 0 is 0.
  template <class T>
  GLASSNET_HOST_DEVICE T value(T x) const {
    return x < T(0) ? T(0) : x;
  }
  template <class T>
  GLASSNET_HOST_DEVICE T vjp(T, T y, T dy) const {
    return y <= T(0) ? T(0) : dy;
  }
};
struct Exp {
  static constexpr bool kUsesX = false, kUsesY = true;
  template <class T>
  GLASSNET_HOST_DEVICE T value(T x) const {
    return std::exp(x);
  }
  template <class T>
  GLASSNET_HOST_DEVICE T vjp(T, T y, T dy) const {
    return dy * y;
  }
};
struct Log {
  static constexpr bool kUsesX = true, kUsesY = false;
  template <class T>
  GLASSNET_HOST_DEVICE T value(T x) const {
    return std::log(x);
  }
  template <class T>
  GLASSNET_HOST_DEVICE T vjp(T x, T, T dy) const {
    return dy / x;
  }
};
struct Sqrt {
  static constexpr bool kUsesX = false, kUsesY = true;
  template <class T>
  GLASSNET_HOST_DEVICE T value(T x) const {
    return std::sqrt(x);
  }
  template <class T>
  GLASSNET_HOST_DEVICE T vjp(T, T y, T dy) const {
    return dy / (2 * y);
  }
};
struct Square {
  static constexpr bool kUsesX = true, kUsesY = false;
  template <class T>
  GLASSNET_HOST_DEVICE T value(T x) const {
    return x * x;
  }
  template <class T>
  GLASSNET_HOST_DEVICE T vjp(T x, T, T dy) const {
    return 2 * x * dy;
  }
};
struct Abs {
  static constexpr bool kUsesX = true, kUsesY = false;
  // The derivative at 0 is 0.
  template <class T>
  GLASSNET_HOST_DEVICE T value(T x) const {
    return x < T(0) ? -x : x;
  }
  template <class T>
  GLASSNET_HOST_DEVICE T vjp(T x, T, T dy) const {
    return x > T(0) ? dy : (x < T(0) ? -dy : T(0));
  }
};
struct Sigmoid {
  static constexpr bool kUsesX = false, kUsesY = true;
  template <class T>
  GLASSNET_HOST_DEVICE T value(T x) const {
    return T(1) / (T(1) + std::exp(-x));
  }
  template <class T>
  GLASSNET_HOST_DEVICE T vjp(T, T y, T dy) const {
    return dy * y * (T(1) - y);
  }
};
struct Tanh {
  static constexpr bool kUsesX = false, kUsesY = true;
  template <class T>
  GLASSNET_HOST_DEVICE T value(T x) const {
    return std::tanh(x);
  }
  template <class T>
  GLASSNET_HOST_DEVICE T vjp(T, T y, T dy) const {
    return dy * (T(1) - y * y);
  }
};
// y = scale * x + shift
struct Affine {
  static constexpr bool kUsesX = false, kUsesY = false;
  double scale = 1, shift = 0;
  template <class T>
  GLASSNET_HOST_DEVICE T value(T x) const {
    return T(scale) * x + T(shift);
  }
  template <class T>
  GLASSNET_HOST_DEVICE T vjp(T, T, T dy) const {
    return T(scale) * dy;
  }
};

// Binary functors: value(a, b) = y, and the two derivatives.
struct Add {
  template <class T>
  GLASSNET_HOST_DEVICE T value(T a, T b) const {
    return a + b;
  }
  template <class T>
  GLASSNET_HOST_DEVICE T vjp_a(T, T, T dy) const {
    return dy;
  }
  template <class T>
  GLASSNET_HOST_DEVICE T vjp_b(T, T, T dy) const {
    return dy;
  }
};
struct Sub {
  template <class T>
  GLASSNET_HOST_DEVICE T value(T a, T b) const {
    return a - b;
  }
  template <class T>
  GLASSNET_HOST_DEVICE T vjp_a(T, T, T dy) const {
    return dy;
  }
  template <class T>
  GLASSNET_HOST_DEVICE T vjp_b(T, T, T dy) const {
    return -dy;
  }
};
struct Mul {
  template <class T>
  GLASSNET_HOST_DEVICE T value(T a, T b) const {
    return a * b;
  }
  template <class T>
  GLASSNET_HOST_DEVICE T vjp_a(T, T b, T dy) const {
    return dy * b;
  }
  template <class T>
  GLASSNET_HOST_DEVICE T vjp_b(T a, T, T dy) const {
    return dy * a;
  }
};
struct Div {
  template <class T>
  GLASSNET_HOST_DEVICE T value(T a, T b) const {
    return a / b;
  }
  template <class T>
  GLASSNET_HOST_DEVICE T vjp_a(T, T b, T dy) const {
    return dy / b;
  }
  template <class T>
  GLASSNET_HOST_DEVICE T vjp_b(T a, T b, T dy) const {
    return -dy * a / (b * b);
  }
};

// Two operands broadcast to one shape, NumPy's rule already resolved: `dims` is the result's shape
// and a stride of 0 marks an axis along which an operand is repeated.
struct BroadcastShape {
  std::vector<int64_t> dims, stride_a, stride_b;
  int64_t numel() const {
    int64_t n = 1;
    for (int64_t d : dims) n *= d;
    return n;
  }
};

// y[i] = f.value(x[i]); y may be x.
template <class F, class T>
void unary(Cpu, F f, const T* x, T* y, int64_t count);
// dx[i] = f.vjp(x[i], y[i], dy[i]); dx may be dy.
template <class F, class T>
void unary_backward(Cpu, F f, const T* x, const T* y, const T* dy, T* dx, int64_t count);

// y = f.value(a, b), broadcast; y may be an operand that has the result's shape.
template <class F, class T>
void binary(Cpu, F f, const T* a, const T* b, T* y, const BroadcastShape& shape);
// da, db (the result's shape, not yet summed over repeated axes); either may be null.
template <class F, class T>
void binary_backward(Cpu, F f, const T* a, const T* b, const T* dy, T* da, T* db,
                     const BroadcastShape& shape);

// The same on a GPU: T = float, bfloat16 or float16, the functor in float32. At most eight axes.
template <class F, class T>
void unary(Cuda, F f, const T* x, T* y, int64_t count);
template <class F, class T>
void unary_backward(Cuda, F f, const T* x, const T* y, const T* dy, T* dx, int64_t count);
template <class F, class T>
void binary(Cuda, F f, const T* a, const T* b, T* y, const BroadcastShape& shape);
template <class F, class T>
void binary_backward(Cuda, F f, const T* a, const T* b, const T* dy, T* da, T* db,
                     const BroadcastShape& shape);

// Every functor, for the instantiations of each backend.
#define GLASSNET_UNARY_FUNCTORS(X) \
  X(Relu) X(Exp) X(Log) X(Sqrt) X(Square) X(Abs) X(Sigmoid) X(Tanh) X(Affine)
#define GLASSNET_BINARY_FUNCTORS(X) X(Add) X(Sub) X(Mul) X(Div)

}  // namespace glassnet::kernels
