// Which epochs' weights a run keeps: what `--keep-epochs` says.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace glassnet {

struct KeepEpochs {
  std::vector<int64_t> epochs;  // these, from 1, in order
  std::vector<int64_t> every;   // and the multiples of each of these

  bool wants(int64_t epoch) const;
  // Of the epochs from 1 to `last`.
  int64_t count(int64_t last) const;
};

// Throws UsageError where `text` asks for an epoch that a run of `epochs` does not have.
void require_kept_epochs(const std::string& text, int64_t epochs);

// "1,5,10", "every:10", "1,every:10", "all"; empty: none. Throws UsageError, which shows how, for
// anything else.
KeepEpochs parse_keep_epochs(const std::string& text);

}  // namespace glassnet
