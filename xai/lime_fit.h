// LIME's surrogate: the linear model of a network's answer that explains it near one picture.
// Ribeiro, Singh, Guestrin, "Why should I trust you?", KDD 2016; the numbers are those of its
// reference implementation, lime 0.2.
//
// With z_i in {0, 1}^n the superpixels that sample i shows, k_i how many, and y_i the probability
// of a class:
//   d_i = 1 - sqrt(k_i / n)                  cosine distance from the picture; 1 where k_i = 0
//   w_i = sqrt(exp(-d_i^2 / kernel_width^2))
//   (b, c) = argmin sum_i w_i (y_i - c - b'z_i)^2 + alpha |b|^2
// b are the weights and c the intercept. With x_i = z_i less its weighted mean,
//   A b = X'Wy,   A = X'WX + alpha I.
//
// How far b would move with other random samples is known from one run. b solves
//   sum_i psi_i(b) = alpha b,   psi_i = w_i r_i x_i,   r_i = y_i - c - b'z_i,
// where all but sample 0, which is always the picture, are independent and alike. To first order b
// moves by inverse(A) times what the sum of psi moves, whose covariance is m times that of one psi:
//   V = inverse(A) S inverse(A),
//   S = m / (m - 1) sum_{i >= 1} (psi_i - mean psi)(psi_i - mean psi)',   m = samples - 1.
// This is White's sandwich (Econometrica 1980): it holds whether or not the network is linear, and
// however the residuals' spread depends on the mask. Its mean is taken off because the penalty
// keeps psi from having mean zero; sample 0 is left out because it does not vary. A fit makes its
// own residuals too small, on average by the factor sqrt(1 - h_i) with the leverage
//   h_i = w_i (1 / sum w + x_i' inverse(A) x_i),
// and so r_i / sqrt(1 - h_i) stands for r_i (HC2: MacKinnon and White, J. Econometrics 1985).
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "tensor/tensor.h"
#include "xai/lime_masks.h"

namespace glassnet {

// Which superpixels a class's linear model is made of, when not of all.
enum class LimeSelection {
  kAuto,     // kForward for up to six superpixels, otherwise kHighest
  kForward,  // one after the other, each the one that adds most to R^2, without a penalty
  kHighest,  // those of the largest weights with alpha = 0.01
  kNone,     // all of them
};

struct LimeFitOptions {
  double kernel_width = 0.25;
  double alpha = 1;
  LimeSelection selection = LimeSelection::kAuto;
  int64_t features = 100'000;  // superpixels of a model, at most
};

// CONVENTION: a superpixel that was not selected has weight and standard error 0.
struct LimeResult {
  std::vector<int64_t> classes;  // those explained: class c below is classes[c]
  Tensor weights;                // (classes, superpixels) float64
  Tensor standard_errors;        // (classes, superpixels) float64; 0 where every mask was taken
  std::vector<double> intercepts;
  std::vector<double> scores;             // weighted R^2 on the samples
  std::vector<double> local_predictions;  // what the linear model says of the picture
  // Of each class the selected superpixels, largest |weight| first.
  std::vector<std::vector<int64_t>> rankings;
  // Of each class how many superpixels from the first in the ranking on are sure of their place:
  // |weight| differs from 0, and from that of every later one, by more than two standard errors of
  // the difference. Where two standard errors are less than 5 % of the largest |weight|, it is
  // settled that the difference does not matter, and counts too.
  std::vector<int64_t> settled;

  std::vector<double> prediction;  // (C): the network's probabilities for the picture itself
  int64_t samples = 0;
  bool exact = false;  // every mask was taken once: nothing depends on the seed

  // On request (LimeOptions::float32_samples): how far the weights of a few samples by themselves
  // are from what they are when the network answers in float32, at most.
  std::optional<double> deviation;

  // On request (LimeOptions::keep_samples).
  LimeMasks masks;
  Tensor probabilities;  // (samples, C) float64
};

// w above, (samples).
std::vector<double> lime_kernel_weights(const LimeMasks& masks, double kernel_width);

// probabilities (samples, C), float32 or float64, in the order of the masks.
//
// Where every mask was taken, the sample weights are multiplied by kExactSamples / 2^superpixels:
// so many random samples weigh as much on average, which is what alpha = 1 is meant for, and the
// result is what random sampling of that many scatters around.
//
// Throws UsageError for a class that does not exist and for options that make no sense, Error for
// probabilities that are not numbers.
LimeResult fit_lime(const LimeMasks& masks, const Tensor& probabilities,
                    const std::vector<int64_t>& classes, const LimeFitOptions& options = {});
inline constexpr double kExactSamples = 1000;

// Throws UsageError, saying which one.
void require_options(const LimeFitOptions& options);

}  // namespace glassnet
