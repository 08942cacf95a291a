#include "training/evaluator.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>

#include <fmt/format.h>

#include "data/loader.h"
#include "kernels/error.h"
#include "nn/graphed.h"

namespace glassnet {
Evaluation evaluate_logits(const Tensor& logits, const std::vector<int64_t>& true_classes) {
  require(logits.rank() == 2 && logits.dim(0) == static_cast<int64_t>(true_classes.size()) &&
              logits.numel() > 0,
          [&] {
            return fmt::format("[evaluate] expected logits ({}, classes), got {}",
                               true_classes.size(), logits.shape().str());
          });
  const int64_t classes = logits.dim(1);
  Evaluation result{.true_classes = true_classes, .logits = logits};
  const float* row = logits.data<float>();
  int64_t correct = 0;
  for (const int64_t label : true_classes) {
    require(label >= 0 && label < classes, [&] {
      return fmt::format("[evaluate] expected a class from 0 to {}, got {}", classes - 1, label);
    });
    const int64_t predicted = std::max_element(row, row + classes) - row;
    const double largest = row[predicted];
    double sum = 0;
    for (int64_t c = 0; c < classes; ++c) sum += std::exp(row[c] - largest);
    result.loss += std::log(sum) - (row[label] - largest);
    result.predicted.push_back(predicted);
    result.probability.push_back(static_cast<float>(1 / sum));
    result.true_probability.push_back(static_cast<float>(std::exp(row[label] - largest) / sum));
    correct += predicted == label;
    row += classes;
  }
  const auto images = static_cast<double>(true_classes.size());
  result.loss /= images;
  result.accuracy = static_cast<double>(correct) / images;
  return result;
}

Evaluation evaluate(Module& model, Loader& images, const EvaluateOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  const auto total = static_cast<int64_t>(images.samples().size());
  require(images.images() == total && !images.options().augment, [] {
    return std::string(
        "[evaluate] expected a loader of every image as it is: no variations, no batch left out");
  });
  const Evaluating evaluating(model);
  GraphedForward forward(model);

  Tensor logits;
  std::vector<int64_t> labels(static_cast<size_t>(total));
  int64_t done = 0;
  images.start_epoch(0);
  while (const std::optional<Batch> batch = images.next()) {
    const Tensor part = forward(batch->images).to(DType::kFloat32).to(Device{});
    const int64_t classes = part.dim(-1);
    if (!logits.defined()) logits = Tensor::empty({total, classes});
    for (size_t i = 0; i < batch->indices.size(); ++i) {
      const int64_t index = batch->indices[i];
      std::memcpy(logits.data<float>() + index * classes,
                  part.data<float>() + static_cast<int64_t>(i) * classes,
                  static_cast<size_t>(classes) * sizeof(float));
      labels[static_cast<size_t>(index)] = batch->host_labels[i];
    }
    done += static_cast<int64_t>(batch->indices.size());
    if (options.progress) options.progress(done, total);
  }
  Evaluation result = evaluate_logits(logits, labels);
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return result;
}

}  // namespace glassnet
