#include "cli/explain_stream.h"

#include <algorithm>
#include <utility>

#include "tensor/overlap.h"

namespace glassnet::cli {
namespace {

constexpr const char* kLime = "lime";

// One picture leaves most of a GPU idle, which its kernels pass through faster than the host can
// queue them; 32 of 224 pixels fill an H200, and the gradients of a ResNet-50 take some 3 GB for
// them. A CPU is busy with one.
int64_t pictures_at_once(Device device, int64_t image_size) {
  constexpr int64_t kPixels = 32 * 224 * 224;
  if (device.type == DeviceType::kCpu) return 1;
  return std::clamp<int64_t>(kPixels / (image_size * image_size), 1, 32);
}

class Stream {
 public:
  Stream(LoadedModel& network, const std::vector<std::string>& methods,
         const MethodOptions& options, const std::function<std::optional<PictureFacts>()>& next,
         const std::function<void(int64_t, const ExplainedPicture&)>& done)
      : network_(network),
        methods_(methods),
        options_(options),
        next_(next),
        done_(done),
        at_once_(gain_from_company(methods, options)
                     ? pictures_at_once(network.model->device(), network.card.image_size)
                     : 1),
        beside_(network.model->device()) {}

  void run() {
    if (std::ranges::count(methods_, kLime) == 0) {
      while (begin_some()) hand_over_finished();
      return;
    }
    lime_stream(
        *network_.model, [&] { return next_lime(); },
        [&](int64_t number, LimeResult result) {
          receive(number, std::move(result));
          hand_over_finished();
        },
        lime_options(options_, network_.card));
  }

 private:
  struct Begun {
    ExplainedPicture picture;
    Superpixels superpixels;  // of a LIME that is awaited
  };

  // Explains the next pictures by every method but LIME; false when there is none left.
  bool begin_some() {
    std::vector<PictureFacts*> group;
    while (std::ssize(group) < at_once_) {
      std::optional<PictureFacts> facts = next_();
      if (!facts) break;
      Begun& begun = begun_[count_++];
      begun.picture.facts = std::move(*facts);
      group.push_back(&begun.picture.facts);
    }
    if (group.empty()) return false;
    const Tensor inputs = brought_together(group);
    for (const std::string& method : methods_) {
      if (method == kLime) continue;
      std::vector<MethodResult> results =
          explain_together(method, network_, inputs, group, options_);
      const int64_t first = count_ - std::ssize(group);
      for (size_t i = 0; i < results.size(); ++i) {
        begun_.at(first + static_cast<int64_t>(i)).picture.results[method] = std::move(results[i]);
      }
    }
    return true;
  }

  // The pictures' inputs on the network's device, of which each keeps its own.
  Tensor brought_together(const std::vector<PictureFacts*>& group) const {
    const Tensor& first = group[0]->input;
    Tensor inputs = first;
    if (group.size() > 1) {
      inputs = Tensor::empty({std::ssize(group), first.dim(1), first.dim(2), 3}, first.dtype(),
                             first.device());
      for (size_t i = 0; i < group.size(); ++i) {
        const auto at = static_cast<int64_t>(i);
        inputs.slice(at, at + 1).copy_from(group[i]->input);
      }
    }
    inputs = inputs.to(network_.model->device());
    for (size_t i = 0; i < group.size(); ++i) {
      const auto at = static_cast<int64_t>(i);
      group[i]->input = inputs.slice(at, at + 1);
    }
    return inputs;
  }

  std::optional<LimeJob> next_lime() {
    if (for_lime_ == count_ && !begin_some()) return {};
    Begun& begun = begun_.at(for_lime_++);
    const PictureFacts& facts = begun.picture.facts;
    {
      // Beside the samples of earlier pictures, which a GPU is at work on.
      const SideQueue::Scope scope(beside_);
      begun.superpixels = superpixels_of(facts.picture, options_, network_.model->device());
    }
    return LimeJob{
        .picture = facts.picture, .superpixels = begun.superpixels, .classes = {facts.target.of}};
  }

  void receive(int64_t number, LimeResult lime) {
    Begun& begun = begun_.at(number);
    PictureFacts& facts = begun.picture.facts;
    MethodResult result = of_lime(std::move(lime), std::move(begun.superpixels), options_);
    measure_trust(result, network_, facts, options_);
    begun.picture.results[kLime] = std::move(result);
  }

  void hand_over_finished() {
    for (auto first = begun_.begin();
         first != begun_.end() && first->second.picture.results.size() == methods_.size();
         first = begun_.erase(first)) {
      done_(first->first, first->second.picture);
    }
  }

  LoadedModel& network_;
  const std::vector<std::string>& methods_;
  const MethodOptions& options_;
  const std::function<std::optional<PictureFacts>()>& next_;
  const std::function<void(int64_t, const ExplainedPicture&)>& done_;
  int64_t at_once_;
  SideQueue beside_;
  int64_t count_ = 0;               // of pictures begun
  int64_t for_lime_ = 0;            // the next of them that LIME gets
  std::map<int64_t, Begun> begun_;  // not yet handed over, by number
};

}  // namespace

void explain_stream(LoadedModel& network, const std::vector<std::string>& methods,
                    const MethodOptions& options,
                    const std::function<std::optional<PictureFacts>()>& next,
                    const std::function<void(int64_t number, const ExplainedPicture&)>& done) {
  Stream(network, methods, options, next, done).run();
}

}  // namespace glassnet::cli
