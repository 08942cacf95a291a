#include "xai/gradients.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numbers>
#include <utility>

#include <fmt/format.h>

#include "nn/layers.h"
#include "nn/shared_forward.h"
#include "tensor/math.h"
#include "tensor/random.h"
#include "xai/cam.h"

namespace glassnet {
namespace {

void require_counts(const char* what, int64_t count, int64_t batch) {
  if (count >= 1 && batch >= 1) return;
  throw UsageError(fmt::format(
      "expected at least one {} and a batch of at least one, got {} and {}", what, count, batch));
}

// The given baseline, or zeros.
Tensor baseline_of(const Tensor& given, const Tensor& image) {
  if (!given.defined()) return Tensor::zeros(image.shape(), image.dtype(), image.device());
  require(given.shape() == image.shape(), [&] {
    return fmt::format("[explain] expected a baseline {}, got {}", image.shape().str(),
                       given.shape().str());
  });
  return given.to(image.dtype()).to(image.device());
}

// Numbers for a batch of images, one each: (N, 1, 1, 1), where and in the type that `like` is.
Tensor one_each(const std::vector<double>& values, const Tensor& like) {
  return Tensor::from(values, {static_cast<int64_t>(values.size()), 1, 1, 1})
      .to(like.dtype())
      .to(like.device());
}

}  // namespace

Tensor largest_magnitude(const Tensor& x) {
  require_image(x);
  return max_last(abs(x)).reshape({x.dim(1), x.dim(2)});
}

Tensor sum_of_channels(const Tensor& x) {
  require_image(x);
  return sum(x, {0, 3});
}

Tensor image_gradients(Module& model, const Tensor& images, const Target& target) {
  return image_gradients_each(model, images, {target});
}

Tensor image_gradients_each(Module& model, const Tensor& images,
                            const std::vector<Target>& targets) {
  const Evaluating evaluating(model);
  const Variable x = leaf(images);
  return grad(sum(score_each(model(x), targets)), {x})[0];
}

Tensor saliency(Module& model, const Tensor& image, const Target& target) {
  require_image(image);
  return largest_magnitude(image_gradients(model, image, target));
}

Tensor input_x_gradient(Module& model, const Tensor& image, const Target& target) {
  require_image(image);
  return mul(image, image_gradients(model, image, target));
}

// --- noise ---------------------------------------------------------------------------------------

namespace {

// Samples [begin, end) of the noise, (end - begin, H, W, 3). A sample is a function of the seed and
// its number, whatever the batch.
Tensor noise_of(const Tensor& image, const NoiseOptions& options, double stddev, int64_t begin,
                int64_t end) {
  if (options.noise.defined()) {
    return options.noise.slice(begin, end).to(image.dtype()).to(image.device());
  }
  std::vector<double> values;
  for (int64_t sample = begin; sample < end; ++sample) {
    const uint64_t stream =
        (static_cast<uint64_t>(Stream::kExplain) << 32) + static_cast<uint64_t>(sample);
    const std::vector<double> drawn =
        random_normal(image.shape(), stddev, options.seed, stream, DType::kFloat64)
            .to_vector<double>();
    values.insert(values.end(), drawn.begin(), drawn.end());
  }
  return Tensor::from(values, {end - begin, image.dim(1), image.dim(2), image.dim(3)})
      .to(image.dtype())
      .to(image.device());
}

// The mean of samples and the sum of their squared distances from it, gathered sample by sample
// (Welford 1962), which loses no digits to large means.
struct Moments {
  int64_t count = 0;
  Tensor mean, squares;

  void add_sample(const Tensor& x) {
    if (count++ == 0) {
      mean = x.clone();
      squares = Tensor::zeros(x.shape(), x.dtype(), x.device());
      return;
    }
    const Tensor from_old = sub(x, mean);
    add_in_place(mean, scale(from_old, 1.0 / static_cast<double>(count)));
    add_in_place(squares, mul(from_old, sub(x, mean)));
  }
};

Moments gradients_under_noise(Module& model, const Tensor& image, const Target& target,
                              const NoiseOptions& options) {
  require_image(image);
  const int64_t samples = options.noise.defined() ? options.noise.dim(0) : options.samples;
  require_counts("sample", samples, options.batch);
  const Shape expected = {samples, image.dim(1), image.dim(2), 3};
  require(!options.noise.defined() || options.noise.shape() == expected, [&] {
    return fmt::format("[explain] expected noise {}, got {}", expected.str(),
                       options.noise.shape().str());
  });
  const Tensor flat = image.reshape({1, image.numel()});
  const double range = max_last(flat).item() + max_last(scale(flat, -1)).item();

  Moments moments;
  for (int64_t begin = 0; begin < samples; begin += options.batch) {
    const int64_t end = std::min(begin + options.batch, samples);
    const Tensor noisy = add(image, noise_of(image, options, options.level * range, begin, end));
    const Tensor gradients = image_gradients(model, noisy, target);
    for (int64_t i = 0; i < end - begin; ++i) moments.add_sample(gradients.slice(i, i + 1));
  }
  return moments;
}

}  // namespace

Tensor smooth_grad(Module& model, const Tensor& image, const Target& target,
                   const NoiseOptions& options) {
  return gradients_under_noise(model, image, target, options).mean;
}

Tensor var_grad(Module& model, const Tensor& image, const Target& target,
                const NoiseOptions& options) {
  const Moments moments = gradients_under_noise(model, image, target, options);
  return scale(moments.squares, 1.0 / static_cast<double>(moments.count));
}

// --- integration ---------------------------------------------------------------------------------

// The nodes are the roots of the Legendre polynomial P_n, found by Newton's method from
// Tricomi's approximation; the recurrence  k P_k = (2k - 1) z P_{k-1} - (k - 1) P_{k-2}  gives P_n,
// and (z^2 - 1) P_n' = n (z P_n - P_{n-1}) its derivative.
Quadrature gauss_legendre(int64_t count) {
  if (count < 1) {
    throw UsageError(fmt::format("expected at least one node to integrate with, got {}", count));
  }
  const auto n = static_cast<double>(count);
  Quadrature rule{std::vector<double>(count), std::vector<double>(count)};
  for (int64_t i = 0; i < count; ++i) {
    double z = std::cos(std::numbers::pi * (static_cast<double>(i) + 0.75) / (n + 0.5));
    double derivative = 0;
    for (int step = 0; step < 100; ++step) {
      double p = 1, before = 0;
      for (int64_t k = 1; k <= count; ++k) {
        const auto order = static_cast<double>(k);
        const double earlier = std::exchange(before, p);
        p = ((2 * order - 1) * z * p - (order - 1) * earlier) / order;
      }
      derivative = n * (z * p - before) / (z * z - 1);
      const double correction = p / derivative;
      z -= correction;
      if (std::abs(correction) < 1e-15) break;
    }
    // From [-1, 1] to [0, 1].
    rule.nodes[count - 1 - i] = 0.5 * (1 + z);
    rule.weights[count - 1 - i] = 1 / ((1 - z * z) * derivative * derivative);
  }
  return rule;
}

Integrated integrated_gradients(Module& model, const Tensor& image, const Target& target,
                                const IntegrationOptions& options) {
  require_image(image);
  require_counts("node", options.nodes, options.batch);
  const Tensor baseline = baseline_of(options.baseline, image);
  const Tensor way = sub(image, baseline);
  const Quadrature rule = gauss_legendre(options.nodes);

  Tensor integral = Tensor::zeros(image.shape(), image.dtype(), image.device());
  for (int64_t begin = 0; begin < options.nodes; begin += options.batch) {
    const int64_t end = std::min(begin + options.batch, options.nodes);
    const auto part = [&](const std::vector<double>& values) {
      return one_each({values.begin() + begin, values.begin() + end}, image);
    };
    const Tensor images = add(baseline, mul(part(rule.nodes), way));
    const Tensor gradients = image_gradients(model, images, target);
    add_in_place(integral, sum(mul(part(rule.weights), gradients), {0}, /*keep_dims=*/true));
  }
  const Tensor attribution = mul(way, integral);
  double total = 0;  // in double, so that the delta is not one of summation
  for (const double value : attribution.to_vector<double>()) total += value;
  const double change = scores(model, image, target)[0] - scores(model, baseline, target)[0];
  return {attribution, total - change};
}

// --- guided backpropagation ----------------------------------------------------------------------

Tensor guided_backprop(Module& model, const Tensor& image, const Target& target) {
  require_image(image);
  // A ReLU's own derivative drops what its input was negative for; a hook on its output's gradient
  // drops negative gradients before that.
  std::vector<HookHandle> hooks;
  for (const auto& [path, module] : model.named_modules()) {
    if (dynamic_cast<ReLU*>(module) == nullptr) continue;
    hooks.push_back(module->on_forward([](const Variable& y) {
      y.on_grad([](const Tensor& gradient) { return relu(gradient); }).keep();
      return y;
    }));
  }
  if (hooks.empty()) {
    throw UsageError("guided backpropagation changes ReLUs, and this network has no such module");
  }
  return image_gradients(model, image, target);
}

Tensor guided_grad_cam(Module& model, const Tensor& image, const Target& target,
                       const std::string& layer) {
  const std::vector<std::string> layers =
      layer.empty() ? std::vector<std::string>{} : std::vector{layer};
  const Tensor at_layer =
      cam(model, image, target, CamMethod::kGradCam, {.layers = layers}).at_layers[0];
  const Tensor map = enlarged(relu(at_layer), image.dim(1), image.dim(2));
  return mul(guided_backprop(model, image, target),
             map.reshape({1, image.dim(1), image.dim(2), 1}));
}

// --- occlusion -----------------------------------------------------------------------------------

namespace {

// What windows share is found for so many of them at a time: for all of a fine stride it would be
// much to remember.
constexpr int64_t kWindowsTogether = 256;

// Rows [top, bottom) and columns [left, right).
struct Window {
  int64_t top, bottom, left, right;

  template <class F>
  void each_pixel(int64_t width, F&& visit) const {
    for (int64_t y = top; y < bottom; ++y) {
      for (int64_t x = left; x < right; ++x) visit(static_cast<size_t>(y * width + x));
    }
  }
};

// Where windows begin along one side, until one reaches the end.
std::vector<int64_t> beginnings(int64_t side, int64_t window, int64_t stride) {
  std::vector<int64_t> result = {0};
  while (result.back() + window < side) result.push_back(result.back() + stride);
  return result;
}

std::vector<Window> windows_over(int64_t height, int64_t width, const OcclusionOptions& options) {
  Pair window = options.window, stride = options.stride;
  if (window.h == 0) window.h = std::max<int64_t>(height / 8, 1);
  if (window.w == 0) window.w = std::max<int64_t>(width / 8, 1);
  if (stride.h == 0) stride.h = (window.h + 1) / 2;
  if (stride.w == 0) stride.w = (window.w + 1) / 2;
  if (window.h < 1 || window.w < 1 || window.h > height || window.w > width || stride.h < 1 ||
      stride.w < 1 || stride.h > window.h || stride.w > window.w) {
    throw UsageError(fmt::format(
        "expected a window that fits into {}x{} and a stride of 1 to the window's side, "
        "got a window of {}x{} and a stride of {}x{}",
        height, width, window.h, window.w, stride.h, stride.w));
  }
  std::vector<Window> windows;
  for (const int64_t top : beginnings(height, window.h, stride.h)) {
    for (const int64_t left : beginnings(width, window.w, stride.w)) {
      windows.push_back(
          {top, std::min(top + window.h, height), left, std::min(left + window.w, width)});
    }
  }
  return windows;
}

// The image, and then one for each window that has the baseline there: mosaics, of which the pixels
// under the same windows are one part.
SharedImages covered_by(const std::vector<Window>& windows, const Tensor& image,
                        const Tensor& baseline) {
  const int64_t height = image.dim(1), width = image.dim(2);
  Tensor sources = Tensor::empty({2, height, width, 3}, image.dtype());
  sources.slice(0, 1).copy_from(image);
  sources.slice(1, 2).copy_from(baseline);
  std::vector<std::vector<size_t>> over(static_cast<size_t>(height * width));  // a pixel's windows
  for (size_t i = 0; i < windows.size(); ++i) {
    windows[i].each_pixel(width, [&](size_t pixel) { over[pixel].push_back(i); });
  }
  std::map<std::vector<size_t>, int32_t> parts;  // by the windows over them
  std::vector<int32_t> part_of;
  std::vector<std::vector<int32_t>> source_of;
  for (const std::vector<size_t>& these : over) {
    const auto [part, is_new] = parts.emplace(these, static_cast<int32_t>(parts.size()));
    part_of.push_back(part->second);
    if (!is_new) continue;
    source_of.emplace_back(1 + windows.size());
    for (const size_t i : these) source_of.back()[1 + i] = 1;
  }
  return SharedImages::mosaics(sources, part_of, source_of);
}

}  // namespace

Tensor occlusion(Module& model, const Tensor& image, const Target& target,
                 const OcclusionOptions& options) {
  require_image(image);
  const int64_t height = image.dim(1), width = image.dim(2);
  const std::vector<Window> windows = windows_over(height, width, options);
  const auto count = static_cast<int64_t>(windows.size());
  require_counts("window", count, options.batch);
  const Tensor here = image.to(Device{});
  const Tensor baseline = baseline_of(options.baseline, here);

  const Evaluating evaluating(model);
  const NoGrad no_grad;
  std::vector<double> fall(static_cast<size_t>(height * width)), covers(fall.size());
  for (int64_t first = 0; first < count; first += kWindowsTogether) {
    const std::vector<Window> some(windows.begin() + first,
                                   windows.begin() + std::min(first + kWindowsTogether, count));
    const auto some_count = static_cast<int64_t>(some.size());
    SharedForward forward(model, covered_by(some, here, baseline));
    const auto next = [&](int64_t images) {
      return score(Variable(forward.next(images)), target).value().to_vector<double>();
    };
    // By the same forward as the others, so that where nothing changes nothing falls.
    const double whole = next(1)[0];
    for (int64_t begin = 0; begin < some_count; begin += options.batch) {
      const int64_t end = std::min(begin + options.batch, some_count);
      const std::vector<double> covered = next(end - begin);
      for (int64_t i = begin; i < end; ++i) {
        some[static_cast<size_t>(i)].each_pixel(width, [&](size_t pixel) {
          fall[pixel] += whole - covered[static_cast<size_t>(i - begin)];
          covers[pixel] += 1;
        });
      }
      if (options.progress) options.progress(first + end, count);
    }
  }
  for (size_t i = 0; i < fall.size(); ++i) fall[i] /= covers[i];
  return Tensor::from(fall, {height, width}).to(image.dtype()).to(image.device());
}

}  // namespace glassnet
