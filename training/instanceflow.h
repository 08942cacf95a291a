// InstanceFlow's JSON: who was predicted as what in which epoch.
//
//   {"labels": ["cat", "dog"],
//    "instances": [{"id": "0000", "actual": 1, "image": "images/0000.png"}],
//    "epochs": [{"id": "0", "classifications": [1]}]}
//
// `actual` and `classifications` are indices into the labels; the latter has one for each instance.
// Other keys are left alone.
//
// Pühringer, Hinterreiter, Streit: "InstanceFlow: Visualizing the Evolution of Classifier Confusion
// on the Instance Level", IEEE VIS 2020 (short papers), arXiv:2007.11353.
#pragma once

#include <filesystem>
#include <string>

#include "training/history.h"

namespace glassnet {

// Throws Error, a sentence that names the file, the place in it and what is wrong, for what is not
// such a file. Bytes that are no UTF-8 are read as U+FFFD, as a browser reads them.
History read_instanceflow(const std::filesystem::path& path);
// The same from memory; `name` stands in messages.
History parse_instanceflow(const std::string& bytes, const std::string& name);

// The epochs of the range. The format demands that labels, instances and epochs differ from each
// other; throws Error for those that do not.
void save_instanceflow(const std::filesystem::path& path, const History& history,
                       const EpochRange& range = {});

}  // namespace glassnet
