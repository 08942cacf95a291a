// What cuDNN and cuBLASLt do on a GPU, for the host executor.
//
// A small convolution runs our own kernels in the executor. Everything else is computed by the
// CPU's kernels, on numbers widened to float32, with the buffers checked as if a kernel had touched
// them: the executor is for our own code, and would take minutes for what the libraries do in a
// moment.
#include <initializer_list>
#include <mutex>
#include <set>
#include <vector>

#include "kernels/conv2d.h"
#include "kernels/cuda/direct_conv.h"
#include "kernels/cuda/epilogue.h"
#include "kernels/cuda/plan_cache.h"
#include "kernels/half.h"
#include "kernels/matmul.h"
#include "kernels/reduce.h"
#include "kernels/simt/memory.h"
#include "kernels/simt/runtime.h"

namespace glassnet::kernels {
namespace {

// Products of two numbers, of which a convolution may have so many to run in the executor.
constexpr int64_t kDirectProducts = 1 << 15;

int64_t output_rows(const Conv2dShape& o) {
  return o.n * o.out_h() * o.out_w();
}
bool runs_directly(const Conv2dShape& o) {
  return output_rows(o) * o.weights_size() <= kDirectProducts;
}

// A library prepares at a call's first time, which a graph cannot hold; so it is refused here too.
void prepare(Cuda device, const char* op, std::initializer_list<int64_t> call) {
  static std::mutex mutex;
  static std::set<std::vector<int64_t>> prepared;
  const std::lock_guard lock(mutex);
  if (prepared.contains(call)) return;
  require_no_capture(device, op);
  prepared.insert(call);
}
void prepare(Cuda device, Conv2dPass pass, DType type, const Conv2dShape& o) {
  prepare(device, "conv2d",
          {static_cast<int64_t>(pass), static_cast<int64_t>(type), o.n, o.h, o.w, o.c, o.k, o.r,
           o.s, o.stride_h, o.stride_w, o.pad_h, o.pad_w, o.dilation_h, o.dilation_w, o.groups});
}

// What a library reads, as float32; null stays null.
template <class T>
class Read {
 public:
  Read(const T* data, int64_t count, const char* library) : there_(data != nullptr) {
    if (!there_) return;
    simt::check_read(data, static_cast<size_t>(count) * sizeof(T), library);
    values_.reserve(static_cast<size_t>(count));
    for (int64_t i = 0; i < count; ++i) values_.push_back(to_float(data[i]));
  }
  const float* get() const { return there_ ? values_.data() : nullptr; }

 private:
  bool there_;
  std::vector<float> values_;
};

// What it writes; rounded at the end of this object's life.
template <class T>
class Written {
 public:
  Written(T* data, int64_t count, const char* library)
      : data_(data), values_(static_cast<size_t>(count)) {
    simt::mark_written(data, values_.size() * sizeof(T), library);
  }
  ~Written() {
    for (size_t i = 0; i < values_.size(); ++i) data_[i] = from_float<T>(values_[i]);
  }
  Written(const Written&) = delete;
  Written& operator=(const Written&) = delete;
  float* get() { return values_.data(); }

 private:
  T* data_;
  std::vector<float> values_;
};

constexpr const char* kConvolution = "a convolution";
constexpr const char* kProduct = "a matrix product";

}  // namespace

template <class T>
void conv2d_forward(Cuda device, const T* x, const T* w, const T* bias, T* y,
                    const Conv2dShape& o) {
  if (o.output_size() == 0) return;
  prepare(device, Conv2dPass::kForward, dtype_of<T>, o);
  if (runs_directly(o)) return direct::conv2d_forward(device, x, w, bias, y, o);
  simt::queue_library(device.stream, [=] {
    const Read<T> input(x, o.input_size(), kConvolution),
        weights(w, o.weights_size(), kConvolution), offsets(bias, o.k, kConvolution);
    Written<T> output(y, o.output_size(), kConvolution);
    conv2d_forward(Cpu{}, input.get(), weights.get(), offsets.get(), output.get(), o);
  });
}

template <class T>
void conv2d_add_backward_data(Cuda device, const T* dy, const T* w, const T* z, T* dx,
                              const Conv2dShape& o) {
  if (o.input_size() == 0) return;
  prepare(device, Conv2dPass::kBackwardData, dtype_of<T>, o);
  if (runs_directly(o)) return direct::conv2d_backward_data(device, dy, w, z, dx, o);
  simt::queue_library(device.stream, [=] {
    const Read<T> output(dy, o.output_size(), kConvolution),
        weights(w, o.weights_size(), kConvolution), sum(z, o.input_size(), kConvolution);
    Written<T> input(dx, o.input_size(), kConvolution);
    conv2d_backward_data(Cpu{}, output.get(), weights.get(), input.get(), o);
    if (z == nullptr) return;
    for (int64_t i = 0; i < o.input_size(); ++i) input.get()[i] += sum.get()[i];
  });
}

template <class T>
void conv2d_backward_data(Cuda device, const T* dy, const T* w, T* dx, const Conv2dShape& o) {
  const T* nothing = nullptr;
  conv2d_add_backward_data(device, dy, w, nothing, dx, o);
}

template <class T>
void conv2d_backward_weight(Cuda device, const T* dy, const T* x, T* dw, T* dbias,
                            const Conv2dShape& o) {
  if (dbias != nullptr) sum(device, dy, dbias, 1, {{output_rows(o), o.k}, {true, false}});
  if (o.weights_size() == 0) return;
  prepare(device, Conv2dPass::kBackwardWeight, dtype_of<T>, o);
  if (runs_directly(o)) return direct::conv2d_backward_weight(device, dy, x, dw, o);
  simt::queue_library(device.stream, [=] {
    const Read<T> output(dy, o.output_size(), kConvolution), input(x, o.input_size(), kConvolution);
    Written<T> weights(dw, o.weights_size(), kConvolution);
    conv2d_backward_weight(Cpu{}, output.get(), input.get(), weights.get(), nullptr, o);
  });
}

template <class T>
void conv2d_bias_add_relu(Cuda device, const T* x, const T* w, const float* bias, const T* z, T* y,
                          bool relu, const Conv2dShape& o) {
  const T* none = nullptr;
  conv2d_forward(device, x, w, none, y, o);
  add_bias(device, y, bias, z, relu, output_rows(o), o.k);
}

template <class T>
const char* conv2d_implementation(Cuda, Conv2dPass, const Conv2dShape&) {
  return "direct";
}

template <class T>
void matmul(Cuda device, const T* a, const T* b, const T* bias, T* c, const MatmulShape& o) {
  if (o.m == 0 || o.n == 0) return;
  prepare(device, "matmul",
          {static_cast<int64_t>(dtype_of<T>), o.m, o.n, o.k, int64_t{o.transpose_a},
           int64_t{o.transpose_b}, int64_t{bias != nullptr}});
  simt::queue_library(device.stream, [=] {
    const Read<T> left(a, o.m * o.k, kProduct), right(b, o.k * o.n, kProduct),
        offsets(bias, o.n, kProduct);
    Written<T> result(c, o.m * o.n, kProduct);
    matmul(Cpu{}, left.get(), right.get(), offsets.get(), result.get(), o);
  });
}

#define GLASSNET_INSTANTIATE(T)                                                                  \
  template void conv2d_forward(Cuda, const T*, const T*, const T*, T*, const Conv2dShape&);      \
  template void conv2d_backward_data(Cuda, const T*, const T*, T*, const Conv2dShape&);          \
  template void conv2d_add_backward_data(Cuda, const T*, const T*, const T*, T*,                 \
                                         const Conv2dShape&);                                    \
  template void conv2d_backward_weight(Cuda, const T*, const T*, T*, T*, const Conv2dShape&);    \
  template void conv2d_bias_add_relu(Cuda, const T*, const T*, const float*, const T*, T*, bool, \
                                     const Conv2dShape&);                                        \
  template const char* conv2d_implementation<T>(Cuda, Conv2dPass, const Conv2dShape&);           \
  template void matmul(Cuda, const T*, const T*, const T*, T*, const MatmulShape&);
GLASSNET_INSTANTIATE(float)
GLASSNET_INSTANTIATE(bfloat16)
GLASSNET_INSTANTIATE(float16)

}  // namespace glassnet::kernels
