#include "cli/explain_stream.h"

#include <algorithm>
#include <utility>

namespace glassnet::cli {
namespace {

constexpr const char* kLime = "lime";

class Stream {
 public:
  Stream(LoadedModel& network, const std::vector<std::string>& methods,
         const MethodOptions& options, const std::function<std::optional<PictureFacts>()>& next,
         const std::function<void(int64_t, const ExplainedPicture&)>& done)
      : network_(network), methods_(methods), options_(options), next_(next), done_(done) {}

  void run() {
    if (std::ranges::count(methods_, kLime) == 0) {
      while (begin()) hand_over_finished();
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

  // Explains the next picture by every method but LIME; false when there is none left.
  bool begin() {
    std::optional<PictureFacts> facts = next_();
    if (!facts) return false;
    Begun begun{.picture = {.facts = std::move(*facts)}};
    for (const std::string& method : methods_) {
      if (method == kLime) continue;
      begun.picture.results[method] = explain_by(method, network_, begun.picture.facts, options_);
    }
    begun_.emplace(count_++, std::move(begun));
    return true;
  }

  std::optional<LimeJob> next_lime() {
    if (!begin()) return {};
    Begun& begun = begun_.at(count_ - 1);
    const PictureFacts& facts = begun.picture.facts;
    begun.superpixels = superpixels_of(facts.picture, options_, network_.model->device());
    return LimeJob{
        .picture = facts.picture, .superpixels = begun.superpixels, .classes = {facts.target.of}};
  }

  void receive(int64_t number, LimeResult lime) {
    Begun& begun = begun_.at(number);
    PictureFacts& facts = begun.picture.facts;
    MethodResult result =
        of_lime(std::move(lime), std::move(begun.superpixels), network_, facts, options_);
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
  int64_t count_ = 0;               // of pictures begun
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
