#include "xai/lime.h"

#include <algorithm>
#include <cmath>
#include <deque>
#include <iterator>
#include <memory>
#include <numeric>
#include <type_traits>
#include <unordered_map>
#include <utility>

#include <fmt/format.h>

#include "kernels/perturb.h"
#include "nn/graphed.h"
#include "nn/shared_forward.h"
#include "tensor/math.h"
#include "tensor/overlap.h"

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
  need(options.batch_size.value_or(1), 1, "a batch size");
}

// A GPU takes so many samples at once that their pixels are those of 256 of 150 x 150. The last
// stage of a ResNet sees 5 x 5 pixels of such a sample; of 64 samples two of its three layers are
// matrices of 1,600 x 512, or 52 tiles of 128 x 128 for the 132 multiprocessors of an H200. With
// 256 all have work, and more would only take memory. A CPU is busy with 64.
int64_t usual_batch_size(Device device, int64_t pixels) {
  if (device.type == DeviceType::kCpu) return 64;
  constexpr int64_t kPixels = 256 * 150 * 150;
  return std::clamp<int64_t>(kPixels / pixels / 8 * 8, 8, 1024);
}

// Batches that are queued at once: on a GPU, so many that it is not done with them before the host
// has finished one picture and begun another.
int64_t batches_ahead(Device device) {
  return device.type == DeviceType::kCpu ? 1 : 8;
}

bool takes_every_mask(const LimeOptions& options, int64_t superpixels) {
  if (options.sampling != LimeSampling::kAuto) return options.sampling == LimeSampling::kExact;
  return superpixels <= kMostEnumeratedSuperpixels &&
         int64_t{1} << superpixels <= options.max_samples;
}

// Superpixels in the order of how many windows look at them, that is windows of half the picture's
// sides: samples that agree in the first ones share the most.
std::vector<size_t> most_seen_first(const Superpixels& superpixels, int64_t height, int64_t width) {
  struct Box {
    int64_t top, left, bottom = 0, right = 0;
  };
  std::vector<Box> boxes(static_cast<size_t>(superpixels.count), {height, width});
  const std::vector<int64_t> labels = superpixels.labels.to_vector<int64_t>();
  for (int64_t p = 0; p < height * width; ++p) {
    Box& box = boxes[static_cast<size_t>(labels[static_cast<size_t>(p)])];
    const int64_t y = p / width, x = p % width;
    box = {std::min(box.top, y), std::min(box.left, x), std::max(box.bottom, y + 1),
           std::max(box.right, x + 1)};
  }
  const auto seen = [&](size_t j) {
    const Box& box = boxes[j];
    return (std::min(box.bottom + height / 4, height) -
            std::max<int64_t>(box.top - height / 4, 0)) *
           (std::min(box.right + width / 4, width) - std::max<int64_t>(box.left - width / 4, 0));
  };
  std::vector<size_t> order(boxes.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return seen(a) > seen(b); });
  return order;
}

// A picture on its way: its samples, and what the network has said of them so far.
class Explanation {
 public:
  Explanation(int64_t number, LimeJob job, const LimeOptions& options)
      : number_(number), job_(std::move(job)), options_(options), stream_(options.seed) {
    require_superpixels(job_.superpixels, job_.picture.height, job_.picture.width);
    masks_.superpixels = job_.superpixels.count;
    if (takes_every_mask(options, masks_.superpixels)) {
      masks_ = every_lime_mask(masks_.superpixels);
    } else {
      draw(options.sampling == LimeSampling::kFixed ? options.samples : options.chunk);
    }
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

  // Brings samples that look alike near each other.
  void order(std::vector<int64_t>& samples) const {
    const std::vector<size_t> superpixels =
        most_seen_first(job_.superpixels, job_.picture.height, job_.picture.width);
    std::sort(samples.begin(), samples.end(), [&](int64_t a, int64_t b) {
      const auto differs = std::find_if(superpixels.begin(), superpixels.end(), [&](size_t j) {
        return masks_.shows(a, static_cast<int64_t>(j)) != masks_.shows(b, static_cast<int64_t>(j));
      });
      return differs == superpixels.end() ? a < b : masks_.shows(a, static_cast<int64_t>(*differs));
    });
  }

  // The samples that the network has yet to see in float32 as well.
  std::vector<int64_t> open_controls() {
    if (options_.precision == DType::kFloat32 || !controls_.empty()) return {};
    const int64_t samples = masks_.samples();
    const int64_t count = std::min(options_.float32_samples, samples);
    // Every mask in its order begins with those that show nearly all. Their number is a power of
    // two, through which an odd step leads to each once, and soon hides and shows every superpixel.
    const int64_t step = masks_.every_mask ? 2654435761 : 1;
    for (int64_t i = 0; i < count; ++i) controls_.push_back(i * step % samples);
    waiting_ += count;
    return controls_;
  }

  // Where the device finds what sample `i` is made from. Brought there when it is first needed.
  kernels::PerturbedSample sample(int64_t i, Staging& staging) {
    if (!shown_.defined()) shown_ = staging.upload(masks_.bits);
    const auto* shown = static_cast<const uint32_t*>(std::as_const(shown_).raw());
    return sample_of(shown + i * masks_.words(), staging);
  }

  // Samples as mosaics of the hidden and the whole picture, which `perturbed` makes.
  template <class F>
  SharedImages mosaics(const std::vector<int64_t>& samples, Staging& staging, F&& perturbed) {
    const std::vector<uint32_t> none(static_cast<size_t>(masks_.words())), all(none.size(), ~0u);
    const Tensor sources =
        perturbed({sample_of(none.data(), staging), sample_of(all.data(), staging)});
    std::vector<std::vector<int32_t>> source_of(static_cast<size_t>(masks_.superpixels));
    for (size_t j = 0; j < source_of.size(); ++j) {
      for (const int64_t i : samples) source_of[j].push_back(masks_.row(i)[j / 32] >> j % 32 & 1);
    }
    const auto* labels = static_cast<const int32_t*>(std::as_const(labels_).raw());
    return SharedImages::mosaics(sources, {labels, labels + job_.superpixels.labels.numel()},
                                 source_of);
  }

  // What the network says of a sample, or of a control by its sample. True when it has now seen all
  // of them.
  bool answer(int64_t i, bool control, const float* probabilities, int64_t classes) {
    known_classes_ = classes;
    std::vector<float>& answers = control ? float32_answers_ : answers_;
    answers.resize(static_cast<size_t>(masks_.samples() * classes));
    std::copy_n(probabilities, classes, &answers[static_cast<size_t>(i * classes)]);
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
    if (job_.classes.empty()) job_.classes = most_probable();
    const Tensor probabilities = Tensor::from(answers_, {samples, classes}).to(DType::kFloat64);
    LimeResult result = fit_lime(masks_, probabilities, job_.classes, options_.fit);
    if (wants_more(result)) {
      draw(std::min(options_.chunk, options_.max_samples - samples));
      return {};
    }
    if (!controls_.empty()) result.deviation = deviation();
    if (options_.keep_samples) {
      result.masks = std::move(masks_);
      result.probabilities = probabilities;
    }
    return result;
  }

 private:
  // A sample of this picture with the mask at `shown`, on the device.
  kernels::PerturbedSample sample_of(const uint32_t* shown, Staging& staging) {
    if (!picture_.defined()) {
      const std::vector<int64_t> labels = job_.superpixels.labels.to_vector<int64_t>();
      picture_ = staging.upload(job_.picture.rgb);
      hidden_ =
          staging.upload(hide_superpixels(job_.picture, job_.superpixels, options_.color).rgb);
      labels_ = staging.upload(std::vector<int32_t>(labels.begin(), labels.end()));
    }
    return {static_cast<const uint8_t*>(picture_.raw()), static_cast<const uint8_t*>(hidden_.raw()),
            static_cast<const int32_t*>(labels_.raw()), shown};
  }

  // LimeResult::deviation.
  double deviation() const {
    LimeMasks masks{.superpixels = masks_.superpixels};
    const auto classes = static_cast<size_t>(known_classes_);
    std::vector<double> low, exact;
    for (const int64_t i : controls_) {
      masks.bits.insert(masks.bits.end(), masks_.row(i), masks_.row(i) + masks_.words());
      const auto from = static_cast<std::ptrdiff_t>(i * known_classes_);
      std::copy_n(answers_.begin() + from, classes, std::back_inserter(low));
      std::copy_n(float32_answers_.begin() + from, classes, std::back_inserter(exact));
    }
    masks.every_mask = masks_.every_mask && masks.samples() == masks_.samples();
    const auto weights = [&](const std::vector<double>& answers) {
      return fit_lime(masks, Tensor::from(answers, {masks.samples(), known_classes_}), job_.classes,
                      options_.fit)
          .weights.to_vector<double>();
    };
    const std::vector<double> of_low = weights(low), of_exact = weights(exact);
    double largest = 0;
    for (size_t j = 0; j < of_low.size(); ++j) {
      largest = std::max(largest, std::abs(of_low[j] - of_exact[j]));
    }
    return largest;
  }

  void draw(int64_t samples) {
    stream_.append(masks_, samples);
    shown_ = {};  // the device's copy is too short
  }

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
  LimeJob job_;
  const LimeOptions& options_;
  LimeMaskStream stream_;
  LimeMasks masks_;
  Tensor picture_, hidden_, labels_, shown_;     // on the device, for PerturbedSample
  std::vector<float> answers_;                   // (samples, C)
  std::vector<float> float32_answers_;           // likewise, of controls_
  std::vector<int64_t> controls_;                // samples
  int64_t known_classes_ = 0;                    // C
  std::vector<int64_t> source_;                  // (samples): the first sample with the same mask
  std::unordered_map<uint32_t, int64_t> first_;  // the first sample with a mask
  int64_t waiting_ = 0;                          // samples that the network has not seen yet
};

// Samples of one picture that a network sees through what they share.
struct Sharing {
  std::vector<int64_t> samples;
  std::optional<SharedForward> forward;  // when it is first needed
};

struct OpenSample {
  std::shared_ptr<Explanation> explanation;
  int64_t sample;
  std::shared_ptr<Sharing> sharing;  // null: it is made and seen by itself
};

// What samples wait in for a batch of their own precision.
struct Lane {
  DType precision;
  bool control;  // it is seen beside the other's
  std::deque<OpenSample> open;
  bool filled = false;  // a whole batch has been asked about
};

struct Batch {
  bool control;
  std::vector<OpenSample> samples;
  Download answers;  // (samples or more, C)
};

// The pictures that are on their way, and the samples of all of them that the network has yet to
// see.
class LimeQueue {
 public:
  LimeQueue(Module& model, const std::function<std::optional<LimeJob>()>& next,
            const std::function<void(int64_t, LimeResult)>& done, const LimeOptions& options)
      : model_(model),
        shares_(SharedForward::shares(model)),
        forward_(model),
        staging_(model.device()),
        next_(next),
        done_(done),
        options_(options),
        batch_size_(options.batch_size.value_or(1)) {}

  void run() {
    const int64_t ahead = batches_ahead(model_.device());
    for (;;) {
      while (std::ssize(asked_) < ahead && ask()) {
      }
      // While a GPU is at work on the answers: pictures that have theirs.
      for (const auto& explanation : std::exchange(answered_, {})) advance(explanation);
      if (options_.progress && seen_ > 0) options_.progress(finished_, seen_);
      if (!asked_.empty()) {
        receive(asked_.front());
        asked_.pop_front();
      } else if (samples_.open.empty() && controls_.open.empty()) {
        return;
      }
    }
  }

 private:
  // Jobs are begun until their samples fill a batch.
  void fill() {
    while (more_ && std::ssize(samples_.open) < batch_size_) {
      std::optional<LimeJob> job = next_();
      more_ = job.has_value();
      if (!more_) return;
      const Image& picture = job->picture;
      if (jobs_ == 0) {
        height_ = picture.height;
        width_ = picture.width;
        if (!options_.batch_size) {
          batch_size_ = usual_batch_size(model_.device(), int64_t{height_} * width_);
        }
      }
      require(picture.height == height_ && picture.width == width_, [&] {
        return fmt::format("[lime] expected pictures of one size, got ({}, {}) after ({}, {})",
                           picture.height, picture.width, height_, width_);
      });
      advance(std::make_shared<Explanation>(jobs_++, std::move(*job), options_));
    }
  }

  // Opens the samples that an explanation still needs, or hands it over.
  void advance(const std::shared_ptr<Explanation>& explanation) {
    for (;;) {
      const std::vector<int64_t> samples = explanation->open_samples();
      const std::vector<int64_t> controls = explanation->open_controls();
      open(samples_, explanation, samples);
      open(controls_, explanation, controls);
      if (!samples.empty() || !controls.empty()) return;
      if (std::optional<LimeResult> result = explanation->finish()) {
        done_(explanation->number(), std::move(*result));
        ++finished_;
        return;
      }
    }
  }

  void open(Lane& lane, const std::shared_ptr<Explanation>& explanation,
            std::vector<int64_t> samples) const {
    std::shared_ptr<Sharing> sharing;
    if (shares_ && !samples.empty()) {
      explanation->order(samples);
      sharing = std::make_shared<Sharing>(Sharing{.samples = samples});
    }
    for (const int64_t i : samples) lane.open.push_back({explanation, i, sharing});
  }

  // A batch of samples that share pixels, or of any.
  std::vector<OpenSample> take(Lane& lane) const {
    std::vector<OpenSample> batch;
    while (!lane.open.empty() && std::ssize(batch) < batch_size_) {
      if (!batch.empty() && lane.open.front().sharing != batch.front().sharing) break;
      batch.push_back(std::move(lane.open.front()));
      lane.open.pop_front();
    }
    return batch;
  }

  // Has the network look at another batch, on which a GPU may still be at work afterwards. False
  // when no samples are open.
  bool ask() {
    fill();
    const bool of_controls = samples_.open.empty() || std::ssize(controls_.open) >= batch_size_;
    Lane& lane = of_controls ? controls_ : samples_;
    std::vector<OpenSample> batch = take(lane);
    if (batch.empty()) return false;
    const Tensor answers = answers_to(batch, lane);
    asked_.push_back({lane.control, std::move(batch), staging_.download(answers)});
    return true;
  }

  // -> (samples or more, C), on the device.
  Tensor answers_to(const std::vector<OpenSample>& batch, Lane& lane) {
    const OpenSample& first = batch.front();
    const int64_t count = std::ssize(batch);
    const auto perturbed = [&](const std::vector<kernels::PerturbedSample>& samples) {
      return perturb(samples, lane.precision);
    };
    if (first.sharing) {
      auto& [samples, forward] = *first.sharing;
      if (!forward) {
        forward.emplace(model_, first.explanation->mosaics(samples, staging_, perturbed));
      }
      return softmax(forward->next(count).to(DType::kFloat32));
    }
    std::vector<kernels::PerturbedSample> samples;
    for (const OpenSample& open : batch) {
      samples.push_back(open.explanation->sample(open.sample, staging_));
    }
    // On a GPU another number of samples would need plans and a graph of its own, which costs more
    // than to look at the last sample again.
    lane.filled = lane.filled || count == batch_size_;
    if (lane.filled && model_.device().type != DeviceType::kCpu) {
      samples.resize(static_cast<size_t>(batch_size_), samples.back());
    }
    return softmax(forward_(perturbed(samples)).to(DType::kFloat32));
  }

  // -> (samples, H, W, 3), as the network reads them.
  Tensor perturb(const std::vector<kernels::PerturbedSample>& samples, DType precision) {
    const Device device = model_.device();
    const int64_t count = std::ssize(samples);
    const Tensor table = staging_.upload(samples);
    Tensor x = Tensor::empty({count, height_, width_, 3}, precision, device);
    on("lime", x, [&](auto tag, auto zero) {
      using T = decltype(zero);
      if constexpr (std::is_same_v<T, double>) {
        refuse_dtype("lime", x.dtype(), device);
      } else {
        kernels::perturb(tag, static_cast<const kernels::PerturbedSample*>(table.raw()), count,
                         int64_t{height_} * width_, x.data<T>(), scale_of(options_.normalization));
      }
    });
    return x;
  }

  void receive(const Batch& batch) {
    const Tensor answers = batch.answers.wait();
    const float* row = answers.data<float>();
    for (const OpenSample& open : batch.samples) {
      if (open.explanation->answer(open.sample, batch.control, row, answers.dim(1))) {
        answered_.push_back(open.explanation);
      }
      row += answers.dim(1);
    }
    if (!batch.control) seen_ += std::ssize(batch.samples);
  }

  Module& model_;
  bool shares_;
  GraphedForward forward_;
  Staging staging_;
  const std::function<std::optional<LimeJob>()>& next_;
  const std::function<void(int64_t, LimeResult)>& done_;
  const LimeOptions& options_;
  int64_t batch_size_;  // settled when the first picture is there

  int height_ = 0, width_ = 0;  // of the pictures
  int64_t jobs_ = 0, finished_ = 0, seen_ = 0;
  bool more_ = true;  // whether there may be another job
  Lane samples_{.precision = options_.precision, .control = false};
  Lane controls_{.precision = DType::kFloat32, .control = true};
  std::deque<Batch> asked_;                             // in the order of the answers
  std::vector<std::shared_ptr<Explanation>> answered_;  // all of whose samples it has seen
};

}  // namespace

void lime_stream(Module& model, const std::function<std::optional<LimeJob>()>& next,
                 const std::function<void(int64_t job, LimeResult result)>& done,
                 const LimeOptions& options) {
  require_options(options);
  const Evaluating evaluating(model);
  LimeQueue(model, next, done, options).run();
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
