#include "training/evolution.h"

#include <algorithm>

#include <fmt/format.h>

#include "kernels/error.h"

namespace glassnet {
namespace {

double share(int64_t part, int64_t whole) {
  return whole > 0 ? static_cast<double>(part) / static_cast<double>(whole) : 0.0;
}

// A bit for each image of a block and each class: which classes an image was predicted as.
class SeenClasses {
 public:
  SeenClasses(size_t images, size_t classes)
      : words_((classes + kBits - 1) / kBits), bits_(images * words_) {}

  void clear() { std::fill(bits_.begin(), bits_.end(), 0); }
  // Whether this is the first time.
  bool add(size_t image, int32_t label) {
    const auto c = static_cast<size_t>(label);
    uint64_t& word = bits_[image * words_ + c / kBits];
    const uint64_t bit = uint64_t{1} << (c % kBits);
    const bool fresh = (word & bit) == 0;
    word |= bit;
    return fresh;
  }

 private:
  static constexpr size_t kBits = 64;
  size_t words_;
  std::vector<uint64_t> bits_;
};

void add_epoch(ImageEvolution& image, int64_t epoch, int32_t label, int32_t truth, bool fresh) {
  const bool right = label == truth;
  image.variability += fresh;
  image.wrong += !right;
  if (!right) {
    // learnt_for_good tells, until the window's end, since when the prediction has been right.
    image.forgetting_events += image.learnt_for_good != 0;
    image.learnt_for_good = 0;
  } else if (image.learnt_for_good == 0) {
    image.learnt_for_good = epoch;
    if (image.first_learnt == 0) image.first_learnt = epoch;
  }
}

void add_confidence(const History& history, const EpochRange& window, size_t begin, size_t end,
                    std::vector<ImageEvolution>& images) {
  if (history.true_probability.empty()) return;
  const auto epochs = static_cast<double>(window.count());
  const auto row = [&](int64_t epoch) {
    return history.true_probability.data() + static_cast<size_t>(epoch - 1) * images.size();
  };
  for (size_t i = begin; i < end; ++i) images[i].confidence = images[i].confidence_variance = 0.0;
  for (int64_t epoch = window.first; epoch <= window.last; ++epoch) {
    for (size_t i = begin; i < end; ++i) *images[i].confidence += row(epoch)[i];
  }
  for (size_t i = begin; i < end; ++i) *images[i].confidence /= epochs;
  for (int64_t epoch = window.first; epoch <= window.last; ++epoch) {
    for (size_t i = begin; i < end; ++i) {
      const double distance = row(epoch)[i] - *images[i].confidence;
      *images[i].confidence_variance += distance * distance;
    }
  }
  for (size_t i = begin; i < end; ++i) *images[i].confidence_variance /= epochs;
}

std::vector<ImageEvolution> evolve_images(const History& history, const EpochRange& window) {
  // Rows are read along, and what is known of a block of images stays in the cache meanwhile.
  constexpr size_t kBlock = 1024;
  const size_t count = history.images.size(), classes = history.classes.size();
  std::vector<ImageEvolution> images(count);
  SeenClasses seen(std::min(kBlock, count), classes);
  for (size_t begin = 0; begin < count; begin += kBlock) {
    const size_t end = std::min(begin + kBlock, count);
    seen.clear();
    for (int64_t epoch = window.first; epoch <= window.last; ++epoch) {
      const int32_t* now = history.row(epoch);
      const int32_t* before = history.row(std::max(epoch - 1, window.first));
      for (size_t i = begin; i < end; ++i) {
        images[i].changes += now[i] != before[i];
        add_epoch(images[i], epoch, now[i], history.images[i].true_class,
                  seen.add(i - begin, now[i]));
      }
    }
    for (size_t i = begin; i < end; ++i) {
      images[i].frequency = share(images[i].changes, window.count() - 1);
      images[i].relative_variability = share(images[i].variability, static_cast<int64_t>(classes));
      images[i].misclassification_rate = share(images[i].wrong, window.count());
    }
    add_confidence(history, window, begin, end, images);
  }
  return images;
}

EpochEvolution evolve_epoch(const History& history, int64_t epoch) {
  const auto images = static_cast<int64_t>(history.images.size());
  const int32_t* now = history.row(epoch);
  EpochEvolution result{.epoch = epoch};
  for (int64_t i = 0; i < images; ++i) {
    result.correct += now[i] == history.images[static_cast<size_t>(i)].true_class;
  }
  result.accuracy = share(result.correct, images);
  if (!history.loss.empty()) result.loss = history.loss[static_cast<size_t>(epoch - 1)];
  if (epoch > 1) {
    const int32_t* before = history.row(epoch - 1);
    int64_t changed = 0;
    for (int64_t i = 0; i < images; ++i) changed += now[i] != before[i];
    result.changed = changed;
    result.flux = share(changed, images);
  }
  return result;
}

std::vector<ClassEvolution> evolve_classes(const History& history,
                                           const std::vector<ImageEvolution>& images) {
  std::vector<ClassEvolution> classes(history.classes.size());
  for (size_t i = 0; i < images.size(); ++i) {
    ClassEvolution& of = classes[static_cast<size_t>(history.images[i].true_class)];
    ++of.images;
    of.frequency += images[i].frequency;
    of.variability += static_cast<double>(images[i].variability);
    of.misclassification_rate += images[i].misclassification_rate;
  }
  for (ClassEvolution& of : classes) {
    if (of.images == 0) continue;
    const auto count = static_cast<double>(of.images);
    of.frequency /= count;
    of.variability /= count;
    of.misclassification_rate /= count;
    of.relative_variability = of.variability / static_cast<double>(classes.size());
  }
  return classes;
}

}  // namespace

Evolution evolve(const History& history, const EpochRange& asked) {
  validate(history, "[evolution]");
  const EpochRange window = resolve(asked, history);
  Evolution result{.window = window, .images = evolve_images(history, window)};
  for (int64_t epoch = window.first; epoch <= window.last; ++epoch) {
    result.epochs.push_back(evolve_epoch(history, epoch));
  }
  result.classes = evolve_classes(history, result.images);
  return result;
}

ClassificationMetrics class_metrics_at(const History& history, int64_t epoch) {
  resolve({epoch, epoch}, history);
  const int32_t* predicted = history.row(epoch);
  std::vector<ClassCounts> counts(history.classes.size());
  for (size_t i = 0; i < history.images.size(); ++i) {
    const int32_t truth = history.images[i].true_class;
    ++counts[static_cast<size_t>(truth)].images;
    ++counts[static_cast<size_t>(predicted[i])].predicted;
    counts[static_cast<size_t>(truth)].correct += predicted[i] == truth;
  }
  return classification_metrics(counts);
}

ConfusionMatrix confusion_at(const History& history, int64_t epoch) {
  resolve({epoch, epoch}, history);
  ConfusionMatrix confusion(static_cast<int64_t>(history.classes.size()));
  const int32_t* predicted = history.row(epoch);
  for (size_t i = 0; i < history.images.size(); ++i) {
    confusion.add(history.images[i].true_class, predicted[i]);
  }
  return confusion;
}

std::vector<ConfusionCell> confusion_cells_at(const History& history, int64_t epoch) {
  resolve({epoch, epoch}, history);
  const int32_t* predicted = history.row(epoch);
  std::vector<std::pair<int32_t, int32_t>> pairs;
  pairs.reserve(history.images.size());
  for (size_t i = 0; i < history.images.size(); ++i) {
    pairs.emplace_back(history.images[i].true_class, predicted[i]);
  }
  std::sort(pairs.begin(), pairs.end());
  std::vector<ConfusionCell> cells;
  for (const auto& [truth, label] : pairs) {
    const bool same =
        !cells.empty() && cells.back().true_class == truth && cells.back().predicted == label;
    if (!same) cells.push_back({truth, label, 0});
    ++cells.back().count;
  }
  return cells;
}

double prediction_flux(const std::vector<int64_t>& before, const std::vector<int64_t>& now) {
  require(before.size() == now.size(), [&] {
    return fmt::format("[flux] expected as many predictions as before, {}, got {}", before.size(),
                       now.size());
  });
  int64_t changed = 0;
  for (size_t i = 0; i < now.size(); ++i) changed += now[i] != before[i];
  return share(changed, static_cast<int64_t>(now.size()));
}

}  // namespace glassnet
