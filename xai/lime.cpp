#include "xai/lime.h"

#include <algorithm>
#include <cstring>
#include <deque>
#include <memory>
#include <numeric>
#include <unordered_map>

#include <fmt/format.h>

#include "kernels/perturb.h"
#include "nn/graphed.h"
#include "tensor/math.h"

namespace glassnet {
namespace {

constexpr int64_t kSettledSuperpixels = 5;  // what kAuto waits for

void require_options(const LimeOptions& options) {
  require_options(options.fit);
  const auto need = [](int64_t value, int64_t least, const char* what) {
    if (value < least) {
      throw UsageError(fmt::format("LIME needs {} of at least {}, not {}", what, least, value));
    }
  };
  if (options.sampling == LimeSampling::kFixed) need(options.samples, 3, "a number of samples");
  if (options.sampling == LimeSampling::kAuto) {
    need(options.chunk, 3, "a chunk of samples");
    need(options.max_samples, options.chunk, "a limit of samples");
  }
  need(options.top_classes, 1, "a number of classes");
  need(options.batch_size, 1, "a batch size");
}

// `values` in a device's memory.
template <class T>
Tensor upload(const std::vector<T>& values, Device device) {
  const size_t bytes = values.size() * sizeof(T);
  Tensor host = Tensor::empty({static_cast<int64_t>(bytes)}, DType::kUInt8);
  if (bytes > 0) std::memcpy(host.raw(), values.data(), bytes);
  return host.to(device);
}

bool takes_every_mask(const LimeOptions& options, int64_t superpixels) {
  if (options.sampling != LimeSampling::kAuto) return options.sampling == LimeSampling::kExact;
  return superpixels <= kMostEnumeratedSuperpixels &&
         int64_t{1} << superpixels <= options.max_samples;
}

// A picture on its way: its samples, and what the network has said of them so far.
class Explanation {
 public:
  Explanation(int64_t number, LimeJob job, Device device, const LimeOptions& options)
      : number_(number),
        classes_(std::move(job.classes)),
        device_(device),
        options_(options),
        stream_(options.seed) {
    const Image hidden = hide_superpixels(job.picture, job.superpixels, options.color);
    const std::vector<int64_t> labels = job.superpixels.labels.to_vector<int64_t>();
    picture_ = upload(job.picture.rgb, device);
    hidden_ = upload(hidden.rgb, device);
    labels_ = upload(std::vector<int32_t>(labels.begin(), labels.end()), device);
    masks_.superpixels = job.superpixels.count;
    if (takes_every_mask(options, job.superpixels.count)) {
      masks_ = every_lime_mask(job.superpixels.count);
    } else {
      stream_.append(masks_,
                     options.sampling == LimeSampling::kFixed ? options.samples : options.chunk);
    }
    shown_ = upload(masks_.bits, device);
  }

  int64_t number() const { return number_; }

  // The samples that the network has yet to see. One whose mask was drawn before is not among them;
  // with few superpixels many are.
  std::vector<int64_t> open_samples() {
    std::vector<int64_t> open;
    for (int64_t i = static_cast<int64_t>(source_.size()); i < masks_.samples(); ++i) {
      int64_t source = i;
      if (masks_.words() == 1) source = first_.emplace(*masks_.row(i), i).first->second;
      source_.push_back(source);
      if (source == i) open.push_back(i);
    }
    waiting_ = static_cast<int64_t>(open.size());
    return open;
  }

  kernels::PerturbedSample sample(int64_t i) const {
    return {static_cast<const uint8_t*>(picture_.raw()), static_cast<const uint8_t*>(hidden_.raw()),
            static_cast<const int32_t*>(labels_.raw()),
            static_cast<const uint32_t*>(shown_.raw()) + i * masks_.words()};
  }

  // What the network says of a sample. True when it has now seen all of them.
  bool answer(int64_t i, const float* probabilities, int64_t classes) {
    known_classes_ = classes;
    answers_.resize(static_cast<size_t>(masks_.samples() * classes));
    std::copy_n(probabilities, classes, &answers_[static_cast<size_t>(i * classes)]);
    return --waiting_ == 0;
  }

  // The explanation from all samples; none when more were drawn, which are open.
  std::optional<LimeResult> finish() {
    const int64_t samples = masks_.samples(), classes = known_classes_;
    for (int64_t i = 0; i < samples; ++i) {
      const int64_t from = source_[static_cast<size_t>(i)];
      if (from == i) continue;
      std::copy_n(&answers_[static_cast<size_t>(from * classes)], classes,
                  &answers_[static_cast<size_t>(i * classes)]);
    }
    if (classes_.empty()) classes_ = most_probable();
    const Tensor probabilities = Tensor::from(answers_, {samples, classes}).to(DType::kFloat64);
    LimeResult result = fit_lime(masks_, probabilities, classes_, options_.fit);
    if (wants_more(result)) {
      stream_.append(masks_, std::min(options_.chunk, options_.max_samples - samples));
      shown_ = upload(masks_.bits, device_);
      return {};
    }
    if (options_.keep_samples) {
      result.masks = std::move(masks_);
      result.probabilities = probabilities;
    }
    return result;
  }

 private:
  // Of the picture itself; the first of equally probable ones.
  std::vector<int64_t> most_probable() const {
    std::vector<int64_t> order(static_cast<size_t>(known_classes_));
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
      return answers_[static_cast<size_t>(a)] > answers_[static_cast<size_t>(b)];
    });
    order.resize(static_cast<size_t>(std::min(options_.top_classes, known_classes_)));
    return order;
  }

  bool wants_more(const LimeResult& result) const {
    if (options_.sampling != LimeSampling::kAuto || result.exact) return false;
    if (masks_.samples() >= options_.max_samples) return false;
    for (size_t c = 0; c < result.classes.size(); ++c) {
      const auto selected = static_cast<int64_t>(result.rankings[c].size());
      if (result.settled[c] < std::min(kSettledSuperpixels, selected)) return true;
    }
    return false;
  }

  int64_t number_;
  std::vector<int64_t> classes_;
  Device device_;
  const LimeOptions& options_;
  LimeMaskStream stream_;
  LimeMasks masks_;
  Tensor picture_, hidden_, labels_, shown_;     // on the device, for PerturbedSample
  std::vector<float> answers_;                   // (samples, C)
  int64_t known_classes_ = 0;                    // C
  std::vector<int64_t> source_;                  // (samples): the first sample with the same mask
  std::unordered_map<uint32_t, int64_t> first_;  // the first sample with a mask
  int64_t waiting_ = 0;                          // samples that the network has not seen yet
};

struct OpenSample {
  std::shared_ptr<Explanation> explanation;
  int64_t sample;
};

}  // namespace

void lime_stream(Module& model, const std::function<std::optional<LimeJob>()>& next,
                 const std::function<void(int64_t job, LimeResult result)>& done,
                 const LimeOptions& options) {
  require_options(options);
  const Evaluating evaluating(model);
  GraphedForward forward(model);
  const Device device = model.device();
  const kernels::ImageScale scale = scale_of(options.normalization);
  int height = 0, width = 0;
  int64_t jobs = 0, finished = 0, seen = 0;
  bool more = true;
  std::deque<OpenSample> open;
  // Opens the samples that an explanation still needs, or hands it over.
  const auto advance = [&](const std::shared_ptr<Explanation>& explanation) {
    for (;;) {
      const std::vector<int64_t> samples = explanation->open_samples();
      for (const int64_t i : samples) open.push_back({explanation, i});
      if (!samples.empty()) return;
      if (std::optional<LimeResult> result = explanation->finish()) {
        done(explanation->number(), std::move(*result));
        ++finished;
        return;
      }
    }
  };
  const auto start = [&](LimeJob job) {
    if (jobs == 0) {
      height = job.picture.height;
      width = job.picture.width;
    }
    require(job.picture.height == height && job.picture.width == width, [&] {
      return fmt::format("[lime] expected pictures of one size, got ({}, {}) after ({}, {})",
                         job.picture.height, job.picture.width, height, width);
    });
    advance(std::make_shared<Explanation>(jobs++, std::move(job), device, options));
  };

  for (;;) {
    while (more && static_cast<int64_t>(open.size()) < options.batch_size) {
      std::optional<LimeJob> job = next();
      more = job.has_value();
      if (more) start(std::move(*job));
    }
    if (open.empty()) return;
    const int64_t count = std::min(options.batch_size, static_cast<int64_t>(open.size()));
    std::vector<OpenSample> batch(open.begin(), open.begin() + count);
    open.erase(open.begin(), open.begin() + count);

    std::vector<kernels::PerturbedSample> samples;
    for (const OpenSample& one : batch) samples.push_back(one.explanation->sample(one.sample));
    const Tensor table = upload(samples, device);
    Tensor x = Tensor::empty({count, height, width, 3}, options.precision, device);
    on("lime", x, [&](auto tag, auto zero) {
      using T = decltype(zero);
      if constexpr (std::is_same_v<T, double>) {
        refuse_dtype("lime", x.dtype(), device);
      } else {
        kernels::perturb(tag, static_cast<const kernels::PerturbedSample*>(table.raw()), count,
                         int64_t{height} * width, x.data<T>(), scale);
      }
    });
    const Tensor answers = softmax(forward(x).to(DType::kFloat32)).to(Device{});
    const int64_t classes = answers.dim(1);

    seen += count;
    for (int64_t k = 0; k < count; ++k) {
      const auto& [explanation, sample] = batch[static_cast<size_t>(k)];
      if (explanation->answer(sample, answers.data<float>() + k * classes, classes)) {
        advance(explanation);
      }
    }
    if (options.progress) options.progress(finished, seen);
  }
}

std::vector<LimeResult> lime_many(Module& model, const std::vector<LimeJob>& jobs,
                                  const LimeOptions& options) {
  std::vector<LimeResult> results(jobs.size());
  size_t given = 0;
  lime_stream(
      model,
      [&]() -> std::optional<LimeJob> {
        if (given == jobs.size()) return {};
        return jobs[given++];
      },
      [&](int64_t job, LimeResult result) {
        results[static_cast<size_t>(job)] = std::move(result);
      },
      options);
  return results;
}

LimeResult lime(Module& model, const LimeJob& job, const LimeOptions& options) {
  return lime_many(model, {job}, options)[0];
}

}  // namespace glassnet
