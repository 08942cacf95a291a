#include "training/keep_epochs.h"

#include <algorithm>
#include <charconv>
#include <string_view>

#include <fmt/format.h>

#include "kernels/error.h"

namespace glassnet {
namespace {

constexpr std::string_view kEvery = "every:";

// 0 for what is no number from 1 on.
int64_t number_in(std::string_view text) {
  int64_t number = 0;
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), number);
  return failure == std::errc{} && end == text.data() + text.size() ? std::max<int64_t>(number, 0)
                                                                    : 0;
}

}  // namespace

bool KeepEpochs::wants(int64_t epoch) const {
  return std::ranges::binary_search(epochs, epoch) ||
         std::ranges::any_of(every, [&](int64_t step) { return epoch % step == 0; });
}

int64_t KeepEpochs::count(int64_t last) const {
  int64_t wanted = 0;
  for (int64_t epoch = 1; epoch <= last; ++epoch) wanted += wants(epoch) ? 1 : 0;
  return wanted;
}

KeepEpochs parse_keep_epochs(const std::string& text) {
  KeepEpochs keep;
  std::string_view rest = text;
  while (!rest.empty()) {
    const size_t comma = rest.find(',');
    const std::string_view item = rest.substr(0, comma);
    const bool steps = item.starts_with(kEvery);
    const int64_t number = item == "all" ? 1 : number_in(steps ? item.substr(kEvery.size()) : item);
    const bool ends_in_comma = comma != std::string_view::npos && comma + 1 == rest.size();
    if (number == 0 || ends_in_comma) {
      throw UsageError(fmt::format(
          "--keep-epochs {} is neither a list of epochs from 1 on (1,5,10), nor every:10, "
          "1,every:10 or all",
          text));
    }
    (steps || item == "all" ? keep.every : keep.epochs).push_back(number);
    rest.remove_prefix(comma == std::string_view::npos ? rest.size() : comma + 1);
  }
  std::ranges::sort(keep.epochs);
  return keep;
}

void require_kept_epochs(const std::string& text, int64_t epochs) {
  const KeepEpochs keep = parse_keep_epochs(text);
  if (keep.epochs.empty() || keep.epochs.back() <= epochs) return;
  throw UsageError(fmt::format("--keep-epochs {} asks for epoch {} of a run that has {}", text,
                               keep.epochs.back(), epochs));
}

}  // namespace glassnet
