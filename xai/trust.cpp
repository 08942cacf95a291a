#include "xai/trust.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>

#include <fmt/format.h>

#include "tensor/math.h"
#include "tensor/random.h"

namespace glassnet {
namespace {

constexpr auto kStream = static_cast<uint64_t>(Stream::kUser) + 0x7275;
constexpr double kNoNumber = std::numeric_limits<double>::quiet_NaN();

void require_map(const char* op, const Tensor& image, const Tensor& map) {
  require(image.rank() == 4 && image.dim(0) == 1 && map.rank() == 2 && map.dim(0) == image.dim(1) &&
              map.dim(1) == image.dim(2),
          [&] {
            return fmt::format(
                "[{}] expected an image (1, H, W, C) and a map (H, W), got {} and {}", op,
                image.shape().str(), map.shape().str());
          });
}

// Pixels from the map's highest to its lowest; what is no number comes last.
std::vector<int64_t> pixel_order(const Tensor& map) {
  std::vector<double> values = map.to_vector<double>();
  for (double& value : values) {
    if (std::isnan(value)) value = -HUGE_VAL;
  }
  std::vector<int64_t> order(values.size());
  std::iota(order.begin(), order.end(), int64_t{0});
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
    return values[static_cast<size_t>(a)] > values[static_cast<size_t>(b)];
  });
  return order;
}

double area_below(const std::vector<double>& values) {
  double sum = 0;
  for (size_t i = 1; i < values.size(); ++i) sum += (values[i - 1] + values[i]) / 2;
  return sum / static_cast<double>(values.size() - 1);
}

// Evaluates images that are made one after the other, in batches.
class Batches {
 public:
  Batches(const Tensor& like, const ClassProbability& probability, int batch_size,
          std::function<void(int64_t images)> progress = {})
      : like_(like),
        probability_(probability),
        batch_size_(static_cast<size_t>(batch_size)),
        progress_(std::move(progress)) {
    require(batch_size > 0,
            [] { return std::string("[trust] expected batches of an image or more"); });
  }
  void add(const std::vector<float>& image) {
    pending_.insert(pending_.end(), image.begin(), image.end());
    if (pending_.size() == batch_size_ * image.size()) flush();
  }
  std::vector<double> finish() {
    flush();
    return std::move(results_);
  }

 private:
  void flush() {
    if (pending_.empty()) return;
    const auto count = static_cast<int64_t>(pending_.size()) / like_.numel();
    const Tensor batch = Tensor::from(pending_, {count, like_.dim(1), like_.dim(2), like_.dim(3)});
    const std::vector<double> batch_results =
        probability_(batch.to(like_.dtype()).to(like_.device()));
    results_.insert(results_.end(), batch_results.begin(), batch_results.end());
    pending_.clear();
    if (progress_) progress_(count);
  }

  const Tensor& like_;
  const ClassProbability& probability_;
  size_t batch_size_;
  std::function<void(int64_t images)> progress_;
  std::vector<float> pending_;
  std::vector<double> results_;
};

// From `from` to `to`, pixel by pixel in the map's order.
Curve exchange(const Tensor& image, std::vector<float> from, const std::vector<float>& to,
               const Tensor& map, const ClassProbability& probability,
               const PixelOrderOptions& options) {
  const std::vector<int64_t> order = pixel_order(map);
  require(options.steps > 0, [] { return std::string("[trust] expected a step or more"); });
  const auto channels = static_cast<size_t>(image.dim(3));
  const size_t pixels = order.size(), steps = std::min<size_t>(options.steps, pixels);
  Batches batches(image, probability, options.batch_size, options.progress);
  batches.add(from);
  size_t done = 0;
  for (size_t step = 1; step <= steps; ++step) {
    for (const size_t end = pixels * step / steps; done < end; ++done) {
      const size_t at = static_cast<size_t>(order[done]) * channels;
      std::copy_n(to.begin() + static_cast<std::ptrdiff_t>(at), channels,
                  from.begin() + static_cast<std::ptrdiff_t>(at));
    }
    batches.add(from);
  }
  Curve curve{.probabilities = batches.finish()};
  curve.area = is_blank(map) ? kNoNumber : area_below(curve.probabilities);
  return curve;
}

// Gaussian, at the edge renormalised to the pixels that there are.
std::vector<float> blurred(const Tensor& image) {
  constexpr int kReach = 5;
  constexpr double kWidth = 5;
  const auto height = static_cast<int>(image.dim(1)), width = static_cast<int>(image.dim(2));
  const auto channels = static_cast<int>(image.dim(3));
  std::vector<double> values = image.to_vector<double>();
  const auto along = [&](int extent, int step, int lines, auto&& first) {
    std::vector<double> line(static_cast<size_t>(extent));
    for (int l = 0; l < lines; ++l) {
      double* at = values.data() + first(l);
      for (int i = 0; i < extent; ++i) {
        double sum = 0, weights = 0;
        for (int j = std::max(0, i - kReach); j <= std::min(extent - 1, i + kReach); ++j) {
          const double weight = std::exp(-0.5 * (j - i) * (j - i) / (kWidth * kWidth));
          sum += weight * at[static_cast<std::ptrdiff_t>(j) * step];
          weights += weight;
        }
        line[static_cast<size_t>(i)] = sum / weights;
      }
      for (int i = 0; i < extent; ++i) {
        at[static_cast<std::ptrdiff_t>(i) * step] = line[static_cast<size_t>(i)];
      }
    }
  };
  along(width, channels, height * channels, [&](int l) {
    return static_cast<std::ptrdiff_t>(l / channels) * width * channels + l % channels;
  });
  along(height, width * channels, width * channels, [](int l) { return std::ptrdiff_t{l}; });
  return {values.begin(), values.end()};
}

// Mean ranks from 0 on, of numbers alone: what is none has no place in an order.
std::vector<double> ranks_of(const std::vector<double>& values) {
  std::vector<size_t> order(values.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return values[a] < values[b]; });
  std::vector<double> ranks(values.size());
  for (size_t begin = 0; begin < order.size();) {
    size_t end = begin + 1;
    while (end < order.size() && values[order[end]] == values[order[begin]]) ++end;
    for (size_t i = begin; i < end; ++i) {
      ranks[order[i]] = static_cast<double>(begin + end - 1) / 2;
    }
    begin = end;
  }
  return ranks;
}

bool all_are_numbers(const std::vector<double>& values) {
  return std::ranges::none_of(values, [](double value) { return std::isnan(value); });
}

double norm(const Tensor& x) {
  double square = 0;
  for (const double value : x.to_vector<double>()) square += value * value;
  return std::sqrt(square);
}

// Leaves the parameters random.
std::vector<RandomisedLayer> correlations_as_randomised(
    Module& model, const std::vector<std::string>& layers, const std::vector<Tensor>& images,
    const std::function<Tensor(const Tensor& image)>& explain, uint64_t seed) {
  std::vector<Tensor> maps, explained;
  for (const Tensor& image : images) {
    Tensor map = abs(explain(image));
    if (is_blank(map)) continue;
    maps.push_back(std::move(map));
    explained.push_back(image);
  }
  // Away from the streams of `initialise`: a network that was never trained would get its own
  // parameters back.
  uint64_t stream = uint64_t{1} << 31;
  std::vector<RandomisedLayer> result;
  for (auto layer = layers.rbegin(); layer != layers.rend(); ++layer) {
    for (const auto& [path, below] : model.find(*layer).named_modules()) {
      below->draw_parameters(seed, stream);
    }
    double sum = 0;
    for (size_t i = 0; i < maps.size(); ++i) {
      const Tensor map = abs(explain(explained[i]));
      if (!is_blank(map)) sum += spearman(maps[i], map);
    }
    result.push_back({*layer, sum / static_cast<double>(maps.size())});  // 0 / 0 of no maps
  }
  return result;
}

}  // namespace

ClassProbability probability_of(Module& model, int64_t target) {
  return [&model, target](const Tensor& images) {
    const Evaluating evaluating(model);
    const NoGrad no_grad;
    const Tensor all = softmax(model(Variable(images)).value());
    require(target >= 0 && target < all.dim(-1), [&] {
      return fmt::format("[trust] no class has index {}; the network knows {}", target,
                         all.dim(-1));
    });
    const std::vector<double> values = all.to_vector<double>();
    std::vector<double> result;
    for (size_t i = static_cast<size_t>(target); i < values.size();
         i += static_cast<size_t>(all.dim(-1))) {
      result.push_back(values[i]);
    }
    return result;
  };
}

bool is_blank(const Tensor& map) {
  const std::vector<double> values = map.to_vector<double>();
  // All equal; a NaN that nothing equals is passed over.
  const auto number = std::find_if_not(values.begin(), values.end(),
                                       [](double value) { return std::isnan(value); });
  return std::all_of(number, values.end(),
                     [&](double value) { return std::isnan(value) || value == *number; });
}

Curve deletion(const Tensor& image, const Tensor& map, const ClassProbability& probability,
               const PixelOrderOptions& options) {
  require_map("deletion", image, map);
  const std::vector<float> whole = image.to_vector<float>();
  return exchange(image, whole, std::vector<float>(whole.size(), 0.0F), map, probability, options);
}

Curve insertion(const Tensor& image, const Tensor& map, const ClassProbability& probability,
                const PixelOrderOptions& options) {
  require_map("insertion", image, map);
  return exchange(image, blurred(image), image.to_vector<float>(), map, probability, options);
}

RandomMaps random_maps(const Tensor& image, const ClassProbability& probability, int maps,
                       uint64_t seed, const PixelOrderOptions& options) {
  require(maps > 0, [] { return std::string("[random_maps] expected a map or more"); });
  constexpr int64_t kCells = 7;
  RandomMaps result{.best_deletion = HUGE_VAL, .best_insertion = -HUGE_VAL};
  for (int i = 0; i < maps; ++i) {
    const Tensor cells =
        random_uniform({1, kCells, kCells, 1}, 0, 1, seed, kStream + static_cast<uint64_t>(i));
    const Tensor map =
        resize_bilinear(cells, image.dim(1), image.dim(2)).reshape({image.dim(1), image.dim(2)});
    const double deleted = deletion(image, map, probability, options).area;
    const double inserted = insertion(image, map, probability, options).area;
    result.deletion += deleted / maps;
    result.insertion += inserted / maps;
    result.best_deletion = std::min(result.best_deletion, deleted);
    result.best_insertion = std::max(result.best_insertion, inserted);
  }
  return result;
}

double max_sensitivity(const Tensor& image, const Explainer& explain, double radius, int draws,
                       uint64_t seed) {
  const Tensor before = explain(image);
  const double scale = norm(before);
  if (!(scale > 0) || is_blank(before)) return kNoNumber;
  double largest = 0;
  for (int i = 0; i < draws; ++i) {
    const Tensor shift = random_uniform(image.shape(), -radius, radius, seed,
                                        kStream + static_cast<uint64_t>(i), image.dtype());
    const Tensor after = explain(add(image, shift.to(image.device())));
    largest = std::max(largest, norm(sub(after, before)));
  }
  return largest / scale;
}

double infidelity(const Tensor& image, const Tensor& map, const ClassProbability& probability,
                  const InfidelityOptions& options) {
  require_map("infidelity", image, map);
  require(options.draws > 0 && options.side > 0 && options.side <= 1, [&] {
    return fmt::format("[infidelity] expected a draw or more and a side in (0, 1], got {} and {}",
                       options.draws, options.side);
  });
  const int64_t height = image.dim(1), width = image.dim(2), channels = image.dim(3);
  const auto rows = std::max<int64_t>(1, std::llround(options.side * static_cast<double>(height)));
  const auto columns =
      std::max<int64_t>(1, std::llround(options.side * static_cast<double>(width)));
  const std::vector<float> whole = image.to_vector<float>();
  const std::vector<double> values = map.to_vector<double>();
  Random random(options.seed, kStream);
  Batches batches(image, probability, options.batch_size);
  batches.add(whole);
  std::vector<double> sums;
  for (int i = 0; i < options.draws; ++i) {
    const int64_t y0 = random.below(height - rows + 1), x0 = random.below(width - columns + 1);
    std::vector<float> cut = whole;
    double sum = 0;
    for (int64_t y = y0; y < y0 + rows; ++y) {
      const auto begin = static_cast<size_t>(y * width + x0);
      const auto end = begin + static_cast<size_t>(columns);
      for (size_t at = begin; at < end; ++at) sum += values[at];
      std::fill(cut.begin() + static_cast<std::ptrdiff_t>(begin) * channels,
                cut.begin() + static_cast<std::ptrdiff_t>(end) * channels, 0.0F);
    }
    sums.push_back(sum);
    batches.add(cut);
  }
  const std::vector<double> probabilities = batches.finish();
  double ss = 0, sd = 0, dd = 0;
  for (size_t i = 0; i < sums.size(); ++i) {
    const double drop = probabilities[0] - probabilities[i + 1];
    ss += sums[i] * sums[i];
    sd += sums[i] * drop;
    dd += drop * drop;
  }
  if (dd == 0 || is_blank(map)) return kNoNumber;
  return ss > 0 && sd > 0 ? std::max(0.0, 1 - sd * sd / (ss * dd)) : 1;
}

std::vector<RandomisedLayer> randomise_parameters(
    Module& model, const std::vector<std::string>& layers, const std::vector<Tensor>& images,
    const std::function<Tensor(const Tensor& image)>& explain, uint64_t seed) {
  StateDict before;
  for (const NamedTensor& entry : model.state_dict()) {
    before.push_back({entry.name, entry.tensor.clone()});
  }
  std::vector<RandomisedLayer> result;
  try {
    result = correlations_as_randomised(model, layers, images, explain, seed);
  } catch (...) {
    model.load_state_dict(before);
    throw;
  }
  model.load_state_dict(before);
  return result;
}

double spearman(const Tensor& a, const Tensor& b) {
  require(a.shape() == b.shape(), [&] {
    return fmt::format("[spearman] expected two maps of one shape, got {} and {}", a.shape().str(),
                       b.shape().str());
  });
  const std::vector<double> of_a = a.to_vector<double>(), of_b = b.to_vector<double>();
  if (!all_are_numbers(of_a) || !all_are_numbers(of_b)) return kNoNumber;
  const std::vector<double> x = ranks_of(of_a), y = ranks_of(of_b);
  const double mean = static_cast<double>(x.size() - 1) / 2;
  double xx = 0, xy = 0, yy = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    xx += (x[i] - mean) * (x[i] - mean);
    xy += (x[i] - mean) * (y[i] - mean);
    yy += (y[i] - mean) * (y[i] - mean);
  }
  return xx > 0 && yy > 0 ? xy / std::sqrt(xx * yy) : 0;
}

PointingGame pointing_game(const Tensor& map, const Tensor& mask) {
  require(map.rank() == 2 && map.shape() == mask.shape(), [&] {
    return fmt::format("[pointing_game] expected a map and a mask (H, W), got {} and {}",
                       map.shape().str(), mask.shape().str());
  });
  const std::vector<double> values = map.to_vector<double>(), object = mask.to_vector<double>();
  const double highest = *std::max_element(values.begin(), values.end());
  PointingGame result;
  double positive = 0, inside = 0, covered = 0, peaks = 0, peaks_inside = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    const double on_object = object[i] != 0 ? 1 : 0, value = std::max(values[i], 0.0);
    covered += on_object;
    positive += value;
    inside += on_object * value;
    if (values[i] != highest) continue;
    peaks += 1;
    peaks_inside += on_object;
  }
  result.hit = highest > 0 && !is_blank(map) ? peaks_inside / peaks : 0;
  result.energy = positive > 0 ? inside / positive : kNoNumber;
  result.area = covered / static_cast<double>(values.size());
  return result;
}

}  // namespace glassnet
