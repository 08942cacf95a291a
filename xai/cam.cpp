#include "xai/cam.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include <fmt/format.h>
#include <Eigen/SVD>

#include "models/resnet.h"
#include "tensor/math.h"

namespace glassnet {
namespace {

bool uses_gradients(CamMethod method) {
  return method != CamMethod::kScoreCam && method != CamMethod::kAblationCam &&
         method != CamMethod::kEigenCam;
}

// What a network did with N images at one layer.
struct Seen {
  Tensor activation;  // (N, h, w, K)
  Tensor gradient;    // of the score with respect to it, likewise, or none
  int64_t calls = 0;  // of the layer: a ReLU may serve several times, and the last one counts
};
struct Observation {
  std::vector<Seen> layers;
  Tensor scores;  // (N)
};

Observation observe(Module& model, const Tensor& images, const std::vector<Target>& targets,
                    const std::vector<std::string>& layers, bool differentiate) {
  std::vector<Variable> outputs(layers.size());
  Observation result{.layers = std::vector<Seen>(layers.size())};
  std::vector<HookHandle> hooks;
  // Nothing needs to be recorded before the first of the layers.
  std::optional<NoGrad> unrecorded(std::in_place);
  for (size_t i = 0; i < layers.size(); ++i) {
    hooks.push_back(model.on_forward(layers[i], [&, i](const Variable& out) {
      ++result.layers[i].calls;
      if (!differentiate) return outputs[i] = out;
      unrecorded.reset();
      // A layer after another one stays on that one's path.
      return outputs[i] = out.requires_grad() ? out : leaf(out.value());
    }));
  }
  const Variable y = score_each(model(Variable(images)), targets);
  for (size_t i = 0; i < layers.size(); ++i) {
    if (!outputs[i].defined() || outputs[i].value().rank() != 4) {
      throw UsageError(fmt::format(
          "a class activation map needs a layer whose output has height and width; '{}' has {}",
          layers[i], outputs[i].defined() ? "shape " + outputs[i].shape().str() : "none"));
    }
    result.layers[i].activation = outputs[i].value();
  }
  result.scores = y.value();
  if (!differentiate) return result;
  const std::vector<Tensor> gradients = grad(sum(y), outputs);
  for (size_t i = 0; i < layers.size(); ++i) result.layers[i].gradient = gradients[i];
  return result;
}

// sum_k weights_k A_k: weights (N, 1, 1, K) or (N, h, w, K), A (N, h, w, K) -> (N, h, w).
Tensor weighted_sum(const Tensor& weights, const Tensor& activation) {
  return sum(mul(weights, activation), {3});
}

Tensor sum_over_space(const Tensor& x) {
  return sum(x, {1, 2}, /*keep_dims=*/true);
}

// Only positive gradients count, so that the quotient is needed for those alone.
Tensor grad_cam_plus_plus_weights(const Tensor& a, const Tensor& gradient) {
  const Tensor g = relu(gradient), g2 = mul(g, g), g3 = mul(g2, g);
  const Tensor denominator = add(scale(g2, 2, 1e-6), mul(g3, sum_over_space(a)));
  return sum_over_space(div(g3, denominator));
}

Tensor xgrad_cam_weights(const Tensor& a, const Tensor& gradient) {
  return div(sum_over_space(mul(gradient, a)), scale(sum_over_space(a), 1, 1e-7));
}

// A number for each channel, (1, 1, 1, K), where and in the type that A is.
Tensor for_channels(const std::vector<double>& values, const Tensor& a) {
  return Tensor::from(values, {1, 1, 1, a.dim(3)}).to(a.dtype()).to(a.device());
}

double highest(const Tensor& x) {
  return max_last(x.reshape({1, x.numel()})).item();
}
double lowest(const Tensor& x) {
  return -highest(scale(x, -1));
}

// What all batches of a map need.
struct Batches {
  Module& model;
  const Tensor& image;
  const Target& target;
  int64_t batch;
  std::function<void(int64_t channels)> count;  // as done

  // Calls score(begin, end) for channels [begin, end), and gathers what it gives.
  template <class Score>
  std::vector<double> over_channels(int64_t channels, Score&& score) const {
    std::vector<double> all;
    for (int64_t begin = 0; begin < channels; begin += batch) {
      const int64_t end = std::min(begin + batch, channels);
      const std::vector<double> some = score(begin, end);
      all.insert(all.end(), some.begin(), some.end());
      count(end - begin);
    }
    return all;
  }
};

// (to, from): what takes `from` values along a line to `to` values between the same ends.
Tensor corner_aligned(int64_t from, int64_t to, const Tensor& like) {
  std::vector<double> matrix(static_cast<size_t>(to * from));
  for (int64_t i = 0; i < to; ++i) {
    const double place =
        to == 1 ? 0 : static_cast<double>(i * (from - 1)) / static_cast<double>(to - 1);
    const auto left = std::min(static_cast<int64_t>(place), from - 1);
    const double share = place - static_cast<double>(left);
    matrix[i * from + left] += 1 - share;
    if (share > 0) matrix[i * from + left + 1] += share;
  }
  return Tensor::from(matrix, {to, from}).to(like.dtype()).to(like.device());
}

Tensor product(const Tensor& a, const Tensor& b) {
  return matmul(Variable(a), Variable(b)).value();
}

// maps (n, h, w) -> (n, H, W), rows (H, h), columns (w, W).
Tensor enlarged_by(const Tensor& rows, const Tensor& columns, const Tensor& maps) {
  const int64_t n = maps.dim(0), h = maps.dim(1), w = maps.dim(2);
  const int64_t height = rows.dim(0), width = columns.dim(1);
  const Tensor wide = product(maps.reshape({n * h, w}), columns).reshape({n, h, width});
  const Tensor by_row = wide.permute({1, 0, 2}).reshape({h, n * width});
  return product(rows, by_row).reshape({height, n, width}).permute({1, 0, 2});
}

// Each of (n, H, W) to [0, 1].
Tensor each_scaled(const Tensor& maps) {
  const Shape one_each = {maps.dim(0), 1, 1};
  const Tensor flat = maps.reshape({maps.dim(0), maps.dim(1) * maps.dim(2)});
  const Tensor high = max_last(flat).reshape(one_each);
  const Tensor low = scale(max_last(scale(flat, -1)), -1).reshape(one_each);
  return div(sub(maps, low), scale(sub(high, low), 1, 1e-8));
}

Tensor score_cam_weights(const Tensor& a, const Batches& batches) {
  const Tensor& image = batches.image;
  const int64_t height = image.dim(1), width = image.dim(2);
  const Tensor channels = a.reshape({a.dim(1), a.dim(2), a.dim(3)}).permute({2, 0, 1});
  const Tensor rows = corner_aligned(a.dim(1), height, a);
  const Tensor columns = corner_aligned(a.dim(2), width, a).permute({1, 0});
  std::vector<double> weights = batches.over_channels(a.dim(3), [&](int64_t begin, int64_t end) {
    const Tensor masks = each_scaled(enlarged_by(rows, columns, channels.slice(begin, end)));
    return scores(batches.model, mul(image, masks.reshape({end - begin, height, width, 1})),
                  batches.target);
  });
  const double most = *std::max_element(weights.begin(), weights.end());
  double total = 0;
  for (double& weight : weights) total += weight = std::exp(weight - most);
  for (double& weight : weights) weight /= total;
  return for_channels(weights, a);
}

// The network runs up to the layer on the one image, and from there on with a variant of the
// layer's output for each channel of a batch.
Tensor ablation_cam_weights(const Seen& seen, const std::string& layer, double score,
                            const Batches& batches) {
  const Tensor& a = seen.activation;
  const int64_t channels = a.dim(3);
  const double least = lowest(a), nothing = least == 0 ? 0 : least - 1e7;
  std::vector<double> weights = batches.over_channels(channels, [&](int64_t begin, int64_t end) {
    std::vector<float> kept(static_cast<size_t>((end - begin) * channels), 1);
    for (int64_t k = begin; k < end; ++k) kept[(k - begin) * channels + k] = 0;
    const Tensor keep =
        Tensor::from(kept, {end - begin, 1, 1, channels}).to(a.dtype()).to(a.device());
    const Tensor variants = add(mul(keep, a), scale(keep, -nothing, nothing));
    int64_t call = 0;
    const HookHandle hook = batches.model.on_forward(layer, [&](const Variable& out) {
      return ++call == seen.calls ? Variable(variants) : out;
    });
    return scores(batches.model, batches.image, batches.target);
  });
  const double unit = score == 0 ? 1 : std::abs(score);
  for (double& weight : weights) weight = (score - weight) / unit;
  return for_channels(weights, a);
}

Tensor eigen_cam(const Tensor& a) {
  using Matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  const std::vector<double> values = a.to_vector<double>();
  const Matrix all = Eigen::Map<const Matrix>(values.data(), a.dim(1) * a.dim(2), a.dim(3));
  const Matrix centred = all.rowwise() - all.colwise().mean();
  const Eigen::BDCSVD<Matrix> svd(centred, Eigen::ComputeThinU | Eigen::ComputeThinV);
  Eigen::VectorXd map = centred * svd.matrixV().col(0);
  if (map.dot(all.rowwise().mean()) < 0) map = -map;
  return Tensor::from(std::vector<double>(map.begin(), map.end()), {1, a.dim(1), a.dim(2)})
      .to(a.dtype())
      .to(a.device());
}

// (N, h, w).
Tensor map_by_gradient(CamMethod method, const Seen& seen) {
  const Tensor &a = seen.activation, &g = seen.gradient;
  switch (method) {
    case CamMethod::kGradCam:
      return weighted_sum(mean(g, {1, 2}, /*keep_dims=*/true), a);
    case CamMethod::kGradCamPlusPlus:
      return weighted_sum(grad_cam_plus_plus_weights(a, g), a);
    case CamMethod::kHiResCam:
      return weighted_sum(g, a);
    case CamMethod::kLayerCam:
      return weighted_sum(relu(g), a);
    case CamMethod::kXGradCam:
      return weighted_sum(xgrad_cam_weights(a, g), a);
    default:
      throw Error("[cam] expected a method that differentiates");
  }
}

// (1, h, w), of one image.
Tensor map_of(CamMethod method, const Seen& seen, const std::string& layer, const Tensor& score,
              const Batches& batches) {
  const Tensor& a = seen.activation;
  switch (method) {
    case CamMethod::kScoreCam:
      return weighted_sum(score_cam_weights(a, batches), a);
    case CamMethod::kAblationCam:
      return weighted_sum(ablation_cam_weights(seen, layer, score.item(), batches), a);
    case CamMethod::kEigenCam:
      return eigen_cam(a);
    default:
      return map_by_gradient(method, seen);
  }
}

}  // namespace

Cam cam(Module& model, const Tensor& image, const Target& target, CamMethod method,
        const CamOptions& options) {
  require_image(image);
  if (options.batch < 1) {
    throw UsageError(fmt::format("expected a batch of at least one, got {}", options.batch));
  }
  const Evaluating evaluating(model);
  const std::vector<std::string> layers =
      options.layers.empty() ? std::vector{last_stage(model)} : options.layers;
  const Observation seen = observe(model, image, {target}, layers, uses_gradients(method));

  int64_t done = 0, total = 0;
  for (const Seen& layer : seen.layers) total += layer.activation.dim(3);
  const Batches batches{model, image, target, options.batch, [&](int64_t channels) {
                          done += channels;
                          if (options.progress) options.progress(done, total);
                        }};
  const int64_t height = image.dim(1), width = image.dim(2);
  Cam result{.map = Tensor::zeros({height, width}, image.dtype(), image.device())};
  for (size_t i = 0; i < layers.size(); ++i) {
    const Tensor& a = seen.layers[i].activation;
    const Tensor map = map_of(method, seen.layers[i], layers[i], seen.scores, batches)
                           .reshape({a.dim(1), a.dim(2)});
    add_in_place(result.map, enlarged(scaled(relu(map)), height, width));
    result.at_layers.push_back(map);
  }
  result.map = scaled(scale(result.map, 1.0 / static_cast<double>(layers.size())));
  return result;
}

Tensor cam_each(Module& model, const Tensor& images, const std::vector<Target>& targets,
                CamMethod method, const std::string& layer) {
  require(uses_gradients(method),
          [] { return std::string("[cam] expected a method that differentiates"); });
  const Evaluating evaluating(model);
  const std::string at = layer.empty() ? last_stage(model) : layer;
  return map_by_gradient(method, observe(model, images, targets, {at}, true).layers[0]);
}

Tensor scaled(const Tensor& map) {
  const Tensor risen = scale(map, 1, -lowest(map));
  return scale(risen, 1 / (1e-7 + highest(risen)));
}

Tensor enlarged(const Tensor& map, int64_t height, int64_t width) {
  return resize_bilinear(map.reshape({1, map.dim(0), map.dim(1), 1}), height, width)
      .reshape({height, width});
}

}  // namespace glassnet
