// The peer of bench/models_bench.cpp: the same rows with LibTorch, which it reads of the same
// files.
//
//   glassnet_libtorch_bench WHAT MODE FOLDER
//
// MODE is contiguous or channels-last, both eager; for WHAT forward and lime also frozen,
// TorchScript after torch::jit::freeze, and optimized, after optimize_for_inference as well. In
// front of a mode, autocast- is LibTorch's mixed precision of bfloat16, and bf16- a network of that
// type. lime is its samples alone, in batches as large as FOLDER/images.npy: superpixels and masks
// are read, nothing is fitted. Needs LibTorch's C++ headers (Debian's libtorch-dev).
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <functional>
#include <map>
#include <string>

#include <ATen/autocast_mode.h>
#include <fmt/format.h>
#include <torch/script.h>
#include <torch/torch.h>
#include <nlohmann/json.hpp>

#include "bench/row.h"

namespace {

using torch::Tensor;
using Row = bench::Row<Tensor>;

std::string bytes_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error("cannot read " + path);
  return {std::istreambuf_iterator<char>(file), {}};
}

// --- files that our own side wrote ---------------------------------------------------------------

std::map<std::string, Tensor> read_weights(const std::string& path) {
  const std::string file = bytes_of(path);
  uint64_t length = 0;
  std::memcpy(&length, file.data(), sizeof length);
  const auto header = nlohmann::json::parse(file.substr(8, length));
  std::map<std::string, Tensor> weights;
  for (const auto& [name, facts] : header.items()) {
    if (name == "__metadata__") continue;
    const auto type = facts["dtype"] == "I64" ? torch::kInt64 : torch::kFloat32;
    const auto shape = facts["shape"].get<std::vector<int64_t>>();
    const auto* data = file.data() + 8 + length + facts["data_offsets"][0].get<size_t>();
    weights[name] = torch::from_blob(const_cast<char*>(data), shape, type).clone();
  }
  return weights;
}

// float32 in C order
Tensor read_floats(const std::string& path) {
  const std::string file = bytes_of(path);
  uint16_t length = 0;
  std::memcpy(&length, file.data() + 8, sizeof length);
  const std::string header = file.substr(10, length);
  std::vector<int64_t> shape;
  const char* at = header.c_str() + header.find('(') + 1;
  while (*at != ')') {
    char* end = nullptr;
    shape.push_back(std::strtoll(at, &end, 10));
    at = end + std::strspn(end, ", ");
  }
  const char* data = file.data() + 10 + length;
  return torch::from_blob(const_cast<char*>(data), shape, torch::kFloat32).clone();
}

// (N, H, W, 3) -> (N, 3, H, W)
Tensor read_images(const std::string& path) {
  return read_floats(path).permute({0, 3, 1, 2}).contiguous();
}

void save_floats(const std::string& path, const Tensor& given) {
  const Tensor tensor = given.detach().to(torch::kFloat32).contiguous();
  std::string shape;
  for (const int64_t n : tensor.sizes()) shape += fmt::format("{}, ", n);
  std::string header =
      fmt::format("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}), }}", shape);
  header.resize((10 + header.size() + 64) / 64 * 64 - 11, ' ');
  header += '\n';
  const auto length = static_cast<uint16_t>(header.size());
  std::ofstream file(path, std::ios::binary);
  file.write("\x93NUMPY\x01\x00", 8);
  file.write(reinterpret_cast<const char*>(&length), sizeof length);
  file << header;
  file.write(static_cast<const char*>(tensor.data_ptr()), tensor.numel() * 4);
}

// --- a ResNet ------------------------------------------------------------------------------------

// The steps of a network in order, each told to a visitor: eager execution, or TorchScript's text.
class Steps {
 public:
  virtual ~Steps() = default;
  // y = x after a convolution and its batch norm, plus `residual` unless empty, rectified or not.
  virtual void conv(const std::string& y, const std::string& x, const std::string& weights,
                    const std::string& norm, int stride, int padding, const std::string& residual,
                    bool relu) = 0;
  virtual void max_pool(const std::string& x) = 0;
  virtual void classify(const std::string& x) = 0;
};

void resnet(const std::map<std::string, Tensor>& weights, Steps& steps) {
  steps.conv("x", "x", "conv1", "bn1", 2, 3, "", true);
  steps.max_pool("x");
  for (int stage = 1; stage <= 4; ++stage) {
    for (int block = 0;; ++block) {
      const std::string name = fmt::format("layer{}.{}", stage, block);
      if (weights.count(name + ".conv1.weight") == 0) break;
      const int stride = stage > 1 && block == 0 ? 2 : 1;
      const bool deep = weights.count(name + ".conv3.weight") != 0;
      std::string shortcut = "x";
      if (weights.count(name + ".downsample.0.weight") != 0) {
        steps.conv("s", "x", name + ".downsample.0", name + ".downsample.1", stride, 0, "", false);
        shortcut = "s";
      }
      steps.conv("y", "x", name + ".conv1", name + ".bn1", deep ? 1 : stride, deep ? 0 : 1, "",
                 true);
      if (deep) {
        steps.conv("y", "y", name + ".conv2", name + ".bn2", stride, 1, "", true);
        steps.conv("x", "y", name + ".conv3", name + ".bn3", 1, 0, shortcut, true);
      } else {
        steps.conv("x", "y", name + ".conv2", name + ".bn2", 1, 1, shortcut, true);
      }
    }
  }
  steps.classify("x");
}

class Eager : public Steps {
 public:
  Eager(const std::map<std::string, Tensor>& weights, bool training, const Tensor& input)
      : weights_(weights), training_(training) {
    values_["x"] = input;
  }
  void conv(const std::string& y, const std::string& x, const std::string& weights,
            const std::string& norm, int stride, int padding, const std::string& residual,
            bool relu) override {
    const auto w = [&](const std::string& name) { return weights_.at(name); };
    Tensor v = torch::conv2d(values_.at(x), w(weights + ".weight"), {}, stride, padding);
    v = torch::batch_norm(v, w(norm + ".weight"), w(norm + ".bias"), w(norm + ".running_mean"),
                          w(norm + ".running_var"), training_, 0.1, 1e-5, false);
    if (!residual.empty()) v += values_.at(residual);
    values_[y] = relu ? v.relu_() : v;
    if (weights.rfind("layer4", 0) == 0 && !residual.empty()) layer4 = values_[y];
  }
  void max_pool(const std::string& x) override {
    values_[x] = torch::max_pool2d(values_.at(x), 3, 2, 1);
  }
  void classify(const std::string& x) override {
    logits = torch::linear(torch::adaptive_avg_pool2d(values_.at(x), {1, 1}).flatten(1),
                           weights_.at("fc.weight"), weights_.at("fc.bias"));
  }

  Tensor logits, layer4;  // the last of its outputs

 private:
  const std::map<std::string, Tensor>& weights_;
  bool training_;
  std::map<std::string, Tensor> values_;
};

class Script : public Steps {
 public:
  void conv(const std::string& y, const std::string& x, const std::string& weights,
            const std::string& norm, int stride, int padding, const std::string& residual,
            bool relu) override {
    text += fmt::format("  v = torch.conv2d({}, {}, None, {}, {})\n", x,
                        parameter(weights + ".weight"), stride, padding);
    text += fmt::format("  v = torch.batch_norm(v, {}, {}, {}, {}, False, 0.1, 1e-5, False)\n",
                        parameter(norm + ".weight"), parameter(norm + ".bias"),
                        parameter(norm + ".running_mean"), parameter(norm + ".running_var"));
    if (!residual.empty()) text += fmt::format("  v = v + {}\n", residual);
    text += fmt::format("  {} = {}\n", y, relu ? "torch.relu(v)" : "v");
  }
  void max_pool(const std::string& x) override {
    text += fmt::format("  {0} = torch.max_pool2d({0}, [3, 3], [2, 2], [1, 1])\n", x);
  }
  void classify(const std::string& x) override {
    text += fmt::format(
        "  return torch.linear(torch.flatten(torch.adaptive_avg_pool2d({}, [1, 1]), 1), {}, {})\n",
        x, parameter("fc.weight"), parameter("fc.bias"));
  }
  static std::string name_of(std::string name) {
    std::replace(name.begin(), name.end(), '.', '_');
    return name;
  }

  std::string text = "def forward(self, x):\n";

 private:
  static std::string parameter(const std::string& name) { return "self." + name_of(name); }
};

torch::jit::Module scripted(const std::map<std::string, Tensor>& weights, bool optimized) {
  torch::jit::Module module("ResNet");
  module.register_attribute("training", c10::BoolType::get(), false);
  for (const auto& [name, tensor] : weights) {
    module.register_parameter(Script::name_of(name), tensor, /*is_buffer=*/true);
  }
  Script script;
  resnet(weights, script);
  module.define(script.text);
  module = torch::jit::freeze(module);
  return optimized ? torch::jit::optimize_for_inference(module) : module;
}

// --- rows ----------------------------------------------------------------------------------------

bool is_parameter(const std::string& name) {
  return name.find("running_") == name.npos && name.find("num_batches") == name.npos;
}

// Mixed precision for as long as it lives.
class Autocast {
 public:
  explicit Autocast(bool on) : on_(on) {
    if (!on_) return;
    at::autocast::set_autocast_cpu_dtype(torch::kBFloat16);
    at::autocast::set_cpu_enabled(true);
  }
  ~Autocast() {
    if (!on_) return;
    at::autocast::set_cpu_enabled(false);
    at::autocast::clear_cache();
  }
  Autocast(const Autocast&) = delete;
  Autocast& operator=(const Autocast&) = delete;

 private:
  bool on_;
};

// The probabilities of LIME's samples: `forward` of pictures whose superpixels are shown or hidden.
Row lime_row(const std::string& folder, int64_t batch, torch::MemoryFormat format,
             const std::function<Tensor(const Tensor&)>& forward) {
  const Tensor sources = read_images(folder + "/sources.npy");
  const Tensor shown = sources.narrow(0, 0, 1), hidden = sources.narrow(0, 1, 1);
  const Tensor labels = read_floats(folder + "/labels.npy").to(torch::kInt64);
  const Tensor masks = read_floats(folder + "/masks.npy").to(torch::kBool);
  auto last = std::make_shared<Tensor>();
  return {[=] {
            const torch::NoGradGuard no_grad;
            std::vector<Tensor> probabilities;
            for (const Tensor& some : masks.split(batch)) {
              const Tensor at_pixels =
                  some.index_select(1, labels.flatten())
                      .reshape({some.size(0), 1, labels.size(0), labels.size(1)});
              const Tensor x = torch::where(at_pixels, shown, hidden).contiguous(format);
              probabilities.push_back(forward(x).to(torch::kFloat32).softmax(1));
            }
            *last = torch::cat(probabilities);
          },
          [=] { return *last; }};
}

// `prefix` taken off the beginning of a word, if it is there.
bool taken_off(std::string& word, const std::string& prefix) {
  const bool there = word.rfind(prefix, 0) == 0;
  if (there) word.erase(0, prefix.size());
  return there;
}

Row row_of(const std::string& what, std::string mode, std::map<std::string, Tensor> loaded,
           Tensor images, const std::string& folder) {
  const bool casts = taken_off(mode, "autocast-");
  const auto type = taken_off(mode, "bf16-") ? torch::kBFloat16 : torch::kFloat32;
  const auto format =
      mode == "contiguous" ? torch::MemoryFormat::Contiguous : torch::MemoryFormat::ChannelsLast;
  auto weights = std::make_shared<std::map<std::string, Tensor>>();
  for (auto& [name, tensor] : loaded) {
    if (tensor.scalar_type() == torch::kInt64) continue;
    (*weights)[name] = (tensor.dim() == 4 ? tensor.contiguous(format) : tensor).to(type);
  }
  images = images.contiguous(format);
  auto last = std::make_shared<Tensor>();
  const auto result = [=] { return *last; };

  std::function<Tensor(const Tensor&)> forward = [=](const Tensor& x) {
    const c10::InferenceMode inference;
    const Autocast autocast(casts);
    Eager eager(*weights, false, x.to(type));
    resnet(*weights, eager);
    return eager.logits;
  };
  if (mode == "frozen" || mode == "optimized") {
    auto module = std::make_shared<torch::jit::Module>(scripted(*weights, mode == "optimized"));
    forward = [=](const Tensor& x) {
      const torch::NoGradGuard no_grad;
      return module->forward({x.to(type)}).toTensor();
    };
  }
  if (what == "forward") return {[=] { *last = forward(images); }, result};
  if (what == "lime") return lime_row(folder, images.size(0), format, forward);
  if (what == "train") {
    std::vector<Tensor> parameters;
    for (auto& [name, tensor] : *weights) {
      if (is_parameter(name)) parameters.push_back(tensor.requires_grad_());
    }
    auto sgd = std::make_shared<torch::optim::SGD>(
        parameters, torch::optim::SGDOptions(0).momentum(0.9).nesterov(true).weight_decay(5e-4));
    const Tensor labels = torch::arange(images.size(0)).remainder(1000);
    auto& group = static_cast<torch::optim::SGDOptions&>(sgd->param_groups()[0].options());
    const auto step = [=] {
      for (Tensor& p : sgd->param_groups()[0].params()) p.mutable_grad() = Tensor();
      Eager eager(*weights, true, images);
      {
        const Autocast autocast(casts);
        resnet(*weights, eager);
      }
      *last = torch::cross_entropy_loss(eager.logits.to(torch::kFloat32), labels).reshape({1});
      last->backward();
      sgd->step();
    };
    return {step, result, [=, &group](int64_t steps) {
              group.lr(bench::kLearningRate);
              std::vector<Tensor> losses;
              for (int64_t i = 0; i < steps; ++i) {
                step();
                losses.push_back(last->detach());
              }
              *last = torch::cat(losses);
              group.lr(0);
            }};
  }
  const Tensor first = images.narrow(0, 0, 1).contiguous(format);
  if (what == "saliency") {
    return {[=] {
              const Tensor x = first.detach().clone().requires_grad_();
              Eager eager(*weights, false, x);
              resnet(*weights, eager);
              const Tensor gradient = torch::autograd::grad({eager.logits[0][0]}, {x})[0];
              *last = std::get<0>(gradient.abs()[0].max(0));
            },
            result};
  }
  if (what == "gradcam") {
    for (auto& [name, tensor] : *weights) {
      if (name.rfind("layer4", 0) == 0 && is_parameter(name)) tensor.requires_grad_();
    }
    return {[=] {
              Eager eager(*weights, false, first);
              resnet(*weights, eager);
              const Tensor gradient =
                  torch::autograd::grad({eager.logits[0][0]}, {eager.layer4})[0];
              const torch::NoGradGuard no_grad;
              const Tensor cam = (gradient.mean({2, 3}, true) * eager.layer4).sum(1, true).relu();
              *last = torch::upsample_bilinear2d(cam, {first.size(2), first.size(3)}, false)[0][0];
            },
            result};
  }
  throw std::runtime_error("'" + what + "' is no row");
}

void answer(const std::string& what, const std::string& mode, const std::string& folder,
            bench::Clock::time_point begin) {
  // Otherwise Debian's LibTorch takes one.
  if (const char* threads = std::getenv("OMP_NUM_THREADS")) at::set_num_threads(std::stoi(threads));
  const Row row = row_of(what, mode, read_weights(folder + "/weights.safetensors"),
                         read_images(folder + "/images.npy"), folder);
  bench::answer_questions(row, begin, save_floats);
}

}  // namespace

int main(int argc, char** argv) {
  const auto begin = bench::Clock::now();
  if (argc != 4) {
    std::fputs("usage: glassnet_libtorch_bench WHAT MODE FOLDER\n", stderr);
    return 2;
  }
  try {
    answer(argv[1], argv[2], argv[3], begin);
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "glassnet_libtorch_bench: %s\n", error.what());
    return 1;
  }
}
