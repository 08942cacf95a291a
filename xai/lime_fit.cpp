#include "xai/lime_fit.h"

#include <Eigen/Dense>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

#include <fmt/format.h>

namespace glassnet {
namespace {

using Eigen::MatrixXd;
using Eigen::VectorXd;
using Indices = std::vector<int64_t>;

constexpr double kSelectionAlpha = 0.01;
constexpr int64_t kMostForward = 6;     // above, kAuto takes the highest weights
constexpr double kSure = 2;             // standard errors
constexpr double kNegligible = 0.05;    // of the largest |weight|
constexpr double kLeastSpread = 1e-10;  // of a superpixel's own, below which others explain it

// The samples, centred by their weighted means.
struct Samples {
  MatrixXd x;      // (samples, n)
  VectorXd means;  // (n)
  VectorXd w;      // (samples)
  double total;    // sum of w
  MatrixXd gram;   // (n, n): X'WX
};

Samples samples_of(const LimeMasks& masks, double kernel_width) {
  const int64_t samples = masks.samples(), n = masks.superpixels;
  Samples s;
  const std::vector<double> weights = lime_kernel_weights(masks, kernel_width);
  s.w = Eigen::Map<const VectorXd>(weights.data(), samples);
  if (masks.every_mask) s.w *= kExactSamples / static_cast<double>(samples);
  s.total = s.w.sum();
  s.x.resize(samples, n);
  for (int64_t j = 0; j < n; ++j) {
    for (int64_t i = 0; i < samples; ++i) s.x(i, j) = masks.shows(i, j) ? 1 : 0;
  }
  s.means = s.x.transpose() * s.w / s.total;
  s.x.rowwise() -= s.means.transpose();
  s.gram = s.x.transpose() * s.w.asDiagonal() * s.x;
  return s;
}

// Positions of the largest |values| first; equal ones stay in order.
void sort_by_size(Indices& positions, const VectorXd& values) {
  std::stable_sort(positions.begin(), positions.end(),
                   [&](int64_t a, int64_t b) { return std::abs(values(a)) > std::abs(values(b)); });
}

Indices all_of(int64_t n) {
  Indices indices(static_cast<size_t>(n));
  std::iota(indices.begin(), indices.end(), 0);
  return indices;
}

// Each time the superpixel whose part that the chosen ones do not explain, explains most of the
// rest of y; the first of equal ones. `cross` (n) is X'Wy.
Indices select_forward(MatrixXd gram, VectorXd cross, int64_t count) {
  const VectorXd spread = gram.diagonal();
  Indices chosen, rest = all_of(gram.rows());
  while (static_cast<int64_t>(chosen.size()) < count) {
    auto best = rest.begin();
    double best_gain = -1;
    for (auto j = rest.begin(); j != rest.end(); ++j) {
      const bool independent = gram(*j, *j) > kLeastSpread * spread(*j);
      const double gain = independent ? cross(*j) * cross(*j) / gram(*j, *j) : 0;
      if (gain > best_gain) {
        best = j;
        best_gain = gain;
      }
    }
    const int64_t j = *best;
    rest.erase(best);
    chosen.push_back(j);
    if (best_gain <= 0) continue;
    // What is left of everything after it has been projected on the new one.
    const VectorXd along = gram.col(j) / std::sqrt(gram(j, j));
    cross -= along * (cross(j) / std::sqrt(gram(j, j)));
    gram -= along * along.transpose();
  }
  return chosen;
}

Indices select(const Samples& s, const VectorXd& cross, const LimeFitOptions& options) {
  const int64_t n = s.gram.rows(), count = std::min(options.features, n);
  LimeSelection selection = options.selection;
  if (selection == LimeSelection::kAuto) {
    selection =
        options.features <= kMostForward ? LimeSelection::kForward : LimeSelection::kHighest;
  }
  Indices chosen = all_of(n);
  if (selection == LimeSelection::kNone) return chosen;
  if (selection == LimeSelection::kForward) return select_forward(s.gram, cross, count);
  const MatrixXd penalised = s.gram + kSelectionAlpha * MatrixXd::Identity(n, n);
  sort_by_size(chosen, penalised.ldlt().solve(cross));
  chosen.resize(static_cast<size_t>(count));
  return chosen;
}

// What the fits of all classes that are made of the same superpixels share.
struct Design {
  MatrixXd x;         // (samples, used)
  MatrixXd inverse;   // (used, used): of A
  VectorXd leverage;  // (samples)
};

Design design_of(const Samples& s, const Indices& used, double alpha) {
  Design d;
  d.x = s.x(Eigen::all, used);
  const MatrixXd identity = MatrixXd::Identity(d.x.cols(), d.x.cols());
  d.inverse = (s.gram(used, used) + alpha * identity).ldlt().solve(identity);
  d.leverage =
      s.w.array() * (1 / s.total + (d.x * d.inverse).cwiseProduct(d.x).rowwise().sum().array());
  return d;
}

// V of the header, (used, used).
MatrixXd covariance(const Samples& s, const Design& d, const VectorXd& residuals) {
  constexpr double kLeast = 1e-9;  // of 1 - h, for a sample that the fit goes through
  const VectorXd corrected = residuals.array() / (1 - d.leverage.array()).max(kLeast).sqrt();
  const int64_t random = d.x.rows() - 1;
  MatrixXd psi = s.w.cwiseProduct(corrected).asDiagonal() * d.x;
  psi = psi.bottomRows(random).eval();
  psi.rowwise() -= psi.colwise().mean().eval();
  const MatrixXd moved = psi * d.inverse;
  return static_cast<double>(random) / static_cast<double>(random - 1) * moved.transpose() * moved;
}

// LimeResult::settled. `weights` and `covariance` are those of `order`'s superpixels, in order.
int64_t count_settled(const VectorXd& weights, const MatrixXd& covariance) {
  if (weights.size() == 0) return 0;
  const double largest = std::abs(weights(0));
  const auto is_settled = [&](double difference, double variance) {
    const double margin = kSure * std::sqrt(std::max(variance, 0.0));
    return difference > margin || margin <= kNegligible * largest;
  };
  for (int64_t i = 0; i < weights.size(); ++i) {
    const double size = std::abs(weights(i)), sign = weights(i) < 0 ? -1 : 1;
    if (!is_settled(size, covariance(i, i))) return i;
    for (int64_t j = i + 1; j < weights.size(); ++j) {
      const double other_sign = weights(j) < 0 ? -1 : 1;
      const double variance =
          covariance(i, i) + covariance(j, j) - 2 * sign * other_sign * covariance(i, j);
      if (!is_settled(size - std::abs(weights(j)), variance)) return i;
    }
  }
  return weights.size();
}

double weighted_score(const VectorXd& w, const VectorXd& residuals, const VectorXd& centred) {
  const double unexplained = w.dot(residuals.cwiseAbs2()), all = w.dot(centred.cwiseAbs2());
  if (all == 0) return unexplained == 0 ? 1 : 0;
  return 1 - unexplained / all;
}

}  // namespace

void require_options(const LimeFitOptions& options) {
  if (!(options.kernel_width > 0)) {
    throw UsageError(fmt::format("LIME's kernel width has to be above 0, not {}; 0.25 is usual",
                                 options.kernel_width));
  }
  if (!(options.alpha > 0)) {
    throw UsageError(
        fmt::format("LIME's penalty has to be above 0, not {}; 1 is usual", options.alpha));
  }
  if (options.features < 1) {
    throw UsageError(
        fmt::format("LIME needs at least one superpixel for its model, not {}", options.features));
  }
}

std::vector<double> lime_kernel_weights(const LimeMasks& masks, double kernel_width) {
  const auto n = static_cast<double>(masks.superpixels);
  std::vector<double> weights;
  weights.reserve(static_cast<size_t>(masks.samples()));
  for (int64_t i = 0; i < masks.samples(); ++i) {
    const double distance = 1 - std::sqrt(static_cast<double>(masks.shown(i)) / n);
    weights.push_back(std::sqrt(std::exp(-distance * distance / (kernel_width * kernel_width))));
  }
  return weights;
}

LimeResult fit_lime(const LimeMasks& masks, const Tensor& probabilities,
                    const std::vector<int64_t>& classes, const LimeFitOptions& options) {
  require_options(options);
  const int64_t samples = masks.samples(), n = masks.superpixels;
  require(probabilities.rank() == 2 && probabilities.dim(0) == samples, [&] {
    return fmt::format("[fit_lime] expected probabilities ({}, classes), got {}", samples,
                       probabilities.shape().str());
  });
  // Two random samples have a spread; every mask of one superpixel are two.
  require(samples >= (masks.every_mask ? 2 : 3), [&] {
    return fmt::format("[fit_lime] a fit needs at least 3 samples, got {}", samples);
  });
  const int64_t known = probabilities.dim(1);
  using Rows = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  const Tensor doubles = probabilities.to(DType::kFloat64);
  const Eigen::Map<const Rows> all(doubles.data<double>(), samples, known);

  require(all.allFinite(), [] {
    return std::string(
        "LIME cannot explain answers that are not numbers; in 16 bits a network's may "
        "overflow, in float32 they should not");
  });

  LimeResult result{.classes = classes, .samples = samples, .exact = masks.every_mask};
  const Shape shape({static_cast<int64_t>(classes.size()), n});
  result.weights = Tensor::zeros(shape, DType::kFloat64);
  result.standard_errors = Tensor::zeros(shape, DType::kFloat64);
  result.prediction.assign(doubles.data<double>(), doubles.data<double>() + known);

  const Samples s = samples_of(masks, options.kernel_width);
  std::map<Indices, Design> designs;
  for (size_t c = 0; c < classes.size(); ++c) {
    if (classes[c] < 0 || classes[c] >= known) {
      throw UsageError(
          fmt::format("no class has index {}; the network knows {} classes", classes[c], known));
    }
    const VectorXd y = all.col(classes[c]);
    const double mean = s.w.dot(y) / s.total;
    const VectorXd centred = y.array() - mean;
    const VectorXd cross = s.x.transpose() * s.w.cwiseProduct(centred);

    Indices ranking = select(s, cross, options);
    Indices used = ranking;
    std::sort(used.begin(), used.end());
    auto design = designs.find(used);
    if (design == designs.end()) {
      design = designs.emplace(used, design_of(s, used, options.alpha)).first;
    }
    const Design& d = design->second;
    const VectorXd b = d.inverse * cross(used);
    const VectorXd residuals = centred - d.x * b;
    MatrixXd v = MatrixXd::Zero(b.size(), b.size());
    if (!masks.every_mask) v = covariance(s, d, residuals);

    VectorXd weights = VectorXd::Zero(n);
    weights(used) = b;
    MatrixXd spread = MatrixXd::Zero(n, n);
    spread(used, used) = v;
    sort_by_size(ranking, weights);
    const double intercept = mean - s.means.dot(weights);
    result.intercepts.push_back(intercept);
    result.scores.push_back(weighted_score(s.w, residuals, centred));
    result.local_predictions.push_back(intercept + weights.sum());
    result.settled.push_back(count_settled(weights(ranking), spread(ranking, ranking)));
    result.rankings.push_back(std::move(ranking));
    for (int64_t j = 0; j < n; ++j) {
      const int64_t at = static_cast<int64_t>(c) * n + j;
      result.weights.data<double>()[at] = weights(j);
      result.standard_errors.data<double>()[at] = std::sqrt(spread(j, j));
    }
  }
  return result;
}

}  // namespace glassnet
