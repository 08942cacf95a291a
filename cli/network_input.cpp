#include "cli/network_input.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <omp.h>

#include "autograd/variable.h"
#include "data/input.h"
#include "data/loader.h"
#include "report/terminal.h"
#include "tensor/math.h"

namespace glassnet::cli {

Image prepare_picture(const std::filesystem::path& path, const ModelCard& card) {
  return fit_image(read_image(path), card.image_size, parse_fit(card.fit));
}

Tensor prepare_mask(const std::filesystem::path& mask, const std::filesystem::path& picture,
                    const ModelCard& card) {
  const std::pair<int, int> size = read_image_size(picture);
  const Image whole = read_image(mask);
  require(size == std::pair(whole.height, whole.width), [&] {
    return fmt::format("{} is {} x {} pixels, but its picture {} is {} x {}", mask.string(),
                       whole.width, whole.height, picture.string(), size.second, size.first);
  });
  const Image fitted = fit_image(whole, card.image_size, parse_fit(card.fit));
  std::vector<uint8_t> covered;
  for (size_t i = 0; i < fitted.rgb.size(); i += 3) covered.push_back(fitted.rgb[i] >= 128 ? 1 : 0);
  return Tensor::from(covered, {fitted.height, fitted.width});
}

Tensor network_input(const Image& picture, const ModelCard& card) {
  return to_input(picture, {.mean = card.mean, .stddev = card.std});
}

Tensor logits(Module& model, const Tensor& inputs) {
  const NoGrad guard;
  return model(Variable(inputs.to(model.device()))).value();
}

std::vector<float> probabilities(Module& model, const Tensor& input,
                                 const std::filesystem::path& picture) {
  std::vector<float> result = softmax(logits(model, input)).to_vector<float>();
  require_numbers(result, picture);
  return result;
}

void require_numbers(std::span<const float> answers, const std::filesystem::path& picture,
                     DType type) {
  require(std::ranges::all_of(answers, [](float answer) { return std::isfinite(answer); }), [&] {
    return fmt::format("{}: the network's answers are not all numbers; {}", picture.string(),
                       type == DType::kFloat32
                           ? "its weights hold NaN or infinity, or are too large"
                           : "16 bits may be too few: try --precision fp32");
  });
}

Evaluation evaluate(LoadedModel& network, const std::vector<Sample>& samples, int64_t batch_size,
                    DType type) {
  const ModelCard& card = network.card;
  const Device device = network.model->device();
  // A GPU is quicker than the loader's usual threads, and the other cores that the program may use
  // have nothing to do.
  const bool on_cpu = device.type == DeviceType::kCpu;
  const int threads = on_cpu ? 0 : omp_get_max_threads();
  Loader images(samples, {.image_size = card.image_size,
                          .fit = parse_fit(card.fit),
                          .normalization = {.mean = card.mean, .stddev = card.std},
                          .batch_size = batch_size,
                          .threads = threads,
                          .device = device,
                          .dtype = type});
  Progress progress("evaluating", images.images());
  Evaluation evaluation = evaluate(
      *network.model, images, {.progress = [&](int64_t done, int64_t) { progress.update(done); }});
  progress.finish();
  const std::span<const float> all(evaluation.logits.data<float>(),
                                   static_cast<size_t>(evaluation.logits.numel()));
  const size_t classes = all.size() / samples.size();
  for (size_t i = 0; i < samples.size(); ++i) {
    require_numbers(all.subspan(i * classes, classes), samples[i].path, type);
  }
  return evaluation;
}

}  // namespace glassnet::cli
